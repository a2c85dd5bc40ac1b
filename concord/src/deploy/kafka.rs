//! Topics and schemas on Apache Kafka. Processes may run meanwhile: they find what is made.

use super::{schemas, topics::Topic};
use crate::{
    config::{Config, Kafka},
    reader::Reader,
    registry::Service,
    topics,
};
use ::schemas::Registry;
use streams::{Log, kafka};

/// The brokers, as a deployment uses them.
pub struct Brokers {
    pub log: kafka::Log,
}

impl Brokers {
    pub async fn reach(config: &Config, kafka: &Kafka) -> anyhow::Result<Brokers> {
        Ok(Brokers { log: kafka.reach(&config.application_id).await? })
    }

    /// What is there: topics, and the registry that the log keeps.
    pub async fn look(&self, config: &Config) -> anyhow::Result<(Vec<Topic>, Registry)> {
        let (there, schemas) = (self.log.topic_states().await?, topics::schemas_topic(config));
        let registry = match there.iter().any(|topic| topic.name == schemas) {
            true => Service::open(self.log(), schemas).await?.registry().clone(),
            false => Registry::new(),
        };
        Ok((there.into_iter().map(Topic::from).collect(), registry))
    }

    /// As connectors use them.
    pub fn log(&self) -> Log {
        Log::Kafka(self.log.clone())
    }

    /// As commands read it that look beside its processes.
    pub fn reader(&self, config: &Config) -> Reader {
        Reader::Cluster(self.log.clone(), topics::schemas_topic(config))
    }

    pub async fn register(&self, config: &Config) -> anyhow::Result<()> {
        schemas::register(config, &self.log()).await
    }
}
