//! What is there of dead letters and marks, as far as it was read: each look reads only what is new.

use super::{
    deal::DealError,
    letter::Place,
    marks::{MARKS, Mark, Marks},
    wanted::Wanted,
};
use std::collections::{BTreeMap, BTreeSet};
use streams::{Log, TopicPartition, embedded::LogError};

#[derive(Default)]
pub struct Known {
    marks: Marks,
    /// By topic and partition.
    queues: BTreeMap<(String, i32), Queue>,
}

#[derive(Default)]
struct Queue {
    /// Where the next look goes on.
    next: i64,
    /// Offsets of those that are not dealt with.
    open: BTreeSet<i64>,
}

impl Known {
    pub fn mark(&self, place: &Place) -> Option<&Mark> {
        self.marks.of(place)
    }

    /// Reads the marks that were written since the last time.
    pub async fn read_marks(&mut self, log: &Log) -> Result<(), DealError> {
        if log.partitions(MARKS).is_none() {
            // Nothing was ever dealt with.
            return Ok(());
        }
        let tp = TopicPartition::new(MARKS, 0);
        let Known { marks, queues } = self;
        let mut read = Ok(());
        let (from, end) = (marks.next(), log.end_offset(&tp).await?);
        let take = |record| {
            if read.is_err() {
                return;
            }
            read = marks.read(&record).map(|Place { topic, partition, offset }| {
                if let Some(queue) = queues.get_mut(&(topic, partition)) {
                    queue.open.remove(&offset);
                }
            });
        };
        log.scan(&tp, from, end, take).await?;
        Ok(read?)
    }

    /// How many of each queue are not dealt with.
    pub async fn open(&mut self, log: &Log) -> Result<BTreeMap<String, u64>, DealError> {
        log.find_topics().await?;
        self.read_marks(log).await?;
        let mut open = BTreeMap::new();
        for topic in log.topics().into_iter().filter(|topic| Wanted::default().takes_topic(&topic.name)) {
            let mut count = 0;
            for partition in 0..topic.partitions {
                count += self.look_at(log, &topic.name, partition).await?;
            }
            open.insert(topic.name, count);
        }
        Ok(open)
    }

    async fn look_at(&mut self, log: &Log, topic: &str, partition: i32) -> Result<u64, DealError> {
        let tp = TopicPartition::new(topic, partition);
        let (begins, end) = (log.beginning_offset(&tp).await?, log.end_offset(&tp).await?);
        let marks = &self.marks;
        let queue = self.queues.entry((topic.to_owned(), partition)).or_default();
        // Retention has taken the others.
        queue.open = queue.open.split_off(&begins);
        let place = |offset| Place { topic: topic.to_owned(), partition, offset };
        let open = &mut queue.open;
        let take = |record: streams::ConsumerRecord| {
            if marks.of(&place(record.offset)).is_none() {
                open.insert(record.offset);
            }
        };
        log.scan(&tp, queue.next.max(begins), end, take).await?;
        queue.next = queue.next.max(end);
        Ok(queue.open.len() as u64)
    }

    /// Marks whose dead letters retention has removed, some of them.
    pub async fn forgotten(&self, log: &Log, most: usize) -> Result<Vec<Place>, DealError> {
        let mut begins: BTreeMap<(&str, i32), Option<i64>> = BTreeMap::new();
        let mut gone = Vec::new();
        for place in self.marks.places() {
            let of = (place.topic.as_str(), place.partition);
            let begins = match begins.get(&of) {
                Some(begins) => *begins,
                None => *begins.entry(of).or_insert(begin(log, &place.topic_partition()).await?),
            };
            // A queue that cannot be seen may only be away: then its letters would be dealt with once more.
            if begins.is_some_and(|begins| place.offset < begins) {
                gone.push(place.clone());
            }
            if gone.len() == most {
                break;
            }
        }
        Ok(gone)
    }
}

/// The first that is left; `None`: there is no such queue.
async fn begin(log: &Log, tp: &TopicPartition) -> Result<Option<i64>, LogError> {
    match log.partitions(&tp.topic) {
        Some(partitions) if (0..partitions).contains(&tp.partition) => log.beginning_offset(tp).await.map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::marks::Outcome;
    use streams::embedded::{self, Append, Options, TopicConfig};

    #[tokio::test]
    async fn a_queue_that_cannot_be_seen_keeps_its_marks() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::from(embedded::Log::open(folder.path(), Options { min_free_bytes: 0, ..Options::default() }).unwrap());
        log.create_topic(TopicConfig::compact(MARKS, 1)).await.unwrap();
        let place: Place = "customers.crm.dlq/0/17".parse().unwrap();
        let mark = Mark { outcome: Outcome::Retried, at: 70, reason: None };
        log.append(Append::of([mark.record(&place).unwrap()])).await.unwrap();
        let mut known = Known::default();
        known.read_marks(&log).await.unwrap();
        assert_eq!(known.forgotten(&log, 10).await.unwrap(), []);
        assert_eq!(known.mark(&place), Some(&mark));
    }
}
