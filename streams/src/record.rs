//! Records as processors see them, and as topics hold them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A typed record on its way through a topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<K, V> {
    /// The key. Nullable keys are `Option`s with a [`Nullable`](crate::Nullable) serde.
    pub key: K,
    /// The value.
    pub value: V,
    /// Milliseconds since the Unix epoch; never negative.
    pub timestamp: i64,
    /// Headers, in order; a key may occur several times.
    pub headers: Headers,
}

impl<K, V> Record<K, V> {
    /// A record without headers.
    pub fn new(key: K, value: V, timestamp: i64) -> Self {
        Self { key, value, timestamp, headers: Headers::new() }
    }

    /// The same record with other headers.
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// The same record with another timestamp.
    pub fn with_timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = timestamp;
        self
    }

    /// The record with another key, of any type.
    pub fn with_key<K2>(self, key: K2) -> Record<K2, V> {
        Record { key, value: self.value, timestamp: self.timestamp, headers: self.headers }
    }

    /// The record with another value, of any type.
    pub fn with_value<V2>(self, value: V2) -> Record<K, V2> {
        Record { key: self.key, value, timestamp: self.timestamp, headers: self.headers }
    }
}

/// One header: a name and bytes, or null.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// The name; not unique within a record.
    pub key: String,
    /// The value; `None` is null.
    pub value: Option<Bytes>,
}

/// The headers of a record, in the order they were added. Empty headers allocate nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends a header; others of the same name stay.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<Bytes>) -> &mut Self {
        self.0.push(Header { key: key.into(), value: Some(value.into()) });
        self
    }

    /// Appends a header whose value may be null.
    pub fn add_nullable(&mut self, key: impl Into<String>, value: Option<Bytes>) -> &mut Self {
        self.0.push(Header { key: key.into(), value });
        self
    }

    /// Removes all headers of this name.
    pub fn remove(&mut self, key: &str) -> &mut Self {
        self.0.retain(|header| header.key != key);
        self
    }

    /// The last header of this name, which is the one that counts.
    pub fn last_header(&self, key: &str) -> Option<&Header> {
        self.0.iter().rev().find(|header| header.key == key)
    }

    /// The value of the last header of this name, as text, if it is UTF-8.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.last_header(key).and_then(|header| header.value.as_deref()).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All headers, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.0.iter()
    }

    /// How many headers there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<Header>> for Headers {
    fn from(headers: Vec<Header>) -> Self {
        Self(headers)
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// A topic's partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition of a topic.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A record as it was read from a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// The topic it was read from.
    pub topic: Arc<str>,
    /// The partition it was read from.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// The serialised key; `None` is null.
    pub key: Option<Bytes>,
    /// The serialised value; `None` is null (a tombstone in a compacted topic).
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Headers,
}

impl ConsumerRecord {
    /// Where it was read from.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }
}

/// A record to be written to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerRecord {
    /// The topic to write to.
    pub topic: Arc<str>,
    /// The partition; `None` leaves it to the default partitioner ([`partition_for_key`](crate::partition_for_key)).
    pub partition: Option<i32>,
    /// The serialised key; `None` is null.
    pub key: Option<Bytes>,
    /// The serialised value; `None` is null.
    pub value: Option<Bytes>,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Its headers.
    pub headers: Headers,
}

impl ProducerRecord {
    /// Bytes on the wire, at most: key, value and headers, with all that is around them.
    pub fn size(&self) -> usize {
        const AROUND_A_RECORD: usize = 100;
        const AROUND_A_HEADER: usize = 10;
        let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = self.headers.iter().map(|header| header.key.len() + bytes(&header.value) + AROUND_A_HEADER).sum::<usize>();
        bytes(&self.key) + bytes(&self.value) + headers + AROUND_A_RECORD
    }
}

/// Where the record that is being processed came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The source topic.
    pub topic: Arc<str>,
    /// The source partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}
