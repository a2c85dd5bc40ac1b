//! A topology on the embedded log: rounds are atomic, failures are contained, state survives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use streams::embedded::{Append, Log, LogError, ManualClock, Options, State, StreamsConfig, TopicConfig, UncaughtResponse};
use streams::{
    KeyValueStore, LongSerde, Processor, ProcessorContext, ProcessorError, ProducerRecord, PunctuationType, Record, ScheduleId,
    StoreBuilder, StringSerde, Task, TopicPartition, Topology, dead_letter_queue,
};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 3600);

type Hurdle = Arc<dyn Fn(&str) -> Result<(), ProcessorError> + Send + Sync>;

/// Counts words; "bad" is refused, "panic" panics, and whatever else the closure says.
struct Count {
    counts: KeyValueStore<String, i64>,
    hurdle: Hurdle,
}

impl Processor<String, String> for Count {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Result<(), ProcessorError> {
        let count = self.counts.get(ctx, &record.value)?.unwrap_or(0) + 1;
        self.counts.put(ctx, &record.value, &count)?;
        // After the store was changed: a failure must take that back.
        (self.hurdle)(&record.value)?;
        let word = record.value.clone();
        ctx.forward(record.with_key(word).with_value(count))
    }
}

/// words → by-word → counts: two hops, two sub-topologies.
fn word_count(hurdle: impl Fn(&str) -> Result<(), ProcessorError> + Send + Sync + 'static) -> Topology {
    struct ByWord;
    impl Processor<String, String> for ByWord {
        fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Result<(), ProcessorError> {
            for word in record.value.split(' ') {
                ctx.forward(Record {
                    key: word.to_owned(),
                    value: word.to_owned(),
                    timestamp: record.timestamp,
                    headers: record.headers.clone(),
                })?;
            }
            Ok(())
        }
    }
    let hurdle: Hurdle = Arc::new(hurdle);
    let mut topology = Topology::new();
    topology.add_source("lines", StringSerde, StringSerde, ["lines"]).unwrap();
    topology.add_processor("split", || ByWord, ["lines"]).unwrap();
    topology.add_sink("to-words", "words", StringSerde, StringSerde, ["split"]).unwrap();
    topology.add_source("words", StringSerde, StringSerde, ["words"]).unwrap();
    let count = move || Count { counts: KeyValueStore::new("counts", StringSerde, LongSerde), hurdle: hurdle.clone() };
    topology.add_processor("count", count, ["words"]).unwrap();
    topology.add_state_store(StoreBuilder::key_value("counts"), ["count"]).unwrap();
    topology.add_sink("to-counts", "counts", StringSerde, LongSerde, ["count"]).unwrap();
    topology
}

struct Bench {
    folder: TempDir,
    options: Options,
}

impl Bench {
    fn new() -> Bench {
        Bench { folder: tempfile::tempdir().unwrap(), options: Options { min_free_bytes: 0, ..Options::default() } }
    }

    fn open(&self) -> Log {
        let log = Log::open(self.folder.path(), self.options.clone()).unwrap();
        log.create_topic(TopicConfig::delete("lines", 1, DAY)).unwrap();
        log.create_topic(TopicConfig::delete("words", 2, DAY)).unwrap();
        // Not compacted: the tests read every count.
        log.create_topic(TopicConfig::delete("counts", 1, DAY)).unwrap();
        log
    }
}

fn config() -> StreamsConfig {
    StreamsConfig { first_pause: Duration::from_millis(10), ..StreamsConfig::new("word-count") }
}

fn line(text: &str) -> Append {
    Append::of([ProducerRecord::new("lines", "k", text.to_owned()).with_timestamp(1)])
}

/// The outputs so far: (word, count).
fn counts(log: &Log) -> Vec<(String, i64)> {
    let records = log.read(&TopicPartition::new("counts", 0), 0, 10_000, 1 << 20).unwrap();
    let text = |record: &streams::ConsumerRecord| String::from_utf8(record.key.clone().unwrap().to_vec()).unwrap();
    let count = |record: &streams::ConsumerRecord| i64::from_be_bytes(record.value.as_deref().unwrap().try_into().unwrap());
    records.iter().map(|record| (text(record), count(record))).collect()
}

