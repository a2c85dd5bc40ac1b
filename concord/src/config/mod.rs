//! What Concord runs with: flags over environment over file. [`Config::load`] reads and checks all of it without any
//! I/O but the files it names, and collects every mistake, each with the exact key that is wrong.

mod env;
mod file;
mod kafka;
mod ksqldb;
mod registry;

pub use env::Env;
pub use kafka::Kafka;
pub use ksqldb::KsqlDb;
pub use registry::{Alone, RegistryConfig, RemoteConfig};

use clients::{
    Secret,
    postgres::TableConfig,
    stripe::{Limits, Options, SetupError, options::API_BASE},
};
use schemas::{Field, System};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

/// The file that is read where `CONCORD_CONFIG` names none and this one exists.
pub const DEFAULT_FILE: &str = "concord.toml";
/// `application_id`, unless the file has another.
const APPLICATION_ID: &str = "concord";

/// All of it, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the configuration came from, for messages.
    pub source: String,
    pub application_id: String,
    pub database_url: Option<Secret>,
    pub listen: SocketAddr,
    pub api_token: Option<Secret>,
    pub data_dir: PathBuf,
    /// The log is on this cluster; `None`: in the data folder.
    pub kafka: Option<Kafka>,
    pub registry: RegistryConfig,
    /// Another registry than our own.
    pub schema_registry: Option<RemoteConfig>,
    /// Migrations are applied there by `concord deploy`.
    pub ksqldb: Option<KsqlDb>,
    /// Partitions of every topic with a key; never changes once a log exists.
    pub partitions: i32,
    /// How long `customers.<system>` and the like keep what was read (they hold personal data).
    pub retention_days: u32,
    pub systems: BTreeMap<System, SystemConfig>,
    pub merge: MergeConfig,
}

/// One system that holds customers.
#[derive(Debug, Clone)]
pub struct SystemConfig {
    pub kind: Kind,
    pub mode: Mode,
    pub deletes: Deletes,
}

#[derive(Debug, Clone)]
pub enum Kind {
    /// The product's table; by default one that Concord makes and owns, `public.customers`.
    Postgres(TableConfig),
    Stripe(Stripe),
    /// No connector: any program publishes snapshots to `customers.<system>`.
    Topic,
}

impl Kind {
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Postgres(_) => "postgres",
            Kind::Stripe(_) => "stripe",
            Kind::Topic => "topic",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Stripe {
    /// Key, address and limits. `None`: no key was given, and none is needed for what was asked ([`Need::Shape`]).
    pub options: Option<clients::stripe::Options>,
    /// Any of them may have signed a webhook.
    pub webhook_secrets: Vec<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Sync,
    /// Never written to.
    Read,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Sync => "sync",
            Mode::Read => "read",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletes {
    Propagate,
    Keep,
}

#[derive(Debug, Clone, Default)]
pub struct MergeConfig {
    /// Breaks ties of time; the first is the strongest.
    pub priority: Vec<System>,
    pub rules: BTreeMap<Field, Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    LastWriterWins,
    SystemOfRecord(Vec<System>),
}

/// What a command needs of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Keys and addresses too: it talks to the systems.
    Everything,
    /// The systems' names and rules only: a missing secret is no mistake.
    Shape,
}

/// What flags gave; each wins over the environment.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    pub config: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub listen: Option<String>,
}

/// Every mistake found, each naming its key.
#[derive(Debug, thiserror::Error)]
#[error("{} wrong in the configuration ({from}):\n{}", count(.mistakes.len()), .mistakes.iter().map(|m| format!("  - {m}")).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    pub from: String,
    pub mistakes: Vec<String>,
}

fn count(n: usize) -> String {
    if n == 1 { "one thing is".into() } else { format!("{n} things are") }
}

impl Config {
    /// Reads flags, environment and file.
    pub fn load(overrides: &Overrides, env: &Env, need: Need) -> Result<Config, ConfigError> {
        let (source, file) = file::read(overrides, env)?;
        Config::check(source, file, overrides, env, need)
    }

