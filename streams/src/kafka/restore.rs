//! Brings local stores up to the ends of their changelogs, one after the other, while other tasks run.
//!
//! The end is the high watermark at the time of the assignment, open transactions included: a member that is gone may have left one
//! open, and what a later member committed behind it shows only once the broker has settled it. So restoring waits until everything
//! before that end is settled (`transaction.timeout.ms` at most), and then reads up to it.
//!
//! Where the last offsets before that end are no records (they end transactions, or are of aborted ones), only the consumer's word that
//! the partition ends here tells that all is read. A new leader may say so too early. So it is believed only if it is said twice at the
//! same place, and the partition's leader has said in between that its end is not before ours.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::{counter, gauge};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::clients::{self, Plain};
use super::cluster;
use super::local_store::Position;
use super::refusal;
use super::topics::TOMBSTONES_STAY;
use super::{KafkaStreamsConfig, KafkaStreamsError};
use crate::TaskId;

/// Records that are written to the local store in one transaction.
const BATCH: usize = 5_000;
/// How often it is asked whether open transactions are settled.
const ASK_EVERY: Duration = Duration::from_millis(20);
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// A store that has to catch up.
#[derive(Debug, Clone)]
pub(super) struct Gap {
    pub(super) task: TaskId,
    /// The store's place in the topology.
    pub(super) store: usize,
    pub(super) topic: Arc<str>,
    /// First offset that is not covered.
    pub(super) next: i64,
    /// When nothing of what is to be read was compacted away yet.
    pub(super) as_of: i64,
    /// What is before this is to be restored.
    pub(super) end: i64,
    /// When that was the end.
    pub(super) asked: i64,
}

/// Why a store at this position cannot catch up with a changelog that goes from `begin` to `end`, if it cannot. What is left of the time
/// that tombstones stay is for reading them.
pub(super) fn is_useless(position: Position, begin: i64, end: i64, now: i64) -> Option<&'static str> {
    let age = Duration::from_millis(now.abs_diff(position.as_of));
    match position.next {
        next if !(begin..=end).contains(&next) => Some("it is not of this changelog"),
        next if next < end && age > TOMBSTONES_STAY / 2 => Some("deletions that it lacks may be compacted away"),
        _ => None,
    }
}

/// Whether the partition ends at `next`, now that the consumer says so: not unless it said so of the same place before.
fn is_end(ended_at: &mut Option<i64>, next: i64) -> bool {
    ended_at.replace(next) == Some(next)
}

/// What a step brought.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing yet.
    Waiting,
    /// These records, up to this position; the store is complete if it says so.
    Records { task: TaskId, store: usize, records: Vec<(Bytes, Option<Bytes>)>, position: Position, complete: bool },
    /// The changelog does not reach back to where the store is.
    TooOld { task: TaskId, store: usize },
}

pub(super) struct Restorer {
    consumer: BaseConsumer<Plain>,
    gaps: VecDeque<Gap>,
    /// Whether the consumer is at the gap in work.
    reading: bool,
    /// When to ask again whether everything before that gap's end is settled.
    ask_at: Instant,
    /// Where the partition is said to end, before the gap's end.
    ended_at: Option<i64>,
    restored: u64,
    started: Instant,
    reported: Instant,
}

impl Restorer {
    pub(super) fn new(config: &KafkaStreamsConfig, client_id: &str) -> Result<Restorer, KafkaStreamsError> {
        let now = Instant::now();
        Ok(Restorer {
            consumer: clients::restore_consumer(config, client_id)?,
            gaps: VecDeque::new(),
            reading: false,
            ask_at: now,
            ended_at: None,
            restored: 0,
            started: now,
            reported: now,
        })
    }

    pub(super) fn add(&mut self, gap: Gap) {
        self.gaps.push_back(gap);
        self.publish();
    }

    /// The task is no longer here.
    pub(super) fn forget(&mut self, task: TaskId) -> Result<(), KafkaStreamsError> {
        if self.gaps.front().is_some_and(|gap| gap.task == task) {
            self.stop_reading()?;
            self.ended_at = None;
        }
        self.gaps.retain(|gap| gap.task != task);
        self.publish();
        Ok(())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.gaps.is_empty()
    }

