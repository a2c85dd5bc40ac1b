//! The log that programs beside the topology use: they append to topics, follow them, and keep consumer groups' offsets.

use std::ops::ControlFlow;

use tokio::sync::watch;

use crate::embedded::{self, Append, LogError, TopicConfig};
use crate::{ConsumerRecord, TopicPartition, kafka};

/// Records that are read from the embedded log at once.
const READ: usize = 1_000;
const READ_BYTES: usize = 1 << 20;

/// A log of topics. Cheap to clone.
///
/// Offsets of a partition ascend, and there may be gaps between them: ends of transactions on Kafka, what compaction removed. A
/// group has reached an end when no record is left before it, which [`passed`](Self::passed) tells.
#[derive(Debug, Clone)]
pub enum Log {
    /// In a folder of this machine.
    Embedded(embedded::Log),
    /// On a cluster.
    Kafka(kafka::Log),
}

impl From<embedded::Log> for Log {
    fn from(log: embedded::Log) -> Log {
        Log::Embedded(log)
    }
}

impl From<kafka::Log> for Log {
    fn from(log: kafka::Log) -> Log {
        Log::Kafka(log)
    }
}

impl Log {
    /// Reaches a cluster; waits for it as long as [`api_timeout`](kafka::LogConfig::api_timeout).
    pub async fn connect(config: kafka::LogConfig) -> Result<Log, LogError> {
        kafka::Log::connect(config).await.map(Log::Kafka)
    }

    /// Waits until this process owns `name`: until no other acts for it, and all that was done in its name is settled. On the embedded
    /// log, which one process has at a time, that is now.
    pub async fn own(&self, name: &str) -> Result<Owner, LogError> {
        Ok(Owner(match self {
            Log::Embedded(log) => Owning::Embedded { log: log.clone(), name: name.to_owned() },
            Log::Kafka(log) => Owning::Kafka(log.own(name).await?),
        }))
    }

    /// Owns `name` at once, whoever has it: that one hears of it when it appends next, and nothing of that is there. For changes that
    /// are rare and short, and can be decided anew.
    pub async fn take_over(&self, name: &str) -> Result<Owner, LogError> {
        match self {
            Log::Embedded(_) => self.own(name).await,
            Log::Kafka(log) => Ok(Owner(Owning::Kafka(log.take_over(name).await?))),
        }
    }

    /// Creates a topic, or applies a changed clean-up policy to one that exists.
    pub async fn create_topic(&self, topic: TopicConfig) -> Result<(), LogError> {
        match self {
            Log::Embedded(log) => log.create_topic(topic),
            Log::Kafka(log) => log.create_topic(topic).await,
        }
    }

    /// Announces a consumer group: topics of policy *delete* keep what it has not passed.
    pub async fn create_group(&self, group: &str, topics: &[&str]) -> Result<(), LogError> {
        match self {
            Log::Embedded(log) => log.create_group(group, topics.iter().copied()),
            // Retention is the brokers': it does not look at groups.
            Log::Kafka(_) => Ok(()),
        }
    }

    /// The topics, by name.
    pub fn topics(&self) -> Vec<TopicConfig> {
        match self {
            Log::Embedded(log) => log.topics(),
            Log::Kafka(log) => log.topics(),
        }
    }

    /// Looks for topics that other processes made or removed.
    pub async fn find_topics(&self) -> Result<(), LogError> {
        match self {
            // One process has it at a time.
            Log::Embedded(_) => Ok(()),
            Log::Kafka(log) => log.find_topics().await,
        }
    }

    /// How many partitions a topic has.
    pub fn partitions(&self, topic: &str) -> Option<i32> {
        self.topics().iter().find(|known| known.name == topic).map(|known| known.partitions)
    }

    /// Appends records and sets group offsets, all of it or nothing. They are durable when this returns; the offsets are those of
    /// the records, in the order given. When the future is dropped, the append may still happen.
    pub async fn append(&self, append: Append) -> Result<Vec<i64>, LogError> {
        match self {
            Log::Embedded(log) => log.append(append).await,
            Log::Kafka(log) => log.append(append).await,
        }
    }

