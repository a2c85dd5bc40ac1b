//! The customer topology's tasks, the real ones: each runs on its own, in any order, over the simulated log; what a task does
//! between two commits is one transaction, which may be aborted.

use crate::{
    log::{self, Log},
    plan::{CRM, Plan},
    values,
    world::{Event, Shared, World},
};
use anyhow::Context;
use schemas::System;
use std::{collections::BTreeMap, sync::Arc};
use streams::{Env, MemoryBacking, ProducerRecord, Task, TaskConfig};
use topology::customers::{Attributes, Config, Deletes, FieldPattern, Kind, Mapping, MergeRule, SystemConfig};

/// Kafka Streams' `application.id`.
pub const APPLICATION: &str = "simulation";

/// The topology's configuration in this history.
pub fn config(plan: &Plan, names: &[System]) -> Config {
    let settings = &plan.settings;
    let present: Vec<usize> = (0..4).filter(|s| settings.systems[*s].present).collect();
    let systems = present
        .iter()
        .map(|number| {
            let s = &settings.systems[*number];
            SystemConfig {
                name: names[*number].clone(),
                kind: if *number == CRM { Kind::Topic } else { Kind::Connector },
                mapping: Mapping {
                    name: s.mapped[0],
                    email: s.mapped[1],
                    phone: s.mapped[2],
                    address: s.mapped[3],
                    attributes: if s.mapped[4] { Attributes::All } else { Attributes::Keys(Default::default()) },
                },
                writable: s.writable,
                deletes: if s.propagate { Deletes::Propagate } else { Deletes::Keep },
            }
        })
        .collect();
    let named = |list: &[usize]| list.iter().filter(|s| present.contains(s)).map(|s| names[*s].clone()).collect::<Vec<_>>();
    let mut rules = BTreeMap::new();
    for (field, list) in settings.of_record.iter().enumerate() {
        if let Some(list) = list {
            rules.insert(FieldPattern::Field(values::field(field)), MergeRule::SystemOfRecord(named(list)));
        }
    }
    Config {
        application_id: APPLICATION.into(),
        systems,
        priority: named(&settings.priority),
        rules,
        partitions: settings.partitions as i32,
        // As that of a real log.
        first_number: 1_700_000_000_000,
    }
}

/// One task with what it reads.
struct Running {
    task: Task,
    /// (topic, next offset).
    inputs: Vec<(usize, i64)>,
    partition: usize,
    scheduled: bool,
}

pub struct Tasks {
    pub config: Config,
    running: Vec<Running>,
    pub backing: MemoryBacking,
    /// The store's place, by its name.
    pub stores: BTreeMap<String, usize>,
    partitions: i32,
}

impl Tasks {
    pub fn new(config: &Config, shared: &Shared, log: &Log) -> anyhow::Result<Self> {
        let built = Arc::new(topology::customers::build(config, &shared.registry)?.build(&config.application_id)?);
        let partitions = config.partitions;
        let count = |_: &str| Some(partitions);
        let backing = MemoryBacking::default();
        let env = Env { now: crate::world::START, backing: &backing, partitions: &count };
        let mut running = Vec::new();
        for id in built.tasks(&count)? {
            let task = Task::new(built.clone(), id, TaskConfig::default(), env)?;
            let sources = &built.subtopologies()[id.subtopology as usize].source_topics;
            let inputs = sources.iter().map(|name| log.topic(name).map(|t| (t, 0)).with_context(|| format!("no topic {name}")));
            let inputs = inputs.collect::<anyhow::Result<Vec<_>>>()?;
            running.push(Running { task, inputs, partition: id.partition as usize, scheduled: false });
        }
        let stores = built.stores().iter().enumerate().map(|(index, store)| (store.name.to_string(), index)).collect();
        Ok(Tasks { config: config.clone(), running, backing, stores, partitions })
    }

    /// The next offset of a topic's partition that the topology reads.
    pub fn position(&self, topic: usize, partition: usize) -> i64 {
        let tasks = self.running.iter().filter(|r| r.partition == partition);
        tasks.flat_map(|r| &r.inputs).find(|(t, _)| *t == topic).map_or(i64::MAX, |(_, next)| *next)
    }

    /// Everything that is in the log by now is passed, but for a topic that is read again.
    pub fn pass_all(&mut self, log: &Log, again: usize) {
        for running in &mut self.running {
            for (topic, next) in running.inputs.iter_mut().filter(|(topic, _)| *topic != again) {
                *next = log.topics[*topic].partitions[running.partition].len() as i64;
            }
        }
    }

    pub fn count(&self) -> usize {
        self.running.len()
    }

    fn reader(&self, topic: usize, partition: usize) -> Option<usize> {
        self.running.iter().position(|r| r.partition == partition && r.inputs.iter().any(|(t, _)| *t == topic))
    }
}

impl World {
    pub fn wake_reader(&mut self, topic: usize, partition: usize) {
        if let Some(task) = self.tasks.reader(topic, partition).filter(|t| !self.tasks.running[*t].scheduled) {
            self.tasks.running[task].scheduled = true;
            let most = self.plan.settings.task_delay;
            let after = self.dice.tasks.between(0, most);
            self.schedule(after, Event::Task(task));
        }
    }

