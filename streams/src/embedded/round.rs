//! What one commit will hold: records with their offsets, group offsets, and the appends that wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::Connection;
use rustc_hash::FxHashMap;

use super::batch::{BatchBuilder, Entry};
use super::catalog::{Catalog, Partition};
use super::jobs::{Pending, Reply};
use super::record::size_of_record;
use super::{Append, Cleanup, LogError};
use crate::{ConsumerRecord, ProducerRecord, TopicPartition, partition_for_key};

/// A record that has its place in the log, but is not committed yet.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) partition: Arc<Partition>,
    pub(super) offset: i64,
    pub(super) record: ProducerRecord,
    /// Appended by somebody else than the topology: stays when the topology's work is taken back.
    from_outside: bool,
}

impl Staged {
    pub(super) fn to_consumer_record(&self) -> ConsumerRecord {
        ConsumerRecord {
            topic: self.partition.name.topic.clone(),
            partition: self.partition.name.partition,
            offset: self.offset,
            timestamp: self.record.timestamp,
            key: self.record.key.clone(),
            value: self.record.value.clone(),
            headers: self.record.headers.clone(),
        }
    }
}

/// An append whose records are staged; answered after the commit.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) offsets: Vec<i64>,
    pub(super) pending: Pending,
}

/// Everything that the next commit writes but the stores' changes.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) records: Vec<Staged>,
    pub(super) bytes: usize,
    /// Of the appends from outside: (group, partition's id) → offset of the next record to process.
    pub(super) offsets: BTreeMap<(Arc<str>, i64), i64>,
    pub(super) waiting: Vec<Waiting>,
    next: FxHashMap<i64, (Arc<Partition>, i64)>,
}

