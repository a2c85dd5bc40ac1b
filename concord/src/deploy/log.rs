//! Topics and schemas in the data folder's log.

use super::{
    Allow,
    plan::{State, Step},
    topics::{steps, wanted},
};
use crate::{
    config::Config,
    registry::{self, Service},
    shape, topics,
};
use anyhow::Context;
use schemas::{Registry, RegistryError};
use std::os::unix::fs::PermissionsExt;
use streams::{
    Log,
    embedded::{self, LogError, LogReader, Options},
};
use topology::customers;

/// What is there, beside the process that runs it or without one.
pub fn plan(config: &Config, allow: &[Allow]) -> anyhow::Result<Vec<Step>> {
    let (there, registry) = match config.data_dir.join(FILE).exists() {
        false => (Vec::new(), Registry::new()),
        true => {
            let reader = LogReader::open(&config.data_dir)?;
            let there = reader.topics()?;
            let known = there.iter().any(|topic| topic.name == topics::SCHEMAS);
            (there, if known { topics::registry_of(&reader)? } else { Registry::new() })
        }
    };
    let mut plan = steps(&wanted(config), &there, allow);
    plan.extend(schemas(config, &registry)?);
    Ok(plan)
}

/// The log's file in a data folder.
pub const FILE: &str = "log.sqlite";

/// What registering this build's schemas would come to. `registry` is a copy: it takes them.
fn schemas(config: &Config, registry: &Registry) -> anyhow::Result<Vec<Step>> {
    let ours = Registry::new();
    customers::build(&shape::customers_config(config), &ours)?;
    let step = |subject: String| {
        let (_, schema) = ours.latest(&subject)?;
        let known = registry.versions(&subject).len();
        let state = match registry.register(&subject, schema.text()) {
            Ok((_, new)) if new.is_empty() => State::Same,
            Ok(_) if known == 0 => State::Create("its first version".into()),
            Ok(_) => State::Change(format!("a new version, after {known}")),
            Err(RegistryError::Incompatible { version, level, found, .. }) => {
                let found = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                State::Refused(format!("not {level} compatible with version {version}: {found}"))
            }
            Err(error) => State::Refused(error.to_string()),
        };
        Some(Step::new("schema", subject, state))
    };
    Ok(ours.subjects().into_iter().filter_map(step).collect())
}

/// Makes all of it. Nobody may run the log meanwhile: who runs it makes it at the start anyway.
pub async fn apply(config: &Config) -> anyhow::Result<()> {
    let folder = &config.data_dir;
    std::fs::create_dir_all(folder).with_context(|| format!("CONCORD_DATA_DIR: cannot make {}", folder.display()))?;
    // Customers' data is nobody else's to read.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
        .with_context(|| format!("CONCORD_DATA_DIR: cannot restrict {} to this user", folder.display()))?;
    let embedded = open(config)?;
    let log = Log::from(embedded.clone());
    for topic in wanted(config) {
        log.create_topic(topic).await?;
    }
    registry::register(&Service::open(log.clone(), topics::SCHEMAS).await?, &shape::customers_config(config)).await?;
    tokio::task::spawn_blocking(move || embedded.close()).await?;
    Ok(())
}

/// The log, held by this process alone.
pub fn open(config: &Config) -> anyhow::Result<embedded::Log> {
    match embedded::Log::open(&config.data_dir, Options::default()) {
        Err(error @ LogError::Locked { .. }) => {
            Err(error).context("Concord is running; stop it first (a start of this build then does the same), or look with --dry-run")
        }
        opened => Ok(opened?),
    }
}
