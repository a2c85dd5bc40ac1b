//! The file, and all that only one thread at a time may do with it: commits, chores, the write-ahead log. The writer lends it to the
//! committer for each commit, and has it back when that has landed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::catalog::{Catalog, Partition};
use super::housekeeping::{Housekeeping, Slice};
use super::journal::{Behind, StoreCommit};
use super::log::Shared;
use super::round::Round;
use super::syncer::Syncer;
use super::trouble::check_room;
use super::wal::Wal;
use super::{LogError, database, topics};

/// Under load a slice of the chores is done this often; when idle, one after the other.
const SLICE_UNDER_LOAD: Duration = Duration::from_millis(200);
/// What a slice writes to the write-ahead log, roughly.
const PAGES_OF_A_SLICE: usize = 500;

/// What a topology did in a round, beside the records in it.
#[derive(Debug)]
pub(super) struct Work {
    /// Its consumer group.
    pub(super) application: Arc<str>,
    /// How far it is: partition's id, offset of the next record to process, stream time.
    pub(super) offsets: Vec<(i64, i64, i64)>,
    pub(super) stores: Option<StoreCommit>,
}

/// One commit.
pub(super) struct Commit {
    pub(super) round: Round,
    pub(super) work: Option<Work>,
    /// The writer reads nothing meanwhile: the write-ahead log may be copied to its end.
    pub(super) quiet: bool,
}

/// What became of a commit.
#[derive(Debug)]
pub(super) struct Landed {
    /// The partitions' new ends; none: nothing was written.
    pub(super) ends: Option<Vec<(Arc<Partition>, i64)>>,
    /// Whether the old table of the journal is all in its place.
    pub(super) old_is_written: bool,
    /// Why the commit, or a chore after it, failed.
    pub(super) error: Option<LogError>,
}

pub(super) struct File {
    pub(super) connection: Connection,
    shared: Arc<Shared>,
    behind: Behind,
    housekeeping: Housekeeping,
    last_slice: Instant,
    pub(super) wal: Wal,
    syncer: Arc<Syncer>,
}

impl File {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection, wal: Wal, syncer: Arc<Syncer>) -> Result<File, LogError> {
        let housekeeping = Housekeeping::new(&connection)?;
        Ok(File { connection, shared, behind: Behind::default(), housekeeping, last_slice: Instant::now(), wal, syncer })
    }

    /// Opens the database anew, if there is room: what was written behind is read anew with the journal.
    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        let options = &self.shared.options;
        check_room(&self.shared.folder, options.min_free_bytes)?;
        self.connection = database::open_writer(&self.shared.folder, options.cache_bytes)?;
        self.behind = Behind::default();
        self.housekeeping.forget();
        Ok(())
    }

    /// Commits a round, hands it to the syncer, and does a slice of the chores now and then. Appends of a round that failed are answered
    /// here.
    pub(super) fn commit(&mut self, commit: Commit) -> Landed {
        let Commit { mut round, work, quiet } = commit;
        let (ends, mut error) = match self.write(&mut round, work.as_ref()) {
            Ok(store_pages) => {
                self.wal.grew(round.bytes / 4096 + round.records.len() / 8 + store_pages + 4);
                let ends = round.committed();
                self.syncer.sync(round);
                self.wal.after_commit(&self.connection, quiet);
                (Some(ends), None)
            }
            Err(error) => {
                round.failed(&error);
                (None, Some(error))
            }
        };
        if error.is_none() && self.last_slice.elapsed() >= SLICE_UNDER_LOAD {
            error = self.chores().err();
        }
        Landed { ends, old_is_written: self.behind.is_done(), error }
    }

    /// One transaction; about how many pages of it are the stores'.
    fn write(&mut self, round: &mut Round, work: Option<&Work>) -> Result<usize, LogError> {
        check_room(&self.shared.folder, self.shared.options.min_free_bytes)?;
        let failed = |error| LogError::sqlite("committing a round", error);
        let transaction = topics::begin(&self.connection).map_err(failed)?;
        round.write(&transaction).map_err(failed)?;
        let store_pages = match work {
            Some(work) => write_work(&transaction, &mut self.behind, work).map_err(failed)?,
            None => 0,
        };
        transaction.commit().map_err(failed)?;
        Ok(store_pages)
    }

    /// A slice of the chores while no round is under way and nobody reads; whether there is more to do.
    pub(super) fn chores_when_idle(&mut self) -> Result<bool, LogError> {
        let more = self.chores()?;
        let quiet = self.wal.wants_quiet();
        self.wal.after_commit(&self.connection, quiet);
        Ok(more)
    }

    /// A slice of the chores; whether there is more to do.
    fn chores(&mut self) -> Result<bool, LogError> {
        if self.housekeeping.is_under_way() {
            check_room(&self.shared.folder, self.shared.options.min_free_bytes)?;
        }
        self.last_slice = Instant::now();
        match self.housekeeping.slice(&self.connection, &self.shared.catalog, &self.shared.options) {
            Ok(Slice::Idle) => Ok(false),
            Ok(slice) => {
                self.wal.grew(PAGES_OF_A_SLICE);
                Ok(slice == Slice::More)
            }
            Err(error) => {
                self.housekeeping.forget();
                Err(error)
            }
        }
    }

    /// All chores that are due, at once.
    pub(super) fn tidy(&mut self) -> Result<(), LogError> {
        self.housekeeping.look_now();
        while self.chores_when_idle()? {}
        self.wal.truncate(&self.connection);
        Ok(())
    }

    /// Announces a group. Chores that are under way do not know of it, and are looked for anew.
    pub(super) fn create_group(&mut self, catalog: &Catalog, group: &str, topics: &[String]) -> Result<(), LogError> {
        topics::create_group(&self.connection, catalog, group, topics)?;
        self.housekeeping.look_now();
        Ok(())
    }

    /// Shortens the write-ahead log when nothing was committed for a while; when to look again.
    pub(super) fn when_idle(&mut self) -> Option<Instant> {
        self.wal.when_idle(&self.connection)
    }

    /// When chores are looked for next, by the log's clock.
    pub(super) fn next_look(&self) -> i64 {
        self.housekeeping.next_look()
    }

    /// Copies the write-ahead log into the database, and cuts it off; whether it did.
    pub(super) fn truncate_wal(&mut self) -> bool {
        self.wal.truncate(&self.connection)
    }
}

fn write_work(connection: &Connection, behind: &mut Behind, work: &Work) -> rusqlite::Result<usize> {
    let mut place = connection.prepare_cached(
        "INSERT INTO group_offsets (\"group\", tp, next, stream_time) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET next = excluded.next, stream_time = excluded.stream_time",
    )?;
    for (partition, next, stream_time) in &work.offsets {
        place.execute((&*work.application, partition, next, stream_time))?;
    }
    work.stores.as_ref().map_or(Ok(0), |stores| behind.write(connection, stores))
}
