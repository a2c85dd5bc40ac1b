//! Clients of Apache Kafka, each run in a process of its own: it says "starting" and "running", and ends with its standard input. Another
//! process watches it from outside ([`watch`]).

mod restoring;
pub mod watch;

use crate::{
    merge::{Avro, topology},
    topology_bench,
};
use anyhow::Context;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer},
};
use schemas::{Registry, SourceCustomer};
use std::{
    collections::BTreeMap,
    io::Read,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use streams::{
    BytesSerde, TaskConfig, Topology, TopologyError,
    kafka::{KafkaStreams, KafkaStreamsConfig, State},
};

/// The subject of what is merged and copied.
pub const CODEC: &str = "customers.bench-value";

/// Where a client reads.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub servers: String,
    pub topics: Vec<String>,
    /// Of each topic.
    pub partitions: i32,
}

/// How a client works.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Settings {
    /// Stream threads
    #[arg(long)]
    pub threads: usize,
    /// Commit interval in milliseconds [default: that of the client's library]
    #[arg(long)]
    pub commit: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub struct ClientArgs {
    #[arg(long)]
    role: Role,
    #[arg(long)]
    servers: String,
    /// Its group, and its output
    #[arg(long)]
    name: String,
    #[arg(long)]
    input: Vec<String>,
    #[arg(long)]
    state: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// The merge on the driver for Kafka
    Driver,
    /// The customer topology on the driver for Kafka
    Topology,
    /// A copy of the inputs through librdkafka, one thread
    Bare,
    /// The same copy on the driver for Kafka: a topology without a store
    Copy,
    /// The merge on Kafka Streams: no record cache, the collector that needs least
    KafkaStreamsTuned,
    /// The merge on Kafka Streams, with its defaults
    KafkaStreams,
}

impl Role {
    pub fn title(self) -> &'static str {
        match self {
            Role::Driver => "merge",
            Role::Topology => "customer topology",
            Role::Bare => "bare copy",
            Role::Copy => "copy on the driver",
            Role::KafkaStreamsTuned => "Kafka Streams, tuned",
            Role::KafkaStreams => "Kafka Streams, defaults",
        }
    }

    /// The program of the role, without its arguments.
    pub fn program(self) -> anyhow::Result<Command> {
        let java = |flags: &[&str], role| {
            let built = concat!(env!("CARGO_MANIFEST_DIR"), "/kafka-streams/target");
            let mut java = Command::new("java");
            java.args(flags).args(["-cp", &format!("{built}/classes:{built}/dependency/*"), "bench.Main", "--role", role]);
            java
        };
        let ours = |role| -> anyhow::Result<Command> {
            let mut ours = Command::new(std::env::current_exe()?);
            ours.args(["kafka-client", "--role", role]);
            Ok(ours)
        };
        Ok(match self {
            Role::Driver => ours("driver")?,
            Role::Topology => ours("topology")?,
            Role::Bare => ours("bare")?,
            Role::Copy => ours("copy")?,
            Role::KafkaStreamsTuned => java(&["-Xmx512m", "-XX:+UseSerialGC"], "tuned"),
            Role::KafkaStreams => java(&[], "defaults"),
        })
    }
}

const CALL: Duration = Duration::from_secs(20);

pub fn run(args: &ClientArgs) -> anyhow::Result<()> {
    println!("starting");
    match args.role {
        Role::Driver => {
            let avro = Avro(Registry::new().codec::<SourceCustomer>(CODEC)?);
            driver(args, &topology(&avro, args.input.iter().map(String::as_str), &args.name)?, TaskConfig::default())
        }
        Role::Topology => driver(args, &topology_bench::topology()?, topology_bench::task()),
        Role::Bare => bare(args),
        Role::Copy => driver(args, &copy(args)?, TaskConfig::default()),
        Role::KafkaStreamsTuned | Role::KafkaStreams => anyhow::bail!("that is a program of its own"),
    }
}

/// From the inputs to the output, the bytes as they are.
fn copy(args: &ClientArgs) -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    topology.add_source::<Vec<u8>, Vec<u8>>("inputs", BytesSerde, BytesSerde, &args.input)?;
    topology.add_sink::<Vec<u8>, Vec<u8>>("output", args.name.as_str(), BytesSerde, BytesSerde, ["inputs"])?;
    Ok(topology)
}

fn driver(args: &ClientArgs, topology: &Topology, task: TaskConfig) -> anyhow::Result<()> {
    let mut config = KafkaStreamsConfig::new(&args.name, &args.servers, &args.state);
    config.num_stream_threads = args.settings.threads;
    if let Some(commit) = args.settings.commit {
        config.commit_interval = Duration::from_millis(commit);
    }
    config.task = task;
    restoring::announce()?;
    let streams = KafkaStreams::start(topology, config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async { streams.watch_state().wait_for(|state| *state == State::Running).await.map(drop) })?;
    println!("running");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    anyhow::ensure!(streams.close(CALL), "the client does not end");
    Ok(())
}

/// Copies every record, with the offsets in the same transactions.
fn bare(args: &ClientArgs) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &args.servers).set("group.id", &args.name).set("auto.offset.reset", "earliest");
    config.set("isolation.level", "read_committed").set("enable.auto.commit", "false").set("queued.max.messages.kbytes", "16384");
    config.set("fetch.queue.backoff.ms", "5");
    let consumer: BaseConsumer = config.create()?;
    let inputs: Vec<&str> = args.input.iter().map(String::as_str).collect();
    consumer.subscribe(&inputs)?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &args.servers).set("transactional.id", &args.name);
    config.set("retry.backoff.ms", "2").set("linger.ms", "2");
    let producer: BaseProducer = config.create()?;
    producer.init_transactions(CALL)?;
    println!("running");

    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end.store(true, Ordering::SeqCst);
    });
    let interval = Duration::from_millis(args.settings.commit.context("librdkafka has no commit interval of its own")?);
    let mut next: BTreeMap<(String, i32), i64> = BTreeMap::new();
    let mut started = Instant::now();
    while !ended.load(Ordering::SeqCst) {
        if let Some(message) = consumer.poll(Duration::from_millis(1)) {
            let message = message?;
            if next.is_empty() {
                producer.begin_transaction()?;
                started = Instant::now();
            }
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&args.name).partition(message.partition());
            (record.key, record.payload) = (message.key(), message.payload());
            while let Err((error, again)) = producer.send(record) {
                anyhow::ensure!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "writing: {error}");
                producer.poll(Duration::from_millis(1));
                record = again;
            }
            match next.iter_mut().find(|((topic, partition), _)| topic == message.topic() && *partition == message.partition()) {
                Some((_, next)) => *next = message.offset() + 1,
                None => drop(next.insert((message.topic().to_owned(), message.partition()), message.offset() + 1)),
            }
        }
        if !next.is_empty() && started.elapsed() > interval {
            // The commit would wait for reports in steps of 100 ms.
            while producer.flush(Duration::ZERO).is_err() {
                producer.poll(Duration::from_micros(500));
            }
            let mut offsets = TopicPartitionList::new();
            for ((topic, partition), next) in std::mem::take(&mut next) {
                offsets.add_partition_offset(&topic, partition, Offset::Offset(next))?;
            }
            producer.send_offsets_to_transaction(&offsets, &consumer.group_metadata().context("no group")?, CALL)?;
            producer.commit_transaction(CALL)?;
        }
    }
    Ok(())
}
