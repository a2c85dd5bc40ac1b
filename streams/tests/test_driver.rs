//! The test driver: rounds, partitions, interleavings, crashes.

use std::collections::BTreeSet;
use std::time::Duration;

use streams::{
    Consumed, Grouped, KeyValueStore, LongSerde, Materialized, Pending, Processor, ProcessorContext, ProcessorError, Produced,
    ProducerRecord, PunctuationType, Record, ScheduleId, Serde, StoreBuilder, StreamsBuilder, StringSerde, TestDriverConfig,
    TestDriverError, TopicPartition, Topology, TopologyError, TopologyTestDriver,
};

type Done = Result<(), ProcessorError>;

fn word_counts() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    builder
        .stream("words", Consumed::with(StringSerde, StringSerde))
        .group_by(|_, word: &String| word.clone(), Grouped::with(StringSerde, StringSerde))
        .count_with(Materialized::named("counts"))
        .to_stream()
        .to("out", Produced::with(StringSerde, LongSerde.nullable()));
    builder.build()
}

fn driver(topology: &Topology, config: TestDriverConfig) -> TopologyTestDriver {
    TopologyTestDriver::new(topology, config).expect("a driver")
}

fn word(key: &str, value: &str) -> ProducerRecord {
    ProducerRecord::new("words", key.to_owned(), value.to_owned())
}

fn counts(driver: &TopologyTestDriver) -> Vec<(String, i64)> {
    driver.create_output_topic("out", StringSerde, LongSerde).read_key_values_to_list().expect("counts")
}

#[test]
fn a_key_is_always_in_the_same_partition_and_each_partition_has_its_store() {
    let driver = driver(&word_counts().expect("a topology"), TestDriverConfig { partitions: 4, ..TestDriverConfig::default() });
    assert_eq!(
        driver.tasks().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["0_0", "0_1", "0_2", "0_3", "1_0", "1_1", "1_2", "1_3"]
    );
    let input = driver.create_input_topic("words", StringSerde, StringSerde);
    for (number, word) in ["a", "b", "c", "d", "a", "e", "f", "a"].into_iter().enumerate() {
        input.pipe_input(number.to_string(), word.to_owned()).expect("piped");
    }
    let partitions: BTreeSet<i32> = driver.store_entries("counts").expect("the store").iter().map(|(partition, ..)| *partition).collect();
    assert!(partitions.len() > 1, "{partitions:?}");
    let store = KeyValueStore::<String, i64>::new("counts", StringSerde, LongSerde);
    assert_eq!(store.name(), "counts");
    assert_eq!(counts(&driver).into_iter().filter(|(word, _)| word == "a").map(|(_, count)| count).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_crash_undoes_what_was_not_committed_and_its_input_comes_again() {
    let driver = driver(&word_counts().expect("a topology"), TestDriverConfig { manual: true, ..TestDriverConfig::default() });
    driver.append(word("1", "a")).expect("appended");
    driver.run().expect("a round");
    driver.append(word("2", "a")).expect("appended");
    driver.append(word("3", "b")).expect("appended");
    assert!(driver.step().expect("a step"));
    assert!(driver.step().expect("a step"));
    driver.append(word("4", "a")).expect("an append from outside is committed at once");
    driver.abort().expect("a crash");
    assert_eq!(driver.pending().iter().map(|pending| (&*pending.partition.topic, pending.records)).collect::<Vec<_>>(), [("words", 3)]);
    driver.run().expect("a round");
    assert_eq!(counts(&driver), [("a", 1), ("a", 2), ("b", 1), ("a", 3)].map(|(word, count)| (word.to_owned(), count)));
}

#[test]
fn a_chooser_decides_which_partition_goes_next() {
    let builder = StreamsBuilder::new();
    let text = || Consumed::with(StringSerde, StringSerde);
    builder.stream("left", text()).merge(&builder.stream("right", text())).to("out", Produced::with(StringSerde, StringSerde));
    let order = |chooser: Option<fn(&[Pending]) -> usize>| {
        let config = TestDriverConfig { manual: true, ..TestDriverConfig::default() };
        let driver = driver(&builder.build().expect("a topology"), config);
        for (topic, value, time) in [("right", "r1", 1), ("left", "l2", 2), ("right", "r3", 3), ("left", "l4", 4)] {
            driver.append(ProducerRecord::new(topic, "k", value).with_timestamp(time)).expect("appended");
        }
        if let Some(chooser) = chooser {
            driver.set_chooser(chooser);
        }
        driver.run().expect("a round");
        let out = driver.create_output_topic("out", StringSerde, StringSerde);
        out.read_records_to_list().expect("records").into_iter().map(|record| record.value).collect::<Vec<_>>()
    };
    assert_eq!(order(None), ["r1", "l2", "r3", "l4"], "by time");
    assert_eq!(order(Some(|_| 0)), ["l2", "l4", "r1", "r3"]);
    assert_eq!(order(Some(|pending| pending.len() - 1)), ["r1", "r3", "l2", "l4"]);
}

/// Sends a number on to itself, one less, until it is nothing; at commit says how many it saw.
struct Countdown {
    seen: u32,
}

impl Processor<String, i64> for Countdown {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, i64>) -> Done {
        self.seen += 1;
        if record.value == 13 {
            return Err(ProcessorError::new("unlucky", "thirteen"));
        }
        let next = record.value - 1;
        if next > 0 { ctx.forward_to("again", record.with_value(next)) } else { Ok(()) }
    }

    fn before_commit(&mut self, ctx: &mut ProcessorContext<'_>) -> Done {
        let seen = std::mem::take(&mut self.seen);
        ctx.forward_to("seen", Record::new("seen".to_owned(), i64::from(seen), 0))?;
        if seen == 1 { ctx.forward_to("again", Record::new("more".to_owned(), 2_i64, 0)) } else { Ok(()) }
    }
}

fn countdown() -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    topology
        .add_source::<String, i64>("source", StringSerde, LongSerde, ["numbers"])?
        .add_processor("countdown", || Countdown { seen: 0 }, ["source"])?
        .add_sink::<String, i64>("again", "numbers", StringSerde, LongSerde, ["countdown"])?
        .add_sink::<String, i64>("seen", "seen", StringSerde, LongSerde, ["countdown"])?;
    Ok(topology)
}

