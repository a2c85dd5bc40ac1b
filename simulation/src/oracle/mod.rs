//! What must hold when everything is at rest: docs/protocol.md, section 6, line by line.
//!
//! Judged from the full history of every system and from what the topology's stores say. What is not asked of Concord is an
//! exclusion that sections 6 and 8 list; each one is counted.

mod edits;
mod records;
mod writes;

use crate::{
    history::{Change, RecordNo, Who},
    plan::{CRM, PRODUCT},
    values,
    world::World,
};
use schemas::{ConflictKind, CustomerConflict, CustomerId, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};
use streams::{StateBacking, StoreInstance};
use topology::customers::state::{Customer, Replica};

/// Everything that is judged, gathered once.
pub struct Scene<'w> {
    pub world: &'w World,
    pub customers: BTreeMap<CustomerId, Customer>,
    pub claimants: BTreeMap<String, BTreeSet<CustomerId>>,
    pub conflicts: Vec<CustomerConflict>,
    /// The customers that a record of the history was linked to: one, if all is well.
    pub linked: Vec<BTreeSet<CustomerId>>,
    /// The records of a customer, whatever became of them.
    pub records: BTreeMap<CustomerId, Vec<RecordNo>>,
    /// The records that are spares.
    pub spares: BTreeSet<RecordNo>,
    pub failures: Vec<String>,
    pub checked: u64,
    pub counts: crate::Counts,
}

/// Judges a world at rest: what does not hold.
pub fn judge(world: &mut World) -> Vec<String> {
    let mut scene = match Scene::gather(world) {
        Ok(scene) => scene,
        Err(error) => return vec![format!("the stores cannot be read: {error:#}")],
    };
    scene.linked();
    scene.base_and_agree();
    scene.claims();
    scene.created_and_deleted();
    scene.made_after_the_catch_up();
    scene.made_once();
    scene.nothing_stuck();
    scene.persons_values();
    scene.no_edit_vanishes();
    scene.on_top_wins();
    scene.last_writer();
    scene.quiet();
    scene.no_flap();
    scene.counts.checked = scene.checked;
    let (mut counts, failures) = (std::mem::take(&mut scene.counts), std::mem::take(&mut scene.failures));
    for conflict in &scene.conflicts {
        match conflict.kind {
            ConflictKind::Edits => counts.conflicts += 1,
            ConflictKind::Covered => counts.conflicts_covered += 1,
            ConflictKind::DuplicateCandidate | ConflictKind::Spare => counts.conflicts_duplicates += 1,
            ConflictKind::Refused | ConflictKind::DeleteRefused => counts.conflicts_refused += 1,
            ConflictKind::Flapping => counts.conflicts_flapping += 1,
        }
    }
    world.counts += &counts;
    failures
}

impl<'w> Scene<'w> {
    fn gather(world: &'w World) -> anyhow::Result<Self> {
        let partitions = world.plan.settings.partitions as i32;
        let entries = |store: &str| -> anyhow::Result<Vec<(bytes::Bytes, bytes::Bytes)>> {
            let index = *world.tasks.stores.get(store).ok_or_else(|| anyhow::anyhow!("no store {store}"))?;
            let mut all = Vec::new();
            for partition in 0..partitions {
                let instance = StoreInstance { name: store.into(), index, partition };
                all.extend(world.tasks.backing.range(&instance, Bound::Unbounded, Bound::Unbounded, usize::MAX)?);
            }
            Ok(all)
        };
        let mut customers = BTreeMap::new();
        for (_, value) in entries("customers")? {
            let customer: Customer = world.shared.customer.decode(&value)?;
            customers.insert(customer.id, customer);
        }
        let mut claimants = BTreeMap::new();
        for (key, value) in entries("emails")? {
            let claims = world.shared.claimants.decode(&value)?;
            if !claims.customers.is_empty() {
                claimants.insert(String::from_utf8_lossy(&key).into_owned(), claims.customers.into_iter().collect());
            }
        }
        let mut conflicts = Vec::new();
        let topic = world.log.topic("customers.conflicts").map(|t| &world.log.topics[t].partitions);
        for record in topic.into_iter().flatten().flatten() {
            conflicts.push(world.shared.codecs.conflict.decode(record.value.as_deref().unwrap_or_default())?);
        }
        let mut scene = Scene {
            world,
            customers,
            claimants,
            conflicts,
            linked: vec![BTreeSet::new(); world.history.records.len()],
            records: BTreeMap::new(),
            spares: BTreeSet::new(),
            failures: Vec::new(),
            checked: 0,
            counts: crate::Counts::default(),
        };
        scene.link_records();
        Ok(scene)
    }

