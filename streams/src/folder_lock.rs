//! One process per folder: an exclusive lock on a file in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Why a folder could not be locked.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Somebody has it: the process that wrote itself into the file, if that could be read.
    Held(Option<u32>),
    /// This lock file cannot be used.
    Io(PathBuf, std::io::Error),
}

/// Held until it is dropped; the system frees it when the process dies.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock by this file, trying for as long as `timeout`: just after `kill -9` the dead process may still hold it.
    pub(crate) fn take(path: &Path, timeout: Duration) -> Result<FolderLock, LockError> {
        let failed = |error| LockError::Io(path.to_owned(), error);
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(failed)?;
        let deadline = Instant::now() + timeout;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(&mut file))),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
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
