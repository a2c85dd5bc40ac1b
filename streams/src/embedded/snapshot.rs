//! One read transaction for all reads of a round: each read by itself would take and free SQLite's locks.

use rusqlite::Connection;

use super::LogError;

/// A snapshot; ends when dropped.
pub(super) struct Snapshot<'a>(&'a Connection);

impl<'a> Snapshot<'a> {
    pub(super) fn begin(connection: &'a Connection) -> Result<Snapshot<'a>, LogError> {
        connection.execute_batch("BEGIN").map_err(|error| LogError::sqlite("beginning to read", error))?;
        Ok(Snapshot(connection))
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // Nothing was written, so there is nothing to lose; if no transaction is open, all the better.
        let _ = self.0.execute_batch("COMMIT");
    }
}