fn pairs<const N: usize>(pairs: [(&str, i64); N]) -> Vec<(String, i64)> {
    pairs.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn an_append_returns_when_all_its_hops_are_committed() {
    let bench = Bench::new();
    let log = bench.open();
    let streams = log.start(&word_count(|_| Ok(())), config()).unwrap();
    assert_eq!(streams.state(), State::Running);

    log.append_blocking(line("a b a")).unwrap();

    let mut seen = counts(&log);
    seen.sort();
    assert_eq!(seen, pairs([("a", 1), ("a", 2), ("b", 1)]));
    assert_eq!(log.committed("word-count", &TopicPartition::new("lines", 0)).unwrap(), Some(1));
    let store = (0..2).find_map(|partition| log.store_entry("word-count", "counts", partition, b"a").unwrap());
    assert_eq!(store.as_deref(), Some(&2i64.to_be_bytes()[..]));
}

#[test]
fn what_was_appended_before_the_start_is_processed_and_state_survives_restarts() {
    let bench = Bench::new();
    let log = bench.open();
    for _ in 0..3 {
        log.append_blocking(line("a")).unwrap();
    }
    let streams = log.start(&word_count(|_| Ok(())), config()).unwrap();
    eventually("the backlog is processed", || counts(&log) == pairs([("a", 1), ("a", 2), ("a", 3)]));
    drop(streams);
    log.close();

    let log = bench.open();
    log.append_blocking(line("a")).unwrap();
    log.start(&word_count(|_| Ok(())), config()).unwrap();
    eventually("it goes on where it was", || counts(&log) == pairs([("a", 1), ("a", 2), ("a", 3), ("a", 4)]));
}

#[test]
fn a_failed_task_takes_its_round_back_and_starts_anew() {
    let bench = Bench::new();
    let log = bench.open();
    let failures = Arc::new(AtomicU32::new(0));
    let seen = failures.clone();
    let topology = word_count(move |word| match word {
        "bad" if seen.fetch_add(1, Ordering::SeqCst) < 2 => Err(ProcessorError::new("refused", "bad word")),
        _ => Ok(()),
    });
    let streams = log.start(&topology, config()).unwrap();

    log.append_blocking(line("a bad a")).unwrap();

    eventually("it runs again", || streams.state() == State::Running && counts(&log).len() == 3);
    let mut seen = counts(&log);
    seen.sort();
    assert_eq!(seen, pairs([("a", 1), ("a", 2), ("bad", 1)]), "nothing is counted twice");
    assert_eq!(failures.load(Ordering::SeqCst), 3);
    assert!(streams.failures().is_empty());
}

#[test]
fn a_task_that_keeps_failing_delays_no_other_and_says_so() {
    let bench = Bench::new();
    let log = bench.open();
    let topology = word_count(|word| match word {
        "bad" => panic!("no such word"),
        _ => Ok(()),
    });
    let streams = log.start(&topology, config()).unwrap();
    let partition = |word: &str| streams::partition_for_key(word.as_bytes(), 2);
    let other = ["b", "c", "d", "e"].into_iter().find(|word| partition(word) != partition("bad")).unwrap();

    log.append_blocking(line("bad")).unwrap();
    log.append_blocking(line(other)).unwrap();

    eventually("the other task goes on", || counts(&log) == pairs([(other, 1)]));
    eventually("the failure is told", || streams.failures().first().is_some_and(|failure| failure.count > 1));
    let failure = &streams.failures()[0];
    assert!(failure.error.contains("no such word"), "{failure:?}");
    assert_eq!(streams.state(), State::Rebalancing);
}

#[test]
fn a_poison_record_goes_to_the_dead_letter_queue_in_the_same_transaction() {
    let bench = Bench::new();
    let log = bench.open();
    let topology = word_count(|word| match word {
        "bad" => Err(ProcessorError::new("refused", "bad word")),
        _ => Ok(()),
    });
    let mut config = config();
    config.task.exception_handler = dead_letter_queue(|topic| format!("{topic}.dlq"));
    log.start(&topology, config).unwrap();

    log.append_blocking(line("a bad a")).unwrap();

    assert_eq!(counts(&log), pairs([("a", 1), ("a", 2)]));
    let dead = log.read(&TopicPartition::new("words.dlq", 0), 0, 10, 1 << 20).unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].value.as_deref(), Some(&b"bad"[..]));
    assert_eq!(dead[0].headers.text("__streams.errors.topic"), Some("words"));
}

