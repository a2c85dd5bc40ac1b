//! A stand-in for Stripe: strict as the real one, and misbehaving on request.
//!
//! - [`account`]: customers, events, idempotency keys, history: pure
//! - [`customer`], [`params`], [`refusal`]: parameters in, objects and errors out, in Stripe's shapes
//! - [`state`]: the one place where a call takes effect; [`journal`]: so that it survives a restart
//! - [`api`], [`control`], [`server`]: Stripe's API, the page and the controls, over HTTP
//! - [`webhooks`]: signed, sent until taken
//! - [`faults`]: what goes wrong on request; [`clock`]: what time it is there

mod account;
mod api;
mod clock;
mod control;
mod customer;
mod faults;
mod handle;
mod journal;
mod params;
mod refusal;
mod server;
mod state;
mod webhooks;

pub use account::{Actor, Past};
pub use faults::{Fault, On, Rule};
pub use handle::{Handle, Options, Refused, Sandbox, SandboxError, Target};
