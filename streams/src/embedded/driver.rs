//! Runs the tasks of a topology over the log. What a driver must do is split as a Kafka client would have it: `assigned`, `poll`,
//! `produce`, `hand_over` (offsets and changes, to be committed with the outputs in one transaction), `abort`, `revoked`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustc_hash::FxHashMap;

use super::catalog::Catalog;
use super::file::Work;
use super::input::{self, Input};
use super::journal::Journal;
use super::lanes::{Lanes, Turn};
use super::round::Round;
use super::running::Running;
use super::snapshot::Snapshot;
use super::state_backing;
use super::streams::StreamsConfig;
use super::{LogError, TopicConfig, queries};
use crate::client::{State, Status, TaskFailure, UncaughtResponse};
use crate::{BuiltTopology, Env, ProcessorError, StoreChanges, Task, TaskError, TaskId, dlq_headers};

/// Records that one read of a backlog brings.
const POLL_RECORDS: usize = 500;
const POLL_BYTES: usize = 512 << 10;
/// With so many records queued the tasks work on several threads, this many records each at a time; otherwise in turn, as the records
/// come, this many until the clock is looked at.
const BACKLOG: usize = 256;
const TURN_RECORDS: usize = 256;
const STEP_RECORDS: usize = 16;

/// What a round may use of the writer's world. The connection only reads.
#[derive(Clone, Copy)]
pub(super) struct World<'a> {
    pub(super) connection: &'a Connection,
    pub(super) catalog: &'a Catalog,
    pub(super) clock: &'a dyn super::Clock,
    pub(super) journal: &'a Journal,
}

/// How much one round may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub(super) records: usize,
    pub(super) bytes: usize,
    pub(super) until: Instant,
}

/// Why a round was given up.
#[derive(Debug)]
pub(super) enum RoundError {
    /// A task failed: what it and the others did in this round is taken back.
    Task { index: usize, error: TaskError },
    /// This topic, for dead letters, must be made first.
    Topic(TopicConfig),
    /// The file could not be read.
    Log(LogError),
}

/// A topology at work.
pub(super) struct Driver {
    topology: Arc<BuiltTopology>,
    application: Arc<str>,
    config: StreamsConfig,
    status: Arc<Status>,
    tasks: Vec<Running>,
    /// Partition's id → which task reads it, as which of its inputs.
    readers: FxHashMap<i64, (usize, usize)>,
    stores: Arc<[i64]>,
    /// The task whose turn is next.
    turn: usize,
    /// How many of the round's records were offered to the tasks.
    offered: usize,
    /// Records processed in this round.
    processed: usize,
}

impl Driver {
    /// The tasks get their partitions, and go on where their group is.
    pub(super) fn assigned(
        topology: Arc<BuiltTopology>,
        config: StreamsConfig,
        status: Arc<Status>,
        stores: Arc<[i64]>,
        ids: Vec<TaskId>,
        world: World<'_>,
    ) -> Result<Driver, LogError> {
        status.set(State::Rebalancing);
        let mut tasks = Vec::with_capacity(ids.len());
        let mut readers = FxHashMap::default();
        for id in ids {
            let mut inputs = Vec::new();
            for name in &topology.subtopologies()[id.subtopology as usize].source_topics {
                let topic = world.catalog.topic(name).ok_or_else(|| LogError::UnknownTopic(name.to_string()))?;
                // A topic with fewer partitions than the widest of its sub-topology has none for the last tasks.
                let Some(partition) = topic.partitions.get(id.partition as usize).cloned() else { continue };
                readers.insert(partition.id, (tasks.len(), inputs.len()));
                inputs.push(Input::new(partition));
            }
            tasks.push(Running::new(id, stores.clone(), inputs));
        }
        let application = topology.application_id().into();
        let mut driver = Driver { topology, application, config, status, tasks, readers, stores, turn: 0, offered: 0, processed: 0 };
        driver.resumed(world)?;
        Ok(driver)
    }

    /// The stores' ids in the file; new ones are made.
    pub(super) fn stores(topology: &BuiltTopology, connection: &Connection) -> Result<Arc<[i64]>, LogError> {
        let store = |store: &crate::BuiltStore| state_backing::id(connection, topology.application_id(), &store.name);
        let stores: rusqlite::Result<_> = topology.stores().iter().map(store).collect();
        stores.map_err(|error| LogError::sqlite("reading the stores of the application", error))
    }

