//! The one thread that writes: it gathers appends, commits them together, and answers them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use super::folder_lock::FolderLock;
use super::jobs::{Job, Pending};
use super::log::Shared;
use super::round::{Round, answer};
use super::trouble::{Trouble, check_room};
use super::wal::Wal;
use super::{LogError, database, topics};

/// State of the writer thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    connection: Connection,
    round: Round,
    trouble: Option<Trouble>,
    /// Pause of the trouble that passed last, until a commit succeeds.
    last_pause: Option<Duration>,
    wal: Wal,
    _lock: FolderLock,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection, lock: FolderLock) -> Result<Writer, LogError> {
        let wal = Wal::new(&shared.folder);
        Ok(Writer { shared, connection, round: Round::default(), trouble: None, last_pause: None, wal, _lock: lock })
    }

    /// Runs until the log is closed and everything queued is done.
    pub(super) fn run(mut self) {
        loop {
            self.gather();
            self.commit();
            if self.shared.jobs.is_closed() && self.round.is_empty() {
                match self.shared.jobs.next() {
                    Some(job) => self.take(job),
                    None => break,
                }
                continue;
            }
            let deadline = self.between_rounds();
            self.shared.jobs.wait(deadline);
            self.look_at_trouble();
        }
        self.wal.truncate(&self.connection);
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
                let outcome = self.aside(|writer| topics::create_topic(&mut writer.connection, &writer.shared.catalog, &config));
                answer(reply, outcome);
            }
            Job::CreateGroup { group, topics, reply } => {
                let outcome = self.aside(|writer| topics::create_group(&mut writer.connection, &writer.shared.catalog, &group, &topics));
                answer(reply, outcome);
            }
            Job::DeleteGroup { group, reply } => {
                let outcome = self.aside(|writer| topics::delete_group(&writer.connection, &group));
                answer(reply, outcome);
            }
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
        job(self).inspect_err(|error| self.note_trouble(error))
    }

    fn commit(&mut self) {
        if self.round.is_empty() {
            return;
        }
        let mut round = std::mem::take(&mut self.round);
        match self.write(&mut round) {
            Ok(()) => {
                self.last_pause = None;
                self.wal.grew(round.bytes / 4096 + round.records.len() / 8 + 4);
                round.committed();
            }
            Err(error) => {
                self.note_trouble(&error);
                round.failed(&error);
            }
        }
    }

    fn write(&mut self, round: &mut Round) -> Result<(), LogError> {
        check_room(&self.shared.folder, self.shared.options.min_free_bytes)?;
        let failed = |error| LogError::sqlite("committing a round", error);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        round.write(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)
    }

    /// Chores while nothing waits; returns when to wake up at the latest.
    fn between_rounds(&mut self) -> Option<Instant> {
        if let Some(trouble) = &self.trouble {
            return Some(trouble.look_again);
        }
        self.wal.between_rounds(&self.connection)
    }

    fn note_trouble(&mut self, error: &LogError) {
        if !error.is_disk_trouble() {
            return;
        }
        tracing::error!(%error, "the log cannot write; appends are refused until it can");
        self.trouble = Some(Trouble::new(error.clone(), self.last_pause));
        self.shared.trouble.send_replace(Some(error.to_string()));
    }

    /// When it is time: tries whether the cause is gone.
    fn look_at_trouble(&mut self) {
        let Some(mut trouble) = self.trouble.take_if(|trouble| trouble.look_again <= Instant::now()) else { return };
        // A truncated write-ahead log may be all the room that is needed.
        self.wal.truncate(&self.connection);
        let options = &self.shared.options;
        let reopened = check_room(&self.shared.folder, options.min_free_bytes)
            .and_then(|()| database::open_writer(&self.shared.folder, options.cache_bytes));
        match reopened {
            Ok(connection) => {
                tracing::info!("the log can write again");
                self.connection = connection;
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
