//! What a task's nodes share while they run.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::TaskId;
use super::metrics::Counts;
use super::schedules::Schedules;
use crate::error::{ErrorHandlerContext, ExceptionHandler, Phase, ProcessorError, Response, TaskError, dead_letter_record};
use crate::processor::{Env, Node, ProcessorContext, PunctuationType, ScheduleId};
use crate::record::{ConsumerRecord, ProducerRecord};
use crate::store::{Overlay, StoreInstance, StoreRef};
use crate::topology::{BuiltRole, BuiltTopology};

pub(crate) struct Core {
    pub(crate) id: TaskId,
    pub(crate) application_id: Arc<str>,
    slots: Vec<Slot>,
    pub(crate) overlays: Vec<Overlay>,
    pub(crate) outputs: Vec<ProducerRecord>,
    /// Source topics with the slot of their source, and, in `consumed` at the same place, the next offset since the last commit.
    sources: Vec<usize>,
    pub(crate) consumed: Vec<(Arc<str>, Option<i64>)>,
    pub(crate) current: Option<ConsumerRecord>,
    pub(crate) stream_time: i64,
    pub(crate) schedules: Schedules,
    handler: ExceptionHandler,
    /// In bytes.
    pub(crate) largest_record: usize,
    /// A fatal error was seen: a processor that swallows it must not lead to a commit.
    poisoned: bool,
    pub(crate) counts: Counts,
}

struct Slot {
    name: Arc<str>,
    phase: Phase,
    children: Box<[usize]>,
    /// Names of the stores that are connected, with their places in `overlays`.
    stores: Box<[(Arc<str>, usize)]>,
    /// Absent while the node runs: nodes call each other along a graph without cycles.
    node: Option<Box<dyn Node>>,
}

impl Core {
    pub(crate) fn new(topology: &BuiltTopology, id: TaskId, handler: ExceptionHandler, stream_time: i64) -> Self {
        let members: Vec<usize> =
            (0..topology.nodes.len()).filter(|node| topology.nodes[*node].subtopology == id.subtopology as usize).collect();
        let local = |node: usize| members.iter().position(|member| *member == node);
        let subtopology = &topology.subtopologies()[id.subtopology as usize];
        let overlays = subtopology
            .stores
            .iter()
            .map(|index| {
                Overlay::new(StoreInstance { name: topology.stores()[*index].name.clone(), index: *index, partition: id.partition })
            })
            .collect();
        let (mut sources, mut consumed) = (Vec::new(), Vec::new());
        let slots = members.iter().enumerate().map(|(slot, member)| {
            let node = &topology.nodes[*member];
            let mut stores = Vec::new();
            let phase = match &node.role {
                BuiltRole::Source { topics } => {
                    sources.extend(topics.iter().map(|_| slot));
                    consumed.extend(topics.iter().map(|topic| (topic.clone(), None)));
                    Phase::Deserialization
                }
                BuiltRole::Processor { stores: used } => {
                    for store in used {
                        let place = subtopology.stores.iter().position(|index| index == store);
                        stores.extend(place.map(|place| (topology.stores()[*store].name.clone(), place)));
                    }
                    Phase::Processing
                }
                BuiltRole::Sink => Phase::Production,
            };
            Slot {
                name: node.name.clone(),
                phase,
                children: node.children.iter().filter_map(|child| local(*child)).collect(),
                stores: stores.into(),
                node: Some((node.factory)(&|topic| topology.topic(topic))),
            }
        });
        let slots = slots.collect();
        Self {
            id,
            application_id: topology.application_id.clone(),
            slots,
            overlays,
            outputs: Vec::new(),
            sources,
            consumed,
            current: None,
            stream_time,
            schedules: Schedules::default(),
            handler,
            largest_record: usize::MAX,
            poisoned: false,
            counts: Counts::default(),
        }
    }

    pub(crate) fn init(&mut self, env: Env<'_>) -> Result<(), ProcessorError> {
        for slot in 0..self.slots.len() {
            self.run(env, slot, |node, ctx| node.init(ctx)).map_err(|error| error.at(&self.slots[slot].name))?;
        }
        Ok(())
    }

    pub(crate) fn process(&mut self, topology: &BuiltTopology, record: ConsumerRecord, env: Env<'_>) -> Result<(), ProcessorError> {
        let place = self.consumed.iter().position(|(topic, _)| Arc::ptr_eq(topic, &record.topic) || *topic == record.topic);
        let Some(place) = place.filter(|_| record.partition == self.id.partition) else {
            let reader = topology.source_node(&record.topic).map(|node| topology.nodes[node].subtopology);
            return Err(ProcessorError::fatal(
                "not-my-record",
                format!("{}-{} belongs to sub-topology {reader:?}", record.topic, record.partition),
            ));
        };
        self.consumed[place].1 = Some(record.offset + 1);
        self.current = Some(record);
        self.counts.processed += 1;
        self.call(env, self.sources[place], |node, ctx| node.process(ctx, &mut ()))?;
        self.check_poison()
    }

    pub(crate) fn process_child(&mut self, env: Env<'_>, node: usize, child: usize, record: &mut dyn Any) -> Result<(), ProcessorError> {
        self.call(env, self.slots[node].children[child], |node, ctx| node.process(ctx, record))
    }

    pub(crate) fn punctuate(&mut self, kind: PunctuationType, now: i64, env: Env<'_>) -> Result<bool, ProcessorError> {
        let mut any = false;
        while let Some((slot, schedule)) = self.schedules.due(kind, now) {
            any = true;
            self.counts.punctuated += 1;
            self.call(env, slot, |node, ctx| node.punctuate(ctx, schedule, now))?;
        }
        self.check_poison()?;
        Ok(any)
    }

