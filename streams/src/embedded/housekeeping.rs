//! Old records go, in small slices between rounds, so that a log that has run for months stays small.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension};
use rustc_hash::FxHashMap;

use super::catalog::{Catalog, Partition, Topic};
use super::compaction::Cleaner;
use super::{Cleanup, LogError, Options, topics};

/// Records that one slice removes or looks at: a few milliseconds.
pub(super) const SLICE: i64 = 2_000;

/// What is to be done, a slice at a time.
#[derive(Debug)]
enum Task {
    /// Remove what is before this offset.
    Expire(Arc<Partition>, i64),
    /// Keep the newest of each key.
    Clean(Box<Cleaner>),
}

/// What a call of [`Housekeeping::slice`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slice {
    /// There was nothing to do.
    Idle,
    /// It did the last of what there was to do.
    Last,
    /// There is more.
    More,
}

/// The chores, and when to look for more.
#[derive(Debug)]
pub(super) struct Housekeeping {
    /// By the injected clock.
    next_look: i64,
    todo: Vec<Task>,
    /// Partition's id → (time, end offset) of its newest mark.
    marks: FxHashMap<i64, (i64, i64)>,
}

impl Housekeeping {
    pub(super) fn new(connection: &Connection) -> Result<Housekeeping, LogError> {
        let newest = "SELECT tp, max(at), offset FROM marks GROUP BY tp";
        let marks = connection
            .prepare(newest)
            .and_then(|mut statement| statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?.collect())
            .map_err(|error| LogError::sqlite("reading the ages of records", error))?;
        Ok(Housekeeping { next_look: i64::MIN, todo: Vec::new(), marks })
    }

    pub(super) fn next_look(&self) -> i64 {
        self.next_look
    }

    /// Whether something is left to do of what was found.
    pub(super) fn is_under_way(&self) -> bool {
        !self.todo.is_empty()
    }

    /// Does one slice, if there is anything to do.
    pub(super) fn slice(&mut self, connection: &Connection, catalog: &Catalog, options: &Options) -> Result<Slice, LogError> {
        let now = options.clock.now_ms();
        if self.todo.is_empty() && now >= self.next_look {
            let interval = i64::try_from(options.housekeeping_interval.as_millis()).unwrap_or(i64::MAX);
            self.next_look = now.saturating_add(interval.max(1));
            self.look(connection, catalog, options, now)?;
        }
        let Some(task) = self.todo.last_mut() else { return Ok(Slice::Idle) };
        let done = match task {
            Task::Expire(partition, limit) => expire(connection, partition, *limit)?,
            Task::Clean(cleaner) => cleaner.slice(connection, now)?,
        };
        if done {
            self.todo.pop();
        }
        Ok(if self.todo.is_empty() { Slice::Last } else { Slice::More })
    }

    /// Looks for chores at the next slice, whatever the clock says.
    pub(super) fn look_now(&mut self) {
        self.todo.clear();
        self.next_look = i64::MIN;
    }

    /// Gives up what was begun, after an error; it is found again.
    pub(super) fn forget(&mut self) {
        self.todo.clear();
    }

    fn look(&mut self, connection: &Connection, catalog: &Catalog, options: &Options, now: i64) -> Result<(), LogError> {
        let failed = |error| LogError::sqlite("looking for old records", error);
        let tombstones_ms = i64::try_from(options.delete_retention.as_millis()).unwrap_or(i64::MAX);
        for topic in catalog.topics() {
            let retention = match topic.config.cleanup {
                Cleanup::Delete { retention_ms } => retention_ms,
                Cleanup::Compact => tombstones_ms,
            };
            self.mark(connection, &topic, retention, now).map_err(failed)?;
            for partition in &topic.partitions {
                let horizon = horizon(connection, partition, retention, now).map_err(failed)?;
                let passed = passed_by_all(connection, partition).map_err(failed)?;
                let limit = passed.map_or(horizon, |passed| passed.min(horizon));
                match topic.config.cleanup {
                    Cleanup::Delete { .. } if limit > partition.beginning() => self.todo.push(Task::Expire(partition.clone(), limit)),
                    Cleanup::Delete { .. } => {}
                    Cleanup::Compact => {
                        let cleaner = Cleaner::if_due(connection, partition, options, limit, now).map_err(failed)?;
                        self.todo.extend(cleaner.map(|cleaner| Task::Clean(Box::new(cleaner))));
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes how far each partition is now, so that later it is known how old its records are (by when they were appended, whatever
    /// their timestamps say).
    fn mark(&mut self, connection: &Connection, topic: &Topic, retention: i64, now: i64) -> rusqlite::Result<()> {
        const SIX_HOURS: i64 = 6 * 3600 * 1000;
        let interval = (retention / 16).clamp(0, SIX_HOURS);
        for partition in &topic.partitions {
            let (at, offset) = self.marks.get(&partition.id).copied().unwrap_or((i64::MIN, 0));
            let end = partition.committed_end();
            if end > offset && now.saturating_sub(at) >= interval {
                connection.prepare_cached("INSERT OR REPLACE INTO marks (tp, at, offset) VALUES (?, ?, ?)")?.execute((
                    partition.id,
                    now,
                    end,
                ))?;
                self.marks.insert(partition.id, (now, end));
            }
        }
        Ok(())
    }
}

/// Everything before this offset is older than the retention.
fn horizon(connection: &Connection, partition: &Partition, retention: i64, now: i64) -> rusqlite::Result<i64> {
    let offset = connection
        .prepare_cached("SELECT offset FROM marks WHERE tp = ? AND at <= ? ORDER BY at DESC LIMIT 1")?
        .query_row((partition.id, now.saturating_sub(retention)), |row| row.get(0))
        .optional()?;
    Ok(offset.unwrap_or(0))
}

/// The offset that every group that reads the partition has reached; `None` without groups.
fn passed_by_all(connection: &Connection, partition: &Partition) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached("SELECT min(next) FROM group_offsets WHERE tp = ?")?.query_row([partition.id], |row| row.get(0))
}

/// Removes a slice of what is before `limit`; true: all of it is gone.
fn expire(connection: &Connection, partition: &Partition, limit: i64) -> Result<bool, LogError> {
    let to = limit.min(partition.beginning() + SLICE);
    let write = || -> rusqlite::Result<()> {
        let transaction = topics::begin(connection)?;
        transaction.prepare_cached("DELETE FROM batches WHERE tp = ? AND last < ?")?.execute((partition.id, to))?;
        transaction.prepare_cached("UPDATE partitions SET beginning = ? WHERE tp = ?")?.execute((to, partition.id))?;
        // The newest mark stays: it says that nothing is to be marked.
        transaction
            .prepare_cached("DELETE FROM marks WHERE tp = ?1 AND offset <= ?2 AND at < (SELECT max(at) FROM marks WHERE tp = ?1)")?
            .execute((partition.id, to))?;
        transaction.commit()
    };
    write().map_err(|error| LogError::sqlite(format!("removing old records of {}", partition.name), error))?;
    partition.beginning.store(to, Ordering::Release);
    Ok(to >= limit)
}
