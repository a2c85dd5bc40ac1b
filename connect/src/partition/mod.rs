//! The requests of one partition: whose turn it is (docs/protocol.md, rules 1 and 2).
//!
//! One request at a time per record, in the topic's order, many records at once; live ones before a backfill's. Adjoining reads
//! of a record are one look, and reads of a backfill may be answered a page at a time by one list call.
//!
//! The driver offers what it reads from the topic ([`Partition::offer`]), takes calls whenever it may send one
//! ([`Partition::next_call`]: from then on the call counts as sent), hands in the answers ([`Partition::on_reply`]), and
//! publishes what is finished ([`Partition::take_batch`]) in one append with the finished prefix, then says so
//! ([`Partition::committed`]). After a crash or a rebalance it starts anew, from the committed offset.

mod catch_up;
mod memory;
mod pages;
mod prefix;
mod record;
mod turns;

use crate::{
    backoff::Backoff,
    call::{Call, Reply},
    conversation::{Conversation, Finished, Input, Moment, Published, Step, Style, Terms},
    health::Progress,
};
use memory::Memory;
use prefix::Prefix;
use record::{Pending, Record, Taken, Talk};
use rustc_hash::FxHashMap;
use schemas::{
    ExternalId, Millis, Request, SourceCustomer, System,
    rules::{Rule, holds},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
pub use turns::Urgency;
use turns::{Turn, Turns};

/// Names one call of a partition; each is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// How a partition is run.
#[derive(Clone, Debug)]
pub struct Options {
    pub system: System,
    pub style: Style,
    pub backoff: Backoff,
    /// The system has list calls: reads of a backfill are answered a page at a time.
    pub lists: bool,
    /// At most this many calls at once.
    pub calls: usize,
    /// The source catches up first: what asks for creates does not know all yet, until [`Partition::caught_up`].
    pub catches_up: bool,
    /// At most about this many requests are held; more than a slice of a backfill, so that live ones behind it are seen.
    pub room: usize,
    /// For this many records the last published result is remembered.
    pub memory: usize,
}

impl Options {
    pub fn new(system: System, style: Style) -> Self {
        Options { system, style, backoff: Backoff::default(), lists: false, catches_up: false, calls: 32, room: 4_000, memory: 10_000 }
    }
}

/// Something to publish.
#[allow(clippy::large_enum_variant)] // Few at a time, and moved once: a box would only cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To `customers.<system>`.
    Result { key: String, result: SourceCustomer },
    /// A `Read` without notices to `requests.<system>`: this record is to be looked at next.
    Ask { id: ExternalId },
    /// To `requests.<system>.dlq`: the request at this offset cannot be answered.
    Dead { offset: i64, key: String, reason: String },
}

/// What is to be published at once: outputs in order, and the end of the finished prefix (the offset to commit).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub outputs: Vec<Output>,
    /// `None`: as before.
    pub finished: Option<i64>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty() && self.finished.is_none()
    }
}

/// One partition's scheduler. Pure: the same calls in the same order give the same answers.
#[derive(Debug)]
pub struct Partition {
    options: Options,
    prefix: Prefix,
    records: FxHashMap<Arc<str>, Record>,
    turns: Turns,
    /// Records that wait, by when they are due.
    waits: BTreeSet<(Millis, Arc<str>)>,
    /// Idle records whose next request is a read of this page, to be answered by one list call.
    pages: FxHashMap<String, BTreeSet<Arc<str>>>,
    /// Requests from this offset on were asked for when the catch-up was through; `None`: it is not.
    caught_up: Option<i64>,
    /// Records whose answer the catch-up holds back.
    held_back: BTreeSet<Arc<str>>,
    /// How often a page's list call failed in a row.
    page_failures: FxHashMap<String, u32>,
    calls: BTreeMap<Ticket, Under>,
    next_ticket: u64,
    outputs: Vec<Output>,
    /// The order of a record's newest result, while it is not published.
    unpublished: FxHashMap<String, i64>,
    memory: Memory,
    progress: Progress,
}