    pub(crate) fn before_commit(&mut self, env: Env<'_>) -> Result<(), ProcessorError> {
        for slot in 0..self.slots.len() {
            self.call(env, slot, |node, ctx| node.before_commit(ctx))?;
        }
        self.check_poison()
    }

    pub(crate) fn committed(&mut self) {
        self.overlays.iter_mut().for_each(Overlay::clear);
        self.consumed.iter_mut().for_each(|(_, next)| *next = None);
    }

    pub(crate) fn close(&mut self) {
        self.slots.iter_mut().filter_map(|slot| slot.node.as_mut()).for_each(|node| node.close());
    }

    /// Runs a node; what it does not survive goes to the exception handler.
    fn call(
        &mut self,
        env: Env<'_>,
        slot: usize,
        work: impl FnOnce(&mut dyn Node, &mut ProcessorContext<'_>) -> Result<(), ProcessorError>,
    ) -> Result<(), ProcessorError> {
        match self.run(env, slot, work) {
            Ok(()) => Ok(()),
            Err(error) => self.handle(slot, error),
        }
    }

    fn run(
        &mut self,
        env: Env<'_>,
        slot: usize,
        work: impl FnOnce(&mut dyn Node, &mut ProcessorContext<'_>) -> Result<(), ProcessorError>,
    ) -> Result<(), ProcessorError> {
        let Some(mut node) = self.slots[slot].node.take() else {
            return Err(ProcessorError::fatal("re-entered", "a node was called while it was running"));
        };
        let result = work(&mut *node, &mut ProcessorContext { core: self, env, node: slot });
        self.slots[slot].node = Some(node);
        result
    }

    #[cold]
    fn handle(&mut self, slot: usize, error: ProcessorError) -> Result<(), ProcessorError> {
        let slot = &self.slots[slot];
        let error = error.at(&slot.name);
        if error.is_fatal() {
            self.poisoned = true;
            return Err(error);
        }
        let context = ErrorHandlerContext { task: self.id, node: &slot.name, phase: slot.phase, record: self.current.as_ref() };
        match ((self.handler)(&context, &error), &self.current) {
            (Response::Resume, _) => {
                tracing::warn!(task = %self.id, node = &*slot.name, error_code = error.code(), error = %error, "A record was skipped.");
            }
            (Response::DeadLetterQueue(topic), Some(record)) => {
                tracing::warn!(task = %self.id, node = &*slot.name, error_code = error.code(), error = %error, topic = &*topic, "A record went to the dead letter queue.");
                self.outputs.push(dead_letter_record(topic, record, &error));
            }
            (Response::Fail | Response::DeadLetterQueue(_), _) => {
                self.poisoned = true;
                return Err(error.into_fatal());
            }
        }
        self.counts.dropped += 1;
        Ok(())
    }

    fn check_poison(&self) -> Result<(), ProcessorError> {
        match self.poisoned {
            true => Err(ProcessorError::fatal("swallowed-error", "a processor passed over a fatal error")),
            false => Ok(()),
        }
    }

    pub(crate) fn failed(&self, error: ProcessorError) -> TaskError {
        let record = self.current.as_ref().map(|record| (record.topic.clone(), record.partition, record.offset));
        TaskError { task: self.id, record, error }
    }

    pub(crate) fn child_count(&self, node: usize) -> usize {
        self.slots[node].children.len()
    }

    /// The place of a child among a node's children. A name that is wrong poisons the task, so that nobody passes over it.
    pub(crate) fn child_index(&mut self, node: usize, child: &str) -> Result<usize, ProcessorError> {
        let place = self.slots[node].children.iter().position(|slot| *self.slots[*slot].name == *child);
        place.ok_or_else(|| {
            self.poisoned = true;
            ProcessorError::fatal(
                "unknown-child",
                format!("Unknown downstream node: {child} either does not exist or is not connected to this processor."),
            )
        })
    }

    pub(crate) fn store(&mut self, node: usize, name: &str) -> Result<&mut Overlay, ProcessorError> {
        let Some((_, place)) = self.slots[node].stores.iter().find(|(store, _)| **store == *name) else {
            let processor = &self.slots[node].name;
            return Err(ProcessorError::fatal("store-not-connected", format!("Processor {processor} has no access to StateStore {name}")));
        };
        Ok(&mut self.overlays[*place])
    }

    pub(crate) fn any_store<'a>(&'a mut self, name: &str, env: Env<'a>) -> Result<StoreRef<'a>, ProcessorError> {
        let overlay = self.overlays.iter_mut().find(|overlay| *overlay.store.name == *name);
        let overlay = overlay.ok_or_else(|| ProcessorError::fatal("unknown-store", format!("the task has no store {name}")))?;
        Ok(StoreRef { overlay, backing: env.backing })
    }

    pub(crate) fn schedule(&mut self, node: usize, interval: Duration, kind: PunctuationType, now: i64) -> ScheduleId {
        let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX / 4);
        let first = match kind {
            PunctuationType::StreamTime => 0,
            PunctuationType::WallClockTime => now + interval,
        };
        self.schedules.add(node, kind, first, interval)
    }

    pub(crate) fn cancel(&mut self, schedule: ScheduleId) {
        self.schedules.cancel(schedule);
    }

    pub(crate) fn node_name(&self, node: usize) -> &str {
        &self.slots[node].name
    }
}
