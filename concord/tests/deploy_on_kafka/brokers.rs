//! What somebody else does to topics with Kafka's own means, and what is there.

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use schemas::{Registry, SchemaRecord};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const CALL: Duration = Duration::from_secs(20);

pub struct Brokers {
    address: String,
    admin: AdminClient<DefaultClientContext>,
    observer: BaseConsumer,
}

impl Brokers {
    pub fn at(address: &str) -> Brokers {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address);
        Brokers { address: address.into(), admin: config.create().unwrap(), observer: config.create().unwrap() }
    }

    /// All topics but Kafka's own.
    pub fn topics(&self) -> BTreeSet<String> {
        let metadata = self.observer.fetch_metadata(None, CALL).unwrap();
        let there = metadata.topics().iter().filter(|topic| !topic.partitions().is_empty() && !topic.name().starts_with("__"));
        there.map(|topic| topic.name().to_owned()).collect()
    }

    pub fn groups(&self) -> BTreeSet<String> {
        let list = self.observer.fetch_group_list(None, CALL).unwrap();
        list.groups().iter().map(|group| group.name().to_owned()).collect()
    }

    pub async fn make(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
        self.admin.create_topics(&[new], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        self.until(&format!("{topic} is there"), |all| all.contains(topic)).await;
    }

    pub async fn delete(&self, topic: &str) {
        self.admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        self.until(&format!("{topic} is gone"), |all| !all.contains(topic)).await;
    }

    /// All of its settings: others go back to their defaults.
    pub async fn set(&self, topic: &str, settings: &[(&str, &str)]) {
        let alter = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let alter = settings.iter().fold(alter, |alter, (key, value)| alter.set(key, value));
        self.admin.alter_configs(&[alter], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        let (name, wanted) = settings[0];
        let deadline = Instant::now() + CALL;
        while self.setting(topic, name).await.as_deref() != Some(wanted) {
            assert!(Instant::now() < deadline, "{topic}: {name} is never {wanted}");
        }
    }

    pub async fn setting(&self, topic: &str, name: &str) -> Option<String> {
        let asked = self.admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await.unwrap().remove(0);
        asked.unwrap().get(name).and_then(|entry| entry.value.clone())
    }

    pub async fn widen(&self, topic: &str, partitions: usize) {
        let wider = NewPartitions::new(topic, partitions);
        self.admin.create_partitions(&[wider], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        let deadline = Instant::now() + CALL;
        while self.observer.fetch_metadata(Some(topic), CALL).unwrap().topics()[0].partitions().len() != partitions {
            assert!(Instant::now() < deadline, "{topic} never has {partitions} partitions");
        }
    }

    /// Puts a schema into the registry's topic, as another build would have.
    pub fn registered(&self, subject: &str, id: u32, schema: &str) {
        let registry = Registry::new();
        registry.learn(subject, id, schema).unwrap();
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &self.address).create().unwrap();
        for SchemaRecord { key, value } in registry.take_unsaved() {
            let (key, value) = (key.to_owned(), value.unwrap());
            producer.send(BaseRecord::to("_schemas").partition(0).key(&key).payload(&value)).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(CALL).unwrap();
    }

    async fn until(&self, what: &str, holds: impl Fn(&BTreeSet<String>) -> bool) {
        let deadline = Instant::now() + CALL;
        while !holds(&self.topics()) {
            assert!(Instant::now() < deadline, "never: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
