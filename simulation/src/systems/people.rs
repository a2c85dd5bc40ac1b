//! What people do, and what our calls share: making records, finding them.

use super::{Happened, second};
use crate::{
    history::{Record, RecordNo, Who},
    plan::{Act, Moment, PRODUCT, SALESFORCE, STRIPE, Typing},
    values,
    world::World,
};
use connect::{Reply, Seen};
use schemas::{ExternalId, Millis, Value, WriteId};

impl World {
    /// A record of ours is made.
    pub fn make(&mut self, system: usize, id: ExternalId, set: &[(usize, Value)], write: &WriteId) -> RecordNo {
        let mut values: [Value; 5] = Default::default();
        for (field, value) in set {
            values[*field] = value.clone();
        }
        let person = self.person_of(&write.customer);
        let who = Who::Ours(write.clone());
        let local = self.local(system);
        let record = self.history.create(system, id, person, values, who.clone(), self.now, local);
        self.history.records[record].concord_id = Some(write.customer.to_string());
        self.history.records[record].mark = Some(write.to_string());
        if self.tracing {
            let line = format!("{} {}: {who} creates {:?}", crate::plan::NAMES[system], self.history.records[record].id, set);
            self.trace(line);
        }
        let changed: Vec<(usize, Value)> = set.iter().filter(|(_, v)| !v.is_empty()).map(|(f, _)| (*f, Value::Empty)).collect();
        self.noticed(record, &changed, Happened::Created, &who);
        record
    }

    /// The records that a call finds, as the system shows them; the newest first.
    pub fn found(&self, system: usize, date: Millis, wanted: impl Fn(&Record) -> bool, deleted: bool) -> Reply {
        let stamp = |r: &Record| (system == SALESFORCE).then(|| second(r.modified));
        let found = self.history.records.iter().enumerate().rev();
        let found =
            found.filter(|(n, r)| r.system == system && (r.live() || deleted) && self.history.find(system, &r.id) == Some(*n) && wanted(r));
        Reply::Found(
            found
                .map(|(n, r)| {
                    let seen = self.seen(n, date, stamp(r));
                    if r.live() { seen } else { Seen { concord_id: r.concord_id.clone(), mark: r.mark.clone(), ..seen } }
                })
                .collect(),
        )
    }

    /// A page of the list: three records.
    pub fn page(&self, system: usize, page: &str, date: Millis) -> Reply {
        let start = page.parse::<usize>().unwrap_or(0);
        let (mut seen, mut at) = (Vec::new(), 0);
        for (n, r) in self.history.live(system) {
            if at >= start && seen.len() < 3 {
                seen.push(self.seen(n, date, (system == SALESFORCE).then(|| second(r.modified))));
            }
            at += 1;
        }
        Reply::Found(seen)
    }

    /// The record that an action means: this person's if there is one, else any.
    pub fn picked(&self, system: usize, pick: usize) -> Option<RecordNo> {
        let live: Vec<RecordNo> = self.history.live(system).map(|(n, _)| n).collect();
        let own: Vec<RecordNo> = live.iter().copied().filter(|n| self.history.records[*n].person == pick).collect();
        own.last().copied().or_else(|| live.get(pick % live.len().max(1)).copied())
    }

    fn typed(&mut self, record: Option<RecordNo>, field: usize, typing: Typing) -> Value {
        self.typed += 1;
        let name = values::field(field);
        let fresh = values::typed(&name, self.typed, false);
        let Some(record) = record else { return fresh };
        match typing {
            Typing::New => fresh,
            Typing::Spaced => values::typed(&name, self.typed, true),
            Typing::Clear => Value::Empty,
            Typing::Email(person) => values::email(person, false),
            Typing::Back => {
                let last = self.history.changes.iter().rev().find(|c| c.record == record && c.field == field);
                last.map_or(fresh, |change| change.before.clone())
            }
            Typing::Recase => match &self.history.records[record].values[field] {
                Value::Text(text) => {
                    let upper = text.to_uppercase();
                    if upper == **text { text.to_lowercase().into() } else { upper.into() }
                }
                _ => fresh,
            },
        }
    }

    /// A person changes fields of a record, if the system lets them.
    pub fn person_edits(&mut self, record: RecordNo, set: Vec<(usize, Value)>) {
        let r = &self.history.records[record];
        let system = r.system;
        let settings = &self.plan.settings.systems[system];
        let set: Vec<(usize, Value)> = set
            .into_iter()
            .map(|(field, value)| (field, settings.rendering[field].apply(&value)))
            .filter(|(field, value)| r.values[*field] != *value)
            .collect();
        if !set.is_empty() && self.violation(system, Some(record), &set).is_none() {
            self.change(record, &set, &Who::Person, None);
        }
    }

    fn person_creates(&mut self, system: usize, id: ExternalId, person: usize, fields: &[bool; 5], cased: bool) {
        let mut set = Vec::new();
        for (field, given) in fields.iter().enumerate() {
            if *given {
                self.typed += 1;
                let value = if field == 1 { values::email(person, cased) } else { values::typed(&values::field(field), self.typed, false) };
                set.push((field, self.plan.settings.systems[system].rendering[field].apply(&value)));
            }
        }
        let mut whole: [Value; 5] = Default::default();
        for (field, value) in set {
            whole[field] = value;
        }
        let all: Vec<(usize, Value)> = whole.iter().cloned().enumerate().collect();
        if self.violation(system, None, &all).is_some() {
            return;
        }
        let local = self.local(system);
        let record = self.history.create(system, id, person, whole, Who::Person, self.now, local);
        if self.tracing {
            let r = &self.history.records[record];
            let line = format!("{} {}: a person creates {:?}", crate::plan::NAMES[system], r.id, r.fields(&[true; 5]));
            self.trace(line);
        }
        let changed: Vec<(usize, Value)> = all.into_iter().filter(|(_, v)| !v.is_empty()).map(|(f, _)| (f, Value::Empty)).collect();
        self.noticed(record, &changed, Happened::Created, &Who::Person);
    }

