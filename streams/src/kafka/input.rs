//! What a task has to process: a queue per source partition.

use std::collections::VecDeque;

use super::progress::Start;
use crate::{ConsumerRecord, TopicPartition};

/// A partition is paused while it has more records queued than this …
const PAUSE_AT: usize = 2_000;
/// … until it has fewer than this.
const RESUME_AT: usize = 500;

/// One source partition of a task.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) partition: TopicPartition,
    queue: VecDeque<ConsumerRecord>,
    /// Lowest offset that may be queued next.
    position: i64,
    /// Offset of the next record to process, as committed.
    committed: i64,
    pub(super) paused: bool,
}

impl Input {
    /// A partition that was just assigned, and paused.
    pub(super) fn new(start: &Start) -> Input {
        Input { partition: start.partition.clone(), queue: VecDeque::new(), position: start.next, committed: start.next, paused: true }
    }

    /// Queues a record. False: it is out of order, which the consumer never does.
    #[must_use]
    pub(super) fn offer(&mut self, record: ConsumerRecord) -> bool {
        let in_order = record.offset >= self.position;
        self.position = record.offset + 1;
        self.queue.push_back(record);
        in_order
    }

    pub(super) fn committed(&self) -> i64 {
        self.committed
    }

    /// The task's work up to `next` is committed.
    pub(super) fn commit(&mut self, next: i64) {
        self.committed = next;
    }

    /// Back to what is committed; the consumer must be sent there too.
    pub(super) fn rewind(&mut self) {
        self.queue.clear();
        self.position = self.committed;
    }

    /// Whether the partition must be paused or resumed now, for a task that runs.
    pub(super) fn wants_pause(&self) -> bool {
        self.queue.len() > if self.paused { RESUME_AT } else { PAUSE_AT }
    }
}

/// Takes the next record of a task: the one with the lowest timestamp among the heads of its partitions, as Kafka Streams does.
pub(super) fn take_next(inputs: &mut [Input]) -> Option<ConsumerRecord> {
    let heads = inputs.iter_mut().filter_map(|input| input.queue.front().map(|head| head.timestamp).map(|timestamp| (timestamp, input)));
    let (_, input) = heads.min_by_key(|(timestamp, _)| *timestamp)?;
    input.queue.pop_front()
}

/// Whether something is queued.
pub(super) fn has_queued(inputs: &[Input]) -> bool {
    inputs.iter().any(|input| !input.queue.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Headers;

    fn input(topic: &str, next: i64) -> Input {
        Input::new(&Start { partition: TopicPartition::new(topic, 0), next, stream_time: -1 })
    }

    fn record(input: &Input, offset: i64, timestamp: i64) -> ConsumerRecord {
        let TopicPartition { topic, partition } = input.partition.clone();
        ConsumerRecord { topic, partition, offset, timestamp, key: None, value: None, headers: Headers::new() }
    }

    #[test]
    fn the_lowest_timestamp_among_the_heads_is_next() {
        let mut inputs = [input("a", 0), input("b", 0)];
        for (index, offset, timestamp) in [(0, 0, 5), (0, 1, 1), (1, 0, 3), (1, 2, 9)] {
            let record = record(&inputs[index], offset, timestamp);
            assert!(inputs[index].offer(record));
        }
        let order: Vec<i64> = std::iter::from_fn(|| take_next(&mut inputs)).map(|record| record.timestamp).collect();
        assert_eq!(order, [3, 5, 1, 9]);
    }

    #[test]
    fn a_rewound_input_starts_over_where_it_was_committed() {
        let mut input = input("a", 7);
        assert!(input.offer(record(&input, 7, 0)));
        assert!(!input.offer(record(&input, 7, 0)), "the same offset twice");
        input.rewind();
        assert!(!has_queued(std::slice::from_ref(&input)));
        assert!(input.offer(record(&input, 9, 0)), "offsets may have gaps");
    }
}
