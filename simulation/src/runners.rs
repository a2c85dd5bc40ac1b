//! The conversation runners of Stripe and Salesforce: the real machine, over simulated calls that fail, are slow, or land late.

use crate::{
    brief, log,
    plan::{Moment, NAMES, STRIPE},
    systems::stripe::Failure,
    values,
    world::{Event, World},
};
use connect::{Batch, Call, Output, Partition, Reply, Style, Ticket, partition::Options};
use schemas::{Action, ExternalId, Notice, Read, Request, Value};
use std::collections::HashMap;

/// One runner of one partition.
pub struct Runner {
    pub id: u64,
    pub system: usize,
    pub partition: usize,
    pub machine: Partition,
    /// The next offset to read.
    position: usize,
    /// It was replaced, and goes on until then.
    zombie_until: Option<i64>,
    /// The moment (of the history) of the last snapshot of each record that was answered.
    seen: HashMap<ExternalId, u64>,
    /// It is called at this time.
    wake: Option<i64>,
    /// A batch is being appended; another follows only after it.
    appending: bool,
}

impl Runner {
    /// It was replaced, and goes on for a while.
    pub fn is_zombie(&self) -> bool {
        self.zombie_until.is_some()
    }

    /// Nothing is asked of it, or it was replaced.
    pub fn is_idle(&self) -> bool {
        self.zombie_until.is_some() || self.machine.is_idle()
    }
}

/// A call on its way.
#[derive(Clone, Debug)]
pub struct Flight {
    pub runner: u64,
    pub system: usize,
    pub ticket: Ticket,
    pub call: Call,
    pub failure: Failure,
    /// The answer takes this long; `None`: it never comes (a time-out was answered already).
    pub answer_after: Option<i64>,
    /// Its answer is lost: a time-out.
    pub lost: bool,
}

impl World {
    pub fn runner_start(&mut self, system: usize, partition: usize) {
        let id = self.next_instance();
        let style = if system == STRIPE { Style::Idempotent } else { Style::Stamped };
        let mut options = Options::new(self.names[system].clone(), style);
        options.lists = true;
        options.catches_up = system == STRIPE;
        options.calls = 8;
        options.backoff.longest = if self.long_outage { 1_200_000 } else { 20_000 };
        let committed = self.committed.get(&(system, partition)).copied().unwrap_or(0);
        self.runners.push(Runner {
            id,
            system,
            partition,
            machine: Partition::new(options, committed),
            position: committed as usize,
            zombie_until: None,
            seen: HashMap::new(),
            wake: None,
            appending: false,
        });
        self.starts.insert(id, self.now);
        self.schedule(1, Event::Drive { runner: id });
        if system == STRIPE {
            self.schedule(20, Event::CatchUp { runner: id });
        }
    }

    /// The runner ends; it may go on for a while as a zombie, beside its successor.
    pub fn runner_crash(&mut self, system: usize, partition: usize, zombie: i64) {
        let until = self.now + zombie;
        for runner in self.runners.iter_mut().filter(|r| r.system == system && r.partition == partition && r.zombie_until.is_none()) {
            runner.zombie_until = Some(until);
        }
        if zombie == 0 {
            self.runners.retain(|r| r.zombie_until != Some(until));
        }
        self.runner_start(system, partition);
    }

