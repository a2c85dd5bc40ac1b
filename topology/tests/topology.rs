//! The customer topology in Kafka Streams' test driver: stages, topics, stores, time, errors and crashes.

use metrics_exporter_prometheus::PrometheusBuilder;
use schemas::*;
use std::{collections::BTreeMap, time::Duration};
use streams::kafka::{KafkaStreams, KafkaStreamsConfig, ProcessingGuarantee};
use streams::{
    ConsumerRecord, StringSerde, TaskConfig, TestDriverConfig, TestOutputTopic, TopicPartition, TopologyTestDriver, dead_letter_queue,
};
use topology::customers::{
    self, Config, Kind, SystemConfig,
    state::Customer,
    stored::{self, Avro},
    walks::IMPORT,
};

#[test]
fn no_driver_that_may_process_a_record_twice_takes_it() {
    let topology = customers::build(&config(), &Registry::new()).unwrap();
    let mut at_least_once = KafkaStreamsConfig::new("concord", "nobody:9092", "/nowhere");
    at_least_once.processing_guarantee = ProcessingGuarantee::AtLeastOnce;
    let error = KafkaStreams::start(&topology, at_least_once).unwrap_err();
    assert_eq!(error.code(), "kafka-needs-exactly-once");
}

struct Hub {
    config: Config,
    registry: Registry,
    driver: TopologyTestDriver,
    offsets: BTreeMap<String, i64>,
    order: i64,
    requests: TestOutputTopic<String, Request>,
    unified: TestOutputTopic<String, UnifiedCustomer>,
}

fn system(name: &str) -> System {
    System::new(name).unwrap()
}

fn config() -> Config {
    let connectors = ["product", "stripe"].map(|name| SystemConfig::connector(system(name)));
    let topics = [SystemConfig::topic(system("crm"))];
    Config::new("concord", connectors.into_iter().chain(topics).collect())
}

impl Hub {
    fn new() -> Self {
        Self::with_partitions(1)
    }

    fn with_partitions(partitions: i32) -> Self {
        let (config, registry) = (Config { partitions, ..config() }, Registry::new());
        let topology = customers::build(&config, &registry).unwrap();
        let task = TaskConfig { exception_handler: dead_letter_queue(|topic| format!("{topic}.dlq")) };
        let driver_config = TestDriverConfig {
            application_id: "concord".into(),
            partitions,
            initial_wall_clock_ms: 1_000_000,
            task,
            ..TestDriverConfig::default()
        };
        let driver = TopologyTestDriver::new(&topology, driver_config).unwrap();
        let requests = driver.create_output_topic("requests.stripe", StringSerde, Avro(registry.codec("requests.stripe-value").unwrap()));
        let unified =
            driver.create_output_topic("customers.unified", StringSerde, Avro(registry.codec("customers.unified-value").unwrap()));
        Hub { config, registry, driver, offsets: BTreeMap::new(), order: 0, requests, unified }
    }

    fn publish<T: Message>(&mut self, topic: &str, key: &str, value: &T) {
        let value = self.registry.codec::<T>(&format!("{topic}-value")).unwrap().encode(value).unwrap();
        self.append(topic, key, Some(value));
    }

    fn append(&mut self, topic: &str, key: &str, value: Option<Vec<u8>>) {
        let record = streams::ProducerRecord {
            topic: topic.into(),
            partition: None,
            key: Some(key.as_bytes().to_vec().into()),
            value: value.map(Into::into),
            timestamp: 500,
            headers: Default::default(),
        };
        self.driver.append(record).unwrap();
        *self.offsets.entry(topic.into()).or_default() += 1;
    }

    /// A snapshot in the record's conversation.
    fn snapshot(&mut self, at: &str, key: &str, values: &[(&str, &str)]) {
        self.order += 1;
        let result =
            SourceCustomer { order: Some(self.order), fields: Some(fields(values)), look: 1_000 + self.order, ..Default::default() };
        self.publish(&format!("customers.{at}"), key, &result);
    }

