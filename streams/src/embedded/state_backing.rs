//! The stores' committed entries, as tasks read them, and how a commit writes their changes.

use std::cell::RefCell;
use std::ops::Bound;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter, types::Value};

use super::entry_cache::EntryCache;
use crate::{StateBacking, StateError, StoreChanges, StoreInstance};

/// Reads on the writer's connection: no transaction is open while tasks run, so they see what is committed.
pub(super) struct SqliteState<'a> {
    pub(super) connection: &'a Connection,
    /// The stores' ids in the file, by their place in the topology.
    pub(super) ids: &'a [i64],
    pub(super) cache: &'a RefCell<EntryCache>,
}

impl StateBacking for SqliteState<'_> {
    fn get(&self, store: &StoreInstance, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        if let Some(value) = self.cache.borrow_mut().get(store, key) {
            return Ok(Some(value));
        }
        self.connection
            .prepare_cached("SELECT value FROM entries WHERE store = ? AND partition = ? AND key = ?")
            .and_then(|mut statement| {
                let value = |row: &Row<'_>| Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?));
                statement.query_row((self.ids[store.index], store.partition, key), value).optional()
            })
            .map_err(|error| StateError::new(store, error))
    }

    fn range(&self, store: &StoreInstance, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let mut sql = String::from("SELECT key, value FROM entries WHERE store = ? AND partition = ?");
        let mut values = vec![Value::from(self.ids[store.index]), Value::from(store.partition)];
        for (bound, inclusive, exclusive) in [(from, " AND key >= ?", " AND key > ?"), (to, " AND key <= ?", " AND key < ?")] {
            let (condition, key) = match bound {
                Bound::Included(key) => (inclusive, key),
                Bound::Excluded(key) => (exclusive, key),
                Bound::Unbounded => continue,
            };
            sql.push_str(condition);
            values.push(Value::from(key.to_vec()));
        }
        sql.push_str(" ORDER BY key LIMIT ?");
        values.push(Value::from(i64::try_from(limit).unwrap_or(i64::MAX)));
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                let entry = |row: &Row<'_>| {
                    Ok((Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?), Bytes::copy_from_slice(row.get_ref(1)?.as_blob()?)))
                };
                statement.query_map(params_from_iter(values), entry)?.collect()
            })
            .map_err(|error| StateError::new(store, error))
    }
}

/// Writes one store's changes, in order of key, so that those on one page meet. Returns how many there were.
pub(super) fn write(connection: &Connection, id: i64, changes: &StoreChanges<'_>) -> rusqlite::Result<usize> {
    // OR REPLACE on a table whose only index is its primary key: one descent, no look for conflicts.
    let mut put = connection.prepare_cached("INSERT OR REPLACE INTO entries (store, partition, key, value) VALUES (?, ?, ?, ?)")?;
    let mut delete = connection.prepare_cached("DELETE FROM entries WHERE store = ? AND partition = ? AND key = ?")?;
    for (key, value) in changes.entries() {
        match value {
            Some(value) => put.execute((id, changes.store.partition, &**key, &**value))?,
            None => delete.execute((id, changes.store.partition, &**key))?,
        };
    }
    Ok(changes.len())
}

/// The id of a store of an application, which is made if it is new. By its name, since its place may change between versions.
pub(super) fn id(connection: &Connection, application: &str, name: &str) -> rusqlite::Result<i64> {
    connection.execute("INSERT OR IGNORE INTO stores (application, name) VALUES (?, ?)", (application, name))?;
    connection.query_row("SELECT store FROM stores WHERE application = ? AND name = ?", (application, name), |row| row.get(0))
}
