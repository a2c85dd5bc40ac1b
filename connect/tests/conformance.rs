//! The suite itself: a faithful system passes it, and each fault is found by the check that is there for it.

use async_trait::async_trait;
use connect::{Create, Delete, Refusal, Reply, Seen, Sink, Source, Style, Update, conformance::Subject};
use parking_lot::Mutex;
use schemas::{CustomerFields, CustomerId, ExternalId, Field, Millis, System, Values, normalise_email};
use std::collections::BTreeMap;

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    CreatesTwice,
    ForgetsTheMark,
    ShowsTheMarkAsAnAttribute,
    SetsWhatWasNotAsked,
    NeverClears,
    RefusesWithoutTheField,
    DeletesNothing,
    FindsTheDeleted,
    ComparesEmailsExactly,
    InventsUnknownRecords,
    ForgetsOurs,
    ListsWithoutMarks,
}

struct Memory {
    fault: Fault,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<String, Seen>,
    stored: BTreeMap<String, (Values, Seen)>,
}

impl Memory {
    fn keep(&self, state: &mut State, key: &str, set: &Values, id: &str) -> Reply {
        let seen = state.records[id].clone();
        state.stored.insert(key.into(), (set.clone(), seen.clone()));
        Reply::Done { seen, exact: true }
    }

    fn apply(&self, seen: &mut Seen, set: &Values, mark: String) {
        let fields = seen.fields.get_or_insert_default();
        for (field, value) in set {
            if !(value.is_empty() && self.fault == Fault::NeverClears) {
                fields.set(field, value.clone());
            }
        }
        if self.fault == Fault::ShowsTheMarkAsAnAttribute {
            fields.attributes.insert("concord_write".into(), mark.clone());
        }
        if self.fault != Fault::ForgetsTheMark {
            seen.mark = Some(mark);
        }
    }

    fn replayed(&self, state: &State, key: &str, set: &Values) -> Option<Reply> {
        let (stored, seen) = state.stored.get(key).filter(|_| self.fault != Fault::CreatesTwice)?;
        Some(if stored == set { Reply::Replayed { seen: seen.clone() } } else { Reply::KeyReused })
    }

    fn find(&self, wanted: impl Fn(&Seen) -> bool) -> Reply {
        let state = self.state.lock();
        Reply::Found(
            state
                .records
                .values()
                .filter(|seen| !seen.is_deleted() || self.fault == Fault::FindsTheDeleted)
                .filter(|seen| wanted(seen))
                .cloned()
                .collect(),
        )
    }
}

#[async_trait]
impl Source for Memory {
    async fn read(&self, id: &ExternalId) -> Reply {
        match self.state.lock().records.get(id.as_str()) {
            Some(seen) => Reply::Done { seen: seen.clone(), exact: false },
            None if self.fault == Fault::InventsUnknownRecords => {
                Reply::Done { seen: Seen { fields: Some(CustomerFields::default()), ..Seen::deleted(id.clone(), 1) }, exact: false }
            }
            None => Reply::Missing,
        }
    }

    async fn list(&self, _page: &str) -> Option<Reply> {
        Some(match self.find(|_| true) {
            Reply::Found(all) if self.fault == Fault::ListsWithoutMarks => {
                Reply::Found(all.into_iter().map(|seen| Seen { concord_id: None, mark: None, ..seen }).collect())
            }
            other => other,
        })
    }
}

#[async_trait]
impl Sink for Memory {
    async fn update(&self, update: &Update) -> Reply {
        let mut state = self.state.lock();
        if let Some(reply) = self.replayed(&state, &update.key, &update.set) {
            return reply;
        }
        if update.set.get(&Field::Name).is_some_and(|name| name.as_text() == Some("refused")) {
            let field = (self.fault != Fault::RefusesWithoutTheField).then_some(Field::Name);
            return Reply::Refused(Refusal { field, reason: "not this name".into(), taken: false });
        }
        let Some(seen) = state.records.get_mut(update.id.as_str()).filter(|seen| !seen.is_deleted()) else { return Reply::Missing };
        self.apply(seen, &update.set, update.write.to_string());
        if self.fault == Fault::SetsWhatWasNotAsked {
            seen.fields.get_or_insert_default().phone = None;
        }
        self.keep(&mut state, &update.key, &update.set, update.id.as_str())
    }