    fn imported(&mut self, at: &str) {
        for partition in 0..self.config.partitions {
            let walk = UnifyMessage { body: UnifyBody::Walk(Walk { system: system(at), reason: IMPORT.into() }) };
            let value = self.registry.codec::<UnifyMessage>("customers.unify-value").unwrap().encode(&walk).unwrap();
            let record = streams::ProducerRecord {
                topic: "customers.unify".into(),
                partition: Some(partition),
                key: Some(at.as_bytes().to_vec().into()),
                value: Some(value.into()),
                timestamp: 500,
                headers: Default::default(),
            };
            self.driver.append(record).unwrap();
        }
        self.wait(1_000);
    }

    fn wait(&self, millis: u64) {
        self.driver.advance_wall_clock_time(Duration::from_millis(millis)).unwrap();
    }

    fn requests(&self) -> Vec<(String, Action)> {
        self.requests.read_key_values_to_list().unwrap().into_iter().map(|(key, request)| (key, request.action)).collect()
    }

    fn customers(&self) -> Vec<Customer> {
        let codec = stored::codec::<Customer>(&self.config, &self.registry, stored::CUSTOMERS).unwrap();
        self.driver.store_entries(stored::CUSTOMERS).unwrap().iter().map(|(_, _, bytes)| codec.decode(bytes).unwrap()).collect()
    }

    fn records(&self, topic: &str) -> Vec<ConsumerRecord> {
        (0..self.config.partitions).flat_map(|p| self.driver.records(&TopicPartition::new(topic, p))).collect()
    }
}

fn fields(values: &[(&str, &str)]) -> CustomerFields {
    CustomerFields::from(&values.iter().map(|(f, v)| (f.parse().unwrap(), Value::from(*v))).collect::<Values>())
}

/// The answer to a write that was done, and what it left.
fn done(write: &Write, left: &[(&str, &str)]) -> SourceCustomer {
    let left = Some(fields(left));
    let answer = Answer {
        write_id: write.id.clone(),
        outcome: Outcome::Done,
        refused_field: None,
        reason: None,
        taken: false,
        left: left.clone(),
        unseen: false,
    };
    SourceCustomer { order: Some(99), fields: left, answer: Some(answer), ..Default::default() }
}

#[test]
fn describe_is_stable() {
    insta::assert_snapshot!(customers::build(&config(), &Registry::new()).unwrap().describe().to_string());
}

#[test]
fn a_record_becomes_a_customer_and_is_made_where_it_is_not_once_that_is_imported() {
    let mut hub = Hub::new();
    hub.snapshot("product", "1", &[("name", "Ada"), ("email", "Ada@Example.com")]);
    let (key, unified) = hub.unified.read_key_value().unwrap();
    assert_eq!((key, unified.version), (unified.customer_id.to_string(), 1));
    assert_eq!(unified.fields.iter().map(|f| f.value.clone()).collect::<Vec<_>>(), ["Ada".into(), "Ada@Example.com".into()]);
    assert!(hub.requests().is_empty(), "nothing is made before the import");

    hub.imported("stripe");
    let requests = hub.requests();
    let [(key, Action::Create(create))] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(key, &unified.customer_id.to_string());
    assert_eq!(create.key, format!("{key}:stripe:create0"));
    assert_eq!(CustomerFields::from(&create.set), fields(&[("name", "Ada"), ("email", "Ada@Example.com")]));

    hub.imported("stripe");
    assert!(hub.requests().is_empty(), "a reason to walk that was had is ignored");
}

#[test]
fn an_edit_is_one_write_and_an_edit_after_it_waits_for_the_outcome() {
    let mut hub = Hub::new();
    hub.snapshot("product", "1", &[("email", "ada@example.com")]);
    hub.snapshot("stripe", "cus_1", &[("email", "ada@example.com")]);
    assert_eq!(hub.customers().len(), 1, "found by e-mail");
    hub.snapshot("product", "1", &[("email", "ada@example.com"), ("name", "Ada")]);
    hub.snapshot("product", "1", &[("email", "ada@example.com"), ("name", "Bea")]);
    let requests = hub.requests();
    let [(key, Action::Write(write))] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((key.as_str(), write.after), ("cus_1", 2));
    assert_eq!(CustomerFields::from(&write.set), fields(&[("name", "Ada")]));

    hub.publish("customers.stripe", "cus_1", &done(write, &[("email", "ada@example.com"), ("name", "Ada")]));
    let requests = hub.requests();
    let [(_, Action::Write(write))] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(CustomerFields::from(&write.set), fields(&[("name", "Bea")]));
}

