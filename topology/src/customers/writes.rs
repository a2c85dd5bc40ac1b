//! (19, 21, 22) Writes: what each record is asked to show, level-triggered, one at a time.

use super::{
    Effect, SystemConfig,
    merge::{Conflict, Turn, contender_of},
    state::{Call, Customer, InFlight, Pause, Refusal, Replica, Write},
};
use schemas::{Action, Answer, Attempt, ConflictKind, Contender, Delete, Field, Outcome, Rule, System, Value, Values, holds};
use std::collections::BTreeSet;

impl Customer {
    /// What must be said to each record now. Gives the next time at which something that is put off is due.
    pub(super) fn writes(&mut self, turn: &mut Turn<'_>, imported: &BTreeSet<System>) -> Option<i64> {
        let mut due = Due(None);
        for config in turn.config.systems.iter().filter(|s| s.is_writable()) {
            match self.replicas.remove(&config.name) {
                Some(mut r) => {
                    if !r.deleted && r.in_flight.is_none() {
                        if self.deleted { self.delete(turn, config, &mut r, &mut due) } else { self.write(turn, config, &mut r, &mut due) }
                    }
                    self.replicas.insert(config.name.clone(), r);
                }
                None if imported.contains(&config.name) => self.create(turn, config, &mut due),
                None => {}
            }
        }
        due.0
    }

    fn write(&mut self, turn: &mut Turn<'_>, config: &SystemConfig, r: &mut Replica, due: &mut Due) {
        let set = self.differences(turn, config, r, due);
        if set.is_empty() {
            return;
        }
        let id = self.next_call();
        let expected: Values = set.keys().map(|f| (f.clone(), r.base(f).clone())).collect();
        let versions = set.keys().map(|f| (f.clone(), self.golden_version(f))).collect();
        // One that was given up may land at any time. A look that sees its mark knows it; a write would cover the mark.
        let in_doubt = r.ring.iter().any(|w| !w.landed) && holds(Rule::LookAfterDoubt);
        let request = schemas::Write {
            id: self.write_id(&config.name, id),
            customer: self.id,
            incarnation: r.incarnation,
            set: set.clone(),
            expected: expected.clone(),
            mark: r.mark(self.id, &config.name),
            after: if in_doubt { 0 } else { r.order },
            stamp: r.stamp,
            settled: r.settled,
        };
        r.remember(Write { id, set, expected, versions, look: r.look, landed: false, told: BTreeSet::new() });
        r.in_flight = Some(InFlight { id, delete: false });
        let key = r.external_id.as_str().into();
        turn.effects.push(Effect::Request { system: config.name.clone(), key, action: Action::Write(request) });
    }

    /// The mapped fields in which golden differs from base: less renderings, refused values and held fields.
    fn differences(&self, turn: &Turn<'_>, config: &SystemConfig, r: &Replica, due: &mut Due) -> Values {
        let golden = self.golden.iter().map(|(f, g)| (f, &g.value)).filter(|(f, v)| *v != r.base(f));
        // Shown, and never chosen by anybody: cleared (a record of ours that nobody knows the values of).
        let unknown = r.base.keys().filter(|f| !self.golden.contains_key(*f)).map(|f| (f, &Value::Empty));
        golden
            .chain(unknown)
            .filter(|(f, golden)| {
                config.mapping.maps(f)
                    && !r.renders(f, golden)
                    && !self.held.contains(*f)
                    && r.refused.get(*f).is_none_or(|it| it.value != **golden || due.is_over(it.pause, turn.now))
            })
            .map(|(f, v)| (f.clone(), v.clone()))
            .collect()
    }

    fn delete(&mut self, turn: &mut Turn<'_>, config: &SystemConfig, r: &mut Replica, due: &mut Due) {
        if !self.delete_wanted.contains(&config.name) || (r.delete_pause.is_some() && !due.is_over(r.delete_pause, turn.now)) {
            return;
        }
        let call = self.next_call();
        r.in_flight = Some(InFlight { id: call, delete: true });
        let action = Action::Delete(Delete { id: self.write_id(&config.name, call), customer: self.id, incarnation: r.incarnation });
        let key = r.external_id.as_str().into();
        turn.effects.push(Effect::Request { system: config.name.clone(), key, action });
    }

    fn next_call(&mut self) -> Call {
        self.n += 1;
        Call(Attempt::Write(self.n as u64))
    }

    /// The outcome of the request in flight is known.
    pub(super) fn answered(&mut self, turn: &mut Turn<'_>, system: &System, r: &mut Replica, answer: &Answer) {
        let Some(InFlight { id, delete }) = r.in_flight.take() else { return };
        if answer.outcome != Outcome::Refused {
            return;
        }
        let reason = answer.reason.clone().unwrap_or_default();
        if delete {
            r.delete_pause = Some(Pause::next(r.delete_pause, turn.now));
            if r.delete_pause.is_some_and(|p| p.times == 1) {
                let conflict = Conflict::new(ConflictKind::DeleteRefused, system, Some(&r.external_id));
                self.record(turn, Conflict { detail: Some(reason), ..conflict });
            }
            return;
        }
        let Some(set) = r.ring.iter().find(|w| w.id == id).map(|w| w.set.clone()) else { return };
        for (field, value) in refused_of(&set, answer.refused_field.as_ref()) {
            let before = r.refused.get(field).filter(|it| it.value == *value);
            let again = before.is_some();
            let pause = answer.taken.then(|| Pause::next(before.and_then(|it| it.pause), turn.now));
            r.refused.insert(field.clone(), Refusal { value: value.clone(), reason: reason.clone(), pause });
            if !again {
                let conflict = Conflict::new(ConflictKind::Refused, system, Some(&r.external_id));
                self.record_refused(turn, conflict, field, value, &reason);
            }
        }
    }

    pub(super) fn record_refused(&mut self, turn: &mut Turn<'_>, conflict: Conflict, field: &Field, value: &Value, reason: &str) {
        let golden = self.golden.get(field).filter(|g| g.value == *value).map(contender_of);
        let loser =
            golden.or_else(|| Some(Contender { value: value.clone(), system: conflict.system.clone(), edited_at: 0, event_id: None }));
        self.record(turn, Conflict { field: Some(field.clone()), loser, detail: Some(reason.into()), ..conflict });
    }
}

/// The refused field with its value; every field that was set, where none is named or one that was not set.
pub(super) fn refused_of<'a>(set: &'a Values, named: Option<&Field>) -> Vec<(&'a Field, &'a Value)> {
    match named.and_then(|field| set.get_key_value(field)) {
        Some(one) => vec![one],
        None => set.iter().collect(),
    }
}

/// The earliest time at which something that is put off is due.
pub(super) struct Due(Option<i64>);

impl Due {
    /// Whether the pause is over; else its end is remembered. No pause never ends by itself.
    pub fn is_over(&mut self, pause: Option<Pause>, now: i64) -> bool {
        let Some(pause) = pause else { return false };
        if pause.due > now {
            self.0 = Some(self.0.map_or(pause.due, |due| due.min(pause.due)));
        }
        pause.due <= now
    }
}
