//! The full customer topology: first contact, then edits in the product, each pushed to a Stripe that answers at once, so that every
//! message of a real conversation is there, and nothing waits for a network. On the embedded log, or on Apache Kafka ([`on_kafka`]).

mod on_kafka;
mod people;

use crate::{
    feed::{self, Feed},
    process,
};
use people::{PRODUCT, People, REQUESTS, STRIPE, Seen};
use schemas::{AvroCodec, Registry, UnifyBody, UnifyMessage, Walk, value_subject};
use std::time::{Duration, Instant};
use streams::{
    Follow, Log, ProducerRecord, TaskConfig, TopicPartition, dead_letter_queue,
    embedded::{self, Append, Options, StreamsConfig, TopicConfig},
};
use tokio::runtime::Handle;
use topology::customers::{self, Cleanup, topics};

pub use on_kafka::topology;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Source records in all
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    #[arg(long, default_value_t = 200_000)]
    customers: usize,
    /// Partitions of every topic
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Folder for the log [default: a temporary one]
    #[arg(long, conflicts_with = "kafka")]
    folder: Option<std::path::PathBuf>,
    /// On Apache Kafka, exactly once, the topology in a process of its own: a broker is started, unless `KAFKA_BOOTSTRAP_SERVERS` names
    /// one, which must be new
    #[arg(long)]
    kafka: bool,
    /// Stream threads, on Kafka
    #[arg(long, default_value_t = 2, requires = "kafka")]
    threads: usize,
    /// Commit interval on Kafka in milliseconds
    #[arg(long, default_value_t = 100, requires = "kafka")]
    commit: u64,
    /// Edits that Stripe has not answered yet, at most: with fewer than there are customers each edit makes a write of its own
    #[arg(long, default_value_t = 20_000)]
    unanswered: usize,
}

const BATCH: usize = 2_000;

pub fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(args.unanswered > 0, "--unanswered must be at least 1: nothing would ever be edited");
    let runtime = feed::runtime()?;
    match args.kafka {
        true => on_kafka::run(args, runtime.handle()),
        false => embedded(args, runtime.handle()),
    }
}

fn embedded(args: &Args, runtime: &Handle) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let folder = args.folder.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    let log = embedded::Log::open(&folder, Options { min_free_bytes: 0, ..Options::default() })?;
    let config = people::config(args.partitions)?;
    let registry = Registry::new();
    let topology = customers::build(&config, &registry)?;
    let mut bench = Bench::new(log.clone().into(), runtime, &config, &registry, args)?;
    let mut streams = StreamsConfig::new(&config.application_id);
    streams.task = task();
    let _streams = log.start(&topology, streams)?;

    let cpu = process::cpu_time();
    let [first, edits] = bench.play(args.records)?;
    let cpu = process::cpu_time() - cpu;
    println!("full customer topology, two systems, {} customers, {} partitions, every commit fsynced", args.customers, args.partitions);
    let all = print(first, edits);
    println!("  CPU                {:>9.1} s per million records", cpu.as_secs_f64() * 1e6 / all.records as f64);
    println!("  peak resident      {:>9.0} MB", process::peak_resident_mb());
    println!("  on disk            {:>9.0} MB", process::folder_mb(&folder));
    bench.verify()
}

/// Records that fail go aside.
pub fn task() -> TaskConfig {
    TaskConfig { exception_handler: dead_letter_queue(|topic| format!("{topic}.dlq")) }
}

/// So many source records in so much time.
#[derive(Clone, Copy)]
struct Phase {
    records: usize,
    time: Duration,
}

impl Phase {
    fn rate(self) -> f64 {
        self.records as f64 / self.time.as_secs_f64()
    }
}

/// Prints both phases, and gives them as one.
fn print(first: Phase, edits: Phase) -> Phase {
    let all = Phase { records: first.records + edits.records, time: first.time + edits.time };
    println!("  first contact      {:>9.0} records/s   ({} records)", first.rate(), first.records);
    println!("  edits and answers  {:>9.0} records/s   ({} records)", edits.rate(), edits.records);
    println!("  all                {:>9.0} records/s   ({} records in {:.1} s)", all.rate(), all.records, all.time.as_secs_f64());
    all
}

/// What is around the topology: both systems, and the log between.
struct Bench<'a> {
    log: Log,
    runtime: &'a Handle,
    config: &'a customers::Config,
    registry: &'a Registry,
    feed: Feed,
    people: People,
    /// Requests as they come, in the order of partitions.
    requests: Follow,
    /// Edits without an answer, at most.
    unanswered: usize,
    sent: usize,
    edited: usize,
    answered: usize,
}

