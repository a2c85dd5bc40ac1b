//! The stores' committed entries, as tasks read them: what the journal knows, over what is in the table.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, types::Value};

use super::journal::{Journal, Place};
use crate::sqlite_range;
use crate::store::is_empty_range;
use crate::{StateBacking, StateError, StoreInstance};

/// What is committed, and in the journal what is about to be.
pub(super) struct SqliteState<'a> {
    pub(super) connection: &'a Connection,
    /// The stores' ids in the file, by their place in the topology.
    pub(super) ids: &'a [i64],
    pub(super) journal: &'a Journal,
}

impl StateBacking for SqliteState<'_> {
    fn get(&self, store: &StoreInstance, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        if let Some(value) = self.journal.get(self.place(store), key) {
            return Ok(value);
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
        let place = self.place(store);
        let mut entries = Vec::new();
        let mut from = from.map(Bytes::copy_from_slice);
        while entries.len() < limit {
            let start = from.as_ref().map(|key| &**key);
            if is_empty_range(start, to) {
                break;
            }
            let page = self.page(place, start, to, limit).map_err(|error| StateError::new(store, error))?;
            let next = (page.len() == limit).then(|| page.last().map(|(key, _)| key.clone())).flatten();
            let end = next.as_ref().map_or(to, |last| Bound::Included(&**last));
            let mut merged: BTreeMap<Bytes, Option<Bytes>> = page.into_iter().map(|(key, value)| (key, Some(value))).collect();
            merged.extend(self.journal.range(place, start, end));
            entries.extend(merged.into_iter().filter_map(|(key, value)| Some((key, value?))));
            match next {
                Some(last) => from = Bound::Excluded(last),
                None => break,
            }
        }
        entries.truncate(limit);
        Ok(entries)
    }
}

impl SqliteState<'_> {
    fn place(&self, store: &StoreInstance) -> Place {
        (self.ids[store.index], store.partition)
    }

    /// Entries of the table, as `range` gives them.
    fn page(&self, (store, partition): Place, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> rusqlite::Result<Vec<(Bytes, Bytes)>> {
        let select = "SELECT key, value FROM entries WHERE store = ? AND partition = ?";
        sqlite_range::page(self.connection, select, vec![Value::from(store), Value::from(partition)], from, to, limit)
    }
}

/// The id of a store of an application, which is made if it is new. By its name, since its place may change between versions.
pub(super) fn id(connection: &Connection, application: &str, name: &str) -> rusqlite::Result<i64> {
    connection.execute("INSERT OR IGNORE INTO stores (application, name) VALUES (?, ?)", (application, name))?;
    connection.query_row("SELECT store FROM stores WHERE application = ? AND name = ?", (application, name), |row| row.get(0))
}