    fn check(source: String, file: file::File, overrides: &Overrides, env: &Env, need: Need) -> Result<Config, ConfigError> {
        let mut wrong = Vec::new();
        let secret = |name: &str, wrong: &mut Vec<String>| match env.secret(name) {
            Ok(secret) => secret,
            Err(mistake) => {
                wrong.push(mistake);
                None
            }
        };

        if let Err(mistake) = env.log_filter() {
            wrong.push(mistake);
        }
        let listen_text = overrides.listen.clone().or_else(|| env.var("CONCORD_LISTEN")).unwrap_or_else(|| "127.0.0.1:8000".into());
        let listen = listen_text.parse::<SocketAddr>().unwrap_or_else(|_| {
            wrong.push(format!("CONCORD_LISTEN: {listen_text:?} is not address:port (for example 127.0.0.1:8000)"));
            SocketAddr::from(([127, 0, 0, 1], 8000))
        });
        let api_token = secret("CONCORD_API_TOKEN", &mut wrong);
        if !listen.ip().is_loopback() && api_token.is_none() {
            wrong.push(format!("CONCORD_API_TOKEN: needed to listen on {listen}, which is not loopback"));
        }
        let database_url = secret("DATABASE_URL", &mut wrong);

        let mut systems = BTreeMap::new();
        let configured = file.systems.unwrap_or_else(file::default_systems);
        for (name, block) in configured {
            let at = format!("systems.{name}");
            let Ok(system) = System::new(&name) else {
                wrong.push(format!("{at}: a system's name is 1 to 32 of a-z, 0-9, '-' and '_', a letter first"));
                continue;
            };
            if let Some(config) = check_system(&at, block, env, need, &mut wrong) {
                systems.insert(system, config);
            }
        }
        let products = systems.values().filter(|s| matches!(s.kind, Kind::Postgres(_))).count();
        if products > 1 {
            wrong.push("systems: one system of kind \"postgres\" at the most".into());
        }
        if products == 1 && database_url.is_none() && need == Need::Everything {
            wrong.push("DATABASE_URL: needed for the product's table (./start.sh makes a private cluster and sets it)".into());
        }
        let kafka = kafka::check(file.kafka, env, &mut wrong);
        let merge = check_merge(file.merge.unwrap_or_default(), &systems, &mut wrong);
        let partitions = file.partitions.unwrap_or(4);
        if !(1..=256).contains(&partitions) {
            wrong.push(format!("partitions: {partitions} is not within 1 to 256"));
        }
        if file.retention_days == Some(0) {
            wrong.push("retention_days: at least 1".into());
        }
        let schema_registry = RemoteConfig::read(env, &mut wrong);
        // There is one registry, not two.
        let ours = if schema_registry.is_some() { Some("off") } else { None };
        let registry = RegistryConfig::read(env, ours, &mut wrong);
        let ksqldb = KsqlDb::read(env, kafka.is_some(), &mut wrong);
        if !wrong.is_empty() {
            return Err(ConfigError { from: source, mistakes: wrong });
        }
        Ok(Config {
            source,
            application_id: file.application_id.unwrap_or_else(|| APPLICATION_ID.into()),
            database_url,
            listen,
            api_token,
            data_dir: data_dir(overrides, env),
            kafka,
            registry,
            schema_registry,
            ksqldb,
            partitions,
            retention_days: file.retention_days.unwrap_or(7),
            systems,
            merge,
        })
    }
}

fn data_dir(overrides: &Overrides, env: &Env) -> PathBuf {
    overrides.data_dir.clone().or_else(|| env.var("CONCORD_DATA_DIR").map(PathBuf::from)).unwrap_or_else(|| ".concord".into())
}

