//! Makes topics, for a deployment and for a process that starts.

use super::topics::{Purpose, Wanted};
use streams::{Log, embedded::LogError};

/// Makes each that is not there, and sets what is to become of old records in those that are, but for dead letters.
pub async fn make(log: &Log, wanted: Vec<Wanted>) -> Result<(), LogError> {
    for Wanted { topic, purpose } in wanted {
        match (purpose, log) {
            (Purpose::Records, _) => log.create_topic(topic).await?,
            (Purpose::TopologysDeadLetters, Log::Kafka(log)) => log.create_dead_letter_topic(&topic.name).await?,
            _ if log.partitions(&topic.name).is_none() => log.create_topic(topic).await?,
            _ => {}
        }
    }
    Ok(())
}
