//! A task's stores on disk: a log of its own for each, which follows its changelog.
//!
//! Changes and the place in the changelog that they reach are one transaction of the log, which comes after Kafka's commit: the log may
//! lag, and never is ahead. It is not synced at each commit; after a power cut it lags a little more. A damaged log is thrown away and
//! restored.
//!
//! | module | why it exists |
//! |---|---|
//! | `record` | the format: entries and the marks that end transactions, each with a check |
//! | `segment` | the files, and going through them |
//! | `index` | where each key's newest value is |
//! | `recent` | where the keys were that were just read |
//! | `log` | one store: opened, read, written |
//! | `compaction` | room is won from the oldest segment, slice by slice |

mod compaction;
mod index;
mod log;
mod recent;
mod record;
mod segment;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use self::log::{Log, SEGMENT};
use super::{KafkaStreamsError, state_dir};
use crate::folder_lock::FolderLock;
use crate::store::is_empty_range;
use crate::{StateBacking, StateError, StoreChanges, StoreInstance, TaskId};

/// How far a store follows its changelog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The offset of the first record that it does not cover.
    pub(super) next: i64,
    /// When no record from `next` on was yet compacted away, in milliseconds since 1970.
    pub(super) as_of: i64,
}

/// The stores of one task.
#[derive(Debug)]
pub(super) struct LocalStore {
    task: TaskId,
    folder: PathBuf,
    /// By the store's place in the topology.
    logs: Vec<Option<Log>>,
    _lock: FolderLock,
}

impl LocalStore {
    /// Opens the stores of a task: their places in the topology, and their names. The folder is locked as long as they are open.
    pub(super) fn open(folder: PathBuf, task: TaskId, stores: &[(usize, Arc<str>)]) -> Result<LocalStore, KafkaStreamsError> {
        let lock = state_dir::lock(&folder)?;
        let mut logs: Vec<Option<Log>> = Vec::new();
        logs.resize_with(stores.iter().map(|(index, _)| index + 1).max().unwrap_or(0), || None);
        for (index, name) in stores {
            logs[*index] = Some(open_log(task, &folder.join(folder_name(name)))?);
        }
        Ok(LocalStore { task, folder, logs, _lock: lock })
    }

    /// Up to where in its changelog a store reaches.
    pub(super) fn position(&self, store: usize) -> Option<Position> {
        self.log(store).and_then(Log::position)
    }

    /// Takes over what a transaction changed, once it is committed, with the new position in each changelog.
    pub(super) fn commit(&mut self, changes: &[StoreChanges<'_>], positions: &[(usize, Position)]) -> Result<(), KafkaStreamsError> {
        for changes in changes {
            let store = changes.store.index;
            let position = positions.iter().find(|(of, _)| *of == store).map(|(_, position)| *position);
            let entries = changes.entries().map(|(key, value)| (&key[..], value.as_deref()));
            self.log_mut(store)?.write(entries, position).map_err(failed(self.task, "committing"))?;
        }
        Ok(())
    }

    /// Takes over records of a changelog up to a position.
    pub(super) fn restore(
        &mut self,
        store: usize,
        records: &[(Bytes, Option<Bytes>)],
        position: Position,
    ) -> Result<(), KafkaStreamsError> {
        let entries = records.iter().map(|(key, value)| (&key[..], value.as_deref()));
        self.log_mut(store)?.write(entries, Some(position)).map_err(failed(self.task, "restoring"))
    }

    /// Forgets a store's entries and its position.
    pub(super) fn clear(&mut self, store: usize) -> Result<(), KafkaStreamsError> {
        self.log_mut(store)?.clear().map_err(failed(self.task, "clearing a store"))
    }

    /// Throws the files away: whatever is wrong with them, the changelogs have it all.
    pub(super) fn destroy(self) -> Result<(), KafkaStreamsError> {
        let destroy = || {
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    segment::remove_all(&entry.path())?;
                }
            }
            Ok(())
        };
        destroy().map_err(failed(self.task, "throwing it away"))
    }

    fn log(&self, store: usize) -> Option<&Log> {
        self.logs.get(store)?.as_ref()
    }

    fn log_mut(&mut self, store: usize) -> Result<&mut Log, KafkaStreamsError> {
        let log = self.logs.get_mut(store).and_then(Option::as_mut);
        log.ok_or_else(|| KafkaStreamsError::invariant(format!("store {store} is not one of task {}", self.task)))
    }
}

impl StateBacking for LocalStore {
    fn get(&self, store: &StoreInstance, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let Some(log) = self.log(store.index) else { return Ok(None) };
        log.get(key).map_err(|error| StateError::new(store, error))
    }

    fn range(&self, store: &StoreInstance, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let Some(log) = self.log(store.index).filter(|_| !is_empty_range(from, to)) else { return Ok(Vec::new()) };
        log.range(from, to, limit).map_err(|error| StateError::new(store, error))
    }
}

/// Opens a store's log; a damaged one is replaced by an empty one.
fn open_log(task: TaskId, folder: &Path) -> Result<Log, KafkaStreamsError> {
    let opened = Log::open(folder, SEGMENT).or_else(|error| {
        if !is_damage(&error) {
            return Err(error);
        }
        tracing::warn!(%task, %error, "A local store is damaged; it is restored from its changelog.");
        segment::remove_all(folder)?;
        Log::open(folder, SEGMENT)
    });
    opened.map_err(failed(task, "opening it"))
}

/// Whether the files' content is to blame, rather than the disk or the system.
pub(super) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// A store's folder: its name, with what a file system may not like as `%` and two hexadecimal digits.
fn folder_name(store: &str) -> String {
    let mut name = String::from("store-");
    for byte in store.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

fn failed(task: TaskId, action: &'static str) -> impl Fn(io::Error) -> KafkaStreamsError {
    move |source| KafkaStreamsError::LocalStore { task, action, source }
}