/// What a call that was sent is for.
#[derive(Debug)]
enum Under {
    Record(Arc<str>),
    Page { page: String, keys: Vec<Arc<str>> },
}

impl Partition {
    /// Begins at the committed offset.
    pub fn new(options: Options, committed: i64) -> Self {
        let memory = Memory::new(options.memory);
        Partition {
            caught_up: (!options.catches_up).then_some(0),
            held_back: BTreeSet::new(),
            options,
            prefix: Prefix::new(committed),
            records: FxHashMap::default(),
            turns: Turns::default(),
            waits: BTreeSet::new(),
            pages: FxHashMap::default(),
            page_failures: FxHashMap::default(),
            calls: BTreeMap::new(),
            next_ticket: 0,
            outputs: Vec::new(),
            unpublished: FxHashMap::default(),
            memory,
            progress: Progress::default(),
        }
    }

    /// A request of the topic, in order of offset; `appended_at`: its record's timestamp. One that was offered before is ignored.
    pub fn offer(&mut self, offset: i64, key: &str, request: Request, appended_at: Millis) {
        if !self.prefix.take(offset) {
            return;
        }
        let taken = Taken { offset, asked_at: appended_at, action: request.action };
        let key: Arc<str> = match self.records.get_key_value(key) {
            Some((known, _)) => known.clone(),
            None => key.into(),
        };
        let record = self.records.entry(key.clone()).or_default();
        if taken.is_live() {
            record.live += 1;
            self.progress.live += 1;
        } else {
            self.progress.backfill += 1;
        }
        record.queue.push_back(taken);
        self.place(&key);
    }

    /// A record of the topic that is no request (the driver reports it): it is finished.
    pub fn skip(&mut self, offset: i64) {
        if self.prefix.take(offset) {
            self.prefix.finish(offset);
        }
    }

    /// How many more requests it takes now.
    pub fn room(&self) -> usize {
        self.options.room.saturating_sub(self.progress.live + self.progress.backfill)
    }

    /// The end of the finished prefix.
    pub fn finished(&self) -> i64 {
        self.prefix.end()
    }

    /// Nothing is held, nothing is to be published.
    pub fn is_idle(&self) -> bool {
        self.prefix.len() == 0 && self.outputs.is_empty()
    }

    /// When something that waits is due: ask for [`next_call`](Self::next_call) again then.
    pub fn next_wake(&self) -> Option<Millis> {
        self.waits.first().map(|(at, _)| *at)
    }

    pub fn progress(&self) -> Progress {
        Progress { calls: self.calls.len(), ..self.progress }
    }

    /// Whether [`next_call`](Self::next_call) would give one, and how urgent it is.
    pub fn ready(&mut self, moment: Moment) -> Option<Urgency> {
        self.wake(moment);
        let free = self.calls.len() < self.options.calls;
        self.turns.first().filter(|_| free).map(|turn| turn.urgency)
    }

    /// The next call to send. It counts as sent: what is offered from now on does not share its answer.
    pub fn next_call(&mut self, moment: Moment) -> Option<(Ticket, Call)> {
        self.wake(moment);
        while self.calls.len() < self.options.calls {
            let turn = self.turns.first()?.clone();
            if let Some(sent) = self.send(&turn, moment) {
                return Some(sent);
            }
        }
        None
    }

    /// What came of a call. An answer that comes twice, or to a call of an earlier life, is ignored.
    pub fn on_reply(&mut self, ticket: Ticket, reply: Reply, moment: Moment) {
        match self.calls.remove(&ticket) {
            None => {}
            Some(Under::Record(key)) => self.on_answer(&key, reply, moment),
            Some(Under::Page { page, keys }) => self.on_page(page, keys, reply, moment),
        }
    }