    /// A group's committed offset: that of the next record it will process.
    pub async fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<i64>, LogError> {
        match self {
            Log::Embedded(log) => log.committed(group, tp),
            Log::Kafka(log) => log.committed(group, tp).await,
        }
    }

    /// Where a group begins to read: its committed offset, and not before the first record that is left.
    pub async fn next(&self, group: &str, tp: &TopicPartition) -> Result<i64, LogError> {
        let beginning = self.beginning_offset(tp).await?;
        Ok(self.committed(group, tp).await?.unwrap_or(beginning).max(beginning))
    }

    /// Offset of the first record that retention has left.
    pub async fn beginning_offset(&self, tp: &TopicPartition) -> Result<i64, LogError> {
        match self {
            Log::Embedded(log) => log.beginning_offset(tp),
            Log::Kafka(log) => log.beginning_offset(tp).await,
        }
    }

    /// What is committed by now lies before it.
    pub async fn end_offset(&self, tp: &TopicPartition) -> Result<i64, LogError> {
        match self {
            Log::Embedded(log) => log.end_offset(tp),
            Log::Kafka(log) => log.end_offset(tp).await,
        }
    }

    /// Whether a group has no record left before `end`.
    pub async fn passed(&self, group: &str, tp: &TopicPartition, end: i64) -> Result<bool, LogError> {
        match self {
            Log::Embedded(log) => Ok(log.committed(group, tp)?.unwrap_or(0) >= end),
            Log::Kafka(log) => log.passed(group, tp, end).await,
        }
    }

    /// Once this returns, the ends that are read hold all that was written by commits whose group offsets have been seen.
    pub async fn settled(&self) -> Result<(), LogError> {
        match self {
            // What is committed shows a moment before the ends of the topics that the same commit wrote to: an append that comes
            // after it does not.
            Log::Embedded(log) => log.append(Append::default()).await.map(drop),
            Log::Kafka(_) => Ok(()),
        }
    }

    /// Hands the committed records of `from` up to `end`, in order.
    pub async fn scan(&self, tp: &TopicPartition, from: i64, end: i64, mut each: impl FnMut(ConsumerRecord)) -> Result<(), LogError> {
        let each = |record| {
            each(record);
            ControlFlow::Continue(())
        };
        self.scan_until(tp, from, end, each).await
    }

