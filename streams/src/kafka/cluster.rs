//! What the brokers know of topics: how many partitions, where they begin and end; and the making of topics.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::clients::{self, Plain};
use super::refusal::{self, of_topic};
use super::{KafkaStreamsConfig, KafkaStreamsError};
use crate::TopicPartition;

/// How long one call may take before it is repeated; the first one this long …
const FIRST_CALL: Duration = Duration::from_millis(250);
/// … and each as long as all before it together, up to this. Between calls it is heard whether we are refused: librdkafka asks for ever.
const CALL: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
/// How long the leader of a partition is waited for before it is asked whether there is another one.
const LEADER_ANSWERS: Duration = Duration::from_secs(1);

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicSpec {
    pub(super) name: Arc<str>,
    pub(super) partitions: i32,
    pub(super) settings: Vec<(&'static str, String)>,
}

/// The brokers, as all stream threads ask them.
pub(super) struct Cluster {
    observer: BaseConsumer<Plain>,
    config: KafkaStreamsConfig,
    client_id: String,
    /// Partition counts of topics that were asked for once.
    known: Mutex<HashMap<Arc<str>, i32>>,
}

impl Cluster {
    pub(super) fn new(config: &KafkaStreamsConfig, client_id: &str) -> Result<Cluster, KafkaStreamsError> {
        Ok(Cluster {
            observer: clients::observer(config, &format!("{client_id}-observer"))?,
            config: config.clone(),
            client_id: client_id.to_owned(),
            known: Mutex::default(),
        })
    }

    /// Takes what the client wants to tell; to be called now and then.
    pub(super) fn serve(&self) {
        self.observer.context().refusals.hear_all(|| drop(self.observer.poll(Duration::ZERO)));
    }

    /// All topics with their numbers of partitions, asked anew.
    pub(super) fn topics(&self) -> Result<HashMap<Arc<str>, i32>, KafkaStreamsError> {
        let metadata = self.repeat("asking for the topics", |_| None, |wait| self.observer.fetch_metadata(None, wait))?;
        let with_leaders = metadata.topics().iter().filter(|topic| {
            topic.error().is_none() && !topic.partitions().is_empty() && topic.partitions().iter().all(|partition| partition.leader() >= 0)
        });
        let topics: HashMap<Arc<str>, i32> =
            with_leaders.map(|topic| (topic.name().into(), i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX))).collect();
        self.known.lock().extend(topics.clone());
        Ok(topics)
    }

    /// How many partitions a topic has; none: it does not exist.
    pub(super) fn partitions(&self, topic: &str) -> Result<Option<i32>, KafkaStreamsError> {
        if let Some(count) = self.known.lock().get(topic) {
            return Ok(Some(*count));
        }
        match self.topics()?.get(topic) {
            Some(count) => Ok(Some(*count)),
            None => self.check_hidden(topic, "WRITE").map(|()| None),
        }
    }

    /// Whether a topic that is not there is only hidden from our principal, who lacks the right to do this with it.
    pub(super) fn check_hidden(&self, topic: &str, operation: &'static str) -> Result<(), KafkaStreamsError> {
        let metadata = self.repeat(
            "asking for a topic",
            |error| of_topic(operation, topic, error),
            |wait| self.observer.fetch_metadata(Some(topic), wait),
        )?;
        let is_hidden = |code: RDKafkaRespErr| RDKafkaErrorCode::from(code) == RDKafkaErrorCode::TopicAuthorizationFailed;
        match metadata.topics().iter().any(|topic| topic.error().is_some_and(is_hidden)) {
            true => Err(refusal::unauthorized(operation, refusal::topic_named(topic))),
            false => Ok(()),
        }
    }

    /// The first offset of a partition and the one after its last, open transactions included.
    pub(super) fn watermarks(&self, partition: &TopicPartition) -> Result<(i64, i64), KafkaStreamsError> {
        let TopicPartition { topic, partition: number } = partition;
        let action = format!("asking for the ends of {partition}");
        self.repeat(&action, |error| of_topic("READ", topic, error), |_| ends(&self.observer, topic, *number))
    }

    /// Makes topics, and waits until they can be used. One that exists already is left as it is.
    pub(super) fn create(&self, topics: &[TopicSpec]) -> Result<(), KafkaStreamsError> {
        if topics.is_empty() {
            return Ok(());
        }
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|topic| {
                let new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(self.config.replication_factor));
                topic.settings.iter().fold(new, |new, (key, value)| new.set(key, value))
            })
            .collect();
        let deadline = Instant::now() + self.config.api_timeout;
        let action = "making the topics of the application";
        let options = AdminOptions::new().request_timeout(Some(CALL)).operation_timeout(Some(CALL));
        let admin: AdminClient<Plain> = clients::admin(&self.config, &format!("{}-admin", self.client_id))?;
        let answers = self.repeat(action, |_| None, |_| block_on(admin.create_topics(&new, &options)))?;
        for answer in answers {
            match answer {
                Ok(topic) => tracing::info!(topic, "Topic made."),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed)) => {
                    return Err(refusal::unauthorized("CREATE", refusal::topic_named(&topic)));
                }
                Err((topic, code)) => {
                    return Err(KafkaStreamsError::Broker { action: format!("making topic {topic}"), reason: code.to_string() });
                }
            }
        }
        loop {
            let there = self.topics()?;
            match topics.iter().find(|topic| !there.contains_key(&topic.name)) {
                None => return Ok(()),
                Some(topic) if Instant::now() > deadline => {
                    let reason = "it does not appear in the metadata".to_owned();
                    return Err(KafkaStreamsError::Broker { action: format!("making topic {}", topic.name), reason });
                }
                Some(topic) => {
                    self.check_hidden(&topic.name, "READ")?;
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Deletes the records before these offsets.
    pub(super) fn delete_before(&self, offsets: &TopicPartitionList) -> Result<(), KafkaStreamsError> {
        let admin: AdminClient<Plain> = clients::admin(&self.config, &format!("{}-admin", self.client_id))?;
        let options = AdminOptions::new().request_timeout(Some(CALL)).operation_timeout(Some(CALL));
        block_on(admin.delete_records(offsets, &options))
            .and_then(|answers| answers.elements().iter().try_for_each(|answer| answer.error()))
            .map_err(|error| match refusal::is_of_topic(&error) {
                true => refusal::unauthorized("DELETE", "the repartition topics".to_owned()),
                false => KafkaStreamsError::broker("deleting processed records of repartition topics", error),
            })
    }

    /// Repeats a call that changes nothing, or nothing twice, until it succeeds, it or we are `refused`, or patience ends.
    fn repeat<T>(
        &self,
        action: &str,
        refused: impl Fn(&KafkaError) -> Option<KafkaStreamsError>,
        mut call: impl FnMut(Duration) -> KafkaResult<T>,
    ) -> Result<T, KafkaStreamsError> {
        let started = Instant::now();
        loop {
            let error = match call(started.elapsed().clamp(FIRST_CALL, CALL)) {
                Ok(answer) => {
                    self.observer.context().refusals.forget_identity();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            self.serve();
            if let Some(refused) = refused(&error).or_else(|| self.observer.context().refusals.identity()) {
                return Err(refused);
            }
            if started.elapsed() > self.config.api_timeout {
                return Err(KafkaStreamsError::broker(action, error));
            }
            tracing::debug!(%error, action, "Asking again.");
            thread::sleep(PAUSE);
        }
    }
}

/// The first offset of a partition and the one after its last, as the consumer's isolation level has them. librdkafka waits for the leader
/// that it once heard of, though that broker be gone; only who asks for the topic anew hears of another one.
pub(super) fn ends<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str, partition: i32) -> KafkaResult<(i64, i64)> {
    consumer.fetch_watermarks(topic, partition, LEADER_ANSWERS).or_else(|error| {
        tracing::debug!(%error, topic, partition, "The leader does not answer; is there another one?");
        consumer.fetch_metadata(Some(topic), CALL)?;
        consumer.fetch_watermarks(topic, partition, CALL)
    })
}

/// Waits for a future whose waker is called from another thread: librdkafka's own.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}
