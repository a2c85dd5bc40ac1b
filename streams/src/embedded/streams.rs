//! A topology that runs on a log: its settings and its handle.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::jobs::Job;
use super::{Log, LogError};
use crate::client::{State, Status, TaskFailure, UncaughtHandler, UncaughtResponse};
use crate::{TaskConfig, Topology};

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
        let status = Arc::new(Status::default());
        let for_writer = status.clone();
        self.ask(|reply: oneshot::Sender<_>| Job::Start { topology: built, config: Box::new(config), status: for_writer, reply })?;
        Ok(Streams { log: self.clone(), status })
    }
}
