//! The three-way merge of one field: base is what the system last showed, theirs what it shows now, ours is golden.

use super::{
    Config, Effects,
    config::{MergeRule, place},
    derived::derived,
    notes::Evidence,
    state::{ChosenBy, Customer, Golden, Rendering, Replica, Write, value_of},
};
use schemas::{
    Answer, ConflictKind, Contender, CustomerConflict, CustomerFields, ExternalId, Field, Millis, Outcome, Rule, SourceCustomer, System,
    Value, Values, holds,
};

/// One message's turn at a customer: what it may read, and what it has to say.
pub(super) struct Turn<'a> {
    pub config: &'a Config,
    /// Unify's wall clock.
    pub now: Millis,
    pub effects: Effects,
}

/// A value that somebody gave a field in a system.
pub(super) struct Theirs<'a> {
    pub system: &'a System,
    pub external_id: &'a ExternalId,
    pub field: &'a Field,
    pub value: &'a Value,
    pub evidence: Evidence,
}

impl Customer {
    /// A later result of a replica.
    pub(super) fn on_result(&mut self, turn: &mut Turn<'_>, system: &System, r: &mut Replica, result: SourceCustomer) {
        let Some(fields) = result.fields else {
            if r.deleted {
                self.note(turn, system, r, &result.notices)
            } else {
                self.gone(turn, system, r, &result.notices)
            }
            return;
        };
        if r.deleted {
            return self.note(turn, system, r, &result.notices);
        }
        let shown = mapped(turn.config, system, fields);
        if let Some((write, answer)) = self.landing(system, r, &result.mark, result.answer.as_ref()) {
            self.landed(turn, system, r, &write, answer, &shown);
        }
        if let Some(answer) = &result.answer
            && r.in_flight.as_ref().is_some_and(|w| self.call(system, &answer.write_id) == Some(w.id))
        {
            self.answered(turn, system, r, answer);
        }
        self.note(turn, system, r, &result.notices);
        for (field, value) in differing(turn.config, system, &r.base, &shown) {
            let before = r.now_shows(&field, value.clone());
            self.their_edit(turn, system, r, &field, &before, &value);
        }
        r.order = result.order.unwrap_or(0);
        r.look = result.look;
        r.bears(self.id, system, result.mark);
        r.stamp = result.stamp;
        r.settled = result.settled;
    }

