//! How a log and its topics are configured.

use std::sync::Arc;
use std::time::Duration;

use super::LogError;
use super::clock::{Clock, SystemClock};

/// What happens to old records of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Records go once they have been in the log for `retention_ms`, but not before every consumer group that reads the topic has
    /// passed them.
    Delete {
        /// How long a record stays at least, from its append on.
        retention_ms: i64,
    },
    /// The newest record of each key stays; a tombstone goes after [`Options::delete_retention`].
    Compact,
}

/// A topic: `create_topic` is idempotent, and applies a changed `cleanup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// Letters, digits, `.`, `_` and `-`; at most 249 of them.
    pub name: String,
    /// How many partitions; never changes.
    pub partitions: i32,
    /// What happens to old records.
    pub cleanup: Cleanup,
}

impl TopicConfig {
    /// A topic whose records go after a while.
    pub fn delete(name: impl Into<String>, partitions: i32, retention: Duration) -> TopicConfig {
        let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        TopicConfig { name: name.into(), partitions, cleanup: Cleanup::Delete { retention_ms } }
    }

    /// A topic that keeps the newest record of each key.
    pub fn compact(name: impl Into<String>, partitions: i32) -> TopicConfig {
        TopicConfig { name: name.into(), partitions, cleanup: Cleanup::Compact }
    }

    pub(crate) fn validate(&self) -> Result<(), LogError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let name = &self.name;
        if name.is_empty() || name.len() > 249 || !name.chars().all(legal) || name == "." || name == ".." {
            return Err(LogError::invalid(format!("topic name {name:?}"), "1 to 249 of a-z, A-Z, 0-9, '.', '_', '-'"));
        }
        if !(1..=1024).contains(&self.partitions) {
            return Err(LogError::invalid(format!("topic {name:?}"), format!("{} partitions: 1 to 1024 are possible", self.partitions)));
        }
        if matches!(self.cleanup, Cleanup::Delete { retention_ms } if retention_ms < 0) {
            return Err(LogError::invalid(format!("topic {name:?}"), "its retention is negative"));
        }
        Ok(())
    }
}

/// Settings of a [`Log`](super::Log); the defaults suit one machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long to wait for the folder's lock: just after `kill -9` the dead process may still hold it.
    pub lock_timeout: Duration,
    /// SQLite's page cache of the writer, in bytes.
    pub cache_bytes: usize,
    /// Store changes that are kept in memory and in the journal before they are written to their table, in bytes.
    pub store_buffer_bytes: usize,
    /// Appends are refused ([`LogError::DiskFull`]) while the disk has less than this free.
    pub min_free_bytes: u64,
    /// Under load a round is committed after this many records …
    pub max_round_records: usize,
    /// … or these bytes of records …
    pub max_round_bytes: usize,
    /// … or after this long, whichever is first, and when the commit before it has landed. A drained round is committed at once.
    pub commit_interval: Duration,
    /// Threads that tasks run on while there is a backlog (`num.stream.threads`).
    pub stream_threads: usize,
    /// Appends that wait for the writer hold at most this much; more wait outside.
    pub max_pending_bytes: usize,
    /// How long a tombstone of a compacted topic stays.
    pub delete_retention: Duration,
    /// How often old records are looked for.
    pub housekeeping_interval: Duration,
    /// A compacted topic is cleaned when this share of it is not yet cleaned.
    pub min_cleanable_ratio: f64,
    /// Wall clock of retention and of punctuation.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            lock_timeout: Duration::from_secs(1),
            cache_bytes: 14 << 20,
            store_buffer_bytes: 28 << 20,
            min_free_bytes: 256 << 20,
            max_round_records: 5_000,
            max_round_bytes: 8 << 20,
            commit_interval: Duration::from_millis(50),
            stream_threads: std::thread::available_parallelism().map_or(1, usize::from).min(4),
            max_pending_bytes: 16 << 20,
            delete_retention: Duration::from_secs(24 * 3600),
            housekeeping_interval: Duration::from_secs(10),
            min_cleanable_ratio: 0.5,
            clock: Arc::new(SystemClock),
        }
    }
}
