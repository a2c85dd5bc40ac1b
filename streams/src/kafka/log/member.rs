//! The place in a group of owners: who has the group's only partition may act for the name.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;

use super::super::{clients as base, watchdog};
use super::brokers::Brokers;
use super::{OWNERS_TOPIC, clients, error};
use crate::embedded::LogError;

/// How long leaving the group is waited for.
const LONGEST_LEAVE: Duration = Duration::from_secs(5);

/// Notes what the group says.
#[derive(Debug, Default)]
struct Holding {
    holds: AtomicBool,
    /// How often the partition went away.
    losses: AtomicU64,
}

impl ClientContext for Holding {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        base::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        base::log_error(&error, reason);
    }
}

impl ConsumerContext for Holding {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) if partitions.count() > 0 => self.holds.store(true, Ordering::SeqCst),
            // The others of the group come and go.
            Rebalance::Assign(_) => {}
            Rebalance::Revoke(partitions) if partitions.count() == 0 => {}
            Rebalance::Revoke(_) | Rebalance::Error(_) => {
                self.losses.fetch_add(1, Ordering::SeqCst);
                self.holds.store(false, Ordering::SeqCst);
            }
        }
    }
}

pub(super) struct Member {
    consumer: BaseConsumer<Holding>,
    name: String,
}

impl Member {
    /// Joins the group of those that could act for a name.
    pub(super) fn join(brokers: &Brokers, name: &str) -> Result<Member, LogError> {
        let group = format!("{}-owner-{name}", brokers.config.application_id);
        let consumer: BaseConsumer<Holding> =
            clients::member(&brokers.for_clients, &group, brokers.config.session_timeout, Holding::default())?;
        consumer.subscribe(&[OWNERS_TOPIC]).map_err(|error| error::of_call(&format!("joining the group {group}"), &error))?;
        Ok(Member { consumer, name: name.to_owned() })
    }

    /// Hears what the group says: nothing is given back before.
    pub(super) fn serve(&self, wait: Duration) -> Result<(), LogError> {
        match self.consumer.poll(wait) {
            Some(Err(error)) if error::is_refusal(&error) => {
                Err(error::of_call(&format!("joining the group of owners of {}", self.name), &error))
            }
            // librdkafka goes on by itself. Nobody writes to the topic.
            _ => Ok(()),
        }
    }

    /// Which turn of holding the partition it is; none: it is another member's.
    pub(super) fn turn(&self) -> Option<u64> {
        let holding = self.consumer.context();
        holding.holds.load(Ordering::SeqCst).then(|| holding.losses.load(Ordering::SeqCst))
    }

    /// Leaves the group, which gives the partition to another member at once.
    pub(super) fn leave(self) {
        if let Err(error) = watchdog::within("leaving the group of owners", LONGEST_LEAVE, move || drop(self.consumer)) {
            tracing::warn!(%error, "The group of owners is left only when its session ends.");
        }
    }
}