    /// Something that was deleted comes back: in the product another row under the old key, elsewhere an undelete.
    fn person_revives(&mut self, system: usize, pick: usize, person: usize) {
        let dead: Vec<RecordNo> = (0..self.history.records.len())
            .filter(|n| {
                let r = &self.history.records[*n];
                r.system == system && !r.live() && self.history.find(system, &r.id) == Some(*n)
            })
            .collect();
        let Some(&old) = dead.get(pick % dead.len().max(1)) else { return };
        let before = self.history.records[old].clone();
        if system == PRODUCT {
            return self.person_creates(system, before.id, person, &[true, true, false, false, true], false);
        }
        if system == STRIPE {
            return; // what is deleted there never comes back
        }
        let all: Vec<(usize, Value)> = before.values.iter().cloned().enumerate().collect();
        let unique = |w: &World| before.concord_id.is_none() || !w.history.live(system).any(|(_, r)| r.concord_id == before.concord_id);
        if self.violation(system, None, &all).is_some() || !unique(self) {
            return;
        }
        let local = self.local(system);
        let record = self.history.create(system, before.id, before.person, before.values, Who::Revival, self.now, local);
        let r = &mut self.history.records[record];
        (r.concord_id, r.mark, r.created) = (before.concord_id, before.mark, before.created);
        if self.tracing {
            let line = format!("{} {}: a person undeletes it", crate::plan::NAMES[system], self.history.records[record].id);
            self.trace(line);
        }
        self.noticed(record, &[], Happened::Revived, &Who::Revival);
    }

    /// Strikes where an ambush lies: our call is about to change, or has just changed, this record.
    pub fn ambush(&mut self, system: usize, id: &str, moment: Moment) {
        let Some(at) = self.ambushes.iter().position(|a| a.system == system && a.moment == moment) else { return };
        let Some(record) = self.history.find(system, &ExternalId::new(id)).filter(|n| self.history.records[*n].live()) else { return };
        let ambush = self.ambushes.remove(at);
        if ambush.delete {
            self.remove(record, &Who::Person);
        } else {
            let value = self.typed(Some(record), ambush.field, ambush.typing);
            self.person_edits(record, vec![(ambush.field, value)]);
        }
    }

    /// One action of the plan.
    pub fn act(&mut self, act: &Act) {
        if self.tracing {
            self.trace(format!("act {act:?}"));
        }
        if self.is_down() && matches!(act, Act::CrashRunner { .. } | Act::CrashSource { .. } | Act::Stop { .. }) {
            return;
        }
        match act.clone() {
            Act::Create { system, person, fields, cased } => {
                self.people_made += 1;
                let id = match system {
                    PRODUCT => format!("row{}", self.people_made),
                    STRIPE => format!("cus_{}", self.people_made),
                    SALESFORCE => format!("003{}", self.people_made),
                    _ => format!("crm{}", self.people_made),
                };
                self.person_creates(system, ExternalId::new(id), person, &fields, cased);
            }
            Act::Edit { system, pick, field, typing, second } => {
                if let Some(record) = self.picked(system, pick) {
                    let mut set = vec![(field, self.typed(Some(record), field, typing))];
                    if let Some(second) = second.filter(|s| *s != field && *s != 1) {
                        set.push((second, self.typed(Some(record), second, Typing::New)));
                    }
                    self.person_edits(record, set);
                }
            }
            Act::Delete { system, pick } => {
                if let Some(record) = self.picked(system, pick) {
                    self.remove(record, &Who::Person);
                }
            }
            Act::Revive { system, pick, person } => self.person_revives(system, pick, person),
            Act::SwapEmails { system, pick, other } => {
                if let (Some(a), Some(b)) = (self.picked(system, pick), self.picked(system, other))
                    && a != b
                {
                    let (one, two) = (self.history.records[a].values[1].clone(), self.history.records[b].values[1].clone());
                    self.person_edits(a, vec![(1, Value::Empty)]);
                    self.person_edits(b, vec![(1, one)]);
                    self.person_edits(a, vec![(1, two)]);
                }
            }
            Act::Ambush { system, field, typing, moment, delete } => {
                self.ambushes.push(crate::world::Ambush { system, field, typing, moment, delete });
            }
            Act::CrashRunner { system: PRODUCT, partition, zombie } => self.sink_crash(partition % self.plan.settings.partitions, zombie),
            Act::CrashRunner { system, partition, zombie } => self.runner_crash(system, partition % self.plan.settings.partitions, zombie),
            Act::CrashSource { zombie } => self.crash_source(zombie),
            Act::Stop { lasts, reset } => self.stop(lasts, reset),
            Act::Replay { system, count } => self.replay_results(system, count),
            Act::Outage { system, lasts } => self.outages[system] = self.now + lasts,
            Act::Slow { system, by } => self.slow[system] = by,
            Act::Rumour { system, pick } => {
                if let Some(record) = self.picked(system, pick) {
                    let id = self.history.records[record].id.to_string();
                    self.publish(system, &id, &schemas::SourceCustomer::default());
                }
            }
            Act::Sweep { system } => self.sweep(system),
            Act::Automation { system, field, times } => {
                self.automations.insert((system, field), times);
            }
        }
    }
}
