//! Keeping SQLite's write-ahead log short: copied into the file between rounds, cut off when idle.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::database;

/// Pages that the write-ahead log may hold before it is copied into the file.
const CHECKPOINT_PAGES: usize = 8192;
/// After this long without a commit it is copied and cut off.
const IDLE: Duration = Duration::from_secs(2);

/// What is known about the write-ahead log.
#[derive(Debug)]
pub(super) struct Wal {
    file: PathBuf,
    /// Pages written since the last checkpoint, estimated from above.
    pages: usize,
    last_commit: Instant,
}

impl Wal {
    pub(super) fn new(folder: &Path) -> Wal {
        let mut file = database::file_in(folder).into_os_string();
        file.push("-wal");
        Wal { file: file.into(), pages: 1, last_commit: Instant::now() }
    }

    /// A commit wrote about this many pages.
    pub(super) fn grew(&mut self, pages: usize) {
        self.pages += pages;
        self.last_commit = Instant::now();
    }

    /// Checkpoints if it is time; returns when to look again.
    pub(super) fn between_rounds(&mut self, connection: &Connection) -> Option<Instant> {
        if self.pages == 0 {
            return None;
        }
        if self.pages >= CHECKPOINT_PAGES {
            self.checkpoint(connection, "PASSIVE");
        }
        let idle = self.last_commit + IDLE;
        if Instant::now() < idle {
            return Some(idle);
        }
        self.truncate(connection);
        None
    }

    /// Copies everything into the file and cuts the write-ahead log off. A reader that holds a snapshot keeps it from that.
    pub(super) fn truncate(&mut self, connection: &Connection) {
        self.checkpoint(connection, "TRUNCATE");
        let left = fs::metadata(&self.file).map_or(0, |file| file.len());
        if left > 0 {
            tracing::debug!(bytes = left, "the write-ahead log could not be cut off: a reader holds a snapshot");
        }
    }

    fn checkpoint(&mut self, connection: &Connection, mode: &str) {
        self.pages = 0;
        // Failing is harmless: the next one does the work of this one. So it waits for no reader either.
        let outcome = connection
            .busy_timeout(Duration::ZERO)
            .and_then(|()| connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())))
            .and_then(|()| connection.busy_timeout(database::BUSY_TIMEOUT));
        if let Err(error) = outcome {
            tracing::warn!(%error, mode, "a checkpoint failed");
        }
    }
}
