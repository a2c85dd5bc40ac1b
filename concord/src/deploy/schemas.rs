//! The schemas of this build, against those that a registry has: the log's own, or another one.

use super::plan::{State, Step};
use crate::{
    config::{Config, RemoteConfig},
    registry::{self, Service},
    schemas as command, shape, topics,
};
use anyhow::Context;
use schemas::{Registry, RegistryError};
use streams::Log;
use topology::customers;

/// What registering them would come to. `known`: a copy of what the log has; it takes them.
pub async fn plan(config: &Config, known: &Registry) -> anyhow::Result<Vec<Step>> {
    let ours = ours(config)?;
    match &config.schema_registry {
        None => Ok(ours.subjects().into_iter().filter_map(|subject| in_the_log(&ours, known, subject)).collect()),
        Some(remote) => elsewhere(&ours, remote).await.context("SCHEMA_REGISTRY_URL"),
    }
}

fn ours(config: &Config) -> anyhow::Result<Registry> {
    let ours = Registry::new();
    customers::build(&shape::customers_config(config), &ours)?;
    Ok(ours)
}

fn in_the_log(ours: &Registry, known: &Registry, subject: String) -> Option<Step> {
    let (_, schema) = ours.latest(&subject)?;
    let versions = known.versions(&subject).len();
    let state = match known.register(&subject, schema.text()) {
        Ok((_, new)) if new.is_empty() => State::Same,
        Ok(_) => new(versions),
        Err(RegistryError::Incompatible { version, level, found, .. }) => {
            let found = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            State::Refused(format!("not {level} compatible with version {version}: {found}"))
        }
        Err(error) => State::Refused(error.to_string()),
    };
    Some(Step::new("schema", subject, state))
}

async fn elsewhere(ours: &Registry, remote: &RemoteConfig) -> anyhow::Result<Vec<Step>> {
    let planned = command::plan(remote, ours).await?;
    let step = |(subject, found): (String, command::Found)| {
        let state = match found {
            command::Found::There => State::Same,
            command::Found::New { after } => new(after),
            command::Found::Refused(why) => State::Refused(why),
        };
        Step::new("schema", subject, state)
    };
    Ok(planned.into_iter().map(step).collect())
}

fn new(after: usize) -> State {
    match after {
        0 => State::Create("its first version".into()),
        after => State::Change(format!("a new version, after {after}")),
    }
}

/// Registers them. Other processes may do so, too.
pub async fn register(config: &Config, log: &Log) -> anyhow::Result<()> {
    let service = Service::open(log.clone(), topics::schemas_topic(config)).await?;
    let registered = registry::ready(&service, config, &shape::customers_config(config)).await;
    service.release().await;
    registered.map(drop)
}
