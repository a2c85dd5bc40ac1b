//! In a data folder: the new log is made beside the old one, which nobody runs, and takes its place in one step. The old file stays under
//! another name.

use super::{
    fate::{self, Fate, Terms},
    plan::Line,
    state::{self, Numbered},
};
use crate::{
    config::Config,
    deploy::{FILE, make, wanted},
    dlq::{MARKS, Marks, Place, SUFFIX},
    moment, registry, shape,
    topics::schemas_topic,
};
use anyhow::Context;
use connect::{Cursors, cursors::CURSORS_TOPIC, topics::runner_group};
use schemas::{ExternalId, System};
use std::{collections::BTreeMap, path::PathBuf};
use streams::{
    ConsumerRecord, Log, ProducerRecord, TopicPartition,
    embedded::{self, Append, LogError, LogReader, Options, Successor, TopicConfig},
};
use topology::customers::{
    renewal::{Entry, LastOrders, Renewal, Untold},
    stored::CUSTOMERS,
    topics::{UNIFY, customers},
};

/// Records that are copied, and entries that are written, at once.
const AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 4 << 20;

/// Nothing: there is no log.
pub fn plan(config: &Config, forget_links: bool) -> anyhow::Result<Vec<Line>> {
    if !config.data_dir.join(FILE).exists() {
        return Ok(Vec::new());
    }
    let old = LogReader::open(&config.data_dir)?;
    let terms = terms(config, &old, forget_links)?;
    let mut lines = Vec::new();
    for topic in old.topics()? {
        let mut count = 0;
        for tp in partitions(&topic) {
            count += (old.end_offset(&tp)? - old.beginning_offset(&tp)?).unsigned_abs();
        }
        lines.push(Line::new("topic", &topic.name, fate::of_topic(config, &topic.name, terms)).with_count(count));
    }
    let mut known = 0;
    old.store_entries(&config.application_id, CUSTOMERS, |_, _, _| {
        known += 1;
        Ok::<_, LogError>(())
    })?;
    lines.push(state::line(forget_links).with_count(known));
    let mut groups: Vec<String> = old.groups()?.into_iter().map(|(group, ..)| group).collect();
    groups.dedup();
    lines.extend(groups.into_iter().map(|group| Line::new("group", group, Fate::Goes)));
    lines.push(Line::new("file", FILE, Fate::Stays("under another name, as a backup")));
    Ok(lines)
}

fn terms(config: &Config, old: &LogReader, forget_links: bool) -> Result<Terms, LogError> {
    let other_partitions = old.topics()?.iter().any(|topic| topic.name == UNIFY && topic.partitions != config.partitions);
    Ok(Terms { forget_links, other_partitions, in_place: false })
}

/// The new log is the folder's; the name that the old one has from now on.
pub async fn execute(config: &Config, forget_links: bool) -> anyhow::Result<PathBuf> {
    let successor = match Successor::begin(&config.data_dir) {
        Err(error @ LogError::Locked { .. }) => return Err(error).context("Concord is running; stop it first. Nothing was reset"),
        begun => begun?,
    };
    let old = LogReader::open(&config.data_dir)?;
    let new = embedded::Log::open(successor.folder(), Options::default())?;
    let renewed = Work {
        config,
        old: &old,
        log: Log::from(new.clone()),
        new: &new,
        terms: terms(config, &old, forget_links)?,
        successor: &successor,
    }
    .renew()
    .await;
    // Also after an error: nobody else may have it open when the folder goes.
    tokio::task::spawn_blocking(move || new.close()).await?;
    let entries = renewed.context("nothing was reset")?;
    fill(&successor, config, &entries)?;
    drop(old);
    successor.take_over(&format!("{FILE}.before-{}", moment::now())).context("nothing was reset")
}

struct Work<'a> {
    config: &'a Config,
    old: &'a LogReader,
    new: &'a embedded::Log,
    log: Log,
    terms: Terms,
    successor: &'a Successor,
}

