//! What every driver of a running topology tells its user: states, failures, and the choice what to do about them.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{TaskError, TaskId};

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

/// What a handle and the threads behind it share about a topology.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) state: watch::Sender<State>,
    pub(crate) failures: Mutex<Vec<TaskFailure>>,
}

impl Default for Status {
    fn default() -> Status {
        Status { state: watch::Sender::new(State::Created), failures: Mutex::default() }
    }
}

impl Status {
    pub(crate) fn set(&self, state: State) {
        let before = self.state.send_replace(state);
        if before != state {
            tracing::info!(from = %before, to = %state, "State of the topology changed.");
        }
    }
}
