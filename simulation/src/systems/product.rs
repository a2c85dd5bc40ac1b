//! A model of the product's database as rule 6 has it: rows, a trigger that numbers every change under the row's lock, a
//! sink that writes in one transaction with its fence and its answer, a source that takes outbox rows by their being there.

use super::Happened;
use crate::{
    history::{RecordNo, Who},
    plan::PRODUCT,
    values,
    world::{Event, World},
};
use schemas::{Action, Answer, Create, Delete, ExternalId, Notice, Outcome, Request, SourceCustomer, Value, Write, rules};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One row of the outbox.
#[derive(Clone)]
pub struct OutboxRow {
    pub number: i64,
    pub key: String,
    pub result: SourceCustomer,
    /// What the history was when the row was written, if it is a look.
    pub seq: Option<u64>,
}

/// One consumer of a partition of `requests.product`.
pub struct Sink {
    pub id: u64,
    pub partition: usize,
    position: usize,
    batch: VecDeque<(String, Request)>,
    /// It was replaced, and only ends what it has.
    pub zombie: bool,
    /// A step of it is in the queue.
    pub woken: bool,
    /// It does nothing until then.
    hangs_until: i64,
}

#[derive(Default)]
pub struct Product {
    pub outbox: BTreeMap<i64, OutboxRow>,
    last_number: i64,
    fence: BTreeSet<String>,
    made_by_create: BTreeMap<String, ExternalId>,
    made: u64,
    pub sinks: Vec<Sink>,
    /// The committed position of each partition.
    pub committed: BTreeMap<usize, usize>,
    /// The source that is at work; an older one's events do not count.
    pub source: u64,
    pub taking: bool,
    /// What the source has taken and may append once more, should it be a zombie.
    taken: Vec<OutboxRow>,
}

impl World {
    fn outbox(&mut self, key: String, mut result: SourceCustomer, look: bool) {
        self.product.last_number += 1;
        let number = self.product.last_number;
        result.order = Some(number);
        result.look = self.local(PRODUCT);
        for (index, notice) in result.notices.iter_mut().enumerate() {
            notice.event_id = format!("outbox-{number}-{index}");
        }
        let seq = look.then_some(self.history.seq);
        self.product.outbox.insert(number, OutboxRow { number, key, result, seq });
        if !self.product.taking {
            self.product.taking = true;
            let after = self.dice.notices.between(1, 30);
            self.schedule(after, Event::OutboxTake { source: self.product.source });
        }
    }

    /// The record as the product has it.
    fn product_row(&self, record: RecordNo) -> SourceCustomer {
        let settings = &self.plan.settings;
        let r = &self.history.records[record];
        let created = if settings.updated_at_mapped { r.modified } else { 0 };
        SourceCustomer {
            incarnation: Some(r.incarnation),
            fields: r.live().then(|| r.fields(&settings.systems[PRODUCT].mapped)),
            created: if r.live() { created } else { 0 },
            ..SourceCustomer::default()
        }
    }

    /// The trigger: somebody's change is a row of the outbox; ours is replaced by the sink's answer.
    pub fn product_trigger(&mut self, record: RecordNo, changed: &[(usize, Value)], happened: Happened, who: &Who) {
        if who.ours() {
            return;
        }
        let mut notices: Vec<Notice> = Vec::new();
        if happened != Happened::Deleted {
            notices.push(self.notice(record, changed, who, self.local(PRODUCT), true));
        }
        let result = SourceCustomer { notices, ..self.product_row(record) };
        let key = self.history.records[record].id.to_string();
        self.outbox(key, result, true);
    }

    /// A sweep's or a request's read.
    pub fn product_read(&mut self, id: &ExternalId, notices: Vec<Notice>) {
        let result = match self.history.find(PRODUCT, id) {
            Some(record) => self.product_row(record),
            None => SourceCustomer { incarnation: Some(0), ..SourceCustomer::default() },
        };
        self.outbox(id.to_string(), SourceCustomer { notices, ..result }, true);
    }

    fn product_answer(&mut self, key: String, row: SourceCustomer, answer: Answer, look: bool) {
        self.outbox(key, SourceCustomer { answer: Some(answer), ..row }, look);
    }

    /// One request, as one SQL transaction.
    pub fn product_transaction(&mut self, key: &str, request: &Request) {
        let id = ExternalId::new(key);
        match &request.action {
            Action::Read(read) => self.product_read(&id, read.notices.clone()),
            Action::Write(write) => self.product_write(id, write),
            Action::Create(create) => self.product_create(create),
            Action::Delete(delete) => self.product_delete(id, delete),
        }
    }

