//! A system with idempotency keys that misbehaves as it is told.

use async_trait::async_trait;
use connect::{Create, Delete, Reply, Seen, Sink, Source, Update};
use parking_lot::Mutex;
use schemas::{CustomerFields, CustomerId, ExternalId, Millis, WriteId};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use tokio::sync::Notify;

/// What becomes of one call.
pub enum Trouble {
    /// Instead of doing it.
    Instead(Reply),
    /// It is done, but the answer is lost.
    LostAnswer,
    /// It hangs, and is never done.
    Hangs,
    /// The connector panics.
    Panics,
}

#[derive(Default)]
pub struct Vendor {
    state: Mutex<State>,
    /// While there is a gate, calls wait at it.
    gate: Mutex<Option<std::sync::Arc<Notify>>>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<String, Record>,
    /// Answers stored under keys.
    stored: BTreeMap<String, Seen>,
    /// For the next calls of this record; of any record under "".
    troubles: BTreeMap<String, VecDeque<Trouble>>,
    calls: Vec<String>,

    revoked: bool,
    made: usize,
    clock: Millis,
}

#[derive(Clone, Default)]
struct Record {
    name: Option<String>,
    deleted: bool,
    concord_id: Option<String>,
    mark: Option<String>,
}

impl Vendor {
    pub fn person_sets(&self, id: &str, name: &str) {
        self.state.lock().records.entry(id.into()).or_default().name = Some(name.into());
    }

    pub fn trouble(&self, id: &str, trouble: Trouble) {
        self.state.lock().troubles.entry(id.into()).or_default().push_back(trouble);
    }

    pub fn clear_troubles(&self) {
        self.state.lock().troubles.clear();
    }

    pub fn revoke(&self, revoked: bool) {
        self.state.lock().revoked = revoked;
    }

    /// Every call so far, as `get cus_1`.
    pub fn calls(&self) -> Vec<String> {
        self.state.lock().calls.clone()
    }

    pub fn calls_of(&self, call: &str) -> usize {
        self.calls().iter().filter(|made| made.starts_with(call)).count()
    }

    pub fn name(&self, id: &str) -> Option<String> {
        self.state.lock().records.get(id)?.name.clone()
    }

    /// Calls wait until the gate is opened.
    pub fn close_gate(&self) {
        *self.gate.lock() = Some(std::sync::Arc::default());
    }

    pub fn open_gate(&self) {
        if let Some(gate) = self.gate.lock().take() {
            gate.notify_waiters();
        }
    }

    async fn call(&self, call: &str, id: &str, work: impl FnOnce(&mut State) -> Reply) -> Reply {
        self.state.lock().calls.push(format!("{call} {id}"));
        let gate = self.gate.lock().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        let trouble = {
            let mut state = self.state.lock();
            state.clock += 1;
            let state = &mut *state;
            let any = state.troubles.get_mut("").and_then(VecDeque::pop_front);
            any.or_else(|| state.troubles.get_mut(id).and_then(VecDeque::pop_front))
        };
        let unknown = || Reply::Unknown { reason: "reset".into(), retry_after: None };
        match trouble {
            Some(Trouble::Instead(reply)) => reply,
            Some(Trouble::Panics) => panic!("as it was told"),
            Some(Trouble::Hangs) => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                unknown()
            }
            Some(Trouble::LostAnswer) => {
                work(&mut self.state.lock());
                unknown()
            }
            None if self.state.lock().revoked => Reply::Unauthorized { reason: "no such key".into() },
            None => work(&mut self.state.lock()),
        }
    }
}

impl State {
    fn seen(&self, id: &str) -> Seen {
        let id = ExternalId::new(id);
        match self.records.get(id.as_str()) {
            Some(record) if !record.deleted => Seen {
                id,
                look: self.clock,
                fields: Some(CustomerFields { name: record.name.clone(), ..CustomerFields::default() }),
                concord_id: record.concord_id.clone(),
                mark: record.mark.clone(),
                created: 1,
                stamp: None,
            },
            _ => Seen::deleted(id, self.clock),
        }
    }

    fn keep(&mut self, key: &str, id: &str) -> Reply {
        let seen = self.seen(id);
        self.stored.insert(key.into(), seen.clone());
        Reply::Done { seen, exact: true }
    }

    fn found(&self, wanted: impl Fn(&Record) -> bool) -> Reply {
        Reply::Found(self.records.iter().filter(|(_, record)| wanted(record)).map(|(id, _)| self.seen(id)).collect())
    }
}

#[async_trait]
impl Source for Vendor {
    async fn read(&self, id: &ExternalId) -> Reply {
        self.call("get", id.as_str(), |state| Reply::Done { seen: state.seen(id.as_str()), exact: false }).await
    }

    async fn list(&self, page: &str) -> Option<Reply> {
        Some(self.call("list", page, |state| state.found(|record| !record.deleted)).await)
    }
}

#[async_trait]
impl Sink for Vendor {
    async fn update(&self, update: &Update) -> Reply {
        self.call("update", update.id.as_str(), |state| {
            if let Some(seen) = state.stored.get(&update.key) {
                return Reply::Replayed { seen: seen.clone() };
            }
            let Some(record) = state.records.get_mut(update.id.as_str()).filter(|record| !record.deleted) else {
                return Reply::Missing;
            };
            if let Some(name) = update.set.get(&schemas::Field::Name) {
                record.name = name.as_text().map(Into::into);
            }
            record.mark = Some(update.write.to_string());
            state.keep(&update.key, update.id.as_str())
        })
        .await
    }

    async fn create(&self, create: &Create) -> Reply {
        let WriteId { customer, .. } = create.id;
        self.call("create", &customer.to_string(), |state| {
            if let Some(seen) = state.stored.get(&create.key) {
                return Reply::Replayed { seen: seen.clone() };
            }
            state.made += 1;
            let id = format!("new_{}", state.made);
            let name = create.set.get(&schemas::Field::Name).and_then(|name| name.as_text()).map(Into::into);
            let (concord_id, mark) = (Some(customer.to_string()), Some(create.id.to_string()));
            state.records.insert(id.clone(), Record { name, deleted: false, concord_id, mark });
            state.keep(&create.key, &id)
        })
        .await
    }

    async fn delete(&self, delete: &Delete) -> Reply {
        self.call("delete", delete.id.as_str(), |state| match state.records.get_mut(delete.id.as_str()) {
            Some(record) if !record.deleted => {
                record.deleted = true;
                Reply::Accepted
            }
            _ => Reply::Missing,
        })
        .await
    }

    async fn find_ours(&self, customer: CustomerId, _since: Millis) -> Reply {
        let wanted = Some(customer.to_string());
        self.call("find_ours", &customer.to_string(), |state| state.found(|record| record.concord_id == wanted)).await
    }

    async fn find_by_email(&self, email: &str) -> Reply {
        self.call("find_by_email", email, |_| Reply::Found(Vec::new())).await
    }
}