    /// Takes what is new in the topic, sends what may be sent, publishes what is finished.
    pub fn drive(&mut self, id: u64) {
        let Some(at) = self.runners.iter().position(|r| r.id == id) else { return };
        if self.runners[at].zombie_until.is_some_and(|until| self.now >= until) {
            self.runners.remove(at);
            return;
        }
        let (system, partition) = (self.runners[at].system, self.runners[at].partition);
        if self.runners[at].wake.is_some_and(|wake| wake <= self.now) {
            self.runners[at].wake = None;
        }
        let topic = self.requests[system];
        let zombie = self.runners[at].zombie_until.is_some();
        while !zombie && self.runners[at].position < self.log.topics[topic].partitions[partition].len() {
            let record = &self.log.topics[topic].partitions[partition][self.runners[at].position];
            let runner = &mut self.runners[at];
            runner.position += 1;
            let request = record.value.as_deref().and_then(|v| self.shared.codecs.request.decode(v).ok());
            match request {
                Some(request) => {
                    if let Action::Create(create) = &request.action {
                        self.sent.insert(create.id.clone(), create.set.iter().map(|(f, v)| (values::index(f), v.clone())).collect());
                    }
                    if let Action::Write(write) = &request.action {
                        let expected: Vec<(usize, Value)> = write.expected.iter().map(|(f, v)| (values::index(f), v.clone())).collect();
                        self.expected.insert(write.id.clone(), expected);
                        self.sent.insert(write.id.clone(), write.set.iter().map(|(f, v)| (values::index(f), v.clone())).collect());
                    }
                    runner.machine.offer(record.offset, log::key(record), request, record.timestamp);
                }
                None => runner.machine.skip(record.offset),
            }
        }
        loop {
            let moment = self.moment();
            let Some((ticket, call)) = self.runners[at].machine.next_call(moment) else { break };
            self.send(id, system, ticket, call);
        }
        if !self.runners[at].appending {
            let batch = self.runners[at].machine.take_batch();
            if !batch.is_empty() {
                self.runners[at].appending = true;
                let after = self.dice.calls.between(0, 5);
                self.schedule(after, Event::Append { runner: id, batch });
            }
        }
        if let Some(wake) = self.runners[at].machine.next_wake() {
            let wake = wake.max(self.now + 1);
            if self.runners[at].wake.is_none_or(|known| wake < known) {
                self.runners[at].wake = Some(wake);
                self.schedule(wake - self.now, Event::Drive { runner: id });
            }
        }
    }

    fn moment(&mut self) -> connect::Moment {
        connect::Moment { now: self.now, jitter: self.dice.calls.below(1000) as f64 / 1000.0 }
    }

    /// A batch is appended, with the offset it covers: both or nothing.
    pub fn append_batch(&mut self, id: u64, batch: Batch) {
        let Some(at) = self.runners.iter().position(|r| r.id == id) else { return };
        self.runners[at].appending = false;
        let (system, partition, zombie) = (self.runners[at].system, self.runners[at].partition, self.runners[at].zombie_until.is_some());
        if self.dice.calls.chance(10) {
            self.runners[at].machine.aborted(batch);
            let after = self.dice.calls.between(1, 500);
            return self.schedule(after, Event::Drive { runner: id });
        }
        if zombie && !self.plan.settings.unfenced {
            // Its successor's start has fenced it: its transactions are refused. Its calls go on.
            self.counts.fenced += 1;
            return;
        }
        for output in &batch.outputs {
            match output {
                Output::Result { key, result } => {
                    let result = self.translated(system, result);
                    self.publish(system, key, &result);
                    let external = ExternalId::new(key);
                    if let Some(seq) = self.runners[at].seen.get(&external).copied() {
                        self.history.published(system, &external, seq, self.now, &result);
                    }
                }
                Output::Ask { id } => self.request(system, id.as_str(), Action::Read(Read::default())),
                Output::Dead { key, reason, .. } => {
                    self.breaches.push(format!("{}: dead letter for {key}: {reason}", NAMES[system]));
                }
            }
        }
        if let (Some(finished), false) = (batch.finished, zombie) {
            self.committed.insert((system, partition), finished);
        }
        self.runners[at].machine.committed(&batch);
        self.drive(id);
    }

    /// Notices that say more than this system's source would.
    fn translated(&self, _system: usize, result: &schemas::SourceCustomer) -> schemas::SourceCustomer {
        result.clone()
    }

    /// Appends a request.
    pub fn request(&mut self, system: usize, key: &str, action: Action) {
        let topic = self.log.topics[self.requests[system]].name.clone();
        if let Ok(value) = self.shared.codecs.request.encode(&Request { action }) {
            self.append(log::Log::record(&topic, key, value, self.now));
        }
    }

    /// A notice (or a poll's find) becomes a read.
    pub fn take_notice(&mut self, system: usize, id: &ExternalId, notice: Option<Notice>) {
        if let (STRIPE, Some(notice)) = (system, &notice) {
            self.stripe.unnoticed.remove(&notice.event_id);
        }
        let read = Read { notices: notice.into_iter().collect(), page: None };
        self.request(system, id.as_str(), Action::Read(read));
    }

