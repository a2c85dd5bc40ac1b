//! Compaction: of each key the newest record stays. Two passes, each in slices: the keys of what is not yet cleaned, then everything
//! from the beginning. A crash in between loses nothing but the work.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};
use rustc_hash::FxHashMap;

use super::batch::{self, BatchBuilder};
use super::catalog::Partition;
use super::housekeeping::SLICE;
use super::{LogError, Options, queries, topics};
use crate::ConsumerRecord;

/// Keys that one cleaning holds in memory (about 40 bytes each); what comes after waits for the next one.
const MAX_KEYS: usize = 250_000;
/// Fewer new records than this are not worth a cleaning, until they are old.
const MIN_DIRTY: i64 = 1_000;

/// Cleans one partition.
#[derive(Debug)]
pub(super) struct Cleaner {
    partition: Arc<Partition>,
    hashes: (RandomState, RandomState),
    /// Hash of a key → offset of its newest record before `end`. 128 random-keyed bits: no two keys share one.
    newest: FxHashMap<(u64, u64), i64>,
    /// Where the keys end that are in `newest`; set back when they are too many.
    end: i64,
    /// Tombstones before this offset are old enough to go.
    tombstones_before: i64,
    /// Next offset of the present pass.
    at: i64,
    removing: bool,
    kept: i64,
    tombstones: i64,
}

impl Cleaner {
    /// A cleaner, if the partition has enough that is not clean, or something has waited for long.
    pub(super) fn if_due(
        connection: &Connection,
        partition: &Arc<Partition>,
        options: &Options,
        tombstones_before: i64,
        now: i64,
    ) -> rusqlite::Result<Option<Cleaner>> {
        let row = connection
            .prepare_cached("SELECT cleaned, cleaned_at, kept, tombstones FROM partitions WHERE tp = ?")?
            .query_row([partition.id], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
            })
            .optional()?;
        let Some((cleaned, cleaned_at, kept, tombstones)) = row else { return Ok(None) };
        let dirty = partition.committed_end() - cleaned;
        let enough = dirty >= MIN_DIRTY && dirty as f64 >= options.min_cleanable_ratio * (dirty + kept) as f64;
        let waited = now.saturating_sub(cleaned_at) >= i64::try_from(options.delete_retention.as_millis()).unwrap_or(i64::MAX);
        let due = enough || (waited && (dirty > 0 || tombstones > 0));
        Ok(due.then(|| Cleaner {
            partition: partition.clone(),
            hashes: (RandomState::new(), RandomState::new()),
            newest: FxHashMap::default(),
            end: partition.committed_end(),
            tombstones_before,
            at: cleaned,
            removing: false,
            kept: 0,
            tombstones: 0,
        }))
    }

    /// One slice of the pass that is under way; true: all is clean.
    pub(super) fn slice(&mut self, connection: &Connection, now: i64) -> Result<bool, LogError> {
        if self.removing { self.remove(connection, now) } else { self.collect(connection) }
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.hashes.0.hash_one(key), self.hashes.1.hash_one(key))
    }

    /// Learns the newest offset of each key.
    fn collect(&mut self, connection: &Connection) -> Result<bool, LogError> {
        for Batch { last, records } in self.read(connection)? {
            for record in records.iter().filter(|record| record.offset >= self.at && record.offset < self.end) {
                let hash = self.hash(record.key.as_deref().unwrap_or_default());
                self.newest.insert(hash, record.offset);
            }
            self.at = last + 1;
        }
        if self.newest.len() >= MAX_KEYS {
            self.end = self.end.min(self.at);
        }
        if self.at >= self.end {
            self.at = 0;
            self.removing = true;
        }
        Ok(false)
    }

    /// Removes what has a newer record, and old tombstones.
    fn remove(&mut self, connection: &Connection, now: i64) -> Result<bool, LogError> {
        let batches = self.read(connection)?;
        let failed = |error| LogError::sqlite("writing what is left", error);
        let transaction = topics::begin(connection).map_err(failed)?;
        for Batch { last, records } in batches {
            let mut left = BatchBuilder::default();
            let before = records.len();
            let mut kept = 0;
            for record in records {
                let hash = self.hash(record.key.as_deref().unwrap_or_default());
                let is_tombstone = record.value.is_none();
                let superseded = self.newest.get(&hash).is_some_and(|newest| *newest > record.offset);
                if superseded || (is_tombstone && record.offset < self.tombstones_before) {
                    continue;
                }
                left.push(batch::entry(&record));
                kept += 1;
                self.kept += i64::from(record.offset < self.end);
                self.tombstones += i64::from(is_tombstone);
            }
            if left.is_empty() {
                let mut delete = transaction.prepare_cached("DELETE FROM batches WHERE tp = ? AND last = ?").map_err(failed)?;
                delete.execute((self.partition.id, last)).map_err(failed)?;
            } else if kept < before {
                let mut update = transaction.prepare_cached("UPDATE batches SET records = ? WHERE tp = ? AND last = ?").map_err(failed)?;
                update.execute((left.blob(), self.partition.id, last)).map_err(failed)?;
            }
            self.at = last + 1;
        }
        let done = self.at >= self.end;
        if done {
            self.note_done(&transaction, now).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        Ok(done)
    }

    fn note_done(&self, connection: &Connection, now: i64) -> rusqlite::Result<()> {
        connection
            .prepare_cached("UPDATE partitions SET cleaned = ?, cleaned_at = ?, kept = ?, tombstones = ? WHERE tp = ?")?
            .execute((self.end, now, self.kept, self.tombstones, self.partition.id))?;
        connection
            .prepare_cached("DELETE FROM marks WHERE tp = ?1 AND offset <= ?2 AND at < (SELECT max(at) FROM marks WHERE tp = ?1)")?
            .execute((self.partition.id, self.tombstones_before))?;
        Ok(())
    }

    /// The batches of the next slice. Moves to the end when there are no more.
    fn read(&mut self, connection: &Connection) -> Result<Vec<Batch>, LogError> {
        let failed = |error| LogError::sqlite("reading a slice", error);
        let mut statement =
            connection.prepare_cached("SELECT last, records FROM batches WHERE tp = ? AND last >= ? ORDER BY last").map_err(failed)?;
        let mut rows = statement.query((self.partition.id, self.at)).map_err(failed)?;
        let (mut batches, mut count, mut after) = (Vec::new(), 0, self.at);
        while count < SLICE as usize
            && after < self.end
            && let Some(row) = rows.next().map_err(failed)?
        {
            let last = row.get(0).map_err(failed)?;
            let records = batch::decode(queries::blob(row, 1).map_err(failed)?.unwrap_or_default(), &self.partition.name)?;
            count += records.len();
            after = last + 1;
            batches.push(Batch { last, records });
        }
        if batches.is_empty() {
            self.at = self.end;
        }
        Ok(batches)
    }
}

/// A batch and its place.
struct Batch {
    last: i64,
    records: Vec<ConsumerRecord>,
}
