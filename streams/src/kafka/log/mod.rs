//! The log of connectors on Apache Kafka: what [`embedded::Log`](crate::embedded::Log) is to them on one machine.
//!
//! [`Log`] reads, and appends records one by one, for whoever asks. What acts for a name (a system, say) asks to [own](Log::own) it, and
//! appends through its [`Owner`]: each append is part of a transaction with group offsets, and an owner that was replaced can write no
//! more.
//!
//! | module | why it exists |
//! |---|---|
//! | `config`, `error`, `clients`, `aside` | settings, what can go wrong, the clients of librdkafka, and how they go |
//! | `brokers`, `topics` | what the brokers are asked, and told of topics |
//! | `inventory` | what a deployment looks at and takes away: topics as they are, groups |
//! | `pulse` | whether they are there |
//! | `plain` | appends without an owner |
//! | `owner`, `lease`, `member` | who owns a name, who may begin to, and the place in the group of those that could |
//! | `queue`, `round` | an owner's appends on their way, and those that become one transaction |
//! | `follow`, `reading`, `ends` | partitions as they grow, and how far they are read |
//! | `scan`, `lag` | reading up to an end; how far groups are behind |

mod aside;
mod brokers;
mod clients;
mod config;
mod ends;
mod error;
mod follow;
mod inventory;
mod lag;
mod lease;
mod member;
mod owner;
mod plain;
mod pulse;
mod queue;
mod reading;
mod round;
mod scan;
mod topics;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

pub use config::LogConfig;
pub use error::KafkaLogError;
pub use follow::Follow;
pub use inventory::{GroupState, TopicSettings, TopicState};
pub use owner::Owner;

use self::brokers::{Brokers, apart};
use self::lease::Wanted;
use self::plain::Plain;
use self::queue::{Placed, Queue};
use crate::embedded::{Append, Cleanup, LogError, TopicConfig};
use crate::{ConsumerRecord, PartitionLag, ProducerRecord, TopicPartition, partition_for_key};

/// Its one partition is what the members of each group of owners have, in turn. Nothing is written to it.
pub const OWNERS_TOPIC: &str = "_concord.owners";

/// A log of topics on Kafka. Cheap to clone.
///
/// Its own appends are idempotent, not atomic: if one of several records fails, some may be written. An [`Owner`]'s are transactions.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
    writer: Writer,
}

#[derive(Clone)]
enum Writer {
    Plain(Arc<Plain>),
    Owner(Arc<Queue>),
}

struct Shared {
    brokers: Arc<Brokers>,
    topics: Mutex<BTreeMap<String, TopicConfig>>,
    trouble: watch::Sender<Option<String>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("config", &self.shared.brokers.config).finish_non_exhaustive()
    }
}

impl Log {
    /// Reaches the brokers, waiting for them as long as `api_timeout` says.
    pub async fn connect(config: LogConfig) -> Result<Log, LogError> {
        let brokers = Arc::new(Brokers::new(config)?);
        let topics = Mutex::new(topics::all(&brokers).await?);
        let writer = Writer::Plain(Arc::new(Plain::new(&brokers.for_clients)?));
        let trouble = pulse::start(&brokers)?;
        Ok(Log { shared: Arc::new(Shared { brokers, topics, trouble }), writer })
    }

    fn of_owner(&self, queue: Queue) -> Log {
        Log { shared: self.shared.clone(), writer: Writer::Owner(Arc::new(queue)) }
    }

    /// Creates a topic, or applies a changed clean-up policy to one that exists.
    pub async fn create_topic(&self, topic: TopicConfig) -> Result<(), LogError> {
        topic.validate()?;
        topics::create(&self.shared.brokers, &topic).await?;
        self.shared.topics.lock().insert(topic.name.clone(), topic);
        Ok(())
    }

    /// The topics, by name: those that were there when the brokers were reached, and those that were made, used or
    /// [found](Self::find_topics) since.
    pub fn topics(&self) -> Vec<TopicConfig> {
        self.shared.topics.lock().values().cloned().collect()
    }

    /// Looks for topics that others made or removed.
    pub async fn find_topics(&self) -> Result<(), LogError> {
        let topics = topics::all(&self.shared.brokers).await?;
        let there = apart(&self.shared.brokers, Brokers::replicas).await?;
        let mut known = self.shared.topics.lock();
        // One that has no leader at the moment is there all the same.
        known.retain(|name, _| there.contains_key(name));
        known.extend(topics);
        Ok(())
    }

    /// Appends records, and sets group offsets if an owner does; returns the offsets of the records, in the order given. They are on
    /// all in-sync replicas when this returns. When the future is dropped, the append may still happen.
    pub async fn append(&self, append: Append) -> Result<Vec<i64>, LogError> {
        let placed = self.place(&append).await?;
        match &self.writer {
            Writer::Plain(plain) => plain.append(append, placed).await,
            Writer::Owner(queue) => queue.append(append, placed).await,
        }
    }

    /// A group's committed offset: that of the next record it will process. Waits while a transaction is open that may change it.
    pub async fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<i64>, LogError> {
        let (group, tp) = (group.to_owned(), tp.clone());
        apart(&self.shared.brokers, move |brokers| brokers.committed(&group, &tp)).await
    }

    /// Offset of the first record that retention has left.
    pub async fn beginning_offset(&self, tp: &TopicPartition) -> Result<i64, LogError> {
        let tp = tp.clone();
        apart(&self.shared.brokers, move |brokers| Ok(brokers.ends(&tp)?.0)).await
    }

