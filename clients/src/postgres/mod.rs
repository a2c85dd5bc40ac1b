//! The product's Postgres table, any table: which column holds which field, what is noticed of it, and how it is read.
//!
//! - [`config`]: the table as configured; [`table`]: as the database has it, with the pieces of SQL that name its columns
//! - [`slot`]: a row's columns ⇄ a customer's fields (pure)
//! - [`connect`]: a pool of connections
//! - [`attach`]: the schema `concord`, and the triggers of [`trigger`] on the table
//! - [`drift`]: what attaching would still change; [`acting`]: who works with it, before anything is taken away
//! - [`read`]: records read into the outbox
//! - [`error`]: what an error of the database means
//!
//! Every name in SQL text is qualified with its schema and quoted. Nothing here decides what is written.

pub mod acting;
pub mod attach;
pub mod config;
pub mod connect;
pub mod drift;
pub mod error;
pub mod read;
pub mod slot;
pub mod table;
pub mod trigger;

pub use acting::{ActError, act};
pub use attach::{AttachError, Attached, attach, detach, migrate, open, prepare};
pub use config::{ConfigError, TableConfig, literal, quote};
pub use connect::pool;
pub use drift::{Drift, drift};
pub use error::{Fault, Refusal, classify, message};
pub use read::{Incarnation, Reader};
pub use slot::{AddressLine, Shape, Slot};
pub use table::{Column, Key, KeyKind, Table, TableError};
pub use trigger::CHANNEL;
