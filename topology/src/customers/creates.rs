//! (20) Creates: a customer's record in a system that has none, made once.

use super::{
    Effect, SystemConfig,
    merge::{Conflict, Turn},
    state::{Call, Creates, Customer, Pause, RING, Refusal, Write, forget_eldest},
    writes::{Due, refused_of},
};
use schemas::{Action, Answer, Attempt, ConflictKind, Create, Field, Outcome, Rule, SortedMap, System, Values, holds};
use std::collections::BTreeSet;

impl Customer {
    /// There is no record in this imported, writable system: one is asked for, unless one is being made.
    pub(super) fn create(&mut self, turn: &mut Turn<'_>, config: &SystemConfig, due: &mut Due) {
        if self.deleted || self.is_new() || (self.contested && holds(Rule::ContestedMakeNothing)) {
            return;
        }
        let none = || Creates { number: turn.config.first_number, ..Creates::default() };
        let mut creates = self.creates.remove(&config.name).unwrap_or_else(none);
        if let Some(create) = self.attempt(turn, config, &mut creates, due) {
            let key = self.id.to_string();
            turn.effects.push(Effect::Request { system: config.name.clone(), key, action: Action::Create(create) });
        }
        self.creates.insert(config.name.clone(), creates);
    }

    fn attempt(&self, turn: &Turn<'_>, config: &SystemConfig, creates: &mut Creates, due: &mut Due) -> Option<Create> {
        let is_put_off = |due: &mut Due, pause: Option<Pause>| pause.is_some() && !due.is_over(pause, turn.now);
        if creates.out.is_some() || is_put_off(due, creates.held) {
            return None;
        }
        let mut set = Values::new();
        let mut versions = SortedMap::new();
        for (field, golden) in self.golden.iter().filter(|(f, _)| config.mapping.maps(f)) {
            if creates.refused.get(field).is_none_or(|it| it.value != golden.value) {
                set.insert(field.clone(), golden.value.clone());
                versions.insert(field.clone(), golden.version);
            }
        }
        if creates.refused_body.as_ref() == Some(&set) {
            return None;
        }
        let id = match creates.attempts.last() {
            // The same body again is the same attempt.
            Some(last) if is_of(last.id, creates.number) && last.set == set && last.versions == versions => last.id,
            _ => {
                let id = Call(Attempt::Create { number: creates.number as u64, body: creates.bodies as u64 });
                creates.bodies += 1;
                let told = BTreeSet::new();
                let (set, expected) = (set.clone(), Values::new());
                creates.attempts.push(Write { id, set, expected, versions, look: 0, landed: false, told });
                forget_eldest(&mut creates.attempts, RING);
                id
            }
        };
        creates.out = Some(id);
        set.retain(|_, value| !value.is_empty());
        let id = self.write_id(&config.name, id);
        let key = if holds(Rule::SameCreateKey) { id.key() } else { id.to_string() };
        Some(Create { id, key, customer: self.id, set })
    }

    /// An answer that made no record. One to another attempt than the one out, or when a record is there, is ignored.
    pub(super) fn not_created(&mut self, turn: &mut Turn<'_>, system: &System, answer: &Answer) {
        let Some(mut creates) = self.creates.remove(system) else { return };
        let call = self.call(system, &answer.write_id);
        if creates.out.is_some() && creates.out == call {
            creates.out = None;
            if !self.deleted && !self.replicas.contains_key(system) {
                match answer.outcome {
                    Outcome::Held => creates.held = Some(Pause::next(creates.held, turn.now)),
                    Outcome::Refused => self.create_refused(turn, system, &mut creates, call, answer),
                    Outcome::Done | Outcome::MovedOn | Outcome::Gone => {}
                }
            }
        }
        self.creates.insert(system.clone(), creates);
    }

    /// A new number from now on, and that field left out; where none is named, nothing until golden changes.
    fn create_refused(&mut self, turn: &mut Turn<'_>, system: &System, creates: &mut Creates, call: Option<Call>, answer: &Answer) {
        creates.number += 1;
        creates.bodies = 0;
        creates.held = None;
        let Some(set) = creates.attempts.iter().rev().find(|w| Some(w.id) == call).map(|w| w.set.clone()) else { return };
        let reason = answer.reason.clone().unwrap_or_default();
        let named: Option<&Field> = answer.refused_field.as_ref().filter(|f| set.get(f).is_some_and(|v| !v.is_empty()));
        if named.is_some() {
            for (field, value) in refused_of(&set, named) {
                let pause = answer.taken.then(|| Pause::next(None, turn.now));
                creates.refused.insert(field.clone(), Refusal { value: value.clone(), reason: reason.clone(), pause });
                self.record_refused(turn, Conflict::new(ConflictKind::Refused, system, None), field, value, &reason);
            }
        } else {
            creates.refused_body = Some(set);
            let conflict = Conflict::new(ConflictKind::Refused, system, None);
            self.record(turn, Conflict { detail: Some(reason), ..conflict });
        }
    }
}

fn is_of(call: Call, number: i64) -> bool {
    matches!(call.0, Attempt::Create { number: n, .. } if n == number as u64)
}