    /// Decides what becomes of a call, and sends it on its way.
    fn send(&mut self, runner: u64, system: usize, ticket: Ticket, call: Call) {
        let faults = self.plan.settings.faults.clone();
        let latency = self.plan.settings.latency;
        let dice = &mut self.dice.calls;
        let (there, back) = (dice.between(1, latency), dice.between(1, latency));
        let unknown = |reason: &str| Reply::Unknown { reason: reason.into(), retry_after: None };
        let mut flight = Flight { runner, system, ticket, call, failure: Failure::None, answer_after: Some(back), lost: false };
        if self.now < self.outages[system] || self.dice.calls.chance(faults.fail_before) {
            self.counts.calls_failed += 1;
            let reply = match self.dice.calls.below(3) {
                0 => Reply::Busy { reason: "429".into(), retry_after: Some(self.dice.calls.between(100, 2_000)) },
                1 => Reply::Unauthorized { reason: "401".into() },
                _ => unknown("reset"),
            };
            return self.schedule(there + back, Event::Reply { runner, ticket, reply, seen: Vec::new() });
        }
        let dice = &mut self.dice.calls;
        if flight.call.changes() && dice.chance(faults.late) {
            self.counts.calls_late += 1;
            let gives_up = dice.between(500, 3_000);
            let lands = gives_up + dice.between(-400, 25_000);
            flight.answer_after = None;
            self.schedule(gives_up, Event::Reply { runner, ticket, reply: unknown("timed out"), seen: Vec::new() });
            return self.schedule(lands, Event::Call(Box::new(flight)));
        }
        let dice = &mut self.dice.calls;
        if dice.chance(faults.fail_after) {
            self.counts.calls_unknown += 1;
            flight.lost = true;
        }
        if system == STRIPE && matches!(flight.call, Call::Update(_) | Call::Create(_)) && dice.chance(faults.stored_5xx) {
            flight.failure = if dice.chance(500) { Failure::StoredBefore } else { Failure::StoredAfter };
        }
        if dice.chance(faults.answer_slow) {
            flight.answer_after = Some(back + dice.between(500, 4_000));
        }
        flight.answer_after = flight.answer_after.map(|after| after + std::mem::take(&mut self.slow[system]));
        self.schedule(there, Event::Call(Box::new(flight)));
    }

    /// A call takes effect.
    pub fn perform(&mut self, flight: Flight) {
        let Flight { runner, system, ticket, call, failure, answer_after, lost } = flight;
        let target = match &call {
            Call::Update(update) => Some(update.id.clone()),
            Call::Delete(delete) => Some(delete.id.clone()),
            _ => None,
        };
        if call.changes() {
            self.count_call(system);
        }
        if let Some(id) = &target {
            self.ambush(system, id.as_str(), Moment::JustBefore);
        }
        let reply = if system == STRIPE { self.stripe_call(&call, failure) } else { self.salesforce_call(&call) };
        if self.tracing {
            self.trace(format!(
                "{} #{runner} {}{}: {}",
                NAMES[system],
                brief::call(&call),
                if lost { " (answer lost)" } else { "" },
                brief::reply(&reply)
            ));
        }
        let seq = self.history.seq;
        let made = match (&call, &reply) {
            (Call::Create(_), Reply::Done { seen, .. }) => Some(seen.id.clone()),
            _ => None,
        };
        if let (Some(record), Some(started)) =
            (made.as_ref().and_then(|id| self.history.find(system, id)), self.starts.get(&runner).copied())
        {
            self.made_since.entry(record).or_insert(started);
        }
        if let Some(id) = target.as_ref().or(made.as_ref()) {
            self.ambush(system, id.as_str(), Moment::JustAfter);
        }
        let Some(answer_after) = answer_after else { return };
        let seen = match &reply {
            _ if lost => Vec::new(),
            Reply::Done { seen, .. } => vec![(seen.id.clone(), seq)],
            Reply::Found(found) if matches!(call, Call::List { .. }) => found.iter().map(|s| (s.id.clone(), seq)).collect(),
            _ => Vec::new(),
        };
        let reply = if lost { Reply::Unknown { reason: "reset".into(), retry_after: None } } else { reply };
        self.schedule(answer_after, Event::Reply { runner, ticket, reply, seen });
    }

    pub fn on_reply(&mut self, id: u64, ticket: Ticket, reply: Reply, seen: Vec<(ExternalId, u64)>) {
        let moment = self.moment();
        let Some(runner) = self.runners.iter_mut().find(|r| r.id == id) else { return };
        runner.seen.extend(seen);
        runner.machine.on_reply(ticket, reply, moment);
        self.drive(id);
    }
}
