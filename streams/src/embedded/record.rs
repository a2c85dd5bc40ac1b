//! What is appended to the log.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Headers, ProducerRecord, TopicPartition};

impl ProducerRecord {
    /// A record with a key and a value, timestamp 0, no headers, its partition chosen by the key.
    ///
    /// ```
    /// use streams::ProducerRecord;
    /// let record = ProducerRecord::new("customers.product", "42", "a value").with_timestamp(1_700_000_000_000);
    /// assert_eq!(record.partition, None);
    /// ```
    pub fn new(topic: impl Into<Arc<str>>, key: impl Into<Bytes>, value: impl Into<Bytes>) -> ProducerRecord {
        ProducerRecord {
            topic: topic.into(),
            partition: None,
            key: Some(key.into()),
            value: Some(value.into()),
            timestamp: 0,
            headers: Headers::new(),
        }
    }

    /// A record that deletes its key in a compacted topic.
    pub fn tombstone(topic: impl Into<Arc<str>>, key: impl Into<Bytes>) -> ProducerRecord {
        ProducerRecord { value: None, ..ProducerRecord::new(topic, key, Bytes::new()) }
    }

    /// Sets the timestamp, in milliseconds since the Unix epoch.
    pub fn with_timestamp(mut self, timestamp: i64) -> ProducerRecord {
        self.timestamp = timestamp;
        self
    }

    /// Sets the partition instead of letting the key choose it.
    pub fn with_partition(mut self, partition: i32) -> ProducerRecord {
        self.partition = Some(partition);
        self
    }

    /// Sets the headers.
    pub fn with_headers(mut self, headers: Headers) -> ProducerRecord {
        self.headers = headers;
        self
    }
}

/// Records and group offsets that become durable together, or not at all.
///
/// ```
/// use streams::{ProducerRecord, TopicPartition};
/// use streams::embedded::Append;
/// let append = Append::of([ProducerRecord::new("results", "a", "1")])
///     .with_offset("runner", TopicPartition::new("requests", 0), 17);
/// assert_eq!(append.offsets.len(), 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Append {
    /// The records; each partition keeps their order.
    pub records: Vec<ProducerRecord>,
    /// Offsets of consumer groups: (group, partition, offset of the next record to process).
    pub offsets: Vec<(String, TopicPartition, i64)>,
}

impl Append {
    /// An append of records alone.
    pub fn of(records: impl IntoIterator<Item = ProducerRecord>) -> Append {
        Append { records: records.into_iter().collect(), offsets: Vec::new() }
    }

    /// Adds a group's offset: the offset of the next record that it will process.
    pub fn with_offset(mut self, group: impl Into<String>, partition: TopicPartition, next: i64) -> Append {
        self.offsets.push((group.into(), partition, next));
        self
    }

    /// Bytes that this holds in memory, roughly.
    pub(crate) fn size(&self) -> usize {
        self.records.iter().map(size_of_record).sum::<usize>() + self.offsets.len() * 64
    }
}

/// Bytes that a record holds in memory, roughly.
pub(super) fn size_of_record(record: &ProducerRecord) -> usize {
    record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len) + 96
}
