//! Stand-ins for what a customer sync needs from outside, for people without accounts and for tests.
//!
//! - [`stripe`]: a stand-in for Stripe, over HTTP
//! - [`postgres`]: private Postgres clusters

pub mod postgres;
pub mod stripe;

pub use stripe::{Actor, Fault, Handle, On, Options, Past, Refused, Rule, Sandbox, SandboxError, Target};
