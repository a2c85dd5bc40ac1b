//! What the brokers are asked: which topics there are, where partitions and groups are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::admin::AdminClient;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::super::KafkaStreamsConfig;
use super::super::clients::Plain;
use super::aside::Aside;
use super::{KafkaLogError, LogConfig, clients, error};
use crate::TopicPartition;
use crate::embedded::LogError;

/// How long one call may take before it is repeated.
const CALL: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Clients that ask. Its calls wait for answers, so async callers make them [apart].
pub(super) struct Brokers {
    pub(super) config: LogConfig,
    pub(super) for_clients: KafkaStreamsConfig,
    pub(super) admin: Aside<AdminClient<Plain>>,
    /// Sees all that was written.
    observer: Aside<BaseConsumer<Plain>>,
    /// Sees what is settled.
    settled: Aside<BaseConsumer<Plain>>,
    groups: Mutex<HashMap<String, Arc<Aside<BaseConsumer<Plain>>>>>,
}

impl Brokers {
    /// The clients; nothing is asked yet.
    pub(super) fn new(config: LogConfig) -> Result<Brokers, LogError> {
        let for_clients = config.for_clients()?;
        Ok(Brokers {
            admin: Aside::new(clients::admin(&for_clients)?),
            observer: Aside::new(clients::observer(&for_clients, "read_uncommitted")?),
            settled: Aside::new(clients::observer(&for_clients, "read_committed")?),
            groups: Mutex::default(),
            for_clients,
            config,
        })
    }

