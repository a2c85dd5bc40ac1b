//! Topics of the log: they are made, and set to what is wanted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

use super::brokers::{Brokers, apart};
use super::{KafkaLogError, error};
use crate::embedded::{Cleanup, LogError, TopicConfig};

const CALL: Duration = Duration::from_secs(5);
pub(super) const PAUSE: Duration = Duration::from_millis(20);
/// Settings of so many topics are asked for at once.
const DESCRIBED: usize = 200;

/// All topics as they are set. One whose settings may not be read counts as kept for ever.
pub(super) async fn all(brokers: &Arc<Brokers>) -> Result<BTreeMap<String, TopicConfig>, LogError> {
    let counts = apart(brokers, Brokers::topics).await?;
    let names: Vec<&str> = counts.keys().map(String::as_str).collect();
    let settings = describe_all(brokers, &names).await?;
    let topic = |(name, settings): (&&str, Result<ConfigResource, RDKafkaErrorCode>)| {
        let cleanup = match settings {
            Ok(settings) => cleanup_of(&settings).unwrap_or_else(|kept| kept),
            Err(code) => {
                tracing::debug!(topic = name, error = %code, "The settings of a topic are not known.");
                Cleanup::Delete { retention_ms: i64::MAX }
            }
        };
        ((*name).to_owned(), TopicConfig { name: (*name).to_owned(), partitions: counts[*name], cleanup })
    };
    Ok(names.iter().zip(settings).map(topic).collect())
}

/// Makes a topic, or sets the clean-up policy of one that is there. Returns when it can be used.
pub(super) async fn create(brokers: &Arc<Brokers>, wanted: &TopicConfig) -> Result<(), LogError> {
    let found = present(brokers, &wanted.name, wanted.partitions, &settings_of(wanted.cleanup)).await?;
    if found != wanted.partitions {
        return Err(LogError::PartitionsDiffer { topic: wanted.name.clone(), found, wanted: wanted.partitions });
    }
    apply(brokers, wanted).await
}

