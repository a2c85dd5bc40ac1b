//! The simulated world: virtual time, one queue of events, and everything that happens in it.

use crate::{
    counts::Counts,
    dice::Dice,
    history::History,
    log::{self, Codecs, Log},
    plan::{CRM, Moment, NAMES, PRODUCT, Plan, SALESFORCE, STRIPE, Typing},
    runners::{Flight, Runner},
    systems::{
        product::{OutboxRow, Product},
        salesforce::Salesforce,
        stripe::Stripe,
    },
    tasks::Tasks,
};
use connect::{Batch, Reply, Ticket};
use schemas::{
    Action, CustomerId, ExternalId, Notice, Read, Registry, Request, SourceCustomer, System, UnifyBody, UnifyMessage, Value, Walk, WriteId,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
};
use streams::ProducerRecord;

/// The true time at the start: some day, on a second.
pub const START: i64 = 1_790_000_000_000;
/// Nothing changes any more for so long: at rest. Longer than several of the longest pauses.
const REST: i64 = 45 * 60_000;

/// Something that will happen.
pub enum Event {
    Act(usize),
    Task(usize),
    Tick,
    Drive {
        runner: u64,
    },
    Call(Box<Flight>),
    Reply {
        runner: u64,
        ticket: Ticket,
        reply: Reply,
        seen: Vec<(ExternalId, u64)>,
    },
    Append {
        runner: u64,
        batch: Batch,
    },
    Notice {
        system: usize,
        id: ExternalId,
        notice: Option<Notice>,
    },
    Rewrite {
        record: usize,
        field: usize,
    },
    SinkStep {
        id: u64,
    },
    OutboxTake {
        source: u64,
    },
    OutboxAppend {
        source: u64,
        rows: Vec<OutboxRow>,
        zombie: bool,
    },
    OutboxRemove {
        source: u64,
        numbers: Vec<i64>,
    },
    Backfill {
        system: usize,
    },
    /// Whether the backfill (of a runner: its catch-up) is through as far as this stage; `ends`: what has to be passed.
    Through {
        runner: Option<u64>,
        system: usize,
        stage: usize,
        ends: Vec<i64>,
        /// Until it is looked at again.
        pause: i64,
    },
    Sweep {
        system: usize,
    },
    /// The source begins to catch up, for a runner that has started.
    CatchUp {
        runner: u64,
    },
    /// Concord starts again.
    Start {
        /// With a log that begins anew.
        reset: bool,
    },
}

