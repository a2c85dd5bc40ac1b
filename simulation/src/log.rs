//! The simulated log: topics of partitions, in memory, and the codecs of what is in them.

use bytes::Bytes;
use schemas::{AvroCodec, CustomerConflict, CustomerLink, Registry, Request, SourceCustomer, UnifiedCustomer, UnifyMessage};
use std::{collections::BTreeMap, sync::Arc};
use streams::{ConsumerRecord, Headers, ProducerRecord, partition_for_key};

/// A topic's partitions.
pub struct Topic {
    pub name: Arc<str>,
    pub partitions: Vec<Vec<ConsumerRecord>>,
}

#[derive(Default)]
pub struct Log {
    pub topics: Vec<Topic>,
    by_name: BTreeMap<Arc<str>, usize>,
}

impl Log {
    pub fn create(&mut self, name: &str, partitions: usize) -> usize {
        let name: Arc<str> = name.into();
        self.by_name.insert(name.clone(), self.topics.len());
        self.topics.push(Topic { name, partitions: vec![Vec::new(); partitions] });
        self.topics.len() - 1
    }

    pub fn topic(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Appends; gives the topic, the partition and the offset. Nothing where there is no such topic.
    pub fn append(&mut self, record: ProducerRecord) -> Option<(usize, usize, i64)> {
        let topic = self.topic(&record.topic)?;
        let partitions = &mut self.topics[topic].partitions;
        let by_key = || record.key.as_deref().map_or(0, |key| partition_for_key(key, partitions.len() as i32));
        let partition = record.partition.unwrap_or_else(by_key) as usize;
        let offset = partitions[partition].len() as i64;
        partitions[partition].push(ConsumerRecord {
            topic: record.topic,
            partition: partition as i32,
            offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        });
        Some((topic, partition, offset))
    }

    /// A record without headers.
    pub fn record(topic: &Arc<str>, key: &str, value: Vec<u8>, timestamp: i64) -> ProducerRecord {
        ProducerRecord {
            topic: topic.clone(),
            partition: None,
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: Some(value.into()),
            timestamp,
            headers: Headers::new(),
        }
    }
}

/// The text of a record's key.
pub fn key(record: &ConsumerRecord) -> &str {
    record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default()
}

/// The codecs of all topics (one for each type: the schemas are the same under every subject).
pub struct Codecs {
    pub request: AvroCodec<Request>,
    pub source: AvroCodec<SourceCustomer>,
    pub link: AvroCodec<CustomerLink>,
    pub unify: AvroCodec<UnifyMessage>,
    pub unified: AvroCodec<UnifiedCustomer>,
    pub conflict: AvroCodec<CustomerConflict>,
}

impl Codecs {
    pub fn new(registry: &Registry) -> anyhow::Result<Self> {
        Ok(Codecs {
            request: registry.codec("requests.stripe-value")?,
            source: registry.codec("customers.stripe-value")?,
            link: registry.codec("links.stripe-value")?,
            unify: registry.codec("customers.unify-value")?,
            unified: registry.codec("customers.unified-value")?,
            conflict: registry.codec("customers.conflicts-value")?,
        })
    }
}
