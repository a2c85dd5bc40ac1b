//! (13, 14) identify: who claims an e-mail, eldest first.

use super::{Effect, Effects};
use schemas::{By, CustomerId, IdentifyBody, Rule, Status, UnifyBody, holds};
use serde::{Deserialize, Serialize};

/// An e-mail's claimants, eldest first.
///
/// Claims and releases come from different tasks, out of order: hence a set, and no single owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimants {
    pub customers: Vec<CustomerId>,
}

impl Claimants {
    /// One message about this (normalised) e-mail.
    pub fn on_message(&mut self, email: &str, message: IdentifyBody) -> Effects {
        match message {
            IdentifyBody::Ask(mut question) => {
                let first = *self.customers.first().unwrap_or(&question.minted);
                if self.customers.is_empty() {
                    self.customers.push(first);
                }
                question.by = By::Email;
                vec![Effect::Unify { customer: first, body: UnifyBody::Question(question) }]
            }
            IdentifyBody::Claim(claim) => {
                let remembered = holds(Rule::ClaimantsAreASet) || self.customers.is_empty();
                if remembered && !self.customers.contains(&claim.customer) {
                    self.customers.push(claim.customer);
                }
                vec![status(claim.customer, email, self.customers.first() == Some(&claim.customer))]
            }
            IdentifyBody::Release(release) => {
                let first = self.customers.first().copied();
                self.customers.retain(|c| *c != release.customer);
                match self.customers.first() {
                    Some(new) if Some(*new) != first => vec![status(*new, email, true)],
                    _ => Vec::new(),
                }
            }
        }
    }
}

fn status(customer: CustomerId, email: &str, first: bool) -> Effect {
    Effect::Unify { customer, body: UnifyBody::Status(Status { email: email.into(), first }) }
}
