//! The log of connectors on a real broker: topics, appends, followers, and owners that are killed, stand still and take turns.
//!
//! `STREAMS_KAFKA_LONG_OUTAGES=1` makes the kills more.

mod kafka_support;

mod on_kafka {
    use std::ops::ControlFlow;
    use std::time::{Duration, Instant};

    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::client::DefaultClientContext;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use rdkafka::{Offset, TopicPartitionList};
    use streams::embedded::{Append, ErrorClass, LogError, TopicConfig};
    use streams::kafka::{Follow, KafkaLogError, Log};
    use streams::{ConsumerRecord, Headers, ProducerRecord, TopicPartition, partition_for_key};

    use super::kafka_support::*;

    const WITHIN: Duration = Duration::from_secs(30);
    const CALL: Duration = Duration::from_secs(20);

    async fn connect(name: &str) -> (Log, String) {
        let application = unique(name);
        (Log::connect(log_config(&application)).await.unwrap(), application)
    }

    async fn topic(log: &Log, name: &str, partitions: i32) {
        log.create_topic(TopicConfig::delete(name, partitions, Duration::from_secs(3600))).await.unwrap();
    }

    fn records(topic: &str, values: impl IntoIterator<Item = u32>) -> Append {
        Append::of(values.into_iter().map(|value| ProducerRecord::new(topic, "key", value.to_string()).with_partition(0)))
    }

    fn value(record: &ConsumerRecord) -> u32 {
        String::from_utf8_lossy(record.value.as_ref().unwrap()).parse().unwrap()
    }

    /// Takes what comes of a place until so many values are there.
    async fn take(follow: &mut Follow, place: usize, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        tokio::time::timeout(WITHIN, async {
            while values.len() < count {
                follow.ready(|wanted| wanted == place).await.unwrap();
                values.extend(follow.take(place, 100, 1 << 20).unwrap().iter().map(value));
            }
        })
        .await
        .unwrap_or_else(|_| panic!("place {place} has only {}", values.len()));
        values
    }

    async fn setting(topic: &str, name: &'static str) -> String {
        let topic = topic.to_owned();
        tokio::task::spawn_blocking(move || topic_setting(&topic, name)).await.unwrap()
    }

    async fn until(what: &str, condition: impl AsyncFn() -> bool) {
        let holds = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(WITHIN, holds).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    /// A producer of somebody else's transactions.
    fn transactional(id: &str) -> BaseProducer {
        let producer: BaseProducer = client().set("transactional.id", id).set("transaction.timeout.ms", "60000").create().unwrap();
        producer.init_transactions(CALL).unwrap();
        producer
    }

    /// Leaves it open.
    fn write_in_transaction(producer: &BaseProducer, topic: &str, value: u32) {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::to(topic).partition(0).key("key").payload(&value.to_string())).map_err(|(error, _)| error).unwrap();
        producer.flush(CALL).unwrap();
    }

    #[test]
    fn child() {
        run_actor();
    }

