//! A log that takes the place of the one of a data folder. It is made in a folder of its own within that folder; then the old file gets
//! another name, and the new one its name, in one step of the file system. At any moment the folder has one log, whole: the old one or
//! the new one.
//!
//! | step | a crash after it leaves |
//! |---|---|
//! | [`Successor::begin`]: the folder is locked; what an earlier try left goes | the old log |
//! | the new log is made and closed; its stores are filled ([`Successor::fill`]) | the old log, and a folder that the next try removes |
//! | the write-ahead logs are copied into both files, synced, and removed | the same |
//! | the old file gets a second name | the old log, under two names, of which the next try removes one |
//! | the new file takes the first name | the new log, and an empty folder that the next try removes |

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::checkpointer::checkpoint;
use super::{LogError, Options, database, state_backing, topics};
use crate::folder_lock::{FolderLock, LockError};

/// The folder in which it is made.
const FOLDER: &str = "successor";

/// A log that is being made. Nobody runs the old one meanwhile.
#[derive(Debug)]
pub struct Successor {
    old: PathBuf,
    new: PathBuf,
    _lock: FolderLock,
}

impl Successor {
    /// Locks a data folder that has a log.
    pub fn begin(folder: impl AsRef<Path>) -> Result<Successor, LogError> {
        let old = folder.as_ref().to_owned();
        let lock = FolderLock::take(&old.join("log.lock"), Options::default().lock_timeout).map_err(|error| match error {
            LockError::Held(holder) => LogError::Locked { folder: old.clone(), holder },
            LockError::Io(path, error) => LogError::io(format!("locking {}", path.display()), error),
        })?;
        // Of the present format, so that it can be read.
        drop(open(&old)?);
        forget_other_names(&old)?;
        let new = old.join(FOLDER);
        remove(&new)?;
        fs::create_dir(&new).map_err(|error| LogError::io(format!("creating {}", new.display()), error))?;
        Ok(Successor { old, new, _lock: lock })
    }

    /// Where the new log is made, by [`Log::open`](super::Log::open). It is to be closed afterwards.
    pub fn folder(&self) -> &Path {
        &self.new
    }

    /// Puts entries into the stores of an application, all or none: store, partition, key and value.
    pub fn fill<'a>(
        &self,
        application: &str,
        entries: impl IntoIterator<Item = (&'a str, i32, &'a [u8], &'a [u8])>,
    ) -> Result<(), LogError> {
        let connection = open(&self.new)?;
        let write = || -> rusqlite::Result<()> {
            let transaction = topics::begin(&connection)?;
            let mut ids: Vec<(&str, i64)> = Vec::new();
            for (store, partition, key, value) in entries {
                let id = match ids.iter().find(|(name, _)| *name == store) {
                    Some((_, id)) => *id,
                    None => {
                        let id = state_backing::id(&transaction, application, store)?;
                        ids.push((store, id));
                        id
                    }
                };
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO entries (store, partition, key, value) VALUES (?, ?, ?, ?)")?
                    .execute((id, partition, key, value))?;
            }
            transaction.commit()
        };
        write().map_err(|error| LogError::sqlite("filling the stores", error))
    }

    /// The new log becomes the folder's; the old one has this name from then on, in the same folder. Nobody may read either meanwhile.
    pub fn take_over(self, old_name: &str) -> Result<PathBuf, LogError> {
        let backup = self.old.join(old_name);
        self.settle()?;
        self.name_old(&backup)?;
        self.replace()?;
        remove(&self.new)?;
        Ok(backup)
    }

    /// Both files hold all that is in their write-ahead logs, which are gone: each is the whole of its log.
    fn settle(&self) -> Result<(), LogError> {
        for folder in [&self.new, &self.old] {
            let file = database::file_in(folder);
            let connection = open(folder)?;
            if !checkpoint(&connection, "TRUNCATE") {
                let error = std::io::Error::new(std::io::ErrorKind::ResourceBusy, "another program reads it at the moment");
                return Err(LogError::io(format!("copying the write-ahead log into {}", file.display()), error));
            }
            drop(connection);
            sync(&file)?;
            // Left where another program has it open. They are the old file's, and would be taken for the new one's.
            for suffix in ["-wal", "-shm"] {
                let beside = beside(&file, suffix);
                match fs::remove_file(&beside) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(LogError::io(format!("removing {}", beside.display()), error));
                    }
                    _ => {}
                }
            }
            sync(folder)?;
        }
        Ok(())
    }

    fn name_old(&self, backup: &Path) -> Result<(), LogError> {
        let file = database::file_in(&self.old);
        fs::hard_link(&file, backup).map_err(|error| LogError::io(format!("naming the old log {}", backup.display()), error))?;
        sync(&self.old)
    }

    fn replace(&self) -> Result<(), LogError> {
        let (from, to) = (database::file_in(&self.new), database::file_in(&self.old));
        fs::rename(&from, &to).map_err(|error| LogError::io(format!("putting the new log at {}", to.display()), error))?;
        sync(&self.old)
    }
}

