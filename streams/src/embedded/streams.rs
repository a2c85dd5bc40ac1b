//! A topology that runs on a log: its settings, its handle, its states.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::jobs::Job;
use super::{Log, LogError};
use crate::{TaskConfig, TaskError, TaskId, Topology};

/// States of a running topology, as Kafka Streams names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made, not yet started.
    Created,
    /// Tasks are being started, or started anew after a failure.
    Rebalancing,
    /// All tasks run.
    Running,
    /// It was told to stop.
    PendingShutdown,
    /// It stopped.
    NotRunning,
    /// A failure stops it.
    PendingError,
    /// A failure stopped it.
    Error,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Created => "CREATED",
            State::Rebalancing => "REBALANCING",
            State::Running => "RUNNING",
            State::PendingShutdown => "PENDING_SHUTDOWN",
            State::NotRunning => "NOT_RUNNING",
            State::PendingError => "PENDING_ERROR",
            State::Error => "ERROR",
        })
    }
}

/// What to do when a task fails in a way that no exception handler passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UncaughtResponse {
    /// The tasks start anew from what is committed; the one that failed after a pause that doubles.
    ReplaceThread,
    /// The topology stops, in state [`State::Error`].
    ShutdownClient,
}

/// Decides about failures of tasks, like Kafka Streams' `StreamsUncaughtExceptionHandler`.
pub type UncaughtHandler = Arc<dyn Fn(&TaskError) -> UncaughtResponse + Send + Sync>;

/// How a topology is run.
#[derive(Clone)]
pub struct StreamsConfig {
    /// `application.id`: its consumer group, and the owner of its stores.
    pub application_id: String,
    /// What becomes of records that fail.
    pub task: TaskConfig,
    /// What becomes of tasks that fail.
    pub uncaught: UncaughtHandler,
    /// First pause of a task that failed; it doubles with each failure in a row …
    pub first_pause: Duration,
    /// … up to this.
    pub longest_pause: Duration,
    /// How long dead letter records stay, in topics that the topology makes for them.
    pub dead_letter_retention: Duration,
}

impl StreamsConfig {
    /// Kafka Streams' defaults, but a failed task is replaced rather than the topology stopped.
    pub fn new(application_id: impl Into<String>) -> StreamsConfig {
        StreamsConfig {
            application_id: application_id.into(),
            task: TaskConfig::default(),
            uncaught: Arc::new(|_| UncaughtResponse::ReplaceThread),
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(30),
            dead_letter_retention: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

impl fmt::Debug for StreamsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamsConfig").field("application_id", &self.application_id).finish_non_exhaustive()
    }
}

/// A task that failed and has not run through a commit since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFailure {
    /// The task.
    pub task: TaskId,
    /// What failed, at which record.
    pub error: String,
    /// Failures in a row.
    pub count: u32,
}

/// What the handle and the writer share about a topology.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) state: watch::Sender<State>,
    pub(super) failures: Mutex<Vec<TaskFailure>>,
}

impl Status {
    pub(super) fn set(&self, state: State) {
        let before = self.state.send_replace(state);
        if before != state {
            tracing::info!(from = %before, to = %state, "State of the topology changed.");
        }
    }
}

/// A running topology. Dropping the handle does not stop it; closing it, or the log, does.
#[derive(Debug, Clone)]
pub struct Streams {
    log: Log,
    status: Arc<Status>,
}

impl Streams {
    /// The present state.
    pub fn state(&self) -> State {
        *self.status.state.borrow()
    }

    /// The state as it changes.
    pub fn watch_state(&self) -> watch::Receiver<State> {
        self.status.state.subscribe()
    }

    /// Tasks that failed and have not run through a commit since.
    pub fn failures(&self) -> Vec<TaskFailure> {
        self.status.failures.lock().clone()
    }

    /// Stops the topology after the round that is under way. The log goes on.
    pub fn close(&self) -> Result<(), LogError> {
        self.log.ask(|reply| Job::StopStreams { reply })
    }
}

impl Log {
    /// Runs a topology on this log: from now on, what is appended to its source topics runs through all its hops, and is committed
    /// with its outputs, store changes and offsets at once. Its source and sink topics must exist; repartition topics are made.
    /// A log runs one topology at a time.
    pub fn start(&self, topology: &Topology, config: StreamsConfig) -> Result<Streams, LogError> {
        let application = config.application_id.clone();
        let refused = |error: &dyn fmt::Display| LogError::Start { application: application.clone(), reason: error.to_string() };
        let built = Arc::new(topology.build(&config.application_id).map_err(|error| refused(&error))?);
        let status = Arc::new(Status { state: watch::Sender::new(State::Created), failures: Mutex::default() });
        let for_writer = status.clone();
        self.ask(|reply: oneshot::Sender<_>| Job::Start { topology: built, config: Box::new(config), status: for_writer, reply })?;
        Ok(Streams { log: self.clone(), status })
    }
}