#[test]
fn a_round_goes_on_until_nothing_is_left_and_then_commits_once() {
    let driver = driver(&countdown().expect("a topology"), TestDriverConfig::default());
    let numbers = driver.create_input_topic("numbers", StringSerde, LongSerde);
    let seen = driver.create_output_topic("seen", StringSerde, LongSerde);
    numbers.pipe_input("k".to_owned(), 4).expect("piped");
    assert_eq!(seen.read_value().expect("a value"), 4);
    assert!(seen.is_empty());
    numbers.pipe_input("k".to_owned(), 1).expect("piped");
    assert_eq!([seen.read_value().expect("a value"), seen.read_value().expect("a value")], [1, 2], "what before_commit causes runs, too");
}

#[test]
fn a_failure_undoes_the_round() {
    let driver = driver(&countdown().expect("a topology"), TestDriverConfig::default());
    let numbers = driver.create_input_topic("numbers", StringSerde, LongSerde);
    let error = numbers.pipe_input("k".to_owned(), 15).expect_err("thirteen comes up");
    assert!(matches!(&error, TestDriverError::Task(error) if error.error.code() == "unlucky"), "{error}");
    assert!(driver.create_output_topic("numbers", StringSerde, LongSerde).is_empty());
    assert_eq!(driver.pending()[0].offset, 0, "the record waits");
}

/// Forwards the time, by the clock and by its store, every minute.
struct Clock {
    last: KeyValueStore<String, i64>,
}

impl Processor<String, String> for Clock {
    fn init(&mut self, ctx: &mut ProcessorContext<'_>) -> Done {
        ctx.schedule(Duration::from_secs(60), PunctuationType::WallClockTime);
        Ok(())
    }

