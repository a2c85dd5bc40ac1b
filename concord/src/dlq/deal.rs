//! Retrying and discarding. A record that is published again and the mark that says so are one append, and one call deals at a time, on
//! Kafka in all processes together: so a crash leaves both or neither, and nothing is retried twice.

use super::{
    known::Known,
    letter::{Letter, Place},
    marks::{MARKS, Mark, Outcome, Unreadable},
    wanted::Wanted,
};
use crate::http::Part;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    time::Duration,
};
use streams::{
    ConsumerRecord, Log, ProducerRecord, TopicPartition,
    embedded::{Append, LogError, TopicConfig},
};

/// Records of one append, at most …
const RECORDS: usize = 500;
/// … and no more once they are this long.
const BYTES: usize = 1 << 20;
/// Who deals with dead letters owns this name meanwhile.
const OWNER: &str = "dead-letters";
/// How long it is waited for it: longer than brokers take to see that another process that had it is gone.
const TURN: Duration = Duration::from_secs(30);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dealing {
    Retry,
    Discard { reason: String },
}

/// What became of it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dealt {
    pub done: Vec<Done>,
    pub refused: Vec<Refused>,
}

impl Dealt {
    pub fn add(&mut self, other: Dealt) {
        self.done.extend(other.done);
        self.refused.extend(other.refused);
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub id: Place,
    /// Where it was published again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<To>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct To {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub id: String,
    pub error: String,
}

/// Why nothing (more) was dealt with.
#[derive(Debug, thiserror::Error)]
pub enum DealError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Marks(#[from] Unreadable),
    #[error("another process has been dealing with dead letters for {TURN:?}; try again")]
    Busy,
    #[error("a mark cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// The dead letters of a log.
pub struct DeadLetters {
    log: Log,
    /// One call at a time looks and marks.
    known: tokio::sync::Mutex<Known>,
    /// How many were open when somebody looked last.
    last: Mutex<Result<BTreeMap<String, u64>, String>>,
}

impl DeadLetters {
    pub fn new(log: Log) -> DeadLetters {
        DeadLetters { log, known: tokio::sync::Mutex::default(), last: Mutex::new(Ok(BTreeMap::new())) }
    }

    /// Deals with each, and says what could not be dealt with and why. `now`: the marks' time. Not to be dropped before its end: an append
    /// that is under way would not be among the marks that the next call reads.
    pub async fn deal(&self, places: &[Place], dealing: &Dealing, now: i64) -> Result<Dealt, DealError> {
        let mut known = self.known.lock().await;
        let owner = tokio::time::timeout(TURN, self.log.own(OWNER)).await.map_err(|_| DealError::Busy)??;
        let dealt = deal(&owner.log(), &mut known, places, dealing, now).await;
        owner.release().await;
        dealt
    }

    /// [`look`](Self::look), unless that would wait for brokers.
    pub async fn glance(&self) {
        if let Log::Embedded(_) = self.log {
            self.look().await;
        }
    }

    /// Counts those that are not dealt with.
    pub async fn look(&self) {
        let mut known = self.known.lock().await;
        let open = known.open(&self.log).await;
        for (topic, count) in open.iter().flatten() {
            metrics::gauge!("concord_dead_letters_open", "topic" => topic.clone()).set(*count as f64);
        }
        *self.last.lock() = open.map_err(|error| error.to_string());
    }

    /// What `concord status` says of them, as of the last look. A record that failed stops nobody: it waits for a person.
    pub fn part(&self) -> Part {
        match &*self.last.lock() {
            Ok(open) => {
                let queues = open.iter().filter(|(_, count)| **count > 0).map(|(topic, count)| format!("{count} in {topic}"));
                let queues: Vec<String> = queues.collect();
                let told =
                    if queues.is_empty() { String::new() } else { format!("not dealt with: {} (`concord dlq list`)", queues.join(", ")) };
                Part::Ok(told)
            }
            Err(error) => Part::Degraded(error.clone()),
        }
    }
}

/// Deals with each, and says what could not be dealt with and why.
async fn deal(log: &Log, known: &mut Known, places: &[Place], dealing: &Dealing, now: i64) -> Result<Dealt, DealError> {
    log.find_topics().await?;
    if log.partitions(MARKS).is_none() {
        log.create_topic(TopicConfig::compact(MARKS, 1)).await?;
    }
    known.read_marks(log).await?;
    let mut dealt = Dealt::default();
    let mut by_partition: BTreeMap<(&str, i32), BTreeSet<i64>> = BTreeMap::new();
    for place in places.iter().collect::<BTreeSet<_>>() {
        match known.mark(place) {
            Some(mark) => dealt.refused.push(Refused { id: place.to_string(), error: dealt_with(mark) }),
            None if !Wanted::default().takes_topic(&place.topic) => {
                dealt.refused.push(Refused { id: place.to_string(), error: format!("{} is no queue of Concord's", place.topic) });
            }
            None => drop(by_partition.entry((&place.topic, place.partition)).or_default().insert(place.offset)),
        }
    }
    let forgotten = known.forgotten(log, RECORDS).await?;
    let forgotten = forgotten.iter().map(|place| Mark::forgotten(place, now));
    let mut batch = Batch { append: Append::of(forgotten), ..Batch::default() };
    for ((topic, partition), mut offsets) in by_partition {
        let tp = TopicPartition::new(topic, partition);
        while !offsets.is_empty() {
            let read = read(log, &tp, &offsets).await?;
            for letter in read.letters {
                let place = letter.place();
                offsets.remove(&place.offset);
                match again(log, &letter, dealing) {
                    Err(error) => dealt.refused.push(Refused { id: place.to_string(), error }),
                    Ok(again) => batch.add(&place, again, mark(dealing, now).record(&place)?),
                }
                if batch.append.records.len() >= RECORDS || batch.bytes >= BYTES {
                    dealt.done.extend(std::mem::take(&mut batch).write(log).await?);
                }
            }
            let left = offsets.split_off(&read.next);
            dealt.refused.extend(offsets.into_iter().map(|offset| {
                let id = Place { topic: topic.to_owned(), partition, offset }.to_string();
                Refused { id, error: "there is no such dead letter; perhaps it was kept long enough and is gone".into() }
            }));
            offsets = left;
        }
    }
    dealt.done.extend(batch.write(log).await?);
    Ok(dealt)
}

fn dealt_with(Mark { outcome, at, .. }: &Mark) -> String {
    format!("it was {outcome} at {} already", crate::show::value(&schemas::json::time(*at)))
}

/// Some dead letters of a partition, and where to go on: what was asked for before that and is not among them is not there.
struct Read {
    letters: Vec<Letter>,
    next: i64,
}

/// The first of these offsets, as many as make an append.
async fn read(log: &Log, tp: &TopicPartition, offsets: &BTreeSet<i64>) -> Result<Read, DealError> {
    let mut read = Read { letters: Vec::new(), next: i64::MAX };
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return Ok(read) };
    if log.partitions(&tp.topic).is_none_or(|partitions| !(0..partitions).contains(&tp.partition)) {
        return Ok(read);
    }
    let mut bytes = 0;
    let take = |record: ConsumerRecord| {
        if !offsets.contains(&record.offset) {
            return ControlFlow::Continue(());
        }
        bytes += record.value.as_ref().map_or(0, bytes::Bytes::len);
        let next = record.offset + 1;
        read.letters.push(Letter(record));
        if read.letters.len() < RECORDS && bytes < BYTES {
            return ControlFlow::Continue(());
        }
        read.next = next;
        ControlFlow::Break(())
    };
    let end = log.end_offset(tp).await?.min(last + 1);
    log.scan_until(tp, *first, end, take).await?;
    Ok(read)
}

/// The record to publish again, if it is to be; or why this one cannot be dealt with.
fn again(log: &Log, letter: &Letter, dealing: &Dealing) -> Result<Option<ProducerRecord>, String> {
    if matches!(dealing, Dealing::Discard { .. }) {
        return Ok(None);
    }
    let Some(again) = letter.again() else { return Err("it does not say which topic it came from".into()) };
    let tp = TopicPartition { topic: again.topic.clone(), partition: again.partition.unwrap_or(0) };
    match log.partitions(&tp.topic) {
        Some(partitions) if (0..partitions).contains(&tp.partition) => Ok(Some(again)),
        _ => Err(format!("it cannot go back: there is no {tp} any more")),
    }
}

fn mark(dealing: &Dealing, at: i64) -> Mark {
    match dealing {
        Dealing::Retry => Mark { outcome: Outcome::Retried, at, reason: None },
        Dealing::Discard { reason } => Mark { outcome: Outcome::Discarded, at, reason: Some(reason.clone()) },
    }
}

/// What one append deals with.
#[derive(Default)]
struct Batch {
    append: Append,
    bytes: usize,
    /// Each with the place of its record in the append, if it has one, and where that goes.
    done: Vec<(Place, Option<(usize, TopicPartition)>)>,
}

impl Batch {
    fn add(&mut self, place: &Place, again: Option<ProducerRecord>, mark: ProducerRecord) {
        let records = &mut self.append.records;
        let to = again.map(|again| {
            self.bytes += again.value.as_ref().map_or(0, bytes::Bytes::len);
            let tp = TopicPartition { topic: again.topic.clone(), partition: again.partition.unwrap_or(0) };
            records.push(again);
            (records.len() - 1, tp)
        });
        records.push(mark);
        self.done.push((place.clone(), to));
    }

    async fn write(self, log: &Log) -> Result<Vec<Done>, DealError> {
        if self.append.records.is_empty() {
            return Ok(Vec::new());
        }
        let offsets = log.append(self.append).await?;
        let to = |(at, tp): (usize, TopicPartition)| {
            Some(To { topic: tp.topic.to_string(), partition: tp.partition, offset: *offsets.get(at)? })
        };
        Ok(self.done.into_iter().map(|(id, at)| Done { id, to: at.and_then(to) }).collect())
    }
}
