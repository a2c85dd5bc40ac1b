//! What every connector shares: the contract of a source and a sink, and the conversation runner that drives each system.
//!
//! Everything said with a system about one record is one ordered *conversation* (docs/protocol.md, sections 1 and 2).
//! The decisions are plain state machines; what touches the network, the clock or the log is a thin shell around them,
//! so that the simulation runs the very code that production runs.
//!
//! Pure (no I/O, no clock, no randomness: time and jitter come in as arguments):
//! - [`call`]: what an adapter is asked ([`Call`]) and what it answers ([`Reply`])
//! - [`conversation`]: one request, from its first call to its known outcome
//! - [`partition`]: the requests of one partition: whose turn it is, joined reads, list calls, the finished prefix
//! - [`backoff`]: how long to wait before a call is repeated
//!
//! Shell:
//! - [`contract`]: [`Source`] and [`Sink`], what a connector implements
//! - [`runner`]: drives the partitions of `requests.<system>` on the log: rate limits, time-outs, health, metrics
//! - [`requests`]: how a source says that something changed
//! - `conformance` (a feature): what every connector must pass, for its tests
//! - [`catch_up`]: whether a source has caught up since the start
//! - [`cursors`]: what a connector must remember; [`backfill`]: a backfill's reads in slices; [`walks`]: what follows an import

pub mod backfill;
pub mod backoff;
pub mod call;
pub mod catch_up;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod contract;
pub mod conversation;
pub mod cursors;
pub mod error;
mod events;
pub mod health;
pub mod partition;
pub mod requests;
pub mod runner;
pub mod topics;
pub mod walks;

pub use backfill::Slices;
pub use call::{Call, Create, Delete, Refusal, Reply, Seen, Update};
pub use catch_up::CatchUp;
pub use contract::{Sink, Source, SourceError, perform};
pub use conversation::{Conversation, Finished, Input, Moment, Step, Style};
pub use cursors::Cursors;
pub use error::ConnectError;
pub use health::{Health, Progress};
pub use partition::{Batch, Options, Output, Partition, Ticket};
pub use requests::Requests;
pub use runner::Runner;
pub use walks::Walks;