#[test]
fn a_handler_may_stop_the_topology() {
    let bench = Bench::new();
    let log = bench.open();
    let topology = word_count(|_| Err(ProcessorError::new("refused", "no words")));
    let streams = log.start(&topology, StreamsConfig { uncaught: Arc::new(|_| UncaughtResponse::ShutdownClient), ..config() }).unwrap();
    log.append_blocking(line("a")).unwrap();
    eventually("it stops", || streams.state() == State::Error);
    log.append_blocking(line("b")).unwrap();
    assert_eq!(log.end_offset(&TopicPartition::new("lines", 0)).unwrap(), 2, "the log goes on");
}

#[test]
fn a_closed_topology_can_be_started_again() {
    let bench = Bench::new();
    let log = bench.open();
    let streams = log.start(&word_count(|_| Ok(())), config()).unwrap();
    assert!(matches!(log.start(&word_count(|_| Ok(())), config()), Err(LogError::Start { .. })), "one at a time");
    log.append_blocking(line("a")).unwrap();
    streams.close().unwrap();
    assert_eq!(streams.state(), State::NotRunning);
    log.append_blocking(line("a")).unwrap();
    assert_eq!(counts(&log).len(), 1);
    log.start(&word_count(|_| Ok(())), config()).unwrap();
    eventually("it goes on", || counts(&log) == pairs([("a", 1), ("a", 2)]));
}

#[test]
fn a_missing_topic_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), Options { min_free_bytes: 0, ..Options::default() }).unwrap();
    log.create_topic(TopicConfig::delete("lines", 1, DAY)).unwrap();
    let error = log.start(&word_count(|_| Ok(())), config()).unwrap_err();
    assert!(error.to_string().contains("words"), "{error}");
}

#[test]
fn a_long_backlog_is_cut_into_rounds_and_read_from_the_file() {
    let mut bench = Bench::new();
    bench.options.max_round_records = 50;
    let log = bench.open();
    for batch in 0..20 {
        log.append_blocking(Append::of((0..100).map(|i| ProducerRecord::new("lines", "k", format!("w{} x", (batch * 100 + i) % 7)))))
            .unwrap();
    }
    log.start(&word_count(|_| Ok(())), config()).unwrap();
    eventually("all is counted", || log.end_offset(&TopicPartition::new("counts", 0)).unwrap() == 4000);
    let x = (0..2).find_map(|partition| log.store_entry("word-count", "counts", partition, b"x").unwrap());
    assert_eq!(x.as_deref(), Some(&2000i64.to_be_bytes()[..]));
}

/// Emits the wall clock at each tick.
struct Tick;

impl Processor<String, String> for Tick {
    fn init(&mut self, ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        ctx.schedule(Duration::from_secs(10), PunctuationType::WallClockTime);
        Ok(())
    }

    fn process(&mut self, _ctx: &mut ProcessorContext<'_>, _record: Record<String, String>) -> Result<(), ProcessorError> {
        Ok(())
    }

    fn punctuate(&mut self, ctx: &mut ProcessorContext<'_>, _schedule: ScheduleId, timestamp: i64) -> Result<(), ProcessorError> {
        ctx.forward(Record::new("tick".to_owned(), timestamp, timestamp))
    }
}

#[test]
fn wall_clock_punctuators_follow_the_injected_clock() {
    let mut bench = Bench::new();
    let clock = Arc::new(ManualClock::new(1_000));
    bench.options.clock = clock.clone();
    let log = bench.open();
    let mut topology = Topology::new();
    topology.add_source("lines", StringSerde, StringSerde, ["lines"]).unwrap();
    topology.add_processor("tick", || Tick, ["lines"]).unwrap();
    topology.add_sink("to-counts", "counts", StringSerde, LongSerde, ["tick"]).unwrap();
    log.start(&topology, StreamsConfig::new("ticks")).unwrap();

    clock.advance(9_999);
    log.wake();
    log.append_blocking(line("nothing is due yet")).unwrap();
    assert_eq!(counts(&log), []);
    clock.advance(1);
    log.wake();
    eventually("a tick", || counts(&log) == pairs([("tick", 11_000)]));
}

/// Keeps the last value of each key of a round, and emits it before the commit.
#[derive(Default)]
struct Last {
    seen: std::collections::BTreeMap<String, String>,
}

