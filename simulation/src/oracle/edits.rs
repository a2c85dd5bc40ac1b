//! Edits: a person's value, no edit vanishes, on top wins, last writer.

use super::Scene;
use crate::{
    history::{Change, RecordNo, Who},
    plan::STRIPE,
    values,
};
use schemas::{ConflictKind, CustomerId, Value};

/// Why an edit is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outside {
    DeletedCustomer,
    Spare,
    Held,
    EmptyAtFirst,
    DeletedUnseen,
    ChangedBack,
    CoveredLost,
    TakenForRendering,
    /// Its record was never linked: it was deleted before.
    NeverLinked,
}

impl<'w> Scene<'w> {
    pub fn persons_values(&mut self) {
        for customer in self.customers.clone().values().filter(|c| !c.deleted) {
            for (field, golden) in &customer.golden {
                let index = values::index(field);
                if golden.version == 0 {
                    continue;
                }
                let set = self.edits(&customer.id, index).any(|c| c.after == golden.value);
                self.ensure(set, "a person's value", || format!("{} {field}: golden {:?} was set by nobody", customer.id, golden.value));
            }
        }
    }

    /// The seq of the next change of this field on this record, or of its death, and what it was.
    fn next_change(&self, edit: &Change) -> (u64, Option<&'w Change>) {
        let world = self.world;
        let next = world.history.changes.iter().find(|c| c.record == edit.record && c.field == edit.field && c.seq > edit.seq);
        let death = world.history.records[edit.record].died.as_ref().map_or(u64::MAX, |d| d.seq);
        match next {
            Some(next) if next.seq < death => (next.seq, Some(next)),
            _ => (death, None),
        }
    }

    fn looked_between(&self, record: RecordNo, from: u64, to: u64) -> bool {
        self.world.history.looks.iter().any(|l| l.record == record && l.seq >= from && l.seq < to)
    }

    /// What the last look before showed of the field; none if there was none.
    fn last_shown(&self, edit: &Change) -> Option<Value> {
        Some(self.value_at(edit.record, edit.field, self.last_look(edit)?))
    }

    /// When that look was. What our own create made is known without one.
    fn last_look(&self, edit: &Change) -> Option<u64> {
        let record = &self.world.history.records[edit.record];
        let looks = self.world.history.looks.iter().filter(|l| l.record == edit.record && l.seq < edit.seq).map(|l| l.seq);
        looks.max().or_else(|| record.born_by.ours().then_some(record.born_seq))
    }

    pub fn value_at(&self, record: RecordNo, field: usize, seq: u64) -> Value {
        let mut changes = self.world.history.changes.iter().filter(|c| c.record == record && c.field == field && c.seq <= seq);
        changes.next_back().map_or_else(|| self.world.history.records[record].born_values[field].clone(), |c| c.after.clone())
    }

