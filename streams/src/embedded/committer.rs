//! Commits rounds beside the writer: while one round is written to the file, the tasks work on the next.

use std::panic::resume_unwind;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use parking_lot::{Mutex, MutexGuard};

use super::LogError;
use super::file::{Commit, File, Landed};

/// The writer's end of the thread, and its way to the file. At most one commit is under way.
pub(super) struct Committer {
    file: Arc<Mutex<File>>,
    commits: Option<mpsc::SyncSender<Commit>>,
    landed: mpsc::Receiver<Landed>,
    under_way: bool,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread; `landed` is called after each commit.
    pub(super) fn start(file: File, landed: impl Fn() + Send + 'static) -> Result<Committer, LogError> {
        let file = Arc::new(Mutex::new(file));
        let (commits, queue) = mpsc::sync_channel(1);
        let (back, outcomes) = mpsc::sync_channel(1);
        let run = {
            let file = file.clone();
            move || {
                while let Ok(commit) = queue.recv() {
                    let outcome = file.lock().commit(commit);
                    if back.send(outcome).is_err() {
                        return;
                    }
                    landed();
                }
            }
        };
        let thread = thread::Builder::new().name("log-committer".into()).spawn(run);
        let thread = thread.map_err(|error| LogError::io("starting the committing thread", error))?;
        Ok(Committer { file, commits: Some(commits), landed: outcomes, under_way: false, thread: Some(thread) })
    }

    /// Whether a commit is under way, as far as the writer has heard.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way
    }

    /// The file; the commit under way has landed.
    pub(super) fn file(&self) -> MutexGuard<'_, File> {
        debug_assert!(!self.under_way);
        self.file.lock()
    }

    /// Begins a commit. The one before has landed.
    pub(super) fn begin(&mut self, commit: Commit) {
        if let Some(commits) = &self.commits {
            self.under_way = commits.send(commit).is_ok();
        }
    }

    /// What became of the commit under way, if it has landed.
    pub(super) fn try_landed(&mut self) -> Option<Landed> {
        if !self.under_way {
            return None;
        }
        match self.landed.try_recv() {
            Ok(landed) => Some(self.heard(landed)),
            Err(mpsc::TryRecvError::Empty) => None,
            Err(mpsc::TryRecvError::Disconnected) => self.ended(),
        }
    }

    /// Waits until the commit under way has landed.
    pub(super) fn wait(&mut self) -> Option<Landed> {
        if !self.under_way {
            return None;
        }
        match self.landed.recv() {
            Ok(landed) => Some(self.heard(landed)),
            Err(mpsc::RecvError) => self.ended(),
        }
    }

    fn heard(&mut self, landed: Landed) -> Landed {
        self.under_way = false;
        landed
    }

    /// The thread ends with its sender, or by a panic: then nobody knows what is in the file, and the writer ends too.
    fn ended(&mut self) -> Option<Landed> {
        self.under_way = false;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            resume_unwind(panic);
        }
        None
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.commits = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the log's committing thread panicked");
        }
    }
}
