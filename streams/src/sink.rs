//! Sink nodes: from records to bytes, topics and partitions.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::ProcessorError;
use crate::processor::{Node, ProcessorContext, take};
use crate::record::ProducerRecord;
use crate::serde::Serde;

/// Chooses the topic of a record, like Kafka Streams' `TopicNameExtractor`.
pub type TopicNameExtractor<K, V> = Arc<dyn Fn(&K, &V) -> String + Send + Sync>;

/// Where a sink writes: a topic, or one chosen per record.
pub enum TopicName<K, V> {
    /// Always this topic.
    Fixed(String),
    /// The topic that the function returns. The text describes it.
    Extractor(TopicNameExtractor<K, V>, String),
}

impl<K, V> Clone for TopicName<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Fixed(topic) => Self::Fixed(topic.clone()),
            Self::Extractor(extractor, description) => Self::Extractor(extractor.clone(), description.clone()),
        }
    }
}

impl<K, V> From<&str> for TopicName<K, V> {
    fn from(topic: &str) -> Self {
        Self::Fixed(topic.to_owned())
    }
}

impl<K, V> From<String> for TopicName<K, V> {
    fn from(topic: String) -> Self {
        Self::Fixed(topic)
    }
}

impl<K, V> TopicName<K, V> {
    /// A topic chosen per record.
    pub fn extractor(description: impl Into<String>, extractor: impl Fn(&K, &V) -> String + Send + Sync + 'static) -> Self {
        Self::Extractor(Arc::new(extractor), description.into())
    }

    pub(crate) fn fixed(&self) -> Option<&str> {
        match self {
            Self::Fixed(topic) => Some(topic),
            Self::Extractor(..) => None,
        }
    }

    pub(crate) fn description(&self) -> String {
        match self {
            Self::Fixed(topic) => topic.clone(),
            Self::Extractor(_, description) => description.clone(),
        }
    }

    pub(crate) fn resolved(&self, resolve: &dyn Fn(&str) -> Arc<str>) -> ResolvedTopic<K, V> {
        match self {
            Self::Fixed(topic) => ResolvedTopic::Fixed(resolve(topic)),
            Self::Extractor(extractor, _) => ResolvedTopic::Extractor(extractor.clone()),
        }
    }
}

pub(crate) enum ResolvedTopic<K, V> {
    Fixed(Arc<str>),
    Extractor(TopicNameExtractor<K, V>),
}

/// Chooses the partitions of records.
pub trait StreamPartitioner<K, V>: Send + Sync {
    /// The partitions that the record is written to: several for a broadcast, an empty list drops it, `None` leaves it to the default partitioner.
    fn partitions(&self, topic: &str, key: &K, value: &V, partitions: i32) -> Option<Vec<i32>>;
}

impl<K, V, F: Fn(&str, &K, &V, i32) -> Option<Vec<i32>> + Send + Sync> StreamPartitioner<K, V> for F {
    fn partitions(&self, topic: &str, key: &K, value: &V, partitions: i32) -> Option<Vec<i32>> {
        self(topic, key, value, partitions)
    }
}

pub(crate) struct SinkNode<K, V> {
    topic: ResolvedTopic<K, V>,
    key_serde: Arc<dyn Serde<K>>,
    value_serde: Arc<dyn Serde<V>>,
    partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
}

impl<K, V> SinkNode<K, V> {
    pub(crate) fn new(
        topic: ResolvedTopic<K, V>,
        key_serde: Arc<dyn Serde<K>>,
        value_serde: Arc<dyn Serde<V>>,
        partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
    ) -> Self {
        Self { topic, key_serde, value_serde, partitioner }
    }
}

impl<K: Any, V: Any> Node for SinkNode<K, V> {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: &mut dyn Any) -> Result<(), ProcessorError> {
        let record = take::<K, V>(record)?;
        if record.timestamp < 0 {
            return Err(ProcessorError::new("negative-timestamp", format!("a record has timestamp {}", record.timestamp)));
        }
        let topic = match &self.topic {
            ResolvedTopic::Fixed(topic) => topic.clone(),
            ResolvedTopic::Extractor(extractor) => extractor(&record.key, &record.value).into(),
        };
        let chosen = match &self.partitioner {
            None => None,
            Some(partitioner) => {
                let count = (ctx.env.partitions)(&topic)
                    .ok_or_else(|| ProcessorError::fatal("unknown-topic", format!("topic {topic} does not exist")))?;
                partitioner.partitions(&topic, &record.key, &record.value, count)
            }
        };
        let produced = ProducerRecord {
            key: self.key_serde.serialize(&topic, &record.key)?.map(Bytes::from),
            value: self.value_serde.serialize(&topic, &record.value)?.map(Bytes::from),
            topic,
            partition: None,
            timestamp: record.timestamp,
            headers: record.headers,
        };
        if produced.size() > ctx.core.largest_record {
            let (size, largest, topic) = (produced.size(), ctx.core.largest_record, &produced.topic);
            return Err(ProcessorError::new("record-too-large", format!("a record for {topic} has {size} bytes; {largest} is the most")));
        }
        match chosen {
            None => ctx.core.outputs.push(produced),
            Some(partitions) => ctx
                .core
                .outputs
                .extend(partitions.into_iter().map(|partition| ProducerRecord { partition: Some(partition), ..produced.clone() })),
        }
        Ok(())
    }
}
