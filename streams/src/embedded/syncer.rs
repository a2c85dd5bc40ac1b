//! Makes commits durable, beside the writer: while the disk syncs one round, the writer works on the next.
//!
//! A commit of SQLite in WAL mode with `synchronous=NORMAL` is atomic and survives the process, but not a power cut until its
//! write-ahead log is synced. That sync is done here; nobody outside learns of a round (its appends' answers, the end offsets that
//! watchers see) before it has returned. Rounds become durable in their order, since the write-ahead log is one sequence; so after
//! a sync that failed every later round fails too, whatever the disk says of it, until the whole log is in the file and
//! [mended](Syncer::mended).

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use super::LogError;
use super::round::Round;

/// Rounds that may wait for the sync under way to end.
const WAITING: usize = 1;

enum Work {
    Round(Round),
    /// Answered when all before it is durable.
    Barrier(mpsc::SyncSender<()>),
}

/// A sync that failed.
struct Failure {
    error: LogError,
    /// Whether the writer knows.
    taken: bool,
}

/// The writer's end of the thread.
pub(super) struct Syncer {
    work: Option<mpsc::SyncSender<Work>>,
    /// What is committed may not last, until it is mended.
    failure: Arc<Mutex<Option<Failure>>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread. `sync` returns when all that was written to the write-ahead log before is durable; `failed` is called when
    /// it could not, after the failure can be [taken](Syncer::take_failure).
    pub(super) fn start(
        mut sync: impl FnMut() -> io::Result<()> + Send + 'static,
        failed: impl Fn() + Send + 'static,
    ) -> Result<Syncer, LogError> {
        let (work, queue) = mpsc::sync_channel::<Work>(WAITING);
        let failure = Arc::new(Mutex::new(None::<Failure>));
        let noted = failure.clone();
        let run = move || {
            let mut barriers = Vec::new();
            let mut rounds = Vec::new();
            while let Ok(first) = queue.recv() {
                for work in [first].into_iter().chain(queue.try_iter()) {
                    match work {
                        Work::Round(round) => rounds.push(round),
                        Work::Barrier(reply) => barriers.push(reply),
                    }
                }
                let before = noted.lock().as_ref().map(|failure| failure.error.clone());
                let outcome = match &before {
                    Some(error) => Err(error.clone()),
                    None => sync().map_err(|error| LogError::io("syncing the write-ahead log", error)),
                };
                match outcome {
                    Ok(()) => rounds.drain(..).for_each(Round::durable),
                    Err(error) => {
                        rounds.drain(..).for_each(|round| round.failed(&error));
                        if before.is_none() {
                            *noted.lock() = Some(Failure { error, taken: false });
                            failed();
                        }
                    }
                }
                for reply in barriers.drain(..) {
                    let _ = reply.send(());
                }
            }
        };
        let thread = thread::Builder::new().name("log-syncer".into()).spawn(run);
        let thread = thread.map_err(|error| LogError::io("starting the syncing thread", error))?;
        Ok(Syncer { work: Some(work), failure, thread: Some(thread) })
    }

    /// Syncs the write-ahead log of this database.
    pub(super) fn of_file(wal: PathBuf, failed: impl Fn() + Send + 'static) -> Result<Syncer, LogError> {
        // One descriptor for as long as the log is open: the system tells each descriptor of a failed write once, and one that is opened
        // afterwards is not told. The file stays, since one of our connections is always open.
        let mut file = None;
        let sync = move || {
            if file.is_none() {
                file = match File::open(&wal) {
                    Ok(open) => Some(open),
                    // Without a write-ahead log everything is in the database, and synced.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(error),
                };
            }
            file.as_ref().map_or(Ok(()), File::sync_data)
        };
        Syncer::start(sync, failed)
    }

    /// Hands a committed round over; its appends are answered when it is durable.
    pub(super) fn sync(&self, round: Round) {
        self.send(Work::Round(round));
    }

    /// Waits until everything that was committed is durable, or a failure can be taken.
    pub(super) fn wait(&self) {
        let (reply, done) = mpsc::sync_channel(1);
        self.send(Work::Barrier(reply));
        let _ = done.recv();
    }

