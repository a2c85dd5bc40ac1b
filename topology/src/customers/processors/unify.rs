//! unify: `customers.unify` in; stores `customers`, `customers-due` (what was put off, by time) and `customers-walks`.

use super::Outlets;
use crate::customers::{
    Config, Effects, Error,
    state::Customer,
    stored::{CUSTOMERS, DUE, WALKS, read, write},
    topics,
    walks::Walks,
};
use schemas::{AvroCodec, CustomerId, Millis, Outcome, System, UnifyBody, UnifyMessage, Walk};
use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::Duration};
use streams::{Processor, ProcessorContext, ProcessorError, PunctuationType, Record, ScheduleId};

const WALK: &[u8] = b"walk";

/// How often what was put off is looked for, and how many at a time.
const DUE_EVERY: Duration = Duration::from_millis(250);
const DUE_AT_ONCE: usize = 1_000;
/// A walk's pace: it leaves most of the time to live edits.
const WALK_EVERY: Duration = Duration::from_millis(50);
const WALK_AT_ONCE: usize = 250;

pub struct Unify {
    config: Arc<Config>,
    customers: AvroCodec<Customer>,
    walks: AvroCodec<Walks>,
    outlets: Outlets,
    /// Customers that a message of this round was about. Each is read once and written once a commit.
    touched: BTreeMap<CustomerId, Box<Touched>>,
    edits: Edits,
    walk: Walks,
    schedules: Schedules,
}

#[derive(Default)]
struct Schedules {
    due: Option<ScheduleId>,
    walk: Option<ScheduleId>,
}

/// Which system's record last changed what is true of a customer, and that record's time: answers are measured by it. Not kept on disk, and
/// only of the last ones.
#[derive(Default)]
struct Edits {
    young: BTreeMap<CustomerId, (System, Millis)>,
    old: BTreeMap<CustomerId, (System, Millis)>,
}

impl Edits {
    /// So many young ones are kept, and as many old ones: what is answered much later is no measure of how fast edits go.
    const MOST: usize = 1_024;

    fn note(&mut self, id: CustomerId, system: System, timestamp: Millis) {
        if self.young.len() >= Self::MOST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, (system, timestamp));
    }

    fn last(&self, id: CustomerId) -> Option<&(System, Millis)> {
        self.young.get(&id).or_else(|| self.old.get(&id))
    }
}

struct Touched {
    customer: Customer,
    /// A message of this round was about it.
    told: bool,
    /// As the index of due customers has it.
    due: Option<Millis>,
}

impl Touched {
    fn new(customer: Customer) -> Self {
        Touched { due: customer.due, customer, told: false }
    }

    /// A message about it, and how long an edit took until its write to another system was answered: by the times of both records.
    fn on_message(
        &mut self,
        config: &Config,
        edits: &mut Edits,
        body: UnifyBody,
        now: Millis,
        timestamp: Millis,
    ) -> Result<Effects, Error> {
        let told = match &body {
            UnifyBody::Result(message) => Some((message.system.clone(), message.result.answer.as_ref().map(|answer| answer.outcome))),
            UnifyBody::Question(question) => Some((question.system.clone(), question.first.answer.as_ref().map(|answer| answer.outcome))),
            UnifyBody::Gone(gone) => Some((gone.system.clone(), None)),
            UnifyBody::Status(_) | UnifyBody::Walk(_) => None,
        };
        self.told = true;
        let truth = |customer: &Customer| (customer.choices, customer.deleted);
        let before = truth(&self.customer);
        let effects = self.customer.on_message(config, body, now)?;
        if let Some((system, outcome)) = told {
            match edits.last(self.customer.id) {
                Some((from, since)) if outcome == Some(Outcome::Done) && *from != system => {
                    let seconds = (timestamp - since).max(0) as f64 / 1000.0;
                    metrics::histogram!("concord_propagation_seconds", "system" => system.to_string()).record(seconds);
                }
                _ => {}
            }
            if truth(&self.customer) != before {
                edits.note(self.customer.id, system, timestamp);
            }
        }
        Ok(effects)
    }
}

impl Unify {
    pub fn new(config: Arc<Config>, name: &str, customers: AvroCodec<Customer>, walks: AvroCodec<Walks>) -> Self {
        let (outlets, touched, edits) = (Outlets::of(name, &config), BTreeMap::new(), Edits::default());
        Unify { config, customers, walks, outlets, touched, edits, walk: Walks::default(), schedules: Schedules::default() }
    }
}