    /// What is committed by now lies before it. So may records of transactions that are open; what becomes of those, [`scan`](Self::scan)
    /// and [`passed`](Self::passed) wait for.
    pub async fn end_offset(&self, tp: &TopicPartition) -> Result<i64, LogError> {
        let tp = tp.clone();
        apart(&self.shared.brokers, move |brokers| Ok(brokers.ends(&tp)?.1)).await
    }

    /// Whether a group has no record left before `end`. (Its offset alone does not say: ends of transactions have offsets, too.)
    pub async fn passed(&self, group: &str, tp: &TopicPartition, end: i64) -> Result<bool, LogError> {
        scan::passed(&self.shared.brokers, group, tp, end).await
    }

    /// How far a group is behind in some topics, partition by partition. It waits a moment for transactions that are open; what lies behind
    /// one that stays open is counted by offsets.
    pub async fn lag(&self, group: &str, topics: &[&str]) -> Result<Vec<PartitionLag>, LogError> {
        let mut counts = Vec::with_capacity(topics.len());
        for topic in topics {
            counts.push((Arc::from(*topic), self.topic(topic).await?.partitions));
        }
        lag::of_group(&self.shared.brokers, group, &counts).await
    }

    /// Hands the committed records of `from` up to `end`, in order, until `each` has enough. Waits for transactions that are open before `end`.
    pub async fn scan(
        &self,
        tp: &TopicPartition,
        from: i64,
        end: i64,
        each: impl FnMut(ConsumerRecord) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let range = scan::Range { partition: tp.partition, from, end };
        scan::scan(&self.shared.brokers, &tp.topic, &[range], each).await
    }

    /// Everything that is committed in a topic by now, partition by partition. For topics that fit in memory.
    pub async fn read_all(&self, topic: &str) -> Result<Vec<ConsumerRecord>, LogError> {
        let partitions = self.topic(topic).await?.partitions;
        scan::read_all(&self.shared.brokers, topic, partitions).await
    }

    /// Follows partitions, each from an offset on: from the first that is left, if retention removed it. The partitions' places in
    /// `from` are what [`Follow`] calls them by.
    pub async fn follow(&self, from: Vec<(TopicPartition, i64)>) -> Result<Follow, LogError> {
        Follow::begin(&self.shared.brokers, from).await
    }

    /// Why no broker answers at the moment (`None`: one does), as it changes.
    pub fn watch_trouble(&self) -> watch::Receiver<Option<String>> {
        self.shared.trouble.subscribe()
    }

    /// Waits until this process owns `name`: until no other process does, and what the last owner left open is settled. So what is read
    /// from then on is all that the last owner committed. A name is made of letters, digits, `.`, `_` and `-`.
    pub async fn own(&self, name: &str) -> Result<Owner, LogError> {
        legal(name)?;
        self.create_topic(TopicConfig::compact(OWNERS_TOPIC, 1)).await?;
        owner::own(self, self.shared.brokers.clone(), name, Wanted::InTurn).await
    }

    /// Owns `name` at once, whoever has it: that one is told when it appends next, and nothing of that is there. What the last owner left
    /// open is settled when this returns. For changes that are rare and short, and can be decided anew.
    pub async fn take_over(&self, name: &str) -> Result<Owner, LogError> {
        legal(name)?;
        owner::own(self, self.shared.brokers.clone(), name, Wanted::AtOnce).await
    }

    /// The partition of each record, as the embedded log places them; and whether all of the append makes sense.
    async fn place(&self, append: &Append) -> Result<Placed, LogError> {
        let mut partitions = Vec::with_capacity(append.records.len());
        for record in &append.records {
            partitions.push(partition_of(&self.topic(&record.topic).await?, record)?);
        }
        for (_, tp, next) in &append.offsets {
            if *next < 0 {
                return Err(LogError::Invalid { what: format!("group offset in {tp}"), reason: format!("{next} is negative") });
            }
            in_topic(&self.topic(&tp.topic).await?, tp.clone())?;
        }
        Ok(Placed(partitions))
    }

    async fn topic(&self, name: &str) -> Result<TopicConfig, LogError> {
        if let Some(known) = self.shared.topics.lock().get(name) {
            return Ok(known.clone());
        }
        // Somebody else may have made it.
        self.find_topics().await?;
        self.shared.topics.lock().get(name).cloned().ok_or_else(|| LogError::UnknownTopic(name.to_owned()))
    }
}

fn legal(name: &str) -> Result<(), LogError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 200 || !name.chars().all(legal) {
        let reason = "1 to 200 of a-z, A-Z, 0-9, '.', '_', '-'".to_owned();
        return Err(LogError::Invalid { what: format!("name {name:?} of an owner"), reason });
    }
    Ok(())
}

fn partition_of(topic: &TopicConfig, record: &ProducerRecord) -> Result<i32, LogError> {
    if record.key.is_none() && topic.cleanup == Cleanup::Compact {
        return Err(LogError::Invalid {
            what: format!("record for compacted topic {:?}", record.topic),
            reason: "it has no key".to_owned(),
        });
    }
    let partition = match (record.partition, &record.key) {
        (Some(partition), _) => partition,
        (None, Some(key)) => partition_for_key(key, topic.partitions),
        (None, None) => 0,
    };
    in_topic(topic, TopicPartition { topic: record.topic.clone(), partition })?;
    Ok(partition)
}

fn in_topic(topic: &TopicConfig, tp: TopicPartition) -> Result<(), LogError> {
    match (0..topic.partitions).contains(&tp.partition) {
        true => Ok(()),
        false => Err(LogError::UnknownPartition(tp)),
    }
}
