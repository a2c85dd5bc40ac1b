//! The log, the registry in it, and the topology that runs on it.

use crate::{
    config::Config,
    http::{Look, Part},
    shape, topics,
};
use anyhow::Context;
use connect::{Cursors, Walks};
use schemas::Registry;
use std::{os::unix::fs::PermissionsExt, sync::Arc, time::Duration};
use streams::{
    Log, TaskConfig, dead_letter_queue,
    embedded::{self, Options, State, Streams, StreamsConfig, TopicConfig},
};
use topology::customers::{self, Cleanup};

/// What everything else in the process appends to and reads from.
pub struct Engine {
    pub log: Log,
    embedded: embedded::Log,
    pub registry: Registry,
    pub cursors: Cursors,
    pub walks: Walks,
    pub streams: Streams,
    pub customers: customers::Config,
}

impl Engine {
    /// Opens the data folder, makes the topics, registers the schemas, and starts the topology.
    pub async fn start(config: &Config) -> anyhow::Result<Engine> {
        let folder = &config.data_dir;
        std::fs::create_dir_all(folder).with_context(|| format!("CONCORD_DATA_DIR: cannot make {}", folder.display()))?;
        // Customers' data is nobody else's to read.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("CONCORD_DATA_DIR: cannot restrict {} to this user", folder.display()))?;
        let embedded = embedded::Log::open(folder, options())?;
        let log = Log::from(embedded.clone());
        let customers = shape::customers_config(config);
        let retention = Duration::from_secs(u64::from(config.retention_days) * 24 * 3600);
        log.create_topic(TopicConfig::compact(topics::SCHEMAS, 1)).await?;
        for topic in customers::topics(&customers) {
            log.create_topic(match topic.cleanup {
                Cleanup::Delete => TopicConfig::delete(topic.name, topic.partitions, retention),
                Cleanup::Compact => TopicConfig::compact(topic.name, topic.partitions),
            })
            .await
            .context("a topic of the log is not as configured; `partitions` never changes once a log exists")?;
        }
        let registry = topics::registry_in(&log).await?;
        let topology = customers::build(&customers, &registry)?;
        let cursors = Cursors::open(&log).await?;
        let walks = Walks::new(&log, &registry, &cursors, &config.application_id)?;
        topics::save_registry(&log, &registry).await?;
        let mut streams = StreamsConfig::new(&config.application_id);
        streams.task = TaskConfig { exception_handler: dead_letter_queue(|topic| format!("{topic}.dlq")) };
        let streams = embedded.start(&topology, streams)?;
        Ok(Engine { log, embedded, registry, cursors, walks, streams, customers })
    }

    /// Finishes what is queued and frees the folder. Blocks.
    pub fn close(self) {
        let Engine { embedded, .. } = self;
        embedded.close();
    }

    /// `/readyz`: the log and the topology.
    pub fn parts(&self) -> [(&'static str, Look); 2] {
        let trouble = self.log.watch_trouble();
        let log = move || trouble.borrow().clone().map_or_else(|| Part::Ok(String::new()), Part::Down);
        let streams = self.streams.clone();
        let topology = move || {
            let state = streams.state();
            let failures: Vec<String> = streams.failures().iter().map(|f| format!("task {}: {}", f.task, f.error)).collect();
            match state {
                State::Running if failures.is_empty() => Part::Ok(state.to_string()),
                _ => Part::Down(format!("{state} {}", failures.join("; ")).trim().to_string()),
            }
        };
        [("log", Arc::new(log)), ("topology", Arc::new(topology))]
    }
}

/// `CONCORD_MIN_FREE_BYTES`: appends are refused while the disk has less free (tests run on small ones).
fn options() -> Options {
    let mut options = Options::default();
    if let Some(bytes) = std::env::var("CONCORD_MIN_FREE_BYTES").ok().and_then(|text| text.parse().ok()) {
        options.min_free_bytes = bytes;
    }
    options
}
