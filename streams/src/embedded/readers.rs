//! Connections for reads beside the writer: each gives a snapshot of what is committed.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::Connection;

use super::{LogError, database};

/// Idle connections that are kept; more are opened under need, and closed again.
const KEPT: usize = 4;

/// A pool of read connections.
#[derive(Debug)]
pub(super) struct Readers {
    folder: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(folder: &Path) -> Readers {
        Readers { folder: folder.to_owned(), idle: Mutex::default() }
    }

    /// Lends a connection for one short read.
    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, LogError>) -> Result<T, LogError> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => database::open_reader(&self.folder)?,
        };
        let outcome = read(&connection)?;
        let mut idle = self.idle.lock();
        if idle.len() < KEPT {
            idle.push(connection);
        }
        Ok(outcome)
    }

    /// Closes the idle connections.
    pub(super) fn close(&self) {
        self.idle.lock().clear();
    }
}