    /// The same, until `each` has enough.
    pub async fn scan_until(
        &self,
        tp: &TopicPartition,
        from: i64,
        end: i64,
        each: impl FnMut(ConsumerRecord) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        match self {
            Log::Embedded(log) => {
                let (mut from, mut each) = (from, each);
                while from < end {
                    let wanted = usize::try_from(end - from).unwrap_or(READ).min(READ);
                    let records = log.read(tp, from, wanted, READ_BYTES)?;
                    let Some(last) = records.last() else { break };
                    from = last.offset + 1;
                    if records.into_iter().filter(|record| record.offset < end).try_for_each(&mut each).is_break() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            Log::Kafka(log) => log.scan(tp, from, end, each).await,
        }
    }

    /// Follows partitions, each from an offset on. The partitions' places in `from` are what [`Follow`] calls them by.
    pub async fn follow(&self, from: Vec<(TopicPartition, i64)>) -> Result<Follow, LogError> {
        match self {
            Log::Embedded(log) => {
                let place = |(tp, next)| Ok(Place { end: log.watch(&tp)?, tp, next });
                let places = from.into_iter().map(place).collect::<Result<_, LogError>>()?;
                Ok(Follow(Following::Embedded { log: log.clone(), places }))
            }
            Log::Kafka(log) => log.follow(from).await.map(|follow| Follow(Following::Kafka(follow))),
        }
    }

    /// Why appends are not taken at the moment (`None`: they are), as it changes.
    pub fn watch_trouble(&self) -> watch::Receiver<Option<String>> {
        match self {
            Log::Embedded(log) => log.watch_trouble(),
            Log::Kafka(log) => log.watch_trouble(),
        }
    }
}

/// This process acts for a name, until another takes over.
#[derive(Debug)]
pub struct Owner(Owning);

#[derive(Debug)]
enum Owning {
    Embedded { log: embedded::Log, name: String },
    Kafka(kafka::Owner),
}

impl Owner {
    /// What is owned.
    pub fn name(&self) -> &str {
        match &self.0 {
            Owning::Embedded { name, .. } => name,
            Owning::Kafka(owner) => owner.name(),
        }
    }

    /// The log, for what is done in the owner's name: it takes nothing more once another process has taken over.
    pub fn log(&self) -> Log {
        match &self.0 {
            Owning::Embedded { log, .. } => Log::Embedded(log.clone()),
            Owning::Kafka(owner) => Log::Kafka(owner.log.clone()),
        }
    }

    /// Whether this process does not own the name any longer.
    pub fn is_lost(&self) -> bool {
        match &self.0 {
            Owning::Embedded { .. } => false,
            Owning::Kafka(owner) => owner.lost.is_cancelled(),
        }
    }

    /// Waits until this process does not own the name any longer; why.
    pub async fn lost(&self) -> String {
        match &self.0 {
            Owning::Embedded { .. } => std::future::pending().await,
            Owning::Kafka(owner) => {
                owner.lost.cancelled().await;
                owner.why_lost().unwrap_or_default().to_owned()
            }
        }
    }

    /// Finishes what was appended, and leaves the name to others.
    pub async fn release(self) {
        if let Owning::Kafka(owner) = self.0 {
            owner.release().await;
        }
    }
}

/// Committed records of some partitions as they come, each partition in order.
#[derive(Debug)]
pub struct Follow(Following);

#[derive(Debug)]
enum Following {
    Embedded { log: embedded::Log, places: Vec<Place> },
    Kafka(kafka::Follow),
}

#[derive(Debug)]
struct Place {
    tp: TopicPartition,
    next: i64,
    end: watch::Receiver<i64>,
}

impl Follow {
    /// Waits until one of the wanted places has a record; for ever if none is wanted. May be dropped and called again.
    pub async fn ready(&mut self, wanted: impl Fn(usize) -> bool) -> Result<(), LogError> {
        let places = match &mut self.0 {
            Following::Embedded { places, .. } => places,
            Following::Kafka(follow) => return follow.ready(wanted).await,
        };
        let waits = places.iter_mut().enumerate().filter(|(n, _)| wanted(*n)).map(|(_, place)| {
            let next = place.next;
            Box::pin(async move { place.end.wait_for(|end| *end > next).await.map(drop).map_err(|_| LogError::Closed) })
        });
        let waits: Vec<_> = waits.collect();
        if waits.is_empty() {
            return std::future::pending().await;
        }
        futures_util::future::select_all(waits).await.0
    }

    /// What is here of a place's next records: at most `max_records`, and no more once `max_bytes` are reached. Never waits.
    pub fn take(&mut self, place: usize, max_records: usize, max_bytes: usize) -> Result<Vec<ConsumerRecord>, LogError> {
        let (log, place) = match &mut self.0 {
            Following::Embedded { log, places } => (log, places.get_mut(place)),
            Following::Kafka(follow) => return follow.take(place, max_records, max_bytes),
        };
        let Some(place) = place.filter(|place| *place.end.borrow() > place.next) else { return Ok(Vec::new()) };
        let records = log.read(&place.tp, place.next, max_records, max_bytes)?;
        if let Some(last) = records.last() {
            place.next = last.offset + 1;
        }
        Ok(records)
    }

    /// Passes over what is here of a place.
    pub fn pass(&mut self, place: usize) -> Result<(), LogError> {
        match &mut self.0 {
            Following::Embedded { places, .. } => {
                if let Some(place) = places.get_mut(place) {
                    place.next = place.next.max(*place.end.borrow());
                }
                Ok(())
            }
            Following::Kafka(follow) => follow.pass(place),
        }
    }

    /// About how many records of a place are not taken yet.
    pub fn backlog(&self, place: usize) -> i64 {
        match &self.0 {
            Following::Embedded { places, .. } => places.get(place).map_or(0, |place| (*place.end.borrow() - place.next).max(0)),
            Following::Kafka(follow) => follow.backlog(place),
        }
    }
}
