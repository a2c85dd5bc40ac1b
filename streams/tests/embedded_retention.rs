//! Old records go, and a log that has run for months stays small. Time is simulated.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use streams::embedded::{Append, Log, LogError, ManualClock, Options, TopicConfig};
use streams::{ProducerRecord, TopicPartition};
use tempfile::TempDir;

const DAY_MS: i64 = 24 * 3600 * 1000;
const DAY: Duration = Duration::from_secs(24 * 3600);

struct Bench {
    folder: TempDir,
    clock: Arc<ManualClock>,
    log: Log,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let log = open(folder.path(), &clock);
        Bench { folder, clock, log }
    }

    /// Lets time pass, in two steps, and does the chores after each.
    fn pass(&self, ms: i64) {
        for step in [ms / 2, ms - ms / 2] {
            self.clock.advance(step);
            self.log.tidy().unwrap();
        }
    }

    fn file_bytes(&self) -> u64 {
        fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> Log {
    Log::open(folder, Options { min_free_bytes: 0, clock: clock.clone(), ..Options::default() }).unwrap()
}

fn append(log: &Log, topic: &str, count: usize, value: &str) {
    log.append_blocking(Append::of((0..count).map(|i| ProducerRecord::new(topic.to_owned(), format!("k{i}"), value.to_owned())))).unwrap();
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

/// Newest offset and value of each key that is left, and how many records there are.
fn contents(log: &Log, tp: &TopicPartition) -> (BTreeMap<Vec<u8>, Option<Vec<u8>>>, usize) {
    let records = log.read(tp, 0, 100_000, 1 << 30).unwrap();
    let count = records.len();
    let newest = records.into_iter().map(|record| (record.key.unwrap().to_vec(), record.value.map(|value| value.to_vec()))).collect();
    (newest, count)
}

#[test]
fn records_go_after_their_retention_and_not_before() {
    let bench = Bench::new();
    let tp = TopicPartition::new("events", 0);
    bench.log.create_topic(TopicConfig::delete("events", 1, 7 * DAY)).unwrap();
    append(&bench.log, "events", 5_000, "old");
    bench.log.tidy().unwrap();
    bench.pass(6 * DAY_MS);
    append(&bench.log, "events", 10, "new");
    assert_eq!(bench.log.beginning_offset(&tp).unwrap(), 0, "not before their time");
    bench.pass(2 * DAY_MS);
    assert_eq!(bench.log.beginning_offset(&tp).unwrap(), 5_000);
    let left = bench.log.read(&tp, 0, 100, 1 << 20).unwrap();
    assert_eq!((left.len(), left[0].offset), (10, 5_000), "reading from before the beginning gives what is left");
    bench.pass(9 * DAY_MS);
    assert_eq!(bench.log.beginning_offset(&tp).unwrap(), 5_010);
    assert_eq!(bench.log.append_blocking(Append::of([ProducerRecord::new("events", "k", "v")])).unwrap(), [5_010], "offsets go on");
}

#[test]
fn what_a_group_has_not_passed_stays_whatever_its_age() {
    let bench = Bench::new();
    let tp = TopicPartition::new("events", 0);
    bench.log.create_topic(TopicConfig::delete("events", 1, 7 * DAY)).unwrap();
    bench.log.create_group("runner", ["events"]).unwrap();
    append(&bench.log, "events", 100, "v");
    bench.pass(DAY_MS);
    bench.pass(30 * DAY_MS);
    assert_eq!(bench.log.beginning_offset(&tp).unwrap(), 0, "the group has committed nothing yet");
    bench.log.append_blocking(Append::default().with_offset("runner", tp.clone(), 60)).unwrap();
    bench.pass(DAY_MS);
    assert_eq!(bench.log.beginning_offset(&tp).unwrap(), 60);
    bench.log.delete_group("runner").unwrap();
    bench.pass(DAY_MS);
    assert_eq!(bench.log.beginning_offset(&tp).unwrap(), 100);
}

#[test]
fn compaction_keeps_the_newest_of_each_key_and_tombstones_for_a_while() {
    let bench = Bench::new();
    let tp = TopicPartition::new("customers", 0);
    bench.log.create_topic(TopicConfig::compact("customers", 1)).unwrap();
    for version in 0..30 {
        append(&bench.log, "customers", 100, &format!("v{version}"));
    }
    bench.log.append_blocking(Append::of([ProducerRecord::tombstone("customers", "k7")])).unwrap();
    bench.pass(DAY_MS / 4);
    assert_eq!(contents(&bench.log, &tp).1, 100);
    let (newest, _) = contents(&bench.log, &tp);
    assert_eq!(newest[&b"k8"[..]].as_deref(), Some(&b"v29"[..]));
    assert_eq!(newest[&b"k7"[..]], None, "readers that lag still learn of the delete");

    bench.pass(3 * DAY_MS);
    assert_eq!(contents(&bench.log, &tp).1, 99);
    assert!(!contents(&bench.log, &tp).0.contains_key(&b"k7"[..]));
    let keyless = ProducerRecord { key: None, ..ProducerRecord::new("customers", "", "v") };
    assert!(matches!(bench.log.append_blocking(Append::of([keyless])), Err(LogError::Invalid { .. })));
}

#[test]
fn a_log_that_runs_for_months_stays_small() {
    let bench = Bench::new();
    bench.log.create_topic(TopicConfig::delete("events", 2, 3 * DAY)).unwrap();
    bench.log.create_topic(TopicConfig::compact("customers", 1)).unwrap();
    let payload = "x".repeat(200);
    let mut after_a_fortnight = 0;
    for day in 0..90 {
        append(&bench.log, "events", 1_000, &payload);
        append(&bench.log, "customers", 500, &payload);
        bench.pass(DAY_MS);
        if day == 14 {
            after_a_fortnight = bench.file_bytes();
        }
    }
    let (newest, _) = contents(&bench.log, &TopicPartition::new("customers", 0));
    assert_eq!(newest.len(), 500);
    let bytes = bench.file_bytes();
    let appended = 90 * 1_500 * 230;
    assert!(bytes < after_a_fortnight * 2 && bytes < appended / 5, "{bytes} bytes of {appended} (after a fortnight {after_a_fortnight})");
}

#[test]
fn ages_and_offsets_survive_a_restart() {
    let Bench { folder, clock, log } = Bench::new();
    let tp = TopicPartition::new("events", 0);
    log.create_topic(TopicConfig::delete("events", 1, 7 * DAY)).unwrap();
    append(&log, "events", 10, "v");
    log.tidy().unwrap();
    log.close();
    clock.advance(8 * DAY_MS);
    let log = open(folder.path(), &clock);
    eventually("the log does it by itself", || log.beginning_offset(&tp).unwrap() == 10);
    log.close();
    let log = open(folder.path(), &clock);
    assert_eq!((log.beginning_offset(&tp).unwrap(), log.end_offset(&tp).unwrap()), (10, 10));
}
