//! A model of Stripe: idempotency keys, metadata marks, tombstones, events that tell what was there before. No
//! compare-and-set: a POST overwrites what it finds.

use super::{Happened, second};
use crate::{
    history::{Record, RecordNo, Who},
    plan::STRIPE,
    world::{Event, World},
};
use connect::{Call, Refusal, Reply, Seen};
use schemas::{ExternalId, Millis, Value, Values, WriteId};
use std::collections::{BTreeMap, BTreeSet};

/// Keys are forgotten after this.
const KEYS_LAST: Millis = 24 * 3_600_000;

/// What the first call with a key asked and was answered.
struct Stored {
    parameters: String,
    at: Millis,
    answer: Answer,
}

#[derive(Clone)]
enum Answer {
    Record(Seen),
    Refused(Refusal),
    Failed,
}

#[derive(Default)]
pub struct Stripe {
    keys: BTreeMap<String, Stored>,
    made: u64,
    /// Events whose webhook was lost: the events list has them.
    pub missed: Vec<(ExternalId, schemas::Notice)>,
    /// Events of the list that we have not noticed yet, by their id.
    pub unnoticed: BTreeMap<String, (ExternalId, schemas::Notice)>,
    /// Records with an event that the list does not have either.
    pub untold: BTreeSet<RecordNo>,
}

/// What a fault does to a call that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    None,
    /// A 500 before anything was done, stored under the key.
    StoredBefore,
    /// A 500 after it was done, stored under the key.
    StoredAfter,
}

impl World {
    pub fn stripe_event(&mut self, record: RecordNo, changed: &[(usize, Value)], happened: Happened, who: &Who) {
        let time = second(self.local(STRIPE));
        let known = happened == Happened::Updated;
        let notice = self.notice(record, changed, who, time, known);
        let id = self.history.records[record].id.clone();
        let faults = self.plan.settings.faults.clone();
        if self.dice.notices.chance(faults.notice_lost) {
            if self.plan.settings.sweeps && self.dice.notices.chance(faults.never) {
                self.counts.notices_never += 1;
                self.stripe.untold.insert(record);
                if let Who::Ours(write) = who {
                    self.never_told.insert((record, write.clone()));
                }
            } else {
                self.counts.notices_lost += 1;
                self.stripe.unnoticed.insert(notice.event_id.clone(), (id.clone(), notice.clone()));
                self.stripe.missed.push((id, notice));
            }
            return;
        }
        self.stripe.unnoticed.insert(notice.event_id.clone(), (id.clone(), notice.clone()));
        self.deliver(STRIPE, id, notice);
    }

    /// A notice on its way, perhaps late, perhaps twice.
    pub fn deliver(&mut self, system: usize, id: ExternalId, notice: schemas::Notice) {
        let faults = &self.plan.settings.faults;
        let (late, twice) = (faults.notice_late, faults.notice_twice);
        let times = 1 + usize::from(self.dice.notices.chance(twice));
        for _ in 0..times {
            let after =
                if self.dice.notices.chance(late) { self.dice.notices.between(1_000, 60_000) } else { self.dice.notices.between(5, 800) };
            self.schedule(after, Event::Notice { system, id: id.clone(), notice: Some(notice.clone()) });
        }
    }