    #[tokio::test]
    async fn topics_are_made_checked_and_set() {
        let (log, name) = connect("topics").await;
        let made = TopicConfig::delete(name.as_str(), 3, Duration::from_secs(60));
        log.create_topic(made.clone()).await.unwrap();
        log.create_topic(made.clone()).await.unwrap();
        assert!(log.topics().contains(&made));
        assert_eq!(setting(&name, "cleanup.policy").await, "delete");
        assert_eq!(setting(&name, "retention.ms").await, "60000");

        let narrow = log.create_topic(TopicConfig { partitions: 2, ..made.clone() }).await.unwrap_err();
        assert!(matches!(narrow, LogError::PartitionsDiffer { found: 3, wanted: 2, .. }), "{narrow}");

        let compacted = TopicConfig::compact(name.as_str(), 3);
        log.create_topic(compacted.clone()).await.unwrap();
        until("the policy is changed", async || setting(&name, "cleanup.policy").await == "compact").await;
        let other = Log::connect(log_config(&name)).await.unwrap();
        assert!(other.topics().contains(&compacted), "who connects later knows it");

        let unknown = log.append(records("no-such-topic", [1])).await.unwrap_err();
        assert!(matches!(&unknown, LogError::UnknownTopic(topic) if topic == "no-such-topic"), "{unknown}");
        let beyond = log.end_offset(&TopicPartition::new(name.as_str(), 3)).await.unwrap_err();
        assert!(matches!(beyond, LogError::UnknownPartition(_)), "{beyond}");
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_address() {
        let mut config = log_config("nobody");
        config.bootstrap_servers = "127.0.0.1:1".into();
        config.api_timeout = Duration::from_millis(300);
        let error = Log::connect(config).await.unwrap_err();
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
        assert!(matches!(&error, LogError::Kafka(error) if error.code() == "kafka-log-away"), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Retriable);
    }

    #[tokio::test]
    async fn appends_get_their_offsets_and_what_is_wrong_fails_alone() {
        let (log, name) = connect("appends").await;
        topic(&log, &name, 4).await;
        let mut headers = Headers::new();
        headers.add("trace", "7");
        let keys: Vec<String> = (0..20).map(|n| format!("key {n}")).collect();
        let append =
            keys.iter().map(|key| ProducerRecord::new(name.as_str(), key.clone(), "value").with_timestamp(5).with_headers(headers.clone()));
        let offsets = log.append(Append::of(append)).await.unwrap();
        let read = log.read_all(&name).await.unwrap();
        for (key, offset) in keys.iter().zip(offsets) {
            let partition = partition_for_key(key.as_bytes(), 4);
            let found = read.iter().find(|record| (record.partition, record.offset) == (partition, offset)).unwrap();
            assert_eq!((found.key.as_deref(), found.timestamp, found.headers.text("trace")), (Some(key.as_bytes()), 5, Some("7")));
        }

        let large = ProducerRecord::new(name.as_str(), "large", vec![b'x'; 3 << 20]);
        let refused = log.append(Append::of([large.clone()])).await.unwrap_err();
        assert_eq!(refused.class(), ErrorClass::Permanent, "{refused}");
        let offsets = records(&name, [1]).with_offset("group", TopicPartition::new(name.as_str(), 0), 1);
        let refused = log.append(offsets).await.unwrap_err();
        assert_eq!(refused.class(), ErrorClass::Permanent, "only owners set group offsets: {refused}");

        let owner = log.own("system").await.unwrap();
        let outcomes = tokio::join!(
            owner.log.append(records(&name, [1])),
            owner.log.append(Append::of([ProducerRecord::new(name.as_str(), "beside", "1"), large])),
            owner.log.append(records(&name, [2])),
        );
        assert_eq!(outcomes.1.unwrap_err().class(), ErrorClass::Permanent);
        assert!(outcomes.0.unwrap() < outcomes.2.unwrap(), "in order");
        assert!(!log.read_all(&name).await.unwrap().iter().any(|record| record.key.as_deref() == Some(b"beside")), "all of it or nothing");
        assert!(!owner.lost.is_cancelled());
        owner.release().await;
    }

    #[tokio::test]
    async fn an_owners_appends_set_offsets_of_groups_within_milliseconds() {
        let (log, name) = connect("offsets").await;
        topic(&log, &name, 2).await;
        let owner = log.own("system").await.unwrap();
        let (first, second) = (TopicPartition::new(name.as_str(), 0), TopicPartition::new(name.as_str(), 1));
        let append = records(&name, [1, 2]).with_offset("a", first.clone(), 1).with_offset("b", first.clone(), 2).with_offset(
            "a",
            second.clone(),
            7,
        );
        assert_eq!(owner.log.append(append).await.unwrap().len(), 2);
        assert!(owner.log.append(Append::default().with_offset("a", first.clone(), 5)).await.unwrap().is_empty());
        assert!(owner.log.append(Append::default()).await.unwrap().is_empty());
        for (group, tp, next) in [("a", &first, Some(5)), ("b", &first, Some(2)), ("a", &second, Some(7)), ("b", &second, None)] {
            assert_eq!(log.committed(group, tp).await.unwrap(), next, "{group} {tp}");
        }
        for (what, pause) in [("an append of an idle owner", Duration::from_millis(30)), ("one append after the other", Duration::ZERO)] {
            let mut times = Vec::new();
            for n in 0..100 {
                tokio::time::sleep(pause).await;
                let started = Instant::now();
                owner.log.append(records(&name, [n]).with_offset("a", first.clone(), i64::from(n))).await.unwrap();
                times.push(started.elapsed());
            }
            times.sort();
            println!("{what}, with an offset: p50 {:?}, p99 {:?}", times[50], times[98]);
        }
        let started = Instant::now();
        let mut many = tokio::task::JoinSet::new();
        for n in 0..2_000 {
            let (log, append) = (owner.log.clone(), records(&name, [n]));
            many.spawn(async move { log.append(append).await.unwrap() });
        }
        many.join_all().await;
        println!("2,000 appends of an owner at once: {:?}", started.elapsed());
        owner.release().await;
    }

    #[tokio::test]
    async fn a_follower_sees_what_is_committed_in_order_and_from_what_is_left() {
        let (log, name) = connect("follow").await;
        topic(&log, &name, 1).await;
        let (other, tp) = (format!("{name}-other"), TopicPartition::new(name.as_str(), 0));
        topic(&log, &other, 2).await;
        let owner = log.own("system").await.unwrap();
        let aborted = transactional(&name);
        for n in 0..10 {
            write_in_transaction(&aborted, &name, 1_000 + n);
            aborted.abort_transaction(CALL).unwrap();
            owner.log.append(records(&name, [2 * n])).await.unwrap();
            owner.log.append(records(&name, [2 * n + 1])).await.unwrap();
        }
        log.append(records(&other, 0..5)).await.unwrap();

        let from = vec![(tp.clone(), 0), (TopicPartition::new(other.as_str(), 1), 0), (TopicPartition::new(other.as_str(), 0), 3)];
        let mut follow = log.follow(from).await.unwrap();
        assert_eq!(take(&mut follow, 2, 2).await, [3, 4]);
        assert_eq!(take(&mut follow, 0, 20).await, (0..20).collect::<Vec<_>>());
        assert!(follow.take(1, 10, 1 << 20).unwrap().is_empty());
        assert_eq!((follow.position(2), follow.position(1)), (5, 0));

        // What is written later comes, too; what is open does not.
        write_in_transaction(&aborted, &name, 1_000);
        owner.log.append(records(&name, [20])).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(300), follow.ready(|place| place == 0)).await;
        assert!(early.is_err(), "a record behind an open transaction");
        aborted.abort_transaction(CALL).unwrap();
        assert_eq!(take(&mut follow, 0, 1).await, [20]);
        tokio::time::timeout(WITHIN, async {
            while follow.backlog(0) > 0 {
                let _ = tokio::time::timeout(Duration::from_millis(20), follow.ready(|place| place == 0)).await;
            }
        })
        .await
        .expect("nothing is left");

        // Retention removes the first ones, among them the one where the follower begins.
        let left = follow.position(0) - 5;
        let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(&name, 0, Offset::Offset(left)).unwrap();
        admin.delete_records(&before, &AdminOptions::new()).await.unwrap();
        assert_eq!(log.beginning_offset(&tp).await.unwrap(), left);
        let mut follow = log.follow(vec![(tp, 0)]).await.unwrap();
        let first = take(&mut follow, 0, 1).await[0];
        assert!((18..=20).contains(&first), "it begins with what is left: {first}");

        let missing = log.follow(vec![(TopicPartition::new(name.as_str(), 1), 0)]).await.unwrap_err();
        assert!(matches!(missing, LogError::UnknownPartition(_)), "{missing}");
        owner.release().await;
    }

