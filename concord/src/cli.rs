//! The command line. Data goes to stdout, everything else to stderr.

use crate::{config::Overrides, dlq::DlqCommand, lag, moment::Since, publish};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(
    name = "concord",
    version,
    about = "Keeps a company's customers in step: its own Postgres table, Stripe, and whoever publishes to its topics",
    after_help = "Examples:\n  concord run                                   run everything until Ctrl-C\n  concord customers list --email ada@example.com\n  concord consume customers.unified --follow\n  concord publish customers.crm people.jsonl --key-field id"
)]
pub struct Cli {
    #[command(flatten)]
    pub settings: Settings,
    #[command(subcommand)]
    pub command: Command,
}

/// Where the configuration is, and what overrides it.
#[derive(Debug, Args, Clone)]
pub struct Settings {
    /// Configuration file [default: concord.toml, if there is one] [env: CONCORD_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the log [default: ./.concord] [env: CONCORD_DATA_DIR]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Address to serve HTTP on [default: 127.0.0.1:8000] [env: CONCORD_LISTEN]; of `registry` [default: 127.0.0.1:8081]
    /// [env: CONCORD_REGISTRY_LISTEN]
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
}

impl Settings {
    pub fn overrides(&self) -> Overrides {
        Overrides { config: self.config.clone(), data_dir: self.data_dir.clone(), listen: self.listen.clone() }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in this process (log, topology, sources and sinks, HTTP), or with a log on Kafka a part of it
    #[command(
        after_help = "Examples:\n  concord run\n  concord run --config concord.toml --data-dir /var/lib/concord --listen 127.0.0.1:9000\n  CONCORD_LOG=debug concord run\n  KAFKA_BOOTSTRAP_SERVERS=kafka:9092 concord run --roles streams,connectors\n  KAFKA_BOOTSTRAP_SERVERS=kafka:9092 KAFKA_GROUP_INSTANCE_ID=eu-1 concord run   (keeps its partitions while it is started again)"
    )]
    Run {
        /// What this process does: `streams` (the topology), `connectors` (sources and sinks), `http` (webhooks, API, page, schema registry). A part
        /// alone needs KAFKA_BOOTSTRAP_SERVERS
        #[arg(long, value_enum, value_delimiter = ',', default_value = "streams,connectors,http", value_name = "ROLES")]
        roles: Vec<Role>,
    },
    /// Serve the schema registry alone (`concord run` serves it as well): Confluent's REST API, on the log of a data folder or on Kafka
    #[command(
        after_help = "Examples:\n  concord registry\n  concord registry --listen 127.0.0.1:8082 --data-dir ./schemas\n  CONCORD_REGISTRY_BASIC_AUTH=ada:secret concord registry --listen 0.0.0.0:8081\n  KAFKA_BOOTSTRAP_SERVERS=kafka:9092 concord registry\n  curl -s http://127.0.0.1:8081/subjects\n\nIt listens on --listen, else CONCORD_REGISTRY_LISTEN, else 127.0.0.1:8081."
    )]
    Registry,
    /// Check the configuration, and that Postgres and the vendors can be reached with it
    #[command(
        after_help = "Examples:\n  concord validate\n  concord validate --offline --config concord.toml\n  concord validate --json\n\nExit code 0 if all is right, 1 if not."
    )]
    Validate {
        /// Check what is written only, and connect to nothing
        #[arg(long)]
        offline: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make what Concord needs before it runs, and find what is not as it must be: topics, schemas, Postgres, ksqlDB
    #[command(
        after_help = "Examples:\n  concord deploy --dry-run\n  concord deploy\n  concord deploy --dry-run --json\n  concord deploy --allow shorter-retention\n  KSQLDB_URL=http://127.0.0.1:8088 concord deploy\n  concord deploy --destroy\n\nExit code 0 if all is as it must be (now), 1 if something is refused or failed, 2 if a dry run has something to do."
    )]
    Deploy(crate::deploy::Deploy),
    /// Begin a new log from what is known of each customer, and read all systems anew; without --execute only tell what would be done
    #[command(
        after_help = "Examples:\n  concord reset\n  concord reset --execute\n  concord reset --execute --yes --json\n  concord reset --forget-links\n\nRequests, results and whatever else is under way go, and so do offsets and stores. Who is linked to whom stays, with what each record\nlast showed, so nobody is created twice, and what people edited while Concord was off arrives. With --forget-links that goes, too: people\nare matched by e-mail again, where systems differ the newer record wins, and who was deleted in one system only comes back there.\n\nExit code 0 if it was done or there is nothing to do, 1 if it failed, 2 if there is something to do and --execute was not given."
    )]
    Reset(crate::reset::Reset),
    /// Show the topology that the configuration makes
    #[command(subcommand)]
    Topology(TopologyCommand),
    /// Avro schemas: look for faults, see what changed, check that they may follow what is there, register them
    #[command(subcommand)]
    Schemas(crate::schemas::SchemasCommand),
    /// Publish JSON lines to a topic, as Avro
    #[command(
        after_help = "Examples:\n  concord publish customers.crm people.jsonl --key-field id\n  echo '{\"fields\":{\"name\":\"Ada\",\"email\":\"ada@example.com\"}}' | concord publish customers.crm --key ada -\n  concord publish customers.crm people.jsonl --key-field id --validate-only --errors refused.jsonl\n  concord publish customers.crm people.jsonl --key-field id --header source=import --schema customers.crm-value@1\n  echo '{\"id\":7,\"at\":\"2026-01-02T00:00:00Z\",\"fields\":null}' | concord publish customers.crm --key-field id --timestamp-field at -\n\nExit code 1 if a line was refused; the others are published all the same. A value is encoded with the latest schema of the subject\nTOPIC-value; --schema and --schema-id name another one of it, or one that who reads with the latest can read."
    )]
    Publish(publish::Args),
    /// Print a topic's records as JSON lines
    #[command(
        after_help = "Examples:\n  concord consume customers.unified\n  concord consume customers.conflicts --follow\n  concord consume customers.stripe --from 100 --partition 0 --max 10\n  concord consume customers.crm --key 7 --since 2h\n\nA line is an object: topic, partition, offset, timestamp (milliseconds since 1970), key, value, headers, schema_id."
    )]
    Consume(Consume),
    /// Customers: the golden record, where each value comes from, and what every system shows
    #[command(subcommand)]
    Customers(CustomersCommand),
    /// What a person may want to look at: conflicting edits, refused values, duplicate candidates
    #[command(
        after_help = "Examples:\n  concord conflicts\n  concord conflicts --kind duplicate_candidate\n  concord conflicts --customer-id 0b0f6c2e-1d5a-5f0e-9c56-0d1a3c2f7b11 --json"
    )]
    Conflicts {
        #[command(flatten)]
        server: Server,
        /// Only those of this customer
        #[arg(long, value_name = "UUID")]
        customer_id: Option<String>,
        /// Only this kind: edits, covered, duplicate_candidate, spare, refused, delete_refused or flapping
        #[arg(long)]
        kind: Option<String>,
        /// How many at the most, newest first
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// The page after this one: the id of its last conflict, as it is told below a table that is not all
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Dead letters, records that could not be processed: what they are, and what becomes of them
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// How far every consumer group is behind: the topology's, each system's conversation, the golden tables'
    #[command(
        after_help = "Examples:\n  concord lag\n  concord lag --watch\n  concord lag --group concord-runner-stripe --watch 10\n  concord lag --json | jq .lag\n\nLAG counts records that the group has not processed, OLDEST is the age of the first of them. Where more than a thousand are left they\nare counted by their offsets. Exit code 0, whatever the lag."
    )]
    Lag(lag::Args),
    /// How the running process is doing, part by part
    #[command(
        after_help = "Examples:\n  concord status\n  concord status --json\n  concord status --url http://127.0.0.1:9000\n\nExit code 0 while the process can do its work, 1 if not."
    )]
    Status {
        #[command(flatten)]
        server: Server,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Exit code 0 if the running process can do its work, 1 if not (for a container's health check)
    #[command(after_help = "Examples:\n  concord healthcheck\n  concord healthcheck --url http://127.0.0.1:9000 || echo not ready")]
    Healthcheck {
        #[command(flatten)]
        server: Server,
    },
}

/// A part of what `concord run` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// The topology: merges what comes, and decides what is written
    Streams,
    /// Sources and sinks: a system's reads and writes are one conversation, so they are one role
    Connectors,
    /// Webhooks, the API, the page and the schema registry
    Http,
}