    /// All that is finished and not published yet. Publish it in one append, then call [`committed`](Self::committed).
    pub fn take_batch(&mut self) -> Batch {
        Batch { outputs: std::mem::take(&mut self.outputs), finished: self.prefix.give() }
    }

    /// The batch is published. Batches are committed in the order in which they were taken.
    pub fn committed(&mut self, batch: &Batch) {
        for output in &batch.outputs {
            let Output::Result { key, result } = output else { continue };
            let order = result.order.unwrap_or(0);
            // A newer result that is not published yet makes this one useless: nobody may write upon it unseen.
            if self.unpublished.get(key) == Some(&order) {
                self.unpublished.remove(key);
                self.memory.put(key, Published { order, fields: result.fields.clone() });
            }
        }
    }

    /// The batch was not published, and never will be as it was: its contents come again with the next one.
    pub fn aborted(&mut self, batch: Batch) {
        self.outputs.splice(0..0, batch.outputs);
        if batch.finished.is_some() {
            self.prefix.take_back();
        }
    }

    /// Lets go on what is due.
    fn wake(&mut self, moment: Moment) {
        while let Some((at, key)) = self.waits.first().cloned() {
            if at > moment.now {
                break;
            }
            self.waits.pop_first();
            let Some(record) = self.records.get_mut(&key) else { continue };
            record.wait = None;
            match &mut record.talk {
                Talk::Own { pending: Pending::CatchUp(..), .. } => self.give_back(&key),
                Talk::Own { conversation, .. } => {
                    let step = conversation.next(Input::Due, moment);
                    self.step(&key, step, moment);
                }
                _ => {
                    record.not_before = None;
                    self.place(&key);
                }
            }
        }
    }

    /// Sends the call whose turn it is; `None` if there was nothing to send after all.
    fn send(&mut self, turn: &Turn, moment: Moment) -> Option<(Ticket, Call)> {
        let key = turn.key.clone();
        let record = self.records.get_mut(&key)?;
        if matches!(record.talk, Talk::Idle) {
            if let Some(page) = record.page.clone()
                && self.pages.get(&page).is_some_and(|keys| keys.len() > 1)
            {
                return Some(self.send_page(page));
            }
            let taken = record.queue.pop_front()?;
            let about = vec![(taken.offset, taken.is_live())];
            let caught_up = self.caught_up.is_some_and(|end| taken.offset >= end);
            let Options { system, style, backoff, .. } = &self.options;
            let terms = Terms { system: system.clone(), style: *style, backoff: *backoff, caught_up };
            let published = self.memory.get(&key).filter(|_| !self.unpublished.contains_key(&*key));
            let mut conversation = Box::new(Conversation::new(terms, &key, taken.offset, taken.asked_at, taken.action, published));
            let step = conversation.next(Input::Start, moment);
            record.talk = Talk::Own { conversation, about, pending: Pending::Answer };
            self.step(&key, step, moment);
        }
        let record = self.records.get_mut(&key)?;
        record.join();
        let Talk::Own { pending, .. } = &mut record.talk else { return None };
        let call = pending.take_call()?;
        let ticket = self.ticket(Under::Record(key.clone()));
        self.place(&key);
        Some((ticket, call))
    }

