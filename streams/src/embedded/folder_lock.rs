//! One process per data folder: an exclusive lock on a file beside the database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::LogError;

const FILE: &str = "log.lock";

/// Held for as long as the log is open; the system frees it when the process dies.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock, trying for as long as `timeout`: just after `kill -9` the dead process may still hold it.
    pub(super) fn take(folder: &Path, timeout: Duration) -> Result<FolderLock, LogError> {
        let path = folder.join(FILE);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| LogError::io(format!("opening {}", path.display()), error))?;
        let deadline = Instant::now() + timeout;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                Err(TryLockError::WouldBlock) => {
                    return Err(LogError::Locked { folder: folder.to_owned(), holder: holder(&mut file) });
                }
                Err(TryLockError::Error(error)) => return Err(LogError::io(format!("locking {}", path.display()), error)),
            }
        }
        // Only for the message of the process that comes second; a full disk must not keep us from starting.
        let _ = note_holder(&mut file);
        Ok(FolderLock { _file: file })
    }
}

fn note_holder(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
