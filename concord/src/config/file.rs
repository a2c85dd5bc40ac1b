//! `concord.toml`, as written. Unknown keys are refused, so that a typing mistake is never silently a default.

use super::{ConfigError, DEFAULT_FILE, Env, Overrides};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The file that flags or the environment name, or the usual one if it is there; and what to call it.
pub fn read(overrides: &Overrides, env: &Env) -> Result<(String, File), ConfigError> {
    let named = overrides.config.clone().or_else(|| env.var("CONCORD_CONFIG").map(PathBuf::from));
    let (path, text) = match named {
        Some(path) => {
            let text = std::fs::read_to_string(&path).map_err(|e| ConfigError {
                from: path.display().to_string(),
                mistakes: vec![format!("CONCORD_CONFIG: cannot read {}: {e}", path.display())],
            })?;
            (Some(path), text)
        }
        None if Path::new(DEFAULT_FILE).exists() => {
            let text = std::fs::read_to_string(DEFAULT_FILE)
                .map_err(|e| ConfigError { from: DEFAULT_FILE.into(), mistakes: vec![format!("cannot read {DEFAULT_FILE}: {e}")] })?;
            (Some(PathBuf::from(DEFAULT_FILE)), text)
        }
        None => (None, String::new()),
    };
    let source = path.map_or_else(|| "no file, defaults and environment".into(), |p| p.display().to_string());
    let file = toml::from_str(&text).map_err(|e| ConfigError { from: source.clone(), mistakes: vec![e.to_string().trim().to_string()] })?;
    Ok((source, file))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub application_id: Option<String>,
    pub partitions: Option<i32>,
    pub retention_days: Option<u32>,
    pub systems: Option<BTreeMap<String, SystemFile>>,
    pub merge: Option<MergeFile>,
    pub kafka: Option<KafkaFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemFile {
    pub kind: String,
    pub mode: Option<String>,
    pub deletes: Option<String>,
    pub table: Option<String>,
    pub key: Option<String>,
    /// Field → column, as `clients::postgres::TableConfig` takes them.
    pub columns: Option<BTreeMap<String, String>>,
    pub env_prefix: Option<String>,
    pub rate_limit: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaFile {
    pub bootstrap_servers: Option<String>,
    pub replication_factor: Option<i32>,
    /// `classic` or `consumer`.
    pub group_protocol: Option<String>,
    /// How long a process may be silent until others take over what it did.
    pub session_timeout_ms: Option<u64>,
    /// Keeps this process' partitions for it while it is started again.
    pub group_instance_id: Option<String>,
    /// Settings of librdkafka for every client.
    pub client: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeFile {
    pub priority: Option<Vec<String>>,
    pub fields: Option<BTreeMap<String, RuleFile>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    pub rule: String,
    pub systems: Option<Vec<String>>,
}

/// What runs without any file: the product's own table and one Stripe account.
pub fn default_systems() -> BTreeMap<String, SystemFile> {
    let kind = |kind: &str| SystemFile { kind: kind.into(), ..SystemFile::default() };
    BTreeMap::from([("product".into(), kind("postgres")), ("stripe".into(), kind("stripe"))])
}
