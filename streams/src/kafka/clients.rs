//! The clients of librdkafka that a stream thread has, and how each is set up.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, config::FromClientConfigAndContext};

use super::config::INSTANCE;
use super::refusal::Refusals;
use super::security;
use super::{GroupProtocol, KafkaStreamsConfig, KafkaStreamsError, ProcessingGuarantee};

/// Whether a log line of librdkafka's needs nobody: of who is fenced, who tells what that means, which may be nothing; and of a producer
/// whose coordinator is not ready yet, which is asked again (it always takes a moment where the first one of a cluster begins).
fn is_routine(facility: &str, message: &str) -> bool {
    let is_asked_again = facility == "GETPID" && message.ends_with("retrying");
    is_asked_again || ["_FENCED", "has been fenced", "an old epoch"].iter().any(|words| message.contains(words))
}

/// Hands librdkafka's log lines over to ours.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        _ if is_routine(facility, message) => tracing::debug!(facility, "{message}"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(facility, "{message}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(facility, "{message}"),
        _ => tracing::debug!(facility, "{message}"),
    }
}

/// librdkafka's errors that belong to no call: mostly connections that it will make anew by itself.
pub(super) fn log_error(error: &KafkaError, reason: &str) {
    match error {
        KafkaError::Global(RDKafkaErrorCode::PartitionEOF) => {}
        // As above.
        KafkaError::Global(RDKafkaErrorCode::Fenced) => tracing::debug!(%error, reason, "A Kafka client reports an error."),
        error => tracing::warn!(%error, reason, "A Kafka client reports an error."),
    }
}

/// A client that only logs, and notes what it is refused.
#[derive(Debug, Default)]
pub(super) struct Plain {
    pub(super) refusals: Refusals,
}

impl ClientContext for Plain {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
        self.refusals.note_log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
        self.refusals.note(&error, reason);
    }
}

impl ConsumerContext for Plain {}

/// A client's settings: ours, then the user's.
pub(super) fn settings(
    config: &KafkaStreamsConfig,
    client_id: &str,
    ours: &[(&str, &str)],
    users: &BTreeMap<String, String>,
) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &config.bootstrap_servers).set("client.id", client_id);
    // As Java's clients: after an outage librdkafka would stay away for up to 10 s.
    settings.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
    for (key, value) in ours {
        settings.set(*key, *value);
    }
    for (key, value) in config.client.iter().chain(users) {
        settings.set(key, value);
    }
    settings.set_log_level(RDKafkaLogLevel::Warning);
    settings
}

pub(super) fn create<C: ClientContext, T: FromClientConfigAndContext<C>>(
    settings: &ClientConfig,
    context: C,
) -> Result<T, KafkaStreamsError> {
    let hide = |message: &str| security::redacted(message, settings.config_map().into_iter());
    settings.create_with_context(context).map_err(|error| match error {
        KafkaError::ClientConfig(_, reason, key, _) => KafkaStreamsError::config(&key, hide(&reason)),
        error => KafkaStreamsError::Broker { action: "making a client".to_owned(), reason: hide(&error.to_string()) },
    })
}

/// The member of the application's group.
pub(super) fn consumer<C: ConsumerContext, T: FromClientConfigAndContext<C>>(
    config: &KafkaStreamsConfig,
    thread: usize,
    client_id: &str,
    context: C,
) -> Result<T, KafkaStreamsError> {
    // Range, since it alone gives equal partition numbers of equally wide topics to one member: a task's partitions stay together.
    let (protocol, strategy) = match config.group_protocol {
        GroupProtocol::Classic => (("group.protocol", "classic"), ("partition.assignment.strategy", "range")),
        GroupProtocol::Consumer => (("group.protocol", "consumer"), ("group.remote.assignor", "range")),
    };
    let ours = [
        protocol,
        strategy,
        ("group.id", config.application_id.as_str()),
        ("isolation.level", "read_committed"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "earliest"),
        // Bounded memory: a short record in a queue takes five times its size, and what one answer brings comes to what is queued. Without the
        // short pause a partition whose queue was full once would wait for a second.
        ("queued.max.messages.kbytes", "2048"),
        ("fetch.message.max.bytes", "262144"),
        ("fetch.queue.backoff.ms", "5"),
    ];
    let mut users = config.consumer.clone();
    if let Some(id) = users.get_mut(INSTANCE) {
        *id = format!("{id}-{thread}");
    }
    create(&settings(config, client_id, &ours, &users), context)
}

