//! unify: what is true of one customer, and what must be said to whom.

pub use super::state::Customer;
use super::{Config, Effects, Error};
use schemas::{Millis, System, UnifyBody};
use std::collections::BTreeSet;

impl Customer {
    /// One message of `customers.unify` about this customer. A failed one changes nothing. `now`: unify's wall clock.
    pub fn on_message(&mut self, _config: &Config, _message: UnifyBody, _now: Millis) -> Result<Effects, Error> {
        Ok(Vec::new())
    }

    /// What must be said once all messages of this round are in: writes, creates, deletes, and the unified record.
    /// Level-triggered: it says nothing where nothing differs. `imported`: systems whose first backfill is through (25).
    pub fn before_commit(&mut self, _config: &Config, _imported: &BTreeSet<System>, _now: Millis) -> Effects {
        Vec::new()
    }
}
