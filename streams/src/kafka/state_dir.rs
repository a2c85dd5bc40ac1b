//! The application's folder below `state.dir`: one process at a time, with a name of its own that outlives it; a folder per task.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;

use super::KafkaStreamsError;
use crate::TaskId;
use crate::folder_lock::{FolderLock, LockError};

const LOCK: &str = ".lock";
/// Holds the process's id, which is in its transactional ids: the next process on this folder takes it over, and so settles at once what
/// this one left open.
const PROCESS: &str = "process";
/// Just after `kill -9` the dead process may still hold its lock; and a thread may still be closing a task.
const PATIENCE: Duration = Duration::from_secs(5);

/// `<state.dir>/<application.id>`, locked until it is released or dropped.
#[derive(Debug)]
pub(super) struct StateDir {
    folder: PathBuf,
    process_id: String,
    lock: Mutex<Option<FolderLock>>,
}

impl StateDir {
    pub(super) fn open(state_dir: &Path, application_id: &str) -> Result<StateDir, KafkaStreamsError> {
        let folder = state_dir.join(application_id);
        let lock = lock(&folder)?;
        let process_id = process_id(&folder)?;
        Ok(StateDir { folder, process_id, lock: Mutex::new(Some(lock)) })
    }

    pub(super) fn process_id(&self) -> &str {
        &self.process_id
    }

    /// Another process may use it now.
    pub(super) fn release(&self) {
        self.lock.lock().take();
    }

    /// The folder of a task.
    pub(super) fn task(&self, id: TaskId) -> PathBuf {
        self.folder.join(id.to_string())
    }
}

fn process_id(folder: &Path) -> Result<String, KafkaStreamsError> {
    let file = folder.join(PROCESS);
    let failed = |error| KafkaStreamsError::io(format!("using {}", file.display()), error);
    match fs::read_to_string(&file) {
        Ok(text) if uuid::Uuid::try_parse(text.trim()).is_ok() => return Ok(text.trim().to_owned()),
        Ok(_) => tracing::warn!(file = %file.display(), "The process's id is not readable; it gets a new one."),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let id = uuid::Uuid::new_v4().to_string();
    fs::write(&file, &id).map_err(failed)?;
    Ok(id)
}

/// Makes a folder, if it is not there, and takes its lock.
pub(super) fn lock(folder: &Path) -> Result<FolderLock, KafkaStreamsError> {
    let failed = |path: &Path, error| KafkaStreamsError::io(format!("locking {}", path.display()), error);
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    FolderLock::take(&folder.join(LOCK), PATIENCE).map_err(|error| match error {
        LockError::Held(holder) => KafkaStreamsError::StateDirLocked { folder: folder.to_owned(), holder },
        LockError::Io(path, error) => failed(&path, error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_keeps_its_id_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateDir::open(folder.path(), "app").unwrap();
        let id = first.process_id().to_owned();
        drop(first);
        assert_eq!(StateDir::open(folder.path(), "app").unwrap().process_id(), id);
    }
}