/// The connection of whoever may write.
fn open(folder: &Path) -> Result<Connection, LogError> {
    database::open_writer(folder, Options::default().cache_bytes)
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The log has one name: another one in its folder is that of a try that died.
fn forget_other_names(folder: &Path) -> Result<(), LogError> {
    let file = database::file_in(folder);
    let forget = || -> std::io::Result<()> {
        let log = fs::metadata(&file)?;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let other = fs::symlink_metadata(&path)?;
            if path != file && (other.dev(), other.ino()) == (log.dev(), log.ino()) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    };
    forget().map_err(|error| LogError::io(format!("looking through {}", folder.display()), error))
}

fn sync(path: &Path) -> Result<(), LogError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| LogError::io(format!("syncing {}", path.display()), error))
}

fn remove(folder: &Path) -> Result<(), LogError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(LogError::io(format!("removing {}", folder.display()), error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::{Append, Log, LogReader, TopicConfig};
    use crate::{ProducerRecord, TopicPartition};

    fn options() -> Options {
        Options { min_free_bytes: 0, ..Options::default() }
    }

    fn append(folder: &Path, text: &str) {
        let log = Log::open(folder, options()).unwrap();
        log.create_topic(TopicConfig::compact("t", 1)).unwrap();
        log.append_blocking(Append::of([ProducerRecord::new("t", "k", text.to_owned())])).unwrap();
        log.close();
    }

    /// What the log of a folder holds, read twice: as it lies there, and by who runs it.
    fn texts(folder: &Path) -> Vec<String> {
        let tp = TopicPartition::new("t", 0);
        let text = |record: crate::ConsumerRecord| String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        let read = LogReader::open(folder).unwrap().read(&tp, 0, 100, 1 << 20).unwrap();
        let log = Log::open(folder, options()).unwrap();
        assert_eq!(log.read(&tp, 0, 100, 1 << 20).unwrap(), read);
        log.close();
        read.into_iter().map(text).collect()
    }

    fn made(folder: &Path) -> Successor {
        let successor = Successor::begin(folder).unwrap();
        append(successor.folder(), "new");
        successor.fill("app", [("store", 3, &b"k"[..], &b"v"[..])]).unwrap();
        successor
    }

    #[test]
    fn a_crash_after_any_step_leaves_one_log_whole_and_the_next_try_succeeds() {
        type Step = fn(&Successor, &Path);
        let steps: [Step; 3] = [|it, _| it.settle().unwrap(), |it, backup| it.name_old(backup).unwrap(), |it, _| it.replace().unwrap()];
        for crash in 0..=steps.len() {
            let folder = tempfile::tempdir().unwrap();
            let (folder, backup) = (folder.path(), folder.path().join("old"));
            append(folder, "first");
            append(folder, "second");
            let successor = made(folder);
            steps[..crash].iter().for_each(|step| step(&successor, &backup));
            drop(successor);
            let is_new = crash == steps.len();
            let (old, new): (&[&str], &[&str]) = (&["first", "second"], &["new"]);
            assert_eq!(texts(folder), if is_new { new } else { old }, "after {crash} steps");
            assert_eq!(backup.exists(), crash >= 2, "after {crash} steps");

            // Appends go on in whichever it is, and another try takes its place.
            append(folder, "third");
            let again = made(folder).take_over("old again").unwrap();
            assert_eq!(texts(folder), ["new"]);
            let elsewhere = tempfile::tempdir().unwrap();
            fs::rename(again, elsewhere.path().join("log.sqlite")).unwrap();
            let before = [if is_new { new } else { old }, &["third"]].concat();
            assert_eq!(texts(elsewhere.path()), before);
            let value = LogReader::open(folder).unwrap().store_entry("app", "store", 3, b"k").unwrap();
            assert_eq!(value.as_deref(), Some(&b"v"[..]));
            assert!(!folder.join(FOLDER).exists());
            assert_eq!(backup.exists(), is_new, "a backup is not the log itself");
        }
    }

    #[test]
    fn who_runs_the_log_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        append(folder.path(), "first");
        let log = Log::open(folder.path(), options()).unwrap();
        assert!(matches!(Successor::begin(folder.path()), Err(LogError::Locked { .. })));
        log.close();
        let successor = Successor::begin(folder.path()).unwrap();
        let opened = Log::open(folder.path(), Options { lock_timeout: std::time::Duration::ZERO, ..options() });
        assert!(matches!(opened, Err(LogError::Locked { .. })));
        drop(successor);
        assert_eq!(texts(folder.path()), ["first"]);
    }
}
