//! Reading up to an end that is known: whole topics, and whether a group has passed something.
//!
//! A transaction that is open hides what others committed behind it. So a scan waits until everything before the end is settled. Then
//! the partition must end twice at the same place, with the end asked for in between: a new leader may be behind.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::KafkaLogError;
use super::brokers::{Brokers, apart};
use super::reading::Reading;
use crate::embedded::LogError;
use crate::{ConsumerRecord, TopicPartition};

const PAUSE: Duration = Duration::from_millis(20);

/// What is read of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) partition: i32,
    pub(super) from: i64,
    /// Nothing from here on is of interest.
    pub(super) end: i64,
}

/// Hands over the committed records of some partitions of a topic, each partition in order, until `each` has enough of it.
pub(super) async fn scan(
    brokers: &Arc<Brokers>,
    topic: &Arc<str>,
    ranges: &[Range],
    mut each: impl FnMut(ConsumerRecord) -> ControlFlow<()>,
) -> Result<(), LogError> {
    let ranges: Vec<Range> = ranges.iter().filter(|range| range.from < range.end).copied().collect();
    if ranges.is_empty() {
        return Ok(());
    }
    let mut patience = Patience::new(brokers, topic);
    while !settled(brokers, topic, &ranges).await? {
        patience.check("some transaction stays open")?;
        tokio::time::sleep(PAUSE).await;
    }
    let news = Arc::new(Notify::new());
    let from: Vec<(i32, i64)> = ranges.iter().map(|range| (range.partition, range.from)).collect();
    let mut reading = Reading::begin(brokers, topic, &from, &news, true)?;
    // Places whose end was told, and asked for after that.
    let mut told = vec![false; ranges.len()];
    let mut done = vec![false; ranges.len()];
    loop {
        reading.pump()?;
        let mut ended = Vec::new();
        for (place, range) in ranges.iter().enumerate() {
            if done[place] {
                continue;
            }
            for record in reading.take(place, usize::MAX, usize::MAX)? {
                patience.renew();
                told[place] = false;
                if record.offset >= range.end {
                    done[place] = true;
                    break;
                }
                if each(record).is_break() {
                    done[place] = true;
                    break;
                }
            }
            done[place] |= reading.position(place) >= range.end || (told[place] && reading.is_over(place));
            if !done[place] && reading.is_over(place) {
                ended.push(place);
            }
        }
        if done.iter().all(|done| *done) {
            return Ok(());
        }
        if !ended.is_empty() {
            let believed = settled(brokers, topic, &ended.iter().map(|place| ranges[*place]).collect::<Vec<_>>()).await?;
            for place in ended {
                told[place] = reading.look_again(place) && believed;
            }
        }
        patience.check("the brokers do not tell what is left")?;
        Reading::news(&news).await;
    }
}

/// Whether nothing before the ends is open any more.
async fn settled(brokers: &Arc<Brokers>, topic: &Arc<str>, ranges: &[Range]) -> Result<bool, LogError> {
    let (topic, ranges) = (topic.clone(), ranges.to_vec());
    apart(brokers, move |brokers| {
        for Range { partition, end, .. } in ranges {
            if brokers.settled_end(&TopicPartition { topic: topic.clone(), partition })? < end {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await
}

/// Everything that is committed in a topic by now, partition by partition.
pub(super) async fn read_all(brokers: &Arc<Brokers>, topic: &str, partitions: i32) -> Result<Vec<ConsumerRecord>, LogError> {
    let topic: Arc<str> = topic.into();
    let name = topic.clone();
    let ends = move |brokers: &Brokers| {
        let range = |partition| {
            let (from, end) = brokers.ends(&TopicPartition { topic: name.clone(), partition })?;
            Ok(Range { partition, from, end })
        };
        (0..partitions).map(range).collect::<Result<Vec<_>, LogError>>()
    };
    let ranges = apart(brokers, ends).await?;
    let mut records = Vec::new();
    scan(brokers, &topic, &ranges, |record| {
        records.push(record);
        ControlFlow::Continue(())
    })
    .await?;
    records.sort_by_key(|record| record.partition);
    Ok(records)
}

/// Whether no record is left between a group's committed offset and `end`.
pub(super) async fn passed(brokers: &Arc<Brokers>, group: &str, tp: &TopicPartition, end: i64) -> Result<bool, LogError> {
    let (group, place) = (group.to_owned(), tp.clone());
    let (from, settled) = apart(brokers, move |brokers| {
        let committed = brokers.committed(&group, &place)?;
        if committed.is_some_and(|next| next >= end) {
            return Ok((end, end));
        }
        let (beginning, _) = brokers.ends(&place)?;
        Ok((committed.unwrap_or(beginning).max(beginning), brokers.settled_end(&place)?))
    })
    .await?;
    if from >= end {
        return Ok(true);
    }
    // What is open may become a record before the end.
    if settled < end {
        return Ok(false);
    }
    let mut left = false;
    scan(brokers, &tp.topic, &[Range { partition: tp.partition, from, end }], |_| {
        left = true;
        ControlFlow::Break(())
    })
    .await?;
    Ok(!left)
}

/// How long nothing may come.
struct Patience {
    action: String,
    longest: Duration,
    since: Instant,
}

impl Patience {
    fn new(brokers: &Brokers, topic: &str) -> Patience {
        Patience { action: format!("reading {topic} to its end"), longest: brokers.config.api_timeout, since: Instant::now() }
    }

    fn renew(&mut self) {
        self.since = Instant::now();
    }

    fn check(&self, reason: &str) -> Result<(), LogError> {
        match self.since.elapsed() > self.longest {
            true => Err(KafkaLogError::Away { action: self.action.clone(), reason: reason.to_owned() }.into()),
            false => Ok(()),
        }
    }
}
