//! The first contact with a record: what it shows is compared with golden, with no base to compare it to.

use super::{
    merge::{Theirs, Turn, mapped},
    notes::Evidence,
    state::{ChosenBy, Customer, RING, Replica, forget_eldest, value_of},
};
use schemas::{By, ConflictKind, CustomerId, Field, Outcome, Question, Rule, SourceCustomer, System, Values, holds, normalise_email};
use std::collections::BTreeSet;

impl Customer {
    /// The question's record becomes the customer's replica in its system.
    pub(super) fn accept(&mut self, turn: &mut Turn<'_>, question: Question) {
        let Question { system, external_id, incarnation, by, ours, first, .. } = question;
        let mut r = Box::new(Replica::new(external_id, incarnation));
        if ours && self.made(&system, &mut r) {
            let unseen = first.answer.as_ref().is_some_and(|a| a.unseen && a.outcome == Outcome::Done);
            match first.fields {
                // Nobody looked: no order, look or mark yet, so the first write looks first.
                Some(fields) if unseen => r.base = mapped(turn.config, &system, fields),
                fields => self.on_result(turn, &system, &mut r, SourceCustomer { fields, ..first }),
            }
        } else if first.fields.is_none() {
            self.on_result(turn, &system, &mut r, first);
        } else if self.deleted || (ours && !self.golden.is_empty()) {
            // It is ours, but nobody knows what we sent: what it shows is nobody's edit, and the next write sets golden.
            r.last_shown(self.id, &system, &first);
            r.base = mapped(turn.config, &system, first.fields.unwrap_or_default());
        } else {
            self.first_contact(turn, &system, &mut r, by, first);
        }
        self.replicas.insert(system, r);
    }

    /// A create of ours made it: every attempt may be the one that did, and a twin may land later. Whether any is known.
    fn made(&mut self, system: &System, r: &mut Replica) -> bool {
        let Some(creates) = self.creates.get_mut(system).filter(|c| !c.attempts.is_empty()) else { return false };
        r.ring = if holds(Rule::AttemptsKept) { creates.attempts.clone() } else { creates.attempts.last().cloned().into_iter().collect() };
        forget_eldest(&mut r.ring, RING);
        r.refused = creates.refused.clone();
        creates.out = None;
        true
    }

    fn first_contact(&mut self, turn: &mut Turn<'_>, system: &System, r: &mut Replica, by: By, first: SourceCustomer) {
        self.note(turn, system, r, &first.notices);
        r.last_shown(self.id, system, &first);
        let shown = mapped(turn.config, system, first.fields.unwrap_or_default());
        for field in self.fields_of(turn, system, &shown) {
            let value = value_of(&shown, &field);
            r.now_shows(&field, value.clone());
            let golden = self.golden_value(&field);
            let shows = if value == golden && (!value.is_empty() || holds(Rule::BothEmptyCountsAsShown)) {
                self.golden_version(&field)
            } else if value.is_empty() {
                continue;
            } else {
                let external_id = r.external_id.clone();
                let evidence = r.evidence(&field, value).unwrap_or(Evidence { time: first.created, event_id: None });
                let theirs = Theirs { system, external_id: &external_id, field: &field, value, evidence };
                if !self.golden.contains_key(&field) {
                    self.choose(&theirs, ChosenBy::First);
                    self.choices
                } else if field == Field::Email && self.is_no_edit(by, value.as_text(), golden.as_text()) {
                    continue;
                } else {
                    self.conflict(turn, &theirs, ConflictKind::Edits)
                }
            };
            r.shows.insert(field, shows);
        }
    }

    /// The e-mail that led here, or another spelling of it.
    fn is_no_edit(&self, by: By, value: Option<&str>, golden: Option<&str>) -> bool {
        let same = value.and_then(normalise_email) == golden.and_then(normalise_email);
        holds(Rule::FoundByEmailIsNoEdit) && (by == By::Email || same)
    }

    /// Every mapped field that golden or the record has a value for.
    fn fields_of(&self, turn: &Turn<'_>, system: &System, shown: &Values) -> BTreeSet<Field> {
        self.golden.keys().chain(shown.keys()).filter(|f| turn.config.maps(system, f)).cloned().collect()
    }
}

impl Replica {
    /// What the next write goes by.
    fn last_shown(&mut self, customer: CustomerId, system: &System, first: &SourceCustomer) {
        self.order = first.order.unwrap_or(0);
        self.look = first.look;
        self.bears(customer, system, first.mark.clone());
        self.stamp = first.stamp;
        self.settled = first.settled;
    }
}