    async fn create(&self, create: &Create) -> Reply {
        let mut state = self.state.lock();
        if let Some(reply) = self.replayed(&state, &create.key, &create.set) {
            return reply;
        }
        let id = format!("m_{}", state.records.len());
        let concord_id = Some(create.id.customer.to_string());
        let mut seen = Seen { created: 1_000_000, look: 1_000_001, concord_id, ..Seen::deleted(ExternalId::new(&id), 0) };
        self.apply(&mut seen, &create.set, create.id.to_string());
        seen.look = 1_000_001;
        state.records.insert(id.clone(), seen);
        self.keep(&mut state, &create.key, &create.set, &id)
    }

    async fn delete(&self, delete: &Delete) -> Reply {
        let mut state = self.state.lock();
        match state.records.get_mut(delete.id.as_str()) {
            Some(seen) if self.fault == Fault::FindsTheDeleted => {
                seen.created = -1;
                Reply::Accepted
            }
            Some(_) if self.fault != Fault::DeletesNothing => {
                state.records.remove(delete.id.as_str());
                Reply::Accepted
            }
            Some(_) => Reply::Accepted,
            None => Reply::Missing,
        }
    }

    async fn find_ours(&self, customer: CustomerId, _since: Millis) -> Reply {
        self.find(|seen| self.fault != Fault::ForgetsOurs && seen.concord_id == Some(customer.to_string()))
    }

    async fn find_by_email(&self, email: &str) -> Reply {
        self.find(|seen| {
            let shown = seen.fields.as_ref().and_then(|fields| fields.email.clone()).unwrap_or_default();
            if self.fault == Fault::ComparesEmailsExactly { shown == email } else { normalise_email(&shown) == normalise_email(email) }
        })
    }
}

async fn failures(fault: Fault) -> Vec<&'static str> {
    let memory = Memory { fault, state: Mutex::default() };
    let mut subject = Subject::new(&memory, &memory, System::new("memory").unwrap(), Style::Idempotent, "run-1");
    subject.refused = Some((Field::Name, "refused".into()));
    subject.page = Some("first".into());
    subject.failures().await.into_iter().map(|failure| failure.check).collect()
}

#[tokio::test]
async fn a_faithful_system_passes() {
    assert_eq!(failures(Fault::None).await, [] as [&str; 0]);
}

#[tokio::test]
async fn each_fault_is_found_by_its_check() {
    for (fault, check) in [
        (Fault::CreatesTwice, "a create under one key makes one record"),
        (Fault::ForgetsTheMark, "a record reads back as it was made, with both marks"),
        (Fault::ShowsTheMarkAsAnAttribute, "a record reads back as it was made, with both marks"),
        (Fault::SetsWhatWasNotAsked, "an update sets its fields and its mark, and nothing else"),
        (Fault::NeverClears, "no value clears a field"),
        (Fault::RefusesWithoutTheField, "a refused value names its field and changes nothing"),
        (Fault::DeletesNothing, "a delete is done, and done again"),
        (Fault::FindsTheDeleted, "a delete is done, and done again"),
        (Fault::ComparesEmailsExactly, "live records are found by e-mail, however it is spelt"),
        (Fault::InventsUnknownRecords, "an unknown record is deleted"),
        (Fault::ForgetsOurs, "our own record is found"),
        (Fault::ListsWithoutMarks, "a page shows records as a read does"),
    ] {
        let failed = failures(fault).await;
        assert!(failed.contains(&check), "{fault:?}: {failed:?}");
    }
}