    #[tokio::test]
    async fn a_follower_holds_little_whatever_is_taken() {
        const COUNT: u32 = 20_000;
        /// Where a partition is paused.
        const MOST: usize = 2_000;
        let (log, name) = connect("bounded").await;
        topic(&log, &name, 2).await;
        for partition in 0..2 {
            let record = |n: u32| ProducerRecord::new(name.as_str(), "key", n.to_string()).with_partition(partition);
            log.append(Append::of((0..COUNT).map(record))).await.unwrap();
        }
        let tp = |partition| (TopicPartition::new(name.as_str(), partition), 0);
        let mut follow = log.follow(vec![tp(0), tp(1)]).await.unwrap();
        let (mut first, mut most) = (Vec::new(), 0);
        while first.len() < COUNT as usize {
            tokio::time::timeout(WITHIN, follow.ready(|place| place == 0)).await.expect("the other partition does not hold it up").unwrap();
            most = most.max(follow.held());
            first.extend(follow.take(0, 300, 1 << 20).unwrap().iter().map(value));
        }
        assert_eq!(first, (0..COUNT).collect::<Vec<_>>());
        assert!(follow.held() <= MOST && most <= 2 * MOST, "at most {most}, in the end {}", follow.held());
        assert!(follow.backlog(1) >= i64::from(COUNT), "{}", follow.backlog(1));
        assert_eq!(take(&mut follow, 1, COUNT as usize).await, (0..COUNT).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_follower_passes_over_what_is_there() {
        let (log, name) = connect("pass").await;
        topic(&log, &name, 1).await;
        log.append(records(&name, 0..5_000)).await.unwrap();
        let mut follow = log.follow(vec![(TopicPartition::new(name.as_str(), 0), 0)]).await.unwrap();
        tokio::time::timeout(WITHIN, follow.ready(|_| true)).await.unwrap().unwrap();
        follow.pass(0).unwrap();
        assert_eq!((follow.position(0), follow.held(), follow.backlog(0)), (5_000, 0, 0));
        log.append(records(&name, [5_000])).await.unwrap();
        assert_eq!(take(&mut follow, 0, 1).await, [5_000]);
    }

    #[tokio::test]
    async fn a_group_has_passed_an_end_when_no_record_is_left_before_it() {
        let (log, name) = connect("passed").await;
        topic(&log, &name, 1).await;
        let tp = TopicPartition::new(name.as_str(), 0);
        assert!(log.passed("group", &tp, 0).await.unwrap());
        let owner = log.own("system").await.unwrap();
        // Records at 0 and 2; at 1 and 3 there are ends of transactions.
        owner.log.append(records(&name, [0])).await.unwrap();
        owner.log.append(records(&name, [1])).await.unwrap();
        // The last one comes a moment after the commit.
        let end = 4;
        until("the end of the transaction is there", async || log.end_offset(&tp).await.unwrap() == end).await;
        assert!(!log.passed("group", &tp, end).await.unwrap(), "it has committed nothing");
        let commit = |next| owner.log.append(Append::default().with_offset("group", tp.clone(), next));
        commit(1).await.unwrap();
        assert!(log.passed("group", &tp, 2).await.unwrap() && !log.passed("group", &tp, 3).await.unwrap());
        commit(3).await.unwrap();
        assert!(log.passed("group", &tp, end).await.unwrap());
        let open = transactional(&name);
        write_in_transaction(&open, &name, 2);
        let end = log.end_offset(&tp).await.unwrap();
        assert!(!log.passed("group", &tp, end).await.unwrap(), "what is open may become a record");
        open.abort_transaction(CALL).unwrap();
        until("it is aborted", async || log.passed("group", &tp, end).await.unwrap()).await;
        owner.release().await;
    }

    #[tokio::test]
    async fn whole_topics_are_read_past_transactions_that_are_open() {
        let (log, name) = connect("whole").await;
        topic(&log, &name, 1).await;
        let owner = log.own("system").await.unwrap();
        owner.log.append(records(&name, [0])).await.unwrap();
        let open = transactional(&name);
        write_in_transaction(&open, &name, 1_000);
        // Committed, and hidden by the one that is open.
        owner.log.append(records(&name, [1])).await.unwrap();
        let reading = tokio::spawn({
            let (log, name) = (log.clone(), name.clone());
            async move { log.read_all(&name).await.unwrap() }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!reading.is_finished());
        open.abort_transaction(CALL).unwrap();
        assert_eq!(reading.await.unwrap().iter().map(value).collect::<Vec<_>>(), [0, 1]);

        let (tp, mut scanned) = (TopicPartition::new(name.as_str(), 0), Vec::new());
        let end = log.end_offset(&tp).await.unwrap();
        log.scan(&tp, 1, end, |record| {
            scanned.push(value(&record));
            ControlFlow::Continue(())
        })
        .await
        .unwrap();
        assert_eq!(scanned, [1]);
        owner.release().await;
    }

    #[tokio::test]
    async fn a_name_has_one_owner_and_is_handed_over_at_once() {
        let (log, name) = connect("turns").await;
        topic(&log, &name, 1).await;
        let first = log.own("system").await.unwrap();
        let beside = log.own("another system").await.unwrap_err();
        assert_eq!(beside.class(), ErrorClass::Permanent, "{beside}");
        let beside = tokio::time::timeout(WITHIN, log.own("another-system")).await.expect("another name has its own owner").unwrap();
        let mut waiting = Box::pin(log.own("system"));
        assert!(tokio::time::timeout(Duration::from_secs(3), &mut waiting).await.is_err(), "it is owned");
        assert!(!first.lost.is_cancelled(), "who waits takes it from nobody");
        let handle = first.log.clone();
        handle.append(records(&name, [1])).await.unwrap();
        let started = Instant::now();
        first.release().await;
        let second = tokio::time::timeout(WITHIN, &mut waiting).await.expect("it is free").unwrap();
        println!("a name that was given back has its next owner after {:?}", started.elapsed());
        let late = handle.append(records(&name, [2])).await.unwrap_err();
        assert!(matches!(&late, LogError::Kafka(KafkaLogError::Lost { .. })), "{late}");
        assert_eq!(late.class(), ErrorClass::Permanent, "who acted must stop, not try again");
        second.log.append(records(&name, [3])).await.unwrap();
        assert_eq!(log.read_all(&name).await.unwrap().iter().map(value).collect::<Vec<_>>(), [1, 3]);
        second.release().await;
        beside.release().await;
    }

    #[tokio::test]
    async fn an_owner_whose_epoch_is_over_writes_nothing_and_hears_of_it() {
        let (log, name) = connect("fenced").await;
        topic(&log, &name, 1).await;
        let owner = log.own("system").await.unwrap();
        owner.log.append(records(&name, [1])).await.unwrap();
        // What another process' producer does when it begins.
        let _usurper = transactional(&format!("{name}-owner-system"));
        let refused = owner.log.append(records(&name, [2])).await.unwrap_err();
        assert!(matches!(&refused, LogError::Kafka(KafkaLogError::Lost { .. })), "{refused}");
        tokio::time::timeout(WITHIN, owner.lost.cancelled()).await.unwrap();
        assert!(owner.log.append(records(&name, [3])).await.is_err());
        drop(owner);
        let owner = tokio::time::timeout(WITHIN, log.own("system")).await.expect("it can be owned again").unwrap();
        owner.log.append(records(&name, [4])).await.unwrap();
        assert_eq!(log.read_all(&name).await.unwrap().iter().map(value).collect::<Vec<_>>(), [1, 4]);
        owner.release().await;
    }

    fn print_times(what: &str, mut times: Vec<Duration>) {
        times.sort();
        println!("{what}: {}; p50 {:?}, longest {:?}", times.len(), times[times.len() / 2], times[times.len() - 1]);
    }

    #[test]
    fn owners_are_killed_under_load() {
        let mut actors = Actors::start("killed-owner", 2);
        let mut times = Vec::new();
        for _ in 0..if std::env::var_os("STREAMS_KAFKA_LONG_OUTAGES").is_some() { 40 } else { 5 } {
            let owner = actors.take_owner();
            std::thread::sleep(Duration::from_millis(rand::random_range(0..200)));
            let id = owner.id();
            owner.kill();
            times.push(actors.await_hand_over(id));
            actors.add();
        }
        print_times("kill -9 of the owner, with a session of 1.5 s", times);
        actors.finish("owners killed");
    }

    #[test]
    fn an_owner_that_stood_still_writes_no_more() {
        let mut actors = Actors::start("still-owner", 2);
        let mut times = Vec::new();
        for _ in 0..if std::env::var_os("STREAMS_KAFKA_LONG_OUTAGES").is_some() { 15 } else { 2 } {
            let owner = actors.take_owner();
            owner.signal("-STOP");
            times.push(actors.await_hand_over(owner.id()));
            let lost = actors.lost().len();
            owner.signal("-CONT");
            eventually("it hears that it lost the name", WITHIN, || actors.lost().len() > lost);
            assert_eq!(actors.lost().last().unwrap().0, owner.id());
            actors.put(owner);
        }
        print_times("SIGSTOP of the owner, with a session of 1.5 s", times);
        actors.finish("owners stood still");
    }
}
