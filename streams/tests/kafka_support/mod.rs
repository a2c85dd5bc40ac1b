//! What the tests on a real Kafka have in common: a broker, topics, records in and out, a topology, and what must be true in the end.
#![allow(dead_code, unused_imports, reason = "each test file uses its part")]

mod actor;
mod broker;
mod load;
mod oracle;
mod process;
mod proxy;
mod secure;
mod topology;

use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use streams::kafka::KafkaStreamsConfig;

pub use actor::{Actors, is_lost, log_config, run_actor};
pub use broker::{BROKER_MISSED, Broker, COORDINATOR_PARTITIONS, bootstrap, classpath, own_broker, own_cluster};
pub use load::Load;
pub use oracle::{POISON, Tail, Verdict, assert_each_counted_once, await_counted, await_processed, counts_so_far, verdict};
pub use process::{AT_LEAST_ONCE, BREAKS, DIES_AT, GROUP_INSTANCE, Process, SESSION_TIMEOUT, at_least_once, run_child};
pub use proxy::{Trouble, proxy};
pub use secure::{PASSWORD, Secure, secure_broker};
pub use topology::{count_both, count_from_the_start, word_count};

/// How long a topic that is read may give nothing.
const READS_WITHIN: Duration = Duration::from_secs(60);

/// A record as a plain consumer with `read_committed` sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub value: Vec<u8>,
    pub timestamp: i64,
    pub headers: Vec<(String, String)>,
}

/// Settings of a plain client, which is soon back after an outage.
pub fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap()).set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "500");
    config
}

/// A name that no other test, and no other run on the same broker, uses.
pub fn unique(name: &str) -> String {
    format!("{name}-{:08x}", rand::random::<u32>())
}

/// For records of any time: the brokers of the tests look often for what is old.
pub fn create_topics(topics: &[(&str, i32)]) {
    create_topics_with(topics, &[("retention.ms", "-1")]);
}

pub fn create_topics_with(topics: &[(&str, i32)], settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", bootstrap()).create().unwrap();
    let new: Vec<NewTopic<'_>> = topics.iter().map(|(name, partitions)| new_topic(name, *partitions, settings)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for made in runtime.block_on(admin.create_topics(&new, &AdminOptions::new())).unwrap() {
        made.unwrap();
    }
    // They are made when the controller has them; the broker tells of them a little later.
    let observer: BaseConsumer = client().create().unwrap();
    eventually("the topics can be used", Duration::from_secs(20), || {
        topics.iter().all(|(name, count)| {
            let metadata = observer.fetch_metadata(Some(name), Duration::from_secs(10)).unwrap();
            let partitions = metadata.topics()[0].partitions();
            partitions.len() as i32 == *count && partitions.iter().all(|partition| partition.leader() >= 0)
        })
    });
}

fn new_topic<'a>(name: &'a str, partitions: i32, settings: &[(&'a str, &'a str)]) -> NewTopic<'a> {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
}

/// What a topic is set to.
pub fn topic_setting(topic: &str, name: &str) -> String {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", bootstrap()).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let asked = runtime.block_on(admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &AdminOptions::new())).unwrap();
    let resource = asked.into_iter().next().unwrap().unwrap();
    resource.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default()
}

/// Sets a topic to something else.
pub fn set_topic(topic: &str, name: &str, value: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", bootstrap()).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
    for changed in runtime.block_on(admin.alter_configs([&config], &AdminOptions::new())).unwrap() {
        changed.unwrap();
    }
}

/// How many members a group has, where it is at rest.
pub fn members(group: &str) -> Option<usize> {
    let observer: BaseConsumer = client().create().unwrap();
    let groups = observer.fetch_group_list(Some(group), Duration::from_secs(10)).ok()?;
    groups.groups().iter().find(|info| info.state() == "Stable").map(|info| info.members().len())
}

/// Settings that make rebalances quick. The state is in a folder of the test.
pub fn config(application: &str, state_dir: &Path) -> KafkaStreamsConfig {
    let mut config = KafkaStreamsConfig::new(application, bootstrap(), state_dir);
    config.first_pause = Duration::from_millis(20);
    config.consumer.insert("heartbeat.interval.ms".into(), "100".into());
    config.consumer.insert("session.timeout.ms".into(), "1500".into());
    config.producer.insert("transaction.timeout.ms".into(), "3000".into());
    config
}

pub fn eventually(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        // The broker needs the processor more than this loop.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes records and waits until the broker has them.
pub fn produce<'a>(topic: &str, records: impl IntoIterator<Item = (&'a str, &'a str, i64)>) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", bootstrap()).set("enable.idempotence", "true").create().unwrap();
    for (key, value, timestamp) in records {
        let headers = OwnedHeaders::new().insert(Header { key: "trace", value: Some(key) });
        let record = BaseRecord::to(topic).key(key).payload(value).timestamp(timestamp).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

/// Everything that is committed in a topic now, partition by partition.
pub fn read_all(topic: &str) -> Vec<Seen> {
    let mut seen = Vec::new();
    read_committed(topic, |message| {
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        seen.push(Seen {
            partition: message.partition(),
            offset: message.offset(),
            key: text(message.key()),
            value: message.payload().unwrap_or_default().to_vec(),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
        });
    });
    seen.sort_by_key(|record| (record.partition, record.offset));
    seen
}

/// Goes through everything that is committed in a topic now; the records of a partition come in order.
pub fn read_committed(topic: &str, mut each: impl FnMut(&BorrowedMessage<'_>)) {
    let consumer: BaseConsumer = client()
        .set("group.id", "reader-of-tests")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut ended = 0;
    let mut deadline = Instant::now() + READS_WITHIN;
    while ended < list.count() {
        assert!(Instant::now() < deadline, "{topic} cannot be read");
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Ok(message)) => {
                each(&message);
                deadline = Instant::now() + READS_WITHIN;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            // A broker that was away is asked again.
            Some(Err(error)) => println!("reading {topic}: {error}"),
        }
    }
}