    /// Whether an edit is outside of what is asked for.
    fn outside(&self, edit: &Change) -> Option<Outside> {
        let world = self.world;
        let record = &world.history.records[edit.record];
        let linked = &self.linked[edit.record];
        if self.spares.contains(&edit.record) {
            return Some(Outside::Spare);
        }
        if linked.is_empty() {
            return Some(Outside::NeverLinked);
        }
        if linked.iter().all(|c| self.customers.get(c).is_none_or(|c| c.deleted)) {
            return Some(Outside::DeletedCustomer);
        }
        if linked.iter().any(|c| self.customers.get(c).is_some_and(|c| c.held.contains(&values::field(edit.field)))) {
            return Some(Outside::Held);
        }
        let (end, next) = self.next_change(edit);
        let seen = self.looked_between(edit.record, edit.seq, end);
        let last = self.last_shown(edit);
        if edit.after.is_empty() && last.is_none() && !record.born_by.ours() {
            return Some(Outside::EmptyAtFirst);
        }
        // It shows again what the last look showed: nobody can tell. (Not where our own write came between.)
        let ours_between = |from: u64| {
            world
                .history
                .changes
                .iter()
                .any(|c| c.record == edit.record && c.field == edit.field && c.who.ours() && c.seq > from && c.seq < edit.seq)
        };
        if last.as_ref() == Some(&edit.after) && !ours_between(self.last_look(edit).unwrap_or(0)) {
            return Some(Outside::ChangedBack);
        }
        let ours = world
            .history
            .changes
            .iter()
            .rev()
            .find(|c| c.record == edit.record && c.field == edit.field && c.seq < edit.seq && c.who.ours());
        if let Some(ours) = ours
            && !self.looked_between(edit.record, ours.seq, edit.seq)
            && self.could_be(&ours.after, &ours.who, edit)
        {
            return Some(Outside::TakenForRendering);
        }
        // Or put there just before a write of ours that came out alike.
        let next_look = world.history.looks.iter().filter(|l| l.record == edit.record && l.seq >= edit.seq).map(|l| l.seq).min();
        let alike = world.history.landings.iter().any(|landing| {
            let unseen = landing.record == edit.record && landing.seq > edit.seq && next_look.is_none_or(|look| landing.seq <= look);
            let sent = world.sent.get(&landing.write).and_then(|set| set.iter().find(|(f, _)| *f == edit.field));
            unseen
                && sent.is_some_and(|(_, sent)| {
                    !sent.is_empty() && self.render(record.system, edit.field, sent) == edit.after && *sent != edit.after
                })
        });
        if alike {
            return Some(Outside::TakenForRendering);
        }
        if seen {
            return None;
        }
        match next {
            None if end != u64::MAX => Some(Outside::DeletedUnseen),
            Some(next) if next.who.ours() && record.system == STRIPE => {
                let told = match &next.who {
                    Who::Ours(write) => !world.never_told.contains(&(edit.record, write.clone())),
                    _ => true,
                };
                // Its own record ended before our event came: nobody is left to tell.
                (!told).then_some(Outside::CoveredLost)
            }
            _ => None,
        }
    }

    /// A cleared field met a record that never had a value there: both empty, which counts as shown, and what is typed into that
    /// one next is on top of it.
    fn empty_elsewhere(&self, edit: &Change) -> bool {
        let world = self.world;
        self.linked[edit.record].iter().any(|customer| {
            self.edits(customer, edit.field).any(|typed| {
                let record = &world.history.records[typed.record];
                let first = world.history.changes.iter().find(|c| c.record == typed.record && c.field == edit.field);
                typed.record != edit.record
                    && typed.seq != record.born_seq
                    && !record.born_by.ours()
                    && first.is_some_and(|c| c.seq == typed.seq)
            })
        })
    }

    /// Whether an edit could be our value, cut off or re-cased by the system.
    fn could_be(&self, stored: &Value, who: &Who, edit: &Change) -> bool {
        let sent = match who {
            Who::Ours(write) => {
                self.world.sent.get(write).and_then(|set| set.iter().find(|(f, _)| *f == edit.field)).map(|(_, v)| v.clone())
            }
            _ => None,
        };
        let sent = sent.unwrap_or_else(|| stored.clone());
        let tidy = |text: &str| text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        match (&sent, &edit.after) {
            (Value::Text(sent), Value::Text(shown)) => tidy(sent).starts_with(&tidy(shown)),
            (Value::Address(sent), Value::Address(shown)) => {
                sent.lines().iter().zip(shown.lines()).all(|(sent, shown)| tidy(sent).starts_with(&tidy(shown)))
            }
            (Value::Text(sent), Value::Empty) => sent.trim().is_empty(),
            _ => false,
        }
    }

    fn count(&mut self, outside: Outside) {
        match outside {
            Outside::DeletedCustomer => self.counts.on_deleted += 1,
            Outside::Spare => self.counts.on_spares += 1,
            Outside::EmptyAtFirst => self.counts.empty_at_first += 1,
            Outside::DeletedUnseen | Outside::NeverLinked => self.counts.deleted_unseen += 1,
            Outside::ChangedBack => self.counts.changed_back += 1,
            Outside::CoveredLost => self.counts.covered_lost += 1,
            Outside::TakenForRendering => self.counts.taken_for_rendering += 1,
            Outside::Held => {}
        }
    }

