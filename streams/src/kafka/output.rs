//! Where a task's outputs go: the partition of each, and the transaction.

use std::cell::RefCell;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::error::{Failure, Halt};
use super::streams::Shared;
use super::transactions::{Slot, TransactionError, Transactions};
use super::{KafkaStreamsError, clients, topics};
use crate::{ProcessorError, ProducerRecord, TaskError, TaskId, dlq_headers, partition_for_key};

pub(super) struct Output<'a> {
    shared: &'a Shared,
    pub(super) transactions: Transactions,
    /// Partition counts of topics that were asked for.
    counts: RefCell<FxHashMap<Arc<str>, i32>>,
    /// Records without a key go to the partitions in turn.
    turn: i32,
}

impl<'a> Output<'a> {
    pub(super) fn new(shared: &'a Shared, transactions: Transactions) -> Output<'a> {
        Output { shared, transactions, counts: RefCell::default(), turn: 0 }
    }

    /// How many partitions a topic has; none: it does not exist, or nobody can tell.
    pub(super) fn partitions(&self, topic: &str) -> Option<i32> {
        if let Some(count) = self.counts.borrow().get(topic) {
            return Some(*count);
        }
        match self.shared.cluster.partitions(topic) {
            Ok(Some(count)) => {
                self.counts.borrow_mut().insert(topic.into(), count);
                Some(count)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(topic, error_code = error.code(), %error, "The partitions of a topic are not known.");
                None
            }
        }
    }

    /// Writes an output of a task. The partition is the record's own, else the one that Java's default partitioner chooses for the key.
    pub(super) fn write(&mut self, task: TaskId, record: &ProducerRecord) -> Result<(), Halt> {
        let count = match self.partitions(&record.topic) {
            Some(count) => count,
            None if record.headers.last_header(dlq_headers::TOPIC).is_some() => self.make_dead_letter_topic(&record.topic)?,
            None => return Err(refused(task, format!("topic {} does not exist", record.topic))),
        };
        let partition = match (record.partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_for_key(key, count),
            (None, None) => {
                self.turn = self.turn.wrapping_add(1) & i32::MAX;
                self.turn % count
            }
        };
        if !(0..count).contains(&partition) {
            return Err(refused(task, format!("topic {} has no partition {partition}", record.topic)));
        }
        self.send(task, record, partition, 0)
    }

    /// Writes a record of a changelog; its offset is told at the commit.
    pub(super) fn write_changelog(&mut self, task: TaskId, record: &ProducerRecord, slot: Slot) -> Result<(), Halt> {
        let (size, largest) = (record.size(), clients::largest_record(&self.shared.config));
        if size > largest {
            return Err(refused(task, format!("a record for {} has {size} bytes; {largest} is the most", record.topic)));
        }
        self.send(task, record, task.partition, slot)
    }

    fn send(&mut self, task: TaskId, record: &ProducerRecord, partition: i32, slot: Slot) -> Result<(), Halt> {
        self.transactions.send(record, partition, slot).map_err(|error| match error {
            TransactionError::Refused(reason) => refused(task, reason),
            error => error.into(),
        })
    }

    fn make_dead_letter_topic(&self, topic: &Arc<str>) -> Result<i32, KafkaStreamsError> {
        self.shared.cluster.create(&[topics::dead_letter_topic(topic, &self.shared.config)])?;
        self.partitions(topic).ok_or_else(|| KafkaStreamsError::invariant(format!("topic {topic} was made, and is not there")))
    }
}

/// The task fails: nobody could write what it produced.
fn refused(task: TaskId, reason: String) -> Halt {
    TaskError { task, record: None, error: ProcessorError::fatal("production", reason) }.into()
}

impl From<TransactionError> for Halt {
    fn from(error: TransactionError) -> Halt {
        match error {
            TransactionError::Abort(reason) => Halt::Abort(reason),
            TransactionError::Renew(reason) => Halt::Renew(reason),
            TransactionError::Refused(reason) => Halt::End(Failure::Client(KafkaStreamsError::Producer(reason))),
            TransactionError::Denied(error) => error.into(),
        }
    }
}
