//! The one-stage merge on Apache Kafka, exactly once. Every client is a process of its own that this one watches from outside: its
//! committed offsets, its CPU time, its memory, its folder. Beside the driver of this project a bare copy through librdkafka.
//!
//! A broker is started for the run, unless `KAFKA_BOOTSTRAP_SERVERS` names one. The inputs are written once; each client reads them
//! from the beginning, and every output is read back and checked. With `--kafka-streams` the same merge on Kafka Streams runs too
//! (bench/kafka-streams), with its defaults and as well tuned as we know how.

mod topics;

use crate::{
    broker,
    kafka_clients::{
        CODEC, Role, Settings,
        watch::{self, Client, Pace},
    },
    process,
};
use schemas::{Registry, SourceCustomer};
use std::path::Path;
use topics::{Outputs, Topics};

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 2_000_000)]
    records: usize,
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    #[arg(long, default_value_t = 2)]
    partitions: i32,
    /// Stream threads of each client
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Commit interval in milliseconds
    #[arg(long, default_value_t = 100)]
    commit: u64,
    /// How often each client runs, in turn; the broker is slow at first
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Runs Kafka Streams too: mvn -q -B -f bench/kafka-streams/pom.xml compile dependency:copy-dependencies -DincludeScope=runtime
    #[arg(long)]
    kafka_streams: bool,
}

impl Args {
    fn settings(&self) -> Settings {
        Settings { threads: self.threads, commit: self.commit }
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let topics = filled(args)?;
    for round in 1..=args.rounds {
        println!("round {round}");
        bare(&topics, args, round)?;
        merge(Role::Driver, &topics, args, round)?;
        if args.kafka_streams {
            merge(Role::KafkaStreamsTuned, &topics, args, round)?;
            merge(Role::KafkaStreams, &topics, args, round)?;
        }
    }
    Ok(())
}

/// One round with one stream thread, for another bench to be compared with: the bare copy, and the merge.
pub fn one_round(records: usize, commit: u64) -> anyhow::Result<[Pace; 2]> {
    let args = Args { records, keys: records / 2, partitions: 2, threads: 1, commit, rounds: 1, kafka_streams: false };
    let topics = filled(&args)?;
    Ok([bare(&topics, &args, 1)?, merge(Role::Driver, &topics, &args, 1)?])
}

/// Writes the inputs.
fn filled(args: &Args) -> anyhow::Result<Topics> {
    anyhow::ensure!(args.keys > 0 && args.records.is_multiple_of(args.keys), "--records must be a multiple of --keys");
    let codec = Registry::new().codec::<SourceCustomer>(CODEC)?;
    let topics = Topics::new(broker::bootstrap(), args.clone(), codec)?;
    topics.fill()?;
    println!(
        "one-stage merge on Kafka, two inputs, {} records over {} keys, {} partitions, {} threads, commit every {} ms, exactly once",
        args.records, args.keys, args.partitions, args.threads, args.commit
    );
    Ok(topics)
}

fn bare(topics: &Topics, args: &Args, round: usize) -> anyhow::Result<Pace> {
    let name = topics.name(&format!("bare-{round}"));
    topics.create(&[&name])?;
    let folder = tempfile::tempdir()?;
    let client = Client::start(Role::Bare, &topics.for_clients(), args.settings(), &name, folder.path())?;
    let pace = watch::pace(&client, &topics.for_clients(), &name)?;
    let memory = client.peak_resident_mb();
    client.stop()?;
    pace.print(Role::Bare.title(), memory);
    let copied = topics.count(&name)?;
    anyhow::ensure!(copied == args.records, "{copied} records were copied");
    Ok(pace)
}

fn merge(role: Role, topics: &Topics, args: &Args, round: usize) -> anyhow::Result<Pace> {
    let name = topics.name(&format!("{role:?}-{round}"));
    topics.create(&[&name])?;
    let folder = tempfile::tempdir()?;
    let start = || Client::start(role, &topics.for_clients(), args.settings(), &name, folder.path());
    let client = start()?;
    let pace = watch::pace(&client, &topics.for_clients(), &name)?;
    let memory = client.peak_resident_mb();
    client.stop()?;
    pace.print(role.title(), memory);
    println!("    state on disk    {:>9.0} MB", process::folder_mb(folder.path()));
    let mut outputs = Outputs::new(args);
    topics.read_on(&name, &mut outputs)?;
    outputs.check()?;

    let client = start()?;
    let restart = client.wait_until_running()?;
    client.stop()?;
    remove(folder.path())?;
    let client = start()?;
    let (restore, memory) = (client.wait_until_running()?, client.peak_resident_mb());
    println!(
        "    start            {:>9.2} s with its state, {:.2} s restoring it ({memory:.0} MB resident)",
        restart.as_secs_f64(),
        restore.as_secs_f64()
    );
    println!("    state restored   {:>9.0} MB", process::folder_mb(folder.path()));
    // Older edits change nothing where the state is whole.
    let outputs_before = outputs.count;
    topics.write_stale()?;
    watch::until_committed(&client, &topics.for_clients(), &name)?;
    client.stop()?;
    topics.read_on(&name, &mut outputs)?;
    anyhow::ensure!(outputs.count == outputs_before, "after restoring, {} older edits came through", outputs.count - outputs_before);
    println!("    verified         {:>9} keys, each with its last value, also after restoring", args.keys);
    Ok(pace)
}

fn remove(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        std::fs::remove_dir_all(entry?.path())?;
    }
    Ok(())
}
