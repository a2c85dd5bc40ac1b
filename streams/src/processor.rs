//! Processors, and what they may do.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ProcessorError;
use crate::record::{Record, RecordMetadata};
use crate::store::{StateBacking, StoreRef};
use crate::task::{Core, TaskId};

/// A node that processes records. One instance per task, made by its supplier; it is called from one thread at a time.
///
/// What it remembers in its own fields is lost with the task (a crash, a move, an aborted transaction): state belongs in stores.
pub trait Processor<K, V>: Send {
    /// Called once, before any record. Schedules punctuators.
    fn init(&mut self, _ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        Ok(())
    }

    /// Processes one record.
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Result<(), ProcessorError>;

    /// A schedule of this processor is due. `timestamp` is the stream time or the wall-clock time.
    fn punctuate(&mut self, _ctx: &mut ProcessorContext<'_>, _schedule: ScheduleId, _timestamp: i64) -> Result<(), ProcessorError> {
        Ok(())
    }

    /// Called before each commit of a task that did something since the last one; may forward. Beyond Kafka Streams: it lets a processor decide
    /// once for many records of a key.
    fn before_commit(&mut self, _ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        Ok(())
    }

    /// Called once, at the end of the task.
    fn close(&mut self) {}
}

impl<K, V> Processor<K, V> for Box<dyn Processor<K, V>> {
    fn init(&mut self, ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        (**self).init(ctx)
    }

    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Result<(), ProcessorError> {
        (**self).process(ctx, record)
    }

    fn punctuate(&mut self, ctx: &mut ProcessorContext<'_>, schedule: ScheduleId, timestamp: i64) -> Result<(), ProcessorError> {
        (**self).punctuate(ctx, schedule, timestamp)
    }

    fn before_commit(&mut self, ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        (**self).before_commit(ctx)
    }

    fn close(&mut self) {
        (**self).close();
    }
}

/// Which time a punctuator follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PunctuationType {
    /// The greatest timestamp of the task's records so far: it advances only while records come.
    StreamTime,
    /// The driver's wall clock.
    WallClockTime,
}

/// A schedule of a processor, unique in its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScheduleId(pub(crate) u64);

/// What a task may ask of its driver while it runs.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// The wall clock, in milliseconds since the Unix epoch.
    pub now: i64,
    /// The committed state.
    pub backing: &'a dyn StateBacking,
    /// How many partitions a topic has, for partitioners of the user's own.
    pub partitions: &'a dyn Fn(&str) -> Option<i32>,
}

/// What a processor may do: forward, read and write its stores, ask for the time, schedule punctuators.
pub struct ProcessorContext<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) env: Env<'a>,
    pub(crate) node: usize,
}

impl ProcessorContext<'_> {
    /// Hands a record to every child. The children run at once; the record's types must be theirs.
    pub fn forward<K: Any + Clone, V: Any + Clone>(&mut self, record: Record<K, V>) -> Result<(), ProcessorError> {
        let count = self.core.child_count(self.node);
        for index in 0..count.saturating_sub(1) {
            let mut record = Some(record.clone());
            self.core.process_child(self.env, self.node, index, &mut record)?;
        }
        match count {
            0 => Ok(()),
            _ => self.core.process_child(self.env, self.node, count - 1, &mut Some(record)),
        }
    }

    /// Hands a record to one child.
    pub fn forward_to<K: Any + Clone, V: Any + Clone>(&mut self, child: &str, record: Record<K, V>) -> Result<(), ProcessorError> {
        let index = self.core.child_index(self.node, child)?;
        self.core.process_child(self.env, self.node, index, &mut Some(record))
    }

    /// A store that is connected to this processor.
    pub fn store(&mut self, name: &str) -> Result<StoreRef<'_>, ProcessorError> {
        let overlay = self.core.store(self.node, name)?;
        Ok(StoreRef { overlay, backing: self.env.backing })
    }

    /// The driver's wall clock, in milliseconds since the Unix epoch.
    pub fn current_system_time_ms(&self) -> i64 {
        self.env.now
    }

    /// The greatest timestamp of the task's records so far; -1 before the first.
    pub fn current_stream_time_ms(&self) -> i64 {
        self.core.stream_time
    }

    /// The task that runs this processor.
    pub fn task_id(&self) -> TaskId {
        self.core.id
    }

    /// The application id.
    pub fn application_id(&self) -> &str {
        &self.core.application_id
    }

    /// Where the current record came from; none while a punctuator or [`Processor::before_commit`] runs.
    pub fn record_metadata(&self) -> Option<RecordMetadata> {
        self.core.current.as_ref().map(|record| RecordMetadata {
            topic: record.topic.clone(),
            partition: record.partition,
            offset: record.offset,
        })
    }

    /// Calls [`Processor::punctuate`] at an interval. On stream time the first call comes with the first record, then at multiples of the interval;
    /// on wall-clock time after one interval. Missed calls are made up for by one.
    pub fn schedule(&mut self, interval: Duration, kind: PunctuationType) -> ScheduleId {
        self.core.schedule(self.node, interval, kind, self.env.now)
    }

    /// Ends a schedule.
    pub fn cancel(&mut self, schedule: ScheduleId) {
        self.core.cancel(schedule);
    }

    /// The node's name.
    pub fn node_name(&self) -> &str {
        self.core.node_name(self.node)
    }

    pub(crate) fn drop_record(&mut self) {
        self.core.counts.dropped += 1;
    }
}

/// A node as the task sees it, its record types erased.
pub(crate) trait Node: Send {
    fn init(&mut self, _ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        Ok(())
    }

    /// `record` is an `Option<Record<K, V>>` that is taken.
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: &mut dyn Any) -> Result<(), ProcessorError>;

    fn punctuate(&mut self, _ctx: &mut ProcessorContext<'_>, _schedule: ScheduleId, _timestamp: i64) -> Result<(), ProcessorError> {
        Ok(())
    }

    fn before_commit(&mut self, _ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        Ok(())
    }

    fn close(&mut self) {}
}

pub(crate) type NodeFactory = Arc<dyn Fn(&dyn Fn(&str) -> Arc<str>) -> Box<dyn Node> + Send + Sync>;

pub(crate) struct ProcessorNode<K, V, P> {
    processor: P,
    types: PhantomData<fn(K, V)>,
}

impl<K, V, P> ProcessorNode<K, V, P> {
    pub(crate) fn new(processor: P) -> Self {
        Self { processor, types: PhantomData }
    }
}

/// Takes the record out of its erased slot.
pub(crate) fn take<K: Any, V: Any>(record: &mut dyn Any) -> Result<Record<K, V>, ProcessorError> {
    record.downcast_mut::<Option<Record<K, V>>>().and_then(Option::take).ok_or_else(|| {
        let expected = std::any::type_name::<Record<K, V>>();
        ProcessorError::fatal("record-type", format!("a record of other types than {expected} was forwarded to this node"))
    })
}

impl<K: Any, V: Any, P: Processor<K, V>> Node for ProcessorNode<K, V, P> {
    fn init(&mut self, ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        self.processor.init(ctx)
    }

    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: &mut dyn Any) -> Result<(), ProcessorError> {
        self.processor.process(ctx, take(record)?)
    }

    fn punctuate(&mut self, ctx: &mut ProcessorContext<'_>, schedule: ScheduleId, timestamp: i64) -> Result<(), ProcessorError> {
        self.processor.punctuate(ctx, schedule, timestamp)
    }

    fn before_commit(&mut self, ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        self.processor.before_commit(ctx)
    }

    fn close(&mut self) {
        self.processor.close();
    }
}
