//! Records and links: linked, base, agree, claims, created and deleted, made once, nothing stuck.

use super::Scene;
use crate::{
    history::{Record, Who},
    plan::{CRM, NAMES, PRODUCT, SALESFORCE, STRIPE},
    values,
};
use std::collections::{BTreeMap, BTreeSet};
use topology::customers::state::value_of;

impl Scene<'_> {
    pub fn linked(&mut self) {
        let world = self.world;
        let mut holders: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for customer in self.customers.clone().values() {
            for (system, replica) in customer.live_replicas() {
                let number = self.number(system);
                match self.record_of(number, replica) {
                    Some(record) => holders.entry(record).or_default().push(format!("replica of {}", customer.id)),
                    None => self.fail("linked", format!("{}: its replica {system} {} is not live there", customer.id, replica.external_id)),
                }
            }
            for spare in customer.spares.iter().filter(|s| !s.deleted) {
                let number = self.number(&spare.system);
                if let Some(record) = world.history.find(number, &spare.external_id).filter(|r| world.history.records[*r].live()) {
                    holders.entry(record).or_default().push(format!("spare of {}", customer.id));
                }
            }
        }
        for (number, record) in world.history.records.iter().enumerate() {
            let held = holders.get(&number).cloned().unwrap_or_default();
            if record.live() {
                self.ensure(held.len() == 1, "linked", || format!("{} {} is {held:?}", NAMES[record.system], record.id));
            }
            if record.live() && world.history.records[number].system == PRODUCT {
                let linked = self.linked[number].clone();
                self.ensure(linked.len() <= 1, "linked", || format!("{} {} was linked to {linked:?}", NAMES[record.system], record.id));
            }
        }
        let mut links: BTreeMap<(usize, &str, i64), BTreeSet<schemas::CustomerId>> = BTreeMap::new();
        for (system, id, incarnation, customer, _) in &world.links {
            links.entry((*system, id.as_str(), *incarnation)).or_default().insert(*customer);
        }
        for ((system, id, incarnation), customers) in links {
            self.ensure(customers.len() == 1, "linked", || format!("{} {id}~{incarnation} was linked to {customers:?}", NAMES[system]));
        }
    }

    pub fn base_and_agree(&mut self) {
        let world = self.world;
        for customer in self.customers.clone().values() {
            for (system, replica) in customer.live_replicas() {
                let number = self.number(system);
                let Some(record) = self.record_of(number, replica) else { continue };
                let record_values = &world.history.records[record].values;
                for (index, shown) in record_values.iter().enumerate() {
                    if !self.maps(number, index) {
                        continue;
                    }
                    let field = values::field(index);
                    let base = value_of(&replica.base, &field);
                    self.ensure(base == shown, "base", || {
                        format!("{}: {system} {} {field}: base {base:?}, shows {shown:?}", customer.id, replica.external_id)
                    });
                    if customer.deleted || !self.writable(number) {
                        continue;
                    }
                    let golden = customer.golden_value(&field);
                    let refused = replica.refused.get(&field).is_some_and(|r| r.value == *golden);
                    let really = world.violation(number, Some(record), &[(index, self.render(number, index, golden))]).is_some();
                    let taken_for_ours = replica.renders(&field, golden);
                    if taken_for_ours && !self.same(number, index, golden, shown) {
                        self.counts.taken_for_rendering += 1;
                    }
                    let agrees =
                        self.same(number, index, golden, shown) || taken_for_ours || customer.held.contains(&field) || refused && really;
                    self.ensure(agrees, "agree", || {
                        format!(
                            "{}: {system} {} {field}: golden {golden:?}, shows {shown:?}, refused {refused} (really {really})",
                            customer.id, replica.external_id
                        )
                    });
                }
            }
        }
    }

    pub fn claims(&mut self) {
        let mut wanted: BTreeMap<String, BTreeSet<schemas::CustomerId>> = BTreeMap::new();
        for customer in self.customers.values().filter(|c| !c.deleted) {
            if let Some(email) = customer.golden_email() {
                wanted.entry(email).or_default().insert(customer.id);
            }
        }
        let emails: BTreeSet<String> = wanted.keys().chain(self.claimants.keys()).cloned().collect();
        for email in emails {
            let (want, have) = (wanted.get(&email).cloned().unwrap_or_default(), self.claimants.get(&email).cloned().unwrap_or_default());
            self.ensure(want == have, "claims", || format!("{email}: golden of {want:?}, claimed by {have:?}"));
        }
    }

    pub fn created_and_deleted(&mut self) {
        let world = self.world;
        for customer in self.customers.clone().values() {
            for number in [PRODUCT, STRIPE, SALESFORCE] {
                let system = &world.names[number];
                let replica = customer.replicas.get(system);
                if customer.deleted {
                    if let (true, Some(replica)) = (self.reached(number), replica) {
                        self.ensure(replica.deleted, "created, deleted", || format!("{} is deleted, and lives in {system}", customer.id));
                    }
                    continue;
                }
                if !self.writable(number) || customer.contested || customer.is_new() {
                    continue;
                }
                let spare = customer.spares.iter().any(|s| s.system == *system);
                let email = customer.golden_email();
                let somebodys = email.is_some()
                    && world
                        .history
                        .live(number)
                        .any(|(_, r)| r.email() == email && (!r.born_by.ours() || world.plan.settings.systems[number].unique_email));
                // Refused for what it is: each field refused on its own is left out, the rest still breaks a rule.
                let refused = customer.creates.get(system).is_some_and(|c| c.refused_body.is_some() || !c.refused.is_empty())
                    && self.refuses_body(number, customer);
                self.ensure(replica.is_some() || spare || somebodys || refused, "created, deleted", || {
                    format!("{} has no record in {system}: {:?}", customer.id, customer.creates.get(system))
                });
                // Somebody deleted one record, and the customer lives on although others were in reach.
                if let Some(replica) = replica.filter(|r| r.deleted) {
                    let death = world.history.find(number, &replica.external_id).and_then(|r| world.history.records[r].died.clone());
                    let outlived = death.filter(|d| d.by == Who::Person).is_some_and(|death| {
                        customer.live_replicas().any(|(s, live)| {
                            let other = self.number(s);
                            self.reached(other)
                                && world
                                    .links
                                    .iter()
                                    .any(|l| l.0 == other && l.1 == live.external_id && l.3 == customer.id && l.4 < death.at)
                                && world.history.find(other, &live.external_id).is_some_and(|r| world.history.records[r].born_at < death.at)
                        })
                    });
                    self.ensure(!outlived, "created, deleted", || {
                        format!("{} was deleted in {system}, and lives elsewhere in reach", customer.id)
                    });
                }
            }
            if customer.deleted {
                self.left_alone(customer.id);
            }
        }
    }

    /// Nothing was made beside somebody's record with the same e-mail, however it is spelt, that was there when the runner started:
    /// the catch-up had shown that one, so that it was linked.
    pub fn made_after_the_catch_up(&mut self) {
        let world = self.world;
        let records = &world.history.records;
        for (&made, &since) in world.made_since.iter().filter(|(made, _)| records[**made].system == STRIPE) {
            let twin = &records[made];
            let norm = |r: &Record| schemas::normalise_email(r.born_values[1].as_text()?);
            let Some(email) = norm(twin) else { continue };
            for (number, record) in records.iter().enumerate() {
                let there = record.system == STRIPE
                    && record.born_at < since
                    && record.died.as_ref().is_none_or(|died| died.seq > twin.born_seq)
                    && !record.born_by.ours()
                    && norm(record).as_ref() == Some(&email)
                    && !world.stripe.untold.contains(&number)
                    && !world
                        .history
                        .changes
                        .iter()
                        .any(|c| c.record == number && c.field == 1 && c.seq > record.born_seq && c.seq < twin.born_seq);
                if there {
                    let linked = world.links.iter().any(|l| l.0 == STRIPE && l.1 == record.id && l.4 <= twin.born_at);
                    self.ensure(linked, "created, deleted", || {
                        format!("{} was made in stripe beside {}, which was there before the start", twin.id, record.id)
                    });
                }
            }
        }
    }

    fn refuses_body(&self, system: usize, customer: &topology::customers::state::Customer) -> bool {
        let refused =
            customer.creates.get(&self.world.names[system]).map(|c| c.refused.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        let body: Vec<(usize, schemas::Value)> = values::fields()
            .iter()
            .enumerate()
            .filter(|(index, field)| self.maps(system, *index) && !refused.contains(field))
            .map(|(index, field)| (index, self.render(system, index, customer.golden_value(field))))
            .chain(refused.contains(&schemas::Field::Name).then_some((0, schemas::Value::Empty)))
            .collect();
        self.world.violation(system, None, &body).is_some()
    }

    /// No record of a deleted customer was changed by us, long after its delete.
    fn left_alone(&mut self, customer: schemas::CustomerId) {
        let world = self.world;
        let records = self.records.get(&customer).cloned().unwrap_or_default();
        let deleted = records.iter().filter_map(|r| world.history.records[*r].died.as_ref()).filter(|d| !d.by.ours()).map(|d| d.at).max();
        let Some(deleted) = deleted else { return };
        let until = world.outages.iter().copied().max().unwrap_or(0).max(world.down_until).max(deleted)
            + if world.long_outage { 3_000_000 } else { 300_000 };
        let late: Vec<String> = world
            .history
            .changes
            .iter()
            .filter(|c| c.who.ours() && c.at > until && records.contains(&c.record) && c.seq != world.history.records[c.record].born_seq)
            .map(|c| self.tell(c))
            .collect();
        self.ensure(late.is_empty(), "created, deleted", || format!("{customer} is deleted, and was written to: {late:?}"));
    }

    pub fn made_once(&mut self) {
        let world = self.world;
        let mut made: BTreeMap<(schemas::CustomerId, usize), Vec<usize>> = BTreeMap::new();
        for (number, record) in world.history.records.iter().enumerate() {
            if let Who::Ours(write) = &record.born_by {
                made.entry((write.customer, record.system)).or_default().push(number);
                let linked = self.linked[number].clone();
                self.ensure(linked.iter().all(|c| *c == write.customer), "made once", || {
                    format!("{} {} was made for {}, and is {linked:?}", NAMES[record.system], record.id, write.customer)
                });
            }
        }
        for ((customer, system), records) in made {
            // One that landed after its twin was deleted leaves a spare.
            let mut twice = false;
            for pair in records.windows(2) {
                let (first, second) = (&world.history.records[pair[0]], &world.history.records[pair[1]]);
                if first.died.as_ref().is_some_and(|d| d.at < second.born_at) {
                    self.counts.spares_left += 1;
                } else {
                    twice = true;
                }
            }
            self.ensure(!twice, "made once", || format!("{customer} was made {} times in {}", records.len(), NAMES[system]));
        }
        for customer in self.customers.values().filter(|c| c.deleted) {
            for (system, replica) in customer.live_replicas() {
                if self.number(system) != CRM && replica.ring.iter().any(|w| w.id.is_create()) {
                    self.counts.created_after_delete += 1;
                }
            }
        }
    }

    pub fn nothing_stuck(&mut self) {
        for customer in self.customers.clone().values() {
            for (system, replica) in &customer.replicas {
                // A value that somebody else has is asked for again now and then: such a request may be under way at any time.
                let taken = replica.refused.values().any(|r| r.pause.is_some());
                self.ensure(replica.in_flight.is_none() || taken, "nothing stuck", || {
                    format!("{}: {system} {}: {:?} is under way", customer.id, replica.external_id, replica.in_flight)
                });
            }
            for (system, creates) in &customer.creates {
                let stuck = creates.out.is_some() && !customer.deleted && !customer.replicas.contains_key(system) && creates.held.is_none();
                self.ensure(!stuck, "nothing stuck", || format!("{}: create in {system} {:?} is under way", customer.id, creates.out));
            }
        }
    }
}
