//! What a connector must remember over a restart: how far it has read, and what it has done once and for all.

use crate::error::ConnectError;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};
use streams::{
    ConsumerRecord, Log, ProducerRecord, TopicPartition,
    embedded::{Append, Clock, SystemClock, TopicConfig},
};

/// The compacted topic that holds them: key and value are UTF-8 texts.
pub const CURSORS_TOPIC: &str = "_concord.cursors";

/// Durable texts by name, e.g. `stripe.events` = the last event's id. One writer per name. Cheap to clone.
#[derive(Clone)]
pub struct Cursors {
    log: Log,
    known: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Cursors {
    /// Reads what is stored; makes the topic if it is missing.
    pub async fn open(log: &Log) -> Result<Self, ConnectError> {
        let failed = || format!("reading {CURSORS_TOPIC}");
        log.create_topic(TopicConfig::compact(CURSORS_TOPIC, 1)).await.map_err(ConnectError::log(failed()))?;
        let partition = TopicPartition::new(CURSORS_TOPIC, 0);
        let mut known = BTreeMap::new();
        let end = log.end_offset(&partition).await.map_err(ConnectError::log(failed()))?;
        let take = |record: ConsumerRecord| {
            let Some(Ok(name)) = record.key.as_deref().map(std::str::from_utf8) else { return };
            match record.value.as_deref().map(std::str::from_utf8) {
                Some(Ok(value)) => known.insert(name.to_owned(), value.to_owned()),
                _ => known.remove(name),
            };
        };
        log.scan(&partition, 0, end, take).await.map_err(ConnectError::log(failed()))?;
        Ok(Cursors { log: log.clone(), known: Arc::new(Mutex::new(known)) })
    }

    pub fn get(&self, name: &str) -> Option<String> {
        self.known.lock().get(name).cloned()
    }

    /// Durable when it returns `Ok`.
    pub async fn set(&self, name: &str, value: &str) -> Result<(), ConnectError> {
        self.set_with(name, value, []).await
    }

    /// Sets it in one append with other records: both or neither.
    pub async fn set_with(&self, name: &str, value: &str, others: impl IntoIterator<Item = ProducerRecord>) -> Result<(), ConnectError> {
        let mut records = vec![self.record(name, value)];
        records.extend(others);
        self.log.append(Append::of(records)).await.map_err(ConnectError::log(format!("storing {name}")))?;
        self.appended(name, value);
        Ok(())
    }

    /// The record that sets it, to be appended with others; afterwards say so with [`appended`](Self::appended).
    pub fn record(&self, name: &str, value: &str) -> ProducerRecord {
        ProducerRecord::new(CURSORS_TOPIC, name.to_owned(), value.to_owned()).with_timestamp(SystemClock.now_ms())
    }

    /// The record that sets it was appended.
    pub fn appended(&self, name: &str, value: &str) {
        self.known.lock().insert(name.to_owned(), value.to_owned());
    }
}