impl<'a> Bench<'a> {
    /// Makes the topics.
    fn new(log: Log, runtime: &'a Handle, config: &'a customers::Config, registry: &'a Registry, args: &Args) -> anyhow::Result<Bench<'a>> {
        for topic in topics::topics(config) {
            runtime.block_on(log.create_topic(match topic.cleanup {
                Cleanup::Delete => TopicConfig::delete(topic.name, topic.partitions, Duration::from_secs(7 * 86_400)),
                Cleanup::Compact => TopicConfig::compact(topic.name, topic.partitions),
            }))?;
        }
        let requests = (0..config.partitions).map(|partition| (TopicPartition::new(REQUESTS, partition), 0)).collect();
        Ok(Bench {
            runtime,
            config,
            registry,
            feed: Feed::new(log.clone(), runtime.clone()),
            people: People::new(registry, args.customers)?,
            requests: runtime.block_on(log.follow(requests))?,
            log,
            unanswered: args.unanswered,
            sent: 0,
            edited: 0,
            answered: 0,
        })
    }

    /// First contact with everybody, then edits until there were so many source records; how long each took.
    fn play(&mut self, records: usize) -> anyhow::Result<[Phase; 2]> {
        let started = Instant::now();
        self.first_contact()?;
        let first = Phase { time: self.settle()? - started, records: self.sent };
        self.announce()?;
        let started = Instant::now();
        self.edit_until(records)?;
        let edits = Phase { time: self.settle()? - started, records: self.sent - first.records };
        Ok([first, edits])
    }

    fn send(&mut self, records: Vec<ProducerRecord>) -> anyhow::Result<()> {
        self.sent += records.len();
        self.feed.send(Append::of(records))
    }

    fn first_contact(&mut self) -> anyhow::Result<()> {
        for first in (0..self.people.count()).step_by(BATCH) {
            let part = first..(first + BATCH).min(self.people.count());
            let mut records = Vec::with_capacity(2 * part.len());
            for customer in part {
                records.extend(self.people.first_contact(customer)?);
            }
            self.send(records)?;
        }
        Ok(())
    }

    /// Both systems count as imported, as after a backfill.
    fn announce(&mut self) -> anyhow::Result<()> {
        let codec: AvroCodec<UnifyMessage> = self.registry.codec(&value_subject(topics::UNIFY))?;
        let mut records = Vec::new();
        for system in self.config.systems.iter().map(|system| &system.name) {
            let message = UnifyMessage { body: UnifyBody::Walk(Walk { system: system.clone(), reason: "import".into() }) };
            for partition in 0..self.config.partitions {
                records.push(ProducerRecord::new(topics::UNIFY, system.to_string(), codec.encode(&message)?).with_partition(partition));
            }
        }
        self.feed.send(Append::of(records))?;
        self.feed.finish()
    }

    /// Edits in the product, spread over all customers; Stripe answers each write that comes of them.
    fn edit_until(&mut self, records: usize) -> anyhow::Result<()> {
        while self.sent < records {
            if self.edited < self.answered + self.unanswered {
                let batch: Vec<ProducerRecord> = (0..BATCH).map(|_| self.people.edit()).collect::<anyhow::Result<_>>()?;
                self.edited += batch.len();
                self.send(batch)?;
            }
            if self.answer()? == 0 && self.edited >= self.answered + self.unanswered {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// What is asked of Stripe is done at once.
    fn answer(&mut self) -> anyhow::Result<usize> {
        let mut answers = Vec::new();
        for partition in 0..usize::try_from(self.config.partitions)? {
            loop {
                let records = self.requests.take(partition, BATCH, 4 << 20)?;
                if records.is_empty() {
                    break;
                }
                for record in &records {
                    answers.extend(self.people.answer(record)?);
                }
            }
        }
        let count = answers.len();
        if count > 0 {
            self.answered += count;
            self.send(answers)?;
        }
        Ok(count)
    }

    /// Until nothing is left to process or to answer: what was asked by then is seen only by an `answer` that comes after. When that was
    /// first looked for and so.
    fn settle(&mut self) -> anyhow::Result<Instant> {
        loop {
            self.feed.finish()?;
            let looked = Instant::now();
            let behind = self.is_behind()?;
            let answered = self.answer()?;
            if answered == 0 && !behind {
                return Ok(looked);
            }
            if behind {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Whether the topology has anything left to process. It has not if it passed all ends, and they are the same afterwards: what a record
    /// led to would have moved one.
    fn is_behind(&self) -> anyhow::Result<bool> {
        let inputs = [PRODUCT, STRIPE, topics::IDENTIFY, topics::UNIFY, "links.product", "links.stripe"];
        let inputs = inputs.iter().flat_map(|topic| (0..self.config.partitions).map(|partition| TopicPartition::new(*topic, partition)));
        self.runtime.block_on(async {
            let mut ends = Vec::new();
            for tp in inputs {
                let end = self.log.end_offset(&tp).await?;
                if !self.log.passed(&self.config.application_id, &tp, end).await? {
                    return Ok(true);
                }
                ends.push((tp, end));
            }
            self.log.settled().await?;
            for (tp, end) in ends {
                if self.log.end_offset(&tp).await? != end {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    fn verify(&self) -> anyhow::Result<()> {
        let mut seen = Seen::default();
        for partition in 0..self.config.partitions {
            let tp = TopicPartition::new(topics::UNIFIED, partition);
            self.runtime.block_on(async {
                let end = self.log.end_offset(&tp).await?;
                let mut wrong = None;
                self.log.scan(&tp, 0, end, |record| wrong = wrong.take().or(self.people.see(&record, &mut seen).err())).await?;
                wrong.map_or(Ok(()), Err)
            })?;
        }
        self.people.verify(&seen)
    }
}