/// Makes a topic unless it is there; how many partitions it has. Returns when it can be used.
pub(super) async fn present(
    brokers: &Arc<Brokers>,
    name: &str,
    partitions: i32,
    settings: &[(&'static str, String)],
) -> Result<i32, LogError> {
    let deadline = Instant::now() + brokers.config.api_timeout;
    let action = format!("making topic {name}");
    loop {
        if let Some(found) = apart(brokers, Brokers::topics).await?.get(name) {
            return Ok(*found);
        }
        // It was made, and this broker does not know of it yet; or the brokers are about to choose its leaders.
        if Instant::now() > deadline {
            return Err(KafkaLogError::Away { action, reason: "it does not appear in the metadata".to_owned() }.into());
        }
        let new = NewTopic::new(name, partitions, TopicReplication::Fixed(brokers.config.replication_factor));
        let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
        match brokers.admin.create_topics(&[new], &options()).await {
            Ok(answers) => match answers.into_iter().next() {
                Some(Ok(topic)) => tracing::info!(topic, "Topic made."),
                Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => {}
                Some(Err((_, code))) => retried(deadline, error::of_code(&action, code))?,
            },
            Err(error) => retried(deadline, error::of_call(&action, &error))?,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sets what differs. All the topic's own settings go along, since those that do not are taken back to the defaults.
async fn apply(brokers: &Arc<Brokers>, wanted: &TopicConfig) -> Result<(), LogError> {
    let action = format!("setting the clean-up policy of topic {}", wanted.name);
    let Some(answer) = describe(brokers, &[&wanted.name]).await?.into_iter().next() else { return Ok(()) };
    let settings = answer.map_err(|code| error::of_code(&format!("reading the settings of topic {}", wanted.name), code))?;
    if cleanup_of(&settings) == Ok(wanted.cleanup) {
        return Ok(());
    }
    let ours = settings_of(wanted.cleanup);
    let kept = settings.entries.iter().filter(|entry| matches!(entry.source, ConfigSource::DynamicTopic));
    let kept = kept.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)));
    let alter = AlterConfig::new(ResourceSpecifier::Topic(&wanted.name));
    let alter = kept.chain(ours.iter().map(|(key, value)| (*key, value.as_str()))).fold(alter, |alter, (key, value)| alter.set(key, value));
    let answers = brokers.admin.alter_configs(&[alter], &options()).await.map_err(|error| error::of_call(&action, &error))?;
    match answers.into_iter().next() {
        Some(Err((_, code))) => Err(error::of_code(&action, code)),
        Some(Ok(_)) | None => {
            tracing::info!(topic = wanted.name, policy = ?wanted.cleanup, "The clean-up policy of a topic is changed.");
            Ok(())
        }
    }
}

/// The settings of all these topics, in their order.
pub(super) async fn describe_all(
    brokers: &Arc<Brokers>,
    names: &[&str],
) -> Result<Vec<Result<ConfigResource, RDKafkaErrorCode>>, LogError> {
    let mut all = Vec::with_capacity(names.len());
    for names in names.chunks(DESCRIBED) {
        all.extend(describe(brokers, names).await?);
    }
    Ok(all)
}

async fn describe(brokers: &Arc<Brokers>, names: &[&str]) -> Result<Vec<Result<ConfigResource, RDKafkaErrorCode>>, LogError> {
    let topics: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let deadline = Instant::now() + brokers.config.api_timeout;
    loop {
        match brokers.admin.describe_configs(&topics, &options()).await {
            Ok(answers) => return Ok(answers),
            Err(error) => retried(deadline, error::of_call("reading the settings of topics", &error))?,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether to try again.
pub(super) fn retried(deadline: Instant, error: LogError) -> Result<(), LogError> {
    match error.is_retriable() && Instant::now() < deadline {
        true => Ok(()),
        false => Err(error),
    }
}

pub(super) fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(CALL)).operation_timeout(Some(CALL))
}

fn settings_of(cleanup: Cleanup) -> Vec<(&'static str, String)> {
    match cleanup {
        Cleanup::Compact => vec![("cleanup.policy", "compact".to_owned())],
        Cleanup::Delete { retention_ms } => {
            vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", retention_ms.to_string())]
        }
    }
}

fn cleanup_of(settings: &ConfigResource) -> Result<Cleanup, Cleanup> {
    let value = |name: &str| settings.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
    cleanup(value("cleanup.policy"), value("retention.ms"))
}

/// A retention of -1 is none: for ever. A policy that is none of ours is an error, with what comes nearest to it.
fn cleanup(policy: &str, retention: &str) -> Result<Cleanup, Cleanup> {
    let retention_ms = retention.parse().ok().filter(|ms| *ms >= 0).unwrap_or(i64::MAX);
    match policy {
        "compact" => Ok(Cleanup::Compact),
        "delete" => Ok(Cleanup::Delete { retention_ms }),
        // Both: no record stays for longer.
        policy if policy.contains("delete") => Err(Cleanup::Delete { retention_ms }),
        _ => Err(Cleanup::Delete { retention_ms: i64::MAX }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_as_what_they_were_made_from() {
        for wanted in [Cleanup::Compact, Cleanup::Delete { retention_ms: 5_000 }, Cleanup::Delete { retention_ms: i64::MAX }] {
            let settings = settings_of(wanted);
            let value = |name| settings.iter().find(|(key, _)| *key == name).map_or("604800000", |(_, value)| value.as_str());
            assert_eq!(cleanup(value("cleanup.policy"), value("retention.ms")), Ok(wanted));
        }
        assert_eq!(cleanup("delete", "-1"), Ok(Cleanup::Delete { retention_ms: i64::MAX }));
    }

    #[test]
    fn a_policy_that_is_none_of_ours_is_not_taken_for_one() {
        for policy in ["compact,delete", "delete,compact"] {
            assert_eq!(cleanup(policy, "5000"), Err(Cleanup::Delete { retention_ms: 5_000 }));
        }
        assert_eq!(cleanup("", "5000"), Err(Cleanup::Delete { retention_ms: i64::MAX }));
    }
}
