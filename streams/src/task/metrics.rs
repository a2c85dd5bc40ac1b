//! The metrics of a task, under Kafka Streams' names. Counted locally while records run, handed over at each commit.

use metrics::{Counter, Histogram, Unit};
use std::time::Duration;

use super::TaskId;

const PROCESS: &str = "kafka_stream_task_process_total";
const DROPPED: &str = "kafka_stream_task_dropped_records_total";
const PUNCTUATE: &str = "kafka_stream_task_punctuate_total";
const COMMIT: &str = "kafka_stream_task_commit_total";
const PROCESS_LATENCY: &str = "kafka_stream_task_process_latency_seconds";

/// Tells the process's metrics recorder what the engine's metrics mean. Call it once, after the recorder is installed and before the first task is made.
pub fn describe_metrics() {
    metrics::describe_counter!(PROCESS, "Records that the task processed.");
    metrics::describe_counter!(DROPPED, "Records that the task skipped: null keys and values, and what an exception handler passed over.");
    metrics::describe_counter!(PUNCTUATE, "Calls of punctuators.");
    metrics::describe_counter!(COMMIT, "Commits in which the task had something to commit.");
    metrics::describe_counter!("kafka_stream_thread_commit_total", "Transactions that a stream thread committed.");
    metrics::describe_counter!("kafka_stream_thread_aborted_total", "Transactions that a stream thread gave up.");
    metrics::describe_counter!("kafka_stream_thread_failed_total", "Failures after which a stream thread or its tasks started anew.");
    metrics::describe_counter!(
        "kafka_stream_thread_renewed_total",
        "Transactional producers that were given up for a new one of the same id."
    );
    metrics::describe_counter!("kafka_stream_thread_stuck_total", "Clients whose end was not waited for any longer.");
    metrics::describe_counter!("kafka_log_transactions_aborted_total", "Transactions of appends that were aborted and tried again.");
    metrics::describe_counter!("kafka_log_owner_begun_total", "How often this process began to act for the name.");
    metrics::describe_counter!(
        "kafka_log_owner_lost_total",
        "How often this process stopped acting for the name because it could not be sure of it any more."
    );
    metrics::describe_histogram!("kafka_stream_thread_commit_latency_seconds", Unit::Seconds, "How long a commit to Kafka took.");
    metrics::describe_counter!("kafka_stream_state_restore_total", "Records that were restored from changelogs.");
    metrics::describe_gauge!("kafka_stream_state_restore_remaining_records", "Offsets that a stream thread has yet to restore.");
    metrics::describe_histogram!(PROCESS_LATENCY, Unit::Seconds, "Time per record, averaged over a batch, as the driver measured it.");
}

pub(super) struct TaskMetrics {
    process: Counter,
    dropped: Counter,
    punctuate: Counter,
    commit: Counter,
    process_latency: Histogram,
}

/// What a task counted since the last commit.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) processed: u64,
    pub(crate) dropped: u64,
    pub(crate) punctuated: u64,
}

impl TaskMetrics {
    pub(super) fn new(id: TaskId) -> Self {
        let task = id.to_string();
        Self {
            process: metrics::counter!(PROCESS, "task_id" => task.clone()),
            dropped: metrics::counter!(DROPPED, "task_id" => task.clone()),
            punctuate: metrics::counter!(PUNCTUATE, "task_id" => task.clone()),
            commit: metrics::counter!(COMMIT, "task_id" => task.clone()),
            process_latency: metrics::histogram!(PROCESS_LATENCY, "task_id" => task),
        }
    }

    pub(super) fn record(&self, counts: Counts) {
        for (counter, count) in [(&self.process, counts.processed), (&self.dropped, counts.dropped), (&self.punctuate, counts.punctuated)] {
            if count > 0 {
                counter.increment(count);
            }
        }
    }

    pub(super) fn committed(&self) {
        self.commit.increment(1);
    }

    pub(super) fn process_latency(&self, records: u64, elapsed: Duration) {
        if records > 0 {
            self.process_latency.record(elapsed.as_secs_f64() / records as f64);
        }
    }
}
