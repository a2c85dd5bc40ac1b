//! (18) E-mail claims follow the golden e-mail.

use super::{Effect, merge::Turn, state::Customer};
use schemas::{Claim, IdentifyBody, Release, Status};

impl Customer {
    /// After every message: the old e-mail is released and the new one claimed, which is contested until `identify` answers.
    pub(super) fn claims_follow_golden(&mut self, turn: &mut Turn<'_>) {
        let email = self.golden_email();
        if email == self.claimed {
            return;
        }
        if let Some(old) = self.claimed.take() {
            self.release(turn, old);
        }
        self.contested = email.is_some();
        if let Some(email) = &email {
            let body = IdentifyBody::Claim(Claim { customer: self.id });
            turn.effects.push(Effect::Identify { email: email.clone(), body });
        }
        self.claimed = email;
    }

    pub(super) fn release(&self, turn: &mut Turn<'_>, email: String) {
        turn.effects.push(Effect::Identify { email, body: IdentifyBody::Release(Release { customer: self.id }) });
    }

    /// `identify` says whether this customer is the e-mail's first claimant.
    pub(super) fn on_status(&mut self, status: Status) {
        if self.claimed.as_ref() == Some(&status.email) {
            self.contested = !status.first;
        }
    }
}
