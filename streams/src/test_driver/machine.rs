//! Topics, tasks and state of a test driver.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::{Chooser, TestDriverConfig, TestDriverError};
use crate::partition::partition_for_key;
use crate::processor::Env;
use crate::record::{ConsumerRecord, ProducerRecord, TopicPartition};
use crate::store::MemoryBacking;
use crate::task::{Task, TaskId};
use crate::topology::BuiltTopology;

/// What a machine's tasks may ask of it. A macro, since it borrows fields one by one while a task is borrowed mutably.
macro_rules! env {
    ($machine:expr) => {
        Env {
            now: $machine.now,
            backing: &$machine.backing,
            partitions: &|topic| Some(partitions(&$machine.counts, &$machine.config, topic)),
        }
    };
}

/// A source partition with records that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The partition.
    pub partition: TopicPartition,
    /// The timestamp of the first record that waits.
    pub timestamp: i64,
    /// Its offset.
    pub offset: i64,
    /// How many records wait.
    pub records: usize,
}

#[derive(Default)]
struct Partition {
    records: Vec<ConsumerRecord>,
    /// The offsets of those that the topology wrote since the last commit.
    uncommitted: Vec<i64>,
    /// How many are processed, in all and committed.
    processed: usize,
    committed_processed: usize,
    /// When the first waiting record came to wait: breaks ties of time.
    waiting_since: u64,
}

#[derive(Default)]
struct Topic {
    partitions: Vec<Partition>,
    /// What the topology wrote and the test has not read; and what of it is not committed.
    unread: VecDeque<ConsumerRecord>,
    uncommitted: VecDeque<ConsumerRecord>,
    produced: bool,
}

pub(super) struct Machine {
    topology: Arc<BuiltTopology>,
    pub(super) config: TestDriverConfig,
    pub(super) now: i64,
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) chooser: Option<Chooser>,
    backing: MemoryBacking,
    counts: HashMap<Arc<str>, i32>,
    topics: BTreeMap<Arc<str>, Topic>,
    arrivals: u64,
}

impl Machine {
    pub(super) fn new(topology: Arc<BuiltTopology>, config: TestDriverConfig) -> Result<Self, TestDriverError> {
        let external = |topic: &str| Some(config.topic_partitions.get(topic).copied().unwrap_or(config.partitions));
        let counts: HashMap<Arc<str>, i32> = topology.repartition_topics(&external)?.into_iter().collect();
        let ids = topology.tasks(&|topic| counts.get(topic).copied().or_else(|| external(topic)))?;
        let mut machine = Self {
            topology,
            now: config.initial_wall_clock_ms,
            config,
            tasks: BTreeMap::new(),
            chooser: None,
            backing: MemoryBacking::default(),
            counts,
            topics: BTreeMap::new(),
            arrivals: 0,
        };
        for id in ids {
            let task = Task::new(machine.topology.clone(), id, machine.config.task.clone(), env!(machine))?;
            machine.tasks.insert(id, task);
        }
        machine.collect_outputs()?;
        Ok(machine)
    }

    /// Appends a record; `committed` for those of the test, which no abort undoes.
    pub(super) fn append(&mut self, record: ProducerRecord, committed: bool) -> Result<(i32, i64), TestDriverError> {
        let count = partitions(&self.counts, &self.config, &record.topic);
        let partition = record.partition.unwrap_or_else(|| record.key.as_deref().map_or(0, |key| partition_for_key(key, count)));
        let offset = self
            .topic(&record.topic)
            .partitions
            .get(partition as usize)
            .map_or(0, |partition| partition.records.last().map_or(0, |record| record.offset + 1));
        let ProducerRecord { topic, key, value, timestamp, headers, .. } = record;
        self.append_at(ConsumerRecord { topic, partition, offset, timestamp, key, value, headers }, committed)?;
        Ok((partition, offset))
    }

    pub(super) fn append_at(&mut self, record: ConsumerRecord, committed: bool) -> Result<(), TestDriverError> {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let at = record.topic_partition();
        let partition = self.topic(&at.topic).partitions.get_mut(at.partition as usize);
        let partition = partition.ok_or_else(|| TestDriverError::Unknown(format!("partition {at}")))?;
        if partition.records.last().is_some_and(|last| last.offset >= record.offset) {
            return Err(TestDriverError::Unknown(format!("free offset {} in {at}", record.offset)));
        }
        if partition.processed == partition.records.len() {
            partition.waiting_since = arrival;
        }
        if !committed {
            partition.uncommitted.push(record.offset);
        }
        partition.records.push(record);
        Ok(())
    }

