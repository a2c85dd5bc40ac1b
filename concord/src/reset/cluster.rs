//! On Kafka, where nothing takes the place of something else in one step: what is taken over is first put aside, in a topic of its own,
//! with the topic that each record belongs to. Only when it is whole there, topics go. They are made and filled from it, and it goes last.
//! A reset that died is begun again, by the same command: where what is put aside is whole, from that. Until it is done no process starts.

use super::{
    NOTHING,
    fate::{self, Fate, Terms},
    plan::Line,
    state::{self, Numbered},
};
use crate::{
    config::{Config, Kafka, Kind},
    deploy::{Brokers, gone, idle, internal_topics, is_ours, stop_first, wanted},
    dlq::{MARKS, Marks, SUFFIX},
    moment, registry, shape,
    topics::schemas_topic,
};
use anyhow::{Context, bail};
use connect::{cursors::CURSORS_TOPIC, topics::runner_group};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    time::Duration,
};
use streams::{
    ConsumerRecord, Headers, Log, ProducerRecord, TopicPartition,
    embedded::{Append, LogError, TopicConfig},
    kafka::{self, GroupState},
};
use topology::customers::{
    renewal::{Entry, Renewal, Untold},
    stored::CUSTOMERS,
    topics::{CONFLICTS, UNIFIED, UNIFY, customers},
};

/// Where what is taken over is put aside. While it is there, a reset is not done.
const ASIDE: &str = "_concord.reset";
/// Headers of a record there: the topic that it belongs to, and its partition, where that is not its key's.
const TOPIC: &str = "topic";
const PARTITION: &str = "partition";
/// Key of the last record there; the value says what was asked for.
const WHOLE: &str = "whole";
const KEEPS: &str = "keeps the links";
const FORGETS: &str = "forgets the links";

const AT_ONCE: usize = 1_000;

/// No process may start while a reset is not done: it would begin with half of what is known.
pub async fn refuse_half_done(log: &Log) -> anyhow::Result<()> {
    log.find_topics().await?;
    if log.partitions(ASIDE).is_some() {
        bail!("a reset was begun and not finished (the topic {ASIDE} is there): run `concord reset --execute` again");
    }
    Ok(())
}

/// What is there of Concord's.
pub struct Cluster<'a> {
    config: &'a Config,
    log: kafka::Log,
    topics: Vec<(String, i32)>,
    groups: Vec<GroupState>,
    /// Those that the topology makes by itself.
    internal: BTreeSet<String>,
    terms: Terms,
    /// Copies of the stores, on this machine.
    copies: PathBuf,
}

