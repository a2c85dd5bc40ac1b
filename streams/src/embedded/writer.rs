//! The thread that works: it gathers appends, lets the topology run over them, and has all of it committed together, while it goes on
//! with the next round.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use rusqlite::Connection;

use super::committer::Committer;
use super::driver::{Budget, Driver, RoundError, World};
use super::file::{Commit, File, Landed};
use super::jobs::{Job, Pending};
use super::journal::Journal;
use super::lanes::Lanes;
use super::log::Shared;
use super::round::{Round, answer};
use super::streams::StreamsConfig;
use super::syncer::Syncer;
use super::trouble::Trouble;
use super::wal::Wal;
use super::{LogError, TopicConfig, database, topics};
use crate::BuiltTopology;
use crate::client::{State, Status};
use crate::folder_lock::FolderLock;

/// State of the writer thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    committer: Committer,
    /// What the tasks read from: what the commit under way writes is not in it, but in the journal.
    reads: Connection,
    /// More of the same, for the other threads that tasks run on.
    lanes: Lanes,
    journal: Journal,
    round: Round,
    driver: Option<Driver>,
    trouble: Option<Trouble>,
    /// Pause of the trouble that passed last, until a commit succeeds.
    last_pause: Option<Duration>,
    syncer: Arc<Syncer>,
    /// A sync failed: what was committed may not last, until all of it is copied into the file.
    sync_failed: bool,
    _lock: FolderLock,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection, lock: FolderLock) -> Result<Writer, LogError> {
        let wal = Wal::new(&shared.folder, shared.options.min_free_bytes)?;
        let woken = shared.clone();
        let syncer = Arc::new(Syncer::of_file(wal.file().to_owned(), move || woken.jobs.wake())?);
        // What a killed process left in the write-ahead log is shown at once: it must last.
        syncer.wait();
        if let Some(error) = syncer.take_failure() {
            return Err(error);
        }
        let journal = open_journal(&shared, &connection)?;
        let reads = database::open_reader(&shared.folder)?;
        let lanes = Lanes::open(&shared.folder, shared.options.stream_threads)?;
        let woken = shared.clone();
        let file = File::new(shared.clone(), connection, wal, syncer.clone())?;
        let committer = Committer::start(file, move || woken.jobs.wake())?;
        Ok(Writer {
            shared,
            committer,
            reads,
            lanes,
            journal,
            round: Round::default(),
            driver: None,
            trouble: None,
            last_pause: None,
            syncer,
            sync_failed: false,
            _lock: lock,
        })
    }

    /// Runs until the log is closed and everything queued is done.
    pub(super) fn run(mut self) {
        loop {
            self.look_at_trouble();
            self.gather();
            self.work();
            self.look_at_syncs();
            if self.shared.jobs.is_over() {
                break;
            }
            if !self.shared.jobs.is_empty() || self.has_work() || self.keep_house() {
                continue;
            }
            let deadline = self.between_rounds();
            self.shared.jobs.wait(deadline);
        }
        self.commit();
        self.stop_streams();
        self.land();
        self.syncer.wait();
        let Writer { committer, reads, lanes, .. } = self;
        // A reader would keep the write-ahead log.
        drop((reads, lanes));
        committer.file().truncate_wal();
    }

    /// The file, once the commit under way has landed.
    fn file(&mut self) -> MutexGuard<'_, File> {
        self.land();
        self.committer.file()
    }

    /// Waits until the commit under way has landed.
    fn land(&mut self) {
        if let Some(landed) = self.committer.wait() {
            self.landed(landed);
        }
    }

    fn landed(&mut self, landed: Landed) {
        if let Some(ends) = landed.ends {
            self.last_pause = None;
            for (partition, end) in ends {
                partition.committed_end.store(end, Ordering::Release);
            }
            self.journal.committed(landed.old_is_written);
        }
        if let Some(error) = landed.error {
            self.note_trouble(&error);
        }
    }

    /// A slice of the chores, if nothing else is going on; whether there is more to do.
    fn keep_house(&mut self) -> bool {
        if self.trouble.is_some() || self.committer.is_busy() {
            return false;
        }
        let outcome = self.file().chores_when_idle();
        outcome.unwrap_or_else(|error| {
            self.note_trouble(&error);
            false
        })
    }

    /// Whether the topology has something to do by itself.
    fn has_work(&self) -> bool {
        self.trouble.is_none() && self.driver.as_ref().is_some_and(Driver::has_work)
    }

    /// What was gathered runs through the topology, and is committed with all it caused. While a commit is under way the round goes on
    /// growing, until it is full.
    fn work(&mut self) {
        if let Some(landed) = self.committer.try_landed() {
            self.landed(landed);
        }
        while self.trouble.is_none() && self.run_topology() {}
        if !self.committer.is_busy() || self.is_spent() {
            self.commit();
        }
    }

    fn is_spent(&self) -> bool {
        self.round_is_full() || self.driver.as_ref().is_some_and(|driver| driver.processed() >= self.shared.options.max_round_records)
    }

    /// Whether it must run again, since what was in its way is done.
    fn run_topology(&mut self) -> bool {
        let Some(driver) = &mut self.driver else { return false };
        let options = &self.shared.options;
        // What comes of the round's records has room beside them.
        let (records, bytes) = (options.max_round_records, 2 * options.max_round_bytes);
        let budget = Budget { records, bytes, until: Instant::now() + options.commit_interval };
        let world = World { connection: &self.reads, catalog: &self.shared.catalog, clock: &*options.clock, journal: &self.journal };
        let Err(error) = driver.run(&mut self.round, world, &mut self.lanes, budget) else { return false };
        // The appends from outside are none the worse for it.
        self.round = std::mem::take(&mut self.round).without_topology();
        let goes_on = match &error {
            RoundError::Task { index, error } => driver.task_failed(*index, error),
            RoundError::Topic(_) | RoundError::Log(_) => true,
        };
        driver.abort(world);
        if !goes_on {
            driver.revoked(State::PendingError);
            driver.revoked(State::Error);
            self.driver = None;
        }
        let done = match error {
            RoundError::Task { .. } => return false,
            RoundError::Topic(config) => self.create_topic(&config),
            RoundError::Log(error) => Err(error),
        };
        done.map_err(|error| self.note_trouble(&error)).is_ok()
    }

    /// Takes what is queued, as much as a round may hold.
    fn gather(&mut self) {
        // Jobs that bring no record, or are refused, fill no round.
        for _ in 0..self.shared.options.max_round_records {
            if self.round_is_full() {
                return;
            }
            let Some(job) = self.shared.jobs.next() else { return };
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
                let outcome = self.aside(|writer| writer.create_topic(&config));
                answer(reply, outcome);
            }
            Job::CreateGroup { group, topics, reply } => {
                let outcome = self.aside(|writer| {
                    let shared = writer.shared.clone();
                    writer.file().create_group(&shared.catalog, &group, &topics)
                });
                answer(reply, outcome);
            }
            Job::DeleteGroup { group, reply } => {
                let outcome = self.aside(|writer| topics::delete_group(&writer.file().connection, &group));
                answer(reply, outcome);
            }
            Job::Start { topology, config, status, reply } => {
                let ran_before = self.driver.is_some();
                let outcome = self.aside(|writer| writer.start_streams(topology, *config, status));
                if outcome.is_err() && !ran_before {
                    // Who asked has no handle of it.
                    self.stop_streams();
                }
                answer(reply, outcome);
            }
            Job::Tidy { reply } => {
                let outcome = self.aside(|writer| writer.file().tidy());
                answer(reply, outcome);
            }
            Job::StopStreams { reply } => {
                self.commit();
                self.land();
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
        let shared = self.shared.clone();
        let catalog = &shared.catalog;
        let partitions = |topic: &str| catalog.topic(topic).map(|topic| topic.config.partitions);
        let repartition = topology.repartition_topics(&partitions).map_err(|error| refused(error.to_string()))?;
        for (name, count) in repartition {
            // Needed only until the application has passed it.
            let config = TopicConfig::delete(&*name, count, Duration::ZERO);
            self.create_topic(&config)?;
        }
        let missing = |topic: &&Arc<str>| catalog.topic(topic).is_none();
        let sinks = topology.subtopologies().iter().flat_map(|subtopology| &subtopology.sink_topics);
        if let Some(topic) = topology.source_topics().chain(sinks).find(missing) {
            return Err(refused(format!("topic {topic:?} does not exist")));
        }
        let ids = topology.tasks(&partitions).map_err(|error| refused(error.to_string()))?;
        let sources: Vec<String> = topology.source_topics().map(ToString::to_string).collect();
        self.file().create_group(catalog, &application, &sources)?;
        let stores = Driver::stores(&topology, &self.file().connection)?;
        let world = World { connection: &self.reads, catalog, clock: &*shared.options.clock, journal: &self.journal };
        self.driver = Some(Driver::assigned(topology, config, status, stores, ids, world)?);
        Ok(())
    }

    fn create_topic(&mut self, config: &TopicConfig) -> Result<(), LogError> {
        let shared = self.shared.clone();
        topics::create_topic(&self.file().connection, &shared.catalog, config, shared.options.clock.now_ms())
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
        self.land();
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

    /// Has the round committed, with all that the topology did in it. The next round follows on it at once.
    fn commit(&mut self) {
        if self.round.is_empty() && !self.driver.as_ref().is_some_and(Driver::has_changes) {
            if let Some(driver) = &mut self.driver {
                driver.committed();
            }
            return;
        }
        let quiet = self.file().wal.wants_quiet();
        if self.trouble.is_some() {
            // The commit before failed, and took this round with it.
            return;
        }
        let work = match self.driver.as_mut().map(|driver| driver.hand_over(&mut self.journal)).transpose() {
            Ok(work) => work,
            Err(error) => return self.note_trouble(&LogError::sqlite("taking over the changes of the stores", error)),
        };
        let round = std::mem::take(&mut self.round);
        round.handed_over();
        self.committer.begin(Commit { round, work, quiet });
        if quiet {
            self.land();
        }
    }

    /// Chores while nothing waits; returns when to wake up at the latest.
    fn between_rounds(&mut self) -> Option<Instant> {
        if let Some(trouble) = &self.trouble {
            return Some(trouble.look_again);
        }
        let now = self.shared.options.clock.now_ms();
        let driver = self.driver.as_ref().and_then(|driver| driver.wake_up(now));
        if self.committer.is_busy() {
            // Its landing wakes us.
            return driver;
        }
        let (checkpoint, next_look) = {
            let mut file = self.file();
            (file.when_idle(), file.next_look())
        };
        let until_look = u64::try_from(next_look.saturating_sub(now)).unwrap_or(0);
        let chores = Some(Instant::now() + Duration::from_millis(until_look));
        [checkpoint, driver, chores].into_iter().flatten().min()
    }

    /// Nothing more is written until the cause is gone; what was not committed is given up.
    fn note_trouble(&mut self, error: &LogError) {
        tracing::error!(%error, "The log cannot write; appends are refused until it can.");
        self.trouble = Some(Trouble::new(error.clone(), self.last_pause));
        self.shared.trouble.send_replace(Some(error.to_string()));
        std::mem::take(&mut self.round).failed(error);
        if let Some(driver) = &mut self.driver {
            driver.lost();
        }
    }

    /// When it is time: tries whether the cause is gone.
    fn look_at_trouble(&mut self) {
        if self.trouble.as_ref().is_none_or(|trouble| trouble.look_again > Instant::now()) {
            return;
        }
        let recovered = self.recover().unwrap_or_else(|error| {
            tracing::debug!(%error, "The log still cannot write.");
            false
        });
        if recovered {
            tracing::info!("The log can write again.");
            self.last_pause = self.trouble.take().map(|trouble| trouble.pause());
            self.shared.trouble.send_replace(None);
        } else if let Some(trouble) = &mut self.trouble {
            trouble.goes_on();
        }
    }

    /// Everything is read anew from what is committed; false: the cause is still there.
    fn recover(&mut self) -> Result<bool, LogError> {
        self.land();
        self.syncer.wait();
        self.sync_failed |= self.syncer.take_failure().is_some();
        // A cut write-ahead log may be all the room that is needed. After a failed sync nothing is sure to last before that.
        let all_in_file = self.file().truncate_wal();
        if self.sync_failed {
            if !all_in_file {
                return Ok(false);
            }
            self.syncer.mended();
        }
        self.file().reopen()?;
        self.reads = database::open_reader(&self.shared.folder)?;
        self.lanes = Lanes::open(&self.shared.folder, self.shared.options.stream_threads)?;
        self.journal = open_journal(&self.shared, &self.reads)?;
        self.shared.catalog.forget_uncommitted();
        if std::mem::take(&mut self.sync_failed) {
            self.shared.catalog.all_is_durable();
        }
        if let Some(driver) = &mut self.driver {
            let options = &self.shared.options;
            driver.resumed(World {
                connection: &self.reads,
                catalog: &self.shared.catalog,
                clock: &*options.clock,
                journal: &self.journal,
            })?;
        }
        Ok(true)
    }
}

fn open_journal(shared: &Shared, connection: &Connection) -> Result<Journal, LogError> {
    Journal::open(connection, shared.options.store_buffer_bytes)
        .map_err(|error| LogError::sqlite("reading the journal of the stores", error))
}
