//! `[kafka]` and `KAFKA_*`: where the brokers are, and how they are talked to.

use super::{Env, file::KafkaFile};
use anyhow::{Context, anyhow};
use std::{collections::BTreeMap, fmt, time::Duration};
use streams::kafka::{GroupProtocol, Log, LogConfig};

/// Settings that are secrets, or say where one is: they come from the environment, never from the file.
const SECRETS: [(&str, &str); 2] = [("KAFKA_SASL_PASSWORD", "sasl.password"), ("KAFKA_SSL_KEY_PASSWORD", "ssl.key.password")];

/// What else the environment may say, with librdkafka's name for it.
const VARIABLES: [(&str, &str); 6] = [
    ("KAFKA_SECURITY_PROTOCOL", "security.protocol"),
    ("KAFKA_SASL_MECHANISM", "sasl.mechanism"),
    ("KAFKA_SASL_USERNAME", "sasl.username"),
    ("KAFKA_SSL_CA_LOCATION", "ssl.ca.location"),
    ("KAFKA_SSL_CERTIFICATE_LOCATION", "ssl.certificate.location"),
    ("KAFKA_SSL_KEY_LOCATION", "ssl.key.location"),
];

/// A process that died is replaced within seconds; a pause that a loaded machine makes does not count as a death.
const SESSION_TIMEOUT_MS: u64 = 10_000;

/// After that, it is said what is waited for.
const SILENT: Duration = Duration::from_secs(2);

/// How long a command waits.
const PATIENCE: Duration = Duration::from_secs(15);

/// A cluster that the log is on.
#[derive(Clone)]
pub struct Kafka {
    pub bootstrap_servers: String,
    /// Of topics that are made; -1 leaves it to the brokers.
    pub replication_factor: i32,
    pub group_protocol: GroupProtocol,
    /// How long a process may be silent until others take over what it did.
    pub session_timeout: Duration,
    /// Keeps this process' partitions for it while it is started again.
    pub group_instance_id: Option<String>,
    /// Settings of librdkafka for every client, secrets among them.
    pub client: BTreeMap<String, String>,
}

impl Kafka {
    /// Reaches the brokers for a command, for which somebody waits.
    pub async fn reach(&self, application_id: &str) -> anyhow::Result<Log> {
        let reached = tokio::time::timeout(PATIENCE, self.connect(application_id)).await;
        reached.unwrap_or_else(|_| {
            Err(anyhow!("KAFKA_BOOTSTRAP_SERVERS: no broker answers at {} within {PATIENCE:?}", self.bootstrap_servers))
        })
    }

    /// Reaches the brokers, waiting for them as long as the log does.
    pub async fn connect(&self, application_id: &str) -> anyhow::Result<Log> {
        let mut reached = LogConfig::new(application_id, &self.bootstrap_servers);
        reached.client.clone_from(&self.client);
        reached.replication_factor = self.replication_factor;
        reached.session_timeout = self.session_timeout;
        let reaching = Log::connect(reached);
        tokio::pin!(reaching);
        let reached = match tokio::time::timeout(SILENT, &mut reaching).await {
            Ok(reached) => reached,
            Err(_) => {
                tracing::info!(brokers = self.bootstrap_servers, "No broker has answered yet; waiting for them.");
                reaching.await
            }
        };
        reached.with_context(|| format!("KAFKA_BOOTSTRAP_SERVERS: {}", self.bootstrap_servers))
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("bootstrap_servers", &self.bootstrap_servers).finish_non_exhaustive()
    }
}

/// `None`: the log is embedded.
pub(super) fn check(file: Option<KafkaFile>, env: &Env, wrong: &mut Vec<String>) -> Option<Kafka> {
    let file = file.unwrap_or_default();
    let mut client = file.client.unwrap_or_default();
    for (_, setting) in SECRETS {
        if client.contains_key(setting) {
            wrong.push(format!("kafka.client: {setting} is a secret; give it as {}", name_of(setting)));
        }
    }
    for (variable, setting) in VARIABLES {
        if let Some(value) = env.var(variable) {
            client.insert(setting.to_owned(), value);
        }
    }
    for (variable, setting) in SECRETS {
        match env.secret(variable) {
            Ok(Some(secret)) => {
                client.insert(setting.to_owned(), secret.reveal().to_owned());
            }
            Ok(None) => {}
            Err(mistake) => wrong.push(mistake),
        }
    }
    let group_protocol = match file.group_protocol.as_deref() {
        None | Some("classic") => GroupProtocol::Classic,
        Some("consumer") => GroupProtocol::Consumer,
        Some(other) => {
            wrong.push(format!("kafka.group_protocol: {other:?} is not \"classic\" or \"consumer\""));
            GroupProtocol::Classic
        }
    };
    let replication_factor = file.replication_factor.unwrap_or(-1);
    if replication_factor == 0 || replication_factor < -1 {
        wrong.push(format!("kafka.replication_factor: {replication_factor} is not at least 1 (or -1, the brokers' default)"));
    }
    let session_timeout = Duration::from_millis(file.session_timeout_ms.unwrap_or(SESSION_TIMEOUT_MS));
    if session_timeout < Duration::from_secs(1) {
        wrong.push("kafka.session_timeout_ms: at least 1000 (and what the brokers' group.min.session.timeout.ms says)".into());
    }
    let group_instance_id = env.var("KAFKA_GROUP_INSTANCE_ID").or(file.group_instance_id);
    if let Some(id) = group_instance_id.as_deref().filter(|id| !is_instance_id(id)) {
        wrong.push(format!("KAFKA_GROUP_INSTANCE_ID: {id:?} is not 1 to 200 of a-z, A-Z, 0-9, '.', '_', '-'"));
    }
    if client.contains_key("group.instance.id") {
        wrong.push("kafka.client: group.instance.id is not for every client; give it as kafka.group_instance_id".into());
    }
    match env.var("KAFKA_BOOTSTRAP_SERVERS").or(file.bootstrap_servers) {
        Some(bootstrap_servers) => {
            Some(Kafka { bootstrap_servers, replication_factor, group_protocol, session_timeout, group_instance_id, client })
        }
        None if client.is_empty() && group_instance_id.is_none() => None,
        None => {
            wrong.push("KAFKA_BOOTSTRAP_SERVERS: missing, while other settings of Kafka are there".into());
            None
        }
    }
}

/// Kafka allows 249; the number of a thread comes to it.
fn is_instance_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 200 && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn name_of(setting: &str) -> &str {
    SECRETS.iter().find(|(_, known)| *known == setting).map_or(setting, |(variable, _)| variable)
}