struct Queued {
    at: i64,
    number: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// An edit that lies in wait for a call of ours.
pub struct Ambush {
    pub system: usize,
    pub field: usize,
    pub typing: Typing,
    pub moment: Moment,
    pub delete: bool,
}

/// Streams of chance.
pub struct DiceSet {
    pub actions: Dice,
    pub calls: Dice,
    pub notices: Dice,
    pub tasks: Dice,
}

/// What every history shares: the registry and its codecs.
pub struct Shared {
    pub registry: Registry,
    pub codecs: Codecs,
    pub identify: schemas::AvroCodec<schemas::IdentifyMessage>,
    pub customer: schemas::AvroCodec<topology::customers::state::Customer>,
    pub claimants: schemas::AvroCodec<topology::customers::identify::Claimants>,
}

impl Shared {
    pub fn new() -> anyhow::Result<Arc<Self>> {
        let registry = Registry::new();
        let codecs = Codecs::new(&registry)?;
        let identify = registry.codec("customers.identify-value")?;
        let config = topology::customers::Config::new(crate::tasks::APPLICATION, Vec::new());
        let customer = topology::customers::stored::codec(&config, &registry, "customers")?;
        let claimants = topology::customers::stored::codec(&config, &registry, "emails")?;
        Ok(Arc::new(Shared { registry, codecs, identify, customer, claimants }))
    }
}

pub struct World {
    pub shared: Arc<Shared>,
    pub plan: Plan,
    pub now: i64,
    pub dice: DiceSet,
    pub history: History,
    pub log: Log,
    pub tasks: Tasks,
    pub runners: Vec<Runner>,
    pub product: Product,
    pub stripe: Stripe,
    pub salesforce: Salesforce,
    pub names: Vec<System>,
    /// Topics by system.
    pub customers: Vec<usize>,
    pub requests: Vec<usize>,
    /// The runners' committed offsets, by system and partition.
    pub committed: BTreeMap<(usize, usize), i64>,
    pub automations: BTreeMap<(usize, usize), u32>,
    pub ambushes: Vec<Ambush>,
    pub outages: [i64; 4],
    /// How much longer the next call takes.
    pub slow: [i64; 4],
    pub long_outage: bool,
    /// All of Concord stands still until then.
    pub down_until: i64,
    /// When each runner started.
    pub starts: BTreeMap<u64, i64>,
    /// For each record that a runner made, when that one had started.
    pub made_since: BTreeMap<usize, i64>,
    /// What each write expected to find.
    pub expected: BTreeMap<WriteId, Vec<(usize, Value)>>,
    /// What each write set.
    pub sent: BTreeMap<WriteId, Vec<(usize, Value)>>,
    /// Writes whose event never comes.
    pub never_told: BTreeSet<(usize, WriteId)>,
    pub links: Vec<(usize, ExternalId, i64, CustomerId, i64)>,
    pub typed: u32,
    pub people_made: u32,
    pub events: u64,
    pub counts: Counts,
    /// What must never happen, and did.
    pub breaches: Vec<String>,
    pub tracing: bool,
    pub lines: Vec<String>,
    queue: BinaryHeap<Reverse<Queued>>,
    number: u64,
    instances: u64,
    last_change: (u64, i64),
    events_run: u64,
}

impl World {
    pub fn new(shared: Arc<Shared>, plan: Plan, tracing: bool) -> anyhow::Result<Self> {
        let seed = plan.seed;
        let names = NAMES.iter().map(System::new).collect::<Result<Vec<_>, _>>()?;
        let mut log = Log::default();
        let config = crate::tasks::config(&plan, &names);
        for spec in topology::customers::topics(&config) {
            log.create(&spec.name, spec.partitions as usize);
        }
        let by_system = |log: &Log, prefix: &str| -> Vec<usize> {
            NAMES.iter().map(|name| log.topic(&format!("{prefix}.{name}")).unwrap_or(usize::MAX)).collect()
        };
        let (customers, requests) = (by_system(&log, "customers"), by_system(&log, "requests"));
        let tasks = Tasks::new(&config, &shared, &log)?;
        let long_outage = plan.steps.iter().any(|s| matches!(s.act, crate::plan::Act::Outage { lasts, .. } if lasts > 600_000));
        let first = plan.steps.first().map_or(0, |s| s.at.min(0));
        let mut world = World {
            shared,
            plan,
            now: START + first,
            dice: DiceSet {
                actions: Dice::new(seed, "actions"),
                calls: Dice::new(seed, "calls"),
                notices: Dice::new(seed, "notices"),
                tasks: Dice::new(seed, "tasks"),
            },
            history: History::default(),
            log,
            tasks,
            runners: Vec::new(),
            product: Product::default(),
            stripe: Stripe::default(),
            salesforce: Salesforce::default(),
            names,
            customers,
            requests,
            committed: BTreeMap::new(),
            automations: BTreeMap::new(),
            ambushes: Vec::new(),
            outages: [0; 4],
            slow: [0; 4],
            long_outage,
            down_until: i64::MIN,
            starts: BTreeMap::new(),
            made_since: BTreeMap::new(),
            expected: BTreeMap::new(),
            sent: BTreeMap::new(),
            never_told: BTreeSet::new(),
            links: Vec::new(),
            typed: 0,
            people_made: 0,
            events: 0,
            counts: Counts::default(),
            breaches: Vec::new(),
            tracing,
            lines: Vec::new(),
            queue: BinaryHeap::new(),
            number: 0,
            instances: 0,
            last_change: (0, START),
            events_run: 0,
        };
        world.begin();
        Ok(world)
    }

    pub fn present(&self, system: usize) -> bool {
        self.plan.settings.systems[system].present
    }

