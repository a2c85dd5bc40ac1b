//! Two well-behaved systems, `product` and `stripe`, around the pure stages: what a directed history is told with.

use crate::customers::{Config, Effect, Effects, SystemConfig, identify::Claimants, resolve, state::Customer};
use schemas::{
    Action, Answer, Change, ConflictKind, CustomerConflict, CustomerFields, CustomerId, ExternalId, Field, Millis, Notice, Outcome,
    Previous, SourceCustomer, System, UnifyBody, Value, Values, WriteId,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub const PRODUCT: &str = "product";
pub const STRIPE: &str = "stripe";

/// The stages with their state, the systems' records, and what was said.
pub struct Hub {
    pub config: Config,
    pub now: Millis,
    pub records: BTreeMap<(System, ExternalId), resolve::Record>,
    pub emails: BTreeMap<String, Claimants>,
    pub customers: BTreeMap<CustomerId, Customer>,
    pub imported: BTreeSet<System>,
    pub conflicts: Vec<CustomerConflict>,
    /// Requests that nobody answered yet.
    pub requests: VecDeque<(System, String, Action)>,
    /// What each record shows, with its marks.
    pub shown: BTreeMap<(System, ExternalId), SourceCustomer>,
    /// How many writes, creates and deletes were asked for.
    pub asked: usize,
    order: i64,
    /// What was published last, to be replayed.
    last: Option<(String, String, SourceCustomer)>,
    made: usize,
    queue: VecDeque<Effect>,
    touched: BTreeSet<CustomerId>,
}

pub fn system(name: &str) -> System {
    System::new(name).expect("the histories' own names are valid")
}

/// Fields by name; `address` is out of these histories.
pub fn fields(values: &[(&str, &str)]) -> CustomerFields {
    let values: Values = values.iter().map(|(f, v)| (field(f), Value::from(*v))).collect();
    CustomerFields::from(&values)
}

pub fn field(name: &str) -> Field {
    name.parse().expect("the histories' own fields are valid")
}

/// Somebody's event, or with a write id one of ours.
pub fn notice(event: &str, by: Option<&WriteId>, time: Millis, name: &str, previous: Option<&str>, new: &str) -> Notice {
    let previous = previous.map(|p| Previous { value: p.into() });
    let changes = vec![Change { field: field(name), previous, new: new.into() }];
    Notice { event_id: event.into(), write_id: by.map(WriteId::to_string), time, changes }
}

impl Default for Hub {
    fn default() -> Self {
        Hub::new()
    }
}

impl Hub {
    /// Both systems imported, nothing there yet; the clock stands at 10,000.
    pub fn new() -> Self {
        let systems = [PRODUCT, STRIPE].map(system);
        Hub {
            config: Config::new("histories", systems.iter().cloned().map(SystemConfig::connector).collect()),
            now: 10_000,
            records: BTreeMap::new(),
            emails: BTreeMap::new(),
            customers: BTreeMap::new(),
            imported: systems.into_iter().collect(),
            conflicts: Vec::new(),
            requests: VecDeque::new(),
            shown: BTreeMap::new(),
            asked: 0,
            order: 0,
            last: None,
            made: 0,
            queue: VecDeque::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Only the first writes and creates that are asked for explicitly: no system counts as imported.
    pub fn before_import() -> Self {
        Hub { imported: BTreeSet::new(), ..Hub::new() }
    }

    // ---- what people do

    /// A person makes a record; it is looked at.
    pub fn makes(&mut self, at: &str, id: &str, values: &[(&str, &str)]) {
        self.makes_unseen(at, id, values);
        self.look(at, id);
    }

    /// A person makes a record, and nobody looks.
    pub fn makes_unseen(&mut self, at: &str, id: &str, values: &[(&str, &str)]) {
        let record = SourceCustomer { fields: Some(fields(values)), created: self.now, ..Default::default() };
        self.shown.insert((system(at), ExternalId::new(id)), record);
    }

    /// The product's row, of this incarnation; it is looked at.
    pub fn makes_row(&mut self, id: &str, incarnation: i64, values: &[(&str, &str)]) {
        self.makes_unseen(PRODUCT, id, values);
        if let Some(row) = self.shown.get_mut(&(system(PRODUCT), ExternalId::new(id))) {
            row.incarnation = Some(incarnation);
        }
        self.look(PRODUCT, id);
    }

    /// A person edits a record; it is looked at, without a notice.
    pub fn edits(&mut self, at: &str, id: &str, name: &str, value: &str) {
        self.edits_unseen(at, id, name, value);
        self.look(at, id);
    }

    /// A person edits a record, and nobody looks.
    pub fn edits_unseen(&mut self, at: &str, id: &str, name: &str, value: &str) {
        let record = self.shown.get_mut(&(system(at), ExternalId::new(id))).and_then(|r| r.fields.as_mut());
        record.expect("people edit records that are there").set(&field(name), value.into());
    }

    /// A person edits a record; it is looked at, with its event.
    pub fn edits_with_event(&mut self, at: &str, id: &str, name: &str, value: &str, time: Millis) {
        self.edits_unseen(at, id, name, value);
        let event = format!("evt_{time}");
        self.look_with(at, id, vec![notice(&event, None, time, name, None, value)]);
    }

    pub fn deletes(&mut self, at: &str, id: &str) {
        self.deletes_with(at, id, Vec::new());
    }

    /// A person deletes a record, and these notices come with the look.
    pub fn deletes_with(&mut self, at: &str, id: &str, notices: Vec<Notice>) {
        let key = (system(at), ExternalId::new(id));
        self.shown.insert(key, SourceCustomer::default());
        self.look_with(at, id, notices);
    }

    // ---- what the conversation says

    /// What the record shows now, as a result in its conversation's order.
    pub fn snapshot(&mut self, at: &str, id: &str) -> SourceCustomer {
        self.order += 1;
        self.now += 1;
        let shown = self.shown.get(&(system(at), ExternalId::new(id))).cloned().unwrap_or_default();
        SourceCustomer { order: Some(self.order), look: self.now, settled: true, ..shown }
    }

    pub fn look(&mut self, at: &str, id: &str) {
        self.look_with(at, id, Vec::new());
    }

    pub fn look_with(&mut self, at: &str, id: &str, notices: Vec<Notice>) {
        let result = SourceCustomer { notices, ..self.snapshot(at, id) };
        self.publish(at, id, result);
    }

    /// A result reaches resolve, and everything that follows runs.
    pub fn publish(&mut self, at: &str, key: &str, result: SourceCustomer) {
        self.last = Some((at.into(), key.into(), result.clone()));
        let (system, key) = (system(at), ExternalId::new(key));
        let config = self.config.system(&system).expect("the histories' own systems").clone();
        let at = resolve::At { system: &config, key: &key, offset: self.order, timestamp: self.now };
        let effects = match resolve::pass_by(at, Box::new(result)) {
            Ok(effects) => effects,
            Err(result) => self.records.entry((system.clone(), key.clone())).or_default().on_result(at, *result),
        };
        self.queue.extend(effects);
        self.run();
    }

    /// What was published last comes once more.
    pub fn replay(&mut self) {
        if let Some((at, key, result)) = self.last.clone() {
            self.publish(&at, &key, result);
        }
    }

    /// The system answers the eldest request to it.
    pub fn serve_one(&mut self, at: &str) {
        if let Some((key, action)) = self.request(at) {
            self.serve(&system(at), &key, action);
        }
    }

    /// The next request to this system.
    pub fn request(&mut self, to: &str) -> Option<(String, Action)> {
        let at = self.requests.iter().position(|(s, ..)| *s == system(to))?;
        self.requests.remove(at).map(|(_, key, action)| (key, action))
    }

    /// The next request to this system, a write.
    pub fn write(&mut self, to: &str) -> Option<(String, schemas::Write)> {
        match self.request(to)? {
            (key, Action::Write(write)) => Some((key, write)),
            _ => None,
        }
    }

    /// The next request to this system, a create.
    pub fn create(&mut self, to: &str) -> Option<schemas::Create> {
        match self.request(to)?.1 {
            Action::Create(create) => Some(create),
            _ => None,
        }
    }

    /// The record takes what a write sets, and its mark.
    pub fn lands(&mut self, to: &str, id: &str, write: &WriteId, set: &Values) {
        let record = self.shown.entry((system(to), ExternalId::new(id))).or_default();
        let fields = record.fields.get_or_insert_default();
        set.iter().for_each(|(f, v)| fields.set(f, v.clone()));
        record.mark = Some(write.to_string());
    }

    /// A record of ours, made by this create.
    pub fn made(&mut self, to: &str, id: &str, create: &schemas::Create) {
        self.lands(to, id, &create.id, &create.set);
        let record = self.shown.entry((system(to), ExternalId::new(id))).or_default();
        record.concord_id = Some(create.customer.to_string());
        record.created = self.now;
    }

    /// The answer to a request, with a fresh snapshot.
    pub fn answer(&mut self, to: &str, key: &str, id: &WriteId, outcome: Outcome, left: Option<CustomerFields>) {
        let answer = Some(Answer { left, ..answer(id, outcome) });
        let result = SourceCustomer { answer, ..self.snapshot(to, key) };
        self.publish(to, key, result);
    }

    /// The answer to a create that made no record.
    pub fn made_nothing(&mut self, to: &str, answer: Answer) {
        let key = answer.write_id.customer.to_string();
        self.order += 1;
        self.publish(to, &key, SourceCustomer { order: Some(self.order), answer: Some(answer), ..Default::default() });
    }

    /// The answer to a create that made this record: outside the order, as it was when it was made.
    pub fn create_answer(&mut self, to: &str, id: &str, create: &schemas::Create) -> SourceCustomer {
        let shown = self.snapshot(to, id);
        SourceCustomer { order: Some(0), answer: Some(answer(&create.id, Outcome::Done)), ..shown }
    }

    /// Every request is answered as a well-behaved system would, until there are none.
    pub fn settle(&mut self) {
        for _ in 0..200 {
            match self.requests.pop_front() {
                Some((system, key, action)) => self.serve(&system, &key, action),
                None => return,
            }
        }
        self.requests.clear(); // a history whose rule is broken may go on for ever; `asked` tells
    }

    fn serve(&mut self, to: &System, key: &str, action: Action) {
        let at = to.as_str().to_owned();
        match action {
            Action::Read(read) => self.look_with(&at, key, read.notices),
            Action::Write(write) => {
                let shows = self.snapshot(&at, key);
                let expects = shows.fields.as_ref().is_some_and(|f| write.expected.iter().all(|(n, v)| f.get(n) == *v));
                let outcome = match (&shows.fields, expects) {
                    (None, _) => Outcome::Gone,
                    (_, false) => Outcome::MovedOn,
                    _ => Outcome::Done,
                };
                if outcome == Outcome::Done {
                    self.lands(&at, key, &write.id, &write.set);
                }
                let left = self.shown.get(&(to.clone(), ExternalId::new(key))).and_then(|r| r.fields.clone());
                self.answer(&at, key, &write.id, outcome, left.filter(|_| outcome == Outcome::Done));
            }
            Action::Create(create) => {
                self.made += 1;
                let id = format!("{to}_made_{}", self.made);
                self.made(&at, &id, &create);
                let answer = self.create_answer(&at, &id, &create);
                self.publish(&at, &id, answer);
                self.look(&at, &id);
            }
            Action::Delete(delete) => {
                self.shown.insert((to.clone(), ExternalId::new(key)), SourceCustomer::default());
                self.answer(&at, key, &delete.id, Outcome::Done, None);
            }
        }
    }

    // ---- what became of it

    /// Time passes, and what was put off is looked at.
    pub fn wait(&mut self, millis: Millis) {
        self.now += millis;
        self.touched.extend(self.customers.values().filter(|c| c.due.is_some_and(|due| due <= self.now)).map(|c| c.id));
        self.run();
    }

    /// The customer that the record is linked to.
    pub fn customer_of(&self, at: &str, id: &str) -> Option<&Customer> {
        let record = self.records.get(&(system(at), ExternalId::new(id)))?;
        self.customers.get(&record.link?)
    }

    /// The golden value of the record's customer.
    pub fn golden(&self, at: &str, id: &str, name: &str) -> String {
        let customer = self.customer_of(at, id);
        customer.and_then(|c| c.golden_value(&field(name)).as_text().map(str::to_owned)).unwrap_or_default()
    }

    /// What the record shows.
    pub fn shows(&self, at: &str, id: &str, name: &str) -> String {
        let record = self.shown.get(&(system(at), ExternalId::new(id))).and_then(|r| r.fields.as_ref());
        record.and_then(|f| f.get(&field(name)).as_text().map(str::to_owned)).unwrap_or_default()
    }

    pub fn conflicts_of(&self, kind: ConflictKind) -> usize {
        self.conflicts.iter().filter(|c| c.kind == kind).count()
    }

    /// Claims of customers that do not keep the e-mail, and e-mails of customers that do not claim them.
    pub fn wrong_claims(&self) -> Vec<String> {
        let claims = self.emails.iter().flat_map(|(email, it)| it.customers.iter().map(|c| (email.clone(), *c)));
        let kept = self.customers.values().filter_map(|c| Some((c.golden_email()?, c.id)));
        let (claims, kept): (BTreeSet<_>, BTreeSet<_>) = (claims.collect(), kept.collect());
        claims.symmetric_difference(&kept).map(|(email, customer)| format!("{email} of {customer}")).collect()
    }

    // ---- the stages

    fn run(&mut self) {
        for _ in 0..1_000 {
            while let Some(effect) = self.queue.pop_front() {
                self.deliver(effect);
            }
            for id in std::mem::take(&mut self.touched) {
                if let Some(customer) = self.customers.get_mut(&id) {
                    let effects = customer.before_commit(&self.config, &self.imported, self.now);
                    self.queue.extend(effects);
                }
            }
            if self.queue.is_empty() {
                return;
            }
        }
        self.queue.clear();
    }

    fn deliver(&mut self, effect: Effect) {
        let effects: Effects = match effect {
            Effect::Link { system, external_id, link } => {
                let config = self.config.system(&system).expect("the histories' own systems").clone();
                let at = resolve::At { system: &config, key: &external_id, offset: 0, timestamp: self.now };
                let record = self.records.entry((system, external_id.clone())).or_default();
                record.on_link(at, link).unwrap_or_default()
            }
            Effect::Identify { email, body } => {
                let effects = self.emails.entry(email.clone()).or_default().on_message(&email, body);
                self.emails.retain(|_, it| !it.customers.is_empty());
                effects
            }
            Effect::Unify { customer: id, body } => self.unify(id, body),
            Effect::Request { system, key, action } => {
                self.asked += usize::from(!matches!(action, Action::Read(_)));
                self.requests.push_back((system, key, action));
                Vec::new()
            }
            Effect::Conflict(conflict) => {
                self.conflicts.push(*conflict);
                Vec::new()
            }
            Effect::Unified(_) => Vec::new(),
        };
        self.queue.extend(effects);
    }

    fn unify(&mut self, id: CustomerId, body: UnifyBody) -> Effects {
        let mut customer = self.customers.remove(&id).unwrap_or_else(|| Customer::new(id, self.config.first_number));
        let effects = customer.on_message(&self.config, body, self.now).unwrap_or_default();
        if !customer.is_new() {
            self.customers.insert(id, customer);
            self.touched.insert(id);
        }
        effects
    }

    /// A message straight to unify, as another task may send it.
    pub fn tell(&mut self, customer: CustomerId, body: UnifyBody) {
        self.queue.push_back(Effect::Unify { customer, body });
        self.run();
    }
}

pub fn answer(id: &WriteId, outcome: Outcome) -> Answer {
    Answer { write_id: id.clone(), outcome, refused_field: None, reason: None, taken: false, left: None, unseen: false }
}
