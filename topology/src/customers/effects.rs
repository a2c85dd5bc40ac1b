//! What a decision says to the outside: one message to one topic.

use schemas::{Action, CustomerConflict, CustomerId, CustomerLink, ExternalId, IdentifyBody, System, UnifiedCustomer, UnifyBody};

/// One message that a stage sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// To `links.<system>`, keyed by external id.
    Link { system: System, external_id: ExternalId, link: CustomerLink },
    /// To `customers.identify`, keyed by normalised e-mail.
    Identify { email: String, body: IdentifyBody },
    /// To `customers.unify`, keyed by customer id.
    Unify { customer: CustomerId, body: UnifyBody },
    /// To `requests.<system>`, keyed by external id; a create by customer id.
    Request { system: System, key: String, action: Action },
    /// To `customers.conflicts`.
    Conflict(Box<CustomerConflict>),
    /// To `customers.unified`.
    Unified(Box<UnifiedCustomer>),
}

/// In the order of their making, which is the order in which each topic gets them.
pub type Effects = Vec<Effect>;
