//! The SQLite file: its tables, its settings, its format version.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::LogError;

/// Format version of the file (`user_version`). Raise it with a step in [`migrate`].
const FORMAT: i64 = 2;
/// "CnLg": marks the file as ours in `file` and in SQLite's header.
const APPLICATION_ID: i64 = 0x436e_4c67;
const FILE: &str = "log.sqlite";
/// How long a connection waits for another's lock: readers never hold one for long, and there is one writer.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Batches of records are clustered by (partition id, offset), so appends are sequential and a read is one range scan; store entries by
/// (store, partition, key).
const SCHEMA: &str = "
    CREATE TABLE topics (
        topic INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        policy TEXT NOT NULL CHECK (policy IN ('delete', 'compact')),
        retention_ms INTEGER
    );
    CREATE TABLE partitions (
        tp INTEGER PRIMARY KEY,
        topic INTEGER NOT NULL REFERENCES topics,
        partition INTEGER NOT NULL,
        beginning INTEGER NOT NULL DEFAULT 0,
        next INTEGER NOT NULL DEFAULT 0,
        -- Compaction: records before `cleaned` are the newest of their keys; how many of them, and tombstones among them, were kept.
        cleaned INTEGER NOT NULL DEFAULT 0,
        cleaned_at INTEGER NOT NULL DEFAULT 0,
        kept INTEGER NOT NULL DEFAULT 0,
        tombstones INTEGER NOT NULL DEFAULT 0,
        UNIQUE (topic, partition)
    );
    -- Records lie together in batches (`batch`); `last` is at least the offset of the last record of its batch.
    CREATE TABLE batches (
        tp INTEGER NOT NULL,
        last INTEGER NOT NULL,
        records BLOB NOT NULL,
        PRIMARY KEY (tp, last)
    ) WITHOUT ROWID;
    -- When records were appended, coarsely: everything before `offset` was in the log at `at`.
    CREATE TABLE marks (
        tp INTEGER NOT NULL,
        at INTEGER NOT NULL,
        offset INTEGER NOT NULL,
        PRIMARY KEY (tp, at)
    ) WITHOUT ROWID;
    CREATE TABLE group_offsets (
        \"group\" TEXT NOT NULL,
        tp INTEGER NOT NULL,
        next INTEGER NOT NULL,
        stream_time INTEGER NOT NULL DEFAULT -1,
        PRIMARY KEY (\"group\", tp)
    ) WITHOUT ROWID;
    CREATE TABLE stores (
        store INTEGER PRIMARY KEY,
        application TEXT NOT NULL,
        name TEXT NOT NULL,
        UNIQUE (application, name)
    );
    CREATE TABLE entries (
        store INTEGER NOT NULL,
        partition INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (store, partition, key)
    ) WITHOUT ROWID;
";

/// Store changes that are not in `entries` yet (`journal`), in the order of their commits.
const JOURNAL: &str = "CREATE TABLE journal (number INTEGER PRIMARY KEY, changes BLOB NOT NULL)";

/// Where the database of a data folder is.
pub(super) fn file_in(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Opens the one connection that writes, and makes the tables if the file is new.
pub(super) fn open_writer(folder: &Path, cache_bytes: usize) -> Result<Connection, LogError> {
    let file = file_in(folder);
    let failed = |error| LogError::sqlite(format!("opening {}", file.display()), error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&file, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    check_format(&connection, &file)?;
    configure_writer(&connection, cache_bytes).map_err(failed)?;
    migrate(&mut connection).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens a connection that only reads: snapshots of what is committed, also while another process writes.
pub(super) fn open_reader(folder: &Path) -> Result<Connection, LogError> {
    let file = file_in(folder);
    let failed = |error| LogError::sqlite(format!("opening {}", file.display()), error);
    // Read-write, since a WAL reader keeps its place in the shared-memory file; query_only keeps it from writing anything else.
    let writable = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(&file, writable).or_else(|_| Connection::open_with_flags(&file, read_only)).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    // Thrown away with each snapshot that is newer, hence small.
    connection.pragma_update(None, "cache_size", -2048).map_err(failed)?;
    match check_format(&connection, &file)? {
        Some(FORMAT) => Ok(connection),
        Some(older) => Err(LogError::NotALog { file, reason: format!("its format version {older} is older: start the log once") }),
        None => Err(LogError::NotALog { file, reason: "it is empty".into() }),
    }
}

/// The format version; `None` for a new file.
fn check_format(connection: &Connection, file: &Path) -> Result<Option<i64>, LogError> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let damaged = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            LogError::NotALog { file: file.to_owned(), reason: error.to_string() }
        }
        _ => LogError::sqlite(format!("opening {}", file.display()), error),
    };
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(damaged)?;
    if tables == 0 {
        return Ok(None);
    }
    let application = number("application_id").map_err(damaged)?;
    if application != APPLICATION_ID {
        return Err(LogError::NotALog {
            file: file.to_owned(),
            reason: format!("application id {application:#x}, tables of something else"),
        });
    }
    let found = number("user_version").map_err(damaged)?;
    if found > FORMAT {
        return Err(LogError::NewerFormat { file: file.to_owned(), found, known: FORMAT });
    }
    Ok(Some(found))
}

fn configure_writer(connection: &Connection, cache_bytes: usize) -> rusqlite::Result<()> {
    let kibibytes = i64::try_from(cache_bytes / 1024).unwrap_or(i64::MAX);
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // A commit is durable when `syncer` has synced the write-ahead log; nobody outside learns of it before.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -kibibytes)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // The writer checkpoints by itself, between rounds; see `writer`.
    connection.pragma_update(None, "wal_autocheckpoint", 0)
}

const PAGE_BYTES: i64 = 4096;

/// Brings a file of any older format to the present one, in one transaction.
fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found == FORMAT {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    if found < 1 {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    if found < 2 {
        transaction.execute_batch(JOURNAL)?;
    }
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}
