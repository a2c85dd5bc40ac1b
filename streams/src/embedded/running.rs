//! One task, its input, and its troubles.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::driver::World;
use super::input::{self, Input};
use super::lanes::Turn;
use super::state_backing::SqliteState;
use crate::guard::guarded;
use crate::{BuiltTopology, Env, Task, TaskConfig, TaskError, TaskId};

pub(super) struct Running {
    pub(super) id: TaskId,
    /// The stores' ids in the file, by their place in the topology.
    stores: Arc<[i64]>,
    /// Absent while it waits to be started anew.
    pub(super) task: Option<Task>,
    pub(super) inputs: Vec<Input>,
    /// Committed stream time, for the task's next life.
    pub(super) stream_time: i64,
    /// Whether it was called in this round.
    pub(super) worked: bool,
    /// Failures in a row.
    pub(super) failures: u32,
    /// When to start it anew.
    pub(super) restart: Option<Instant>,
}

impl Running {
    pub(super) fn new(id: TaskId, stores: Arc<[i64]>, inputs: Vec<Input>) -> Running {
        Running { id, stores, task: None, inputs, stream_time: -1, worked: false, failures: 0, restart: None }
    }

    /// Calls the task, if it is there.
    pub(super) fn call(
        &mut self,
        world: World<'_>,
        work: impl FnOnce(&mut Task, Env<'_>) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        let Some(task) = &mut self.task else { return Ok(()) };
        self.worked = true;
        with_env(world, &self.stores, |env| guarded(self.id, || work(task, env)))
    }

    /// Makes the task anew, from what is committed.
    pub(super) fn start(&mut self, topology: Arc<BuiltTopology>, config: TaskConfig, world: World<'_>) -> Result<(), TaskError> {
        let (id, stream_time) = (self.id, self.stream_time);
        let start = |env: Env<'_>| guarded(id, || Task::starting_at(topology, id, config, stream_time, env));
        self.task = Some(with_env(world, &self.stores, start)?);
        Ok(())
    }

    /// Processes records that are queued, at most so many, and only while it is known which one is next.
    pub(super) fn process(&mut self, most: usize, world: World<'_>) -> Turn {
        let mut processed = 0;
        while processed < most
            && !self.inputs.iter().any(Input::must_be_polled)
            && let Some(record) = input::take_next(&mut self.inputs)
        {
            self.call(world, |task, env| task.process(record, env))?;
            processed += 1;
        }
        Ok(processed)
    }

    /// Tells the task that a commit follows.
    pub(super) fn before_commit(&mut self, world: World<'_>) -> Turn {
        self.call(world, |task, env| task.before_commit(env))?;
        Ok(0)
    }

    /// Records that it could process at once.
    pub(super) fn queued(&self) -> usize {
        if self.task.is_some() { input::queued(&self.inputs) } else { 0 }
    }

    pub(super) fn needs_before_commit(&self) -> bool {
        self.task.as_ref().is_some_and(Task::needs_before_commit)
    }

    /// Ends the task.
    pub(super) fn close(&mut self) {
        if let Some(mut task) = self.task.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| task.close()));
        }
        self.restart = None;
    }
}

/// What a task sees of the world.
fn with_env<T>(world: World<'_>, stores: &[i64], work: impl FnOnce(Env<'_>) -> T) -> T {
    let backing = SqliteState { connection: world.connection, ids: stores, journal: world.journal };
    let partitions = |topic: &str| world.catalog.topic(topic).map(|topic| topic.config.partitions);
    work(Env { now: world.clock.now_ms(), backing: &backing, partitions: &partitions })
}
