//! One read transaction for all reads of a round: each read by itself would take and free SQLite's locks.

use rusqlite::Connection;

use super::LogError;

/// A snapshot on the writer's connection; ends when dropped. Nothing may be written meanwhile.
pub(super) struct Snapshot<'a>(&'a Connection);

impl<'a> Snapshot<'a> {
    pub(super) fn begin(connection: &'a Connection) -> Result<Snapshot<'a>, LogError> {
        connection.execute_batch("BEGIN").map_err(|error| LogError::sqlite("beginning to read", error))?;
        Ok(Snapshot(connection))
    }

    /// Ends the snapshot for a write, and begins a new one after it.
    pub(super) fn aside<T>(connection: &Connection, write: impl FnOnce() -> Result<T, LogError>) -> Result<T, LogError> {
        let failed = |error| LogError::sqlite("ending a snapshot", error);
        connection.execute_batch("COMMIT").map_err(failed)?;
        let outcome = write();
        connection.execute_batch("BEGIN").map_err(failed)?;
        outcome
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // Nothing was written, so there is nothing to lose; if no transaction is open, all the better.
        let _ = self.0.execute_batch("COMMIT");
    }
}