    fn product_write(&mut self, id: ExternalId, write: &Write) {
        if !self.product.fence.insert(write.id.to_string()) && rules::holds(rules::Rule::Fence) {
            return;
        }
        let answer = |outcome| Answer {
            write_id: write.id.clone(),
            outcome,
            refused_field: None,
            reason: None,
            taken: false,
            left: None,
            unseen: false,
        };
        let Some(record) = self.history.find(PRODUCT, &id) else {
            let row = SourceCustomer { incarnation: Some(write.incarnation), ..SourceCustomer::default() };
            return self.product_answer(id.to_string(), row, answer(Outcome::Gone), true);
        };
        let r = &self.history.records[record];
        if !r.live() || r.incarnation != write.incarnation {
            return;
        }
        if write.expected.iter().any(|(field, value)| r.values[values::index(field)] != *value) {
            let row = self.product_row(record);
            return self.product_answer(id.to_string(), row, answer(Outcome::MovedOn), true);
        }
        let set = self.rendered(PRODUCT, &write.set);
        if let Some(refusal) = self.violation(PRODUCT, Some(record), &set) {
            let refused =
                Answer { refused_field: refusal.field, reason: Some(refusal.reason), taken: refusal.taken, ..answer(Outcome::Refused) };
            let row = self.product_row(record);
            return self.product_answer(id.to_string(), row, refused, true);
        }
        let expected: Vec<(usize, Value)> = write.expected.iter().map(|(f, v)| (values::index(f), v.clone())).collect();
        self.sent.insert(write.id.clone(), write.set.iter().map(|(f, v)| (values::index(f), v.clone())).collect());
        self.change(record, &set, &Who::Ours(write.id.clone()), Some(&expected));
        let row = self.product_row(record);
        let done = Answer { left: row.fields.clone(), ..answer(Outcome::Done) };
        self.product_answer(id.to_string(), row, done, true);
    }

    fn product_delete(&mut self, id: ExternalId, delete: &Delete) {
        if !self.product.fence.insert(delete.id.to_string()) {
            return;
        }
        let answer = Answer {
            write_id: delete.id.clone(),
            outcome: Outcome::Done,
            refused_field: None,
            reason: None,
            taken: false,
            left: None,
            unseen: false,
        };
        match self.history.find(PRODUCT, &id) {
            Some(record) if self.history.records[record].live() && self.history.records[record].incarnation == delete.incarnation => {
                self.remove(record, &Who::Ours(delete.id.clone()));
                let row = self.product_row(record);
                self.product_answer(id.to_string(), row, answer, true);
            }
            _ => {}
        }
    }

    fn product_create(&mut self, create: &Create) {
        if self.product.fence.contains(&create.key) {
            return;
        }
        if !rules::holds(rules::Rule::FenceOnlyWithInsert) {
            self.product.fence.insert(create.key.clone());
        }
        let answer = |outcome| Answer {
            write_id: create.id.clone(),
            outcome,
            refused_field: None,
            reason: None,
            taken: false,
            left: None,
            unseen: false,
        };
        let set = self.rendered(PRODUCT, &create.set);
        let email = create.set.get(&schemas::Field::Email).and_then(|v| schemas::normalise_email(v.as_text()?));
        let somebodys = email.is_some()
            && rules::holds(rules::Rule::LookBeforeCreate)
            && self.history.live(PRODUCT).any(|(_, r)| !r.born_by.ours() && r.email() == email);
        let violation = self.violation(PRODUCT, None, &set);
        if somebodys || violation.as_ref().is_some_and(|v| v.taken) {
            let held = Answer { reason: Some("somebody's record has the e-mail".into()), ..answer(Outcome::Held) };
            return self.product_answer(create.customer.to_string(), SourceCustomer::default(), held, false);
        }
        if let Some(refusal) = violation {
            let refused = Answer { refused_field: refusal.field, reason: Some(refusal.reason), ..answer(Outcome::Refused) };
            return self.product_answer(create.customer.to_string(), SourceCustomer::default(), refused, false);
        }
        self.product.fence.insert(create.key.clone());
        self.product.made += 1;
        let id = ExternalId::new(format!("ours{}", self.product.made));
        self.product.made_by_create.insert(create.key.clone(), id.clone());
        self.sent.insert(create.id.clone(), create.set.iter().map(|(f, v)| (values::index(f), v.clone())).collect());
        let record = self.make(PRODUCT, id.clone(), &set, &create.id);
        let row = SourceCustomer { concord_id: Some(create.customer.to_string()), ..self.product_row(record) };
        let done = Answer { left: row.fields.clone(), ..answer(Outcome::Done) };
        self.product_answer(id.to_string(), row, done, true);
    }

    // The source: take rows, append them, remove them.

    pub fn outbox_take(&mut self, source: u64) {
        if source != self.product.source {
            return;
        }
        let rows: Vec<OutboxRow> = self.product.outbox.values().cloned().collect();
        self.product.taken = rows.clone();
        if rows.is_empty() {
            self.product.taking = false;
            return;
        }
        let after = self.dice.notices.between(1, 20);
        self.schedule(after, Event::OutboxAppend { source, rows, zombie: false });
    }

