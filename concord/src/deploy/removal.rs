//! What is Concord's on Apache Kafka, and how it goes: topics, consumer groups, and this machine's copies of the stores.

use super::{
    destroy::gone,
    kafka::Brokers,
    topics::{Wanted, wanted},
};
use crate::{config::Config, shape, topics::SCHEMAS};
use anyhow::{Context, bail};
use connect::topics::runner_group;
use schemas::Registry;
use sinks::golden;
use std::{collections::BTreeSet, path::PathBuf};
use streams::kafka::GroupState;
use topology::customers;

/// Why nothing is done while somebody works with it; `nothing`: what is told of that.
pub fn stop_first(nothing: &str) -> String {
    format!("Concord is running; stop all its processes first (one that was killed counts until its session ends). {nothing}")
}

/// Nobody is in the groups, as far as it was seen.
pub fn idle(groups: &[GroupState], nothing: &str) -> anyhow::Result<()> {
    match groups.iter().find(|group| group.members > 0) {
        Some(group) => bail!("the consumer group {} has members: {}", group.name, stop_first(nothing)),
        None => Ok(()),
    }
}

/// What is told where nothing is done.
pub const NOTHING: &str = "Nothing was taken away";

pub struct Removal {
    brokers: Brokers,
    application_id: String,
    topics: Vec<String>,
    groups: Vec<GroupState>,
    /// Copies of the stores, on this machine.
    copies: PathBuf,
    /// The registry's topic is there, and stays.
    schemas: bool,
}

impl Removal {
    pub async fn look(config: &Config, brokers: Brokers) -> anyhow::Result<Removal> {
        let there: Vec<String> = brokers.log.topic_states().await?.into_iter().map(|topic| topic.name).collect();
        let ours = topics(config)?;
        let of = |name: &String| name != SCHEMAS && (ours.contains(name) || name.starts_with("_concord."));
        let mut groups = brokers.log.group_states().await?;
        groups.retain(|group| is_ours(config, &group.name));
        Ok(Removal {
            topics: there.iter().filter(|name| of(name)).cloned().collect(),
            groups,
            copies: config.data_dir.join("streams").join(&config.application_id),
            schemas: there.iter().any(|name| name == SCHEMAS),
            application_id: config.application_id.clone(),
            brokers,
        })
    }

    pub fn going(&self) -> Vec<String> {
        let topics = self.topics.iter().map(|topic| format!("the topic {topic}, with all its records"));
        let groups = self.groups.iter().map(|group| format!("the consumer group {}", group.name));
        let copies = self.copies.exists().then(|| format!("the stores in {}", self.copies.display()));
        topics.chain(groups).chain(copies).collect()
    }

    pub fn kept(&self) -> Vec<String> {
        let schemas = self.schemas.then(|| format!("the topic {SCHEMAS} with all schemas: others may use it"));
        let copies = "the data folders of Concord's processes on other machines: empty them before it starts again".to_owned();
        schemas.into_iter().chain([copies]).collect()
    }

    pub fn idle(&self) -> anyhow::Result<()> {
        idle(&self.groups, NOTHING)
    }

    /// Nothing at all while somebody works with it.
    pub async fn apply(self) -> anyhow::Result<()> {
        // Also where we are told nothing of it: of members that use the newer protocol, or that we may not know of.
        self.brokers.log.delete_group(&self.application_id).await.with_context(|| stop_first(NOTHING))?;
        for group in &self.groups {
            self.brokers.log.delete_group(&group.name).await?;
        }
        self.brokers.log.delete_topics(&self.topics).await?;
        gone(&self.copies, std::fs::remove_dir_all(&self.copies))
    }
}

/// Those that are deployed, and those that the topology makes by itself.
fn topics(config: &Config) -> anyhow::Result<BTreeSet<String>> {
    let mut topics = internal_topics(config)?;
    topics.extend(wanted(config).into_iter().map(|Wanted { topic, .. }| topic.name));
    Ok(topics)
}

/// The topology's own topics: changelogs, and those between its sub-topologies.
pub fn internal_topics(config: &Config) -> anyhow::Result<BTreeSet<String>> {
    let built = customers::build(&shape::customers_config(config), &Registry::new())?.build(&config.application_id)?;
    let changelogs = built.stores().iter().filter_map(|store| store.changelog_topic.as_ref().map(ToString::to_string));
    let between = built.subtopologies().iter().flat_map(|sub| &sub.repartition_topics).map(|topic| topic.name.to_string());
    Ok(changelogs.chain(between).collect())
}

/// Whether a consumer group is one of this configuration.
pub fn is_ours(config: &Config, group: &str) -> bool {
    let app = &config.application_id;
    group == app
        || group.strip_prefix(app.as_str()).is_some_and(|rest| rest.starts_with("-owner-"))
        || group == golden::GROUP
        || config.systems.keys().any(|system| group == runner_group(system))
}
