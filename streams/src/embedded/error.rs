//! What can go wrong with the log, and what a caller can do about it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::TopicPartition;
use crate::kafka::KafkaLogError;

/// What a caller should do about a [`LogError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The cause may pass (disk full, log closing for a restart): nothing was written; try again later.
    Retriable,
    /// The same call fails again: the request itself is wrong.
    Permanent,
    /// The log cannot be used until a person acts.
    Fatal,
}

/// An error of a log: of the embedded one, and of the one on Kafka.
///
/// Errors are cheap to clone, since one failed commit answers every append that was in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Another process (or another handle in this one) runs this data folder.
    #[error("the data folder {} is in use by another process{}", folder.display(), holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// The data folder.
        folder: PathBuf,
        /// The process that wrote itself into the lock file, if it could be read.
        holder: Option<u32>,
    },
    /// The file was written by a newer program.
    #[error("{} has format version {found}; this program knows versions up to {known}: use the newer program, or another data folder", file.display())]
    NewerFormat {
        /// The database file.
        file: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// The newest version that this program reads.
        known: i64,
    },
    /// The file is a SQLite database of something else, or damaged.
    #[error("{} is not a log of this program: {reason}", file.display())]
    NotALog {
        /// The database file.
        file: PathBuf,
        /// What was found.
        reason: String,
    },
    /// No such topic.
    #[error("unknown topic {0:?}")]
    UnknownTopic(String),
    /// The topic has no such partition.
    #[error("topic {:?} has no partition {}", .0.topic, .0.partition)]
    UnknownPartition(TopicPartition),
    /// `create_topic` for a topic that exists with another number of partitions.
    #[error("topic {topic:?} exists with {found} partitions, not {wanted}; partition counts never change")]
    PartitionsDiffer {
        /// The topic.
        topic: String,
        /// Partitions it has.
        found: i32,
        /// Partitions asked for.
        wanted: i32,
    },
    /// A topic's configuration or a record makes no sense.
    #[error("invalid {what}: {reason}")]
    Invalid {
        /// The thing that is invalid.
        what: String,
        /// Why.
        reason: String,
    },
    /// The disk is full, or nearly: nothing was written.
    #[error("the disk of the log is full: {reason}; appends are refused until there is room")]
    DiskFull {
        /// What was found out.
        reason: String,
    },
    /// Reading or writing the file failed: nothing was written.
    #[error("{action}: {source}")]
    Storage {
        /// What was being done.
        action: String,
        /// SQLite's own error.
        source: Arc<rusqlite::Error>,
    },
    /// A file operation beside the database failed.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// The system's own error.
        source: Arc<std::io::Error>,
    },
    /// The log was closed, or its writer has ended.
    #[error("the log is closed")]
    Closed,
    /// The topology cannot run on this log.
    #[error("cannot start application {application:?}: {reason}")]
    Start {
        /// `application.id`.
        application: String,
        /// Why.
        reason: String,
    },
    /// Kafka is away, refuses, or has another owner.
    #[error(transparent)]
    Kafka(#[from] KafkaLogError),
}

impl LogError {
    /// Whether to retry, to give up on this call, or to give up on the log.
    pub fn class(&self) -> ErrorClass {
        match self {
            LogError::DiskFull { .. } | LogError::Closed | LogError::Io { .. } => ErrorClass::Retriable,
            LogError::Locked { .. } => ErrorClass::Retriable,
            LogError::Storage { source, .. } => class_of_sqlite(source),
            LogError::UnknownTopic(_)
            | LogError::UnknownPartition(_)
            | LogError::PartitionsDiffer { .. }
            | LogError::Invalid { .. }
            | LogError::Start { .. } => ErrorClass::Permanent,
            LogError::Kafka(error) => error.class(),
            LogError::NewerFormat { .. } | LogError::NotALog { .. } => ErrorClass::Fatal,
        }
    }

    /// Shorthand for `class() == Retriable`.
    pub fn is_retriable(&self) -> bool {
        self.class() == ErrorClass::Retriable
    }

    pub(super) fn io(action: impl Into<String>, source: std::io::Error) -> LogError {
        LogError::Io { action: action.into(), source: Arc::new(source) }
    }

    pub(super) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> LogError {
        LogError::Invalid { what: what.into(), reason: reason.into() }
    }

    /// Names what was being done; a full disk becomes [`LogError::DiskFull`].
    pub(super) fn sqlite(action: impl Into<String>, source: rusqlite::Error) -> LogError {
        let action = action.into();
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => LogError::DiskFull { reason: format!("{action}: {source}") },
            _ => LogError::Storage { action, source: Arc::new(source) },
        }
    }

    /// The disk gave an error: nothing is known to be wrong with the request, and the connection is to be opened anew.
    pub(super) fn is_disk_trouble(&self) -> bool {
        match self {
            LogError::DiskFull { .. } => true,
            LogError::Storage { source, .. } => {
                matches!(source.sqlite_error_code(), Some(rusqlite::ErrorCode::SystemIoFailure | rusqlite::ErrorCode::CannotOpen))
            }
            _ => false,
        }
    }
}

fn class_of_sqlite(source: &rusqlite::Error) -> ErrorClass {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, OutOfMemory, SystemIoFailure};
    match source.sqlite_error_code() {
        Some(DatabaseBusy | DatabaseLocked | DiskFull | OutOfMemory | SystemIoFailure | CannotOpen) => ErrorClass::Retriable,
        _ => ErrorClass::Fatal,
    }
}
