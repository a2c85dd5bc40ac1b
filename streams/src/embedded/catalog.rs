//! The topics and partitions that exist, kept in memory for everybody who asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::RwLock;
use rusqlite::Connection;
use rustc_hash::FxHashMap;
use tokio::sync::watch;

use super::{Cleanup, LogError, TopicConfig};
use crate::TopicPartition;

/// A partition: its committed bounds, which only the writer moves.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) id: i64,
    pub(super) name: TopicPartition,
    /// Offset of the next record, as durable; watchers wake when it moves.
    pub(super) end: watch::Sender<i64>,
    /// Offset of the next record, as the writer knows it to be committed: ahead of `end` while a sync is under way.
    pub(super) committed_end: AtomicI64,
    /// Offset of the next record of the next round: ahead of `committed_end` while a commit is under way. For the writer alone.
    pub(super) next: AtomicI64,
    /// Offset of the first record that retention has left.
    pub(super) beginning: AtomicI64,
}

impl Partition {
    pub(super) fn end(&self) -> i64 {
        *self.end.borrow()
    }

    pub(super) fn committed_end(&self) -> i64 {
        self.committed_end.load(Ordering::Acquire)
    }

    pub(super) fn next(&self) -> i64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(super) fn beginning(&self) -> i64 {
        self.beginning.load(Ordering::Acquire)
    }
}

/// A topic and its partitions, in order.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) id: i64,
    pub(super) config: TopicConfig,
    pub(super) name: Arc<str>,
    pub(super) partitions: Vec<Arc<Partition>>,
}

/// All topics. The writer changes it after the commit that changed the tables.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    topics: RwLock<FxHashMap<Arc<str>, Arc<Topic>>>,
}

impl Catalog {
    /// Reads the tables.
    pub(super) fn load(connection: &Connection) -> Result<Catalog, LogError> {
        load_topics(connection)
            .map(|topics| Catalog { topics: RwLock::new(topics) })
            .map_err(|error| LogError::sqlite("reading the topics", error))
    }

    pub(super) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().get(name).cloned()
    }

    pub(super) fn topics(&self) -> Vec<Arc<Topic>> {
        let mut topics: Vec<Arc<Topic>> = self.topics.read().values().cloned().collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    pub(super) fn partition(&self, tp: &TopicPartition) -> Result<Arc<Partition>, LogError> {
        let topics = self.topics.read();
        let topic = topics.get(&tp.topic).ok_or_else(|| LogError::UnknownTopic(tp.topic.to_string()))?;
        let index = usize::try_from(tp.partition).map_err(|_| LogError::UnknownPartition(tp.clone()))?;
        topic.partitions.get(index).cloned().ok_or_else(|| LogError::UnknownPartition(tp.clone()))
    }

    /// What was not committed is lost.
    pub(super) fn forget_uncommitted(&self) {
        for partition in self.topics.read().values().flat_map(|topic| &topic.partitions) {
            partition.next.store(partition.committed_end(), Ordering::Relaxed);
        }
    }

    /// Everything that is committed is durable.
    pub(super) fn all_is_durable(&self) {
        for partition in self.topics.read().values().flat_map(|topic| &topic.partitions) {
            partition.end.send_if_modified(|end| std::mem::replace(end, partition.committed_end()) != partition.committed_end());
        }
    }

    pub(super) fn put(&self, topic: Topic) {
        self.topics.write().insert(topic.name.clone(), Arc::new(topic));
    }
}

fn load_topics(connection: &Connection) -> rusqlite::Result<FxHashMap<Arc<str>, Arc<Topic>>> {
    let mut topics = FxHashMap::default();
    let mut statement = connection.prepare("SELECT topic, name, policy, retention_ms FROM topics")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, name, policy): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let cleanup = match policy.as_str() {
            "compact" => Cleanup::Compact,
            _ => Cleanup::Delete { retention_ms: row.get(3)? },
        };
        let name: Arc<str> = name.into();
        let partitions = load_partitions(connection, id, &name)?;
        let config = TopicConfig { name: name.to_string(), partitions: partitions.len() as i32, cleanup };
        topics.insert(name.clone(), Arc::new(Topic { id, config, name, partitions }));
    }
    Ok(topics)
}

fn load_partitions(connection: &Connection, topic: i64, name: &Arc<str>) -> rusqlite::Result<Vec<Arc<Partition>>> {
    connection
        .prepare_cached("SELECT tp, partition, beginning, next FROM partitions WHERE topic = ? ORDER BY partition")?
        .query_map([topic], |row| {
            let end = row.get(3)?;
            Ok(Arc::new(Partition {
                id: row.get(0)?,
                name: TopicPartition { topic: name.clone(), partition: row.get(1)? },
                beginning: AtomicI64::new(row.get(2)?),
                end: watch::Sender::new(end),
                committed_end: AtomicI64::new(end),
                next: AtomicI64::new(end),
            }))
        })?
        .collect()
}