    /// The tasks start from what is committed in the file.
    pub(super) fn resumed(&mut self, world: World<'_>) -> Result<(), LogError> {
        for running in &mut self.tasks {
            running.stream_time = -1;
            for input in &mut running.inputs {
                let place = queries::place(world.connection, &self.application, input.partition.id)?;
                running.stream_time = running.stream_time.max(place.stream_time);
                input.commit(place.next.unwrap_or_else(|| input.partition.beginning()));
                input.rewind();
            }
            running.restart = Some(Instant::now());
        }
        self.restart_tasks(world);
        Ok(())
    }

    /// What was not committed is lost, and perhaps more: the tasks wait until they are [`resumed`](Driver::resumed).
    pub(super) fn lost(&mut self) {
        for running in &mut self.tasks {
            running.close();
            running.inputs.iter_mut().for_each(Input::rewind);
            running.worked = false;
        }
        self.begin_round();
    }

    fn begin_round(&mut self) {
        self.offered = 0;
        self.processed = 0;
    }

    /// Stops the tasks; nothing is uncommitted between rounds.
    pub(super) fn revoked(&mut self, end: State) {
        self.tasks.iter_mut().for_each(Running::close);
        self.status.set(end);
    }

    /// Records processed in this round.
    pub(super) fn processed(&self) -> usize {
        self.processed
    }

    /// Whether there is something to process or to read.
    pub(super) fn has_work(&self) -> bool {
        self.tasks.iter().any(|running| running.task.is_some() && input::has_work(&running.inputs))
    }

    /// When the driver wants to be called although nothing arrived: punctuators and restarts.
    pub(super) fn wake_up(&self, now_ms: i64) -> Option<Instant> {
        let due = self.tasks.iter().filter_map(|running| running.task.as_ref()?.next_wall_clock_punctuation()).min();
        let due = due.map(|due| Instant::now() + Duration::from_millis(u64::try_from(due - now_ms).unwrap_or(0)));
        let restart = self.tasks.iter().filter_map(|running| running.restart).min();
        [due, restart].into_iter().flatten().min()
    }

    /// Lets everything in the round, and all it causes, run through the tasks, as far as the budget goes.
    pub(super) fn run(&mut self, round: &mut Round, world: World<'_>, lanes: &mut Lanes, budget: Budget) -> Result<(), RoundError> {
        let _snapshot = Snapshot::begin(world.connection).map_err(RoundError::Log)?;
        self.restart_tasks(world);
        self.offer(round);
        self.punctuate(round, world)?;
        loop {
            while !self.is_spent(round, budget) && self.process_some(round, world, lanes)? {}
            if !self.before_commit(round, world, lanes)? || self.is_spent(round, budget) {
                return Ok(());
            }
        }
    }

    fn is_spent(&self, round: &Round, budget: Budget) -> bool {
        let is_late = self.processed > 0 && Instant::now() >= budget.until;
        is_late || self.processed >= budget.records || round.bytes >= budget.bytes
    }

    /// A step through what is queued; false: nothing is.
    fn process_some(&mut self, round: &mut Round, world: World<'_>, lanes: &mut Lanes) -> Result<bool, RoundError> {
        if lanes.are_several() && self.tasks.iter().map(Running::queued).sum::<usize>() >= BACKLOG {
            for running in self.tasks.iter_mut().filter(|running| running.task.is_some()) {
                Self::poll(&mut running.inputs, world)?;
            }
            self.at_once(round, world, lanes, |running| running.queued() > 0, |running, world| running.process(TURN_RECORDS, world))?;
            return Ok(true);
        }
        for done in 0..STEP_RECORDS {
            if !self.process_next(round, world)? {
                return Ok(done > 0);
            }
        }
        Ok(true)
    }

