//! A task: one sub-topology on one partition. Pure: records and time go in; outputs, store changes and offsets come out.

mod core;
mod metrics;
mod schedules;

use std::fmt;
use std::sync::Arc;

pub(crate) use self::core::Core;
use self::metrics::TaskMetrics;
pub use self::metrics::describe_metrics;

use crate::error::{ExceptionHandler, ProcessorError, TaskError, log_and_fail};
use crate::processor::{Env, PunctuationType};
use crate::record::{ConsumerRecord, ProducerRecord};
use crate::store::StoreChanges;
use crate::topology::BuiltTopology;

/// Sub-topology and partition, written `0_1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    /// The number of the sub-topology.
    pub subtopology: i32,
    /// The partition.
    pub partition: i32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.subtopology, self.partition)
    }
}

/// What all tasks of an application have in common.
#[derive(Clone)]
pub struct TaskConfig {
    /// What becomes of records that fail.
    pub exception_handler: ExceptionHandler,
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self { exception_handler: log_and_fail() }
    }
}

impl fmt::Debug for TaskConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskConfig").finish_non_exhaustive()
    }
}

/// One sub-topology on one partition.
///
/// A driver gives it records ([`process`](Task::process)) and time ([`punctuate`](Task::punctuate)), takes its outputs after each call
/// ([`drain_outputs`](Task::drain_outputs)), and commits in one transaction: [`before_commit`](Task::before_commit), then outputs, offsets
/// ([`consumed`](Task::consumed)) and store [`changes`](Task::changes); then [`committed`](Task::committed), or [`abort`](Task::abort).
/// After an error only `abort` may follow.
pub struct Task {
    topology: Arc<BuiltTopology>,
    config: TaskConfig,
    core: Core,
    metrics: TaskMetrics,
    committed_stream_time: i64,
    needs_before_commit: bool,
}

impl Task {
    /// Makes the task's processors and calls their `init`.
    pub fn new(topology: Arc<BuiltTopology>, id: TaskId, config: TaskConfig, env: Env<'_>) -> Result<Self, TaskError> {
        Self::starting_at(topology, id, config, -1, env)
    }

    /// The same, with the stream time that an earlier life of the task had committed.
    pub fn starting_at(
        topology: Arc<BuiltTopology>,
        id: TaskId,
        config: TaskConfig,
        stream_time: i64,
        env: Env<'_>,
    ) -> Result<Self, TaskError> {
        let core = Core::new(&topology, id, config.exception_handler.clone(), stream_time);
        let metrics = TaskMetrics::new(id);
        let mut task = Self { topology, config, core, metrics, committed_stream_time: stream_time, needs_before_commit: false };
        task.core.init(env).map_err(|error| task.core.failed(error))?;
        Ok(task)
    }

    /// From now on a record that is larger than this, as [`ProducerRecord::size`] tells it, is an error of the sink that was to write it.
    pub fn limit_records(&mut self, bytes: usize) {
        self.core.largest_record = bytes;
    }

    /// The task's id.
    pub fn id(&self) -> TaskId {
        self.core.id
    }

    /// Runs a record of one of the sub-topology's source topics through it, and the stream-time punctuators that it makes due.
    pub fn process(&mut self, record: ConsumerRecord, env: Env<'_>) -> Result<(), TaskError> {
        self.needs_before_commit = true;
        self.core.process(&self.topology, record, env).map_err(|error| self.core.failed(error))?;
        self.core.current = None;
        self.core.punctuate(PunctuationType::StreamTime, self.core.stream_time, env).map_err(|error| self.core.failed(error))?;
        Ok(())
    }

    /// Runs the wall-clock punctuators that are due at `env.now`; whether there were any.
    pub fn punctuate(&mut self, env: Env<'_>) -> Result<bool, TaskError> {
        let any = self.core.punctuate(PunctuationType::WallClockTime, env.now, env).map_err(|error| self.core.failed(error))?;
        self.needs_before_commit |= any;
        Ok(any)
    }

    /// When the next wall-clock punctuator is due.
    pub fn next_wall_clock_punctuation(&self) -> Option<i64> {
        self.core.schedules.next(PunctuationType::WallClockTime)
    }

    /// Whether the task did something since the last [`before_commit`](Task::before_commit).
    pub fn needs_before_commit(&self) -> bool {
        self.needs_before_commit
    }

    /// Calls [`Processor::before_commit`](crate::Processor::before_commit) of every processor, upstream ones first. Their outputs are part of the
    /// transaction: what they cause in other tasks runs, and has its own `before_commit`, before the commit.
    pub fn before_commit(&mut self, env: Env<'_>) -> Result<(), TaskError> {
        self.needs_before_commit = false;
        self.core.before_commit(env).map_err(|error| self.core.failed(error))
    }

    /// Takes the records produced since the last call, in order.
    pub fn drain_outputs(&mut self) -> std::vec::Drain<'_, ProducerRecord> {
        self.core.outputs.drain(..)
    }

    /// Whether [`drain_outputs`](Task::drain_outputs) would give something.
    pub fn has_outputs(&self) -> bool {
        !self.core.outputs.is_empty()
    }

    /// The changes of each store since the last commit; stores without changes are left out.
    pub fn changes(&self) -> impl Iterator<Item = StoreChanges<'_>> {
        self.core.overlays.iter().map(|overlay| overlay.changes()).filter(|changes| !changes.is_empty())
    }

    /// The source topics read since the last commit, each with the offset after the last record.
    pub fn consumed(&self) -> impl Iterator<Item = (&Arc<str>, i64)> {
        self.core.consumed.iter().filter_map(|(topic, next)| next.map(|next| (topic, next)))
    }

    /// The greatest timestamp of the task's records so far; -1 before the first. A driver keeps it for [`Task::starting_at`].
    pub fn stream_time(&self) -> i64 {
        self.core.stream_time
    }

    /// The driver has committed: the changes are in the backing now.
    pub fn committed(&mut self) {
        if self.consumed().next().is_some() || self.changes().next().is_some() {
            self.metrics.committed();
        }
        self.metrics.record(std::mem::take(&mut self.core.counts));
        self.core.committed();
        self.committed_stream_time = self.core.stream_time;
    }

    /// Forgets everything since the last commit; the processors are made anew.
    pub fn abort(&mut self, env: Env<'_>) -> Result<(), TaskError> {
        self.core.close();
        self.metrics.record(std::mem::take(&mut self.core.counts));
        self.needs_before_commit = false;
        let largest_record = self.core.largest_record;
        self.core = Core::new(&self.topology, self.core.id, self.config.exception_handler.clone(), self.committed_stream_time);
        self.core.largest_record = largest_record;
        self.core.init(env).map_err(|error| self.core.failed(error))
    }

    /// Tells the metrics how long the driver took for a number of records; a task itself has no clock.
    pub fn record_process_latency(&self, records: u64, elapsed: std::time::Duration) {
        self.metrics.process_latency(records, elapsed);
    }

    /// Calls [`Processor::close`](crate::Processor::close) of every processor. What is not committed is lost.
    pub fn close(&mut self) {
        self.core.close();
    }

    /// A store as the task sees it now, its uncommitted writes included.
    pub fn store<'a>(&'a mut self, name: &str, env: Env<'a>) -> Result<crate::store::StoreRef<'a>, ProcessorError> {
        self.core.any_store(name, env)
    }
}