    /// Why a sync failed since this was asked last.
    pub(super) fn take_failure(&self) -> Option<LogError> {
        let mut failure = self.failure.lock();
        let failure = failure.as_mut().filter(|failure| !failure.taken)?;
        failure.taken = true;
        Some(failure.error.clone())
    }

    /// All that was committed is in the file, and synced there.
    pub(super) fn mended(&self) {
        *self.failure.lock() = None;
    }

    fn send(&self, work: Work) {
        // The thread ends only when the sender is gone, or by a panic, after which a dropped round answers its appends by itself.
        if let Some(queue) = &self.work {
            let _ = queue.send(work);
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the log's syncing thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::catalog::Catalog;
    use crate::embedded::jobs::{Jobs, Pending};
    use crate::embedded::{Append, TopicConfig, database, topics};
    use crate::{ProducerRecord, TopicPartition};
    use std::time::Duration;
    use tokio::sync::oneshot;

    /// A round of one append, as committed; and where its answer comes.
    async fn round(catalog: &Catalog, jobs: &Jobs) -> (Round, oneshot::Receiver<Result<Vec<i64>, LogError>>) {
        let (reply, answer) = oneshot::channel();
        let append = Append::of([ProducerRecord::new("events", "key", "value")]);
        let mut round = Round::default();
        round.stage_append(catalog, Pending { append, reply, _room: jobs.room(1).await.unwrap() });
        round.handed_over();
        for (partition, end) in round.committed() {
            partition.committed_end.store(end, std::sync::atomic::Ordering::Release);
        }
        (round, answer)
    }

    #[tokio::test]
    async fn nobody_learns_of_a_round_before_its_sync_and_a_failed_sync_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database::open_writer(folder.path(), 1 << 20).unwrap();
        let catalog = Catalog::load(&connection).unwrap();
        topics::create_topic(&connection, &catalog, &TopicConfig::delete("events", 1, Duration::ZERO), 0).unwrap();
        let partition = catalog.partition(&TopicPartition::new("events", 0)).unwrap();
        let jobs = Jobs::new(1 << 20);

        let (begin, begun) = mpsc::channel();
        let (allow, allowed) = mpsc::channel();
        let sync = move || {
            begin.send(()).unwrap();
            allowed.recv().unwrap()
        };
        let (fail, failed) = mpsc::channel();
        let syncer = Syncer::start(sync, move || fail.send(()).unwrap()).unwrap();

        let (first, mut answer) = round(&catalog, &jobs).await;
        syncer.sync(first);
        begun.recv().unwrap();
        assert_eq!((partition.committed_end(), partition.end()), (1, 0), "the sync is under way");
        assert!(answer.try_recv().is_err());
        allow.send(Ok(())).unwrap();
        assert_eq!(answer.await.unwrap().unwrap(), [0]);
        assert_eq!(partition.end(), 1);
        assert!(syncer.take_failure().is_none());

        let (second, answer) = round(&catalog, &jobs).await;
        syncer.sync(second);
        begun.recv().unwrap();
        allow.send(Err(io::Error::other("the disk is gone"))).unwrap();
        assert!(answer.await.unwrap().unwrap_err().is_retriable());
        failed.recv().unwrap();
        assert_eq!((partition.committed_end(), partition.end()), (2, 1), "it may be in the file, but nobody may act on it");
        assert!(syncer.take_failure().unwrap().to_string().contains("the disk is gone"));
        assert!(syncer.take_failure().is_none(), "it is told once");

        let (third, answer) = round(&catalog, &jobs).await;
        syncer.sync(third);
        assert!(answer.await.unwrap().unwrap_err().is_retriable(), "no sync of it could make up for the one before");
        syncer.wait();
        assert!(begun.try_recv().is_err());

        syncer.mended();
        let (fourth, answer) = round(&catalog, &jobs).await;
        syncer.sync(fourth);
        begun.recv().unwrap();
        allow.send(Ok(())).unwrap();
        assert_eq!(answer.await.unwrap().unwrap(), [3]);

        catalog.all_is_durable();
        assert_eq!(partition.end(), 4);
    }
}
