//! A log that begins anew, while Concord stands still: what is known of each customer is taken over, as `concord reset` does it; all else
//! goes, and every system is read anew. (Offsets go on here, which no rule minds: what was there before is passed.)

use crate::{
    plan::{CRM, PRODUCT, SALESFORCE, STRIPE},
    tasks::Tasks,
    world::{Event, World},
};
use schemas::{Action, ExternalId, Read, System};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};
use streams::{MemoryBacking, StateBacking, StoreInstance};
use topology::customers::renewal::{Orders, Renewal, Untold};

impl World {
    pub fn begin_anew(&mut self) -> anyhow::Result<()> {
        self.counts.resets += 1;
        self.forget_imports();
        let orders: BTreeMap<System, Orders> =
            [PRODUCT, CRM].into_iter().map(|system| (self.names[system].clone(), Orders::Stay)).collect();
        let config = self.tasks.config.clone();
        let mut untold = Untold::new(&config, &self.shared.registry, &orders)?;
        for (topic, system) in untold.topics() {
            let Some(topic) = self.log.topic(&topic) else { continue };
            for (partition, records) in self.log.topics[topic].partitions.iter().enumerate() {
                let passed = match system.as_ref().and_then(|name| self.names.iter().position(|known| known == name)) {
                    Some(PRODUCT) => self.product.committed.get(&partition).copied().unwrap_or(0),
                    Some(system) => self.committed.get(&(system, partition)).copied().unwrap_or(0) as usize,
                    None => self.tasks.position(topic, partition) as usize,
                };
                records.iter().skip(passed).for_each(|record| untold.record(record));
            }
        }
        let mut renewal = Renewal::new(&config, &self.shared.registry, orders, false)?;
        let mut entries = Vec::new();
        let customers = self.tasks.stores["customers"];
        for partition in 0..config.partitions {
            let store = StoreInstance { name: "customers".into(), index: customers, partition };
            for (_, value) in self.tasks.backing.range(&store, Bound::Unbounded, Bound::Unbounded, usize::MAX)? {
                entries.push(renewal.customer(&value)?);
            }
        }
        let (others, records) = renewal.rest()?;
        entries.extend(others);

        let mut tasks = Tasks::new(&config, &self.shared, &self.log)?;
        let mut backing = MemoryBacking::default();
        for entry in entries {
            backing.put(tasks.stores[&entry.store], entry.partition, entry.key.into(), Some(entry.value.into()));
        }
        tasks.backing = backing;
        // What somebody's program published is read again.
        tasks.pass_all(&self.log, self.customers[CRM]);
        self.tasks = tasks;
        let present: Vec<usize> = [PRODUCT, STRIPE, SALESFORCE].into_iter().filter(|system| self.present(*system)).collect();
        for partition in 0..self.plan.settings.partitions {
            for system in present.iter().copied().filter(|system| *system != PRODUCT) {
                let end = self.log.topics[self.requests[system]].partitions[partition].len() as i64;
                self.committed.insert((system, partition), end);
            }
            let end = self.log.topics[self.requests[PRODUCT]].partitions[partition].len();
            self.product.committed.insert(partition, end);
        }
        for record in records.into_iter().chain(untold.rest()) {
            self.append(record.with_timestamp(self.now));
        }
        for task in 0..self.tasks.count() {
            self.schedule(1, Event::Task(task));
        }
        for system in present {
            // The backfill lists who is there; who is linked and not listed is read, too.
            let live: BTreeSet<ExternalId> = self.history.live(system).map(|(_, r)| r.id.clone()).collect();
            let linked: BTreeSet<ExternalId> = self.links.iter().filter(|link| link.0 == system).map(|link| link.1.clone()).collect();
            for id in linked.difference(&live) {
                match system {
                    PRODUCT => self.product_read(id, Vec::new()),
                    _ => self.request(system, id.as_str(), Action::Read(Read::default())),
                }
            }
            let after = self.dice.actions.between(0, 1_500);
            self.schedule(after, Event::Backfill { system });
        }
        Ok(())
    }
}
