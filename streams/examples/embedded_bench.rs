//! A one-stage merge on the embedded log: two inputs, one state per key (read, modify, write), unchanged records dropped, one output.
//! Every commit is fsynced.
//!
//! `cargo run --release -p streams --example embedded_bench [records] [keys] [partitions] [folder]`

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use streams::embedded::{Append, Log, Options, StreamsConfig, TopicConfig};
use streams::{BytesSerde, Processor, ProcessorContext, ProcessorError, ProducerRecord, Record, StoreBuilder, Topology};

const BATCH: usize = 1_000;
const SIDES: [&str; 2] = ["left", "right"];
const HALF: usize = 150;

/// The state of a key is the newest value of each side, one after the other.
struct Merge {
    side: usize,
}

impl Processor<Bytes, Bytes> for Merge {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<Bytes, Bytes>) -> Result<(), ProcessorError> {
        let mut store = ctx.store("merged")?;
        let known = store.get(&record.key)?;
        let place = self.side * HALF..(self.side + 1) * HALF;
        if known.as_ref().is_some_and(|known| known[place.clone()] == record.value) {
            return Ok(());
        }
        let mut merged = known.map_or_else(|| vec![0; 2 * HALF], |known| known.to_vec());
        merged[place].copy_from_slice(&record.value);
        let merged = Bytes::from(merged);
        store.put(record.key.clone(), merged.clone());
        ctx.forward(record.with_value(merged))
    }
}

fn topology() -> Result<Topology, Box<dyn std::error::Error>> {
    let mut topology = Topology::new();
    for (side, name) in SIDES.into_iter().enumerate() {
        topology.add_source::<Bytes, Bytes>(format!("source-{name}"), BytesSerde, BytesSerde, [name])?;
        topology.add_processor(format!("merge-{name}"), move || Merge { side }, [format!("source-{name}")])?;
    }
    topology.add_state_store(StoreBuilder::key_value("merged"), ["merge-left", "merge-right"])?;
    topology.add_sink::<Bytes, Bytes>("sink", "merged", BytesSerde, BytesSerde, ["merge-left", "merge-right"])?;
    Ok(topology)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (records, keys, partitions) = (number(1_000_000)?, number(200_000)?, number(1)?);
    let folder = arguments.next().map_or_else(|| std::env::temp_dir().join("embedded_bench"), Into::into);
    let _ = fs::remove_dir_all(&folder);

    let log = Log::open(&folder, Options { min_free_bytes: 0, ..Options::default() })?;
    for topic in SIDES {
        log.create_topic(TopicConfig::delete(topic, i32::try_from(partitions)?, Duration::from_secs(7 * 24 * 3600)))?;
    }
    log.create_topic(TopicConfig::compact("merged", i32::try_from(partitions)?))?;
    let streams = log.start(&topology()?, StreamsConfig::new("bench"))?;

    let start = Instant::now();
    let cpu = cpu_seconds();
    let appenders: Vec<_> = (0..4)
        .map(|appender| {
            let log = log.clone();
            std::thread::spawn(move || append(&log, appender, records / 4, keys))
        })
        .collect();
    let mut waits: Vec<Duration> = Vec::new();
    for appender in appenders {
        waits.extend(appender.join().map_err(|_| "an appender panicked")??);
    }
    while lag(&log, partitions)? > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let seconds = start.elapsed().as_secs_f64();
    waits.sort();
    let percentile = |share: usize| waits[(waits.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    println!(
        "{records} records, {keys} keys, {partitions} partitions: {:.1} k records/s, {seconds:.1} s",
        records as f64 / seconds / 1000.0
    );
    println!("CPU: {:.1} s per million records", (cpu_seconds() - cpu) / records as f64 * 1e6);
    println!("append of {BATCH} records, until committed: p50 {:.1} ms, p99 {:.1} ms", percentile(50), percentile(99));
    println!("peak resident: {} MB; on disk: {} MB", peak_resident_mb(), megabytes(&folder));
    drop(streams);
    log.close();
    println!("on disk after the end: {} MB", megabytes(&folder));
    Ok(())
}

/// Appends its share in batches, each awaited; returns how long each took.
fn append(log: &Log, appender: usize, records: usize, keys: usize) -> Result<Vec<Duration>, String> {
    let mut random = StdRng::seed_from_u64(appender as u64);
    let mut waits = Vec::new();
    for _ in 0..records / BATCH {
        let batch: Vec<ProducerRecord> = (0..BATCH).map(|_| record(&mut random, keys)).collect();
        let start = Instant::now();
        log.append_blocking(Append::of(batch)).map_err(|error| error.to_string())?;
        waits.push(start.elapsed());
    }
    Ok(waits)
}

fn record(random: &mut StdRng, keys: usize) -> ProducerRecord {
    let key = format!("{:032}", random.random_range(0..keys));
    let side = random.random_range(0..2);
    let mut value = vec![b'a'; HALF];
    random.fill_bytes(&mut value[..HALF / 2]);
    ProducerRecord::new(SIDES[side], key, value).with_timestamp(1_700_000_000_000)
}

fn lag(log: &Log, partitions: usize) -> Result<i64, Box<dyn std::error::Error>> {
    let mut lag = 0;
    for topic in SIDES {
        for partition in 0..i32::try_from(partitions)? {
            let tp = streams::TopicPartition::new(topic, partition);
            lag += log.end_offset(&tp)? - log.committed("bench", &tp)?.unwrap_or(0);
        }
    }
    Ok(lag)
}

/// User and system time of this process (utime and stime in clock ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn peak_resident_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn megabytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum::<u64>() >> 20
}