    fn begin(&mut self) {
        for index in 0..self.plan.steps.len() {
            let after = START + self.plan.steps[index].at - self.now;
            self.schedule(after, Event::Act(index));
        }
        let to_start = START - self.now;
        for partition in 0..self.plan.settings.partitions {
            self.sink_start(partition);
            for system in [STRIPE, SALESFORCE] {
                if self.present(system) {
                    self.runner_start(system, partition);
                }
            }
        }
        for system in [PRODUCT, STRIPE, SALESFORCE] {
            if self.present(system) {
                let after = to_start + self.dice.actions.between(0, 1_500);
                self.schedule(after, Event::Backfill { system });
            }
        }
        self.schedule(to_start, Event::Tick);
    }

    pub fn next_instance(&mut self) -> u64 {
        self.instances += 1;
        self.instances
    }

    pub fn schedule(&mut self, after: i64, event: Event) {
        self.number += 1;
        // At the same time: in any order, but the same one for a seed.
        let number = (self.dice.tasks.below(256) as u64) << 48 | self.number;
        self.queue.push(Reverse(Queued { at: self.now + after.max(0), number, event }));
    }

    /// No backfill and no catch-up that was under way goes on.
    pub fn forget_imports(&mut self) {
        self.queue
            .retain(|Reverse(queued)| !matches!(queued.event, Event::Backfill { .. } | Event::Through { .. } | Event::CatchUp { .. }));
    }

    pub fn trace(&mut self, line: String) {
        let time = self.now - START;
        self.lines.push(format!("{:>8}.{:03} {line}", time.div_euclid(1000), time.rem_euclid(1000)));
    }

    pub fn outage(&self, system: usize) -> bool {
        self.now < self.outages[system]
    }

    pub fn count_call(&mut self, system: usize) {
        self.counts.calls[system] += 1;
    }

    pub fn expected_of(&self, write: &WriteId, _system: usize) -> Option<Vec<(usize, Value)>> {
        self.expected.get(write).cloned()
    }

    /// The person whose customer this is, as far as links tell.
    pub fn person_of(&self, customer: &CustomerId) -> usize {
        let linked = self.links.iter().find(|l| l.3 == *customer);
        linked.and_then(|l| self.history.find(l.0, &l.1)).map_or(0, |r| self.history.records[r].person)
    }

    /// Appends to the log, and wakes who reads it.
    pub fn append(&mut self, record: ProducerRecord) -> i64 {
        let Some((topic, partition, offset)) = self.log.append(record) else { return 0 };
        if self.tracing {
            self.trace_append(topic, partition, offset);
        }
        let name = self.log.topics[topic].name.clone();
        if let Some(system) = name.strip_prefix("links.") {
            let system = NAMES.iter().position(|n| *n == system).unwrap_or(CRM);
            let record = &self.log.topics[topic].partitions[partition][offset as usize];
            if let Some(link) = record.value.as_deref().and_then(|v| self.shared.codecs.link.decode(v).ok()) {
                self.links.push((system, ExternalId::new(log::key(record)), link.incarnation, link.customer, self.now));
            }
        }
        if let Some(system) = self.requests.iter().position(|t| *t == topic) {
            let after = self.dice.calls.between(0, 3);
            if system == PRODUCT {
                let id = self.product.sinks.iter().find(|s| s.partition == partition && !s.zombie).map(|s| s.id);
                if let Some(id) = id {
                    self.sink_wake(id, after);
                }
            } else {
                let found = self.runners.iter().rev().find(|r| r.system == system && r.partition == partition).map(|r| r.id);
                if let Some(runner) = found {
                    self.schedule(after, Event::Drive { runner });
                }
            }
        }
        self.wake_reader(topic, partition);
        offset
    }

    /// Publishes a result to `customers.<system>`; gives its offset.
    pub fn publish(&mut self, system: usize, key: &str, result: &SourceCustomer) -> i64 {
        let topic = self.log.topics[self.customers[system]].name.clone();
        match self.shared.codecs.source.encode(result) {
            Ok(value) => self.append(log::Log::record(&topic, key, value, self.now)),
            Err(error) => {
                self.breaches.push(format!("a result does not encode: {error}"));
                0
            }
        }
    }

