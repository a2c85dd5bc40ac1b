//! What the topology cannot go on with. Each error has a stable code with a page in docs/errors/.

use schemas::{CustomerId, ExternalId, IdError, System};

/// Why a record was not processed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// CONCORD-T001: a question found no customer that keeps the e-mail it was asked by.
    #[error("CONCORD-T001: {system}/{external_id} was sent from customer to customer {bounces} times; its e-mail keeps changing hands")]
    TooManyBounces { system: System, external_id: ExternalId, bounces: i32 },
    /// CONCORD-T002: a record is linked once; a second, different link is an invariant's breach.
    #[error("CONCORD-T002: {system}/{external_id} is linked to {linked}, and now to {second}")]
    SecondLink { system: System, external_id: ExternalId, linked: CustomerId, second: CustomerId },
    /// CONCORD-T003: a topic's key is not what it should be.
    #[error("CONCORD-T003: {topic}: {error}")]
    Key { topic: String, error: IdError },
    /// CONCORD-T004: a record without a value, or without what makes it a message.
    #[error("CONCORD-T004: {topic}: {missing}")]
    Malformed { topic: String, missing: &'static str },
    /// CONCORD-T005: what a store holds cannot be read.
    #[error("CONCORD-T005: store {store}: {error}")]
    State { store: String, error: String },
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// This record will never pass: to the dead letter queue with it.
    Permanent,
    /// Going on would break what must hold: the task stops.
    Fatal,
}

impl Error {
    /// The stable code, e.g. `CONCORD-T001`.
    pub fn code(&self) -> &'static str {
        match self {
            Error::TooManyBounces { .. } => "CONCORD-T001",
            Error::SecondLink { .. } => "CONCORD-T002",
            Error::Key { .. } => "CONCORD-T003",
            Error::Malformed { .. } => "CONCORD-T004",
            Error::State { .. } => "CONCORD-T005",
        }
    }

    pub fn severity(&self) -> Severity {
        match self {
            Error::TooManyBounces { .. } | Error::Key { .. } | Error::Malformed { .. } => Severity::Permanent,
            Error::SecondLink { .. } | Error::State { .. } => Severity::Fatal,
        }
    }
}
