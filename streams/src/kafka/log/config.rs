//! How a log on Kafka is reached.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::super::{KafkaStreamsConfig, KafkaStreamsError};
use super::KafkaLogError;
use crate::embedded::LogError;

/// Settings of a [`Log`](super::Log).
///
/// ```
/// use streams::kafka::LogConfig;
/// let mut config = LogConfig::new("concord", "localhost:9092");
/// config.client.insert("security.protocol".into(), "ssl".into());
/// ```
#[derive(Clone)]
pub struct LogConfig {
    /// `application.id`: the prefix of the groups and of the transactional ids of owners.
    pub application_id: String,
    /// `bootstrap.servers`.
    pub bootstrap_servers: String,
    /// Settings of librdkafka for every client: security, timeouts.
    pub client: BTreeMap<String, String>,
    /// How long a call is repeated while the brokers are away, and how long an append is tried.
    pub api_timeout: Duration,
    /// `replication.factor` of topics that are made; -1 leaves it to the broker.
    pub replication_factor: i32,
    /// How long an owner may be silent until another process takes its name over.
    pub session_timeout: Duration,
}

impl LogConfig {
    /// The defaults.
    pub fn new(application_id: impl Into<String>, bootstrap_servers: impl Into<String>) -> LogConfig {
        LogConfig {
            application_id: application_id.into(),
            bootstrap_servers: bootstrap_servers.into(),
            client: BTreeMap::new(),
            api_timeout: Duration::from_secs(60),
            replication_factor: -1,
            session_timeout: Duration::from_secs(10),
        }
    }

    /// The same for the functions that make the driver's clients. No client of the log has a state directory.
    pub(super) fn for_clients(&self) -> Result<KafkaStreamsConfig, LogError> {
        let mut config = KafkaStreamsConfig::new(&self.application_id, &self.bootstrap_servers, "");
        config.client = self.client.clone();
        config.api_timeout = self.api_timeout;
        config.replication_factor = self.replication_factor;
        // An append waits for its records: there is nothing to gather them with.
        config.producer.insert("linger.ms".into(), "0".into());
        config.check().map_err(of_settings)?;
        Ok(config)
    }
}

/// What is wrong with a client's settings.
pub(super) fn of_settings(error: KafkaStreamsError) -> LogError {
    let reason = error.to_string();
    match error {
        KafkaStreamsError::Config { key, reason } => KafkaLogError::Config { key, reason },
        _ => KafkaLogError::Away { action: "making a client".to_owned(), reason },
    }
    .into()
}

impl fmt::Debug for LogConfig {
    /// Without the clients' settings, which may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogConfig")
            .field("application_id", &self.application_id)
            .field("bootstrap_servers", &self.bootstrap_servers)
            .finish_non_exhaustive()
    }
}
