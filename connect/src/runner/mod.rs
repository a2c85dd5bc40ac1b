//! The conversation runner of one system, on the log: the partitions of `requests.<system>` in, calls to the system out, results to
//! `customers.<system>`.
//!
//! The decisions are [`Partition`](crate::Partition)'s; this is the shell around them. What is finished, what it asks to be read, and
//! the end of the finished prefix are one append. A crash loses nothing: requests after the committed offset run again.

mod breaker;
mod drive;
mod pace;
mod publish;

use crate::{
    backoff::Backoff,
    contract::{Sink, Source},
    conversation::Style,
    error::ConnectError,
    health::{Health, Progress},
    partition,
    topics::{Topics, runner_group},
};
use drive::Drive;
use schemas::{Millis, Registry, System};
use std::{num::NonZeroU32, sync::Arc, time::Duration};
use streams::{
    Log,
    embedded::{Clock, SystemClock, TopicConfig},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a dead letter is kept.
const DEAD_LETTERS: Duration = Duration::from_secs(90 * 24 * 3600);

/// How a system's conversation is run.
#[derive(Clone, Debug)]
pub struct Options {
    pub system: System,
    pub style: Style,
    /// All calls together; `None`: no limit of ours.
    pub calls_per_second: Option<NonZeroU32>,
    /// At most this many calls at once.
    pub calls: usize,
    /// Nobody waits longer for an answer; the outcome is unknown then.
    pub timeout: Duration,
    /// Pauses of one request.
    pub backoff: Backoff,
    /// Pauses between probes while the credentials are not accepted.
    pub credentials: Backoff,
    /// Pauses between probes while the system does not answer.
    pub away: Backoff,
    /// The source has list calls.
    pub lists: bool,
    /// At most about this many requests of a partition are held in memory.
    pub room: usize,
    /// At the shutdown, calls under way have this long to be answered.
    pub drain: Duration,
    pub clock: Arc<dyn Clock>,
}

impl Options {
    pub fn new(system: System, style: Style) -> Self {
        Options {
            system,
            style,
            calls_per_second: None,
            calls: 32,
            timeout: Duration::from_secs(30),
            backoff: Backoff::default(),
            credentials: Backoff { first: 5_000, longest: 60_000 },
            away: Backoff { first: 1_000, longest: 10_000 },
            lists: false,
            room: 4_000,
            drain: Duration::from_secs(5),
            clock: Arc::new(SystemClock),
        }
    }

    fn partition(&self) -> partition::Options {
        partition::Options {
            backoff: self.backoff,
            lists: self.lists,
            calls: self.calls,
            room: self.room,
            ..partition::Options::new(self.system.clone(), self.style)
        }
    }
}

/// What the runner's parts share.
struct Shared {
    log: Log,
    topics: Topics,
    group: String,
    options: Options,
}

impl Shared {
    fn now(&self) -> Millis {
        self.options.clock.now_ms()
    }
}

/// Drives a system's conversation. One per system: two would only do the same calls twice.
///
/// `Runner::new` checks and prepares without calling the system; [`run`](Self::run) works until the shutdown.
pub struct Runner {
    shared: Shared,
    source: Arc<dyn Source>,
    sink: Option<Arc<dyn Sink>>,
    health: watch::Sender<Health>,
    progress: watch::Sender<Progress>,
}

impl Runner {
    /// The system's topics must exist. Without a sink the system is only read.
    pub async fn new(
        log: Log,
        registry: &Registry,
        options: Options,
        source: Arc<dyn Source>,
        sink: Option<Arc<dyn Sink>>,
    ) -> Result<Self, ConnectError> {
        let topics = Topics::new(&log, registry, &options.system)?;
        let group = runner_group(&options.system);
        if log.partitions(&topics.dead).is_none() {
            let dead = TopicConfig::delete(topics.dead.to_string(), topics.partitions, DEAD_LETTERS);
            log.create_topic(dead).await.map_err(ConnectError::log(format!("creating {}", topics.dead)))?;
        }
        log.create_group(&group, &[&*topics.requests]).await.map_err(ConnectError::log(format!("announcing {group}")))?;
        Ok(Runner {
            shared: Shared { log, topics, group, options },
            source,
            sink,
            health: watch::Sender::new(Health::Ok),
            progress: watch::Sender::new(Progress::default()),
        })
    }

    /// The system's health, as it changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// What is held and under way, as it changes.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Works until the shutdown, then lets the calls under way finish and publishes what they brought. It ends earlier only with an
    /// error of the log that waiting does not cure; run a new one then.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ConnectError> {
        Drive::new(self).await?.run(shutdown).await
    }
}