    /// All topics with their numbers of partitions, but those of Kafka itself, and those that have no leader at the moment.
    pub(super) fn topics(&self) -> Result<BTreeMap<String, i32>, LogError> {
        let action = format!("asking the brokers at {} for their topics", self.config.bootstrap_servers);
        let metadata = self.ask(&action, |wait| self.observer.fetch_metadata(None, wait))?;
        let usable = metadata.topics().iter().filter(|topic| {
            let led = topic.partitions().iter().all(|partition| partition.leader() >= 0);
            topic.error().is_none() && !topic.partitions().is_empty() && led && !topic.name().starts_with("__")
        });
        Ok(usable.map(|topic| (topic.name().to_owned(), i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX))).collect())
    }

    /// All topics but those of Kafka itself: partitions, and the replicas of the one that has the fewest.
    pub(super) fn replicas(&self) -> Result<BTreeMap<String, (i32, i32)>, LogError> {
        let action = format!("asking the brokers at {} for their topics", self.config.bootstrap_servers);
        let metadata = self.ask(&action, |wait| self.observer.fetch_metadata(None, wait))?;
        let count = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
        let topic = |topic: &MetadataTopic| {
            let fewest = topic.partitions().iter().map(|partition| count(partition.replicas().len())).min()?;
            (!topic.name().starts_with("__")).then(|| (topic.name().to_owned(), (count(topic.partitions().len()), fewest)))
        };
        Ok(metadata.topics().iter().filter_map(topic).collect())
    }

    /// All groups, with how many members they have.
    pub(super) fn groups(&self) -> Result<Vec<(String, usize)>, LogError> {
        let action = format!("asking the brokers at {} for their groups", self.config.bootstrap_servers);
        let list = self.ask(&action, |wait| self.observer.fetch_group_list(None, wait))?;
        Ok(list.groups().iter().map(|group| (group.name().to_owned(), group.members().len())).collect())
    }

    /// The first offset that is left, and the one behind all that was written, open transactions included.
    pub(super) fn ends(&self, tp: &TopicPartition) -> Result<(i64, i64), LogError> {
        self.watermarks(&self.observer, tp)
    }

    /// Before this offset nothing is open any more: what was committed is there, the rest never will be.
    pub(super) fn settled_end(&self, tp: &TopicPartition) -> Result<i64, LogError> {
        Ok(self.watermarks(&self.settled, tp)?.1)
    }

    fn watermarks(&self, asking: &BaseConsumer<Plain>, tp: &TopicPartition) -> Result<(i64, i64), LogError> {
        let TopicPartition { topic, partition } = tp;
        self.ask(&format!("asking for the ends of {tp}"), |wait| asking.fetch_watermarks(topic, *partition, wait)).map_err(|error| {
            match self.topics() {
                Ok(topics) => missing(&topics, tp).unwrap_or(error),
                Err(_) => error,
            }
        })
    }

    /// A group's committed offset. The brokers answer once no transaction is open that may change it.
    pub(super) fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<i64>, LogError> {
        Ok(self.offsets(&*self.of_group(group)?, group, std::slice::from_ref(tp))?.pop().flatten())
    }

    /// A group's committed offsets as they are now, whatever is about to change them.
    pub(super) fn committed_now(&self, group: &str, tps: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.offsets(&Aside::new(clients::of_group(&self.for_clients, group, "read_uncommitted")?), group, tps)
    }

    fn offsets(&self, asking: &BaseConsumer<Plain>, group: &str, tps: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        let action = match tps {
            [tp] => format!("asking for the offset of group {group} in {tp}"),
            _ => format!("asking for the offsets of group {group}"),
        };
        let answer = self.ask(&action, |wait| {
            let mut list = TopicPartitionList::with_capacity(tps.len());
            for tp in tps {
                list.add_partition(&tp.topic, tp.partition);
            }
            let answer = asking.committed_offsets(list, wait)?;
            answer.elements().iter().try_for_each(|element| element.error())?;
            Ok(answer)
        })?;
        let offset = |tp: &TopicPartition| match answer.find_partition(&tp.topic, tp.partition)?.offset() {
            Offset::Offset(next) => Some(next),
            _ => None,
        };
        Ok(tps.iter().map(offset).collect())
    }

    /// With which an offset of a group without members is set in a transaction.
    pub(super) fn group_metadata(&self, group: &str) -> Result<ConsumerGroupMetadata, LogError> {
        let none = || KafkaLogError::Away { action: format!("setting offsets of group {group}"), reason: "its client is gone".to_owned() };
        Ok(self.of_group(group)?.group_metadata().ok_or_else(none)?)
    }

    fn of_group(&self, group: &str) -> Result<Arc<Aside<BaseConsumer<Plain>>>, LogError> {
        let mut groups = self.groups.lock();
        if let Some(known) = groups.get(group) {
            return Ok(known.clone());
        }
        let made = Arc::new(Aside::new(clients::of_group(&self.for_clients, group, "read_committed")?));
        groups.insert(group.to_owned(), made.clone());
        Ok(made)
    }

    /// Whether some broker answers; takes what the clients want to tell.
    pub(super) fn pulse(&self, wait: Duration) -> Result<(), String> {
        let groups: Vec<_> = self.groups.lock().values().cloned().collect();
        for client in [&self.observer, &self.settled].into_iter().chain(groups.iter().map(|client| &**client)) {
            if let Some(Err(error)) = client.poll(Duration::ZERO) {
                tracing::debug!(%error, "A client of the log reports an error.");
            }
        }
        let answer = self.observer.fetch_metadata(Some(super::OWNERS_TOPIC), wait);
        answer.map(drop).map_err(|error| format!("the brokers at {} do not answer: {error}", self.config.bootstrap_servers))
    }

    /// Repeats a call that changes nothing until it succeeds, is refused, or patience ends.
    fn ask<T>(&self, action: &str, mut call: impl FnMut(Duration) -> KafkaResult<T>) -> Result<T, LogError> {
        let deadline = Instant::now() + self.config.api_timeout;
        loop {
            match call(CALL.min(self.config.api_timeout)) {
                Ok(answer) => return Ok(answer),
                Err(error) if is_final(&error) || Instant::now() > deadline => return Err(error::of_call(action, &error)),
                Err(error) => {
                    tracing::debug!(%error, action, "Asking again.");
                    thread::sleep(PAUSE);
                }
            }
        }
    }
}

/// A topic that was just made may be unknown to one broker for a moment; a partition that librdkafka itself does not know is not there.
fn is_final(error: &KafkaError) -> bool {
    error::is_refusal(error) || error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownPartition)
}

/// What is missing for this partition to be there.
pub(super) fn missing(topics: &BTreeMap<String, i32>, tp: &TopicPartition) -> Option<LogError> {
    match topics.get(&*tp.topic) {
        None => Some(LogError::UnknownTopic(tp.topic.to_string())),
        Some(count) if !(0..*count).contains(&tp.partition) => Some(LogError::UnknownPartition(tp.clone())),
        Some(_) => None,
    }
}

/// Makes a call that waits in a thread of its own: the caller's runtime has better to do, and must be able to end before the brokers are
/// back.
pub(super) async fn apart<T: Send + 'static>(
    brokers: &Arc<Brokers>,
    call: impl FnOnce(&Brokers) -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let (done, outcome) = oneshot::channel();
    let brokers = brokers.clone();
    // Whoever gave up waiting does not hear of it.
    let work = move || drop(done.send(call(&brokers)));
    thread::Builder::new()
        .name("kafka-ask".to_owned())
        .spawn(work)
        .map_err(|error| LogError::Io { action: "starting a thread that asks the brokers".to_owned(), source: Arc::new(error) })?;
    outcome.await.unwrap_or(Err(LogError::Closed))
}
