//! Stripe as a source.
//!
//! - [`source`]: reads and lists for the conversation, and the loop that notices changes
//! - [`webhook`], [`signature`]: events as Stripe sends them; accepted once they are in the log
//! - `events`: events that no webhook told of; `sweep`: every customer, at first and where there are no events
//! - [`recent`]: events that were noticed already

mod events;
mod patience;
pub mod recent;
pub mod signature;
pub mod source;
mod sweep;
pub mod webhook;

pub use recent::RecentEvents;
pub use source::{Options, Stripe};
pub use webhook::Webhook;
