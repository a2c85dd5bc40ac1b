//! One page of a store's entries from a SQLite table, in order of key.

use std::ops::Bound;

use bytes::Bytes;
use rusqlite::{Connection, Row, params_from_iter, types::Value};

/// At most `limit` entries whose keys are within the bounds, in order of key. `select` ends in a condition that chooses the store, with
/// `values` for its parameters.
pub(crate) fn page(
    connection: &Connection,
    select: &str,
    mut values: Vec<Value>,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
    limit: usize,
) -> rusqlite::Result<Vec<(Bytes, Bytes)>> {
    let mut sql = String::from(select);
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
    let mut statement = connection.prepare_cached(&sql)?;
    let entry =
        |row: &Row<'_>| Ok((Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?), Bytes::copy_from_slice(row.get_ref(1)?.as_blob()?)));
    statement.query_map(params_from_iter(values), entry)?.collect()
}
