//! The one-stage merge on Apache Kafka, exactly once. Every client is a process of its own that this one watches from outside: its
//! committed offsets, its CPU time, its memory, its folder. Beside the merge a bare copy through librdkafka, and the same copy on the
//! driver of this project: what the driver costs without state.
//!
//! A broker is started for the run, unless `KAFKA_BOOTSTRAP_SERVERS` names one. The inputs are written once; each client reads them
//! from the beginning, and every output is read back and checked. After the rounds [`latency`]. With `--kafka-streams` the same merge
//! on Kafka Streams runs too (bench/kafka-streams), with its defaults and as well tuned as we know how.

mod latency;
mod plot;
mod report;
mod topics;

use crate::{
    broker,
    kafka_clients::{
        CODEC, Role, Settings,
        watch::{self, Client, Pace},
    },
    latency::quantile,
    process,
};
use anyhow::Context;
use report::{Figure, Report};
use schemas::{Registry, SourceCustomer};
use std::path::{Path, PathBuf};
use topics::{Outputs, Topics};

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 2_000_000)]
    records: usize,
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    #[arg(long, default_value_t = 2)]
    partitions: i32,
    /// Stream threads of each client in the rounds; for latency each has one
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Commit interval in the rounds, in milliseconds; for latency each client has its default
    #[arg(long, default_value_t = 100)]
    commit: u64,
    /// How often each client runs, in turn; the broker is slow at first
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Runs Kafka Streams too: mvn -q -B -f bench/kafka-streams/pom.xml compile dependency:copy-dependencies -DincludeScope=runtime
    #[arg(long)]
    kafka_streams: bool,
    /// Draws the table at the end as bars, in an SVG file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

