//! Reading the log beside the processes that write it: its file in the data folder, or the brokers.

use crate::{
    config::{Config, Kind},
    registry::Service,
    topics::{registry_of, schemas_topic},
};
use anyhow::bail;
use connect::topics::runner_group;
use schemas::Registry;
use sinks::golden;
use std::{ops::ControlFlow, time::Duration};
use streams::{
    ConsumerRecord, Follow, Log, PartitionLag, TopicPartition,
    embedded::{LogError, LogReader, TopicConfig},
    kafka,
};
use topology::customers::{
    self,
    topics::{CONFLICTS, UNIFIED, requests},
};

/// Records that are read from a file at once.
const READ: usize = 1_000;
const READ_BYTES: usize = 1 << 20;
/// Between two looks at a file that is followed.
const LOOK: Duration = Duration::from_millis(100);

/// What the commands that only read a log read it with.
pub enum Reader {
    Folder(LogReader),
    /// With the topic that its schemas are in.
    Cluster(kafka::Log, &'static str),
}

impl Reader {
    pub async fn open(config: &Config) -> anyhow::Result<Reader> {
        match &config.kafka {
            Some(kafka) => Ok(Reader::Cluster(kafka.reach(&config.application_id).await?, schemas_topic(config))),
            None => {
                let folder = &config.data_dir;
                if !folder.join("log.sqlite").exists() {
                    bail!(
                        "there is no log in {}: --data-dir names another folder, KAFKA_BOOTSTRAP_SERVERS a log on Kafka",
                        folder.display()
                    );
                }
                Ok(Reader::Folder(LogReader::open(folder)?))
            }
        }
    }

    /// The topics, by name; on a cluster, those that were there when it was reached.
    pub fn topics(&self) -> Result<Vec<TopicConfig>, LogError> {
        match self {
            Reader::Folder(reader) => reader.topics(),
            Reader::Cluster(log, _) => Ok(log.topics()),
        }
    }

    /// Whether there is such a partition.
    pub fn has(&self, tp: &TopicPartition) -> Result<bool, LogError> {
        Ok(self.topics()?.iter().any(|topic| *topic.name == *tp.topic && (0..topic.partitions).contains(&tp.partition)))
    }

    /// The first record that is left, and where what is there now ends.
    pub async fn ends(&self, tp: &TopicPartition) -> Result<(i64, i64), LogError> {
        match self {
            Reader::Folder(reader) => Ok((reader.beginning_offset(tp)?, reader.end_offset(tp)?)),
            Reader::Cluster(log, _) => Ok((log.beginning_offset(tp).await?, log.end_offset(tp).await?)),
        }
    }

    /// Hands the records of `from` up to `end` in order, until `each` has enough. `end` is not behind what is there.
    pub async fn scan(
        &self,
        tp: &TopicPartition,
        from: i64,
        end: i64,
        mut each: impl FnMut(ConsumerRecord) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let reader = match self {
            Reader::Folder(reader) => reader,
            Reader::Cluster(log, _) => return log.scan(tp, from, end, each).await,
        };
        let mut next = from;
        while next < end {
            let records = reader.read(tp, next, READ, READ_BYTES)?;
            let Some(last) = records.last() else { break };
            next = last.offset + 1;
            if records.into_iter().take_while(|record| record.offset < end).try_for_each(&mut each).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The schemas that are registered by now.
    pub async fn registry(&self) -> anyhow::Result<Registry> {
        match self {
            Reader::Folder(reader) => registry_of(reader),
            Reader::Cluster(log, topic) => Ok(Service::open(log.clone().into(), topic).await?.registry().clone()),
        }
    }

    /// How far consumer groups are behind, by group, topic and partition: in a folder all that there are, on a cluster those that the
    /// configuration has.
    pub async fn lag(&self, config: &Config) -> Result<Vec<PartitionLag>, LogError> {
        let log = match self {
            Reader::Folder(reader) => return reader.lag(),
            Reader::Cluster(log, _) => log,
        };
        log.find_topics().await?;
        let there: Vec<String> = log.topics().into_iter().map(|topic| topic.name).collect();
        let mut lags = Vec::new();
        for (group, mut topics) in groups(config) {
            topics.retain(|topic| there.contains(topic));
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            lags.extend(log.lag(&group, &topics).await?);
        }
        let place = |lag: &PartitionLag| (lag.group.clone(), lag.partition.topic.clone(), lag.partition.partition);
        lags.sort_by_key(place);
        Ok(lags)
    }

    /// What comes from these places on, as it comes.
    pub async fn follow(&self, places: Vec<(TopicPartition, i64)>) -> Result<Following<'_>, LogError> {
        Ok(match self {
            Reader::Folder(reader) => Following::Folder { reader, places },
            Reader::Cluster(log, _) => Following::Cluster { count: places.len(), follow: Log::from(log.clone()).follow(places).await? },
        })
    }
}

/// Partitions that are followed.
pub enum Following<'a> {
    Folder { reader: &'a LogReader, places: Vec<(TopicPartition, i64)> },
    Cluster { follow: Follow, count: usize },
}

impl Following<'_> {
    /// Waits for records, and gives what is here of each partition in turn.
    pub async fn next(&mut self) -> Result<Vec<ConsumerRecord>, LogError> {
        let mut records = Vec::new();
        match self {
            Following::Folder { reader, places } => loop {
                for (tp, next) in places.iter_mut() {
                    let read = reader.read(tp, *next, READ, READ_BYTES)?;
                    *next = read.last().map_or(*next, |last| last.offset + 1);
                    records.extend(read);
                }
                if !records.is_empty() {
                    return Ok(records);
                }
                tokio::time::sleep(LOOK).await;
            },
            Following::Cluster { follow, count } => {
                follow.ready(|_| true).await?;
                for place in 0..*count {
                    records.extend(follow.take(place, READ, READ_BYTES)?);
                }
                Ok(records)
            }
        }
    }
}

/// The consumer groups of a configuration, with the topics that each reads.
fn groups(config: &Config) -> Vec<(String, Vec<String>)> {
    let inputs = customers::topics(&crate::shape::customers_config(config)).into_iter().filter(|topic| topic.is_input);
    let mut groups = vec![(config.application_id.clone(), inputs.map(|topic| topic.name).collect())];
    for (system, of) in &config.systems {
        if matches!(of.kind, Kind::Postgres(_)) {
            groups.push((golden::GROUP.to_owned(), vec![UNIFIED.to_owned(), CONFLICTS.to_owned()]));
        }
        if !matches!(of.kind, Kind::Topic) {
            groups.push((runner_group(system), vec![requests(system)]));
        }
    }
    groups
}
