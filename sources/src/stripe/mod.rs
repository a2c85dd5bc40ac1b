//! Stripe as a source.
//!
//! - [`webhook`], [`signature`]: events as Stripe sends them; accepted once they are in the log
//! - [`recent`]: events that were noticed already

pub mod recent;
pub mod signature;
pub mod webhook;

pub use recent::RecentEvents;
pub use webhook::Webhook;