impl<'a> Cluster<'a> {
    pub async fn reach(config: &'a Config, kafka: &Kafka, forget_links: bool) -> anyhow::Result<Cluster<'a>> {
        let Brokers { log } = Brokers::reach(config, kafka).await?;
        let internal = internal_topics(config)?;
        let configured: BTreeSet<String> = wanted(config).into_iter().map(|wanted| wanted.topic.name).collect();
        let ours = |name: &String| configured.contains(name) || internal.contains(name) || name.starts_with("_concord.");
        let there = log.topic_states().await?.into_iter().map(|topic| (topic.name, topic.partitions));
        let topics: Vec<(String, i32)> = there.filter(|(name, _)| ours(name)).collect();
        let mut groups = log.group_states().await?;
        groups.retain(|group| is_ours(config, &group.name));
        // Any of those that are left, where an earlier try died.
        let wide = |name: &str| [UNIFY, UNIFIED, CONFLICTS].contains(&name);
        let other_partitions = topics.iter().any(|(name, partitions)| wide(name) && *partitions != config.partitions);
        let terms = Terms { forget_links, other_partitions, in_place: true };
        let copies = config.data_dir.join("streams").join(&config.application_id);
        Ok(Cluster { config, log, topics, groups, internal, terms, copies })
    }

    fn fate(&self, topic: &str) -> Fate {
        match self.internal.contains(topic) || topic == ASIDE {
            true => Fate::Goes,
            false => fate::of_topic(self.config, topic, self.terms),
        }
    }

    pub fn plan(&self) -> anyhow::Result<Vec<Line>> {
        self.check_published()?;
        let mut lines: Vec<Line> = self.topics.iter().map(|(topic, _)| Line::new("topic", topic, self.fate(topic))).collect();
        if self.topics.iter().any(|(topic, _)| *topic == changelog(self.config, CUSTOMERS) || topic == ASIDE) {
            lines.push(state::line(self.terms.forget_links));
        }
        lines.extend(self.groups.iter().map(|group| Line::new("group", &group.name, Fate::Goes)));
        if self.copies.exists() {
            lines.push(Line::new("folder", self.copies.display().to_string(), Fate::Goes));
        }
        Ok(lines)
    }

    /// What others fill has the partitions that they write to.
    fn check_published(&self) -> anyhow::Result<()> {
        for (system, _) in self.config.systems.iter().filter(|(_, system)| matches!(system.kind, Kind::Topic)) {
            let (topic, wanted) = (customers(system), self.config.partitions);
            if let Some((_, has)) = self.topics.iter().find(|(name, has)| *name == topic && *has != wanted) {
                bail!(
                    "{topic} has {has} partitions, and {wanted} are configured. What was published there cannot be moved without its publishers: \
                     publish it to a topic that has {wanted} (of a system with another name), or set `partitions` back"
                );
            }
        }
        Ok(())
    }

    pub async fn execute(self) -> anyhow::Result<()> {
        idle(&self.groups, NOTHING)?;
        let links = if self.terms.forget_links { FORGETS } else { KEEPS };
        let asked = &format!("{links} and has {} partitions", self.config.partitions);
        let begun = self.topics.iter().any(|(name, _)| name == ASIDE);
        let aside = if begun { self.whole(asked).await? } else { None };
        let is_new = aside.is_none();
        let aside = match aside {
            Some(aside) => aside,
            None => {
                self.log.delete_topics(&[ASIDE.to_owned()]).await?;
                self.log.create_topic(TopicConfig::delete(ASIDE, 1, Duration::MAX)).await?;
                self.put_aside(asked).await?
            }
        };
        // Also where we are told nothing of it: of members that use the newer protocol, or that we may not know of.
        if let Err(error) = self.log.delete_group(&self.config.application_id).await {
            if is_new {
                self.log.delete_topics(&[ASIDE.to_owned()]).await?;
            }
            return Err(error).with_context(|| stop_first(NOTHING));
        }
        for group in &self.groups {
            self.log.delete_group(&group.name).await?;
        }
        let goes = |(name, _): &&(String, i32)| name != ASIDE && !matches!(self.fate(name), Fate::Stays(_));
        let going: Vec<String> = self.topics.iter().filter(goes).map(|(name, _)| name.clone()).collect();
        self.log.delete_topics(&going).await?;
        gone(&self.copies, std::fs::remove_dir_all(&self.copies))?;
        self.fill(&aside).await?;
        Ok(self.log.delete_topics(&[ASIDE.to_owned()]).await?)
    }

    /// What an earlier try put aside, if it is whole.
    async fn whole(&self, asked: &str) -> anyhow::Result<Option<Vec<ProducerRecord>>> {
        let mut records = self.log.read_all(ASIDE).await?;
        let Some(last) = records.pop().filter(|last| last.key.as_deref() == Some(WHOLE.as_bytes())) else { return Ok(None) };
        let was = last.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        if was != asked {
            bail!("the reset that was begun {was}: finish it so first");
        }
        Ok(Some(records.into_iter().filter_map(belongs).collect()))
    }

    async fn put_aside(&self, asked: &str) -> anyhow::Result<Vec<ProducerRecord>> {
        let aside = self.taken_over().await?;
        for part in aside.chunks(AT_ONCE) {
            self.log.append(Append::of(part.iter().map(put_aside))).await?;
        }
        let whole = ProducerRecord::new(ASIDE, WHOLE, asked.to_owned()).with_partition(0).with_timestamp(moment::now());
        self.log.append(Append::of([whole])).await?;
        Ok(aside)
    }

    /// The records with which the topics begin anew.
    async fn taken_over(&self) -> anyhow::Result<Vec<ProducerRecord>> {
        let (config, now) = (self.config, moment::now());
        let mut taken = self.marks().await?;
        if self.terms.forget_links {
            return Ok(taken);
        }
        let mut known = BTreeMap::new();
        for record in self.read(CURSORS_TOPIC).await? {
            state::learn_cursor(&mut known, &record);
        }
        taken.extend(
            fate::cursors(&config.systems, &known).into_iter().map(|(name, value)| ProducerRecord::new(CURSORS_TOPIC, name, value)),
        );

        let service = registry::Service::open(Log::Kafka(self.log.clone()), schemas_topic(config)).await?;
        let customers_config = shape::customers_config(config);
        let registry = registry::ready(&service, config, &customers_config).await;
        service.release().await;
        let (registry, orders) = (registry?, state::orders(config, Numbered::AsBefore));
        let mut untold = Untold::new(&customers_config, &registry, &orders)?;
        for (topic, system) in untold.topics() {
            let group = system.map_or_else(|| config.application_id.clone(), |system| runner_group(&system));
            self.unread(&topic, &group, |record| untold.record(&record)).await?;
        }
        let publish_again = self.terms.other_partitions;
        let mut renewal = Renewal::new(&customers_config, &registry, orders, publish_again)?;
        let mut newest = HashMap::new();
        for record in self.read(&changelog(config, CUSTOMERS)).await? {
            match (record.key, record.value) {
                (Some(key), Some(value)) => drop(newest.insert(key, value)),
                (Some(key), None) => drop(newest.remove(&key)),
                (None, _) => {}
            }
        }
        for customer in newest.into_values() {
            taken.push(stored(config, renewal.customer(&customer)?));
        }
        let (entries, records) = renewal.rest()?;
        taken.extend(entries.into_iter().map(|entry| stored(config, entry)));
        taken.extend(records);
        taken.extend(untold.rest());
        Ok(taken.into_iter().map(|record| record.with_timestamp(now)).collect())
    }

    /// How the dead letters that stay were dealt with.
    async fn marks(&self) -> anyhow::Result<Vec<ProducerRecord>> {
        let mut marks = Marks::default();
        for record in self.read(MARKS).await? {
            marks.read(&record)?;
        }
        let stays = |topic: &str| topic.ends_with(SUFFIX) && matches!(self.fate(topic), Fate::Stays(_));
        let places = marks.places().filter(|place| stays(&place.topic));
        places.filter_map(|place| Some(marks.of(place)?.record(place))).map(|record| Ok(record?)).collect()
    }

    async fn read(&self, topic: &str) -> Result<Vec<ConsumerRecord>, LogError> {
        match self.topics.iter().any(|(name, _)| name == topic) {
            true => self.log.read_all(topic).await,
            false => Ok(Vec::new()),
        }
    }

    /// What a group has not passed.
    async fn unread(&self, topic: &str, group: &str, mut each: impl FnMut(ConsumerRecord)) -> anyhow::Result<()> {
        let log = Log::Kafka(self.log.clone());
        let partitions = self.topics.iter().find(|(name, _)| name == topic).map_or(0, |(_, partitions)| *partitions);
        for partition in 0..partitions {
            let tp = TopicPartition::new(topic, partition);
            let (from, end) = (log.next(group, &tp).await?, log.end_offset(&tp).await?);
            log.scan(&tp, from, end, &mut each).await?;
        }
        Ok(())
    }

    async fn fill(&self, aside: &[ProducerRecord]) -> anyhow::Result<()> {
        let topics: BTreeSet<&str> = aside.iter().map(|record| &*record.topic).collect();
        let wanted = wanted(self.config);
        for topic in topics {
            let configured = wanted.iter().find(|wanted| wanted.topic.name == topic).map(|wanted| wanted.topic.clone());
            let partitions = if topic == MARKS { 1 } else { self.config.partitions };
            self.log.create_topic(configured.unwrap_or_else(|| TopicConfig::compact(topic, partitions))).await?;
        }
        for part in aside.chunks(AT_ONCE) {
            self.log.append(Append::of(part.iter().cloned())).await?;
        }
        Ok(())
    }
}

fn changelog(config: &Config, store: &str) -> String {
    format!("{}-{store}-changelog", config.application_id)
}

/// A store's entry, as its changelog has it.
fn stored(config: &Config, Entry { store, partition, key, value }: Entry) -> ProducerRecord {
    ProducerRecord::new(changelog(config, &store), key, value).with_partition(partition)
}

fn put_aside(record: &ProducerRecord) -> ProducerRecord {
    let mut headers = Headers::new();
    headers.add(TOPIC, record.topic.to_string());
    if let Some(partition) = record.partition {
        headers.add(PARTITION, partition.to_string());
    }
    ProducerRecord { topic: ASIDE.into(), partition: Some(0), headers, ..record.clone() }
}

/// The record that was put aside.
fn belongs(record: ConsumerRecord) -> Option<ProducerRecord> {
    let topic = record.headers.text(TOPIC)?.into();
    let partition = record.headers.text(PARTITION).and_then(|text| text.parse().ok());
    let ConsumerRecord { timestamp, key, value, .. } = record;
    Some(ProducerRecord { topic, partition, key, value, timestamp, headers: Headers::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_aside_comes_back_as_it_was() {
        let of = |record: ProducerRecord| {
            let ProducerRecord { topic, key, value, timestamp, headers, partition } = put_aside(&record);
            let there = ConsumerRecord { topic, partition: partition.unwrap(), offset: 3, timestamp, key, value, headers };
            assert_eq!(&*there.topic, ASIDE);
            assert_eq!(belongs(there).unwrap(), record);
        };
        of(ProducerRecord::new("links.stripe", "cus_1", "x").with_timestamp(7));
        of(ProducerRecord::new("concord-customers-changelog", &b"\x01\xff"[..], "x").with_partition(2).with_timestamp(7));
    }
}