impl Processor<String, String> for Last {
    fn process(&mut self, _ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Result<(), ProcessorError> {
        self.seen.insert(record.key, record.value);
        Ok(())
    }

    fn before_commit(&mut self, ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        std::mem::take(&mut self.seen).into_iter().try_for_each(|(key, value)| ctx.forward(Record::new(key, value, 0)))
    }
}

#[test]
fn what_is_forwarded_before_a_commit_is_in_it_with_all_it_causes() {
    let bench = Bench::new();
    let log = bench.open();
    let mut topology = Topology::new();
    topology.add_source("lines", StringSerde, StringSerde, ["lines"]).unwrap();
    topology.add_processor("last", Last::default, ["lines"]).unwrap();
    topology.add_sink("to-words", "words", StringSerde, StringSerde, ["last"]).unwrap();
    topology.add_source("words", StringSerde, StringSerde, ["words"]).unwrap();
    topology.add_processor("last-word", Last::default, ["words"]).unwrap();
    topology.add_sink("to-counts", "counts", StringSerde, StringSerde, ["last-word"]).unwrap();
    log.start(&topology, StreamsConfig::new("last")).unwrap();

    log.append_blocking(Append::of(["1", "2", "3"].map(|value| ProducerRecord::new("lines", "k", value)))).unwrap();

    let records = log.read(&TopicPartition::new("counts", 0), 0, 10, 1 << 20).unwrap();
    assert_eq!(records.iter().map(|record| record.value.as_deref().unwrap()).collect::<Vec<_>>(), [b"3"]);
}

/// A `Task` is driven by several drivers; it must be able to move to the writer thread.
#[test]
fn tasks_are_send() {
    fn is_send<T: Send>() {}
    is_send::<Task>();
}

/// Lines of one word each, of `keys` words in turn, in one append; each word's last count.
fn backlog(log: &Log, lines: usize, keys: usize) -> i64 {
    let line = |n: usize| ProducerRecord::new("lines", "k", format!("w{}", n % keys)).with_timestamp(1);
    log.append_blocking(Append::of((0..lines).map(line))).unwrap();
    i64::try_from(lines / keys).unwrap()
}

/// Every word was counted from 1 to `last`, once each and in order.
fn all_counted_in_order(log: &Log, keys: usize, last: i64) {
    eventually("all is counted", || log.end_offset(&TopicPartition::new("counts", 0)).unwrap() >= keys as i64 * last);
    let mut of_word = std::collections::BTreeMap::<String, Vec<i64>>::new();
    for (word, count) in counts(log) {
        of_word.entry(word).or_default().push(count);
    }
    assert_eq!(of_word.len(), keys);
    let expected: Vec<i64> = (1..=last).collect();
    assert!(of_word.values().all(|counts| *counts == expected), "{of_word:?}");
}

#[test]
fn a_backlog_is_worked_off_on_several_threads() {
    let mut bench = Bench::new();
    bench.options.stream_threads = 3;
    let log = bench.open();
    let threads = Arc::new(parking_lot::Mutex::new(std::collections::HashSet::new()));
    // The first two threads that count wait for each other; one alone gives up, and fails the test.
    let (seen, second) = (threads.clone(), Arc::new(parking_lot::Condvar::new()));
    let topology = word_count(move |_| {
        let mut seen = seen.lock();
        if seen.insert(std::thread::current().id()) && seen.len() == 1 {
            second.wait_for(&mut seen, Duration::from_secs(20));
        } else {
            second.notify_all();
        }
        Ok(())
    });
    log.start(&topology, config()).unwrap();

    let last = backlog(&log, 4_000, 40);

    all_counted_in_order(&log, 40, last);
    assert!(threads.lock().len() >= 2);
}

#[test]
fn a_failure_in_a_backlog_takes_back_what_all_threads_did() {
    let mut bench = Bench::new();
    bench.options.stream_threads = 3;
    let log = bench.open();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let topology = word_count(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        700 => Err(ProcessorError::fatal("refused", "once")),
        1_500 => panic!("once"),
        _ => Ok(()),
    });
    let streams = log.start(&topology, config()).unwrap();

    let last = backlog(&log, 4_000, 40);

    all_counted_in_order(&log, 40, last);
    assert!(calls.load(Ordering::Relaxed) > 4_000, "some were counted twice, and taken back once");
    eventually("it runs", || streams.state() == State::Running);
}
