//! Reading a log that another process runs, or that nobody runs.

use std::path::Path;

use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::Connection;

use super::catalog::Catalog;
use super::{LogError, TopicConfig, database, queries, snapshot::Snapshot};
use crate::{ConsumerRecord, TopicPartition};

/// Reads a data folder beside the process that writes it. Sees committed records only, and never blocks the writer.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// use streams::TopicPartition;
/// use streams::ProducerRecord;
/// use streams::embedded::{Append, Log, LogReader, Options, TopicConfig};
///
/// let log = Log::open(folder.path(), Options { min_free_bytes: 0, ..Options::default() })?;
/// log.create_topic(TopicConfig::compact("customers", 1))?;
/// log.append_blocking(Append::of([ProducerRecord::new("customers", "ada", "1")]))?;
///
/// let reader = LogReader::open(folder.path())?; // usually in another process
/// let records = reader.read(&TopicPartition::new("customers", 0), 0, 100, 1 << 20)?;
/// assert_eq!(records[0].key.as_deref(), Some(&b"ada"[..]));
/// # Ok::<(), streams::embedded::LogError>(())
/// ```
#[derive(Debug)]
pub struct LogReader {
    pub(super) connection: Mutex<Connection>,
}

impl LogReader {
    /// Opens the log of a data folder; it must have been started once.
    pub fn open(folder: impl AsRef<Path>) -> Result<LogReader, LogError> {
        Ok(LogReader { connection: Mutex::new(database::open_reader(folder.as_ref())?) })
    }

    /// All topics, by name.
    pub fn topics(&self) -> Result<Vec<TopicConfig>, LogError> {
        let catalog = Catalog::load(&self.connection.lock())?;
        Ok(catalog.topics().iter().map(|topic| topic.config.clone()).collect())
    }

    /// Records from an offset on (from the first one that is left, if retention has removed it): at most `max_records`, and no more
    /// once `max_bytes` are reached.
    pub fn read(&self, tp: &TopicPartition, from: i64, max_records: usize, max_bytes: usize) -> Result<Vec<ConsumerRecord>, LogError> {
        let connection = self.connection.lock();
        let partition = queries::partition(&connection, tp)?;
        queries::read(&connection, partition.id, tp, from.max(partition.beginning), max_records, max_bytes)
    }

    /// Offset of the first record that retention has left.
    pub fn beginning_offset(&self, tp: &TopicPartition) -> Result<i64, LogError> {
        Ok(queries::partition(&self.connection.lock(), tp)?.beginning)
    }

    /// Offset of the next record that will be appended.
    pub fn end_offset(&self, tp: &TopicPartition) -> Result<i64, LogError> {
        Ok(queries::partition(&self.connection.lock(), tp)?.end)
    }

    /// A group's committed offset: that of the next record it will process.
    pub fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<i64>, LogError> {
        let connection = self.connection.lock();
        let id = queries::partition(&connection, tp)?.id;
        queries::committed(&connection, group, id)
    }

    /// Every group's offsets: (group, partition, next).
    pub fn groups(&self) -> Result<Vec<(String, TopicPartition, i64)>, LogError> {
        queries::groups(&self.connection.lock())
    }

    /// One entry of a state store of an application, as committed.
    pub fn store_entry(&self, application: &str, store: &str, partition: i32, key: &[u8]) -> Result<Option<Bytes>, LogError> {
        queries::store_entry(&self.connection.lock(), application, store, partition, key)
    }

    /// Hands every entry of a state store of an application, as committed, in no order that means anything: its partition, key and
    /// value.
    pub fn store_entries<E: From<LogError>>(
        &self,
        application: &str,
        store: &str,
        each: impl FnMut(i32, &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let connection = self.connection.lock();
        let _snapshot = Snapshot::begin(&connection)?;
        queries::store_entries(&connection, application, store, each)
    }
}