    /// The newest write of ours that this result shows to have landed, also one that was reported `moved-on`: it landed late.
    /// With the answer, where the result answers that very write.
    fn landing<'a>(
        &self,
        system: &System,
        r: &mut Replica,
        mark: &Option<String>,
        answer: Option<&'a Answer>,
    ) -> Option<(Write, Option<&'a Answer>)> {
        if r.ring.iter().all(|w| w.landed) {
            return None;
        }
        let answer = answer.filter(|a| a.outcome == Outcome::Done);
        let done = answer.and_then(|a| self.call(system, &a.write_id));
        let mark = mark.as_deref().filter(|_| holds(Rule::LandingByMark)).and_then(|mark| self.call(system, &mark.parse().ok()?));
        let w = r.ring.iter_mut().rev().find(|w| !w.landed && (done == Some(w.id) || mark == Some(w.id)))?;
        let answer = answer.filter(|_| done == Some(w.id));
        Some((w.landed(), answer))
    }

    /// A write of ours landed: base is what it set, or what the system made of it.
    fn landed(&mut self, turn: &mut Turn<'_>, system: &System, r: &mut Replica, w: &Write, answer: Option<&Answer>, shown: &Values) {
        if answer.is_some() && holds(Rule::ExpectedShownAtLanding) {
            // The record showed exactly what we expected just before we wrote, whatever we had seen since.
            for (field, expected) in &w.expected {
                if r.base(field) != expected {
                    let before = r.now_shows(field, expected.clone());
                    self.their_edit(turn, system, r, field, &before, expected);
                }
            }
        }
        let left = answer.and_then(|a| a.left.as_ref());
        for (field, sent) in &w.set {
            let left = left.map(|left| left.get(field));
            let now = value_of(shown, field);
            let base = match left {
                _ if !holds(Rule::Renderings) => sent.clone(),
                Some(left) => left,
                None if derived(sent, now) => now.clone(),
                None => sent.clone(),
            };
            if base == *sent {
                r.rendered.remove(field);
            } else {
                r.rendered.insert(field.clone(), Rendering { sent: sent.clone(), shown: base.clone() });
            }
            r.now_shows(field, base);
            r.shows.insert(field.clone(), w.versions.get(field).copied().unwrap_or(0));
        }
    }

    /// Base of the field went from `before` to `value`, and not by us: what somebody wants.
    fn their_edit(&mut self, turn: &mut Turn<'_>, system: &System, r: &mut Replica, field: &Field, before: &Value, value: &Value) {
        if self.deleted {
            return;
        }
        // The last look did not show it yet: a lower bound.
        let bound = if holds(Rule::LastLookAsBound) { r.look } else { 0 };
        let evidence = r.evidence(field, value).unwrap_or(Evidence { time: bound, event_id: None });
        let (golden, version) = (self.golden_value(field), self.golden_version(field));
        if value == golden {
            if let Some(golden) = self.golden.get_mut(field) {
                golden.time = golden.time.max(evidence.time);
            }
            r.shows.insert(field.clone(), version);
            return;
        }
        let showed_golden = before == golden || r.rendered.get(field).is_some_and(|it| it.sent == *golden && it.shown == *before);
        let on_top = showed_golden && (r.shows(field) == version || !holds(Rule::GoldenVersion));
        let external_id = r.external_id.clone();
        let mut theirs = Theirs { system, external_id: &external_id, field, value, evidence };
        if on_top {
            if holds(Rule::GoldenTimePlusOne) {
                let replaced = self.golden.get(field).map_or(0, |g| g.time + 1);
                theirs.evidence.time = theirs.evidence.time.max(replaced);
            }
            let by = if self.golden.contains_key(field) { ChosenBy::Edit } else { ChosenBy::First };
            self.choose(&theirs, by);
            r.shows.insert(field.clone(), self.golden_version(field));
            self.flap_guard(turn, &theirs);
        } else {
            let shows = self.conflict(turn, &theirs, ConflictKind::Edits);
            r.shows.insert(field.clone(), shows);
        }
    }

    /// The value is golden from now on.
    pub(super) fn choose(&mut self, theirs: &Theirs<'_>, chosen_by: ChosenBy) {
        self.choices += 1;
        let golden = Golden {
            value: theirs.value.clone(),
            time: theirs.evidence.time,
            system: theirs.system.clone(),
            version: self.choices,
            external_id: theirs.external_id.clone(),
            event_id: theirs.evidence.event_id.clone(),
            chosen_by,
        };
        self.golden.insert(theirs.field.clone(), golden);
        self.release_held(theirs.field, theirs.value);
    }

    /// Two values, neither made on top of the other: the field's rule picks, and both are recorded. Gives the version of
    /// golden that the record shows: golden's if theirs won, else one that is nobody's.
    pub(super) fn conflict(&mut self, turn: &mut Turn<'_>, theirs: &Theirs<'_>, kind: ConflictKind) -> i64 {
        let Some(golden) = self.golden.get(theirs.field).cloned() else {
            // Golden of no system: nobody to be in conflict with.
            self.choose(theirs, ChosenBy::First);
            return self.choices;
        };
        let rule = turn.config.rule(theirs.field);
        let theirs_win = theirs_win(turn.config, rule, theirs, &golden);
        let contenders = (contender(theirs), contender_of(&golden));
        let (winner, loser) = if theirs_win { contenders } else { (contenders.1, contenders.0) };
        self.record(
            turn,
            Conflict {
                field: Some(theirs.field.clone()),
                rule: Some(rule.name().into()),
                winner: Some(winner),
                loser: Some(loser),
                ..Conflict::new(kind, theirs.system, Some(theirs.external_id))
            },
        );
        if theirs_win {
            let by = match rule {
                MergeRule::LastWriterWins => ChosenBy::LastWriterWins,
                MergeRule::SystemOfRecord(_) => ChosenBy::SystemOfRecord,
            };
            self.choose(theirs, by);
        } else {
            self.choices += 1;
        }
        self.choices
    }

    /// Puts a conflict on record, under an id made from state.
    pub(super) fn record(&mut self, turn: &mut Turn<'_>, conflict: Conflict) {
        self.conflicts += 1;
        let Conflict { kind, system, external_id, field, rule, winner, loser, detail } = conflict;
        turn.effects.push(super::Effect::Conflict(Box::new(CustomerConflict {
            id: format!("{}:{}", self.id, self.conflicts),
            kind,
            customer_id: self.id,
            system,
            external_id,
            field,
            at: turn.now,
            rule,
            winner,
            loser,
            detail,
        })));
    }
}

