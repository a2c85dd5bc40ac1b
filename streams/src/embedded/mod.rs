//! The embedded driver: topics, group offsets and state stores in one SQLite file, with no broker to install.
//!
//! [`Log`] is the handle: it appends (durable when it returns), reads, and starts a topology on the log. The writer thread gathers what
//! is appended from outside, lets the topology run through all its hops, and has all of it committed at once: input offsets, outputs
//! and store changes agree after any crash. A second thread writes that commit to the file, a third makes it durable, while the writer
//! works on the next round.
//!
//! | module | why it exists |
//! |---|---|
//! | `log`, `reader`, `lag` | the handles: of the process that runs the log, and of any other that looks into it, at how far its groups are too |
//! | `jobs`, `writer` | the queue to the writer thread, and the thread |
//! | `round`, `file`, `committer`, `syncer` | what one commit will hold, how it is written, and how it becomes durable |
//! | `streams`, `driver`, `running`, `lanes`, `input` | the running topology: its handle, its tasks and their threads, what they read |
//! | `state_backing`, `journal`, `snapshot` | the stores as tasks see them, and how their changes are written |
//! | `housekeeping`, `compaction` | old records go, in small slices |
//! | `database`, `queries`, `catalog` | the file: its tables, its reads, its topics |
//! | `batch`, `headers`, `varint` | how records lie in it |
//! | `free_space`, `trouble`, `wal`, `checkpointer` | a disk that fills up or fails; SQLite's write-ahead log |
//! | `topics` | making topics and groups |
//! | `successor` | a log that takes the place of another in one step |

mod batch;
mod catalog;
mod checkpointer;
mod clock;
mod committer;
mod compaction;
mod database;
mod driver;
mod error;
mod file;
mod free_space;
mod headers;
mod housekeeping;
mod input;
mod jobs;
mod journal;
mod lag;
mod lanes;
mod log;
mod options;
mod queries;
mod reader;
mod readers;
mod record;
mod round;
mod running;
mod snapshot;
mod state_backing;
mod streams;
mod successor;
mod syncer;
mod topics;
mod trouble;
mod varint;
mod wal;
mod writer;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{ErrorClass, LogError};
pub use log::Log;
pub use options::{Cleanup, Options, TopicConfig};
pub use reader::LogReader;
pub use record::Append;
pub use streams::{Streams, StreamsConfig};
pub use successor::Successor;

pub use crate::client::{State, TaskFailure, UncaughtHandler, UncaughtResponse};

pub use crate::{ConsumerRecord, Headers, ProducerRecord, TopicPartition};
