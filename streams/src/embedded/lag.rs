//! How far the groups of a log are behind, also while another process runs it.

use bytes::Bytes;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{LogError, LogReader, queries};
use crate::lag::{COUNTED, Left};
use crate::{PartitionLag, TopicPartition};

/// What is read of a partition to count its records.
const BYTES: usize = 1 << 20;

impl LogReader {
    /// Every group in every partition that it reads, by group, topic and partition, all as of one moment.
    pub fn lag(&self) -> Result<Vec<PartitionLag>, LogError> {
        let connection = self.connection.lock();
        let snapshot = Transaction::new_unchecked(&connection, TransactionBehavior::Deferred)
            .map_err(|error| LogError::sqlite("reading the group offsets", error))?;
        queries::groups(&snapshot)?.into_iter().map(|(group, tp, next)| of_partition(&snapshot, group, tp, next)).collect()
    }
}

fn of_partition(connection: &Connection, group: String, tp: TopicPartition, next: i64) -> Result<PartitionLag, LogError> {
    let partition = queries::partition(connection, &tp)?;
    let end = partition.end;
    // One more than is counted, so that fewer are all there are.
    let records = queries::read(connection, partition.id, &tp, next.max(partition.beginning), COUNTED + 1, BYTES)?;
    let mut left = Left::default();
    records.iter().for_each(|record| left.see(record));
    let bytes: usize = records.iter().flat_map(|record| [&record.key, &record.value]).flatten().map(Bytes::len).sum();
    let all = !left.is_counted() && bytes < BYTES;
    Ok(PartitionLag { group, partition: tp, committed: Some(next), end, lag: left.lag(all, end), oldest: left.oldest() })
}