    fn process(&mut self, _: &mut ProcessorContext<'_>, _: Record<String, String>) -> Done {
        Ok(())
    }

    fn punctuate(&mut self, ctx: &mut ProcessorContext<'_>, _: ScheduleId, time: i64) -> Done {
        let last = self.last.get(ctx, &"last".to_owned())?.unwrap_or(-1);
        self.last.put(ctx, &"last".to_owned(), &time)?;
        ctx.forward(Record::new("time".to_owned(), format!("{last} {time}"), time))
    }
}

#[test]
fn the_clock_is_moved_by_hand() {
    let mut topology = Topology::new();
    topology
        .add_source::<String, String>("source", StringSerde, StringSerde, ["in"])
        .and_then(|it| it.add_processor("clock", || Clock { last: KeyValueStore::new("last", StringSerde, LongSerde) }, ["source"]))
        .and_then(|it| it.add_state_store(StoreBuilder::key_value("last"), ["clock"]))
        .and_then(|it| it.add_sink::<String, String>("sink", "out", StringSerde, StringSerde, ["clock"]))
        .expect("a topology");
    let driver = driver(&topology, TestDriverConfig { initial_wall_clock_ms: 1_000, ..TestDriverConfig::default() });
    let out = driver.create_output_topic("out", StringSerde, StringSerde);
    let store = driver.key_value_store("last", StringSerde, LongSerde).expect("the store");
    store.put(&"last".to_owned(), &7).expect("put");
    driver.advance_wall_clock_time(Duration::from_millis(59_999)).expect("time passes");
    assert!(out.is_empty());
    driver.advance_wall_clock_time(Duration::from_millis(1)).expect("time passes");
    assert_eq!(out.read_record().expect("a record"), Record::new("time".to_owned(), "7 61000".to_owned(), 61_000));
    assert_eq!(store.get(&"last".to_owned()).expect("read"), Some(61_000));
    assert_eq!(store.all().expect("read"), [("last".to_owned(), 61_000)]);
    driver.close();
}

#[test]
fn a_partitioner_may_choose_several_partitions_or_none() {
    let builder = StreamsBuilder::new();
    let chosen = |_: &str, _: &String, value: &String, partitions: i32| match value.as_str() {
        "all" => Some((0..partitions).collect()),
        "none" => Some(Vec::new()),
        _ => None,
    };
    builder
        .stream("words", Consumed::with(StringSerde, StringSerde))
        .to("out", Produced::with(StringSerde, StringSerde).with_stream_partitioner(chosen));
    let config = TestDriverConfig { topic_partitions: [("out".to_owned(), 3)].into(), ..TestDriverConfig::default() };
    let driver = driver(&builder.build().expect("a topology"), config);
    let wrote = |value: &str| {
        driver.append(word("k", value)).expect("piped");
        let out = driver.create_output_topic("out", StringSerde, StringSerde);
        std::iter::from_fn(|| out.read_raw().ok()).map(|record| record.partition).collect::<Vec<_>>()
    };
    assert_eq!(wrote("all"), [0, 1, 2]);
    assert_eq!(wrote("none"), [0; 0]);
    assert_eq!(wrote("one"), [streams::partition_for_key(b"k", 3)]);
}

#[test]
fn an_offset_may_be_given_and_never_goes_back() {
    let driver = driver(&word_counts().expect("a topology"), TestDriverConfig::default());
    let mut record = driver.records(&TopicPartition::new("words", 0)).pop();
    assert_eq!(record, None);
    driver.append(word("k", "a")).expect("appended");
    record = driver.records(&TopicPartition::new("words", 0)).pop();
    let mut record = record.expect("the record");
    assert!(driver.append_at(record.clone()).is_err(), "offset 0 is taken");
    record.offset = 40;
    driver.append_at(record).expect("appended");
    assert_eq!(driver.append(word("k", "a")).expect("appended"), (0, 41));
    assert_eq!(counts(&driver).last(), Some(&("a".to_owned(), 3)));
}
