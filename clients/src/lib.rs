//! Thin clients of the vendors' APIs: what can be asked, what may be answered, and what an error means. No policy (who
//! retries, when, how often is the caller's), no Kafka, no state but connections and rate limits.
//!
//! - [`postgres`]: the product's table: its mapping, its triggers, its errors
//! - [`secret`]: keys that no log line, error or debug print can show
//! - [`stripe`]: customers and events of Stripe, and how a Stripe customer maps to ours

pub mod postgres;
pub mod secret;
pub mod stripe;

pub use secret::Secret;
