//! The customer topology: three keyed stages, because identity needs three keys, and every rule of docs/protocol.md from 9 on.
//!
//! | stage | key | question | files |
//! |---|---|---|---|
//! | resolve | external id | which customer is this record? | [`resolve`] |
//! | identify | normalised e-mail | who is it? | [`identify`] |
//! | unify | customer id | what is true, and what must be said to whom? | [`unify`] and below |
//!
//! [`unify`] is the only authority on links and values, and the only memory of what was said to whom ([`state`]). Its rules, a
//! file each: questions and links ([`questions`]), e-mail claims ([`claims`]), the first contact with a record ([`accept`]), the
//! three-way merge ([`merge`]), notices and covered edits ([`notes`]), renderings ([`derived`]), automations that flap
//! ([`flaps`]), deletes ([`deletes`]), writes and creates ([`writes`], [`creates`]), and the unified record ([`publish`]).
//!
//! All of these are pure: a state and a message in, the new state and [`Effect`]s out; time is an argument, ids are made from
//! state. [`processors`] load, decide, store and forward; [`build`] wires them into a topology. [`renewal`]: what a log that begins
//! anew takes over of the one before it.

pub mod accept;
pub mod claims;
pub mod config;
pub mod creates;
pub mod deletes;
pub mod derived;
#[cfg(test)]
mod directed;
pub mod effects;
pub mod error;
pub mod flaps;
#[cfg(any(test, feature = "histories"))]
pub mod histories;
pub mod identify;
pub mod merge;
pub mod notes;
mod packed;
mod processors;
#[cfg(test)]
mod properties;
pub mod publish;
pub mod questions;
pub mod renewal;
pub mod resolve;
pub mod state;
pub mod stored;
pub mod topics;
mod topology;
pub mod unify;
pub mod walks;
pub mod writes;

pub use config::{Attributes, Config, ConfigError, Deletes, FieldPattern, Kind, Mapping, MergeRule, SystemConfig};
pub use effects::{Effect, Effects};
pub use error::{Error, Severity};
pub use stored::SCHEMA_AWAY;
pub use topics::{Cleanup, TopicSpec, topics};
pub use topology::{BuildError, build};