#[test]
fn an_edit_is_measured_though_a_walk_passes_before_its_answer() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let mut hub = Hub::new();
        hub.snapshot("product", "1", &[("email", "ada@example.com")]);
        hub.snapshot("stripe", "cus_1", &[("email", "ada@example.com")]);
        hub.snapshot("product", "1", &[("email", "ada@example.com"), ("name", "Ada")]);
        let requests = hub.requests();
        let [(_, Action::Write(write))] = &requests[..] else { panic!("{requests:?}") };
        hub.imported("stripe");
        hub.publish("customers.stripe", "cus_1", &done(write, &[("email", "ada@example.com"), ("name", "Ada")]));
    });
    let told = recorder.handle().render();
    assert!(told.contains("concord_propagation_seconds_count{system=\"stripe\"} 1"), "{told}");
}

#[test]
fn a_record_without_order_is_only_a_reason_to_look() {
    let mut hub = Hub::new();
    hub.publish("customers.stripe", "cus_1", &SourceCustomer { fields: Some(fields(&[("name", "Ada")])), ..Default::default() });
    assert!(matches!(&hub.requests()[..], [(key, Action::Read(_))] if key == "cus_1"));
    assert!(hub.customers().is_empty());
}

#[test]
fn a_topic_is_ordered_by_its_offsets_is_a_source_and_is_never_written_to() {
    let mut hub = Hub::new();
    assert_eq!(hub.config.systems[2].kind, Kind::Topic);
    hub.imported("stripe");
    hub.imported("crm");
    let published = |name: &str| SourceCustomer { fields: Some(fields(&[("name", name)])), order: Some(7), ..Default::default() };
    hub.publish("customers.crm", "a", &published("Ada"));
    hub.publish("customers.crm", "a", &published("Bea"));
    let customers = hub.customers();
    assert_eq!(customers[0].golden_value(&Field::Name), &"Bea".into());
    assert_eq!(hub.requests().len(), 1, "the create in Stripe");
    assert!(!hub.driver.produced_topics().iter().any(|t| &**t == "requests.crm"));
    hub.append("customers.crm", "a", None);
    assert!(hub.customers()[0].deleted, "null says deleted");
}

#[test]
fn what_was_held_is_tried_again_after_a_pause_that_doubles() {
    let mut hub = Hub::new();
    hub.imported("stripe");
    hub.snapshot("product", "1", &[("name", "Ada")]);
    for pause in [1_000, 2_000, 4_000] {
        let requests = hub.requests();
        let [(key, Action::Create(create))] = &requests[..] else { panic!("{requests:?}") };
        let answer = Answer {
            write_id: create.id.clone(),
            outcome: Outcome::Held,
            refused_field: None,
            reason: None,
            taken: false,
            left: None,
            unseen: false,
        };
        let key = key.clone();
        hub.publish("customers.stripe", &key, &SourceCustomer { order: Some(50), answer: Some(answer), ..Default::default() });
        hub.wait(pause - 250);
        assert!(hub.requests().is_empty(), "before the pause of {pause} ms is over");
        hub.wait(500);
    }
    assert_eq!(hub.requests().len(), 1);
}

#[test]
fn a_poison_record_goes_to_the_dead_letter_queue_and_delays_no_other() {
    let mut hub = Hub::new();
    hub.append("customers.stripe", "cus_0", Some(b"not avro".to_vec()));
    hub.append("customers.stripe", "cus_0", None);
    let status = UnifyMessage { body: UnifyBody::Status(Status { email: "ada@example.com".into(), first: true }) };
    hub.publish("customers.unify", "not a customer id", &status);
    hub.snapshot("stripe", "cus_1", &[("name", "Ada")]);
    assert_eq!(hub.records("customers.stripe.dlq").len(), 2);
    let refused = hub.records("customers.unify.dlq");
    assert_eq!(refused[0].headers.text("__streams.errors.exception"), Some("CONCORD-T003"));
    assert_eq!(hub.customers().len(), 1);
}

