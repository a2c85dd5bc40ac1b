//! One task: its stores, its input, and whether it runs or is still restored.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::input::Input;
use super::local_store::LocalStore;
use super::progress::Start;
use super::transactions::Slot;
use crate::guard::guarded;
use crate::{BuiltTopology, Env, Task, TaskConfig, TaskError, TaskId};

/// The changelog of one of the task's stores.
#[derive(Debug)]
pub(super) struct Changelog {
    /// The store's place in the topology.
    pub(super) store: usize,
    pub(super) topic: Arc<str>,
    pub(super) slot: Slot,
}

pub(super) struct Running {
    pub(super) id: TaskId,
    /// Absent while its stores are restored.
    pub(super) task: Option<Task>,
    pub(super) inputs: Vec<Input>,
    pub(super) local: LocalStore,
    pub(super) changelogs: Vec<Changelog>,
    /// Stores that are not yet restored.
    pub(super) missing: BTreeSet<usize>,
    /// Committed stream time.
    stream_time: i64,
    /// Whether it was called since the last commit, or changed its stores at its start.
    pub(super) worked: bool,
}

impl Running {
    pub(super) fn new(id: TaskId, starts: &[Start], local: LocalStore, changelogs: Vec<Changelog>) -> Running {
        let stream_time = starts.iter().map(|start| start.stream_time).max().unwrap_or(-1);
        let inputs = starts.iter().map(Input::new).collect();
        Running { id, task: None, inputs, local, changelogs, missing: BTreeSet::new(), stream_time, worked: false }
    }

    /// Makes the task, from what is committed.
    pub(super) fn start(
        &mut self,
        topology: Arc<BuiltTopology>,
        config: TaskConfig,
        largest_record: usize,
        partitions: &dyn Fn(&str) -> Option<i32>,
    ) -> Result<(), TaskError> {
        let env = Env { now: now_ms(), backing: &self.local, partitions };
        let (id, stream_time) = (self.id, self.stream_time);
        let mut task = guarded(id, || Task::starting_at(topology, id, config, stream_time, env))?;
        task.limit_records(largest_record);
        self.task = Some(task);
        self.note_init();
        Ok(())
    }

    /// What its processors changed when they were made is committed as the rest is: with the task's offsets.
    fn note_init(&mut self) {
        self.worked = self.task.as_ref().is_some_and(|task| task.changes().next().is_some());
    }

    /// Calls the task, if it runs.
    pub(super) fn call(
        &mut self,
        partitions: &dyn Fn(&str) -> Option<i32>,
        work: impl FnOnce(&mut Task, Env<'_>) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        let Some(task) = &mut self.task else { return Ok(()) };
        self.worked = true;
        let env = Env { now: now_ms(), backing: &self.local, partitions };
        guarded(self.id, || work(task, env))
    }

    /// Where each of its inputs goes on after a commit now: a task that worked tells all of them, so that a member that lost the task
    /// can never commit for it.
    pub(super) fn offsets(&self) -> impl Iterator<Item = (&Input, i64)> {
        self.inputs.iter().map(|input| {
            let consumed = self.task.as_ref().and_then(|task| task.consumed().find(|(topic, _)| **topic == input.partition.topic));
            (input, consumed.map_or(input.committed(), |(_, next)| next))
        })
    }

    /// The stream time that a commit now keeps.
    pub(super) fn stream_time(&self) -> i64 {
        self.task.as_ref().map_or(self.stream_time, Task::stream_time)
    }

    /// Whether a commit has something to do for it.
    pub(super) fn has_uncommitted(&self) -> bool {
        self.worked && self.task.as_ref().is_some_and(|task| task.consumed().next().is_some() || task.changes().next().is_some())
    }

    /// A transaction is committed, and the local store has it.
    pub(super) fn committed(&mut self) {
        let offsets: Vec<i64> = self.offsets().map(|(_, next)| next).collect();
        for (input, next) in self.inputs.iter_mut().zip(offsets) {
            input.commit(next);
        }
        if let Some(task) = &mut self.task {
            self.stream_time = task.stream_time();
            task.committed();
        }
        self.worked = false;
    }

    /// Back to what is committed: the task is made anew, its input is empty.
    pub(super) fn rewind(&mut self, partitions: &dyn Fn(&str) -> Option<i32>) -> Result<(), TaskError> {
        self.inputs.iter_mut().for_each(Input::rewind);
        if std::mem::take(&mut self.worked)
            && let Some(task) = &mut self.task
        {
            let env = Env { now: now_ms(), backing: &self.local, partitions };
            guarded(self.id, || task.abort(env))?;
            self.note_init();
        }
        Ok(())
    }

    /// Ends the task; what is not committed is forgotten.
    pub(super) fn close(mut self) -> LocalStore {
        if let Some(mut task) = self.task.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| task.close()));
        }
        self.local
    }
}

/// The wall clock, in milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    use crate::embedded::{Clock, SystemClock};
    SystemClock.now_ms()
}