    /// Which customer each record of the history was linked to.
    fn link_records(&mut self) {
        let world = self.world;
        for (number, record) in world.history.records.iter().enumerate() {
            for (system, id, incarnation, customer, at) in &world.links {
                let own = *system == record.system
                    && *id == record.id
                    && match record.system {
                        PRODUCT => *incarnation == record.incarnation,
                        // Elsewhere incarnations that nobody looked at are not counted: the link came while it was this one.
                        _ => *at >= record.born_at && self.next_life(number).is_none_or(|next| *at < next),
                    };
                if own {
                    self.linked[number].insert(*customer);
                    self.records.entry(*customer).or_default().push(number);
                }
            }
        }
        // An undelete that nobody noticed as one goes on with the link of the life before.
        for number in 0..world.history.records.len() {
            let record = &world.history.records[number];
            if self.linked[number].is_empty() && record.system != PRODUCT && record.incarnation > 0 {
                let before = (0..number)
                    .rev()
                    .find(|n| world.history.records[*n].id == record.id && world.history.records[*n].system == record.system);
                for customer in before.map(|b| self.linked[b].clone()).unwrap_or_default() {
                    self.linked[number].insert(customer);
                    self.records.entry(customer).or_default().push(number);
                }
            }
        }
        for customer in self.customers.values() {
            for spare in &customer.spares {
                let system = world.names.iter().position(|n| *n == spare.system).unwrap_or(CRM);
                for (number, r) in world.history.records.iter().enumerate() {
                    if r.system == system && r.id == spare.external_id && (system != PRODUCT || r.incarnation == spare.incarnation) {
                        self.spares.insert(number);
                    }
                }
            }
        }
    }

    fn next_life(&self, number: RecordNo) -> Option<i64> {
        let records = &self.world.history.records;
        let r = &records[number];
        records[number + 1..].iter().find(|o| o.system == r.system && o.id == r.id).map(|o| o.born_at)
    }

    pub fn fail(&mut self, invariant: &str, text: String) {
        self.failures.push(format!("{invariant}: {text}"));
    }

    pub fn ensure(&mut self, holds: bool, invariant: &str, text: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.fail(invariant, text());
        }
    }

    pub fn number(&self, system: &schemas::System) -> usize {
        self.world.names.iter().position(|n| n == system).unwrap_or(CRM)
    }

    pub fn maps(&self, system: usize, field: usize) -> bool {
        self.world.plan.settings.systems[system].mapped[field]
    }

    pub fn writable(&self, system: usize) -> bool {
        system != CRM && self.world.present(system) && self.world.plan.settings.systems[system].writable
    }

    pub fn reached(&self, system: usize) -> bool {
        self.writable(system) && self.world.plan.settings.systems[system].propagate
    }

    /// The live record that a replica is.
    pub fn record_of(&self, system: usize, replica: &Replica) -> Option<RecordNo> {
        let number = self.world.history.find(system, &replica.external_id)?;
        let record = &self.world.history.records[number];
        (record.live() && (system != PRODUCT || record.incarnation == replica.incarnation)).then_some(number)
    }

    /// What the system makes of a value.
    pub fn render(&self, system: usize, field: usize, value: &Value) -> Value {
        self.world.plan.settings.systems[system].rendering[field].apply(value)
    }

    /// The record shows this golden value, as it is or in its system's rendering.
    pub fn same(&self, system: usize, field: usize, golden: &Value, shown: &Value) -> bool {
        golden == shown || self.render(system, field, golden) == *shown
    }

    pub fn name(&self, record: RecordNo) -> String {
        let r = &self.world.history.records[record];
        format!(
            "{} {}{}",
            crate::plan::NAMES[r.system],
            r.id,
            if r.incarnation > 0 { format!("~{}", r.incarnation) } else { String::new() }
        )
    }

    /// Changes of a field by people and their automations on a customer's records that take part, in order.
    pub fn edits(&self, customer: &CustomerId, field: usize) -> impl Iterator<Item = &'w Change> + use<'w> {
        let world = self.world;
        let records = self.records.get(customer).map_or(&[][..], Vec::as_slice);
        let mapped = |c: &Change| world.plan.settings.systems[world.history.records[c.record].system].mapped[field];
        let changes = world.history.changes.iter();
        changes.filter(|c| c.field == field && !c.who.ours() && records.contains(&c.record) && mapped(c)).collect::<Vec<_>>().into_iter()
    }

    /// A person's (or an automation's) edit, in words.
    pub fn tell(&self, change: &Change) -> String {
        let by = match change.who {
            Who::Person => "",
            _ => " by an automation",
        };
        format!(
            "{}: {} {:?} -> {:?}{by} at {:.3}",
            self.name(change.record),
            values::field(change.field),
            change.before,
            change.after,
            (change.at - crate::world::START) as f64 / 1000.0
        )
    }
}
