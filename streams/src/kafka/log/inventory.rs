//! What a deployment looks at and takes away: topics with their replicas and settings, groups with their members.

use std::time::Instant;

use rdkafka::admin::ConfigResource;
use rdkafka::error::RDKafkaErrorCode;

use super::super::topics::dead_letter_topic;
use super::brokers::{Brokers, apart};
use super::topics::{PAUSE, describe_all, options, present, retried};
use super::{KafkaLogError, Log, error};
use crate::embedded::LogError;

/// A topic as the brokers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// Replicas of the partition that has the fewest.
    pub replication_factor: i32,
    /// Its settings; none: they may not be read.
    pub settings: Option<TopicSettings>,
}

/// What becomes of a topic's old records, in the brokers' words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSettings {
    /// `cleanup.policy`: `delete`, `compact`, both with a comma between.
    pub policy: String,
    /// `retention.ms`; -1 is for ever.
    pub retention_ms: i64,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    /// Its name.
    pub name: String,
    /// Its members. Those of the newer protocol (KIP-848) are not told of: such a group cannot be [deleted](Log::delete_groups) either.
    pub members: usize,
}

impl Log {
    /// All topics but Kafka's own, by name, asked anew; also those that have no leader at the moment.
    pub async fn topic_states(&self) -> Result<Vec<TopicState>, LogError> {
        let brokers = &self.shared.brokers;
        let there = apart(brokers, Brokers::replicas).await?;
        let names: Vec<&str> = there.keys().map(String::as_str).collect();
        let settings = describe_all(brokers, &names).await?;
        let states = there.iter().zip(settings).map(|((name, (partitions, replicas)), settings)| TopicState {
            name: name.clone(),
            partitions: *partitions,
            replication_factor: *replicas,
            settings: settings.ok().as_ref().map(settings_of),
        });
        Ok(states.collect())
    }

    /// The groups that we may know of, by name.
    pub async fn group_states(&self) -> Result<Vec<GroupState>, LogError> {
        let mut groups = apart(&self.shared.brokers, Brokers::groups).await?;
        groups.sort();
        Ok(groups.into_iter().map(|(name, members)| GroupState { name, members }).collect())
    }

    /// Forgets a group and its offsets, if it is there. One that has members is refused.
    pub async fn delete_group(&self, name: &str) -> Result<(), LogError> {
        let (brokers, action) = (&self.shared.brokers, format!("deleting group {name}"));
        let deadline = Instant::now() + brokers.config.api_timeout;
        loop {
            let error = match brokers.admin.delete_groups(&[name], &options()).await {
                Ok(answers) => match answers.into_iter().next() {
                    Some(Ok(_)) | Some(Err((_, RDKafkaErrorCode::GroupIdNotFound))) | None => return Ok(()),
                    Some(Err((_, code))) => error::of_code(&action, code),
                },
                Err(error) => error::of_call(&action, &error),
            };
            retried(deadline, error)?;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Deletes topics with all their records, those of them that are there. Returns when the brokers do not tell of them any more.
    pub async fn delete_topics(&self, names: &[String]) -> Result<(), LogError> {
        let brokers = &self.shared.brokers;
        let deadline = Instant::now() + brokers.config.api_timeout;
        loop {
            let there = apart(brokers, Brokers::replicas).await?;
            let left: Vec<&str> = names.iter().map(String::as_str).filter(|name| there.contains_key(*name)).collect();
            let Some(first) = left.first() else { break };
            let action = format!("deleting topic {first}");
            match brokers.admin.delete_topics(&left, &options()).await {
                Ok(answers) => {
                    for (topic, code) in answers.into_iter().filter_map(Result::err) {
                        // Gone already: this broker has not heard of it.
                        if code != RDKafkaErrorCode::UnknownTopicOrPartition {
                            retried(deadline, error::of_code(&format!("deleting topic {topic}"), code))?;
                        }
                    }
                }
                Err(error) => retried(deadline, error::of_call(&action, &error))?,
            }
            if Instant::now() > deadline {
                return Err(KafkaLogError::Away { action, reason: "it does not leave the metadata".to_owned() }.into());
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.shared.topics.lock().retain(|name, _| !names.contains(name));
        Ok(())
    }

    /// Makes a topic for dead letters as a topology would make it with the first of them, unless it is there.
    pub async fn create_dead_letter_topic(&self, name: &str) -> Result<(), LogError> {
        let brokers = &self.shared.brokers;
        let spec = dead_letter_topic(&name.into(), &brokers.for_clients);
        present(brokers, name, spec.partitions, &spec.settings).await.map(drop)
    }
}

fn settings_of(settings: &ConfigResource) -> TopicSettings {
    let value = |name: &str| settings.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
    TopicSettings { policy: value("cleanup.policy"), retention_ms: value("retention.ms").parse().unwrap_or(-1) }
}