#[test]
fn a_question_that_nobody_keeps_goes_to_the_dead_letter_queue() {
    let mut hub = Hub::new();
    hub.snapshot("product", "1", &[("email", "ada@example.com")]);
    let ada = hub.customers()[0].clone();
    let external_id = ExternalId::new("cus_1");
    let question = Question {
        minted: CustomerId::minted(&system("stripe"), &external_id, 0),
        system: system("stripe"),
        external_id,
        incarnation: 0,
        by: By::Email,
        email: Some("other@example.com".into()),
        ours: false,
        duplicate_of: None,
        bounces: 20,
        first: SourceCustomer { order: Some(1), fields: Some(CustomerFields::default()), ..Default::default() },
    };
    hub.publish("customers.unify", &ada.id.to_string(), &UnifyMessage { body: UnifyBody::Question(question) });
    let refused = hub.records("customers.unify.dlq");
    assert_eq!(refused[0].headers.text("__streams.errors.exception"), Some("CONCORD-T001"));
    assert_eq!(hub.customers(), [ada]);
}

#[test]
fn a_second_different_link_stops_the_task() {
    let mut hub = Hub::new();
    hub.snapshot("stripe", "cus_1", &[("name", "Ada")]);
    let other = CustomerLink { incarnation: 0, customer: CustomerId::minted(&system("stripe"), &ExternalId::new("x"), 0) };
    let value = hub.registry.codec::<CustomerLink>("links.stripe-value").unwrap().encode(&other).unwrap();
    let record = streams::ProducerRecord {
        topic: "links.stripe".into(),
        partition: None,
        key: Some(b"cus_1".to_vec().into()),
        value: Some(value.into()),
        timestamp: 500,
        headers: Default::default(),
    };
    let error = hub.driver.append(record).unwrap_err();
    assert!(format!("{error:?}").contains("CONCORD-T002"), "{error:?}");
}

#[test]
fn a_crash_between_any_two_steps_leaves_what_one_run_would() {
    let expected = {
        let mut hub = Hub::new();
        hub.imported("stripe");
        hub.snapshot("product", "1", &[("name", "Ada"), ("email", "ada@example.com")]);
        hub.customers()
    };
    for crash_after in 0..12 {
        let mut hub = Hub::new();
        hub.imported("stripe");
        // The snapshot runs step by step, and everything is undone after some of them.
        let value = SourceCustomer {
            order: Some(1),
            look: 1_001,
            fields: Some(fields(&[("name", "Ada"), ("email", "ada@example.com")])),
            ..Default::default()
        };
        let (config, registry) = (hub.config.clone(), hub.registry.clone());
        let driver = TopologyTestDriver::new(
            &customers::build(&config, &registry).unwrap(),
            TestDriverConfig { application_id: "concord".into(), manual: true, initial_wall_clock_ms: 1_001_000, ..Default::default() },
        )
        .unwrap();
        hub.driver = driver;
        hub.imported("stripe");
        hub.driver.run().unwrap();
        hub.publish("customers.product", "1", &value);
        for _ in 0..crash_after {
            if !hub.driver.step().unwrap() {
                hub.driver.before_commit().unwrap();
            }
        }
        hub.driver.abort().unwrap();
        hub.driver.run().unwrap();
        let comparable = |customers: Vec<Customer>| format!("{customers:?}");
        assert_eq!(comparable(hub.customers()), comparable(expected.clone()), "a crash after {crash_after} steps");
    }
}

#[test]
fn every_partition_walks_its_own_customers() {
    let mut hub = Hub::with_partitions(3);
    for n in 0..700 {
        hub.snapshot("product", &n.to_string(), &[("name", "Ada")]);
    }
    hub.imported("stripe");
    hub.wait(1_000);
    hub.wait(1_000);
    assert_eq!(hub.requests().len(), 700);
}
