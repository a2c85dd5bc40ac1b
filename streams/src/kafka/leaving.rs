//! The end of a life: its tasks are closed, and it leaves the group.

use std::time::Duration;

use rdkafka::consumer::Consumer;

use super::error::Failure;
use super::life::Life;
use super::{KafkaStreamsError, local_store, rebalance, watchdog};
use crate::TaskId;

/// How long leaving the group may take.
const LEAVE: Duration = Duration::from_secs(10);

impl Life<'_> {
    /// Leaves the group. A local store that is to blame for the failure is thrown away.
    pub(super) fn end(mut self, failure: Option<&Failure>) {
        if matches!(failure, Some(Failure::Task(_)))
            && let Err(error) = self.output.transactions.abort()
        {
            tracing::debug!(%error, "The next producer will settle the transaction.");
        }
        let damaged = failure.and_then(damaged_store);
        for running in self.tasks.drain(..) {
            let id = running.id;
            let local = running.close();
            if damaged == Some(id) {
                tracing::warn!(task = %id, "A local store is thrown away; it is restored from its changelog.");
                if let Err(error) = local.destroy() {
                    tracing::error!(task = %id, error_code = error.code(), %error, "A damaged local store could not be thrown away.");
                }
            }
        }
        // The consumer waits for an answer to what it said, before it can be dropped.
        self.consumer.context().close();
        self.events.extend(self.consumer.context().take());
        for event in &self.events {
            if let Err(error) = rebalance::acknowledge(&self.consumer, event) {
                tracing::debug!(%error, "Leaving the group in the middle of a rebalance.");
            }
        }
        let consumer = self.consumer;
        if let Err(error) = watchdog::within("leaving the group", LEAVE, move || drop(consumer)) {
            tracing::warn!(error_code = error.code(), %error, "The group will miss this member only later.");
        }
    }
}

/// The task whose local store is damaged, if that is what ended the life.
fn damaged_store(failure: &Failure) -> Option<TaskId> {
    match failure {
        Failure::Task(error) if error.error.code() == "state-store" => Some(error.task),
        Failure::Client(KafkaStreamsError::LocalStore { task, source, .. }) if local_store::is_damage(source) => Some(*task),
        Failure::Client(_) | Failure::Task(_) => None,
    }
}