/// What goes on record.
pub(super) struct Conflict {
    pub kind: ConflictKind,
    pub system: System,
    pub external_id: Option<ExternalId>,
    pub field: Option<Field>,
    pub rule: Option<String>,
    pub winner: Option<Contender>,
    pub loser: Option<Contender>,
    pub detail: Option<String>,
}

impl Conflict {
    pub fn new(kind: ConflictKind, system: &System, external_id: Option<&ExternalId>) -> Self {
        Conflict {
            kind,
            system: system.clone(),
            external_id: external_id.cloned(),
            field: None,
            rule: None,
            winner: None,
            loser: None,
            detail: None,
        }
    }
}

fn contender(theirs: &Theirs<'_>) -> Contender {
    let Theirs { system, value, evidence, .. } = theirs;
    Contender { value: (*value).clone(), system: (*system).clone(), edited_at: evidence.time, event_id: evidence.event_id.clone() }
}

pub(super) fn contender_of(golden: &Golden) -> Contender {
    Contender { value: golden.value.clone(), system: golden.system.clone(), edited_at: golden.time, event_id: golden.event_id.clone() }
}

/// Whether theirs beats golden by the field's rule. Deterministic, and the same whichever of the two came first.
fn theirs_win(config: &Config, rule: &MergeRule, theirs: &Theirs<'_>, golden: &Golden) -> bool {
    if let MergeRule::SystemOfRecord(systems) = rule {
        let (t, g) = (place(systems, theirs.system), place(systems, &golden.system));
        if t != g {
            return t < g;
        }
    }
    // A greater priority is an earlier place, hence the order of the second pair.
    let (t, g) = (config.priority_of(theirs.system), config.priority_of(&golden.system));
    (theirs.evidence.time, g, !theirs.value.is_empty(), theirs.value) > (golden.time, t, !golden.value.is_empty(), &golden.value)
}

/// A snapshot's values, as far as the system maps them. An absent field has no value.
pub(super) fn mapped(config: &Config, system: &System, fields: CustomerFields) -> Values {
    let Some(mapping) = config.system(system).map(|s| &s.mapping) else { return Values::new() };
    let CustomerFields { name, email, phone, address, attributes } = fields;
    let own = [(Field::Name, name.into()), (Field::Email, email.into()), (Field::Phone, phone.into()), (Field::Address, address.into())];
    let attributes = attributes.into_iter().map(|(key, value)| (Field::attribute(key), Value::from(value)));
    own.into_iter().chain(attributes).filter(|(field, value)| !value.is_empty() && mapping.maps(field)).collect()
}

/// The mapped fields that show something else than base, with what they show.
fn differing(config: &Config, system: &System, base: &Values, shown: &Values) -> Vec<(Field, Value)> {
    if base == shown {
        return Vec::new();
    }
    let gone = base.keys().filter(|f| !shown.contains_key(f) && config.maps(system, f)).map(|f| (f.clone(), Value::Empty));
    let new = shown.iter().filter(|(f, v)| value_of(base, f) != *v).map(|(f, v)| (f.clone(), v.clone()));
    let mut all: Vec<_> = gone.chain(new).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}
