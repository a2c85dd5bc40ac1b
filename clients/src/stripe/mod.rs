//! Stripe: its customers and its events, over its REST API.
//!
//! - [`options`]: key, address, time-outs and limits, checked without I/O
//! - [`client`]: one method per call; each answer with the vendor's clock ("the look")
//! - [`error`]: what a failed call means: refused, to be repeated, or of unknown outcome
//! - [`form`]: the request bodies
//! - [`model`]: the answers
//! - [`record`]: a Stripe customer ⇄ our fields and marks, a Stripe event → our notice
//! - [`limits`]: calls per second

pub mod client;
pub mod error;
pub mod form;
pub mod limits;
pub mod model;
pub mod options;
pub mod record;

pub use client::{Client, EventsQuery, ListQuery, Reply};
pub use error::{Class, Error};
pub use form::Form;
pub use limits::{Lane, Limits};
pub use model::{Customer, Event, Found, Page, Tombstone};
pub use options::{Options, SetupError};