    pub fn outbox_append(&mut self, source: u64, rows: Vec<OutboxRow>, zombie: bool) {
        if source != self.product.source && !zombie {
            return;
        }
        for row in &rows {
            self.publish(PRODUCT, &row.key, &row.result);
            if let Some(seq) = row.seq {
                self.history.published(PRODUCT, &ExternalId::new(&row.key), seq, self.now, &row.result);
            }
        }
        if zombie {
            return;
        }
        let twice = self.plan.settings.faults.outbox_twice;
        if self.dice.notices.chance(twice) {
            // Ended between the append and the removal: all of it comes again.
            let after = self.dice.notices.between(1, 2_000);
            return self.schedule(after, Event::OutboxTake { source });
        }
        let after = self.dice.notices.between(1, 20);
        self.schedule(after, Event::OutboxRemove { source, numbers: rows.iter().map(|row| row.number).collect() });
    }

    pub fn outbox_remove(&mut self, source: u64, numbers: &[i64]) {
        for number in numbers {
            self.product.outbox.remove(number);
        }
        self.outbox_take(source);
    }

    /// The source ends and another starts; the old one may still append what it had taken.
    pub fn crash_source(&mut self, zombie: i64) {
        if zombie > 0 && !self.product.taken.is_empty() {
            let rows = self.product.taken.clone();
            self.schedule(zombie, Event::OutboxAppend { source: self.product.source, rows, zombie: true });
        }
        self.product.source += 1;
        self.product.taking = true;
        let after = self.dice.notices.between(1, 3_000);
        self.schedule(after, Event::OutboxTake { source: self.product.source });
    }

    // The sink: a consumer of `requests.product`.

    pub fn sink_start(&mut self, partition: usize) {
        let id = self.next_instance();
        let position = self.product.committed.get(&partition).copied().unwrap_or(0);
        self.product.sinks.push(Sink { id, partition, position, batch: VecDeque::new(), zombie: false, woken: false, hangs_until: 0 });
        self.sink_wake(id, 1);
    }

    /// Its next step comes after this, unless one is in the queue already.
    pub fn sink_wake(&mut self, id: u64, after: i64) {
        if let Some(sink) = self.product.sinks.iter_mut().find(|s| s.id == id && !s.woken) {
            sink.woken = true;
            self.schedule(after, Event::SinkStep { id });
        }
    }

    pub fn sink_crash(&mut self, partition: usize, zombie: i64) {
        let until = self.now + zombie;
        for sink in self.product.sinks.iter_mut().filter(|s| s.partition == partition && !s.zombie) {
            (sink.zombie, sink.hangs_until) = (true, until);
        }
        if zombie == 0 {
            self.product.sinks.retain(|s| s.partition != partition);
        } else {
            let id = self.product.sinks.iter().find(|s| s.partition == partition && s.hangs_until == until).map(|s| s.id);
            if let Some(id) = id {
                // It hangs for so long, then goes on.
                self.schedule(zombie, Event::SinkStep { id });
            }
        }
        self.sink_start(partition);
    }

    /// Runs the next request of a sink, fetches the next, or commits.
    pub fn sink_step(&mut self, id: u64) {
        let Some(at) = self.product.sinks.iter().position(|s| s.id == id) else { return };
        if self.now < self.product.sinks[at].hangs_until {
            return;
        }
        self.product.sinks[at].woken = false;
        if self.outage(PRODUCT) {
            let longest = if self.long_outage { 600_000 } else { 5_000 };
            let after = self.dice.calls.between(500, longest);
            return self.sink_wake(id, after);
        }
        let partition = self.product.sinks[at].partition;
        let mut slow = 0;
        let next = self.product.sinks[at].batch.front().cloned();
        let faults = &self.plan.settings.faults;
        let (before, after) = (faults.fail_before, faults.fail_after);
        match next {
            Some((key, request)) => {
                if self.dice.calls.chance(before) {
                    self.counts.calls_failed += 1;
                } else {
                    self.count_call(PRODUCT);
                    self.ambush(PRODUCT, &key, crate::plan::Moment::JustBefore);
                    self.product_transaction(&key, &request);
                    self.ambush(PRODUCT, &key, crate::plan::Moment::JustAfter);
                    if self.dice.calls.chance(after) {
                        // Committed, but the answer was lost: it runs again.
                        self.counts.calls_unknown += 1;
                    } else {
                        self.product.sinks[at].batch.pop_front();
                    }
                }
            }
            None if self.product.sinks[at].zombie => {
                self.product.sinks.remove(at);
                return;
            }
            None => {
                let position = self.product.sinks[at].position;
                self.product.committed.insert(partition, position);
                let requests = self.requests(PRODUCT, partition, position, 5);
                if requests.is_empty() {
                    return; // woken by the next request
                }
                let sink = &mut self.product.sinks[at];
                sink.position += requests.len();
                sink.batch = requests.into();
                slow = std::mem::take(&mut self.slow[PRODUCT]);
            }
        }
        let latency = self.plan.settings.latency;
        let after = self.dice.calls.between(1, latency) + slow;
        self.sink_wake(id, after);
    }
}
