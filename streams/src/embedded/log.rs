//! The handle of a running log.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::catalog::Catalog;
use super::jobs::{Job, Jobs, Pending, Reply};
use super::readers::Readers;
use super::writer::Writer;
use super::{Append, LogError, Options, TopicConfig, database, queries};
use crate::folder_lock::{FolderLock, LockError};
use crate::{ConsumerRecord, TopicPartition};

/// What the handles and the writer share.
pub(super) struct Shared {
    pub(super) folder: PathBuf,
    pub(super) options: Options,
    pub(super) catalog: Catalog,
    pub(super) jobs: Jobs,
    pub(super) readers: Readers,
    /// `None`: writable; otherwise why it is not.
    pub(super) trouble: watch::Sender<Option<String>>,
}

/// An embedded log: topics of records, offsets of consumer groups, and a topology's stores, in one file of a data folder.
///
/// Cheap to clone. The log closes when the last handle is dropped, or on [`Log::close`].
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// use streams::TopicPartition;
/// use streams::ProducerRecord;
/// use streams::embedded::{Append, Log, Options, TopicConfig};
///
/// let log = Log::open(folder.path(), Options { min_free_bytes: 0, ..Options::default() })?;
/// log.create_topic(TopicConfig::compact("customers", 1))?;
/// let offsets = log.append_blocking(Append::of([ProducerRecord::new("customers", "ada", "1")]))?;
/// assert_eq!(offsets, [0]);
/// assert_eq!(log.end_offset(&TopicPartition::new("customers", 0))?, 1);
/// # Ok::<(), streams::embedded::LogError>(())
/// ```
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("folder", &self.shared().folder).finish_non_exhaustive()
    }
}

struct Inner {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Inner {
    fn close(&self) {
        self.shared.jobs.close();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!(folder = %self.shared.folder.display(), "the log's writer thread panicked");
        }
        self.shared.readers.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// However the writer's thread ends, nobody waits for it for ever.
struct WriterEnd(Arc<Shared>);

impl Drop for WriterEnd {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.trouble.send_replace(Some("the log's writer thread panicked: the process must be started anew".into()));
        }
        self.0.jobs.give_up();
    }
}

