//! Keeping SQLite's write-ahead log short: copied into the file between rounds, cut off when idle.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::checkpointer::{Checkpointer, checkpoint};
use super::{LogError, database};

/// Pages that the write-ahead log may hold before it is copied into the file (64 MiB): a page that changed many times meanwhile is
/// copied once.
const CHECKPOINT_PAGES: usize = 16_384;
/// After this long without a commit it is copied and cut off.
const IDLE: Duration = Duration::from_secs(2);

/// What is known about the write-ahead log.
#[derive(Debug)]
pub(super) struct Wal {
    file: PathBuf,
    /// Pages written since the last checkpoint, estimated from above.
    pages: usize,
    limit: usize,
    /// Whether the file is longer than nothing.
    is_there: bool,
    last_commit: Instant,
    checkpointer: Checkpointer,
    /// The checkpointer was asked, and what was committed since is still to be copied.
    copying: bool,
}

impl Wal {
    /// Copying needs room on the disk, at most as much as the log is long: half of what is kept free must do.
    pub(super) fn new(folder: &Path, min_free_bytes: u64) -> Result<Wal, LogError> {
        let mut file = database::file_in(folder).into_os_string();
        file.push("-wal");
        let half = usize::try_from(min_free_bytes / 2 / 4096).unwrap_or(usize::MAX);
        let limit = if min_free_bytes == 0 { CHECKPOINT_PAGES } else { CHECKPOINT_PAGES.min(half.max(64)) };
        let checkpointer = Checkpointer::start(folder.to_owned())?;
        Ok(Wal { file: file.into(), pages: 0, limit, is_there: true, last_commit: Instant::now(), checkpointer, copying: false })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// A commit wrote about this many pages.
    pub(super) fn grew(&mut self, pages: usize) {
        self.pages += pages;
        self.is_there = true;
        self.last_commit = Instant::now();
    }

    /// Whether the next commit should find no reader: the write-ahead log is copied but for its end, and only one that is copied to
    /// its end starts again from its beginning.
    pub(super) fn wants_quiet(&self) -> bool {
        self.copying && !self.checkpointer.is_busy()
    }

    /// Has the write-ahead log copied into the file when it has grown long, beside all others; then, in a quiet commit, the little that
    /// was committed meanwhile.
    pub(super) fn after_commit(&mut self, connection: &Connection, quiet: bool) {
        if self.copying {
            if quiet {
                self.copying = false;
                self.pages = 0;
                checkpoint(connection, "PASSIVE");
            }
        } else if self.pages >= self.limit {
            self.copying = true;
            self.checkpointer.begin();
        }
    }

    /// Cuts the write-ahead log off when it is idle; returns when to look again.
    pub(super) fn when_idle(&mut self, connection: &Connection) -> Option<Instant> {
        if !self.is_there {
            return None;
        }
        let idle = self.last_commit + IDLE;
        if Instant::now() < idle {
            return Some(idle);
        }
        self.truncate(connection);
        None
    }

    /// Copies everything into the file, syncs that, and cuts the write-ahead log off; whether it did. A reader that holds a snapshot
    /// keeps it from that.
    pub(super) fn truncate(&mut self, connection: &Connection) -> bool {
        self.checkpointer.wait();
        self.copying = false;
        self.pages = 0;
        let done = checkpoint(connection, "TRUNCATE");
        self.is_there = false;
        let left = fs::metadata(&self.file).map_or(0, |file| file.len());
        if left > 0 {
            tracing::debug!(bytes = left, "the write-ahead log could not be cut off: a reader holds a snapshot");
        }
        done
    }
}
