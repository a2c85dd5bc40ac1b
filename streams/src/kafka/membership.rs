//! Partitions come and go: tasks are opened, restored and started, committed and closed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::Consumer;

use super::error::{Failure, Halt};
use super::life::Life;
use super::local_store::{LocalStore, Position};
use super::progress::{self, Start};
use super::rebalance::{self, Event};
use super::refusal;
use super::restore::{Gap, is_useless};
use super::running::{Changelog, Running, now_ms};
use super::{KafkaStreamsError, assignment, clients, fail_point};
use crate::{TaskId, TopicPartition};

const CALL: Duration = Duration::from_secs(5);
/// Where partitions come one by one: how long a task may lack some.
const LONGEST_INCOMPLETE: Duration = Duration::from_secs(60);

impl Life<'_> {
    /// Does what the group says, and answers it.
    pub(super) fn rebalance(&mut self, event: &Event) -> Result<(), Failure> {
        match event {
            Event::Assigned(partitions) => self.assigned(partitions),
            Event::Revoked { partitions, lost } => self.revoked(partitions, *lost),
        }
    }

    fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<(), Failure> {
        fail_point::reached("partitions are given");
        let starts = self.starts(partitions)?;
        let failed = |error| KafkaStreamsError::broker("taking over partitions", error);
        rebalance::assign_from(&self.consumer, &starts).map_err(failed)?;
        // They are read when their tasks run.
        if !partitions.is_empty() {
            self.consumer.pause(&rebalance::list(partitions)).map_err(failed)?;
        }
        self.is_member = true;
        self.waiting.extend(starts.into_iter().map(|start| (start.partition.clone(), start)));
        self.open_complete_tasks()
    }

    /// Where each partition goes on: where the group is, else at its beginning. Waits for offsets that an open transaction of another
    /// member is about to commit.
    pub(super) fn starts(&self, partitions: &[TopicPartition]) -> Result<Vec<Start>, Failure> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + self.shared.config.api_timeout;
        let committed = loop {
            let answer = self.consumer.committed_offsets(rebalance::list(partitions), CALL);
            let whole = answer.and_then(|list| list.elements().iter().try_for_each(|element| element.error()).map(|()| list));
            let error = match whole {
                Ok(list) => break list,
                Err(error) => error,
            };
            let refused = refusal::of_group(&self.shared.config, &error);
            if let Some(refused) = refused.or_else(|| refusal::of_topic("READ", &names(partitions), &error)) {
                return Err(refused.into());
            }
            if Instant::now() > deadline {
                return Err(KafkaStreamsError::broker("asking for committed offsets", error).into());
            }
            tracing::debug!(%error, "Asking for committed offsets again.");
            thread::sleep(Duration::from_millis(10));
        };
        let mut starts = Vec::with_capacity(partitions.len());
        for element in committed.elements() {
            let partition = TopicPartition::new(element.topic(), element.partition());
            let (next, stream_time) = match element.offset() {
                Offset::Offset(next) => (next, progress::stream_time(element.metadata())),
                _ => (self.shared.cluster.watermarks(&partition)?.0, -1),
            };
            starts.push(Start { partition, next, stream_time });
        }
        Ok(starts)
    }

    /// Opens the tasks that have all their partitions.
    pub(super) fn open_complete_tasks(&mut self) -> Result<(), Failure> {
        let plan = assignment::plan(&self.shared.topology, &self.waiting.keys().cloned().collect());
        for (task, partitions) in plan.complete {
            let starts: Vec<Start> = partitions
                .iter()
                .filter_map(|partition| Some(Start { partition: partition.clone(), ..self.waiting.remove(partition)? }))
                .collect();
            let running = self.open(task, &starts)?;
            self.tasks.push(running);
        }
        self.index();
        for place in 0..self.tasks.len() {
            if self.tasks[place].task.is_none() && self.tasks[place].missing.is_empty() {
                self.start_task(place)?;
            }
        }
        self.waiting_since = match (plan.incomplete.is_empty(), self.waiting_since) {
            (true, _) => None,
            (false, since) => Some(since.unwrap_or_else(Instant::now)),
        };
        if !rebalance::is_cooperative(&self.consumer) {
            self.refuse_incomplete()?;
        }
        Ok(())
    }

    /// An assignor that tears tasks apart would have their stores miss half of their input: better not to run.
    fn refuse_incomplete(&self) -> Result<(), KafkaStreamsError> {
        match assignment::plan(&self.shared.topology, &self.waiting.keys().cloned().collect()).incomplete.first() {
            None => Ok(()),
            Some((task, partitions)) => {
                let given: Vec<String> = partitions.iter().map(TopicPartition::to_string).collect();
                Err(KafkaStreamsError::NotColocated { task: *task, given: given.join(", ") })
            }
        }
    }

    /// Where partitions come one by one, a task may be incomplete for a while.
    pub(super) fn check_waiting(&self) -> Result<(), KafkaStreamsError> {
        match self.waiting_since {
            Some(since) if since.elapsed() > LONGEST_INCOMPLETE => self.refuse_incomplete(),
            _ => Ok(()),
        }
    }

    /// Opens a task's stores, and finds out what they lack.
    fn open(&mut self, task: TaskId, starts: &[Start]) -> Result<Running, Failure> {
        let topology = self.shared.topology.clone();
        let stores = &topology.subtopologies()[task.subtopology as usize].stores;
        let names: Vec<(usize, Arc<str>)> = stores.iter().map(|store| (*store, topology.stores()[*store].name.clone())).collect();
        let local = LocalStore::open(self.shared.state_dir.task(task), task, &names)?;
        let logged = stores.iter().filter_map(|store| Some((*store, topology.stores()[*store].changelog_topic.clone()?)));
        let changelogs = logged.map(|(store, topic)| Changelog { store, topic, slot: self.next_slot() }).collect();
        let mut running = Running::new(task, starts, local, changelogs);
        for place in 0..running.changelogs.len() {
            let gap = self.gap(&mut running, place, now_ms())?;
            if gap.next < gap.end {
                running.missing.insert(gap.store);
                self.restorer()?.add(gap);
            }
        }
        tracing::info!(%task, stores_to_restore = running.missing.len(), "A task is opened.");
        Ok(running)
    }

    /// What a store lacks. One that cannot catch up is emptied.
    fn gap(&self, running: &mut Running, place: usize, now: i64) -> Result<Gap, Failure> {
        let Changelog { store, topic, .. } = &running.changelogs[place];
        let task = running.id;
        // Asked for after the committed offsets: whatever was written before those were committed is before this end.
        let (begin, end) = self.shared.cluster.watermarks(&TopicPartition::new(topic.clone(), task.partition))?;
        let mut known = running.local.position(*store);
        if fail_point::breaks("positions-of-local-stores") {
            known = known.map(|position| Position { next: end, ..position });
        }
        let useless = known.and_then(|position| is_useless(position, begin, end, now));
        if let Some(reason) = useless {
            tracing::warn!(%task, topic = &**topic, ?known, begin, end, reason, "A local store is restored anew.");
        }
        let Position { next, as_of } = match known.filter(|_| useless.is_none()) {
            Some(position) => position,
            None => {
                running.local.clear(*store)?;
                Position { next: begin, as_of: now }
            }
        };
        if next == end {
            running.local.restore(*store, &[], Position { next, as_of: now })?;
        }
        Ok(Gap { task, store: *store, topic: topic.clone(), next, as_of, end, asked: now })
    }

    /// A changelog lost its beginning while it was read.
    pub(super) fn restore_anew(&mut self, task: TaskId, store: usize) -> Result<(), Failure> {
        let Some(place) = self.tasks.iter().position(|running| running.id == task) else { return Ok(()) };
        let mut running = self.tasks.swap_remove(place);
        running.local.clear(store)?;
        let changelog = running.changelogs.iter().position(|changelog| changelog.store == store);
        let gap = changelog.map(|changelog| self.gap(&mut running, changelog, now_ms())).transpose()?;
        running.missing.remove(&store);
        if let Some(gap) = gap.filter(|gap| gap.next < gap.end) {
            running.missing.insert(store);
            self.restorer()?.add(gap);
        }
        self.tasks.push(running);
        self.index();
        let place = self.tasks.len() - 1;
        if self.tasks[place].missing.is_empty() { self.start_task(place) } else { Ok(()) }
    }

    /// Starts a task whose stores are complete; from now on its partitions are read.
    pub(super) fn start_task(&mut self, place: usize) -> Result<(), Failure> {
        let running = &mut self.tasks[place];
        let (topology, config) = (self.shared.topology.clone(), self.shared.config.task.clone());
        running.start(topology, config, clients::largest_record(&self.shared.config), &|topic| self.output.partitions(topic))?;
        let partitions: Vec<TopicPartition> = running.inputs.iter().map(|input| input.partition.clone()).collect();
        running.inputs.iter_mut().for_each(|input| input.paused = false);
        let resumed = self.consumer.resume(&rebalance::list(&partitions));
        Ok(resumed.map_err(|error| KafkaStreamsError::broker("reading the partitions of a task", error))?)
    }

    /// Commits while the partitions are still ours, unless they are lost already; then gives them back.
    fn revoked(&mut self, partitions: &[TopicPartition], lost: bool) -> Result<(), Failure> {
        let aborted = if lost {
            tracing::warn!(partitions = partitions.len(), "Partitions are lost: what was not committed is given up.");
            self.give_up("the partitions are lost")?;
            true
        } else {
            match self.commit() {
                Ok(()) => false,
                Err(Halt::Abort(reason)) => {
                    tracing::warn!(reason, "The commit before partitions are given back failed; what was not committed is given up.");
                    self.give_up(&reason)?;
                    true
                }
                Err(Halt::Renew(reason)) => {
                    self.replace_producer(&reason)?;
                    true
                }
                Err(Halt::End(failure)) => return Err(failure),
            }
        };
        fail_point::reached("partitions are given back");
        self.close_tasks(&partitions.iter().cloned().collect())?;
        // What is ours next is told by the next assignment.
        self.is_member = rebalance::is_cooperative(&self.consumer);
        rebalance::unassign(&self.consumer, partitions).map_err(|error| KafkaStreamsError::broker("giving partitions back", error))?;
        if aborted { self.go_back() } else { Ok(()) }
    }

    /// Closes the tasks that lose a partition. Partitions that stay wait for a new task.
    fn close_tasks(&mut self, gone: &BTreeSet<TopicPartition>) -> Result<(), Failure> {
        for place in (0..self.tasks.len()).rev() {
            if !self.tasks[place].inputs.iter().any(|input| gone.contains(&input.partition)) {
                continue;
            }
            let running = self.tasks.swap_remove(place);
            if let Some(restorer) = &mut self.restorer {
                restorer.forget(running.id)?;
            }
            self.shared.forgive(running.id);
            let stream_time = running.stream_time();
            for input in &running.inputs {
                let start = Start { partition: input.partition.clone(), next: input.committed(), stream_time };
                self.waiting.insert(start.partition.clone(), start);
            }
            tracing::info!(task = %running.id, "A task is closed.");
            running.close();
        }
        self.waiting.retain(|partition, _| !gone.contains(partition));
        if !self.waiting.is_empty() {
            let kept: Vec<&TopicPartition> = self.waiting.keys().collect();
            self.consumer.pause(&rebalance::list(kept)).map_err(|error| KafkaStreamsError::broker("pausing partitions", error))?;
            let kept: Vec<(&TopicPartition, i64)> = self.waiting.values().map(|start| (&start.partition, start.next)).collect();
            self.seek(kept)?;
            self.waiting_since.get_or_insert_with(Instant::now);
        } else {
            self.waiting_since = None;
        }
        self.index();
        Ok(())
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    let topics: BTreeSet<&str> = partitions.iter().map(|partition| &*partition.topic).collect();
    topics.into_iter().collect::<Vec<_>>().join(", ")
}
