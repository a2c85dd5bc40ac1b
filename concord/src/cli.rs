//! The command line. Data goes to stdout, everything else to stderr.

use crate::config::Overrides;
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
    /// Address to serve HTTP on [default: 127.0.0.1:8000] [env: CONCORD_LISTEN]
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
    /// Run everything in this process: log, topology, sources, sinks, HTTP
    Run,
    /// Check the configuration, and that Postgres and the vendors can be reached with it
    Validate {
        /// Check what is written only, and connect to nothing
        #[arg(long)]
        offline: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the topology that the configuration makes
    #[command(subcommand)]
    Topology(TopologyCommand),
    /// Publish JSON lines to a topic, as Avro
    #[command(
        after_help = "Examples:\n  concord publish customers.crm people.jsonl --key-field id\n  echo '{\"fields\":{\"name\":\"Ada\",\"email\":\"ada@example.com\"}}' | concord publish customers.crm --key ada -"
    )]
    Publish(Publish),
    /// Print a topic's records as JSON lines
    #[command(
        after_help = "Examples:\n  concord consume customers.unified\n  concord consume customers.conflicts --follow\n  concord consume customers.stripe --from 100 --partition 0 --max 10"
    )]
    Consume(Consume),
    /// Customers: the golden record, where each value comes from, and what every system shows
    #[command(subcommand)]
    Customers(CustomersCommand),
    /// What a person may want to look at: conflicting edits, refused values, duplicate candidates
    Conflicts {
        #[command(flatten)]
        server: Server,
        #[arg(long, value_name = "UUID")]
        customer_id: Option<String>,
        /// edits, covered, duplicate_candidate, spare, refused, delete_refused or flapping
        #[arg(long)]
        kind: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: u32,
        #[arg(long)]
        json: bool,
    },
    /// How the running process is doing, part by part
    Status {
        #[command(flatten)]
        server: Server,
        #[arg(long)]
        json: bool,
    },
    /// Exit code 0 if the running process can do its work, 1 if not (for a container's health check)
    Healthcheck {
        #[command(flatten)]
        server: Server,
    },
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
    Describe,
    /// A graph
    Graph {
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
pub struct Publish {
    pub topic: String,
    /// File of JSON lines; - for standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub file: PathBuf,
    /// One key for every record
    #[arg(long, conflicts_with = "key_field")]
    pub key: Option<String>,
    /// The field of each line that is its key (it is taken out of the value)
    #[arg(long, value_name = "NAME")]
    pub key_field: Option<String>,
    /// The field of each line that is its value [default: the whole line]
    #[arg(long, value_name = "NAME")]
    pub value_field: Option<String>,
    #[command(flatten)]
    pub server: Server,
}

#[derive(Debug, Args)]
pub struct Consume {
    pub topic: String,
    /// Start here: an offset, `beginning` or `end`
    #[arg(long, default_value = "beginning")]
    pub from: String,
    /// Only this partition
    #[arg(long)]
    pub partition: Option<i32>,
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
    List {
        #[command(flatten)]
        server: Server,
        #[arg(long)]
        email: Option<String>,
        #[arg(long)]
        system: Option<String>,
        #[arg(long)]
        external_id: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: u32,
        #[arg(long, value_name = "UUID")]
        after: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Show one customer, by customer id, or by system and external id
    #[command(after_help = "Examples:\n  concord customers show 0b0f6c2e-…\n  concord customers show stripe cus_123")]
    Show {
        #[command(flatten)]
        server: Server,
        /// A customer id; or a system, with its external id next
        #[arg(value_name = "ID|SYSTEM")]
        id: String,
        #[arg(value_name = "EXTERNAL_ID")]
        external_id: Option<String>,
        #[arg(long)]
        json: bool,
    },
}
