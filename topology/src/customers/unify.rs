//! unify: what is true of one customer, and what must be said to whom.

pub use super::state::Customer;
use super::{Config, Effects, Error, merge::Turn};
use schemas::{Gone, Millis, RecordResult, SourceCustomer, System, UnifyBody};
use std::collections::BTreeSet;

impl Customer {
    /// One message of `customers.unify` about this customer. A failed one changes nothing. `now`: unify's wall clock.
    pub fn on_message(&mut self, config: &Config, message: UnifyBody, now: Millis) -> Result<Effects, Error> {
        let mut turn = Turn { config, now, effects: Vec::new() };
        match message {
            UnifyBody::Question(question) => self.on_question(&mut turn, question)?,
            // Whoever is not there has no records, and claims nothing.
            _ if self.is_new() => {}
            UnifyBody::Result(result) => self.on_record_result(&mut turn, result),
            UnifyBody::Status(status) => self.on_status(status),
            UnifyBody::Gone(Gone { system, external_id, incarnation }) => {
                let result = SourceCustomer::default(); // no fields: deleted
                self.on_record_result(&mut turn, RecordResult { system, external_id: Some(external_id), incarnation, result });
            }
            // For every customer of the partition, in turn: the processor's.
            UnifyBody::Walk(_) => {}
        }
        self.claims_follow_golden(&mut turn);
        Ok(turn.effects)
    }

    fn on_record_result(&mut self, turn: &mut Turn<'_>, message: RecordResult) {
        let RecordResult { system, external_id, incarnation, result } = message;
        let Some(external_id) = external_id else {
            if let Some(answer) = &result.answer {
                self.not_created(turn, &system, answer);
            }
            return;
        };
        if let Some(mut r) = self.replicas.remove(&system) {
            if r.is(&external_id, incarnation) {
                self.on_result(turn, &system, &mut r, result);
            } else {
                self.on_spare(&system, &external_id, incarnation, &result);
            }
            self.replicas.insert(system, r);
        } else {
            self.on_spare(&system, &external_id, incarnation, &result);
        }
    }

    /// A record that takes no part here: only that it is there or gone is kept.
    fn on_spare(&mut self, system: &System, external_id: &schemas::ExternalId, incarnation: i64, result: &SourceCustomer) {
        let mut spares = self.spares.iter_mut();
        let spare = spares.find(|s| s.system == *system && s.external_id == *external_id && s.incarnation == incarnation);
        if let Some(spare) = spare {
            spare.deleted = result.fields.is_none();
        }
    }

    /// What must be said once all messages of this round are in: writes, creates, deletes, and the unified record.
    /// Level-triggered: it says nothing where nothing differs. `imported`: systems whose first backfill is through (25).
    pub fn before_commit(&mut self, config: &Config, imported: &BTreeSet<System>, now: Millis) -> Effects {
        let mut turn = Turn { config, now, effects: Vec::new() };
        if !self.is_new() {
            self.due = self.writes(&mut turn, imported);
            self.publish(&mut turn);
        }
        turn.effects
    }
}
