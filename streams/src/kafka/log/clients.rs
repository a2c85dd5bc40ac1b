//! The clients of librdkafka that a log has.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::producer::{ProducerContext, ThreadedProducer};

use super::super::KafkaStreamsConfig;
use super::super::clients::{self, Plain};
use super::config::of_settings;
use crate::embedded::LogError;

/// How soon a member of a group of owners hears that there is one less.
const HEARTBEAT: Duration = Duration::from_millis(500);

fn client<C: rdkafka::ClientContext, T: FromClientConfigAndContext<C>>(
    config: &KafkaStreamsConfig,
    role: &str,
    context: C,
    ours: &[(&str, &str)],
) -> Result<T, LogError> {
    let client_id = format!("{}-log-{}-{role}", config.application_id, std::process::id());
    clients::create(&clients::settings(config, &client_id, ours, &BTreeMap::new()), context).map_err(of_settings)
}

/// Makes topics.
pub(super) fn admin<T: FromClientConfigAndContext<Plain>>(config: &KafkaStreamsConfig) -> Result<T, LogError> {
    client(config, "admin", Plain::default(), &[])
}

/// Asks for metadata, and for the ends of partitions: of all that was written, or of what is settled.
pub(super) fn observer(config: &KafkaStreamsConfig, isolation: &str) -> Result<BaseConsumer<Plain>, LogError> {
    client(config, "observer", Plain::default(), &[("isolation.level", isolation)])
}

/// Asks for a group's offsets: as they are, or once no transaction is open that may change them. It never joins: a group whose offsets an
/// owner keeps has no members.
pub(super) fn of_group(config: &KafkaStreamsConfig, group: &str, isolation: &str) -> Result<BaseConsumer<Plain>, LogError> {
    client(config, group, Plain::default(), &[("group.id", group), ("isolation.level", isolation), ("enable.auto.commit", "false")])
}

/// Reads partitions that it is told. `hurried`: it hears at once that there is no more, which costs requests.
pub(super) fn reader(config: &KafkaStreamsConfig, hurried: bool) -> Result<BaseConsumer<Plain>, LogError> {
    let ours = [
        // A name that is needed, and not used.
        ("group.id", config.application_id.as_str()),
        ("isolation.level", "read_committed"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "earliest"),
        ("enable.partition.eof", "true"),
        ("fetch.wait.max.ms", if hurried { "10" } else { "500" }),
        // Bounded memory: a short record in a queue takes five times its size. Without the short pause a partition whose queue was full
        // once would wait for a second.
        ("queued.max.messages.kbytes", "2048"),
        ("fetch.queue.backoff.ms", "5"),
    ];
    client(config, "reader", Plain::default(), &ours)
}

/// A member of a group of owners.
pub(super) fn member<C: ConsumerContext, T: FromClientConfigAndContext<C>>(
    config: &KafkaStreamsConfig,
    group: &str,
    session_timeout: Duration,
    context: C,
) -> Result<T, LogError> {
    let session = session_timeout.as_millis().to_string();
    let heartbeat = HEARTBEAT.min(session_timeout / 3).as_millis().to_string();
    let ours = [
        ("group.id", group),
        ("group.protocol", "classic"),
        // Who comes does not take the partition from the one who has it.
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("session.timeout.ms", &session),
        ("heartbeat.interval.ms", &heartbeat),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
    ];
    client(config, "member", context, &ours)
}

/// The producer of a log that owns nothing: idempotent, so that what librdkafka sends again is there once.
pub(super) fn producer<C: ProducerContext + 'static>(config: &KafkaStreamsConfig, context: C) -> Result<ThreadedProducer<C>, LogError> {
    let timeout = config.api_timeout.as_millis().to_string();
    let ours = [
        ("enable.idempotence", "true"),
        ("linger.ms", "0"),
        ("message.timeout.ms", timeout.as_str()),
        // What waits is bounded before it comes here.
        ("queue.buffering.max.messages", "0"),
    ];
    client(config, "producer", context, &ours)
}