    fn topic(&mut self, name: &Arc<str>) -> &mut Topic {
        let count = partitions(&self.counts, &self.config, name);
        self.topics
            .entry(name.clone())
            .or_insert_with(|| Topic { partitions: (0..count).map(|_| Partition::default()).collect(), ..Topic::default() })
    }

    pub(super) fn pending(&self) -> Vec<Pending> {
        self.pending_by_arrival().into_iter().map(|(_, pending)| pending).collect()
    }

    fn pending_by_arrival(&self) -> Vec<(u64, Pending)> {
        let mut all = Vec::new();
        for (name, topic) in &self.topics {
            if self.topology.reader_of(name).is_none() {
                continue;
            }
            for partition in &topic.partitions {
                if let Some(first) = partition.records.get(partition.processed) {
                    let pending = Pending {
                        partition: first.topic_partition(),
                        timestamp: first.timestamp,
                        offset: first.offset,
                        records: partition.records.len() - partition.processed,
                    };
                    all.push((partition.waiting_since, pending));
                }
            }
        }
        all
    }

    pub(super) fn step(&mut self) -> Result<bool, TestDriverError> {
        let mut pending = self.pending_by_arrival();
        if pending.is_empty() {
            return Ok(false);
        }
        let chosen = match &mut self.chooser {
            None => pending.into_iter().min_by_key(|(since, pending)| (pending.timestamp, *since)).map(|(_, pending)| pending),
            Some(chooser) => {
                let list: Vec<Pending> = pending.drain(..).map(|(_, pending)| pending).collect();
                let place = chooser(&list) % list.len();
                list.into_iter().nth(place)
            }
        };
        chosen.map_or(Ok(false), |chosen| self.process(&chosen.partition))
    }

    pub(super) fn process(&mut self, at: &TopicPartition) -> Result<bool, TestDriverError> {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let partition = self.topics.get_mut(&at.topic).and_then(|topic| topic.partitions.get_mut(at.partition as usize));
        let Some(partition) = partition else { return Ok(false) };
        let Some(record) = partition.records.get(partition.processed).cloned() else { return Ok(false) };
        let Some(subtopology) = self.topology.reader_of(&at.topic) else { return Ok(false) };
        partition.processed += 1;
        partition.waiting_since = arrival;
        let id = TaskId { subtopology: subtopology as i32, partition: at.partition };
        let task = self.tasks.get_mut(&id).ok_or_else(|| TestDriverError::Unknown(format!("task {id}")))?;
        task.process(record, env!(self))?;
        self.collect_outputs()?;
        Ok(true)
    }

    pub(super) fn punctuate(&mut self) -> Result<bool, TestDriverError> {
        let mut any = false;
        for task in self.tasks.values_mut() {
            any |= task.punctuate(env!(self))?;
        }
        self.collect_outputs()?;
        Ok(any)
    }

    pub(super) fn before_commit(&mut self) -> Result<bool, TestDriverError> {
        let mut any = false;
        for task in self.tasks.values_mut().filter(|task| task.needs_before_commit()) {
            any = true;
            task.before_commit(env!(self))?;
        }
        self.collect_outputs()?;
        Ok(any)
    }

    fn collect_outputs(&mut self) -> Result<(), TestDriverError> {
        let mut produced: Vec<ProducerRecord> = Vec::new();
        for task in self.tasks.values_mut().filter(|task| task.has_outputs()) {
            produced.extend(task.drain_outputs());
        }
        for record in produced {
            let topic = record.topic.clone();
            let (partition, _) = self.append(record, false)?;
            let topic = self.topic(&topic);
            let copy = topic.partitions[partition as usize].records.last().cloned();
            topic.uncommitted.extend(copy);
        }
        Ok(())
    }

    pub(super) fn run_round(&mut self) -> Result<(), TestDriverError> {
        loop {
            while self.step()? {}
            if !self.before_commit()? && self.pending().is_empty() {
                break;
            }
        }
        self.commit();
        Ok(())
    }

    pub(super) fn unless_manual(&mut self) -> Result<(), TestDriverError> {
        match self.config.manual {
            true => Ok(()),
            false => self.all_or_nothing(Self::run_round),
        }
    }