    fn ticket(&mut self, under: Under) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.calls.insert(ticket, under);
        ticket
    }

    fn on_answer(&mut self, key: &Arc<str>, reply: Reply, moment: Moment) {
        let Some(record) = self.records.get_mut(key) else { return };
        if !holds(Rule::ReadsJoinedBeforeTheCall) {
            record.join();
        }
        let Talk::Own { conversation, .. } = &mut record.talk else { return };
        let step = conversation.next(Input::Reply(reply), moment);
        self.step(key, step, moment);
    }

    fn step(&mut self, key: &Arc<str>, step: Step, moment: Moment) {
        let holds_back = self.holds_back();
        let Some(record) = self.records.get_mut(key) else { return };
        let Talk::Own { about, pending, .. } = &mut record.talk else { return };
        match step {
            Step::Call(call) => *pending = Pending::Call(call),
            Step::Wait { until } => *pending = Pending::Wait(until),
            Step::FinishCaughtUp(finished) if holds_back => return self.hold_back(key, finished, moment),
            Step::Finish(finished) | Step::FinishCaughtUp(finished) => return self.conclude(key, finished),
            Step::Poison(reason) => {
                let about = std::mem::take(about);
                record.talk = Talk::Idle;
                for (offset, _) in &about {
                    self.outputs.push(Output::Dead { offset: *offset, key: key.to_string(), reason: reason.clone() });
                }
                self.finish(key, &about);
            }
        }
        self.place(key);
    }

    fn conclude(&mut self, key: &Arc<str>, finished: Finished) {
        let Some(record) = self.records.get_mut(key) else { return };
        if let Talk::Own { about, .. } = std::mem::take(&mut record.talk) {
            self.publish(finished);
            self.finish(key, &about);
        }
        self.place(key);
    }

    fn publish(&mut self, finished: Finished) {
        let Finished { key, result, asks } = finished;
        if let Some(order) = result.order.filter(|order| *order > 0) {
            self.unpublished.insert(key.clone(), order);
        }
        self.outputs.push(Output::Result { key, result });
        self.outputs.extend(asks.into_iter().map(|id| Output::Ask { id }));
    }

    fn finish(&mut self, key: &Arc<str>, about: &[(i64, bool)]) {
        for (offset, live) in about {
            self.prefix.finish(*offset);
            self.progress.answered += 1;
            if *live {
                self.progress.live -= 1;
                if let Some(record) = self.records.get_mut(key) {
                    record.live -= 1;
                }
            } else {
                self.progress.backfill -= 1;
                self.progress.backfilled += 1;
            }
        }
        if let Some(record) = self.records.get_mut(key) {
            record.singly = false;
        }
    }

    /// Enters a record where it belongs now: among the turns, the waits, the pages, or nowhere.
    fn place(&mut self, key: &Arc<str>) {
        let Some(record) = self.records.get_mut(key) else { return };
        if let Some(turn) = record.turn.take() {
            self.turns.remove(&turn);
        }
        if let Some(at) = record.wait.take() {
            self.waits.remove(&(at, key.clone()));
        }
        if let Some(page) = record.page.take()
            && let Some(keys) = self.pages.get_mut(&page)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.pages.remove(&page);
            }
        }
        let urgency = if record.live > 0 { Urgency::Live } else { Urgency::Backfill };
        let offset = match &record.talk {
            Talk::Idle => match record.queue.front() {
                None => {
                    self.records.remove(key);
                    return;
                }
                Some(_) if urgency == Urgency::Backfill && record.not_before.is_some() => {
                    let at = record.not_before.unwrap_or_default();
                    record.wait = Some(at);
                    self.waits.insert((at, key.clone()));
                    return;
                }
                Some(next) => {
                    if let Some(page) = next.page().filter(|page| !page.is_empty())
                        && urgency == Urgency::Backfill
                        && self.options.lists
                        && !record.singly
                    {
                        record.page = Some(page.clone());
                        self.pages.entry(page.clone()).or_default().insert(key.clone());
                    }
                    next.offset
                }
            },
            Talk::Own { pending: Pending::Call(_), about, .. } => about.first().map_or(0, |(offset, _)| *offset),
            Talk::Own { pending: Pending::Wait(at) | Pending::CatchUp(_, at), .. } => {
                record.wait = Some(*at);
                self.waits.insert((*at, key.clone()));
                return;
            }
            Talk::Own { pending: Pending::Answer, .. } | Talk::Listed { .. } => return,
        };
        let turn = Turn { urgency, offset, key: key.clone() };
        record.turn = Some(turn.clone());
        self.turns.add(turn);
    }
}
