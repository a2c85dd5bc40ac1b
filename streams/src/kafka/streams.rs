//! The handle of a topology that runs on Kafka, and what its stream threads share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::cluster::Cluster;
use super::state_dir::StateDir;
use super::{KafkaStreamsConfig, KafkaStreamsError, ProcessingGuarantee, thread, topics};
use crate::client::{State, Status, TaskFailure};
use crate::{BuiltTopology, TaskId, Topology};

/// What a stream thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThreadState {
    /// It waits for partitions, restores, or starts anew.
    Busy,
    /// It has what the group gives it, and all its tasks run.
    Running,
    /// It ended.
    Ended,
}

/// Why a stream thread started anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The error's stable code.
    pub code: &'static str,
    /// What is wrong, and what to do about it.
    pub reason: String,
}

/// What the handle and the stream threads share.
pub(super) struct Shared {
    pub(super) config: KafkaStreamsConfig,
    pub(super) topology: Arc<BuiltTopology>,
    pub(super) cluster: Cluster,
    pub(super) state_dir: StateDir,
    status: Status,
    stopping: AtomicBool,
    /// A failure, not the user, stops it.
    failed: AtomicBool,
    threads: Mutex<Vec<ThreadState>>,
    /// By thread: why it started anew, until it has committed again.
    trouble: Mutex<Vec<Option<Trouble>>>,
    changed: Condvar,
}

impl Shared {
    /// Whether the threads are to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Tells the threads to end.
    pub(super) fn stop(&self, failed: bool) {
        if failed {
            self.failed.store(true, Ordering::SeqCst);
        }
        self.stopping.store(true, Ordering::SeqCst);
        let threads = self.threads.lock();
        self.show(&threads);
        self.changed.notify_all();
    }

    /// A thread tells what it is doing.
    pub(super) fn publish(&self, thread: usize, state: ThreadState) {
        let mut threads = self.threads.lock();
        if threads[thread] != state {
            threads[thread] = state;
            if threads.iter().all(|state| *state == ThreadState::Ended) {
                self.state_dir.release();
            }
            self.show(&threads);
            self.changed.notify_all();
        }
    }

    /// The client's state follows from its threads'.
    fn show(&self, threads: &[ThreadState]) {
        let ended = threads.iter().all(|state| *state == ThreadState::Ended);
        self.status.set(match (self.is_stopping(), self.failed.load(Ordering::SeqCst), ended) {
            (true, false, false) => State::PendingShutdown,
            (true, false, true) => State::NotRunning,
            (true, true, false) => State::PendingError,
            (true, true, true) => State::Error,
            (false, ..) if threads.iter().all(|state| *state == ThreadState::Running) => State::Running,
            (false, ..) => State::Rebalancing,
        });
    }

    /// Waits, but not beyond the end.
    pub(super) fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut threads = self.threads.lock();
        while !self.is_stopping() && !self.changed.wait_until(&mut threads, until).timed_out() {}
    }

    /// Notes why a thread starts anew, or that it works.
    pub(super) fn note_trouble(&self, thread: usize, trouble: Option<Trouble>) {
        self.trouble.lock()[thread] = trouble;
    }

    /// Notes a failure of a task; how many in a row that is.
    pub(super) fn note_failure(&self, task: TaskId, error: String) -> u32 {
        let mut failures = self.status.failures.lock();
        let count = failures.iter().find(|known| known.task == task).map_or(1, |known| known.count + 1);
        failures.retain(|known| known.task != task);
        failures.push(TaskFailure { task, error, count });
        count
    }

    /// The task has run through a commit, or is no longer here.
    pub(super) fn forgive(&self, task: TaskId) {
        let mut failures = self.status.failures.lock();
        if !failures.is_empty() {
            failures.retain(|known| known.task != task);
        }
    }
}

/// A topology that runs on Kafka. [`close`](Self::close) ends it in order; dropping it only tells its threads to end.
///
/// ```no_run
/// use streams::kafka::{KafkaStreams, KafkaStreamsConfig};
/// # let topology = streams::Topology::new();
/// let config = KafkaStreamsConfig::new("word-count", "localhost:9092", "/var/lib/word-count");
/// let streams = KafkaStreams::start(&topology, config)?;
/// println!("{}", streams.state());
/// assert!(streams.close(std::time::Duration::from_secs(10)), "some thread did not end in time");
/// # Ok::<(), streams::kafka::KafkaStreamsError>(())
/// ```
pub struct KafkaStreams {
    shared: Arc<Shared>,
}

impl KafkaStreams {
    /// Checks the topics that the topology names, makes the internal ones, and starts the stream threads. Waits for the brokers as long as
    /// [`KafkaStreamsConfig::api_timeout`].
    pub fn start(topology: &Topology, config: KafkaStreamsConfig) -> Result<KafkaStreams, KafkaStreamsError> {
        config.check()?;
        let topology = Arc::new(topology.build(&config.application_id)?);
        if topology.needs_exactly_once() && config.processing_guarantee == ProcessingGuarantee::AtLeastOnce {
            return Err(KafkaStreamsError::NeedsExactlyOnce);
        }
        let state_dir = StateDir::open(&config.state_dir, &config.application_id)?;
        let cluster = Cluster::new(&config, &client_id(&config.application_id, state_dir.process_id()))?;
        topics::prepare(&topology, &cluster)?;
        let threads = config.num_stream_threads;
        let shared = Arc::new(Shared {
            config,
            topology,
            cluster,
            state_dir,
            status: Status::default(),
            stopping: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            threads: Mutex::new(vec![ThreadState::Busy; threads]),
            trouble: Mutex::new(vec![None; threads]),
            changed: Condvar::new(),
        });
        shared.status.set(State::Rebalancing);
        let streams = KafkaStreams { shared };
        for number in 0..threads {
            thread::start(streams.shared.clone(), number)?;
        }
        Ok(streams)
    }

    /// The present state.
    pub fn state(&self) -> State {
        *self.shared.status.state.borrow()
    }

    /// The state as it changes.
    pub fn watch_state(&self) -> watch::Receiver<State> {
        self.shared.status.state.subscribe()
    }

    /// Tasks of this process that failed and have not run through a commit since.
    pub fn failures(&self) -> Vec<TaskFailure> {
        self.shared.status.failures.lock().clone()
    }

    /// Why a stream thread of this process started anew, until it has committed since. What fails in a task is told by
    /// [`failures`](Self::failures).
    pub fn trouble(&self) -> Option<Trouble> {
        self.shared.trouble.lock().iter().flatten().next().cloned()
    }

    /// Commits, and leaves the group. False: the threads have not ended in time; they still end when they can.
    pub fn close(&self, timeout: Duration) -> bool {
        self.shared.stop(false);
        let until = Instant::now() + timeout;
        let mut threads = self.shared.threads.lock();
        while threads.iter().any(|state| *state != ThreadState::Ended) {
            if self.shared.changed.wait_until(&mut threads, until).timed_out() {
                return threads.iter().all(|state| *state == ThreadState::Ended);
            }
        }
        true
    }
}

impl Drop for KafkaStreams {
    fn drop(&mut self) {
        self.shared.stop(false);
    }
}

impl std::fmt::Debug for KafkaStreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaStreams").field("config", &self.shared.config).field("state", &self.state()).finish()
    }
}

/// The first part of the name of every client of this process.
pub(super) fn client_id(application_id: &str, process_id: &str) -> String {
    format!("{application_id}-{process_id}")
}
