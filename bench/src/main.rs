//! What Concord costs: throughput, latency, memory and bytes on disk, each beside something measured in the same run.
//! docs/benchmarks.md has the commands and the figures.

// The same as in `concord`.
#[path = "../../concord/src/allocator.rs"]
mod allocator;
// The broker of the tests, who kill and stop it, too: gone when this process is, however that ends.
#[allow(dead_code)]
#[path = "../../streams/tests/kafka_support/broker.rs"]
mod broker;
mod feed;
mod kafka_clients;
mod kafka_merge;
mod latency;
mod merge;
mod process;
mod topology_bench;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    about = "Benchmarks of Concord",
    after_help = "Examples:\n  cargo run --release -p bench -- topology\n  cargo run --release -p bench -- merge --records 1000000\n  ./scripts/kafka.sh && cargo run --release -p bench -- kafka-merge --plot merge.svg\n  ./scripts/kafka.sh && cargo run --release -p bench -- topology --kafka\n  cargo build --release -p concord && cargo run --release -p bench -- latency\n  ./scripts/kafka.sh && cargo run --release -p bench -- latency --kafka"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Source records a second through the full customer topology, two systems: on the embedded log, every commit on disk, or on Apache Kafka
    Topology(topology_bench::Args),
    /// The same for a one-stage merge: two inputs, keyed by e-mail, field by field, unchanged dropped
    Merge(merge::Args),
    /// The same merge on Apache Kafka, exactly once, beside copies through librdkafka and on the driver; then its latency at 200 edits/s
    KafkaMerge(kafka_merge::Args),
    /// A client of `kafka-merge` and `topology --kafka`
    #[command(hide = true)]
    KafkaClient(kafka_clients::ClientArgs),
    /// How long an edit takes to the other side, both ways, with the real binary
    Latency(latency::Args),
}

fn main() -> anyhow::Result<()> {
    allocator::give_back_soon();
    match Cli::parse().command {
        Command::Topology(args) => topology_bench::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::KafkaMerge(args) => kafka_merge::run(&args),
        Command::KafkaClient(args) => kafka_clients::run(&args),
        Command::Latency(args) => latency::run(&args),
    }
}
