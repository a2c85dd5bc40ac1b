//! A stream thread: one life after the other, from one failure to the next.
//!
//! A life that ends takes its consumer, its producer and its tasks with it: the next one makes them anew. Its producer has the same
//! transactional id, so making it settles what the last one left open, and what it reads from then on is what is committed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::KafkaStreamsError;
use super::error::Failure;
use super::life::Life;
use super::streams::{Shared, ThreadState, Trouble};
use crate::client::UncaughtResponse;

/// Starts a stream thread.
pub(super) fn start(shared: Arc<Shared>, number: usize) -> Result<(), KafkaStreamsError> {
    let name = format!("StreamThread-{}", number + 1);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        // A thread that vanished would leave the client in a state that is not so.
        if catch_unwind(AssertUnwindSafe(|| run(&shared, number))).is_err() {
            tracing::error!(thread = number + 1, error_code = "kafka-invariant", "A stream thread panicked; the client stops.");
            shared.stop(true);
        }
        shared.publish(number, ThreadState::Ended);
    });
    thread.map(drop).map_err(|error| KafkaStreamsError::io("starting a stream thread", error))
}

fn run(shared: &Shared, number: usize) {
    let mut failures = 0;
    while !shared.is_stopping() {
        let mut worked = false;
        let outcome = Life::begin(shared, number).and_then(|mut life| {
            let outcome = life.run();
            worked = life.has_committed();
            life.end(outcome.as_ref().err());
            outcome
        });
        shared.publish(number, ThreadState::Busy);
        let Err(failure) = outcome else { return };
        metrics::counter!("kafka_stream_thread_failed_total").increment(1);
        failures = if worked { 1 } else { failures + 1 };
        if let Failure::Client(error) = &failure {
            shared.note_trouble(number, Some(Trouble { code: error.code(), reason: error.to_string() }));
        }
        match failure {
            Failure::Task(error) => {
                let response = (shared.config.uncaught)(&error);
                tracing::error!(task = %error.task, %error, ?response, "A task failed.");
                failures = failures.max(shared.note_failure(error.task, error.to_string()));
                if response == UncaughtResponse::ShutdownClient {
                    shared.stop(true);
                }
            }
            Failure::Client(error @ (KafkaStreamsError::Invariant(_) | KafkaStreamsError::NotColocated { .. })) => {
                tracing::error!(thread = number + 1, error_code = error.code(), %error, "A stream thread must not go on; it starts anew.");
            }
            Failure::Client(error) => {
                tracing::warn!(thread = number + 1, error_code = error.code(), %error, "A stream thread starts anew.");
            }
        }
        shared.pause(pause(shared, failures));
    }
}

fn pause(shared: &Shared, failures: u32) -> Duration {
    let doubled = shared.config.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(shared.config.longest_pause)
}