    /// One call, as it takes effect.
    pub fn stripe_call(&mut self, call: &Call, failure: Failure) -> Reply {
        let date = second(self.local(STRIPE));
        match call {
            Call::Get { id } => match self.history.find(STRIPE, id) {
                Some(record) => Reply::Done { seen: self.seen(record, date, None), exact: false },
                None => Reply::Done { seen: Seen::deleted(id.clone(), date), exact: false },
            },
            Call::Update(update) => {
                let parameters = format!("{} {} {:?}", update.id, update.write, update.set);
                if let Some(reply) = self.stripe_replay(&update.key, &parameters) {
                    return reply;
                }
                let Some(record) = self.history.find(STRIPE, &update.id).filter(|r| self.history.records[*r].live()) else {
                    return Reply::Missing;
                };
                let answer = match failure {
                    Failure::StoredBefore => Answer::Failed,
                    _ => self.stripe_post(Some(record), &update.write, &update.set, date),
                };
                self.stripe_store(&update.key, parameters, answer, failure)
            }
            Call::Create(create) => {
                let parameters = format!("create {} {:?}", create.id, create.set);
                if let Some(reply) = self.stripe_replay(&create.key, &parameters) {
                    return reply;
                }
                let answer = match failure {
                    Failure::StoredBefore => Answer::Failed,
                    _ => self.stripe_post(None, &create.id, &create.set, date),
                };
                self.stripe_store(&create.key, parameters, answer, failure)
            }
            Call::Delete(delete) => match self.history.find(STRIPE, &delete.id).filter(|r| self.history.records[*r].live()) {
                Some(record) => {
                    self.remove(record, &Who::Ours(delete.write.clone()));
                    Reply::Accepted
                }
                None => Reply::Missing,
            },
            Call::FindOurs { customer, since } => {
                let customer = customer.to_string();
                self.found(STRIPE, date, |r| r.concord_id.as_ref() == Some(&customer) && second(r.created) >= second(*since), false)
            }
            Call::FindByEmail { email } => {
                let norm = schemas::normalise_email(email);
                let exact = self.plan.settings.exact_email;
                let spelt = |r: &Record| r.values[1].as_text().is_some_and(|shown| shown == email || Some(shown) == norm.as_deref());
                self.found(STRIPE, date, |r| norm.is_some() && r.email() == norm && (!exact || spelt(r)), false)
            }
            Call::List { page } => self.page(STRIPE, page, date),
        }
    }

    fn stripe_replay(&mut self, key: &str, parameters: &str) -> Option<Reply> {
        let stored = self.stripe.keys.get(key).filter(|stored| self.now - stored.at < KEYS_LAST)?;
        Some(if stored.parameters != parameters {
            Reply::KeyReused
        } else {
            match stored.answer.clone() {
                Answer::Record(seen) => Reply::Replayed { seen },
                Answer::Refused(refusal) => Reply::Refused(refusal),
                Answer::Failed => Reply::Stored { status: 500 },
            }
        })
    }

    fn stripe_store(&mut self, key: &str, parameters: String, answer: Answer, failure: Failure) -> Reply {
        let stored = if failure == Failure::None { answer.clone() } else { Answer::Failed };
        self.stripe.keys.insert(key.to_owned(), Stored { parameters, at: self.now, answer: stored });
        if failure != Failure::None {
            self.counts.stored_5xx += 1;
            return Reply::Unknown { reason: "500".into(), retry_after: None };
        }
        match answer {
            Answer::Record(seen) => Reply::Done { seen, exact: true },
            Answer::Refused(refusal) => Reply::Refused(refusal),
            Answer::Failed => Reply::Stored { status: 500 },
        }
    }

    /// Writes or makes a record of ours.
    fn stripe_post(&mut self, record: Option<RecordNo>, write: &WriteId, set: &Values, date: Millis) -> Answer {
        let rendered = self.rendered(STRIPE, set);
        if let Some(refusal) = self.violation(STRIPE, record, &rendered) {
            return Answer::Refused(refusal);
        }
        let who = Who::Ours(write.clone());
        let record = match record {
            Some(record) => {
                self.history.records[record].mark = Some(write.to_string());
                let expected = self.expected_of(write, STRIPE);
                self.change(record, &rendered, &who, expected.as_deref());
                record
            }
            None => {
                self.stripe.made += 1;
                let id = ExternalId::new(format!("cus_ours{}", self.stripe.made));
                self.make(STRIPE, id, &rendered, write)
            }
        };
        Answer::Record(self.seen(record, date, None))
    }
}
