//! Topics and schemas in the data folder's log.

use super::{
    make::make,
    schemas,
    topics::{Topic, Wanted},
};
use crate::{config::Config, topics};
use ::schemas::Registry;
use anyhow::Context;
use std::os::unix::fs::PermissionsExt;
use streams::{
    Log,
    embedded::{self, LogError, LogReader, Options},
};

/// The log's file in a data folder.
pub const FILE: &str = "log.sqlite";

/// What is there, beside the process that runs it or without one: topics, and the registry's own.
pub fn look(config: &Config) -> anyhow::Result<(Vec<Topic>, Registry)> {
    if !config.data_dir.join(FILE).exists() {
        return Ok((Vec::new(), Registry::new()));
    }
    let reader = LogReader::open(&config.data_dir)?;
    let there = reader.topics()?;
    let known = there.iter().any(|topic| topic.name == topics::SCHEMAS);
    let registry = if known { topics::registry_of(&reader)? } else { Registry::new() };
    Ok((there.into_iter().map(Topic::from).collect(), registry))
}

/// Makes all of it. Nobody may run the log meanwhile: who runs it makes it at the start anyway.
pub async fn apply(config: &Config, wanted: Vec<Wanted>) -> anyhow::Result<()> {
    let folder = &config.data_dir;
    std::fs::create_dir_all(folder).with_context(|| format!("CONCORD_DATA_DIR: cannot make {}", folder.display()))?;
    // Customers' data is nobody else's to read.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
        .with_context(|| format!("CONCORD_DATA_DIR: cannot restrict {} to this user", folder.display()))?;
    let embedded = open(config)?;
    let log = Log::from(embedded.clone());
    make(&log, wanted).await?;
    schemas::register(config, &log).await?;
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