    /// A task takes some records and commits, or its transaction is aborted.
    pub fn run_task(&mut self, task: usize) {
        self.tasks.running[task].scheduled = false;
        let count = self.dice.tasks.between(1, 6);
        let now = self.now + self.plan.settings.unify_clock;
        let abort = self.dice.tasks.chance(self.plan.settings.faults.task_abort);
        let tasks = &mut self.tasks;
        let partitions = tasks.partitions;
        let partition_count = |_: &str| Some(partitions);
        let env = Env { now, backing: &tasks.backing, partitions: &partition_count };
        let running = &mut tasks.running[task];
        let mut next: Vec<i64> = running.inputs.iter().map(|(_, next)| *next).collect();
        let mut failed = None;
        for _ in 0..count {
            let ready: Vec<usize> = (0..next.len())
                .filter(|i| (next[*i] as usize) < self.log.topics[running.inputs[*i].0].partitions[running.partition].len())
                .collect();
            if ready.is_empty() {
                break;
            }
            let input = self.dice.tasks.pick(&ready);
            let record = self.log.topics[running.inputs[input].0].partitions[running.partition][next[input] as usize].clone();
            next[input] += 1;
            if let Err(error) = running.task.process(record, env) {
                failed = Some(format!("{}: {error:?}", running.task.id()));
                break;
            }
        }
        if failed.is_none() {
            failed = running.task.before_commit(env).err().map(|error| format!("{}: {error:?}", running.task.id()));
        }
        if let Some(failed) = failed {
            self.breaches.push(failed);
            return;
        }
        if abort {
            self.counts.aborts += 1;
            if let Err(error) = running.task.abort(env) {
                self.breaches.push(format!("abort: {error:?}"));
            }
        } else {
            for (input, next) in running.inputs.iter_mut().zip(&next) {
                input.1 = *next;
            }
            self.commit(task);
        }
        let running = &self.tasks.running[task];
        let more = running.inputs.iter().any(|(t, next)| (*next as usize) < self.log.topics[*t].partitions[running.partition].len());
        if more && !self.tasks.running[task].scheduled {
            self.tasks.running[task].scheduled = true;
            let most = self.plan.settings.task_delay;
            let after = self.dice.tasks.between(0, most) + if abort { 100 } else { 0 };
            self.schedule(after, Event::Task(task));
        }
    }

    fn commit(&mut self, task: usize) {
        let tasks = &mut self.tasks;
        let running = &mut tasks.running[task];
        let outputs: Vec<ProducerRecord> = running.task.drain_outputs().collect();
        for changes in running.task.changes() {
            tasks.backing.apply(&changes);
        }
        running.task.committed();
        for output in outputs {
            if self.log.topic(&output.topic).is_none() {
                self.breaches.push(format!("a record to {}: {:?}", output.topic, output.headers));
                continue;
            }
            self.append(output);
        }
    }

    /// Wall-clock time has gone on.
    pub fn tick(&mut self) {
        let now = self.now + self.plan.settings.unify_clock;
        for task in 0..self.tasks.running.len() {
            let tasks = &mut self.tasks;
            let partitions = tasks.partitions;
            let partition_count = |_: &str| Some(partitions);
            let env = Env { now, backing: &tasks.backing, partitions: &partition_count };
            let running = &mut tasks.running[task];
            if running.task.next_wall_clock_punctuation().is_none_or(|due| due > now) {
                continue;
            }
            let result = running.task.punctuate(env).and_then(|any| if any { running.task.before_commit(env) } else { Ok(()) });
            if let Err(error) = result {
                self.breaches.push(format!("punctuate: {error:?}"));
                return;
            }
            self.commit(task);
        }
    }

    /// What was appended, in words.
    pub fn trace_append(&mut self, topic: usize, partition: usize, offset: i64) {
        let name = self.log.topics[topic].name.clone();
        let record = &self.log.topics[topic].partitions[partition][offset as usize];
        let codecs = &self.shared.codecs;
        let value = record.value.as_deref().unwrap_or_default();
        use crate::brief;
        let text = match &*name {
            n if n.starts_with("requests.") => codecs.request.decode(value).map(|v| brief::action(&v.action)).unwrap_or_default(),
            n if n.starts_with("links.") => codecs.link.decode(value).map(|v| format!("{v:?}")).unwrap_or_default(),
            "customers.identify" => self.shared.identify.decode(value).map(|v| brief::identify(&v.body)).unwrap_or_default(),
            "customers.unify" => codecs.unify.decode(value).map(|v| brief::unify(&v.body)).unwrap_or_default(),
            "customers.unified" => codecs.unified.decode(value).map(|v| brief::unified(&v)).unwrap_or_default(),
            "customers.conflicts" => codecs.conflict.decode(value).map(|v| brief::conflict(&v)).unwrap_or_default(),
            _ => codecs.source.decode(value).map(|v| brief::result(&v)).unwrap_or_default(),
        };
        let key = log::key(record);
        let key = if key.len() == 36 { &key[..4] } else { key };
        let line = format!("-> {name}-{partition}@{offset} {key}: {text}");
        self.trace(line);
    }
}
