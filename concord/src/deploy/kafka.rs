//! Topics and schemas on Apache Kafka. Processes may run meanwhile: they find what is made.

use super::{
    schemas,
    topics::{Purpose, Topic, Wanted},
};
use crate::{
    config::{Config, Kafka},
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
        Ok(Brokers { log: kafka.connect(&config.application_id).await? })
    }

    /// What is there: topics, and the registry that the log keeps.
    pub async fn look(&self, config: &Config) -> anyhow::Result<(Vec<Topic>, Registry)> {
        let (there, schemas) = (self.log.topic_states().await?, topics::schemas_topic(config));
        let registry = match there.iter().any(|topic| topic.name == schemas) {
            true => Service::open(Log::Kafka(self.log.clone()), schemas).await?.registry().clone(),
            false => Registry::new(),
        };
        Ok((there.into_iter().map(Topic::from).collect(), registry))
    }

    pub async fn make_topics(&self, wanted: Vec<Wanted>) -> anyhow::Result<()> {
        for Wanted { topic, purpose } in wanted {
            let there = self.log.topics().iter().any(|known| known.name == topic.name);
            match purpose {
                Purpose::Records => self.log.create_topic(topic).await?,
                Purpose::TopologysDeadLetters => self.log.create_dead_letter_topic(&topic.name).await?,
                Purpose::ConnectorsDeadLetters if !there => self.log.create_topic(topic).await?,
                Purpose::ConnectorsDeadLetters => {}
            }
        }
        Ok(())
    }

    pub async fn register(&self, config: &Config) -> anyhow::Result<()> {
        schemas::register(config, &Log::Kafka(self.log.clone())).await
    }
}
