//! The command line of `concord schemas`.

use clap::{Args, Subcommand};
use schemas::Compatibility;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum SchemasCommand {
    /// Look for what makes a schema hard to read or to change: names, documentation, defaults, logical types
    #[command(
        after_help = "Examples:\n  concord schemas lint schemas/\n  concord schemas lint order.avsc --json\n\nExit code 0 if there is no fault (advice is none), 1 if there is one, 2 if a file cannot be read."
    )]
    Lint(Lint),
    /// May these schemas follow those that are there? Judged as Avro's own library does, level by level, field by field
    #[command(
        after_help = "Examples:\n  concord schemas check schemas/ --against origin/main\n  concord schemas check schemas/ --against released-schemas/ --level FULL_TRANSITIVE\n  concord schemas check --against http://127.0.0.1:8081 --json\n\nExit code 0 if the level holds, 1 if not, 2 if it cannot be judged: a wrong argument, or something that cannot be reached."
    )]
    Check(Check),
    /// What changed between two schemas, or two folders of them: fields added, removed and retyped, and which levels still hold
    #[command(
        after_help = "Examples:\n  concord schemas diff old.avsc new.avsc\n  concord schemas diff HEAD~1:schemas schemas/\n  concord schemas diff http://127.0.0.1:8081 schemas/ --json\n\nExit code 0 if nothing differs, 1 if something does, 2 if it cannot be told."
    )]
    Diff(Diff),
    /// Register schemas, after checking them: those of this build, or a file under a subject
    #[command(
        after_help = "Examples:\n  concord schemas register --dry-run\n  concord schemas register --registry http://127.0.0.1:8081\n  concord schemas register order.avsc --subject orders-value\n\nExit code 0 if all are registered (dry run: may be), 1 if one may not follow what is there, 2 if that cannot be told."
    )]
    Register(Register),
    /// List a registry's subjects, with their versions and levels
    #[command(after_help = "Examples:\n  concord schemas list\n  concord schemas list --registry http://127.0.0.1:8081 --json")]
    List(List),
    /// Print one schema of a registry, by subject or by id
    #[command(
        after_help = "Examples:\n  concord schemas get customers.unified-value\n  concord schemas get customers.unified-value --version 2 > old.avsc\n  concord schemas get --id 7 --json"
    )]
    Get(Get),
    /// Show or set what a registry demands of new versions
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write values with every older version, and read them with the present one; at a FULL or FORWARD level the other way, too
    #[command(
        after_help = "Examples:\n  concord schemas evolve-test --against http://127.0.0.1:8081\n  concord schemas evolve-test schemas/ --against released-schemas/ --values 1000\n\nExit code 0 if everything was read, 1 if not, 2 if it cannot be told."
    )]
    EvolveTest(EvolveTest),
}

/// A schema registry that speaks Confluent's REST API.
#[derive(Debug, Args, Clone)]
pub struct RegistryAt {
    /// Address of the registry (credentials: SCHEMA_REGISTRY_BASIC_AUTH=user:password, or a file of it in SCHEMA_REGISTRY_BASIC_AUTH_FILE)
    #[arg(long, env = "SCHEMA_REGISTRY_URL", value_name = "URL", default_value = "http://127.0.0.1:8081")]
    pub registry: String,
}

#[derive(Debug, Args)]
pub struct Lint {
    /// Files, and folders of .avsc files
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub paths: Vec<PathBuf>,
    /// Advice counts as a fault, too
    #[arg(long)]
    pub strict: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Check {
    /// Files, and folders of .avsc files [default: the schemas of this build, for the configured systems]
    #[arg(value_name = "FILE|FOLDER")]
    pub paths: Vec<PathBuf>,
    /// What is there: a registry's URL, a file, a folder (its subfolders 1, 2, 0.1.0 … are releases), or a git revision, as REV or REV:FOLDER
    #[arg(long, value_name = "URL|FOLDER|REV", env = "SCHEMA_REGISTRY_URL")]
    pub against: String,
    /// The level that must hold [default: a registry's own for the subject; else BACKWARD]
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub level: Option<Compatibility>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// The older side: a file, a folder, a git revision as REV:FOLDER, or a registry's URL
    #[arg(value_name = "A")]
    pub old: String,
    /// The newer side
    #[arg(value_name = "B")]
    pub new: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Register {
    /// A file [default: all schemas of this build, for the configured systems]
    #[arg(value_name = "FILE", requires = "subject")]
    pub file: Option<PathBuf>,
    /// The subject to register the file under, e.g. orders-value
    #[arg(long, value_name = "SUBJECT", requires = "file")]
    pub subject: Option<String>,
    #[command(flatten)]
    pub at: RegistryAt,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    pub at: RegistryAt,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Get {
    /// The subject
    #[arg(value_name = "SUBJECT", required_unless_present = "id", conflicts_with = "id")]
    pub subject: Option<String>,
    /// Its version, a number or `latest`
    #[arg(long, default_value = "latest", value_name = "VERSION", conflicts_with = "id")]
    pub version: String,
    /// The schema's id, as the bytes of a record name it
    #[arg(long, value_name = "ID")]
    pub id: Option<u32>,
    #[command(flatten)]
    pub at: RegistryAt,
    /// Print JSON, with subject, version and id around the schema
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show the level of a subject, or the one of all that have none of their own
    #[command(after_help = "Examples:\n  concord schemas config get\n  concord schemas config get customers.unified-value")]
    Get {
        /// The subject [default: all that have no level of their own]
        #[arg(value_name = "SUBJECT")]
        subject: Option<String>,
        #[command(flatten)]
        at: RegistryAt,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Set it
    #[command(
        after_help = "Examples:\n  concord schemas config set BACKWARD_TRANSITIVE\n  concord schemas config set FULL customers.unified-value"
    )]
    Set {
        /// NONE, BACKWARD, FORWARD, FULL, or one of the last three with _TRANSITIVE
        #[arg(value_name = "LEVEL", value_parser = level)]
        level: Compatibility,
        /// The subject [default: all that have no level of their own]
        #[arg(value_name = "SUBJECT")]
        subject: Option<String>,
        #[command(flatten)]
        at: RegistryAt,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct EvolveTest {
    /// Files, and folders of .avsc files [default: the schemas of this build, for the configured systems]
    #[arg(value_name = "FILE|FOLDER")]
    pub paths: Vec<PathBuf>,
    /// Where the older versions are: as in `concord schemas check`
    #[arg(long, value_name = "URL|FOLDER|REV", env = "SCHEMA_REGISTRY_URL")]
    pub against: String,
    /// The level to test for [default: a registry's own for the subject; else BACKWARD_TRANSITIVE]
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub level: Option<Compatibility>,
    /// How many values of each version
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub values: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn level(text: &str) -> Result<Compatibility, String> {
    let known = "NONE, BACKWARD, FORWARD, FULL, BACKWARD_TRANSITIVE, FORWARD_TRANSITIVE or FULL_TRANSITIVE";
    text.to_uppercase().parse().map_err(|_| format!("not one of {known}"))
}