    /// Requests of a partition from an offset on.
    pub fn requests(&self, system: usize, partition: usize, from: usize, most: usize) -> Vec<(String, Request)> {
        let records = &self.log.topics[self.requests[system]].partitions[partition];
        let some = records.iter().skip(from).take(most);
        some.filter_map(|r| Some((log::key(r).to_owned(), self.shared.codecs.request.decode(r.value.as_deref()?).ok()?))).collect()
    }

    /// Results that were published before, once more.
    pub fn replay_results(&mut self, system: usize, count: usize) {
        let topic = self.customers[system];
        for _ in 0..count {
            let partition = self.dice.actions.below(self.log.topics[topic].partitions.len());
            let records = &self.log.topics[topic].partitions[partition];
            if records.is_empty() {
                continue;
            }
            let back = self.dice.actions.below(records.len().min(12)) + 1;
            let record = records[records.len() - back].clone();
            self.append(ProducerRecord {
                topic: record.topic,
                partition: Some(record.partition),
                key: record.key,
                value: record.value,
                timestamp: self.now,
                headers: record.headers,
            });
        }
    }

    /// What webhooks did not bring, Stripe's events list does.
    fn catch_up(&mut self, system: usize) {
        if system == STRIPE {
            for (id, notice) in std::mem::take(&mut self.stripe.missed) {
                let after = self.dice.notices.between(1, 300);
                self.schedule(after, Event::Notice { system, id, notice: Some(notice) });
            }
        }
    }

    /// Looks at every record of a system, and at every one that is known to us.
    pub fn sweep(&mut self, system: usize) {
        self.counts.sweeps += 1;
        self.catch_up(system);
        let mut ids: Vec<ExternalId> = self.history.live(system).map(|(_, r)| r.id.clone()).collect();
        ids.extend(self.links.iter().filter(|l| l.0 == system).map(|l| l.1.clone()));
        ids.sort();
        ids.dedup();
        for id in ids {
            if system == PRODUCT {
                self.product_read(&id, Vec::new());
            } else {
                let after = self.dice.notices.between(1, 300);
                self.schedule(after, Event::Notice { system, id, notice: None });
            }
        }
    }

    // The import: a backfill, then, once all of it has gone through, the walk.

    fn backfill(&mut self, system: usize) {
        let ids: Vec<ExternalId> = self.history.live(system).map(|(_, r)| r.id.clone()).collect();
        for (index, id) in ids.iter().enumerate() {
            if system == PRODUCT {
                self.product_read(id, Vec::new());
            } else {
                let read = Read { notices: Vec::new(), page: Some((index / 3 * 3).to_string()) };
                self.request(system, id.as_str(), Action::Read(read));
            }
        }
        let ends = if system == PRODUCT {
            vec![self.product.outbox.keys().next_back().copied().unwrap_or(0)]
        } else {
            self.ends(self.requests[system])
        };
        self.schedule(50, Event::Through { runner: None, system, stage: 0, ends, pause: 50 });
    }

    pub fn ends(&self, topic: usize) -> Vec<i64> {
        self.log.topics[topic].partitions.iter().map(|p| p.len() as i64).collect()
    }

    fn through(&mut self, runner: Option<u64>, system: usize, stage: usize, ends: Vec<i64>, pause: i64) {
        if runner.is_some_and(|id| !self.runs(id)) {
            return;
        }
        let stages = [
            format!("customers.{}", NAMES[system]),
            "customers.identify".into(),
            "customers.unify".into(),
            format!("links.{}", NAMES[system]),
        ];
        let passed = match stage {
            0 if runner.is_some() => self.reads_answered(system, &ends),
            0 if system == PRODUCT => self.product.outbox.keys().next().is_none_or(|first| *first > ends[0]),
            0 => ends.iter().enumerate().all(|(p, end)| self.committed.get(&(system, p)).copied().unwrap_or(0) >= *end),
            _ => {
                let topic = self.log.topic(&stages[stage - 1]).unwrap_or(0);
                ends.iter().enumerate().all(|(p, end)| self.tasks.position(topic, p) >= *end)
            }
        };
        if !passed {
            return self.schedule(pause, Event::Through { runner, system, stage, ends, pause: (pause * 5 / 4).min(600_000) });
        }
        if stage < stages.len() {
            let topic = self.log.topic(&stages[stage]).unwrap_or(0);
            let ends = self.ends(topic);
            return self.schedule(1, Event::Through { runner, system, stage: stage + 1, ends, pause: 50 });
        }
        if let Some(id) = runner {
            return self.caught_up(id);
        }
        let walk = UnifyMessage { body: UnifyBody::Walk(Walk { system: self.names[system].clone(), reason: "import".into() }) };
        let Ok(value) = self.shared.codecs.unify.encode(&walk) else { return };
        let topic: Arc<str> = "customers.unify".into();
        for partition in 0..self.plan.settings.partitions {
            let mut record = Log::record(&topic, "", value.clone(), self.now);
            record.partition = Some(partition as i32);
            self.append(record);
        }
    }

