//! A one-stage merge on the embedded log: two inputs keyed by e-mail, the last writer of each field wins, unchanged is dropped,
//! one output. Beside it the bare log in the same run: the same inputs appended in the same batches, and nothing else.

use crate::{
    feed::{self, Feed},
    process,
};
use schemas::{AvroCodec, CustomerFields, Registry, SourceCustomer};
use std::time::{Duration, Instant};
use streams::{
    Processor, ProcessorContext, ProcessorError, ProducerRecord, Record, Serde, SerdeError, StoreBuilder, StringSerde, TopicPartition,
    Topology,
    embedded::{Append, Log, Options, StreamsConfig, TopicConfig},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    #[arg(long, default_value_t = 200_000)]
    keys: usize,
    #[arg(long, default_value_t = 2)]
    partitions: i32,
}

const BATCH: usize = 2_000;
pub const INPUTS: [&str; 2] = ["product", "stripe"];
const STORE: &str = "merged";

#[derive(Clone)]
pub struct Avro(pub AvroCodec<SourceCustomer>);

impl Serde<SourceCustomer> for Avro {
    fn serialize(&self, _topic: &str, value: &SourceCustomer) -> Result<Option<Vec<u8>>, SerdeError> {
        self.0.encode(value).map(Some).map_err(|e| SerdeError::caused("BENCH", e))
    }

    fn deserialize(&self, _topic: &str, bytes: Option<&[u8]>) -> Result<SourceCustomer, SerdeError> {
        let bytes = bytes.ok_or(SerdeError::Null)?;
        self.0.decode(bytes).map_err(|e| SerdeError::caused("BENCH", e))
    }
}

/// `look` is when the record was edited; the store keeps, per e-mail, the merged fields and the newest edit.
struct Merge(Avro);

impl Processor<String, SourceCustomer> for Merge {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, SourceCustomer>) -> Result<(), ProcessorError> {
        let failed = |e: &dyn std::fmt::Display| ProcessorError::new("BENCH", e.to_string());
        let known = ctx.store(STORE)?.get(record.key.as_bytes())?;
        let mut merged = match known.as_deref() {
            Some(bytes) => self.0.0.decode(bytes).map_err(|e| failed(&e))?,
            None => SourceCustomer { fields: Some(CustomerFields::default()), ..SourceCustomer::default() },
        };
        let newer = record.value.look >= merged.look;
        let (Some(have), Some(new)) = (&mut merged.fields, record.value.fields) else { return Ok(()) };
        if !take_over(have, new, newer) {
            return Ok(());
        }
        merged.look = merged.look.max(record.value.look);
        let bytes = self.0.0.encode(&merged).map_err(|e| failed(&e))?;
        ctx.store(STORE)?.put(record.key.as_bytes().to_vec(), bytes);
        ctx.forward(Record::new(record.key, merged, record.timestamp))
    }
}

/// Takes over the values that win; whether one of them is another than before.
fn take_over(have: &mut CustomerFields, new: CustomerFields, newer: bool) -> bool {
    fn field<T: PartialEq>(have: &mut Option<T>, new: Option<T>, newer: bool) -> bool {
        let changes = new.is_some() && (newer || have.is_none()) && *have != new;
        if changes {
            *have = new;
        }
        changes
    }
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    let mut changed = field(&mut have.name, text(new.name), newer);
    changed |= field(&mut have.email, text(new.email), newer);
    changed |= field(&mut have.phone, text(new.phone), newer);
    changed |= field(&mut have.address, new.address, newer);
    for (key, value) in new.attributes.into_iter().filter(|(_, value)| !value.is_empty()) {
        let old = have.attributes.get(&key);
        if (newer || old.is_none()) && old != Some(&value) {
            have.attributes.insert(key, value);
            changed = true;
        }
    }
    changed
}

/// The topology: the topics of the inputs, and the one of the output.
pub fn topology<'a>(avro: &Avro, inputs: impl IntoIterator<Item = &'a str>, output: &str) -> anyhow::Result<Topology> {
    let mut topology = Topology::new();
    topology.add_source("inputs", StringSerde, avro.clone(), inputs)?;
    let merge = avro.clone();
    topology.add_processor("merge", move || Merge(merge.clone()), ["inputs"])?;
    topology.add_state_store(StoreBuilder::key_value(STORE), ["merge"])?;
    topology.add_sink("unified", output, StringSerde, avro.clone(), ["merge"])?;
    Ok(topology)
}

