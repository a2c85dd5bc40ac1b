//! The topology on Apache Kafka, exactly once: a process of its own, beside the broker and this one, which is both systems. Before it, on the
//! same broker, which is warm then, a bare copy and the one-stage merge.

use super::{Args, Bench, people, print};
use crate::{
    broker,
    kafka_clients::{Inputs, Role, Settings, watch::Client},
    kafka_merge, process,
};
use people::{PRODUCT, STRIPE};
use schemas::Registry;
use streams::{Log, Topology, kafka::LogConfig};
use tokio::runtime::Handle;
use topology::customers::{self, topics};

/// Records of what it is compared with.
const BESIDE: usize = 1_000_000;

/// What the topology's process runs. Schemas get their ids in the order in which they are asked for: the same as here.
pub fn topology() -> anyhow::Result<Topology> {
    // How many partitions there are the brokers tell.
    Ok(customers::build(&people::config(1)?, &Registry::new())?)
}

pub fn run(args: &Args, runtime: &Handle) -> anyhow::Result<()> {
    let servers = broker::bootstrap();
    let config = people::config(args.partitions)?;
    let registry = Registry::new();
    customers::build(&config, &registry)?;
    let log = runtime.block_on(Log::connect(LogConfig::new(&config.application_id, servers)))?;
    anyhow::ensure!(log.partitions(topics::UNIFY).is_none(), "the broker at {servers} has run a topology before: it must be a new one");
    let [bare, merge] = kafka_merge::one_round(BESIDE, args.commit)?;

    let mut bench = Bench::new(log, runtime, &config, &registry, args)?;
    let inputs = Inputs { servers: servers.to_owned(), topics: [PRODUCT, STRIPE].map(str::to_owned).into(), partitions: args.partitions };
    let folder = tempfile::tempdir()?;
    let settings = Settings { threads: args.threads, commit: Some(args.commit) };
    let client = Client::start(Role::Topology, &inputs, settings, &config.application_id, folder.path())?;
    client.wait_until_running()?;
    let (cpu, around, broker) = (client.cpu_time(), process::cpu_time(), process::broker_cpu_time());
    let [first, edits] = bench.play(args.records)?;
    let (cpu, around) = (client.cpu_time() - cpu, process::cpu_time() - around);
    let broker = process::broker_cpu_time().zip(broker).map(|(cpu, then)| cpu - then);
    let memory = client.peak_resident_mb();
    println!(
        "full customer topology on Kafka, two systems, {} customers, {} partitions, {} threads, commit every {} ms, exactly once",
        args.customers, args.partitions, args.threads, args.commit
    );
    let all = print(first, edits);
    let per_million = |cpu: std::time::Duration| cpu.as_secs_f64() * 1e6 / all.records as f64;
    println!(
        "  client CPU         {:>9.1} s per million records; both systems, as this process plays them, {:.1} s",
        per_million(cpu),
        per_million(around)
    );
    if let Some(broker) = broker {
        println!("  broker CPU         {:>9.1} s per million records", per_million(broker));
    }
    println!("  peak resident      {memory:>9.0} MB");
    println!("  state on disk      {:>9.0} MB", process::folder_mb(folder.path()));
    println!("  all / merge        {:>9.3}", all.rate() / merge.rate());
    println!("  all / bare copy    {:>9.3}", all.rate() / bare.rate());
    client.stop()?;
    bench.verify()
}
