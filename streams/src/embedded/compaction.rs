//! Compaction: of each key the newest record stays. Two passes, each in slices: the keys of what is not yet cleaned, then everything
//! from the beginning. A crash in between loses nothing but the work.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};
use rustc_hash::FxHashMap;

use super::catalog::Partition;
use super::housekeeping::SLICE;
use super::{LogError, Options, queries, topics};

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
        let dirty = partition.end() - cleaned;
        let enough = dirty >= MIN_DIRTY && dirty as f64 >= options.min_cleanable_ratio * (dirty + kept) as f64;
        let waited = now.saturating_sub(cleaned_at) >= i64::try_from(options.delete_retention.as_millis()).unwrap_or(i64::MAX);
        let due = enough || (waited && (dirty > 0 || tombstones > 0));
        Ok(due.then(|| Cleaner {
            partition: partition.clone(),
            hashes: (RandomState::new(), RandomState::new()),
            newest: FxHashMap::default(),
            end: partition.end(),
            tombstones_before,
            at: cleaned,
            removing: false,
            kept: 0,
            tombstones: 0,
        }))
    }

    /// One slice of the pass that is under way; true: all is clean.
    pub(super) fn slice(&mut self, connection: &Connection, now: i64) -> Result<bool, LogError> {
        let outcome = if self.removing { self.remove(connection, now) } else { self.collect(connection) };
        outcome.map_err(|error| LogError::sqlite(format!("compacting {}", self.partition.name), error))
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.hashes.0.hash_one(key), self.hashes.1.hash_one(key))
    }

    /// Learns the newest offset of each key.
    fn collect(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        for (offset, key, _) in self.read(connection)? {
            let hash = self.hash(&key);
            self.newest.insert(hash, offset);
            self.at = offset + 1;
        }
        if self.newest.len() >= MAX_KEYS {
            self.end = self.at;
        }
        if self.at >= self.end {
            self.at = 0;
            self.removing = true;
        }
        Ok(false)
    }

    /// Removes what has a newer record, and old tombstones.
    fn remove(&mut self, connection: &Connection, now: i64) -> rusqlite::Result<bool> {
        let records = self.read(connection)?;
        let transaction = topics::begin(connection)?;
        for (offset, key, is_tombstone) in records {
            let superseded = self.newest.get(&self.hash(&key)).is_some_and(|newest| *newest > offset);
            if superseded || (is_tombstone && offset < self.tombstones_before) {
                transaction.prepare_cached("DELETE FROM records WHERE tp = ? AND offset = ?")?.execute((self.partition.id, offset))?;
            } else {
                self.kept += 1;
                self.tombstones += i64::from(is_tombstone);
            }
            self.at = offset + 1;
        }
        let done = self.at >= self.end;
        if done {
            transaction
                .prepare_cached("UPDATE partitions SET cleaned = ?, cleaned_at = ?, kept = ?, tombstones = ? WHERE tp = ?")?
                .execute((self.end, now, self.kept, self.tombstones, self.partition.id))?;
            transaction
                .prepare_cached("DELETE FROM marks WHERE tp = ?1 AND offset <= ?2 AND at < (SELECT max(at) FROM marks WHERE tp = ?1)")?
                .execute((self.partition.id, self.tombstones_before))?;
        }
        transaction.commit()?;
        Ok(done)
    }

    /// The next slice of records: (offset, key, whether it is a tombstone). Moves to the end when there are no more.
    fn read(&mut self, connection: &Connection) -> rusqlite::Result<Vec<(i64, Vec<u8>, bool)>> {
        let records: Vec<_> = connection
            .prepare_cached(
                "SELECT offset, key, value IS NULL FROM records WHERE tp = ? AND offset >= ? AND offset < ? ORDER BY offset LIMIT ?",
            )?
            .query_map((self.partition.id, self.at, self.end, SLICE), |row| {
                Ok((row.get(0)?, queries::blob(row, 1)?.unwrap_or_default().to_vec(), row.get(2)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        if records.is_empty() {
            self.at = self.end;
        }
        Ok(records)
    }
}
