//! A model of a system with compare-and-set on a stamp of whole seconds: Salesforce.

use super::{Happened, second};
use crate::{
    history::{RecordNo, Who},
    plan::SALESFORCE,
    world::{Event, World},
};
use connect::{Call, Refusal, Reply, Seen};
use schemas::{ExternalId, Value, rules};

#[derive(Default)]
pub struct Salesforce {
    made: u64,
}

impl World {
    pub fn salesforce_event(&mut self, record: RecordNo, changed: &[(usize, Value)], _happened: Happened, who: &Who) {
        let id = self.history.records[record].id.clone();
        let settings = &self.plan.settings;
        if !settings.systems[SALESFORCE].events {
            // Found by the next poll, which tells neither who nor what.
            let (poll, start) = (settings.poll, self.now);
            let after = poll - start.rem_euclid(poll) + self.dice.notices.between(10, 500);
            self.schedule(after, Event::Notice { system: SALESFORCE, id, notice: None });
            return;
        }
        let lost = settings.faults.notice_lost;
        let notice = self.notice(record, changed, who, self.local(SALESFORCE), false);
        if self.plan.settings.sweeps && self.dice.notices.chance(lost) {
            self.counts.notices_lost += 1;
            return;
        }
        self.deliver(SALESFORCE, id, notice);
    }

    fn salesforce_seen(&self, record: RecordNo) -> Seen {
        self.seen(record, second(self.local(SALESFORCE)), Some(second(self.history.records[record].modified)))
    }

    /// One call, as it takes effect.
    pub fn salesforce_call(&mut self, call: &Call) -> Reply {
        let date = second(self.local(SALESFORCE));
        match call {
            Call::Get { id } => match self.history.find(SALESFORCE, id) {
                Some(record) => Reply::Done { seen: self.salesforce_seen(record), exact: false },
                None => Reply::Done { seen: Seen::deleted(id.clone(), date), exact: false },
            },
            Call::Update(update) => {
                let Some(record) = self.history.find(SALESFORCE, &update.id).filter(|r| self.history.records[*r].live()) else {
                    return Reply::Missing;
                };
                if update.unmodified_since.is_some_and(|since| second(self.history.records[record].modified) > since) {
                    return Reply::Changed;
                }
                let rendered = self.rendered(SALESFORCE, &update.set);
                if let Some(refusal) = self.violation(SALESFORCE, Some(record), &rendered) {
                    return Reply::Refused(refusal);
                }
                if !rules::holds(rules::Rule::ConcordIdOnCreatesOnly) {
                    let customer = update.write.customer.to_string();
                    if self.history.live(SALESFORCE).any(|(n, r)| n != record && r.concord_id.as_ref() == Some(&customer)) {
                        return Reply::Refused(Refusal { field: None, reason: "duplicate concord_id".into(), taken: false });
                    }
                    self.history.records[record].concord_id = Some(customer);
                }
                self.history.records[record].mark = Some(update.write.to_string());
                let who = Who::Ours(update.write.clone());
                let expected = self.expected_of(&update.write, SALESFORCE);
                self.change(record, &rendered, &who, expected.as_deref());
                Reply::Done { seen: self.salesforce_seen(record), exact: true }
            }
            Call::Create(create) => {
                let customer = create.id.customer.to_string();
                let twin = self.history.live(SALESFORCE).find(|(_, r)| r.concord_id.as_ref() == Some(&customer)).map(|(n, _)| n);
                let rendered = self.rendered(SALESFORCE, &create.set);
                if let Some(twin) = twin {
                    if rules::holds(rules::Rule::UniqueIdNeverUpsert) {
                        return Reply::AlreadyOurs;
                    }
                    self.history.records[twin].mark = Some(create.id.to_string());
                    self.change(twin, &rendered, &Who::Ours(create.id.clone()), None);
                    return Reply::Done { seen: self.salesforce_seen(twin), exact: true };
                }
                let mut whole = rendered.clone();
                if !whole.iter().any(|(field, _)| *field == 0) {
                    whole.push((0, Value::Empty));
                }
                if let Some(refusal) = self.violation(SALESFORCE, None, &whole) {
                    return Reply::Refused(refusal);
                }
                self.salesforce.made += 1;
                let id = ExternalId::new(format!("003ours{}", self.salesforce.made));
                let record = self.make(SALESFORCE, id, &rendered, &create.id);
                Reply::Done { seen: self.salesforce_seen(record), exact: true }
            }
            Call::Delete(delete) => match self.history.find(SALESFORCE, &delete.id).filter(|r| self.history.records[*r].live()) {
                Some(record) => {
                    self.remove(record, &Who::Ours(delete.write.clone()));
                    Reply::Accepted
                }
                None => Reply::Missing,
            },
            Call::FindOurs { customer, .. } => {
                let customer = customer.to_string();
                self.found(SALESFORCE, date, |r| r.concord_id.as_ref() == Some(&customer), true)
            }
            Call::FindByEmail { email } => {
                let email = schemas::normalise_email(email);
                self.found(SALESFORCE, date, |r| email.is_some() && r.email() == email, false)
            }
            Call::List { page } => self.page(SALESFORCE, page, date),
        }
    }
}