    /// Undoes everything since the last commit if the work fails.
    pub(super) fn all_or_nothing(&mut self, work: impl FnOnce(&mut Self) -> Result<(), TestDriverError>) -> Result<(), TestDriverError> {
        match work(self) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.abort()?;
                Err(error)
            }
        }
    }

    pub(super) fn commit(&mut self) {
        for task in self.tasks.values_mut() {
            for changes in task.changes() {
                self.backing.apply(&changes);
            }
            task.committed();
        }
        for topic in self.topics.values_mut() {
            topic.produced |= !topic.uncommitted.is_empty();
            topic.unread.append(&mut topic.uncommitted);
            for partition in &mut topic.partitions {
                partition.uncommitted.clear();
                partition.committed_processed = partition.processed;
            }
        }
    }

    pub(super) fn abort(&mut self) -> Result<(), TestDriverError> {
        for topic in self.topics.values_mut() {
            topic.uncommitted.clear();
            for partition in &mut topic.partitions {
                let undone = std::mem::take(&mut partition.uncommitted);
                partition.records.retain(|record| !undone.contains(&record.offset));
                partition.processed = partition.committed_processed;
            }
        }
        for task in self.tasks.values_mut() {
            task.abort(env!(self))?;
        }
        self.collect_outputs()
    }

    pub(super) fn committed_records(&self, at: &TopicPartition) -> Vec<ConsumerRecord> {
        let partition = self.topics.get(&at.topic).and_then(|topic| topic.partitions.get(at.partition as usize));
        let Some(partition) = partition else { return Vec::new() };
        partition.records.iter().filter(|record| !partition.uncommitted.contains(&record.offset)).cloned().collect()
    }

    pub(super) fn produced_topics(&self) -> Vec<Arc<str>> {
        self.topics.iter().filter(|(_, topic)| topic.produced).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn read(&mut self, topic: &str) -> Option<ConsumerRecord> {
        self.topics.get_mut(topic).and_then(|topic| topic.unread.pop_front())
    }

    pub(super) fn unread(&self, topic: &str) -> usize {
        self.topics.get(topic).map_or(0, |topic| topic.unread.len())
    }

    pub(super) fn store_index(&self, name: &str) -> Result<usize, TestDriverError> {
        let index = self.topology.stores().iter().position(|store| *store.name == *name);
        index.ok_or_else(|| TestDriverError::Unknown(format!("store {name}")))
    }

    /// The partition of a store that holds a key.
    pub(super) fn store_partition(&self, name: &str, key: &[u8]) -> Result<i32, TestDriverError> {
        let subtopology = self.topology.stores()[self.store_index(name)?].subtopology as i32;
        let partitions = self.tasks.keys().filter(|id| id.subtopology == subtopology).count();
        Ok(partition_for_key(key, partitions as i32))
    }

    pub(super) fn store_entries(&mut self, name: &str) -> Result<Vec<(i32, Bytes, Bytes)>, TestDriverError> {
        let subtopology = self.topology.stores()[self.store_index(name)?].subtopology as i32;
        let mut entries = Vec::new();
        for (id, task) in self.tasks.iter_mut().filter(|(id, _)| id.subtopology == subtopology) {
            for entry in task.store(name, env!(self))?.all() {
                let (key, value) = entry.map_err(crate::ProcessorError::from)?;
                entries.push((id.partition, key, value));
            }
        }
        Ok(entries)
    }

    pub(super) fn store_get(&mut self, name: &str, partition: i32, key: &[u8]) -> Result<Option<Bytes>, TestDriverError> {
        let subtopology = self.topology.stores()[self.store_index(name)?].subtopology as i32;
        match self.tasks.get_mut(&TaskId { subtopology, partition }) {
            Some(task) => Ok(task.store(name, env!(self))?.get(key).map_err(crate::ProcessorError::from)?),
            None => Ok(None),
        }
    }

    pub(super) fn store_put(&mut self, name: &str, partition: i32, key: Bytes, value: Option<Bytes>) -> Result<(), TestDriverError> {
        let index = self.store_index(name)?;
        self.backing.put(index, partition, key, value);
        Ok(())
    }
}

fn partitions(counts: &HashMap<Arc<str>, i32>, config: &TestDriverConfig, topic: &str) -> i32 {
    counts.get(topic).or_else(|| config.topic_partitions.get(topic)).copied().unwrap_or(config.partitions)
}