impl Processor<String, UnifyMessage> for Unify {
    fn init(&mut self, ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        self.touched.clear();
        self.schedules.due = Some(ctx.schedule(DUE_EVERY, PunctuationType::WallClockTime));
        if let Some(bytes) = ctx.store(WALKS)?.get(WALK)? {
            self.walk = read(&self.walks, WALKS, &bytes)?;
        }
        self.schedule_walk(ctx);
        Ok(())
    }

    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, UnifyMessage>) -> Result<(), ProcessorError> {
        match record.value.body {
            UnifyBody::Walk(walk) => self.on_walk(ctx, walk),
            body => {
                let id = record.key.parse().map_err(|error| Error::Key { topic: topics::UNIFY.into(), error })?;
                let now = ctx.current_system_time_ms();
                self.touch(ctx, id)?;
                // Just touched, hence there.
                let Some(touched) = self.touched.get_mut(&id) else { return Ok(()) };
                let effects = touched.on_message(&self.config, &mut self.edits, body, now, record.timestamp)?;
                self.outlets.send(ctx, effects, record.timestamp)
            }
        }
    }

    fn punctuate(&mut self, ctx: &mut ProcessorContext<'_>, schedule: ScheduleId, now: i64) -> Result<(), ProcessorError> {
        if Some(schedule) == self.schedules.due { self.touch_due(ctx, now) } else { self.walk_on(ctx) }
    }

    fn before_commit(&mut self, ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        let now = ctx.current_system_time_ms();
        for (id, touched) in std::mem::take(&mut self.touched) {
            let Touched { mut customer, due, told } = *touched;
            if customer.is_new() {
                continue;
            }
            let effects = customer.before_commit(&self.config, &self.walk.imported, now);
            // Nobody said anything, and there is nothing to say: it is as it is stored. So are most that a walk passes.
            if !told && effects.is_empty() && customer.due == due {
                continue;
            }
            self.outlets.send(ctx, effects, now)?;
            if customer.due != due {
                let mut index = ctx.store(DUE)?;
                if let Some(due) = due {
                    index.delete(due_key(due, id));
                }
                if let Some(due) = customer.due {
                    index.put(due_key(due, id), vec![1]);
                }
            }
            let bytes = write(&self.customers, CUSTOMERS, &customer)?;
            ctx.store(CUSTOMERS)?.put(key(id), bytes);
        }
        Ok(())
    }
}

impl Unify {
    /// Its writes and its unified record are computed at the next commit.
    fn touch(&mut self, ctx: &mut ProcessorContext<'_>, id: CustomerId) -> Result<(), ProcessorError> {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.touched.entry(id) {
            let customer = match ctx.store(CUSTOMERS)?.get(id.uuid().as_bytes())? {
                Some(bytes) => read(&self.customers, CUSTOMERS, &bytes)?,
                None => Customer::new(id, self.config.first_number),
            };
            entry.insert(Box::new(Touched::new(customer)));
        }
        Ok(())
    }

    /// Whatever was put off until now.
    fn touch_due(&mut self, ctx: &mut ProcessorContext<'_>, now: Millis) -> Result<(), ProcessorError> {
        let end = due_key(now + 1, CustomerId::from_uuid(uuid::Uuid::nil()));
        let range = (Bound::Unbounded, Bound::Excluded(end.as_slice()));
        let keys = ctx.store(DUE)?.range(range).take(DUE_AT_ONCE).map(|entry| Ok(entry?.0)).collect::<Result<Vec<_>, ProcessorError>>()?;
        for key in keys {
            match key.get(8..).and_then(|id| uuid::Uuid::from_slice(id).ok()) {
                Some(id) => self.touch(ctx, CustomerId::from_uuid(id))?,
                None => ctx.store(DUE)?.delete(key),
            }
        }
        Ok(())
    }

    fn on_walk(&mut self, ctx: &mut ProcessorContext<'_>, walk: Walk) -> Result<(), ProcessorError> {
        tracing::info!(system = %walk.system, reason = %walk.reason, "A walk over all customers was asked for");
        if self.walk.on_walk(walk) {
            self.keep_walk(ctx)?;
            self.schedule_walk(ctx);
        }
        Ok(())
    }

    /// The next slice of customers.
    fn walk_on(&mut self, ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        let Some(position) = self.walk.position.take() else {
            self.schedule_walk(ctx);
            return Ok(());
        };
        let position = position.parse().ok().map(key);
        let from = position.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let slice = ctx.store(CUSTOMERS)?.range((from, Bound::Unbounded)).take(WALK_AT_ONCE).collect::<Result<Vec<_>, _>>()?;
        let whole = slice.len() == WALK_AT_ONCE;
        for (_, bytes) in slice {
            let customer: Customer = read(&self.customers, CUSTOMERS, &bytes)?;
            if whole {
                self.walk.position = Some(customer.id.to_string());
            }
            self.touched.entry(customer.id).or_insert_with(|| Box::new(Touched::new(customer)));
        }
        self.keep_walk(ctx)?;
        self.schedule_walk(ctx);
        Ok(())
    }

    fn keep_walk(&mut self, ctx: &mut ProcessorContext<'_>) -> Result<(), ProcessorError> {
        let bytes = write(&self.walks, WALKS, &self.walk)?;
        ctx.store(WALKS)?.put(WALK.to_vec(), bytes);
        Ok(())
    }

    /// The walk's punctuator runs while there is a walk.
    fn schedule_walk(&mut self, ctx: &mut ProcessorContext<'_>) {
        match (self.walk.position.is_some(), self.schedules.walk) {
            (true, None) => self.schedules.walk = Some(ctx.schedule(WALK_EVERY, PunctuationType::WallClockTime)),
            (false, Some(schedule)) => {
                ctx.cancel(schedule);
                self.schedules.walk = None;
            }
            _ => {}
        }
    }
}

/// A customer's in the store `customers`. Their order is that of the ids.
fn key(id: CustomerId) -> Vec<u8> {
    id.uuid().as_bytes().to_vec()
}

fn due_key(due: Millis, id: CustomerId) -> Vec<u8> {
    let mut key = Vec::with_capacity(24);
    key.extend_from_slice(&due.max(0).to_be_bytes());
    key.extend_from_slice(id.uuid().as_bytes());
    key
}