/// Reads changelogs, by assignment only: it never joins the group whose name it needs.
pub(super) fn restore_consumer<T: FromClientConfigAndContext<Plain>>(
    config: &KafkaStreamsConfig,
    client_id: &str,
) -> Result<T, KafkaStreamsError> {
    let ours = [
        ("group.id", config.application_id.as_str()),
        ("isolation.level", "read_committed"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("enable.partition.eof", "true"),
        // The end of a changelog is told with the answer to a fetch, which is not to wait for more.
        ("fetch.wait.max.ms", "10"),
        ("queued.max.messages.kbytes", "4096"),
        ("fetch.queue.backoff.ms", "5"),
    ];
    create(&settings(config, client_id, &ours, &BTreeMap::new()), Plain::default())
}

/// Asks for metadata, and for the ends of partitions as they are, open transactions included.
pub(super) fn observer<T: FromClientConfigAndContext<Plain>>(config: &KafkaStreamsConfig, client_id: &str) -> Result<T, KafkaStreamsError> {
    create(&settings(config, client_id, &[("isolation.level", "read_uncommitted")], &BTreeMap::new()), Plain::default())
}

/// Makes topics.
pub(super) fn admin<T: FromClientConfigAndContext<Plain>>(config: &KafkaStreamsConfig, client_id: &str) -> Result<T, KafkaStreamsError> {
    create(&settings(config, client_id, &[], &BTreeMap::new()), Plain::default())
}

/// `transaction.timeout.ms` of Kafka Streams for `exactly_once_v2`.
const RECORDS_TIMEOUT: &str = "10000";
const LARGEST_RECORD: &str = "message.max.bytes";

/// How long a request of the producer is waited for until it is sent again: not longer than a transaction may take.
pub(super) fn request_timeout(config: &KafkaStreamsConfig) -> Duration {
    let records = records_timeout(config);
    of_producer(config, "socket.timeout.ms").map_or(records, millis).min(records)
}

/// How long a transaction may last before the brokers abort it; without transactions, how long a record is tried to be written.
pub(super) fn records_timeout(config: &KafkaStreamsConfig) -> Duration {
    millis(of_producer(config, records_timeout_name(config)).unwrap_or(RECORDS_TIMEOUT))
}

fn records_timeout_name(config: &KafkaStreamsConfig) -> &'static str {
    match config.processing_guarantee {
        ProcessingGuarantee::AtLeastOnce => "message.timeout.ms",
        ProcessingGuarantee::ExactlyOnceV2 => "transaction.timeout.ms",
    }
}

fn of_producer<'a>(config: &'a KafkaStreamsConfig, name: &str) -> Option<&'a str> {
    config.producer.get(name).or_else(|| config.client.get(name)).map(String::as_str)
}

/// What is not a number is refused by librdkafka.
fn millis(setting: &str) -> Duration {
    Duration::from_millis(setting.parse().unwrap_or(0))
}

/// The largest record that is written, but for dead letters: `message.max.bytes`.
pub(super) fn largest_record(config: &KafkaStreamsConfig) -> usize {
    let setting = config.producer.get(LARGEST_RECORD).or_else(|| config.client.get(LARGEST_RECORD));
    // What is not a number is refused by librdkafka.
    setting.map_or(1_000_000, |bytes| bytes.parse().unwrap_or(0))
}

/// The largest dead letter: what a topic took may have been larger than what is written here, and headers come to it.
pub(super) fn largest_dead_letter(config: &KafkaStreamsConfig) -> usize {
    largest_record(config) + (1 << 20)
}

/// The producer of a stream thread; the id is that of its transactions, if there are any. What Kafka Streams sets for `exactly_once_v2` is
/// set here too: a transaction may take 10 s.
pub(super) fn producer<C: ClientContext, T: FromClientConfigAndContext<C>>(
    config: &KafkaStreamsConfig,
    client_id: &str,
    transactional_id: &str,
    context: C,
) -> Result<T, KafkaStreamsError> {
    let ours = [
        ("enable.idempotence", "true"),
        (records_timeout_name(config), RECORDS_TIMEOUT),
        // Adding offsets meets the markers of the transaction before, which take a millisecond or two: ask again soon, not in 100 ms.
        ("retry.backoff.ms", "2"),
        ("linger.ms", "2"),
        ("queue.buffering.max.kbytes", "65536"),
        // Short records: their number is what takes memory.
        ("queue.buffering.max.messages", "20000"),
    ];
    let mut settings = settings(config, client_id, &ours, &config.producer);
    if config.processing_guarantee == ProcessingGuarantee::ExactlyOnceV2 {
        settings.set("transactional.id", transactional_id);
    }
    if largest_record(config) > 0 {
        settings.set(LARGEST_RECORD, largest_dead_letter(config).to_string());
    }
    create(&settings, context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_that_is_told_to_ask_again_is_no_warning() {
        let failed = "[thrd:main]: Failed to acquire idempotence PID from broker 127.0.0.1:9092/1: Broker: ";
        assert!(is_routine("GETPID", &format!("{failed}Coordinator load in progress: retrying")));
        assert!(!is_routine("GETPID", &format!("{failed}Transactional Id authorization failed")));
        assert!(!is_routine("FAIL", "[thrd:main]: Connection refused, retrying"));
    }
}
