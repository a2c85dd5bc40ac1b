//! What a task has to process: a queue per source partition.

use std::collections::VecDeque;
use std::sync::Arc;

use super::catalog::Partition;
use crate::ConsumerRecord;

/// Records of one partition that are handed over from memory; more are read back from the file when their turn comes.
const MAX_QUEUED: usize = 1024;

/// One source partition of a task.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) partition: Arc<Partition>,
    queue: VecDeque<ConsumerRecord>,
    /// Offset of the next record to be queued.
    position: i64,
    /// Offset of the next record to process, as committed.
    committed: i64,
}

impl Input {
    pub(super) fn new(partition: Arc<Partition>) -> Input {
        Input { partition, queue: VecDeque::new(), position: 0, committed: 0 }
    }

    pub(super) fn position(&self) -> i64 {
        self.position
    }

    /// Whether [`Input::offer`] would take the record of this offset.
    pub(super) fn takes(&self, offset: i64) -> bool {
        offset == self.position && self.queue.len() < MAX_QUEUED
    }

    /// A record of the present round, handed over before its commit. It must be the next one.
    pub(super) fn offer(&mut self, record: ConsumerRecord) {
        debug_assert_eq!(record.offset, self.position);
        self.position = record.offset + 1;
        self.queue.push_back(record);
    }

    /// Whether there are committed records to read before the task may choose its next one.
    pub(super) fn must_be_polled(&self) -> bool {
        self.queue.is_empty() && self.position < self.partition.committed_end()
    }

    /// Committed records from the position on; none: retention or compaction left nothing up to the end.
    pub(super) fn polled(&mut self, records: Vec<ConsumerRecord>) {
        self.position = records.last().map_or(self.partition.committed_end(), |last| last.offset + 1);
        self.queue.extend(records);
    }

    /// The task's work up to `next` is committed, or about to be.
    pub(super) fn commit(&mut self, next: i64) {
        self.committed = next;
    }

    /// Back to what is committed.
    pub(super) fn rewind(&mut self) {
        self.queue.clear();
        self.position = self.committed;
    }
}

/// Takes the next record of a task: the one with the lowest timestamp among the heads of its partitions, as Kafka Streams does.
pub(super) fn take_next(inputs: &mut [Input]) -> Option<ConsumerRecord> {
    let heads = inputs.iter_mut().filter_map(|input| input.queue.front().map(|head| head.timestamp).map(|timestamp| (timestamp, input)));
    let (_, input) = heads.min_by_key(|(timestamp, _)| *timestamp)?;
    input.queue.pop_front()
}

/// How many records a task could process at once.
pub(super) fn queued(inputs: &[Input]) -> usize {
    inputs.iter().map(|input| input.queue.len()).sum()
}

/// Whether a task has something to process or to read.
pub(super) fn has_work(inputs: &[Input]) -> bool {
    inputs.iter().any(|input| !input.queue.is_empty() || input.must_be_polled())
}
