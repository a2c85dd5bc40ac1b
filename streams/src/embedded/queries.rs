//! Reads that both the running log and other processes use.

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{LogError, batch, journal};
use crate::{ConsumerRecord, TopicPartition};

/// Committed records of a partition from `from` on: at most `max_records`, and no more once `max_bytes` are reached (at least one
/// record, however large).
pub(super) fn read(
    connection: &Connection,
    id: i64,
    tp: &TopicPartition,
    from: i64,
    max_records: usize,
    max_bytes: usize,
) -> Result<Vec<ConsumerRecord>, LogError> {
    let failed = |error| LogError::sqlite(format!("reading {tp} from offset {from}"), error);
    let mut statement =
        connection.prepare_cached("SELECT records FROM batches WHERE tp = ? AND last >= ? ORDER BY last").map_err(failed)?;
    let mut rows = statement.query((id, from)).map_err(failed)?;
    let mut records = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next().map_err(failed)? {
        let batch = batch::decode(blob(row, 0).map_err(failed)?.unwrap_or_default(), tp)?;
        for record in batch.into_iter().filter(|record| record.offset >= from) {
            bytes += record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len);
            records.push(record);
            if records.len() >= max_records || bytes >= max_bytes {
                return Ok(records);
            }
        }
    }
    Ok(records)
}

/// A blob of a row, borrowed; `None` for NULL.
pub(super) fn blob<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<Option<&'a [u8]>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        value => Ok(Some(value.as_blob()?)),
    }
}

/// A group's offset in a partition: that of the next record it will process.
pub(super) fn committed(connection: &Connection, group: &str, id: i64) -> Result<Option<i64>, LogError> {
    connection
        .prepare_cached("SELECT next FROM group_offsets WHERE \"group\" = ? AND tp = ?")
        .and_then(|mut statement| statement.query_row((group, id), |row| row.get(0)).optional())
        .map_err(|error| LogError::sqlite(format!("reading the offsets of group {group:?}"), error))
}

/// Where a task goes on in a partition.
pub(super) struct Place {
    pub(super) next: Option<i64>,
    pub(super) stream_time: i64,
}

/// Where the tasks of an application go on in a partition.
pub(super) fn place(connection: &Connection, application: &str, id: i64) -> Result<Place, LogError> {
    let row = connection
        .prepare_cached("SELECT next, stream_time FROM group_offsets WHERE \"group\" = ? AND tp = ?")
        .and_then(|mut statement| {
            statement.query_row((application, id), |row| Ok(Place { next: row.get(0)?, stream_time: row.get(1)? })).optional()
        })
        .map_err(|error| LogError::sqlite(format!("reading the offsets of application {application:?}"), error))?;
    Ok(row.unwrap_or(Place { next: None, stream_time: -1 }))
}

/// One entry of a state store, as committed.
pub(super) fn store_entry(
    connection: &Connection,
    application: &str,
    store: &str,
    partition: i32,
    key: &[u8],
) -> Result<Option<Bytes>, LogError> {
    let look = || -> rusqlite::Result<Option<Bytes>> {
        let id = connection
            .prepare_cached("SELECT store FROM stores WHERE application = ? AND name = ?")?
            .query_row((application, store), |row| row.get(0))
            .optional()?;
        let Some(id) = id else { return Ok(None) };
        // First what is not written behind yet: what leaves the journal meanwhile is found after it.
        let mut journal = connection.prepare_cached("SELECT changes FROM journal ORDER BY number DESC")?;
        let mut rows = journal.query([])?;
        while let Some(row) = rows.next()? {
            let changes = Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?);
            if let Some(value) = journal::find(changes, (id, partition), key)? {
                return Ok(value);
            }
        }
        connection
            .prepare_cached("SELECT value FROM entries WHERE store = ? AND partition = ? AND key = ?")?
            .query_row((id, partition, key), |row| row.get::<_, Vec<u8>>(0).map(Bytes::from))
            .optional()
    };
    look().map_err(|error| LogError::sqlite(format!("reading store {store:?}"), error))
}

/// Every entry of a state store, as committed: partition, key and value.
pub(super) fn store_entries<E: From<LogError>>(
    connection: &Connection,
    application: &str,
    store: &str,
    mut each: impl FnMut(i32, &[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |error| LogError::sqlite(format!("reading store {store:?}"), error);
    let id = connection
        .prepare_cached("SELECT store FROM stores WHERE application = ? AND name = ?")
        .and_then(|mut statement| statement.query_row((application, store), |row| row.get::<_, i64>(0)).optional())
        .map_err(failed)?;
    let Some(id) = id else { return Ok(()) };
    let mut young = journal::Journal::open(connection, usize::MAX).map_err(failed)?.of_store(id);
    let mut statement = connection.prepare_cached("SELECT partition, key, value FROM entries WHERE store = ?").map_err(failed)?;
    let mut rows = statement.query([id]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let partition: i32 = row.get(0).map_err(failed)?;
        let key = blob(row, 1).map_err(failed)?.unwrap_or_default();
        match young.remove(&(partition, Bytes::copy_from_slice(key))) {
            Some(Some(value)) => each(partition, key, &value)?,
            Some(None) => {}
            None => each(partition, key, blob(row, 2).map_err(failed)?.unwrap_or_default())?,
        }
    }
    young.into_iter().try_for_each(|((partition, key), value)| value.map_or(Ok(()), |value| each(partition, &key, &value)))
}

/// Every group's offsets: (group, partition, next).
pub(super) fn groups(connection: &Connection) -> Result<Vec<(String, TopicPartition, i64)>, LogError> {
    connection
        .prepare_cached(
            "SELECT \"group\", name, partition, group_offsets.next FROM group_offsets JOIN partitions USING (tp) JOIN topics USING (topic)
             ORDER BY 1, 2, 3",
        )
        .and_then(|mut statement| {
            let row = |row: &Row<'_>| Ok((row.get(0)?, TopicPartition::new(row.get::<_, String>(1)?, row.get(2)?), row.get(3)?));
            statement.query_map([], row)?.collect()
        })
        .map_err(|error| LogError::sqlite("reading the group offsets", error))
}

/// A partition's row.
pub(super) struct PartitionRow {
    pub(super) id: i64,
    pub(super) beginning: i64,
    pub(super) end: i64,
}

/// Looks a partition up in the tables.
pub(super) fn partition(connection: &Connection, tp: &TopicPartition) -> Result<PartitionRow, LogError> {
    let row = connection
        .prepare_cached(
            "SELECT tp, beginning, next FROM topics LEFT JOIN partitions ON partitions.topic = topics.topic AND partition = ? WHERE name = ?",
        )
        .and_then(|mut statement| {
            let row = |row: &Row<'_>| Ok((row.get::<_, Option<i64>>(0)?, row.get(1)?, row.get(2)?));
            statement.query_row((tp.partition, &*tp.topic), row).optional()
        })
        .map_err(|error| LogError::sqlite(format!("looking up {tp}"), error))?;
    match row {
        None => Err(LogError::UnknownTopic(tp.topic.to_string())),
        Some((Some(id), Some(beginning), Some(end))) => Ok(PartitionRow { id, beginning, end }),
        Some(_) => Err(LogError::UnknownPartition(tp.clone())),
    }
}
