//! Typed handles on the topics and stores of a test driver.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{TestDriverError, TopologyTestDriver};
use crate::record::{ConsumerRecord, ProducerRecord, Record};
use crate::serde::{Serde, SerdeError};

/// Pipes records into a topic.
pub struct TestInputTopic<K, V> {
    driver: TopologyTestDriver,
    topic: Arc<str>,
    key_serde: Arc<dyn Serde<K>>,
    value_serde: Arc<dyn Serde<V>>,
    time: Cell<i64>,
    auto_advance: i64,
}

impl<K, V> TestInputTopic<K, V> {
    pub(super) fn new(
        driver: TopologyTestDriver,
        topic: &str,
        key_serde: Arc<dyn Serde<K>>,
        value_serde: Arc<dyn Serde<V>>,
        start: i64,
        auto_advance: Duration,
    ) -> Self {
        Self { driver, topic: topic.into(), key_serde, value_serde, time: Cell::new(start), auto_advance: auto_advance.as_millis() as i64 }
    }

    /// Pipes a record with the topic's current time, which then advances by the step that was set.
    pub fn pipe_input(&self, key: K, value: V) -> Result<(), TestDriverError> {
        let now = self.time.get();
        self.time.set(now + self.auto_advance);
        self.pipe_input_at(key, value, now)
    }

    /// Pipes a record with a timestamp.
    pub fn pipe_input_at(&self, key: K, value: V, timestamp: i64) -> Result<(), TestDriverError> {
        self.pipe_record(Record::new(key, value, timestamp))
    }

    /// Pipes a record with timestamp and headers.
    pub fn pipe_record(&self, record: Record<K, V>) -> Result<(), TestDriverError> {
        let key = self.key_serde.serialize(&self.topic, &record.key)?.map(Bytes::from);
        let value = self.value_serde.serialize(&self.topic, &record.value)?.map(Bytes::from);
        let Record { timestamp, headers, .. } = record;
        self.driver.append(ProducerRecord { topic: self.topic.clone(), partition: None, key, value, timestamp, headers })?;
        Ok(())
    }

    /// Pipes several records with the topic's current time.
    pub fn pipe_key_value_list(&self, records: impl IntoIterator<Item = (K, V)>) -> Result<(), TestDriverError> {
        records.into_iter().try_for_each(|(key, value)| self.pipe_input(key, value))
    }

    /// Advances the topic's current time.
    pub fn advance_time(&self, by: Duration) {
        self.time.set(self.time.get() + by.as_millis() as i64);
    }
}

/// Reads what the topology wrote to a topic, each record once.
pub struct TestOutputTopic<K, V> {
    driver: TopologyTestDriver,
    topic: String,
    key_serde: Arc<dyn Serde<K>>,
    value_serde: Arc<dyn Serde<V>>,
}

impl<K, V> TestOutputTopic<K, V> {
    pub(super) fn new(driver: TopologyTestDriver, topic: &str, key_serde: Arc<dyn Serde<K>>, value_serde: Arc<dyn Serde<V>>) -> Self {
        Self { driver, topic: topic.to_owned(), key_serde, value_serde }
    }

    /// The next record.
    pub fn read_record(&self) -> Result<Record<K, V>, TestDriverError> {
        let record = self.read_raw()?;
        Ok(Record {
            key: self.key_serde.deserialize(&self.topic, record.key.as_deref())?,
            value: self.value_serde.deserialize(&self.topic, record.value.as_deref())?,
            timestamp: record.timestamp,
            headers: record.headers,
        })
    }

    /// The next record with its partition and offset, undecoded.
    pub fn read_raw(&self) -> Result<ConsumerRecord, TestDriverError> {
        let record = self.driver.machine.borrow_mut().read(&self.topic);
        record.ok_or_else(|| TestDriverError::EmptyTopic(self.topic.clone()))
    }

    /// The next record's value.
    pub fn read_value(&self) -> Result<V, TestDriverError> {
        Ok(self.read_record()?.value)
    }

    /// The next record's key and value.
    pub fn read_key_value(&self) -> Result<(K, V), TestDriverError> {
        let record = self.read_record()?;
        Ok((record.key, record.value))
    }

    /// All records that are left.
    pub fn read_records_to_list(&self) -> Result<Vec<Record<K, V>>, TestDriverError> {
        (0..self.queue_size()).map(|_| self.read_record()).collect()
    }

    /// Keys and values of all records that are left.
    pub fn read_key_values_to_list(&self) -> Result<Vec<(K, V)>, TestDriverError> {
        (0..self.queue_size()).map(|_| self.read_key_value()).collect()
    }

    /// The last value of each key in the records that are left.
    pub fn read_key_values_to_map(&self) -> Result<BTreeMap<K, V>, TestDriverError>
    where
        K: Ord,
    {
        (0..self.queue_size()).map(|_| self.read_key_value()).collect()
    }

    /// How many records are left.
    pub fn queue_size(&self) -> usize {
        self.driver.machine.borrow().unread(&self.topic)
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.queue_size() == 0
    }
}

/// A store as the test sees it, over all its partitions.
pub struct TestKeyValueStore<K, V> {
    driver: TopologyTestDriver,
    name: String,
    key_serde: Arc<dyn Serde<K>>,
    value_serde: Arc<dyn Serde<V>>,
}

impl<K, V> TestKeyValueStore<K, V> {
    pub(super) fn new(driver: TopologyTestDriver, name: &str, key_serde: Arc<dyn Serde<K>>, value_serde: Arc<dyn Serde<V>>) -> Self {
        Self { driver, name: name.to_owned(), key_serde, value_serde }
    }

    /// The value of a key, in the partition that the default partitioner gives the key.
    pub fn get(&self, key: &K) -> Result<Option<V>, TestDriverError> {
        let key = self.key(key)?;
        let partition = self.driver.machine.borrow().store_partition(&self.name, &key)?;
        let value = self.driver.store_get(&self.name, partition, &key)?;
        Ok(value.map(|value| self.value_serde.deserialize(&self.name, Some(&value))).transpose()?)
    }

    /// Sets a value, as if it had been committed before.
    pub fn put(&self, key: &K, value: &V) -> Result<(), TestDriverError> {
        let key = self.key(key)?;
        let partition = self.driver.machine.borrow().store_partition(&self.name, &key)?;
        let value = self.value_serde.serialize(&self.name, value)?.map(Bytes::from);
        self.driver.store_put(&self.name, partition, key, value)
    }

    /// All entries, by partition and key.
    pub fn all(&self) -> Result<Vec<(K, V)>, TestDriverError> {
        let entries = self.driver.store_entries(&self.name)?;
        let decode = |(_, key, value): (i32, Bytes, Bytes)| {
            let key = self.key_serde.deserialize(&self.name, Some(&key))?;
            Ok((key, self.value_serde.deserialize(&self.name, Some(&value))?))
        };
        entries.into_iter().map(decode).collect()
    }

    fn key(&self, key: &K) -> Result<Vec<u8>, SerdeError> {
        self.key_serde.serialize(&self.name, key)?.ok_or(SerdeError::Null)
    }
}
