//! A full disk: appends are refused, nothing that was acknowledged is lost, nothing spins, and the log recovers by itself.
//!
//! The disk is a small tmpfs, which only root can mount; without it the tests say so and pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use streams::embedded::{Append, Log, LogError, Options, State, StreamsConfig, TopicConfig};
use streams::{
    BytesSerde, Processor, ProcessorContext, ProcessorError, ProducerRecord, Record, StoreBuilder, StringSerde, TopicPartition, Topology,
};

const MIB: usize = 1 << 20;

/// A file system of 24 MiB, 8 of them taken by a file that can be removed.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(folder.path()).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: no right to mount a tmpfs (root is needed)");
            return None;
        }
        let disk = SmallDisk { folder };
        fs::write(disk.ballast(), vec![1; 8 * MIB]).unwrap();
        Some(disk)
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

/// in → a store and a copy in out.
fn copy() -> Topology {
    struct Copy;
    impl Processor<String, Vec<u8>> for Copy {
        fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, Vec<u8>>) -> Result<(), ProcessorError> {
            ctx.store("seen")?.put(record.key.clone().into_bytes(), b"1".to_vec());
            ctx.forward(record.with_value(b"copied".to_vec()))
        }
    }
    let mut topology = Topology::new();
    topology.add_source::<String, Vec<u8>>("source", StringSerde, BytesSerde, ["in"]).unwrap();
    topology.add_processor("copy", || Copy, ["source"]).unwrap();
    topology.add_state_store(StoreBuilder::key_value("seen"), ["copy"]).unwrap();
    topology.add_sink::<String, Vec<u8>>("sink", "out", StringSerde, BytesSerde, ["copy"]).unwrap();
    topology
}

fn open(folder: &Path, min_free_bytes: u64) -> (Log, streams::embedded::Streams) {
    let log = Log::open(folder, Options { min_free_bytes, ..Options::default() }).unwrap();
    log.create_topic(TopicConfig::delete("in", 1, Duration::from_secs(3600))).unwrap();
    log.create_topic(TopicConfig::delete("out", 1, Duration::from_secs(3600))).unwrap();
    let streams = log.start(&copy(), StreamsConfig::new("copy")).unwrap();
    (log, streams)
}

fn append(log: &Log, number: usize, bytes: usize) -> Result<Vec<i64>, LogError> {
    log.append_blocking(Append::of([ProducerRecord::new("in", format!("k{number}"), vec![7; bytes])]))
}

/// Appends until the disk is full; returns how many were acknowledged.
fn fill(log: &Log, bytes: usize) -> usize {
    for number in 0..1_000 {
        match append(log, number, bytes) {
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error, LogError::DiskFull { .. }), "{error}");
                assert!(error.is_retriable());
                return number;
            }
        }
    }
    panic!("the disk is never full");
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn check(log: &Log, acknowledged: usize) {
    let (input, output) = (TopicPartition::new("in", 0), TopicPartition::new("out", 0));
    let end = log.end_offset(&input).unwrap();
    assert_eq!(end, acknowledged as i64, "what was refused is not there, what was acknowledged is");
    eventually("all is copied", || log.end_offset(&output).unwrap() == end);
    assert_eq!(log.committed("copy", &input).unwrap(), Some(end));
    let copies = log.read(&output, 0, usize::MAX, usize::MAX).unwrap();
    for (number, copy) in copies.iter().enumerate() {
        let key = format!("k{number}");
        assert_eq!(copy.key.as_deref(), Some(key.as_bytes()), "each once, in order");
        assert!(log.store_entry("copy", "seen", 0, key.as_bytes()).unwrap().is_some());
    }
}

fn a_full_disk_refuses_and_recovers(min_free_bytes: u64, bytes: usize) {
    let Some(disk) = SmallDisk::mount() else { return };
    let (log, streams) = open(&disk.data(), min_free_bytes);

    let acknowledged = fill(&log, bytes);

    assert!(acknowledged > 5, "{acknowledged}");
    eventually("the log says so", || !log.writable());
    assert!(log.watch_trouble().borrow().as_deref().is_some_and(|reason| reason.contains("full")));
    assert!(matches!(append(&log, acknowledged, bytes), Err(LogError::DiskFull { .. })), "refused at once while it lasts");
    assert_eq!(log.read(&TopicPartition::new("in", 0), 0, usize::MAX, usize::MAX).unwrap().len(), acknowledged, "reads go on");

    fs::remove_file(disk.ballast()).unwrap();
    eventually("it recovers by itself", || log.writable());
    append(&log, acknowledged, bytes).unwrap();
    eventually("the topology runs", || streams.state() == State::Running);
    check(&log, acknowledged + 1);
    drop(streams);
    log.close();

    let (log, _streams) = open(&disk.data(), min_free_bytes);
    check(&log, acknowledged + 1);
}

#[test]
fn appends_stop_before_the_disk_runs_out() {
    a_full_disk_refuses_and_recovers(4 * MIB as u64, 100 << 10);
}

#[test]
fn a_disk_that_runs_out_within_a_commit_loses_nothing() {
    // What is kept free is less than one append, so the end comes in the middle of a commit.
    a_full_disk_refuses_and_recovers(64 << 10, 400 << 10);
}

/// While one round is written, others wait behind it: what follows on a commit that failed fails with it.
#[test]
fn appends_from_all_sides_while_the_disk_fills_up() {
    let Some(disk) = SmallDisk::mount() else { return };
    let (log, streams) = open(&disk.data(), 4 * MIB as u64);
    let side = |side: usize| {
        let log = log.clone();
        move || -> Vec<usize> {
            let numbers = (0..10_000).map(|n| n * 4 + side);
            numbers
                .take_while(|number| append(&log, *number, 60_000).map_err(|error| assert!(error.is_retriable(), "{error}")).is_ok())
                .collect()
        }
    };
    let mut acknowledged: Vec<usize> =
        [0, 1, 2, 3].map(|n| std::thread::spawn(side(n))).into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    eventually("the log says so", || !log.writable());

    fs::remove_file(disk.ballast()).unwrap();
    eventually("it recovers by itself", || log.writable());
    append(&log, 1, 10).unwrap();
    acknowledged.push(1);

    let keys = |topic: &str| -> Vec<String> {
        let records = log.read(&TopicPartition::new(topic, 0), 0, usize::MAX, usize::MAX).unwrap();
        records.iter().map(|record| String::from_utf8(record.key.clone().unwrap().to_vec()).unwrap()).collect()
    };
    eventually("the topology runs", || streams.state() == State::Running);
    let input = keys("in");
    eventually("all is copied", || log.end_offset(&TopicPartition::new("out", 0)).unwrap() >= input.len() as i64);
    assert_eq!(keys("out"), input, "each once, in order");
    let mut expected: Vec<String> = acknowledged.iter().map(|number| format!("k{number}")).collect();
    expected.sort();
    let mut there = input;
    there.sort();
    assert_eq!(there, expected, "what was acknowledged is there, and what was refused is not");
}