    // Time.

    /// Lets everything happen, until nothing changes any more. False: it did not come to rest.
    pub fn run(&mut self) -> bool {
        let last_act = START + self.plan.steps.last().map_or(0, |s| s.at).max(0);
        let mut swept = 0;
        let mut tick = 500;
        loop {
            let Some(Reverse(next)) = self.queue.pop() else { return true };
            self.now = next.at;
            self.events_run += 1;
            if self.events_run > 150_000 {
                return false;
            }
            if !self.breaches.is_empty() {
                return true;
            }
            match next.event {
                Event::Tick => {
                    if !self.is_down() {
                        self.tick();
                    }
                    let busy = self.outages.iter().copied().max().unwrap_or(0).max(last_act).max(self.down_until);
                    let seen = self.history.seq;
                    if self.last_change.0 != seen || self.now < last_act + 5_000 {
                        self.last_change = (seen, self.now.max(busy.min(self.now)));
                        tick = 500;
                    } else {
                        tick = (tick * 3 / 2).min(240_000);
                    }
                    let quiet_since = self.last_change.1.max(busy);
                    if swept < 2 && self.now > quiet_since + 90_000 {
                        // What nobody told of is found now; and once more, after what came of it.
                        swept += 1;
                        self.last_change.1 = self.now;
                        for system in [PRODUCT, STRIPE, SALESFORCE] {
                            if self.present(system) && self.plan.settings.sweeps {
                                self.schedule(1, Event::Sweep { system });
                            } else {
                                self.catch_up(system);
                            }
                        }
                    } else if swept == 2 && !self.stripe.missed.is_empty() {
                        self.catch_up(STRIPE);
                    } else if swept == 2 && self.now > quiet_since + REST && self.runners_idle() {
                        return true;
                    }
                    self.schedule(tick, Event::Tick);
                }
                event => self.happen(event),
            }
        }
    }

    /// No call of a runner is under way, nor to be repeated.
    fn runners_idle(&self) -> bool {
        self.runners.iter().all(Runner::is_idle)
    }

    fn happen(&mut self, event: Event) {
        let Some(event) = self.unless_down(event) else { return };
        match event {
            Event::Act(index) => {
                let act = self.plan.steps[index].act.clone();
                self.act(&act);
            }
            Event::Task(task) => self.run_task(task),
            Event::Tick => {}
            Event::Drive { runner } => self.drive(runner),
            Event::Call(flight) => self.perform(*flight),
            Event::Reply { runner, ticket, reply, seen } => self.on_reply(runner, ticket, reply, seen),
            Event::Append { runner, batch } => self.append_batch(runner, batch),
            Event::Notice { system, id, notice } => self.take_notice(system, &id, notice),
            Event::Rewrite { record, field } => self.rewrite(record, field),
            Event::SinkStep { id } => self.sink_step(id),
            Event::OutboxTake { source } => self.outbox_take(source),
            Event::OutboxAppend { source, rows, zombie } => self.outbox_append(source, rows, zombie),
            Event::OutboxRemove { source, numbers } => {
                if source == self.product.source {
                    self.outbox_remove(source, &numbers);
                }
            }
            Event::Backfill { system } => self.backfill(system),
            Event::Through { runner, system, stage, ends, pause } => self.through(runner, system, stage, ends, pause),
            Event::CatchUp { runner } => self.begin_catch_up(runner),
            Event::Start { reset } => self.start(reset),
            Event::Sweep { system } => self.sweep(system),
        }
    }
}