    /// A value of this edit: as it is; the e-mail that a record was found by, also in another spelling.
    fn is_value(&self, edit: &Change, value: &Value) -> bool {
        if edit.after == *value {
            return true;
        }
        let norm = |v: &Value| schemas::normalise_email(v.as_text().unwrap_or_default());
        let born = edit.seq == self.world.history.records[edit.record].born_seq;
        let first = born || self.last_shown(edit).is_none();
        edit.field == 1 && first && norm(&edit.after) == norm(value)
    }

    fn on_record(&self, customer: &CustomerId, edit: &Change) -> bool {
        let field = values::field(edit.field);
        self.conflicts.iter().any(|c| {
            c.customer_id == *customer
                && c.field.as_ref() == Some(&field)
                && matches!(c.kind, ConflictKind::Edits | ConflictKind::Covered)
                && c.loser.as_ref().is_some_and(|l| self.is_value(edit, &l.value))
        })
    }

    fn superseded(&self, customer: &CustomerId, edit: &Change) -> bool {
        // Two edits to the same value are one: who edits one has seen both.
        let first = self.edits(customer, edit.field).filter(|e| self.is_value(edit, &e.after)).map(|e| e.seq).min().unwrap_or(edit.seq);
        self.edits(customer, edit.field).any(|later| {
            let system = self.world.history.records[later.record].system;
            later.seq > first && (self.is_value(edit, &later.before) || self.render(system, edit.field, &edit.after) == later.before)
        })
    }

    pub fn no_edit_vanishes(&mut self) {
        let world = self.world;
        for edit in world.history.changes.iter().filter(|c| matches!(c.who, Who::Person | Who::Automation)) {
            let system = world.history.records[edit.record].system;
            if !self.maps(system, edit.field) || !world.present(system) {
                continue;
            }
            self.counts.edits += 1;
            if let Some(next) = self.next_change(edit).1
                && next.who.ours()
                && next.covered
                && system == STRIPE
                && !self.looked_between(edit.record, edit.seq, next.seq)
            {
                self.counts.covered += 1;
            }
            if let Some(outside) = self.outside(edit) {
                self.count(outside);
                continue;
            }
            let customers = self.linked[edit.record].clone();
            let kept = customers.iter().filter_map(|c| self.customers.get(c)).any(|c| {
                let golden = c.golden_value(&values::field(edit.field));
                self.is_value(edit, golden) || self.superseded(&c.id, edit) || self.on_record(&c.id, edit)
            });
            let golden_renders = || {
                let golden = customers.iter().filter_map(|c| self.customers.get(c)).map(|c| c.golden_value(&values::field(edit.field)));
                golden.into_iter().any(|golden| !golden.is_empty() && self.same(system, edit.field, golden, &edit.after))
            };
            if !kept && golden_renders() {
                self.count(Outside::TakenForRendering);
                continue;
            }
            if !kept && edit.after.is_empty() && self.empty_elsewhere(edit) {
                self.count(Outside::EmptyAtFirst);
                continue;
            }
            let told = if kept { String::new() } else { self.tell(edit) };
            let golden: Vec<_> = customers.iter().filter_map(|c| self_golden(self, c, edit.field)).collect();
            self.ensure(kept, "no edit vanishes", || format!("{told}; golden {golden:?}"));
        }
    }

    /// Whoever made this edit saw the value: a person typed it there, or a write of ours set just this.
    fn saw(&self, edit: &Change, value: &Value) -> bool {
        let world = self.world;
        let system = world.history.records[edit.record].system;
        if !self.same(system, edit.field, value, &edit.before) {
            return false;
        }
        let before = world.history.changes.iter().rev().find(|c| c.record == edit.record && c.field == edit.field && c.seq < edit.seq);
        match before.map(|c| (&c.who, &c.after)) {
            // Another spelling that is shown alike here is another value.
            Some((Who::Ours(write), _)) => {
                let sent = world.sent.get(write).and_then(|set| set.iter().find(|(f, _)| *f == edit.field));
                sent.is_none_or(|(_, sent)| sent == value)
            }
            Some((_, after)) => after == value,
            None => true,
        }
    }

