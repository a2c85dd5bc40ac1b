//! The topics of one system, and the messages on them.

use crate::error::ConnectError;
use schemas::{AvroCodec, Message, Registry, Request, SourceCustomer, System, value_subject};
use std::sync::Arc;
use streams::{Log, TopicPartition};

/// `requests.<system>`, `customers.<system>` and the dead letters, with their codecs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Topics {
    pub requests: Arc<str>,
    pub customers: Arc<str>,
    pub dead: Arc<str>,
    /// The same for requests and results: a record's requests and results are in partitions of one number.
    pub partitions: i32,
    pub request: AvroCodec<Request>,
    pub customer: AvroCodec<SourceCustomer>,
}

impl Topics {
    /// The topics must exist: the topology's owner creates them.
    pub fn new(log: &Log, registry: &Registry, system: &System) -> Result<Self, ConnectError> {
        let (requests, customers) = (requests_topic(system), customers_topic(system));
        let partitions = partitions_of(log, &requests)?;
        let found = partitions_of(log, &customers)?;
        if found != partitions {
            return Err(ConnectError::Partitions { topic: customers, found, other: requests, expected: partitions });
        }
        Ok(Topics {
            request: codec(registry, &requests)?,
            customer: codec(registry, &customers)?,
            dead: format!("{requests}.dlq").into(),
            requests: requests.into(),
            customers: customers.into(),
            partitions,
        })
    }

    pub fn requests_at(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.requests.clone(), partition)
    }
}

pub(crate) fn codec<T: Message>(registry: &Registry, topic: &str) -> Result<AvroCodec<T>, ConnectError> {
    registry.codec(&value_subject(topic)).map_err(|source| ConnectError::Schema { topic: topic.to_owned(), source })
}

pub(crate) fn partitions_of(log: &Log, topic: &str) -> Result<i32, ConnectError> {
    log.partitions(topic).ok_or_else(|| ConnectError::NoTopic(topic.to_owned()))
}

/// `requests.<system>`.
pub fn requests_topic(system: &System) -> String {
    format!("requests.{system}")
}

/// `customers.<system>`.
pub fn customers_topic(system: &System) -> String {
    format!("customers.{system}")
}

/// The consumer group of a system's conversation runner.
pub fn runner_group(system: &System) -> String {
    format!("concord-runner-{system}")
}
