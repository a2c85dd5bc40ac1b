//! The simulated systems. Each acts on the one [`History`](crate::history::History) and says what it noticed.

pub mod crm;
pub mod people;
pub mod product;
pub mod salesforce;
pub mod stripe;

use crate::{
    history::{RecordNo, Who},
    plan::{CRM, PRODUCT, SALESFORCE, STRIPE},
    values,
    world::{Event, World},
};
use connect::{Refusal, Seen};
use schemas::{Change, Millis, Notice, Previous, Value, Values};

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    Created,
    Updated,
    Deleted,
    Revived,
}

impl World {
    /// The time by a system's own clock.
    pub fn local(&self, system: usize) -> Millis {
        self.now + self.plan.settings.systems[system].clock
    }

    /// Values by the number of their field, as the system would store them.
    pub fn rendered(&self, system: usize, values: &Values) -> Vec<(usize, Value)> {
        let settings = &self.plan.settings.systems[system];
        let render = |(field, value): (&schemas::Field, &Value)| {
            let index = values::index(field);
            (index, settings.rendering[index].apply(value))
        };
        values.iter().map(render).collect()
    }

    /// A constraint of the system that these values would break.
    pub fn violation(&self, system: usize, record: Option<RecordNo>, set: &[(usize, Value)]) -> Option<Refusal> {
        let settings = &self.plan.settings.systems[system];
        let refusal =
            |field: usize, reason: &str, taken| Some(Refusal { field: Some(values::field(field)), reason: reason.to_owned(), taken });
        for (field, value) in set {
            let text = value.as_text().unwrap_or("x");
            match field {
                0 if settings.name_required && text.trim().is_empty() => return refusal(0, "required", false),
                2 if settings.picky_phone && odd_number(text) => return refusal(2, "not a phone number", false),
                1 if settings.unique_email && !value.is_empty() => {
                    let email = schemas::normalise_email(text);
                    if self.history.live(system).any(|(n, r)| Some(n) != record && r.email() == email) {
                        return refusal(1, "taken", true);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Changes a record's fields, which the system notices. Gives what changed, with the value before.
    pub fn change(
        &mut self,
        record: RecordNo,
        set: &[(usize, Value)],
        who: &Who,
        expected: Option<&[(usize, Value)]>,
    ) -> Vec<(usize, Value)> {
        let system = self.history.records[record].system;
        let changed = self.history.set(record, set, who, self.now, expected);
        let local = self.local(system);
        let r = &mut self.history.records[record];
        r.modified = local;
        r.modified_by_us = who.ours();
        if self.tracing {
            let id = self.history.records[record].id.clone();
            let what: Vec<String> = changed
                .iter()
                .map(|(f, b)| format!("{}: {b:?} -> {:?}", values::field(*f), self.history.records[record].values[*f]))
                .collect();
            self.trace(format!("{} {id}: {who} sets {}", crate::plan::NAMES[system], what.join(", ")));
        }
        self.noticed(record, &changed, Happened::Updated, who);
        if who.ours() {
            for (field, _) in &changed {
                self.automate(record, *field);
            }
        }
        changed
    }

    /// A person's or a system's own rule may rewrite what we wrote.
    fn automate(&mut self, record: RecordNo, field: usize) {
        let system = self.history.records[record].system;
        if let Some(left) = self.automations.get_mut(&(system, field)).filter(|left| **left > 0) {
            *left -= 1;
            let after = self.dice.actions.between(0, 1_500);
            self.schedule(after, Event::Rewrite { record, field });
        }
    }

    pub fn rewrite(&mut self, record: RecordNo, field: usize) {
        let r = &self.history.records[record];
        if !r.live() {
            return;
        }
        let system = r.system;
        let value = values::typed(&values::field(field), 9000 + system as u32 * 10 + field as u32, false);
        let value = self.plan.settings.systems[system].rendering[field].apply(&value);
        if field != 1 && self.violation(system, Some(record), &[(field, value.clone())]).is_none() {
            self.change(record, &[(field, value)], &Who::Automation, None);
        }
    }

    pub fn remove(&mut self, record: RecordNo, who: &Who) {
        self.history.delete(record, who, self.now);
        let r = &self.history.records[record];
        if self.tracing {
            let line = format!("{} {}: {who} deletes", crate::plan::NAMES[r.system], r.id);
            self.trace(line);
        }
        self.noticed(record, &[], Happened::Deleted, who);
    }

    /// The system's own way to tell what changed.
    pub fn noticed(&mut self, record: RecordNo, changed: &[(usize, Value)], happened: Happened, who: &Who) {
        match self.history.records[record].system {
            PRODUCT => self.product_trigger(record, changed, happened, who),
            STRIPE => self.stripe_event(record, changed, happened, who),
            SALESFORCE => self.salesforce_event(record, changed, happened, who),
            CRM => self.crm_publish(record),
            _ => {}
        }
    }

    /// A notice of these changes; `known`: with what was there before.
    pub fn notice(&mut self, record: RecordNo, changed: &[(usize, Value)], who: &Who, time: Millis, known: bool) -> Notice {
        self.events += 1;
        let r = &self.history.records[record];
        let mapped = &self.plan.settings.systems[r.system].mapped;
        let changes = changed
            .iter()
            .filter(|(field, _)| mapped[*field])
            .map(|(field, before)| Change {
                field: values::field(*field),
                previous: known.then(|| Previous { value: before.clone() }),
                new: r.values[*field].clone(),
            })
            .collect();
        let write_id = match who {
            Who::Ours(write) => Some(write.to_string()),
            _ => None,
        };
        Notice { event_id: format!("evt_{}", self.events), write_id, time, changes }
    }

    /// The record as the system shows it now.
    pub fn seen(&self, record: RecordNo, look: Millis, stamp: Option<Millis>) -> Seen {
        let r = &self.history.records[record];
        if !r.live() {
            return Seen::deleted(r.id.clone(), look);
        }
        Seen {
            id: r.id.clone(),
            look,
            fields: Some(r.fields(&self.plan.settings.systems[r.system].mapped)),
            concord_id: r.concord_id.clone(),
            mark: r.mark.clone(),
            created: second(r.created),
            stamp,
        }
    }
}

/// Cut to the second.
pub fn second(time: Millis) -> Millis {
    time.div_euclid(1000) * 1000
}

fn odd_number(text: &str) -> bool {
    let digits: String = text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse::<u64>().is_ok_and(|n| n % 2 == 1)
}
