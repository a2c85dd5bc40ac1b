//! The topics that the topology reads and writes, with what each must be.

use super::{Config, Kind};
use schemas::System;

/// A topic that has to exist before the topology runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: i32,
    pub cleanup: Cleanup,
    /// The topology reads it.
    pub is_input: bool,
}

/// What becomes of a topic's old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// By age, once every group of the application has passed them.
    Delete,
    /// The last record of each key stays.
    Compact,
}

pub const IDENTIFY: &str = "customers.identify";
pub const UNIFY: &str = "customers.unify";
pub const UNIFIED: &str = "customers.unified";
pub const CONFLICTS: &str = "customers.conflicts";

/// `customers.<system>`
pub fn customers(system: &System) -> String {
    format!("customers.{system}")
}

/// `links.<system>`
pub fn links(system: &System) -> String {
    format!("links.{system}")
}

/// `requests.<system>`
pub fn requests(system: &System) -> String {
    format!("requests.{system}")
}

/// Every topic of the configuration, the systems' own first.
pub fn topics(config: &Config) -> Vec<TopicSpec> {
    let topic = |name: String, cleanup, is_input| TopicSpec { name, partitions: config.partitions, cleanup, is_input };
    let mut specs = Vec::new();
    for system in &config.systems {
        specs.push(topic(customers(&system.name), Cleanup::Delete, true));
        specs.push(topic(links(&system.name), Cleanup::Compact, true));
        if system.kind == Kind::Connector {
            specs.push(topic(requests(&system.name), Cleanup::Delete, false));
        }
    }
    specs.push(topic(IDENTIFY.into(), Cleanup::Delete, true));
    specs.push(topic(UNIFY.into(), Cleanup::Delete, true));
    specs.push(topic(UNIFIED.into(), Cleanup::Compact, false));
    specs.push(topic(CONFLICTS.into(), Cleanup::Delete, false));
    specs
}