impl Log {
    /// Opens the log of a data folder, which is made if it is missing. One process per folder: a second one gets
    /// [`LogError::Locked`].
    pub fn open(folder: impl AsRef<Path>, options: Options) -> Result<Log, LogError> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(|error| LogError::io(format!("creating {}", folder.display()), error))?;
        let lock = FolderLock::take(&folder.join("log.lock"), options.lock_timeout).map_err(|error| match error {
            LockError::Held(holder) => LogError::Locked { folder: folder.to_owned(), holder },
            LockError::Io(path, error) => LogError::io(format!("locking {}", path.display()), error),
        })?;
        let connection = database::open_writer(folder, options.cache_bytes)?;
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            catalog: Catalog::load(&connection)?,
            jobs: Jobs::new(options.max_pending_bytes),
            readers: Readers::new(folder),
            trouble: watch::Sender::new(None),
            options,
        });
        let writer = Writer::new(shared.clone(), connection, lock)?;
        let thread = thread::Builder::new()
            .name("log-writer".into())
            .spawn({
                let end = WriterEnd(shared.clone());
                move || {
                    let _end = end;
                    writer.run();
                }
            })
            .map_err(|error| LogError::io("starting the writer thread", error))?;
        Ok(Log { inner: Arc::new(Inner { shared, writer: Mutex::new(Some(thread)) }) })
    }

    /// Creates a topic, or applies a changed clean-up policy to one that exists. Blocks until that is committed.
    pub fn create_topic(&self, topic: TopicConfig) -> Result<(), LogError> {
        topic.validate()?;
        self.ask(|reply| Job::CreateTopic(topic, reply))
    }

    /// Announces a consumer group: from now on, topics of policy *delete* keep what it has not passed, although it has committed
    /// nothing yet. Where it has no offset, it starts at the beginning. Idempotent.
    pub fn create_group(&self, group: impl Into<String>, topics: impl IntoIterator<Item = impl Into<String>>) -> Result<(), LogError> {
        let (group, topics) = (group.into(), topics.into_iter().map(Into::into).collect());
        self.ask(|reply| Job::CreateGroup { group, topics, reply })
    }

    /// Forgets a group and its offsets, so that topics no longer keep anything for it.
    pub fn delete_group(&self, group: impl Into<String>) -> Result<(), LogError> {
        let group = group.into();
        self.ask(|reply| Job::DeleteGroup { group, reply })
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<TopicConfig> {
        self.shared().catalog.topics().iter().map(|topic| topic.config.clone()).collect()
    }

    /// Appends records and sets group offsets, atomically. They are durable when this returns; the offsets are those of the
    /// records, in the order given. Waits while too much is queued. When the future is dropped, the append may still happen.
    pub async fn append(&self, append: Append) -> Result<Vec<i64>, LogError> {
        let jobs = &self.shared().jobs;
        let room = jobs.room(append.size()).await?;
        let (reply, outcome) = oneshot::channel();
        jobs.push(Job::Append(Pending { append, reply, _room: room }))?;
        outcome.await.unwrap_or(Err(LogError::Closed))
    }

    /// [`Log::append`] for threads that belong to no async runtime.
    pub fn append_blocking(&self, append: Append) -> Result<Vec<i64>, LogError> {
        block_on(self.append(append))
    }

    /// Committed records from an offset on (from the first one that is left, if retention has removed it): at most `max_records`,
    /// and no more once `max_bytes` are reached.
    pub fn read(&self, tp: &TopicPartition, from: i64, max_records: usize, max_bytes: usize) -> Result<Vec<ConsumerRecord>, LogError> {
        let partition = self.shared().catalog.partition(tp)?;
        let from = from.max(partition.beginning());
        let end = partition.end();
        if from >= end {
            return Ok(Vec::new());
        }
        let read = |connection: &_| queries::read(connection, partition.id, &partition.name, from, max_records, max_bytes);
        let mut records = self.shared().readers.with(read)?;
        // Records whose sync is still under way may be lost with the power: nobody acts on them.
        records.truncate(records.partition_point(|record| record.offset < end));
        Ok(records)
    }

    /// A group's committed offset: that of the next record it will process. Its round may still be on its way to the disk, while
    /// records of that round are read only from then on.
    pub fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<i64>, LogError> {
        let partition = self.shared().catalog.partition(tp)?;
        self.shared().readers.with(|connection| queries::committed(connection, group, partition.id))
    }

    /// Every group's offsets: (group, partition, next).
    pub fn groups(&self) -> Result<Vec<(String, TopicPartition, i64)>, LogError> {
        self.shared().readers.with(queries::groups)
    }

    /// Offset of the first record that retention has left.
    pub fn beginning_offset(&self, tp: &TopicPartition) -> Result<i64, LogError> {
        Ok(self.shared().catalog.partition(tp)?.beginning())
    }

    /// Offset of the next record that will be appended.
    pub fn end_offset(&self, tp: &TopicPartition) -> Result<i64, LogError> {
        Ok(self.shared().catalog.partition(tp)?.end())
    }

    /// The end offset as it moves: wait on it for new records.
    pub fn watch(&self, tp: &TopicPartition) -> Result<watch::Receiver<i64>, LogError> {
        Ok(self.shared().catalog.partition(tp)?.end.subscribe())
    }

    /// One entry of a state store of an application, as committed.
    pub fn store_entry(&self, application: &str, store: &str, partition: i32, key: &[u8]) -> Result<Option<Bytes>, LogError> {
        self.shared().readers.with(|connection| queries::store_entry(connection, application, store, partition, key))
    }

    /// Whether appends are taken at the moment. Not so while the disk is full or fails; the log tries again by itself.
    pub fn writable(&self) -> bool {
        self.shared().trouble.borrow().is_none()
    }

    /// Why appends are not taken at the moment (`None`: they are), as it changes.
    pub fn watch_trouble(&self) -> watch::Receiver<Option<String>> {
        self.shared().trouble.subscribe()
    }

    /// Removes all that retention and compaction have to remove by now, and shortens the write-ahead log. The log does so by itself,
    /// in small slices; this does it in one go, and appends wait for it.
    pub fn tidy(&self) -> Result<(), LogError> {
        self.ask(|reply| Job::Tidy { reply })
    }

    /// Makes the writer look at the clock now. Only of use with a clock of one's own.
    pub fn wake(&self) {
        self.shared().jobs.wake();
    }

    /// Finishes what is queued, stops the topology, and frees the folder. Calls through other handles then give
    /// [`LogError::Closed`].
    pub fn close(self) {
        self.inner.close();
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    pub(super) fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, LogError> {
        let (reply, outcome) = oneshot::channel();
        self.shared().jobs.push(job(reply))?;
        block_on(outcome).unwrap_or(Err(LogError::Closed))
    }
}

/// Waits for a future on a thread that may or may not belong to a runtime (tokio's own `blocking_recv` refuses the former).
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => thread::park(),
        }
    }
}