fn check_system(at: &str, block: file::SystemFile, env: &Env, need: Need, wrong: &mut Vec<String>) -> Option<SystemConfig> {
    let before = wrong.len();
    let mode = match block.mode.as_deref() {
        None | Some("sync") => Mode::Sync,
        Some("read") => Mode::Read,
        Some(other) => {
            wrong.push(format!("{at}.mode: {other:?} is not \"sync\" or \"read\""));
            Mode::Read
        }
    };
    for (key, is_there, kind) in [
        ("table", block.table.is_some(), "postgres"),
        ("key", block.key.is_some(), "postgres"),
        ("columns", block.columns.is_some(), "postgres"),
        ("env_prefix", block.env_prefix.is_some(), "stripe"),
        ("rate_limit", block.rate_limit.is_some(), "stripe"),
    ] {
        if is_there && block.kind != kind {
            wrong.push(format!("{at}.{key}: only with kind = {kind:?}"));
        }
    }
    let (kind, default_deletes) = match block.kind.as_str() {
        "postgres" => {
            let table = match (block.table, block.key, block.columns) {
                (None, None, None) => TableConfig::owned(),
                (None, ..) => {
                    wrong.push(format!("{at}.table: missing beside key or columns"));
                    TableConfig::owned()
                }
                (Some(_), _, None) => {
                    wrong.push(format!("{at}.columns: missing; say which column holds which field"));
                    TableConfig::owned()
                }
                (Some(table), key, Some(columns)) => {
                    let table = TableConfig { table, key: key.unwrap_or_else(|| "id".into()), columns, owned: false };
                    if let Err(error) = table.check() {
                        wrong.push(format!("{at}.{error}"));
                    }
                    table
                }
            };
            (Kind::Postgres(table), Deletes::Propagate)
        }
        "stripe" => {
            let prefix = block.env_prefix.unwrap_or_else(|| "STRIPE".into());
            let mut read = |name: String| {
                env.secret(&name).unwrap_or_else(|mistake| {
                    wrong.push(mistake);
                    None
                })
            };
            let api_key = read(format!("{prefix}_API_KEY"));
            let signing = read(format!("{prefix}_WEBHOOK_SECRET"));
            let api_base = env.var(&format!("{prefix}_API_BASE")).unwrap_or_else(|| API_BASE.into());
            let options = match api_key {
                None if need == Need::Shape => None,
                None => {
                    wrong.push(format!("{prefix}_API_KEY: missing for {at} (./start.sh without one uses the sandbox; commands beside it take its settings by `. .concord/env`)"));
                    None
                }
                Some(key) => match Options::new(key, &api_base) {
                    Ok(options) => Some(options),
                    Err(error @ (SetupError::Key | SetupError::Publishable)) => {
                        wrong.push(format!("{prefix}_API_KEY: {error}"));
                        None
                    }
                    Err(error) => {
                        wrong.push(format!("{prefix}_API_BASE: {error}"));
                        None
                    }
                },
            };
            let live = options.as_ref().is_none_or(|o| o.is_live() && !o.is_local());
            let options = match (options, block.rate_limit) {
                (_, Some(0)) => {
                    wrong.push(format!("{at}.rate_limit: 0 calls a second would never call"));
                    None
                }
                (Some(options), Some(rate)) => Some(options.limits(Limits::of(rate))),
                // A stand-in on this machine: no account whose limits a test key would share.
                (Some(options), None) if options.is_local() => Some(options.limits(Limits::live())),
                (options, _) => options,
            };
            let signs = signing.is_some();
            let webhook_secrets: Vec<Secret> = signing
                .map(|all| all.reveal().split(',').map(str::trim).filter(|s| !s.is_empty()).map(Secret::new).collect())
                .unwrap_or_default();
            if signs && webhook_secrets.is_empty() {
                wrong.push(format!("{prefix}_WEBHOOK_SECRET: only commas; unset it or give it the endpoint's signing secret"));
            }
            let stripe = Stripe { options, webhook_secrets };
            (Kind::Stripe(stripe), if live { Deletes::Keep } else { Deletes::Propagate })
        }
        "topic" => (Kind::Topic, Deletes::Keep),
        "salesforce" => {
            wrong.push(format!("{at}.kind: \"salesforce\" is not in this build yet"));
            return None;
        }
        other => {
            wrong.push(format!("{at}.kind: {other:?} is not \"postgres\", \"stripe\" or \"topic\""));
            return None;
        }
    };
    let deletes = match block.deletes.as_deref() {
        None => default_deletes,
        Some("propagate") => Deletes::Propagate,
        Some("keep") => Deletes::Keep,
        Some(other) => {
            wrong.push(format!("{at}.deletes: {other:?} is not \"propagate\" or \"keep\""));
            Deletes::Keep
        }
    };
    (wrong.len() == before).then_some(SystemConfig { kind, mode, deletes })
}

fn check_merge(merge: file::MergeFile, systems: &BTreeMap<System, SystemConfig>, wrong: &mut Vec<String>) -> MergeConfig {
    let known = |at: &str, names: Vec<String>, wrong: &mut Vec<String>| -> Vec<System> {
        let mut list = Vec::new();
        for name in names {
            match System::new(&name) {
                Ok(system) if systems.contains_key(&system) => list.push(system),
                // The usual systems may stand in an order without being there.
                Ok(system) if ["product", "stripe", "salesforce"].contains(&system.as_str()) => {}
                Ok(_) => wrong.push(format!("{at}: there is no system {name:?}")),
                Err(_) => wrong.push(format!("{at}: {name:?} is not a system's name")),
            }
        }
        list
    };
    let priority =
        known("merge.priority", merge.priority.unwrap_or_else(|| vec!["product".into(), "salesforce".into(), "stripe".into()]), wrong);
    let mut rules = BTreeMap::new();
    for (name, rule) in merge.fields.unwrap_or_default() {
        let at = format!("merge.fields.{name}");
        let Ok(field) = name.parse::<Field>() else {
            wrong.push(format!("{at}: no such field (name, email, phone, address or \"attributes.<key>\")"));
            continue;
        };
        match (rule.rule.as_str(), rule.systems) {
            ("last-writer-wins", None) => {
                rules.insert(field, Rule::LastWriterWins);
            }
            ("last-writer-wins", Some(_)) => wrong.push(format!("{at}.systems: only with rule = \"system-of-record\"")),
            ("system-of-record", Some(list)) if !list.is_empty() => {
                let list = known(&format!("{at}.systems"), list, wrong);
                rules.insert(field, Rule::SystemOfRecord(list));
            }
            ("system-of-record", _) => wrong.push(format!("{at}.systems: missing, the systems in order of say")),
            (other, _) => wrong.push(format!("{at}.rule: {other:?} is not \"last-writer-wins\" or \"system-of-record\"")),
        }
    }
    MergeConfig { priority, rules }
}

#[cfg(test)]
mod tests;
