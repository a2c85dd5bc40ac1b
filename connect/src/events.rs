//! What the runner tells: metrics and log lines, in one place.

use crate::{call::Reply, health::Health};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use schemas::System;
use std::time::Duration;

/// The metrics of one system.
pub(crate) struct Metrics {
    system: String,
    inflight: Gauge,
    backlog: Gauge,
    backfill: Gauge,
    health: Gauge,
    rate_limited: Counter,
    rate_limit_wait: Histogram,
    dead: Counter,
}

impl Metrics {
    pub fn new(system: &System) -> Self {
        let system = system.to_string();
        let health = gauge!("concord_system_health", "system" => system.clone());
        // What is told later is only what changes.
        health.set(1.0);
        Metrics {
            inflight: gauge!("concord_calls_inflight", "system" => system.clone()),
            backlog: gauge!("concord_requests_backlog", "system" => system.clone()),
            backfill: gauge!("concord_backfill_reads_unanswered", "system" => system.clone()),
            health,
            rate_limited: counter!("concord_rate_limit_waits_total", "system" => system.clone()),
            rate_limit_wait: histogram!("concord_rate_limit_wait_seconds", "system" => system.clone()),
            dead: counter!("concord_dead_letters_total", "system" => system.clone()),
            system,
        }
    }

    /// A call was answered.
    pub fn answered(&self, call: &'static str, reply: &Reply, took: Duration) {
        let outcome = outcome(reply);
        counter!("concord_calls_total", "system" => self.system.clone(), "call" => call, "outcome" => outcome).increment(1);
        histogram!("concord_call_seconds", "system" => self.system.clone(), "call" => call).record(took.as_secs_f64());
        if let Reply::Unknown { reason, .. } | Reply::Busy { reason, .. } | Reply::Unauthorized { reason } = reply {
            counter!("concord_call_retries_total", "system" => self.system.clone(), "call" => call).increment(1);
            tracing::debug!(system = %self.system, call, outcome, reason, "A call is repeated.");
        }
    }

    /// The rate limit makes a call wait.
    pub fn rate_limited(&self, wait: Duration) {
        self.rate_limited.increment(1);
        self.rate_limit_wait.record(wait.as_secs_f64());
    }

    /// What is held and under way.
    pub fn progress(&self, calls: usize, backlog: u64, backfill: usize) {
        self.inflight.set(calls as f64);
        self.backlog.set(backlog as f64);
        self.backfill.set(backfill as f64);
    }

    /// A request became a dead letter.
    pub fn dead(&self, topic: &str, partition: i32, offset: i64, reason: &str) {
        self.dead.increment(1);
        tracing::error!(
            system = %self.system, error_code = "poison_request", stage = "conversation", topic, partition, offset, reason,
            "A request cannot be answered; it is kept among the dead letters."
        );
    }

    /// The system's health has changed. As a number: 1 ok, 0.5 degraded, 0 paused.
    pub fn health(&self, health: &Health) {
        match health {
            Health::Ok => {
                self.health.set(1.0);
                tracing::info!(system = %self.system, "The conversation goes on.");
            }
            Health::Degraded(reason) => {
                self.health.set(0.5);
                tracing::warn!(system = %self.system, reason, "The conversation is degraded.");
            }
            Health::Paused(reason) => {
                self.health.set(0.0);
                tracing::error!(system = %self.system, error_code = "system_paused", reason, "The conversation is paused.");
            }
        }
    }
}

/// An answer's class in metrics.
fn outcome(reply: &Reply) -> &'static str {
    match reply {
        Reply::Done { .. } | Reply::Accepted | Reply::Made { .. } | Reply::Found(_) => "ok",
        Reply::Replayed { .. } => "replayed",
        Reply::Missing => "missing",
        Reply::Refused(_) => "refused",
        Reply::Changed => "changed",
        Reply::AlreadyOurs => "already_ours",
        Reply::Stored { .. } => "stored_failure",
        Reply::KeyReused => "key_reused",
        Reply::Unknown { .. } => "unknown",
        Reply::Busy { .. } => "busy",
        Reply::Unauthorized { .. } => "unauthorized",
    }
}