impl Args {
    /// Who merges.
    fn merges(&self) -> &'static [Role] {
        match self.kafka_streams {
            true => &[Role::Driver, Role::KafkaStreamsTuned, Role::KafkaStreams],
            false => &[Role::Driver],
        }
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut run = Run::new(args.clone())?;
    for round in 1..=args.rounds {
        println!("round {round}");
        let bare = run.copy(Role::Bare, round)?;
        let copy = run.copy(Role::Copy, round)?;
        println!(
            "    of the bare copy {:>9.2} × its records/s, {:.2} × its CPU",
            copy.rate() / bare.rate(),
            copy.cpu_per_million() / bare.cpu_per_million()
        );
        for role in args.merges() {
            run.merge(*role, round)?;
        }
    }
    println!("latency, {}", latency::WHAT);
    for role in args.merges() {
        run.latency(*role)?;
    }
    println!("\nMedians over the rounds; latency was measured once.\n\n{}", run.report.table());
    if let Some(file) = &args.plot {
        let heading = format!("One-stage merge on Kafka, {} records over {} keys, medians over the rounds", args.records, args.keys);
        std::fs::write(file, plot::svg(&heading, &run.report)).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// One round with one stream thread, for another bench to be compared with: the bare copy, and the merge.
pub fn one_round(records: usize, commit: u64) -> anyhow::Result<[Pace; 2]> {
    let args = Args { records, keys: records / 2, partitions: 2, threads: 1, commit, rounds: 1, kafka_streams: false, plot: None };
    let mut run = Run::new(args)?;
    Ok([run.copy(Role::Bare, 1)?, run.merge(Role::Driver, 1)?])
}

struct Run {
    args: Args,
    topics: Topics,
    report: Report,
}

impl Run {
    /// Writes the inputs.
    fn new(args: Args) -> anyhow::Result<Run> {
        anyhow::ensure!(args.keys > 0 && args.records.is_multiple_of(args.keys), "--records must be a multiple of --keys");
        let codec = Registry::new().codec::<SourceCustomer>(CODEC)?;
        let topics = Topics::new(broker::bootstrap(), args.clone(), codec)?;
        topics.fill()?;
        println!(
            "one-stage merge on Kafka, two inputs, {} records over {} keys, {} partitions, {} threads, commit every {} ms, exactly once",
            args.records, args.keys, args.partitions, args.threads, args.commit
        );
        Ok(Run { args, topics, report: Report::default() })
    }

    /// Starts a client, in a round.
    fn start(&self, role: Role, name: &str, folder: &Path) -> anyhow::Result<Client> {
        let settings = Settings { threads: self.args.threads, commit: Some(self.args.commit) };
        Client::start(role, &self.topics.for_clients(), settings, name, folder)
    }

    /// Watches a new client until it is done, and ends it.
    fn pace(&mut self, client: Client, role: Role, name: &str) -> anyhow::Result<Pace> {
        let pace = watch::pace(&client, &self.topics.for_clients(), name)?;
        let memory = client.peak_resident_mb();
        client.stop()?;
        pace.print(role.title(), memory);
        self.report.add(role, Figure::Rate, pace.rate());
        self.report.add(role, Figure::Cpu, pace.cpu_per_million());
        self.report.add(role, Figure::Resident, memory);
        Ok(pace)
    }

    fn copy(&mut self, role: Role, round: usize) -> anyhow::Result<Pace> {
        let name = self.topics.name(&format!("{role:?}-{round}"));
        self.topics.create(&[&name])?;
        let folder = tempfile::tempdir()?;
        let pace = self.pace(self.start(role, &name, folder.path())?, role, &name)?;
        // Older edits of rounds before are inputs, too.
        let (copied, written) = (self.topics.count(&name, &self.topics.beginning())?, self.topics.written()?);
        anyhow::ensure!(copied == written, "{copied} of {written} records were copied");
        Ok(pace)
    }

    fn merge(&mut self, role: Role, round: usize) -> anyhow::Result<Pace> {
        let name = self.topics.name(&format!("{role:?}-{round}"));
        self.topics.create(&[&name])?;
        let folder = tempfile::tempdir()?;
        let pace = self.pace(self.start(role, &name, folder.path())?, role, &name)?;
        let on_disk = process::folder_mb(folder.path());
        println!("    state on disk    {on_disk:>9.0} MB");
        let mut outputs = Outputs::new(&self.args);
        self.topics.read_on(&name, &mut outputs)?;
        outputs.check()?;

        let client = self.start(role, &name, folder.path())?;
        let restart = client.wait_until_running()?;
        client.stop()?;
        remove(folder.path())?;
        let client = self.start(role, &name, folder.path())?;
        let (restore, memory) = (client.wait_until_running()?, client.peak_resident_mb());
        println!(
            "    start            {:>9.2} s with its state, {:.2} s restoring it ({memory:.0} MB resident)",
            restart.as_secs_f64(),
            restore.as_secs_f64()
        );
        println!("    state restored   {:>9.0} MB", process::folder_mb(folder.path()));
        self.report.add(role, Figure::OnDisk, on_disk);
        self.report.add(role, Figure::Restore, restore.as_secs_f64());
        // Older edits change nothing where the state is whole.
        let outputs_before = outputs.count;
        self.topics.write_stale()?;
        watch::until_committed(&self.topics.for_clients(), &name)?;
        client.stop()?;
        self.topics.read_on(&name, &mut outputs)?;
        anyhow::ensure!(outputs.count == outputs_before, "after restoring, {} older edits came through", outputs.count - outputs_before);
        println!("    verified         {:>9} keys, each with its last value, also after restoring", self.args.keys);
        Ok(pace)
    }

    /// Of a client that has taken in all inputs just before: its state is complete, and its program warm.
    fn latency(&mut self, role: Role) -> anyhow::Result<()> {
        let name = self.topics.name(&format!("{role:?}-latency"));
        self.topics.create(&[&name])?;
        let folder = tempfile::tempdir()?;
        let client = Client::start(role, &self.topics.for_clients(), latency::SETTINGS, &name, folder.path())?;
        watch::until_committed(&self.topics.for_clients(), &name)?;
        let millis = latency::measure(&self.topics, client, &name, self.args.keys)?;
        let [p50, p99] = [0.5, 0.99].map(|share| quantile(&millis, share));
        println!("  {}", role.title());
        println!("    p50, p99         {p50:>9.1} ms, {p99:.1} ms   ({} edits; every edit came out once)", millis.len());
        self.report.add(role, Figure::P50, p50);
        self.report.add(role, Figure::P99, p99);
        Ok(())
    }
}

fn remove(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        std::fs::remove_dir_all(entry?.path())?;
    }
    Ok(())
}
