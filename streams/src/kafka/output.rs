//! Where a task's outputs go: the partition of each, and the transaction.
//!
//! They are handed to librdkafka in batches, partition by partition, and the rest with the commit. It makes a request of what a partition
//! has whenever that is `linger.ms` old: one by one, as they are made, a transaction's outputs would become many small requests, which
//! cost the brokers more than the records in them. Nobody sees them before the commit anyway.

use std::cell::RefCell;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::error::{Failure, Halt};
use super::streams::Shared;
use super::transactions::{Slot, TransactionError, Transactions};
use super::{KafkaStreamsError, clients, topics};
use crate::{ProcessorError, ProducerRecord, TaskError, TaskId, dlq_headers, partition_for_key};

/// A partition's records are handed over when they have so many bytes.
const BATCH_BYTES: usize = 128 << 10;

pub(super) struct Output<'a> {
    shared: &'a Shared,
    pub(super) transactions: Transactions,
    /// Topics that were asked for.
    topics: RefCell<FxHashMap<Arc<str>, Vec<Batch>>>,
    /// Whether some partition has records that were not handed over yet.
    is_kept: bool,
    /// Records without a key go to the partitions in turn.
    turn: i32,
}

/// Records of one partition that were not handed over yet, each with the task that made it.
#[derive(Default)]
struct Batch {
    records: Vec<(TaskId, ProducerRecord)>,
    bytes: usize,
}

impl<'a> Output<'a> {
    pub(super) fn new(shared: &'a Shared, transactions: Transactions) -> Output<'a> {
        Output { shared, transactions, topics: RefCell::default(), is_kept: false, turn: 0 }
    }

    /// How many partitions a topic has; none: it does not exist, or nobody can tell.
    pub(super) fn partitions(&self, topic: &str) -> Option<i32> {
        if let Some(batches) = self.topics.borrow().get(topic) {
            return Some(batches.len() as i32);
        }
        match self.shared.cluster.partitions(topic) {
            Ok(Some(count)) => {
                let batches = (0..count).map(|_| Batch::default()).collect();
                self.topics.borrow_mut().insert(topic.into(), batches);
                Some(count)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(topic, error_code = error.code(), %error, "The partitions of a topic are not known.");
                None
            }
        }
    }

    /// Whether something was written since the last commit.
    pub(super) fn is_open(&self) -> bool {
        self.is_kept || self.transactions.is_open()
    }

    /// Writes an output of a task. The partition is the record's own, else the one that Java's default partitioner chooses for the key.
    pub(super) fn write(&mut self, task: TaskId, record: ProducerRecord) -> Result<(), Halt> {
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
        let batch = self.topics.get_mut().get_mut(&record.topic).and_then(|batches| batches.get_mut(usize::try_from(partition).ok()?));
        let Some(batch) = batch else {
            return Err(refused(task, format!("topic {} has no partition {partition}", record.topic)));
        };
        self.is_kept = true;
        batch.bytes += record.size();
        batch.records.push((task, record));
        if batch.bytes >= BATCH_BYTES {
            hand_over(&mut self.transactions, partition, batch)?;
        }
        Ok(())
    }

    /// Hands over what is left, so that the transaction has all.
    pub(super) fn hand_over(&mut self) -> Result<(), Halt> {
        if std::mem::take(&mut self.is_kept) {
            for batches in self.topics.get_mut().values_mut() {
                for (partition, batch) in (0..).zip(batches) {
                    hand_over(&mut self.transactions, partition, batch)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets what was not handed over: its transaction comes to nothing.
    pub(super) fn forget(&mut self) {
        self.is_kept = false;
        self.topics.get_mut().values_mut().flatten().for_each(|batch| drop(std::mem::take(batch)));
    }

    /// Writes a record of a changelog; its offset is told at the commit.
    pub(super) fn write_changelog(&mut self, task: TaskId, record: &ProducerRecord, slot: Slot) -> Result<(), Halt> {
        let (size, largest) = (record.size(), clients::largest_record(&self.shared.config));
        if size > largest {
            return Err(refused(task, format!("a record for {} has {size} bytes; {largest} is the most", record.topic)));
        }
        send(&mut self.transactions, task, record, task.partition, slot)
    }

    fn make_dead_letter_topic(&self, topic: &Arc<str>) -> Result<i32, KafkaStreamsError> {
        self.shared.cluster.create(&[topics::dead_letter_topic(topic, &self.shared.config)])?;
        self.partitions(topic).ok_or_else(|| KafkaStreamsError::invariant(format!("topic {topic} was made, and is not there")))
    }
}

fn hand_over(transactions: &mut Transactions, partition: i32, batch: &mut Batch) -> Result<(), Halt> {
    batch.bytes = 0;
    batch.records.drain(..).try_for_each(|(task, record)| send(transactions, task, &record, partition, 0))
}

fn send(transactions: &mut Transactions, task: TaskId, record: &ProducerRecord, partition: i32, slot: Slot) -> Result<(), Halt> {
    transactions.send(record, partition, slot).map_err(|error| match error {
        TransactionError::Refused(reason) => refused(task, reason),
        error => error.into(),
    })
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
