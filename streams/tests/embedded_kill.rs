//! `kill -9` at random under load: nothing acknowledged is lost, and offsets, outputs and stores agree, each record counted once.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rand::Rng;
use streams::embedded::{Append, Log, Options, StreamsConfig, TopicConfig};
use streams::{
    KeyValueStore, LongSerde, Processor, ProcessorContext, ProcessorError, ProducerRecord, Record, StoreBuilder, StringSerde,
    TopicPartition, Topology,
};

const CHILD_FOLDER: &str = "STREAMS_KILL_TEST_FOLDER";
const KILLS: usize = 25;
const WORDS: usize = 7;

/// lines → words (another sub-topology) → counts, with a store.
fn topology() -> Topology {
    struct Split;
    impl Processor<String, String> for Split {
        fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Result<(), ProcessorError> {
            let word = record.value.split(' ').next().unwrap_or_default().to_owned();
            ctx.forward(record.with_key(word))
        }
    }
    struct Count(KeyValueStore<String, i64>);
    impl Processor<String, String> for Count {
        fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Result<(), ProcessorError> {
            let count = self.0.get(ctx, &record.key)?.unwrap_or(0) + 1;
            self.0.put(ctx, &record.key, &count)?;
            ctx.forward(record.with_value(count))
        }
    }
    let mut topology = Topology::new();
    topology.add_source("lines", StringSerde, StringSerde, ["lines"]).unwrap();
    topology.add_processor("split", || Split, ["lines"]).unwrap();
    topology.add_sink("to-words", "words", StringSerde, StringSerde, ["split"]).unwrap();
    topology.add_source("words", StringSerde, StringSerde, ["words"]).unwrap();
    topology.add_processor("count", || Count(KeyValueStore::new("counts", StringSerde, LongSerde)), ["words"]).unwrap();
    topology.add_state_store(StoreBuilder::key_value("counts"), ["count"]).unwrap();
    topology.add_sink("to-counts", "counts", StringSerde, LongSerde, ["count"]).unwrap();
    topology
}

fn open(folder: &Path) -> Log {
    let log = Log::open(folder, Options { min_free_bytes: 0, store_buffer_bytes: 1_000, ..Options::default() }).unwrap();
    for (topic, partitions) in [("lines", 2), ("words", 2), ("counts", 1)] {
        log.create_topic(TopicConfig::delete(topic, partitions, Duration::from_secs(24 * 3600))).unwrap();
    }
    log.start(&topology(), StreamsConfig::new("kill")).unwrap();
    log
}

/// Run by [`nothing_acknowledged_is_lost`] in a process of its own: appends for ever, and prints what was acknowledged.
#[test]
fn child() {
    let Ok(folder) = env::var(CHILD_FOLDER) else { return };
    let log = open(Path::new(&folder));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let ids: Vec<u64> = (0..rand::rng().random_range(1..20)).map(|_| rand::random()).collect();
                    let record = |id: &u64| ProducerRecord::new("lines", id.to_string(), format!("w{} {id}", *id as usize % WORDS));
                    log.append_blocking(Append::of(ids.iter().map(record))).unwrap();
                    let lines: String = ids.iter().map(|id| format!("ack {id}\n")).collect();
                    std::io::stdout().write_all(lines.as_bytes()).unwrap();
                }
            });
        }
    });
}

/// Lets a child append for a while and kills it; returns what it had acknowledged.
fn run_and_kill(folder: &Path) -> Vec<u64> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acknowledged = |line: String| line.strip_prefix("ack ").and_then(|id| id.parse().ok());
    // The clock starts with the first acknowledgement.
    let first = lines.by_ref().map_while(Result::ok).find_map(acknowledged);
    let rest = thread::spawn(move || lines.map_while(Result::ok).filter_map(acknowledged).collect::<Vec<u64>>());
    thread::sleep(Duration::from_millis(rand::rng().random_range(0..120)));
    child.kill().unwrap();
    child.wait().unwrap();
    first.into_iter().chain(rest.join().unwrap()).collect()
}

fn all(log: &Log, topic: &str, partition: i32) -> Vec<(String, Vec<u8>)> {
    let records = log.read(&TopicPartition::new(topic.to_owned(), partition), 0, usize::MAX, usize::MAX).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    records.iter().map(|record| (text(record.key.as_deref().unwrap()), record.value.as_deref().unwrap().to_vec())).collect()
}

fn check(folder: &Path, acknowledged: &BTreeSet<u64>) {
    let log = open(folder);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    let mut appended = BTreeSet::new();
    for partition in 0..2 {
        for (id, value) in all(&log, "lines", partition) {
            assert!(appended.insert(id.parse::<u64>().unwrap()), "{id} is there twice");
            let word = String::from_utf8(value).unwrap().split(' ').next().unwrap().to_owned();
            *expected.entry(word).or_default() += 1;
        }
    }
    let lost: Vec<_> = acknowledged.difference(&appended).collect();
    assert!(lost.is_empty(), "acknowledged, but not there: {lost:?}");
    let total: i64 = expected.values().sum();
    while log.end_offset(&TopicPartition::new("counts", 0)).unwrap() < total {
        assert!(Instant::now() < deadline, "the topology does not catch up");
        thread::yield_now();
    }
    for topic in ["lines", "words"] {
        for partition in 0..2 {
            let tp = TopicPartition::new(topic, partition);
            assert_eq!(log.committed("kill", &tp).unwrap(), Some(log.end_offset(&tp).unwrap()), "{tp}");
        }
    }
    let mut counted: BTreeMap<String, i64> = BTreeMap::new();
    for (word, value) in all(&log, "counts", 0) {
        let count = counted.entry(word.clone()).or_default();
        *count += 1;
        assert_eq!(i64::from_be_bytes(value.try_into().unwrap()), *count, "each count of {word} is emitted once, in order");
    }
    assert_eq!(counted, expected);
    for (word, count) in expected {
        let stored = (0..2).find_map(|partition| log.store_entry("kill", "counts", partition, word.as_bytes()).unwrap()).unwrap();
        assert_eq!(stored[..], count.to_be_bytes(), "{word}");
    }
}

#[test]
fn nothing_acknowledged_is_lost() {
    if env::var(CHILD_FOLDER).is_ok() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for kill in 0..KILLS {
        let before = acknowledged.len();
        acknowledged.extend(run_and_kill(folder.path()));
        assert!(acknowledged.len() > before, "life {kill} acknowledged nothing");
        if kill % 5 == 4 {
            check(folder.path(), &acknowledged);
        }
    }
}
