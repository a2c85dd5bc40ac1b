//! Copies the write-ahead log into the file beside the writer, on a connection of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

use super::{LogError, database};

/// Copying takes no page through the cache.
const CACHE_BYTES: usize = 64 << 10;

enum Work {
    Copy,
    /// Taken when what was asked before is done.
    Nothing,
}

/// The thread.
#[derive(Debug)]
pub(super) struct Checkpointer {
    work: Option<mpsc::SyncSender<Work>>,
    busy: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(super) fn start(folder: PathBuf) -> Result<Checkpointer, LogError> {
        // Without room: who sends waits until the thread has nothing to do.
        let (work, queue) = mpsc::sync_channel(0);
        let busy = Arc::new(AtomicBool::new(false));
        let flag = busy.clone();
        let run = move || {
            let mut connection = None;
            while let Ok(work) = queue.recv() {
                if matches!(work, Work::Copy) {
                    copy(&mut connection, &folder);
                    flag.store(false, Ordering::Release);
                }
            }
        };
        let thread = thread::Builder::new().name("log-checkpoint".into()).spawn(run);
        let thread = thread.map_err(|error| LogError::io("starting the checkpointing thread", error))?;
        Ok(Checkpointer { work: Some(work), busy, thread: Some(thread) })
    }

    /// Begins to copy what is committed by now.
    pub(super) fn begin(&self) {
        self.busy.store(true, Ordering::Release);
        self.send(Work::Copy);
    }

    /// Whether it copies.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Waits until it does not.
    pub(super) fn wait(&self) {
        self.send(Work::Nothing);
    }

    fn send(&self, work: Work) {
        // The thread ends only with the sender, or by a panic: then the writer copies alone.
        if let Some(queue) = &self.work
            && queue.send(work).is_err()
        {
            self.busy.store(false, Ordering::Release);
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the log's checkpointing thread panicked");
        }
    }
}

fn copy(connection: &mut Option<Connection>, folder: &std::path::Path) {
    if connection.is_none() {
        match database::open_writer(folder, CACHE_BYTES) {
            Ok(open) => *connection = Some(open),
            Err(error) => tracing::warn!(%error, "no checkpoint: the file could not be opened"),
        }
    }
    if let Some(connection) = connection {
        checkpoint(connection, "PASSIVE");
    }
}

/// Whether all of the write-ahead log was copied, and no reader was in the way. Failing is harmless: the next one does the work of this
/// one. So it waits for nobody either.
pub(super) fn checkpoint(connection: &Connection, mode: &str) -> bool {
    let outcome = connection
        .busy_timeout(Duration::ZERO)
        .and_then(|()| connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(0)))
        .and_then(|busy| connection.busy_timeout(database::BUSY_TIMEOUT).map(|()| busy));
    match outcome {
        Ok(busy) => busy == 0,
        Err(error) => {
            tracing::warn!(%error, mode, "a checkpoint failed");
            false
        }
    }
}