impl Work<'_> {
    /// Makes all topics of the new log, with the records that stay; the entries of the stores that are not filled yet.
    async fn renew(&self) -> anyhow::Result<Vec<Entry>> {
        let Work { config, old, log, .. } = self;
        make(log, wanted(config)).await?;
        let there = old.topics()?;
        let stays = |topic: &&TopicConfig| matches!(fate::of_topic(config, &topic.name, self.terms), Fate::Stays(_));
        let (schemas, others): (Vec<_>, Vec<_>) = there.iter().filter(stays).partition(|topic| topic.name == schemas_topic(config));
        for topic in schemas {
            self.copy(topic, |_, _| {}).await?;
        }
        // Every schema is known: those that the old stores were written with, and ours.
        let service = registry::Service::open(log.clone(), schemas_topic(config)).await?;
        let customers_config = shape::customers_config(config);
        let registry = registry::ready(&service, config, &customers_config).await?;
        let mut last = LastOrders::published(&customers_config, &registry)?;
        if !self.terms.forget_links {
            old.store_entries(&config.application_id, CUSTOMERS, |_, _, value| last.customer(value).map_err(anyhow::Error::from))?;
        }
        let mut orders: BTreeMap<System, BTreeMap<ExternalId, i64>> = BTreeMap::new();
        for topic in others {
            let of = last.orders.iter().find(|(system, _)| customers(system) == topic.name);
            let mut now = BTreeMap::new();
            self.copy(topic, |record, offset| {
                let Some((_, last)) = of else { return };
                let Some(Ok(key)) = record.key.as_deref().map(std::str::from_utf8) else { return };
                // As far as the record's results were taken in, by the numbers that they have now.
                let id = ExternalId::new(key);
                if last.get(&id).is_some_and(|last| record.offset < *last) {
                    now.insert(id, offset + 1);
                }
            })
            .await?;
            if let Some((system, _)) = of {
                orders.insert(system.clone(), now);
            }
        }
        if self.terms.forget_links {
            return Ok(Vec::new());
        }
        self.cursors().await?;
        let orders = state::orders(config, Numbered::Anew(orders));
        let mut untold = Untold::new(&customers_config, &registry, &orders)?;
        for (topic, system) in untold.topics() {
            let group = system.map_or_else(|| config.application_id.clone(), |system| runner_group(&system));
            for tp in there.iter().filter(|known| known.name == topic).flat_map(partitions) {
                let from = old.committed(&group, &tp)?.unwrap_or(0).max(old.beginning_offset(&tp)?);
                self.scan(&tp, from, |record| {
                    untold.record(record);
                    Ok(())
                })?;
            }
        }
        let mut renewal = Renewal::new(&customers_config, &registry, orders, false)?;
        self.customers(&mut renewal)?;
        let (entries, mut records) = renewal.rest()?;
        records.extend(untold.rest());
        for records in records.chunks(AT_ONCE) {
            let records = records.iter().map(|record| record.clone().with_timestamp(moment::now()));
            log.append(Append::of(records)).await?;
        }
        Ok(entries)
    }

    /// Copies what stays of a topic; `each`: a record, and its offset in the new log.
    async fn copy(&self, topic: &TopicConfig, mut each: impl FnMut(&ConsumerRecord, i64)) -> anyhow::Result<()> {
        let Work { old, new, log, .. } = self;
        let wide = match new.topics().into_iter().find(|made| made.name == topic.name) {
            Some(made) => made.partitions,
            None => {
                log.create_topic(topic.clone()).await?;
                topic.partitions
            }
        };
        let dealt_with = if topic.name.ends_with(SUFFIX) { self.marks()? } else { Marks::default() };
        for tp in partitions(topic) {
            let mut from = old.beginning_offset(&tp)?;
            loop {
                let records = old.read(&tp, from, AT_ONCE, BYTES_AT_ONCE)?;
                let Some(last) = records.last() else { break };
                from = last.offset + 1;
                let place = |offset| Place { topic: topic.name.clone(), partition: tp.partition, offset };
                let records: Vec<ConsumerRecord> =
                    records.into_iter().filter(|record| dealt_with.of(&place(record.offset)).is_none()).collect();
                let same = (wide == topic.partitions).then_some(tp.partition);
                let append = records.iter().map(|record| ProducerRecord {
                    topic: record.topic.clone(),
                    partition: same,
                    key: record.key.clone(),
                    value: record.value.clone(),
                    timestamp: record.timestamp,
                    headers: record.headers.clone(),
                });
                let offsets = log.append(Append::of(append)).await?;
                records.iter().zip(offsets).for_each(|(record, offset)| each(record, offset));
            }
        }
        Ok(())
    }

    fn marks(&self) -> anyhow::Result<Marks> {
        let mut marks = Marks::default();
        self.scan_whole(MARKS, |record| Ok(marks.read(record).map(drop)?))?;
        Ok(marks)
    }

    async fn cursors(&self) -> anyhow::Result<()> {
        let mut known = BTreeMap::new();
        self.scan_whole(CURSORS_TOPIC, |record| {
            state::learn_cursor(&mut known, record);
            Ok(())
        })?;
        let cursors = Cursors::open(&self.log).await?;
        for (name, value) in fate::cursors(&self.config.systems, &known) {
            cursors.set(&name, &value).await?;
        }
        Ok(())
    }

    fn scan(&self, tp: &TopicPartition, mut from: i64, mut each: impl FnMut(&ConsumerRecord) -> anyhow::Result<()>) -> anyhow::Result<()> {
        loop {
            let records = self.old.read(tp, from, AT_ONCE, BYTES_AT_ONCE)?;
            let Some(last) = records.last() else { return Ok(()) };
            from = last.offset + 1;
            records.iter().try_for_each(&mut each)?;
        }
    }

    /// A topic of one partition, if it is there.
    fn scan_whole(&self, topic: &str, each: impl FnMut(&ConsumerRecord) -> anyhow::Result<()>) -> anyhow::Result<()> {
        match self.old.topics()?.iter().any(|there| there.name == topic) {
            true => self.scan(&TopicPartition::new(topic, 0), 0, each),
            false => Ok(()),
        }
    }

    fn customers(&self, renewal: &mut Renewal) -> anyhow::Result<()> {
        let Work { config, old, successor, .. } = self;
        let mut entries = Vec::new();
        old.store_entries(&config.application_id, CUSTOMERS, |_, _, value| {
            entries.push(renewal.customer(value)?);
            if entries.len() >= AT_ONCE {
                fill(successor, config, &std::mem::take(&mut entries))?;
            }
            anyhow::Ok(())
        })?;
        fill(successor, config, &entries)
    }
}

fn fill(successor: &Successor, config: &Config, entries: &[Entry]) -> anyhow::Result<()> {
    let entries = entries.iter().map(|it| (it.store.as_str(), it.partition, it.key.as_slice(), it.value.as_slice()));
    Ok(successor.fill(&config.application_id, entries)?)
}

fn partitions(topic: &TopicConfig) -> impl Iterator<Item = TopicPartition> {
    (0..topic.partitions).map(|partition| TopicPartition::new(topic.name.as_str(), partition))
}
