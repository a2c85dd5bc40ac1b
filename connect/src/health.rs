//! How a system is doing: what `/readyz`, `concord status` and the metrics show.

use std::fmt;

/// Whether a system's conversation goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Ok,
    /// It goes on, with failures that are being retried.
    Degraded(String),
    /// It has stopped, and is tried again now and then: bad credentials, or a log that takes nothing.
    Paused(String),
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Ok => f.write_str("ok"),
            Health::Degraded(reason) => write!(f, "degraded: {reason}"),
            Health::Paused(reason) => write!(f, "paused: {reason}"),
        }
    }
}

/// How much a runner has before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Requests taken and not answered yet, backfill aside.
    pub live: usize,
    /// Reads of a backfill taken and not answered yet.
    pub backfill: usize,
    /// Calls under way.
    pub calls: usize,
    /// Requests answered since the start.
    pub answered: u64,
    /// Of these, reads of a backfill.
    pub backfilled: u64,
}

impl std::ops::AddAssign for Progress {
    fn add_assign(&mut self, other: Self) {
        self.live += other.live;
        self.backfill += other.backfill;
        self.calls += other.calls;
        self.answered += other.answered;
        self.backfilled += other.backfilled;
    }
}
