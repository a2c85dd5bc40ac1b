//! A task's stores on disk: a SQLite file that follows the changelogs.
//!
//! Changes and the place in the changelog that they reach are one transaction, which comes after Kafka's commit: the file may lag, and
//! never is ahead. It is not synced at each commit; after a power cut it lags a little more. A damaged file is thrown away and restored.

use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension};

use super::{KafkaStreamsError, state_dir};
use crate::folder_lock::FolderLock;
use crate::store::is_empty_range;
use crate::{StateBacking, StateError, StoreChanges, StoreInstance, TaskId, sqlite_range};

const FILE: &str = "stores.sqlite";
/// `user_version` of the file. One of another version is restored anew.
const FORMAT: i64 = 1;
/// 64 MiB of write-ahead log, until it is copied into the file.
const WAL_PAGES: i64 = 16_384;
/// `next`: the offset in the changelog from which on it is not covered; null before the first restore is complete.
const SCHEMA: &str = "
    CREATE TABLE stores (store INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, next INTEGER);
    CREATE TABLE entries (
        store INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (store, key)
    ) WITHOUT ROWID;
    PRAGMA user_version = 1;
";

/// The stores of one task.
#[derive(Debug)]
pub(super) struct LocalStore {
    task: TaskId,
    folder: PathBuf,
    connection: Connection,
    /// By the store's place in the topology: its number in the file.
    numbers: Vec<Option<i64>>,
    _lock: FolderLock,
}

impl LocalStore {
    /// Opens the stores of a task: their places in the topology, and their names. The folder is locked as long as they are open.
    pub(super) fn open(
        folder: PathBuf,
        task: TaskId,
        stores: &[(usize, Arc<str>)],
        cache_bytes: usize,
    ) -> Result<LocalStore, KafkaStreamsError> {
        let lock = state_dir::lock(&folder)?;
        let opened = open_file(&folder, stores, cache_bytes).or_else(|error| {
            if !is_damage(&error) {
                return Err(failed(task, "opening it")(error));
            }
            tracing::warn!(%task, %error, "A local store is damaged; it is restored from its changelog.");
            remove_files(&folder)?;
            open_file(&folder, stores, cache_bytes).map_err(failed(task, "opening it anew"))
        });
        let (connection, numbers) = opened?;
        Ok(LocalStore { task, folder, connection, numbers, _lock: lock })
    }

    /// Up to where in its changelog a store reaches: the offset of the first record that it does not cover.
    pub(super) fn position(&self, store: usize) -> Result<Option<i64>, KafkaStreamsError> {
        let query = "SELECT next FROM stores WHERE store = ?";
        self.connection.query_row(query, [self.number(store)], |row| row.get(0)).map_err(failed(self.task, "reading a position"))
    }

    /// Takes over what a transaction changed, once it is committed, with the new position of each changelog.
    pub(super) fn commit(&mut self, changes: &[StoreChanges<'_>], positions: &[(usize, i64)]) -> Result<(), KafkaStreamsError> {
        let entries = changes.iter().flat_map(|changes| changes.entries().map(|(key, value)| (changes.store.index, key, value.as_ref())));
        self.write(entries, positions).map_err(failed(self.task, "committing"))
    }

    /// Takes over records of a changelog up to a position.
    pub(super) fn restore(&mut self, store: usize, records: &[(Bytes, Option<Bytes>)], next: i64) -> Result<(), KafkaStreamsError> {
        let entries = records.iter().map(|(key, value)| (store, key, value.as_ref()));
        self.write(entries, &[(store, next)]).map_err(failed(self.task, "restoring"))
    }

    /// Forgets a store's entries and its position.
    pub(super) fn clear(&mut self, store: usize) -> Result<(), KafkaStreamsError> {
        let number = self.number(store);
        let clear = || {
            let transaction = self.connection.unchecked_transaction()?;
            transaction.execute("DELETE FROM entries WHERE store = ?", [number])?;
            transaction.execute("UPDATE stores SET next = NULL WHERE store = ?", [number])?;
            transaction.commit()
        };
        clear().map_err(failed(self.task, "clearing a store"))
    }

    /// Throws the files away: whatever is wrong with them, the changelogs have it all.
    pub(super) fn destroy(self) -> Result<(), KafkaStreamsError> {
        let LocalStore { folder, connection, _lock, .. } = self;
        // A connection that cannot be closed is dropped.
        let _ = connection.close();
        remove_files(&folder)
    }

    fn write<'a>(
        &mut self,
        entries: impl Iterator<Item = (usize, &'a Bytes, Option<&'a Bytes>)>,
        positions: &[(usize, i64)],
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        {
            let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO entries (store, key, value) VALUES (?, ?, ?)")?;
            let mut delete = transaction.prepare_cached("DELETE FROM entries WHERE store = ? AND key = ?")?;
            for (store, key, value) in entries {
                match value {
                    Some(value) => put.execute((self.number(store), &key[..], &value[..]))?,
                    None => delete.execute((self.number(store), &key[..]))?,
                };
            }
            let mut reach = transaction.prepare_cached("UPDATE stores SET next = ? WHERE store = ?")?;
            for (store, next) in positions {
                reach.execute((next, self.number(*store)))?;
            }
        }
        transaction.commit()
    }