pub fn customer(key: usize, n: usize) -> SourceCustomer {
    let fields = CustomerFields {
        name: Some(format!("Customer Number {key}")),
        email: Some(format!("customer{key}@example.com")),
        phone: Some(format!("+44 20 7946 {:04} {n}", key % 10_000)),
        ..CustomerFields::default()
    };
    SourceCustomer { look: n as i64 + 1, fields: Some(fields), ..SourceCustomer::default() }
}

fn open(folder: &std::path::Path, partitions: i32) -> anyhow::Result<Log> {
    let log = Log::open(folder, Options { min_free_bytes: 0, ..Options::default() })?;
    for topic in INPUTS {
        log.create_topic(TopicConfig::delete(topic, partitions, Duration::from_secs(7 * 86_400)))?;
    }
    log.create_topic(TopicConfig::compact("unified", partitions))?;
    Ok(log)
}

/// Appends all inputs; how long that took.
fn feed(log: &Log, codec: &AvroCodec<SourceCustomer>, args: &Args) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let runtime = feed::runtime()?;
    let mut feed = Feed::new(log.clone(), runtime.handle().clone());
    let mut key = 0;
    for first in (0..args.records).step_by(BATCH) {
        let mut batch = Vec::with_capacity(BATCH);
        for n in first..(first + BATCH).min(args.records) {
            // A step that shares no factor with the count visits every key.
            key = (key + 7_919) % args.keys;
            let value = codec.encode(&customer(key, n))?;
            batch.push(ProducerRecord::new(INPUTS[n % 2], format!("customer{key}@example.com"), value).with_timestamp(n as i64));
        }
        feed.send(Append::of(batch))?;
    }
    feed.finish()?;
    Ok(started.elapsed())
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let registry = Registry::new();
    let codec = registry.codec::<SourceCustomer>("customers.bench-value")?;

    let bare = tempfile::tempdir()?;
    let log = open(bare.path(), args.partitions)?;
    let bare_time = feed(&log, &codec, args)?;
    log.close();

    let folder = tempfile::tempdir()?;
    let log = open(folder.path(), args.partitions)?;
    let topology = topology(&Avro(codec.clone()), INPUTS, "unified")?;
    let _streams = log.start(&topology, StreamsConfig::new("bench"))?;
    let cpu = process::cpu_time();
    let started = Instant::now();
    feed(&log, &codec, args)?;
    for topic in INPUTS {
        for partition in 0..args.partitions {
            let tp = TopicPartition::new(topic, partition);
            while log.committed("bench", &tp)?.unwrap_or(0) < log.end_offset(&tp)? {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    let (elapsed, cpu) = (started.elapsed(), process::cpu_time() - cpu);
    let rate = |time: Duration| args.records as f64 / time.as_secs_f64();
    println!(
        "one-stage merge, two inputs, {} records over {} keys, {} partitions, every commit fsynced",
        args.records, args.keys, args.partitions
    );
    println!("  merge              {:>9.0} records/s   ({:.1} s)", rate(elapsed), elapsed.as_secs_f64());
    println!("  bare log           {:>9.0} records/s   (the inputs appended, nothing else)", rate(bare_time));
    println!("  merge / bare log   {:>9.2}", rate(elapsed) / rate(bare_time));
    println!("  CPU                {:>9.1} s per million records", cpu.as_secs_f64() * 1e6 / args.records as f64);
    println!("  peak resident      {:>9.0} MB", process::peak_resident_mb());
    println!("  on disk            {:>9.0} MB", process::folder_mb(folder.path()));
    verify(&log, &codec, args)
}

/// Every key's last output has its last input's phone.
fn verify(log: &Log, codec: &AvroCodec<SourceCustomer>, args: &Args) -> anyhow::Result<()> {
    let mut last = std::collections::BTreeMap::new();
    for partition in 0..args.partitions {
        let (tp, mut from) = (TopicPartition::new("unified", partition), 0);
        loop {
            let records = log.read(&tp, from, 5_000, 8 << 20)?;
            let Some(end) = records.last() else { break };
            from = end.offset + 1;
            for record in records {
                let merged = codec.decode(record.value.as_deref().unwrap_or_default())?;
                last.insert(record.key, merged.look);
            }
        }
    }
    let keys = args.keys.min(args.records);
    anyhow::ensure!(last.len() == keys, "{} keys instead of {keys}", last.len());
    let oldest = i64::try_from(args.records - keys)?;
    anyhow::ensure!(last.values().all(|look| *look > oldest), "an output is not its key's last input");
    println!("  verified: {} keys, each with its last value", last.len());
    Ok(())
}