    /// Goes on for about this long.
    pub(super) fn step(&mut self, wait: Duration) -> Result<Step, KafkaStreamsError> {
        let Some(gap) = self.gaps.front().cloned() else { return Ok(Step::Waiting) };
        if !self.reading {
            if !self.is_settled(&gap)? {
                std::thread::sleep(wait.min(self.ask_at.saturating_duration_since(Instant::now())));
                return Ok(Step::Waiting);
            }
            self.start_reading(&gap)?;
        }
        let (mut records, mut next, mut at_end, mut too_old) = (Vec::new(), gap.next, false, false);
        let until = Instant::now() + wait;
        while records.len() < BATCH && next < gap.end {
            match self.consumer.poll(until.saturating_duration_since(Instant::now())) {
                None => break,
                Some(Ok(message)) if message.topic() != &*gap.topic || message.partition() != gap.task.partition => {
                    tracing::debug!(
                        topic = message.topic(),
                        partition = message.partition(),
                        "A record of another changelog is passed over."
                    );
                }
                Some(Ok(message)) => {
                    next = message.offset() + 1;
                    let Some(key) = message.key() else {
                        let place = format!("{}-{} offset {}", gap.topic, gap.task.partition, message.offset());
                        return Err(KafkaStreamsError::invariant(format!("a changelog record without a key at {place}")));
                    };
                    records.push((Bytes::copy_from_slice(key), message.payload().map(Bytes::copy_from_slice)));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    at_end = is_end(&mut self.ended_at, next);
                    if !at_end {
                        // It is asked anew whether everything is settled, and read from here.
                        self.stop_reading()?;
                    }
                    break;
                }
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange))) => {
                    too_old = true;
                    break;
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                    return Err(KafkaStreamsError::broker(format!("reading {}", gap.topic), error));
                }
                Some(Err(error)) => {
                    refusal::of_topic("READ", &gap.topic, &error).map_or(Ok(()), Err)?;
                    tracing::warn!(%error, topic = &*gap.topic, "Restoring meets an error.");
                }
            }
        }
        if too_old {
            self.ended_at = None;
            self.stop_reading()?;
            self.gaps.pop_front();
            return Ok(Step::TooOld { task: gap.task, store: gap.store });
        }
        self.took(&gap, records, next, at_end)
    }

    fn took(&mut self, gap: &Gap, records: Vec<(Bytes, Option<Bytes>)>, mut next: i64, at_end: bool) -> Result<Step, KafkaStreamsError> {
        self.restored += records.len() as u64;
        counter!("kafka_stream_state_restore_total").increment(records.len() as u64);
        let complete = next >= gap.end || at_end;
        if complete {
            self.ended_at = None;
            next = next.max(gap.end);
            self.stop_reading()?;
            self.gaps.pop_front();
            tracing::info!(task = %gap.task, topic = &*gap.topic, records = self.restored, millis = self.started.elapsed().as_millis() as u64, "A store is restored.");
        } else {
            if records.is_empty() && next == gap.next {
                return Ok(Step::Waiting);
            }
            if let Some(front) = self.gaps.front_mut() {
                front.next = next;
            }
            if self.reported.elapsed() > REPORT_EVERY {
                self.reported = Instant::now();
                tracing::info!(task = %gap.task, topic = &*gap.topic, next, end = gap.end, "A store is being restored.");
            }
        }
        self.publish();
        let position = Position { next, as_of: if complete { gap.asked } else { gap.as_of } };
        Ok(Step::Records { task: gap.task, store: gap.store, records, position, complete })
    }

    /// Whether no transaction that began before the gap's end is open.
    fn is_settled(&mut self, gap: &Gap) -> Result<bool, KafkaStreamsError> {
        if Instant::now() < self.ask_at {
            return Ok(false);
        }
        self.ask_at = Instant::now() + ASK_EVERY;
        // A consumer that reads committed records sees the last stable offset as the end.
        let answer = cluster::ends(&self.consumer, &gap.topic, gap.task.partition);
        let (_, stable) = answer.map_err(|error| KafkaStreamsError::broker(format!("asking for the end of {}", gap.topic), error))?;
        Ok(stable >= gap.end)
    }

    fn start_reading(&mut self, gap: &Gap) -> Result<(), KafkaStreamsError> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&gap.topic, gap.task.partition, Offset::Offset(gap.next))
            .and_then(|()| self.consumer.assign(&list))
            .map_err(|error| KafkaStreamsError::broker(format!("reading {}", gap.topic), error))?;
        self.reading = true;
        if self.ended_at.is_none() {
            self.restored = 0;
            self.started = Instant::now();
            self.reported = self.started;
        }
        Ok(())
    }

    fn stop_reading(&mut self) -> Result<(), KafkaStreamsError> {
        if !std::mem::take(&mut self.reading) {
            return Ok(());
        }
        self.ask_at = Instant::now();
        self.consumer.unassign().map_err(|error| KafkaStreamsError::broker("leaving a changelog", error))
    }

    fn publish(&self) {
        let remaining: i64 = self.gaps.iter().map(|gap| gap.end - gap.next).sum();
        gauge!("kafka_stream_state_restore_remaining_records").set(remaining as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_believed_when_it_is_told_again_at_the_same_place() {
        let mut ended_at = None;
        assert!(!is_end(&mut ended_at, 7), "a new leader may be behind");
        assert!(!is_end(&mut ended_at, 9), "there was more");
        assert!(is_end(&mut ended_at, 9));
    }

    #[test]
    fn a_store_catches_up_while_the_changelog_has_all_deletions_that_it_lacks() {
        const HOUR: i64 = 3_600_000;
        let written = 1_700_000_000_000;
        let useless = |next, hours| is_useless(Position { next, as_of: written }, 10, 20, written + hours * HOUR).is_some();
        assert!(!useless(15, 0) && !useless(15, 12), "half of a day");
        assert!(useless(15, 13) && useless(15, 1_000));
        assert!(!useless(20, 1_000), "it lacks nothing");
        assert!(useless(15, -13), "a clock that was wrong");
        assert!(useless(9, 0) && useless(21, 0), "another changelog");
        assert!(!useless(10, 0));
    }
}