impl Round {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.offsets.is_empty() && self.waiting.is_empty()
    }

    /// Stages an append from outside; a wrong one is answered at once and changes nothing.
    pub(super) fn stage_append(&mut self, catalog: &Catalog, mut pending: Pending) {
        match self.try_stage(catalog, std::mem::take(&mut pending.append)) {
            Ok(offsets) => self.waiting.push(Waiting { offsets, pending }),
            Err(error) => answer(pending.reply, Err(error)),
        }
    }

    fn try_stage(&mut self, catalog: &Catalog, append: Append) -> Result<Vec<i64>, LogError> {
        let places = append.records.iter().map(|record| place(catalog, record)).collect::<Result<Vec<_>, _>>()?;
        let mut offsets = Vec::with_capacity(append.offsets.len());
        for (group, tp, next) in append.offsets {
            offsets.push(((Arc::from(group), group_partition(catalog, &tp, next)?), next));
        }
        self.offsets.extend(offsets);
        Ok(places.into_iter().zip(append.records).map(|(partition, record)| self.push(partition, record, true)).collect())
    }

    /// Stages one record of the topology.
    pub(super) fn stage(&mut self, catalog: &Catalog, record: ProducerRecord) -> Result<&Staged, LogError> {
        let partition = place(catalog, &record)?;
        self.push(partition, record, false);
        // `push` has just put it there.
        Ok(&self.records[self.records.len() - 1])
    }

    fn push(&mut self, partition: Arc<Partition>, record: ProducerRecord, from_outside: bool) -> i64 {
        let (_, next) = self.next.entry(partition.id).or_insert_with(|| (partition.clone(), partition.next()));
        let offset = *next;
        *next += 1;
        self.bytes += size_of_record(&record);
        self.records.push(Staged { partition, offset, record, from_outside });
        offset
    }

    /// Takes back what the topology staged: what is left is what the appends from outside brought. Their offsets may change, which
    /// nobody has seen yet.
    pub(super) fn without_topology(self) -> Round {
        let mut kept = Round { offsets: self.offsets, ..Round::default() };
        let mut outside = self.records.into_iter().filter(|staged| staged.from_outside);
        for waiting in self.waiting {
            let records = outside.by_ref().take(waiting.offsets.len());
            let offsets = records.map(|staged| kept.push(staged.partition, staged.record, true)).collect();
            kept.waiting.push(Waiting { offsets, ..waiting });
        }
        kept
    }

    /// The round is closed: the next one follows on it, although it is not committed yet.
    pub(super) fn handed_over(&self) {
        for (partition, next) in self.next.values() {
            partition.next.store(*next, Ordering::Relaxed);
        }
    }

    /// Writes the records and offsets, inside the caller's transaction.
    pub(super) fn write(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        // Stable, so each partition keeps its order: one sequential run of inserts per partition.
        self.records.sort_by_key(|staged| staged.partition.id);
        let mut insert = connection.prepare_cached("INSERT INTO batches (tp, last, records) VALUES (?, ?, ?)")?;
        let mut batch = BatchBuilder::default();
        let mut records = self.records.iter().peekable();
        while let Some(Staged { partition, offset, record, .. }) = records.next() {
            let ProducerRecord { timestamp, key, value, headers, .. } = record;
            batch.push(Entry { offset: *offset, timestamp: *timestamp, key: key.as_deref(), value: value.as_deref(), headers });
            if batch.is_full() || records.peek().is_none_or(|next| next.partition.id != partition.id) {
                insert.execute((partition.id, batch.last(), batch.blob()))?;
                batch.clear();
            }
        }
        let mut end = connection.prepare_cached("UPDATE partitions SET next = ? WHERE tp = ?")?;
        for (partition, next) in self.next.values() {
            end.execute((next, partition.id))?;
        }
        let mut offset = connection.prepare_cached(
            "INSERT INTO group_offsets (\"group\", tp, next) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next",
        )?;
        for ((group, tp), next) in &self.offsets {
            offset.execute((&**group, tp, next))?;
        }
        Ok(())
    }

    /// After the commit, before the sync: the records are in the file, and leave the memory. The partitions' new ends.
    pub(super) fn committed(&mut self) -> Vec<(Arc<Partition>, i64)> {
        self.records = Vec::new();
        self.next.values().cloned().collect()
    }

    /// After the sync: watchers and appenders learn of it.
    pub(super) fn durable(self) {
        for (partition, next) in self.next.values() {
            partition.end.send_replace(*next);
        }
        for Waiting { offsets, pending } in self.waiting {
            answer(pending.reply, Ok(offsets));
        }
    }

    /// Nothing was written, or it may not last: appenders learn why.
    pub(super) fn failed(self, error: &LogError) {
        for Waiting { pending, .. } in self.waiting {
            answer(pending.reply, Err(error.clone()));
        }
    }
}

/// Whoever asked may have gone away meanwhile, which is no error.
pub(super) fn answer<T>(reply: Reply<T>, outcome: Result<T, LogError>) {
    let _ = reply.send(outcome);
}

fn place(catalog: &Catalog, record: &ProducerRecord) -> Result<Arc<Partition>, LogError> {
    let topic = catalog.topic(&record.topic).ok_or_else(|| LogError::UnknownTopic(record.topic.to_string()))?;
    if record.key.is_none() && topic.config.cleanup == Cleanup::Compact {
        return Err(LogError::invalid(format!("record for compacted topic {:?}", record.topic), "it has no key"));
    }
    let count = topic.config.partitions;
    let partition = match (record.partition, &record.key) {
        (Some(partition), _) => partition,
        (None, Some(key)) => partition_for_key(key, count),
        (None, None) => 0,
    };
    usize::try_from(partition)
        .ok()
        .and_then(|index| topic.partitions.get(index).cloned())
        .ok_or_else(|| LogError::UnknownPartition(TopicPartition { topic: record.topic.clone(), partition }))
}

fn group_partition(catalog: &Catalog, tp: &TopicPartition, next: i64) -> Result<i64, LogError> {
    if next < 0 {
        return Err(LogError::invalid(format!("group offset in {tp}"), format!("{next} is negative")));
    }
    Ok(catalog.partition(tp)?.id)
}