    pub fn on_top_wins(&mut self) {
        for customer in self.customers.clone().values().filter(|c| !c.deleted) {
            for index in 0..5 {
                let field = values::field(index);
                let golden = customer.golden_value(&field).clone();
                if golden.is_empty() || customer.held.contains(&field) {
                    continue;
                }
                let edits: Vec<&Change> = self.edits(&customer.id, index).collect();
                for edit in &edits {
                    let record = &self.world.history.records[edit.record];
                    let on_top = self.saw(edit, &golden) && edit.after != golden && edit.seq != record.born_seq;
                    if !on_top
                        || self.is_value(edit, &golden)
                        || self.spares.contains(&edit.record)
                        || edits.iter().any(|c| c.seq > edit.seq && c.after == golden)
                    {
                        continue;
                    }
                    let next_look =
                        self.world.history.looks.iter().filter(|l| l.record == edit.record && l.seq >= edit.seq).map(|l| l.seq).min();
                    let showed = next_look.map_or(edit.after.clone(), |seq| self.value_at(edit.record, index, seq));
                    // What was seen was set twice (or something that shows the same here was).
                    let settings = edits.iter().filter(|c| self.same(record.system, index, &c.after, &edit.before)).count();
                    // The value was set twice: this was an edit on the one before, and lost against the other.
                    let twice_set_and_lost = settings > 1
                        && (self.on_record(&customer.id, edit)
                            || self.superseded(&customer.id, edit)
                            || self.on_record(&customer.id, &Change { after: showed.clone(), ..(*edit).clone() }));
                    // Nobody looked before our write covered it, or before the record's end.
                    let unseen = {
                        let death = record.died.as_ref().map_or(u64::MAX, |d| d.seq);
                        let ours =
                            self.world.history.changes.iter().filter(|c| c.record == edit.record && c.field == index && c.who.ours());
                        let end = ours.map(|c| c.seq).filter(|s| *s > edit.seq).min().unwrap_or(u64::MAX).min(death);
                        end != u64::MAX && !self.looked_between(edit.record, edit.seq, end)
                    };
                    // What the next look showed is again what the last one had shown: nobody can tell.
                    let back = next_look.is_some() && showed == edit.before;
                    let outside = self.outside(edit).is_some() || back;
                    let text = self.tell(edit);
                    self.ensure(outside || unseen || twice_set_and_lost, "on top wins", || {
                        format!("{} {field}: golden is {golden:?}, but {text}", customer.id)
                    });
                }
            }
        }
    }

    pub fn last_writer(&mut self) {
        let settings = &self.world.plan.settings;
        let clocks: Vec<i64> = (0..4).filter(|s| settings.systems[*s].present).map(|s| settings.systems[s].clock).collect();
        let spread = clocks.iter().max().unwrap_or(&0) - clocks.iter().min().unwrap_or(&0);
        for customer in self.customers.clone().values().filter(|c| !c.deleted) {
            for index in 0..5 {
                let field = values::field(index);
                if customer.held.contains(&field) {
                    continue;
                }
                let golden = customer.golden_value(&field).clone();
                let edits: Vec<Change> = self.edits(&customer.id, index).filter(|c| !matches!(c.who, Who::Revival)).cloned().collect();
                let inside = edits.iter().filter(|e| self.outside(e).is_none());
                let Some(last) = inside.max_by_key(|c| c.seq) else { continue };
                let golden_at = edits.iter().filter(|c| self.is_value(c, &golden)).map(|c| c.at).max().unwrap_or(i64::MIN);
                let fine = self.is_value(last, &golden)
                    || self.on_record(&customer.id, last)
                    || self.superseded(&customer.id, last)
                    || last.after.is_empty() && self.empty_elsewhere(last)
                    || golden_at + spread + 1000 >= last.at;
                let text = self.tell(last);
                self.ensure(fine, "last writer", || format!("{} {field}: golden {golden:?} is older than {text}", customer.id));
            }
        }
    }
}

fn self_golden(scene: &Scene<'_>, customer: &CustomerId, field: usize) -> Option<Value> {
    Some(scene.customers.get(customer)?.golden_value(&values::field(field)).clone())
}