/// The running process to talk to.
#[derive(Debug, Args, Clone)]
pub struct Server {
    /// Address of the running process [default: http:// and CONCORD_LISTEN]
    #[arg(long, env = "CONCORD_URL", value_name = "URL")]
    pub url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum TopologyCommand {
    /// The description that Kafka Streams' tools read
    #[command(after_help = "Examples:\n  concord topology describe\n  concord topology describe --config concord.toml")]
    Describe,
    /// A graph
    #[command(after_help = "Examples:\n  concord topology graph > topology.mmd\n  concord topology graph --format text")]
    Graph {
        /// A Mermaid flow chart, or lines of text
        #[arg(long, value_enum, default_value = "mermaid")]
        format: GraphFormat,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum GraphFormat {
    Text,
    Mermaid,
}

#[derive(Debug, Args)]
pub struct Consume {
    /// Any topic of the log; a wrong name lists them all
    pub topic: String,
    /// Start here: an offset, `beginning` or `end`
    #[arg(long, default_value = "beginning")]
    pub from: String,
    /// Only this partition
    #[arg(long)]
    pub partition: Option<i32>,
    /// Only records with this key
    #[arg(long)]
    pub key: Option<String>,
    /// Only records with a timestamp of the last while (90s, 15m, 2h, 7d) or since a time (2026-01-02T03:04:05Z)
    #[arg(long, value_name = "WHEN", value_parser = Since::parse)]
    pub since: Option<Since>,
    /// Stop after so many records
    #[arg(long)]
    pub max: Option<u64>,
    /// Wait for more
    #[arg(long)]
    pub follow: bool,
}

#[derive(Debug, Subcommand)]
pub enum CustomersCommand {
    /// List customers, in order of id
    #[command(
        after_help = "Examples:\n  concord customers list\n  concord customers list --email ada@example.com\n  concord customers list --system stripe --limit 500 --json"
    )]
    List {
        #[command(flatten)]
        server: Server,
        /// Only who has this e-mail address, in any case
        #[arg(long)]
        email: Option<String>,
        /// Only who has a record in this system
        #[arg(long)]
        system: Option<String>,
        /// Only who has a record of this id
        #[arg(long)]
        external_id: Option<String>,
        /// How many at the most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// The page after this one: the id of the last customer that was shown
        #[arg(long, value_name = "UUID")]
        after: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one customer, by customer id, or by system and external id
    #[command(
        after_help = "Examples:\n  concord customers show 0b0f6c2e-1d5a-5f0e-9c56-0d1a3c2f7b11\n  concord customers show stripe:cus_123\n  concord customers show stripe cus_123 --json"
    )]
    Show {
        #[command(flatten)]
        server: Server,
        /// A customer id; or a record, as SYSTEM:ID or as SYSTEM with its id next
        #[arg(value_name = "ID|SYSTEM")]
        id: String,
        /// The record's id in that system
        #[arg(value_name = "EXTERNAL_ID")]
        external_id: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn check(command: &clap::Command) {
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{}: {} is not explained", command.get_name(), argument.get_id());
        }
        for command in command.get_subcommands() {
            let help = command.get_after_help().map(|help| help.to_string()).unwrap_or_default();
            let is_a_group = command.has_subcommands();
            assert!(is_a_group || help.contains("Examples:\n  "), "{} has no examples", command.get_name());
            check(command);
        }
    }

    #[test]
    fn every_command_has_examples_and_every_argument_is_explained() {
        check(&Cli::command());
    }

    #[test]
    fn no_customers_at_all_is_no_limit() {
        let error = Cli::try_parse_from(["concord", "customers", "list", "--limit", "0"]).unwrap_err().to_string();
        assert!(error.contains("1.."), "{error}");
    }
}
