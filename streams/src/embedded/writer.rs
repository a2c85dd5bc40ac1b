//! The one thread that writes: it gathers appends, commits them together, and answers them.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::driver::{Budget, Driver, RoundError, World};
use super::folder_lock::FolderLock;
use super::housekeeping::{Housekeeping, Slice};
use super::jobs::{Job, Pending};
use super::journal::{Journal, Step};
use super::log::Shared;
use super::round::{Round, answer};
use super::streams::{State, Status, StreamsConfig};
use super::syncer::Syncer;
use super::trouble::{Trouble, check_room};
use super::wal::Wal;
use super::{LogError, TopicConfig, database, topics};
use crate::BuiltTopology;

/// Under load a slice of the chores is done this often; when idle, one after the other.
const SLICE_UNDER_LOAD: Duration = Duration::from_millis(200);
/// What a slice writes to the write-ahead log, roughly.
const PAGES_OF_A_SLICE: usize = 200;

/// State of the writer thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    connection: Connection,
    round: Round,
    driver: Option<Driver>,
    journal: RefCell<Journal>,
    /// Rounds are this many times longer than configured, 1 to 4: doubled while there is a backlog.
    stretch: u32,
    housekeeping: Housekeeping,
    last_slice: Instant,
    trouble: Option<Trouble>,
    /// Pause of the trouble that passed last, until a commit succeeds.
    last_pause: Option<Duration>,
    wal: Wal,
    syncer: Syncer,
    /// A sync failed: what was committed may not last, until all of it is copied into the file.
    sync_failed: bool,
    _lock: FolderLock,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection, lock: FolderLock) -> Result<Writer, LogError> {
        let wal = Wal::new(&shared.folder, shared.options.min_free_bytes)?;
        let woken = shared.clone();
        let syncer = Syncer::of_file(wal.file().to_owned(), move || woken.jobs.wake())?;
        let housekeeping = Housekeeping::new(&connection)?;
        let last_slice = Instant::now();
        let journal = Journal::open(&connection, shared.options.store_buffer_bytes);
        let journal = RefCell::new(journal.map_err(|error| LogError::sqlite("reading the journal of the stores", error))?);
        Ok(Writer {
            shared,
            connection,
            round: Round::default(),
            driver: None,
            journal,
            stretch: 1,
            housekeeping,
            last_slice,
            trouble: None,
            last_pause: None,
            wal,
            syncer,
            sync_failed: false,
            _lock: lock,
        })
    }

    /// Runs until the log is closed and everything queued is done.
    pub(super) fn run(mut self) {
        loop {
            self.gather();
            self.work();
            self.look_at_syncs();
            if self.last_slice.elapsed() >= SLICE_UNDER_LOAD {
                self.keep_house();
            }
            if !self.shared.jobs.is_empty() {
                continue;
            }
            if self.shared.jobs.is_closed() {
                break;
            }
            if self.has_work() || self.keep_house() {
                continue;
            }
            let deadline = self.between_rounds();
            self.shared.jobs.wait(deadline);
            self.look_at_trouble();
        }
        self.stop_streams();
        self.syncer.wait();
        self.wal.truncate(&self.connection);
    }

    /// A slice of the chores; whether there is more to do.
    fn keep_house(&mut self) -> bool {
        self.last_slice = Instant::now();
        if self.trouble.is_some() {
            return false;
        }
        match self.housekeeping.slice(&self.connection, &self.shared.catalog, &self.shared.options) {
            Ok(Slice::Idle) => false,
            Ok(slice) => {
                self.wal.grew(PAGES_OF_A_SLICE);
                slice == Slice::More
            }
            Err(error) => {
                self.housekeeping.forget();
                self.note_trouble(&error);
                false
            }
        }
    }

    /// All chores that are due, at once.
    fn tidy(&mut self) -> Result<(), LogError> {
        self.housekeeping.look_now();
        while self.housekeeping.slice(&self.connection, &self.shared.catalog, &self.shared.options)? == Slice::More {}
        self.wal.truncate(&self.connection);
        Ok(())
    }

    /// Whether the topology has something to do by itself.
    fn has_work(&self) -> bool {
        self.trouble.is_none() && self.driver.as_ref().is_some_and(Driver::has_work)
    }

    /// One round: what was gathered runs through the topology, and is committed with all it caused.
    fn work(&mut self) {
        if self.trouble.is_none() && self.driver.is_some() {
            self.run_topology();
        }
        self.commit();
    }

    fn run_topology(&mut self) {
        let Some(driver) = &mut self.driver else { return };
        let options = &self.shared.options;
        let budget = Budget {
            records: options.max_round_records * self.stretch as usize,
            bytes: options.max_round_bytes * (1 + self.stretch as usize),
            until: Instant::now() + options.commit_interval * self.stretch,
        };
        let world = World { connection: &self.connection, catalog: &self.shared.catalog, clock: &*options.clock, journal: &self.journal };
        let Err(error) = driver.run(&mut self.round, world, budget) else {
            self.stretch = if driver.has_work() { (self.stretch * 2).min(4) } else { 1 };
            return;
        };
        // The appends from outside are none the worse for it.
        self.round = std::mem::take(&mut self.round).without_topology();
        let goes_on = match &error {
            RoundError::Task { index, error } => driver.task_failed(*index, error),
            RoundError::Log(error) => {
                tracing::error!(%error, "Reading the log failed.");
                true
            }
        };
        driver.abort(world);
        if !goes_on {
            driver.revoked(State::PendingError);
            driver.revoked(State::Error);
            self.driver = None;
        }
        if let RoundError::Log(error) = error {
            self.note_trouble(&error);
        }
    }

    /// Takes what is queued, as much as a round may hold.
    fn gather(&mut self) {
        while !self.round_is_full()
            && let Some(job) = self.shared.jobs.next()
        {
            self.take(job);
        }
    }

    fn round_is_full(&self) -> bool {
        let options = &self.shared.options;
        self.round.records.len() >= options.max_round_records || self.round.bytes >= options.max_round_bytes
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Append(pending) => self.take_append(pending),
            Job::CreateTopic(config, reply) => {
                let outcome = self.aside(|writer| {
                    let now = writer.shared.options.clock.now_ms();
                    topics::create_topic(&writer.connection, &writer.shared.catalog, &config, now)
                });
                answer(reply, outcome);
            }
            Job::CreateGroup { group, topics, reply } => {
                let outcome = self.aside(|writer| topics::create_group(&writer.connection, &writer.shared.catalog, &group, &topics));
                answer(reply, outcome);
            }
            Job::DeleteGroup { group, reply } => {
                let outcome = self.aside(|writer| topics::delete_group(&writer.connection, &group));
                answer(reply, outcome);
            }
            Job::Start { topology, config, status, reply } => {
                let outcome = self.aside(|writer| writer.start_streams(topology, *config, status));
                answer(reply, outcome);
            }
            Job::Tidy { reply } => {
                let outcome = self.aside(Writer::tidy);
                answer(reply, outcome);
            }
            Job::StopStreams { reply } => {
                self.commit();
                self.stop_streams();
                answer(reply, Ok(()));
            }
        }
    }

    fn start_streams(&mut self, topology: Arc<BuiltTopology>, config: StreamsConfig, status: Arc<Status>) -> Result<(), LogError> {
        let application = config.application_id.clone();
        let refused = |reason: String| LogError::Start { application: application.clone(), reason };
        if self.driver.is_some() {
            return Err(refused("this log runs a topology already".into()));
        }
        let catalog = &self.shared.catalog;
        let partitions = |topic: &str| catalog.topic(topic).map(|topic| topic.config.partitions);
        let repartition = topology.repartition_topics(&partitions).map_err(|error| refused(error.to_string()))?;
        for (name, count) in repartition {
            // Needed only until the application has passed it.
            let config = TopicConfig::delete(&*name, count, Duration::ZERO);
            topics::create_topic(&self.connection, catalog, &config, self.shared.options.clock.now_ms())?;
        }
        let missing = |topic: &&Arc<str>| catalog.topic(topic).is_none();
        let sinks = topology.subtopologies().iter().flat_map(|subtopology| &subtopology.sink_topics);
        if let Some(topic) = topology.source_topics().chain(sinks).find(missing) {
            return Err(refused(format!("topic {topic:?} does not exist")));
        }
        let ids = topology.tasks(&partitions).map_err(|error| refused(error.to_string()))?;
        let sources: Vec<String> = topology.source_topics().map(ToString::to_string).collect();
        topics::create_group(&self.connection, catalog, &application, &sources)?;
        let world = World { connection: &self.connection, catalog, clock: &*self.shared.options.clock, journal: &self.journal };
        self.driver = Some(Driver::assigned(topology, config, status, ids, world)?);
        Ok(())
    }

    fn stop_streams(&mut self) {
        if let Some(mut driver) = self.driver.take() {
            driver.revoked(State::PendingShutdown);
            driver.revoked(State::NotRunning);
        }
    }

    fn take_append(&mut self, pending: Pending) {
        match &self.trouble {
            Some(trouble) => answer(pending.reply, Err(trouble.error.clone())),
            None => self.round.stage_append(&self.shared.catalog, pending),
        }
    }

    /// A job with a transaction of its own; what was gathered before it is committed before it.
    fn aside(&mut self, job: impl FnOnce(&mut Writer) -> Result<(), LogError>) -> Result<(), LogError> {
        self.commit();
        if let Some(trouble) = &self.trouble {
            return Err(trouble.error.clone());
        }
        let outcome = job(self).and_then(|()| self.settle());
        if let Err(error) = &outcome
            && error.is_disk_trouble()
        {
            self.note_trouble(error);
        }
        outcome
    }

    /// Waits until everything that was committed is durable.
    fn settle(&mut self) -> Result<(), LogError> {
        self.syncer.wait();
        self.look_at_syncs();
        self.trouble.as_ref().map_or(Ok(()), |trouble| Err(trouble.error.clone()))
    }

    fn look_at_syncs(&mut self) {
        if let Some(error) = self.syncer.take_failure() {
            self.sync_failed = true;
            self.note_trouble(&error);
        }
    }

    fn commit(&mut self) {
        let topology_changed = self.driver.as_ref().is_some_and(Driver::has_changes);
        if self.round.is_empty() && !topology_changed {
            if let Some(driver) = &mut self.driver {
                driver.committed();
            }
            return;
        }
        let mut round = std::mem::take(&mut self.round);
        match self.write(&mut round) {
            Ok(step) => {
                self.last_pause = None;
                let store_pages = step.as_ref().map_or(0, Step::pages);
                self.wal.grew(round.bytes / 4096 + round.records.len() / 8 + store_pages + 4);
                round.committed();
                if let Some(step) = step {
                    self.journal.get_mut().committed(step);
                }
                if let Some(driver) = &mut self.driver {
                    driver.committed();
                }
                self.syncer.sync(round);
                self.wal.after_commit(&self.connection);
            }
            Err(error) => {
                self.note_trouble(&error);
                round.failed(&error);
                if let Some(driver) = &mut self.driver {
                    let world = World {
                        connection: &self.connection,
                        catalog: &self.shared.catalog,
                        clock: &*self.shared.options.clock,
                        journal: &self.journal,
                    };
                    driver.abort(world);
                }
            }
        }
    }

    /// One transaction; returns what it did to the stores.
    fn write(&mut self, round: &mut Round) -> Result<Option<Step>, LogError> {
        check_room(&self.shared.folder, self.shared.options.min_free_bytes)?;
        let failed = |error| LogError::sqlite("committing a round", error);
        let transaction = topics::begin(&self.connection).map_err(failed)?;
        round.write(&transaction).map_err(failed)?;
        let write = |driver: &Driver| driver.write(&transaction, &self.journal.borrow());
        let step = self.driver.as_ref().map(write).transpose().map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(step)
    }

    /// Chores while nothing waits; returns when to wake up at the latest.
    fn between_rounds(&mut self) -> Option<Instant> {
        if let Some(trouble) = &self.trouble {
            return Some(trouble.look_again);
        }
        let checkpoint = self.wal.when_idle(&self.connection);
        let now = self.shared.options.clock.now_ms();
        let driver = self.driver.as_ref().and_then(|driver| driver.wake_up(now));
        let until_look = u64::try_from(self.housekeeping.next_look().saturating_sub(now)).unwrap_or(0);
        let chores = Some(Instant::now() + Duration::from_millis(until_look));
        [checkpoint, driver, chores].into_iter().flatten().min()
    }

    fn note_trouble(&mut self, error: &LogError) {
        tracing::error!(%error, "The log cannot write; appends are refused until it can.");
        self.trouble = Some(Trouble::new(error.clone(), self.last_pause));
        self.shared.trouble.send_replace(Some(error.to_string()));
    }

    /// When it is time: tries whether the cause is gone.
    fn look_at_trouble(&mut self) {
        let Some(mut trouble) = self.trouble.take_if(|trouble| trouble.look_again <= Instant::now()) else { return };
        self.syncer.wait();
        self.sync_failed |= self.syncer.take_failure().is_some();
        // A truncated write-ahead log may be all the room that is needed. After a failed sync nothing is sure to last before that.
        let all_in_file = self.wal.truncate(&self.connection);
        if self.sync_failed && !all_in_file {
            trouble.goes_on();
            self.trouble = Some(trouble);
            return;
        }
        let options = &self.shared.options;
        let reopened = check_room(&self.shared.folder, options.min_free_bytes)
            .and_then(|()| database::open_writer(&self.shared.folder, options.cache_bytes));
        match reopened {
            Ok(connection) => {
                tracing::info!("The log can write again.");
                self.connection = connection;
                if std::mem::take(&mut self.sync_failed) {
                    self.shared.catalog.all_is_durable();
                }
                self.last_pause = Some(trouble.pause());
                self.shared.trouble.send_replace(None);
            }
            Err(_) => {
                trouble.goes_on();
                self.trouble = Some(trouble);
            }
        }
    }
}
