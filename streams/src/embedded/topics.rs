//! The writer's rare jobs: topics and groups are made and forgotten, each in a transaction of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::watch;

use super::catalog::{Catalog, Partition, Topic};
use super::{Cleanup, LogError, TopicConfig};
use crate::TopicPartition;

/// Creates a topic, or applies a changed policy; the catalog changes after the commit.
pub(super) fn create_topic(connection: &Connection, catalog: &Catalog, config: &TopicConfig, now_ms: i64) -> Result<(), LogError> {
    let failed = |error| LogError::sqlite(format!("creating topic {:?}", config.name), error);
    if let Some(existing) = catalog.topic(&config.name) {
        if existing.config.partitions != config.partitions {
            let (found, wanted) = (existing.config.partitions, config.partitions);
            return Err(LogError::PartitionsDiffer { topic: config.name.clone(), found, wanted });
        }
        if existing.config.cleanup != config.cleanup {
            let (policy, retention) = columns(config.cleanup);
            connection
                .execute("UPDATE topics SET policy = ?, retention_ms = ? WHERE topic = ?", (policy, retention, existing.id))
                .map_err(failed)?;
            catalog.put(Topic { config: config.clone(), ..Topic::clone(&existing) });
        }
        return Ok(());
    }
    catalog.put(insert_topic(connection, config, now_ms).map_err(failed)?);
    Ok(())
}

fn insert_topic(connection: &Connection, config: &TopicConfig, now_ms: i64) -> rusqlite::Result<Topic> {
    let (policy, retention) = columns(config.cleanup);
    let name: Arc<str> = config.name.as_str().into();
    let transaction = begin(connection)?;
    transaction.execute("INSERT INTO topics (name, policy, retention_ms) VALUES (?, ?, ?)", (&*name, policy, retention))?;
    let id = transaction.last_insert_rowid();
    let mut partitions = Vec::new();
    for partition in 0..config.partitions {
        transaction.execute("INSERT INTO partitions (topic, partition, cleaned_at) VALUES (?, ?, ?)", (id, partition, now_ms))?;
        partitions.push(Arc::new(Partition {
            id: transaction.last_insert_rowid(),
            name: TopicPartition { topic: name.clone(), partition },
            end: watch::Sender::new(0),
            committed_end: AtomicI64::new(0),
            next: AtomicI64::new(0),
            beginning: AtomicI64::new(0),
        }));
    }
    transaction.commit()?;
    Ok(Topic { id, config: config.clone(), name, partitions })
}

fn columns(cleanup: Cleanup) -> (&'static str, Option<i64>) {
    match cleanup {
        Cleanup::Compact => ("compact", None),
        Cleanup::Delete { retention_ms } => ("delete", Some(retention_ms)),
    }
}

/// Gives a group an offset in each partition of the topics where it has none: the first that is left.
pub(super) fn create_group(connection: &Connection, catalog: &Catalog, group: &str, topics: &[String]) -> Result<(), LogError> {
    let mut partitions = Vec::new();
    for name in topics {
        let topic = catalog.topic(name).ok_or_else(|| LogError::UnknownTopic(name.clone()))?;
        partitions.extend(topic.partitions.iter().cloned());
    }
    let write = |connection: &Connection| -> rusqlite::Result<()> {
        let transaction = begin(connection)?;
        for partition in &partitions {
            transaction.prepare_cached("INSERT OR IGNORE INTO group_offsets (\"group\", tp, next) VALUES (?, ?, ?)")?.execute((
                group,
                partition.id,
                partition.beginning(),
            ))?;
        }
        transaction.commit()
    };
    write(connection).map_err(|error| LogError::sqlite(format!("creating group {group:?}"), error))
}

/// The writer has one transaction at a time, so there is none to nest in.
pub(super) fn begin(connection: &Connection) -> rusqlite::Result<Transaction<'_>> {
    Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
}

/// Forgets a group.
pub(super) fn delete_group(connection: &Connection, group: &str) -> Result<(), LogError> {
    connection
        .execute("DELETE FROM group_offsets WHERE \"group\" = ?", [group])
        .map(drop)
        .map_err(|error| LogError::sqlite(format!("deleting group {group:?}"), error))
}
