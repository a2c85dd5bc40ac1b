//! How a topology is run on Kafka.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{KafkaStreamsError, security};
use crate::TaskConfig;
use crate::client::{UncaughtHandler, UncaughtResponse};

/// The consumer's setting that keeps its place in the group while it is away.
pub(super) const INSTANCE: &str = "group.instance.id";

/// `processing.guarantee`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessingGuarantee {
    /// Offsets are committed once outputs and store changes are acknowledged: nothing is lost, and after a failure some records are
    /// processed again, by stores that may know them already.
    AtLeastOnce,
    /// Input offsets, outputs and store changes become visible together, once, whichever process dies when.
    ExactlyOnceV2,
}

/// `group.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The members assign the partitions, by range.
    Classic,
    /// The broker assigns them (KIP-848), by range too.
    Consumer,
}

/// Settings of a [`KafkaStreams`](super::KafkaStreams), named as Kafka Streams names them.
///
/// ```
/// use streams::kafka::KafkaStreamsConfig;
/// let mut config = KafkaStreamsConfig::new("word-count", "localhost:9092", "/var/lib/word-count");
/// config.num_stream_threads = 2;
/// config.client.insert("security.protocol".into(), "ssl".into());
/// ```
#[derive(Clone)]
pub struct KafkaStreamsConfig {
    /// `application.id`: the consumer group, the owner of the stores, the prefix of internal topics and transactional ids.
    pub application_id: String,
    /// `bootstrap.servers`.
    pub bootstrap_servers: String,
    /// `state.dir`: local stores are in `<state_dir>/<application.id>`, which belongs to one process at a time.
    pub state_dir: PathBuf,
    /// `num.stream.threads`.
    pub num_stream_threads: usize,
    /// `commit.interval.ms`: under load. What is drained is committed at once.
    pub commit_interval: Duration,
    /// `processing.guarantee`.
    pub processing_guarantee: ProcessingGuarantee,
    /// `group.protocol`.
    pub group_protocol: GroupProtocol,
    /// `repartition.purge.interval.ms`: how often processed records of repartition topics are deleted.
    pub repartition_purge_interval: Duration,
    /// `replication.factor` of internal topics; -1 leaves it to the broker.
    pub replication_factor: i32,
    /// Settings of librdkafka for every client: security (`security.protocol`, `sasl.*`, `ssl.*`), timeouts.
    pub client: BTreeMap<String, String>,
    /// Settings of librdkafka for the group's consumer. A `group.instance.id` gets the thread's number appended.
    pub consumer: BTreeMap<String, String>,
    /// Settings of librdkafka for the producer.
    pub producer: BTreeMap<String, String>,
    /// How long a call to the brokers is repeated before the thread gives up and starts anew.
    pub api_timeout: Duration,
    /// What becomes of records that fail.
    pub task: TaskConfig,
    /// What becomes of tasks that fail.
    pub uncaught: UncaughtHandler,
    /// First pause of a thread that failed; it doubles with each failure in a row …
    pub first_pause: Duration,
    /// … up to this.
    pub longest_pause: Duration,
    /// How long dead letter records stay, in topics that are made for them.
    pub dead_letter_retention: Duration,
}

impl KafkaStreamsConfig {
    /// Kafka Streams' defaults, but exactly once, and a failed thread is replaced rather than the client shut down.
    pub fn new(application_id: impl Into<String>, bootstrap_servers: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            application_id: application_id.into(),
            bootstrap_servers: bootstrap_servers.into(),
            state_dir: state_dir.into(),
            num_stream_threads: 1,
            commit_interval: Duration::from_millis(100),
            processing_guarantee: ProcessingGuarantee::ExactlyOnceV2,
            group_protocol: GroupProtocol::Classic,
            repartition_purge_interval: Duration::from_secs(30),
            replication_factor: -1,
            client: BTreeMap::new(),
            consumer: BTreeMap::new(),
            producer: BTreeMap::new(),
            api_timeout: Duration::from_secs(60),
            task: TaskConfig::default(),
            uncaught: Arc::new(|_| UncaughtResponse::ReplaceThread),
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(30),
            dead_letter_retention: Duration::from_secs(30 * 24 * 3600),
        }
    }

    pub(super) fn check(&self) -> Result<(), KafkaStreamsError> {
        let id = &self.application_id;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if id.is_empty() || id.len() > 200 || !id.chars().all(legal) || id.starts_with('.') {
            return Err(KafkaStreamsError::config("application.id", format!("{id:?} is not 1 to 200 of a-z, A-Z, 0-9, '.', '_', '-'")));
        }
        if self.num_stream_threads == 0 {
            return Err(KafkaStreamsError::config("num.stream.threads", "there must be one at least"));
        }
        // What the guarantees rest on is not for the user to change.
        const OURS: [&str; 6] = [
            "transactional.id",
            "enable.idempotence",
            "isolation.level",
            "enable.auto.commit",
            "group.id",
            "partition.assignment.strategy",
        ];
        let given = [&self.client, &self.consumer, &self.producer].into_iter().flat_map(BTreeMap::keys);
        match given.into_iter().find(|key| OURS.contains(&key.as_str())) {
            Some(key) => Err(KafkaStreamsError::config(key, "the driver sets it")),
            // Every thread would have the same, and take the others' places.
            None if self.client.contains_key(INSTANCE) => Err(KafkaStreamsError::config(INSTANCE, "it is a setting of the consumer alone")),
            None => security::check(&self.client),
        }
    }
}

impl fmt::Debug for KafkaStreamsConfig {
    /// Without the clients' settings, which may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaStreamsConfig")
            .field("application_id", &self.application_id)
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("state_dir", &self.state_dir)
            .finish_non_exhaustive()
    }
}
