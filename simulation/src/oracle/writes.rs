//! Our writes: quiet, no flap.

use super::Scene;
use crate::{history::Change, values};
use schemas::Value;
use std::collections::BTreeMap;

impl Scene<'_> {
    /// Per record and field at most one effective write for each edit of the customer's, and one for the link.
    pub fn quiet(&mut self) {
        let world = self.world;
        for (customer, records) in self.records.clone() {
            for index in 0..5 {
                let edits = self.edits(&customer, index).count();
                for record in &records {
                    let written: Vec<&Change> = world
                        .history
                        .changes
                        .iter()
                        .filter(|c| {
                            c.record == *record && c.field == index && c.who.ours() && c.seq != world.history.records[*record].born_seq
                        })
                        .collect();
                    self.counts.writes += written.len() as u64;
                    let text = || written.iter().map(|c| self_tell(c)).collect::<Vec<_>>().join(", ");
                    let fine = written.len() <= edits + 1;
                    let line = if fine { String::new() } else { text() };
                    let name = self.name(*record);
                    self.ensure(fine, "quiet", || {
                        format!("{name} {}: {edits} edits, {} writes: {line}", values::field(index), written.len())
                    });
                }
            }
        }
    }

    /// Once all showed golden, after the last edit, no write of ours sets anything else.
    pub fn no_flap(&mut self) {
        let world = self.world;
        for customer in self.customers.clone().values().filter(|c| !c.deleted) {
            for index in 0..5 {
                let field = values::field(index);
                if customer.held.contains(&field) {
                    continue;
                }
                let golden = customer.golden_value(&field).clone();
                let last_edit = self.edits(&customer.id, index).map(|c| c.seq).max().unwrap_or(0);
                let records: Vec<usize> = self
                    .records
                    .get(&customer.id)
                    .into_iter()
                    .flatten()
                    .copied()
                    .filter(|r| {
                        let record = &world.history.records[*r];
                        record.live() && self.writable(record.system) && self.maps(record.system, index) && !self.spares.contains(r)
                    })
                    .collect();
                let mut shown: BTreeMap<usize, Value> = BTreeMap::new();
                for record in &records {
                    shown.insert(*record, self.value_at(*record, index, last_edit));
                }
                let all_show = |shown: &BTreeMap<usize, Value>, at: u64| {
                    shown.iter().all(|(r, v)| {
                        world.history.records[*r].born_seq <= at && self.same(world.history.records[*r].system, index, &golden, v)
                    })
                };
                // A value that was there before may be shown from then, while what came between is still on its way.
                let alike = |value: &Value| (0..4).any(|s| self.render(s, index, value) == self.render(s, index, &golden));
                let set = self.edits(&customer.id, index).filter(|c| alike(&c.after)).count();
                let last_at = self.edits(&customer.id, index).map(|c| c.at).max().unwrap_or(0);
                let strict_from = if set == 1 && !golden.is_empty() {
                    0
                } else {
                    last_at.max(world.outages.iter().copied().max().unwrap_or(0)) + if world.long_outage { 3_000_000 } else { 180_000 }
                };
                let mut settled = strict_from == 0 && all_show(&shown, last_edit);
                let mut wrong = Vec::new();
                let mut covering = 0;
                for change in world.history.changes.iter().filter(|c| c.seq > last_edit && c.field == index && records.contains(&c.record))
                {
                    let system = world.history.records[change.record].system;
                    if settled && change.who.ours() && !self.same(system, index, &golden, &change.after) {
                        if change.covered {
                            // What it covered comes back: it starts anew.
                            covering += 1;
                            settled = false;
                        } else {
                            wrong.push(self_tell(change));
                        }
                    }
                    shown.insert(change.record, change.after.clone());
                    settled |= change.at >= strict_from && all_show(&shown, change.seq);
                }
                self.counts.flap_by_covering += covering;
                self.ensure(wrong.is_empty(), "no flap", || format!("{} {field}: all showed {golden:?}, then {wrong:?}", customer.id));
            }
        }
    }
}

fn self_tell(change: &Change) -> String {
    format!("{} {:?} -> {:?} at {:.3}", change.who, change.before, change.after, (change.at - crate::world::START) as f64 / 1000.0)
}