    /// A store that is not this task's has no number, and no entries.
    fn number(&self, store: usize) -> i64 {
        self.numbers.get(store).copied().flatten().unwrap_or(0)
    }
}

impl StateBacking for LocalStore {
    fn get(&self, store: &StoreInstance, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        self.connection
            .prepare_cached("SELECT value FROM entries WHERE store = ? AND key = ?")
            .and_then(|mut statement| {
                let value = |row: &rusqlite::Row<'_>| Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?));
                statement.query_row((self.number(store.index), key), value).optional()
            })
            .map_err(|error| StateError::new(store, error))
    }

    fn range(&self, store: &StoreInstance, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        if is_empty_range(from, to) {
            return Ok(Vec::new());
        }
        let select = "SELECT key, value FROM entries WHERE store = ?";
        sqlite_range::page(&self.connection, select, vec![Value::from(self.number(store.index))], from, to, limit)
            .map_err(|error| StateError::new(store, error))
    }
}

/// Opens the file, and finds each store's number in it.
fn open_file(folder: &Path, stores: &[(usize, Arc<str>)], cache_bytes: usize) -> rusqlite::Result<(Connection, Vec<Option<i64>>)> {
    let connection = Connection::open(folder.join(FILE))?;
    // Nobody else opens it, so its index of the write-ahead log need not be shared.
    connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -i64::try_from(cache_bytes / 1024).unwrap_or(8192))?;
    // A random change dirties a page of its own: in a long write-ahead log many changes of a page become one write to the file.
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    connection.set_prepared_statement_cache_capacity(32);
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        FORMAT => {}
        0 => connection.execute_batch(&format!("BEGIN; {SCHEMA} COMMIT;"))?,
        _ => return Err(rusqlite::Error::InvalidQuery),
    }
    let mut numbers = vec![None; stores.iter().map(|(index, _)| index + 1).max().unwrap_or(0)];
    for (index, name) in stores {
        connection.execute("INSERT OR IGNORE INTO stores (name) VALUES (?)", [&**name])?;
        numbers[*index] = Some(connection.query_row("SELECT store FROM stores WHERE name = ?", [&**name], |row| row.get(0))?);
    }
    Ok((connection, numbers))
}

/// Whether the file's content is to blame, rather than the disk or the system.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(code, ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown),
        // Another format, or columns of other types.
        None => true,
    }
}

fn remove_files(folder: &Path) -> Result<(), KafkaStreamsError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = folder.join(format!("{FILE}{suffix}"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(KafkaStreamsError::io(format!("removing {}", path.display()), error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn failed(task: TaskId, action: &'static str) -> impl Fn(rusqlite::Error) -> KafkaStreamsError {
    move |source| KafkaStreamsError::LocalStore { task, action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TaskId = TaskId { subtopology: 0, partition: 3 };

    fn open(folder: &Path) -> LocalStore {
        LocalStore::open(folder.to_owned(), TASK, &[(1, "kept".into()), (4, "seen".into())], 1 << 20).unwrap()
    }

    fn instance(index: usize) -> StoreInstance {
        StoreInstance { name: "any".into(), index, partition: 3 }
    }

    fn entry(key: &'static str, value: Option<&'static str>) -> (Bytes, Option<Bytes>) {
        (Bytes::from_static(key.as_bytes()), value.map(|value| Bytes::from_static(value.as_bytes())))
    }

    #[test]
    fn entries_and_position_come_back_together_and_stores_are_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        assert_eq!(store.position(1).unwrap(), None);
        store.restore(1, &[entry("a", Some("1")), entry("b", Some("2")), entry("a", None)], 12).unwrap();
        drop(store);
        let mut store = open(folder.path());
        assert_eq!((store.position(1).unwrap(), store.position(4).unwrap()), (Some(12), None));
        assert_eq!(store.get(&instance(1), b"a").unwrap(), None);
        let all = store.range(&instance(1), Bound::Unbounded, Bound::Unbounded, 10).unwrap();
        assert_eq!(all, [(Bytes::from_static(b"b"), Bytes::from_static(b"2"))]);
        assert_eq!(store.get(&instance(4), b"b").unwrap(), None);
        store.clear(1).unwrap();
        assert_eq!((store.position(1).unwrap(), store.get(&instance(1), b"b").unwrap()), (None, None));
    }

    #[test]
    fn a_damaged_file_is_replaced_by_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        store.restore(1, &[entry("a", Some("1"))], 12).unwrap();
        drop(store);
        fs::write(folder.path().join(FILE), vec![0x5a; 40_000]).unwrap();
        assert_eq!(open(folder.path()).position(1).unwrap(), None);
    }
}
