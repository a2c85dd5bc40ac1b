//! The group's events, as they come during a poll, kept for the thread: it commits first, and answers librdkafka afterwards.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::clients;
use super::progress::Start;
use crate::TopicPartition;

/// What the group says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// These partitions are ours from now on.
    Assigned(Vec<TopicPartition>),
    /// These are about to be another member's. `lost`: they are already, so nothing may be committed.
    Revoked { partitions: Vec<TopicPartition>, lost: bool },
}

/// The consumer's context.
#[derive(Debug, Default)]
pub(super) struct Rebalances {
    events: Mutex<Vec<Event>>,
    /// The consumer is being dropped: it waits for answers that nobody else will give.
    closing: AtomicBool,
}

impl Rebalances {
    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock())
    }

    /// From now on the consumer answers by itself.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        clients::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        clients::log_error(&error, reason);
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = list.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect();
        let event = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Event::Assigned(partitions),
            _ => Event::Revoked { partitions, lost: consumer.assignment_lost() },
        };
        if self.closing.load(Ordering::SeqCst) {
            if let Err(error) = acknowledge(consumer, &event) {
                tracing::warn!(%error, "A consumer that is closed could not give its partitions back.");
            }
            return;
        }
        self.events.lock().push(event);
    }
}

/// Answers an event without any intention to read.
pub(super) fn acknowledge(consumer: &BaseConsumer<Rebalances>, event: &Event) -> KafkaResult<()> {
    match event {
        Event::Assigned(partitions) => assign(consumer, &list(partitions)),
        Event::Revoked { partitions, .. } => unassign(consumer, partitions),
    }
}

/// Begins to read these partitions from these offsets.
pub(super) fn assign_from(consumer: &BaseConsumer<Rebalances>, starts: &[Start]) -> KafkaResult<()> {
    let mut list = TopicPartitionList::with_capacity(starts.len());
    for start in starts {
        list.add_partition_offset(&start.partition.topic, start.partition.partition, Offset::Offset(start.next))?;
    }
    assign(consumer, &list)
}

fn assign(consumer: &BaseConsumer<Rebalances>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        _ => consumer.assign(list),
    }
}

/// Gives these partitions back. With the eager protocol it is always all of them.
pub(super) fn unassign(consumer: &BaseConsumer<Rebalances>, partitions: &[TopicPartition]) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(&list(partitions)),
        _ => consumer.unassign(),
    }
}

/// Whether partitions come and go one by one, and a task's may come one after the other.
pub(super) fn is_cooperative(consumer: &BaseConsumer<Rebalances>) -> bool {
    matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative)
}

/// Partitions as librdkafka takes them.
pub(super) fn list<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}