    /// Gives some of the tasks a turn on all threads, and stages what they produced, in the tasks' order.
    fn at_once(
        &mut self,
        round: &mut Round,
        world: World<'_>,
        lanes: &mut Lanes,
        which: impl Fn(&Running) -> bool,
        turn: impl Fn(&mut Running, World<'_>) -> Turn + Sync,
    ) -> Result<(), RoundError> {
        let tasks = self.tasks.iter_mut().enumerate().filter(|(_, running)| which(running)).collect();
        for (index, turn) in lanes.run(tasks, world, turn).map_err(RoundError::Log)? {
            self.processed += turn.map_err(|error| RoundError::Task { index, error })?;
            self.produce(index, round, world)?;
        }
        Ok(())
    }

    /// Hands records of the round to the tasks that read them, without a way through the file.
    fn offer(&mut self, round: &Round) {
        for staged in &round.records[self.offered..] {
            if let Some(&(task, input)) = self.readers.get(&staged.partition.id)
                && self.tasks[task].task.is_some()
                && self.tasks[task].inputs[input].takes(staged.offset)
            {
                self.tasks[task].inputs[input].offer(staged.to_consumer_record());
            }
        }
        self.offered = round.records.len();
    }

    /// Reads the backlog of a task whose queues have run empty.
    fn poll(inputs: &mut [Input], world: World<'_>) -> Result<(), RoundError> {
        for input in inputs.iter_mut().filter(|input| input.must_be_polled()) {
            let (partition, from) = (&input.partition, input.position());
            let records = queries::read(world.connection, partition.id, &partition.name, from, POLL_RECORDS, POLL_BYTES);
            let records = records.map_err(RoundError::Log)?;
            input.polled(records);
        }
        Ok(())
    }

    /// Processes one record of the next task that has any; false if none has.
    fn process_next(&mut self, round: &mut Round, world: World<'_>) -> Result<bool, RoundError> {
        for _ in 0..self.tasks.len() {
            let index = self.turn;
            self.turn = (self.turn + 1) % self.tasks.len();
            let running = &mut self.tasks[index];
            if running.task.is_none() {
                continue;
            }
            Self::poll(&mut running.inputs, world)?;
            if let Some(record) = input::take_next(&mut running.inputs) {
                self.processed += 1;
                self.call(index, round, world, |task, env| task.process(record, env))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn punctuate(&mut self, round: &mut Round, world: World<'_>) -> Result<(), RoundError> {
        let now = world.clock.now_ms();
        for index in 0..self.tasks.len() {
            let due = self.tasks[index].task.as_ref().and_then(Task::next_wall_clock_punctuation);
            if due.is_some_and(|due| due <= now) {
                self.call(index, round, world, |task, env| task.punctuate(env).map(drop))?;
            }
        }
        Ok(())
    }

    /// Tells the tasks that a commit follows; whether any did something upon it.
    fn before_commit(&mut self, round: &mut Round, world: World<'_>, lanes: &mut Lanes) -> Result<bool, RoundError> {
        let any = self.tasks.iter().any(Running::needs_before_commit);
        if any && self.processed >= BACKLOG {
            self.at_once(round, world, lanes, Running::needs_before_commit, Running::before_commit)?;
            return Ok(true);
        }
        for index in 0..self.tasks.len() {
            if self.tasks[index].needs_before_commit() {
                self.call(index, round, world, |task, env| task.before_commit(env))?;
            }
        }
        Ok(any)
    }

    /// Calls a task and stages what it produced.
    fn call(
        &mut self,
        index: usize,
        round: &mut Round,
        world: World<'_>,
        work: impl FnOnce(&mut Task, Env<'_>) -> Result<(), TaskError>,
    ) -> Result<(), RoundError> {
        self.tasks[index].call(world, work).map_err(|error| RoundError::Task { index, error })?;
        self.produce(index, round, world)
    }

    /// Stages what a task produced.
    fn produce(&mut self, index: usize, round: &mut Round, world: World<'_>) -> Result<(), RoundError> {
        let id = self.tasks[index].id;
        let Some(task) = self.tasks[index].task.as_mut().filter(|task| task.has_outputs()) else { return Ok(()) };
        for record in task.drain_outputs() {
            if world.catalog.topic(&record.topic).is_none() && record.headers.last_header(dlq_headers::TOPIC).is_some() {
                return Err(RoundError::Topic(TopicConfig::delete(&*record.topic, 1, self.config.dead_letter_retention)));
            }
            if let Err(error) = round.stage(world.catalog, record) {
                let error = ProcessorError::fatal("production", error.to_string()).caused_by(error);
                return Err(RoundError::Task { index, error: TaskError { task: id, record: None, error } });
            }
        }
        self.offer(round);
        Ok(())
    }

    /// Whether the tasks have anything to commit.
    pub(super) fn has_changes(&self) -> bool {
        self.tasks
            .iter()
            .filter_map(|running| running.task.as_ref())
            .any(|task| task.consumed().next().is_some() || task.changes().next().is_some())
    }

    /// Offsets and store changes, to be committed with the round. The tasks go on as if they were.
    pub(super) fn hand_over(&mut self, journal: &mut Journal) -> rusqlite::Result<Work> {
        let tasks = || self.tasks.iter().filter_map(|running| running.task.as_ref().map(|task| (running, task)));
        let mut offsets = Vec::new();
        for (running, task) in tasks() {
            for (topic, next) in task.consumed() {
                let input = running.inputs.iter().find(|input| input.partition.name.topic == *topic);
                offsets.extend(input.map(|input| (input.partition.id, next, task.stream_time())));
            }
        }
        let place = |changes: &StoreChanges<'_>| (self.stores[changes.store.index], changes.store.partition);
        let changes: Vec<_> = tasks().flat_map(|(_, task)| task.changes()).map(|changes| (place(&changes), changes)).collect();
        let stores = journal.add(&changes)?;
        self.committed();
        Ok(Work { application: self.application.clone(), offsets, stores })
    }

    /// A round is over.
    pub(super) fn committed(&mut self) {
        for running in &mut self.tasks {
            let Some(task) = &mut running.task else { continue };
            for (topic, next) in task.consumed() {
                if let Some(input) = running.inputs.iter_mut().find(|input| input.partition.name.topic == *topic) {
                    input.commit(next);
                }
            }
            running.stream_time = task.stream_time();
            task.committed();
            if std::mem::take(&mut running.worked) || !input::has_work(&running.inputs) {
                running.failures = 0;
            }
        }
        self.begin_round();
        self.publish_status();
    }

    /// The round is given up: the tasks start anew from what is committed.
    pub(super) fn abort(&mut self, world: World<'_>) {
        self.begin_round();
        for running in &mut self.tasks {
            running.inputs.iter_mut().for_each(Input::rewind);
            running.worked = false;
            if running.task.is_some() {
                running.close();
                running.restart = Some(Instant::now());
            }
        }
        self.restart_tasks(world);
    }

    /// A task failed in a way that no handler passed over. False: the topology is to stop.
    pub(super) fn task_failed(&mut self, index: usize, error: &TaskError) -> bool {
        let response = (self.config.uncaught)(error);
        tracing::error!(task = %error.task, %error, ?response, "A task failed.");
        metrics::counter!("kafka_stream_thread_failed_total").increment(1);
        let running = &mut self.tasks[index];
        running.failures += 1;
        self.note_failure(index, error);
        response == UncaughtResponse::ReplaceThread
    }

    fn note_failure(&mut self, index: usize, error: &TaskError) {
        let running = &mut self.tasks[index];
        let doubled = self.config.first_pause.saturating_mul(1 << (running.failures - 1).min(16));
        running.task = None;
        running.restart = Some(Instant::now() + doubled.min(self.config.longest_pause));
        let failure = TaskFailure { task: running.id, error: error.to_string(), count: running.failures };
        let mut failures = self.status.failures.lock();
        failures.retain(|known| known.task != running.id);
        failures.push(failure);
        drop(failures);
        self.publish_status();
    }

    fn publish_status(&self) {
        let healthy = self.tasks.iter().all(|running| running.failures == 0 && running.task.is_some());
        if healthy && !self.status.failures.lock().is_empty() {
            self.status.failures.lock().clear();
        }
        let state = if healthy { State::Running } else { State::Rebalancing };
        self.status.set(state);
    }

    fn restart_tasks(&mut self, world: World<'_>) {
        let now = Instant::now();
        for index in 0..self.tasks.len() {
            let running = &mut self.tasks[index];
            if running.restart.take_if(|restart| *restart <= now).is_none() {
                continue;
            }
            if let Err(error) = running.start(self.topology.clone(), self.config.task.clone(), world) {
                running.failures += 1;
                tracing::error!(task = %running.id, %error, "A task could not be started.");
                self.note_failure(index, &error);
            }
        }
        self.publish_status();
    }
}
