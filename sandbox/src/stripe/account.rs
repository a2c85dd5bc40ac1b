//! The account: customers, events, idempotency keys and the full history. Pure: time and ids come in, and what happened
//! goes out as [`Entry`]s, which are all that ever changes it: the state file is a list of them.

use super::{
    customer::{Customer, check_names, previous},
    params::Param,
    refusal::Refusal,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const DAY: i64 = 24 * 3600 * 1000;
/// Idempotency keys are forgotten after this long.
pub(crate) const KEY_LIFE: i64 = DAY;
/// Events are shown for this long.
const EVENT_LIFE: i64 = 30 * DAY;

/// Something that happened to the account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Entry {
    Changed(Box<Changed>),
    Key {
        key: String,
        answered: Answered,
    },
    /// A webhook was taken (or given up, or dropped on purpose).
    Delivered {
        event: String,
    },
}

/// One change of one customer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Changed {
    pub customer: Customer,
    pub deleted: bool,
    pub event: StripeEvent,
}

/// Who changed something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The API request; `None`: a person in Stripe's pages.
    pub request_id: Option<String>,
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StripeEvent {
    pub id: String,
    pub kind: String,
    /// Milliseconds; Stripe shows seconds.
    pub at: i64,
    pub previous: Option<Map<String, Value>>,
    pub by: Actor,
    /// Its webhook has not been taken yet.
    pub pending: bool,
}

/// The answer that is stored for a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub fingerprint: String,
    pub status: u16,
    pub body: String,
    pub request_id: String,
    pub at: i64,
}

/// One line of a customer's history.
#[derive(Debug, Clone, Serialize)]
pub struct Past {
    /// Milliseconds by the account's clock.
    pub at: i64,
    pub by: Actor,
    pub event_id: String,
    /// The customer as this left it; `None`: deleted.
    pub customer: Option<Value>,
}

struct Stored {
    seq: u64,
    customer: Customer,
    deleted: bool,
    past: Vec<Changed>,
}

/// A call about customers or events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    Retrieve(String),
    Update(String),
    Delete(String),
    List,
    Event(String),
    Events,
}

/// What a call gives: the answer's body, and what happened.
pub(crate) struct Done {
    pub body: Value,
    pub happened: Option<Box<Changed>>,
}

impl Done {
    fn seen(body: Value) -> Self {
        Done { body, happened: None }
    }
}

pub(crate) struct Account {
    livemode: bool,
    api_version: String,
    customers: HashMap<String, Stored>,
    /// Live and deleted ones, in order of creation.
    order: BTreeMap<u64, String>,
    emails: HashMap<String, BTreeSet<u64>>,
    next: u64,
    events: BTreeMap<u64, (StripeEvent, Value)>,
    event_seq: HashMap<String, u64>,
    keys: HashMap<String, Answered>,
}

/// What the idempotency key of a call says.
pub(crate) enum KeyState {
    Fresh,
    Replay(Answered),
    OtherParameters,
}

impl Account {
    pub(crate) fn new(livemode: bool, api_version: String) -> Self {
        Account {
            livemode,
            api_version,
            customers: HashMap::new(),
            order: BTreeMap::new(),
            emails: HashMap::new(),
            next: 1,
            events: BTreeMap::new(),
            event_seq: HashMap::new(),
            keys: HashMap::new(),
        }
    }

    pub(crate) fn key(&mut self, key: &str, fingerprint: &str, now: i64) -> KeyState {
        match self.keys.get(key) {
            Some(answered) if now - answered.at >= KEY_LIFE => {
                self.keys.remove(key);
                KeyState::Fresh
            }
            Some(answered) if answered.fingerprint == fingerprint => KeyState::Replay(answered.clone()),
            Some(_) => KeyState::OtherParameters,
            None => KeyState::Fresh,
        }
    }

    /// Decides a call; nothing changes until what happened is applied.
    pub(crate) fn decide(&self, call: &Call, params: &Param, by: Actor, now: i64) -> Result<Done, Refusal> {
        match call {
            Call::Create => self.create(params, by, now),
            Call::Retrieve(id) => {
                only(params, &[])?;
                let stored = self.customers.get(id).ok_or_else(|| Refusal::missing("id", id))?;
                Ok(Done::seen(if stored.deleted { Customer::tombstone(id) } else { stored.customer.json(self.livemode) }))
            }
            Call::Update(id) => self.update(id, params, by, now),
            Call::Delete(id) => {
                only(params, &[])?;
                let before = self.live(id)?;
                let body = Customer::tombstone(id);
                Ok(Done { body, happened: Some(Box::new(self.change(before.clone(), true, "customer.deleted", None, by, now))) })
            }
            Call::List => self.list(params).map(Done::seen),
            Call::Event(id) => {
                only(params, &[])?;
                let seq = self.event_seq.get(id).ok_or_else(|| Refusal::missing_event("id", id))?;
                Ok(Done::seen(self.events.get(seq).map(|(e, object)| self.event_json(e, object)).unwrap_or_default()))
            }
            Call::Events => self.list_events(params, now).map(Done::seen),
        }
    }

    fn create(&self, params: &Param, by: Actor, now: i64) -> Result<Done, Refusal> {
        check_names(params)?;
        let id = loop {
            let id = format!("cus_{}", token(14));
            if !self.customers.contains_key(&id) {
                break id;
            }
        };
        let customer = Customer { id, created: now.div_euclid(1000), ..Customer::default() }.with(params)?;
        let body = customer.json(self.livemode);
        Ok(Done { body, happened: Some(Box::new(self.change(customer, false, "customer.created", None, by, now))) })
    }

    fn update(&self, id: &str, params: &Param, by: Actor, now: i64) -> Result<Done, Refusal> {
        check_names(params)?;
        let before = self.live(id)?;
        let after = before.with(params)?;
        let body = after.json(self.livemode);
        let changed = previous(&before.json(self.livemode), &body);
        // Setting what is there already is no event.
        let happened = (!changed.is_empty()).then(|| Box::new(self.change(after, false, "customer.updated", Some(changed), by, now)));
        Ok(Done { body, happened })
    }

    fn live(&self, id: &str) -> Result<&Customer, Refusal> {
        self.customers.get(id).filter(|s| !s.deleted).map(|s| &s.customer).ok_or_else(|| Refusal::missing("id", id))
    }

    fn change(&self, customer: Customer, deleted: bool, kind: &str, previous: Option<Map<String, Value>>, by: Actor, now: i64) -> Changed {
        let event = StripeEvent { id: format!("evt_1{}", token(23)), kind: kind.into(), at: now, previous, by, pending: true };
        Changed { customer, deleted, event }
    }

    /// Takes in what happened.
    pub(crate) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Changed(changed) => self.changed(*changed),
            Entry::Key { key, answered } => {
                self.keys.insert(key, answered);
            }
            Entry::Delivered { event } => {
                if let Some((event, _)) = self.event_seq.get(&event).and_then(|seq| self.events.get_mut(seq)) {
                    event.pending = false;
                }
            }
        }
    }

    fn changed(&mut self, changed: Changed) {
        let seq = self.next;
        self.next += 1;
        let id = changed.customer.id.clone();
        self.event_seq.insert(changed.event.id.clone(), seq);
        self.events.insert(seq, (changed.event.clone(), changed.customer.json(self.livemode)));
        let stored = self.customers.entry(id.clone()).or_insert_with(|| {
            self.order.insert(seq, id);
            Stored { seq, customer: Customer::default(), deleted: false, past: Vec::new() }
        });
        let place = stored.seq;
        if let Some(old) = stored.customer.email.take()
            && let Some(seqs) = self.emails.get_mut(&old)
        {
            seqs.remove(&place);
            if seqs.is_empty() {
                self.emails.remove(&old);
            }
        }
        if let (Some(email), false) = (&changed.customer.email, changed.deleted) {
            self.emails.entry(email.clone()).or_default().insert(place);
        }
        stored.customer = changed.customer.clone();
        stored.deleted = changed.deleted;
        stored.past.push(changed);
    }

    fn list(&self, params: &Param) -> Result<Value, Refusal> {
        only(params, &["email", "created", "limit", "starting_after", "ending_before"])?;
        let created = Range::of(params)?;
        let page = Window::of(params, |param, id| self.customers.get(id).map(|s| s.seq).ok_or_else(|| Refusal::missing(param, id)))?;
        let fits = |seq: &u64| {
            let stored = self.order.get(seq).and_then(|id| self.customers.get(id))?;
            (!stored.deleted && created.holds(stored.customer.created)).then(|| stored.customer.json(self.livemode))
        };
        let none = BTreeSet::new();
        Ok(match params.text("email")? {
            Some(email) => page.take(self.emails.get(email).unwrap_or(&none).range(page.range()), fits, "/v1/customers"),
            None => page.take(self.order.range(page.range()).map(|(seq, _)| seq), fits, "/v1/customers"),
        })
    }

    fn list_events(&self, params: &Param, now: i64) -> Result<Value, Refusal> {
        only(params, &["type", "types", "created", "delivery_success", "limit", "starting_after", "ending_before"])?;
        let created = Range::of(params)?;
        let mut types: Vec<&str> = params.text("type")?.into_iter().collect();
        match params.get("types") {
            None => {}
            Some(Param::List(list)) if types.is_empty() && list.len() <= 20 => {
                for item in list {
                    let Param::Text(text) = item else { return Err(Refusal::shape("types", "Invalid array")) };
                    types.push(text);
                }
            }
            Some(Param::List(_)) => return Err(Refusal::shape("types", "You may pass up to 20 types, and not type as well")),
            Some(_) => return Err(Refusal::shape("types", "Invalid array")),
        }
        let delivered = match params.text("delivery_success")? {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => return Err(Refusal::shape("delivery_success", "Invalid boolean")),
        };
        let page = Window::of(params, |param, id| self.event_seq.get(id).copied().ok_or_else(|| Refusal::missing_event(param, id)))?;
        let kind_fits = |kind: &str| {
            types.is_empty() || types.iter().any(|t| *t == kind || t.strip_suffix('*').is_some_and(|prefix| kind.starts_with(prefix)))
        };
        let fits = |seq: &u64| {
            let (event, object) = self.events.get(seq)?;
            let fits = kind_fits(&event.kind)
                && created.holds(event.at.div_euclid(1000))
                && now - event.at < EVENT_LIFE
                && delivered.is_none_or(|d| d != event.pending);
            fits.then(|| self.event_json(event, object))
        };
        Ok(page.take(self.events.range(page.range()).map(|(seq, _)| seq), fits, "/v1/events"))
    }

    fn event_json(&self, event: &StripeEvent, object: &Value) -> Value {
        let mut data = json!({ "object": object });
        if let Some(previous) = &event.previous {
            data["previous_attributes"] = Value::Object(previous.clone());
        }
        json!({
            "id": event.id,
            "object": "event",
            "api_version": self.api_version,
            "created": event.at.div_euclid(1000),
            "data": data,
            "livemode": self.livemode,
            "pending_webhooks": u8::from(event.pending),
            "request": {"id": event.by.request_id, "idempotency_key": event.by.idempotency_key},
            "type": event.kind,
        })
    }

    /// An event as its webhook says it.
    pub(crate) fn webhook(&self, event: &str) -> Option<Value> {
        let (event, object) = self.event_seq.get(event).and_then(|seq| self.events.get(seq))?;
        Some(self.event_json(event, object))
    }

    /// Events whose webhooks are still to be taken, oldest first.
    pub(crate) fn pending(&self) -> Vec<String> {
        self.events.values().filter(|(e, _)| e.pending).map(|(e, _)| e.id.clone()).collect()
    }

    pub(crate) fn history(&self, id: &str) -> Option<Vec<Past>> {
        let stored = self.customers.get(id)?;
        let past = stored.past.iter().map(|c| Past {
            at: c.event.at,
            by: c.event.by.clone(),
            event_id: c.event.id.clone(),
            customer: (!c.deleted).then(|| c.customer.json(self.livemode)),
        });
        Some(past.collect())
    }

    /// Every customer there ever was, oldest first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &String> {
        self.order.values()
    }

    /// Everything that happened and still matters, in order: what a state file starts with.
    pub(crate) fn entries(&self, now: i64) -> Vec<Entry> {
        let mut changes: Vec<(u64, Changed)> = Vec::new();
        for change in self.customers.values().flat_map(|s| &s.past) {
            let Some(seq) = self.event_seq.get(&change.event.id) else { continue };
            let pending = self.events.get(seq).is_some_and(|(e, _)| e.pending);
            changes.push((*seq, Changed { event: StripeEvent { pending, ..change.event.clone() }, ..change.clone() }));
        }
        changes.sort_by_key(|(seq, _)| *seq);
        let keys = self.keys.iter().filter(|(_, a)| now - a.at < KEY_LIFE);
        let keys = keys.map(|(key, a)| Entry::Key { key: key.clone(), answered: a.clone() });
        changes.into_iter().map(|(_, c)| Entry::Changed(Box::new(c))).chain(keys).collect()
    }
}

/// Letters and digits, at random: ids are as unguessable as Stripe's.
pub(crate) fn token(length: usize) -> String {
    use rand::{Rng, distr::Alphanumeric};
    rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}

fn only(params: &Param, known: &[&str]) -> Result<(), Refusal> {
    match params.entries().iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => Err(Refusal::unknown(name)),
        None => Ok(()),
    }
}

/// `created[gte]=…` and the like, or `created=…`.
struct Range {
    from: i64,
    to: i64,
}

impl Range {
    fn of(params: &Param) -> Result<Self, Refusal> {
        let mut range = Range { from: i64::MIN, to: i64::MAX };
        let number = |param: &str, text: &str| {
            text.parse::<i64>().map_err(|_| Refusal {
                code: Some("parameter_invalid_integer"),
                ..Refusal::shape(param, &format!("Invalid timestamp: {text}"))
            })
        };
        match params.get("created") {
            None => {}
            Some(Param::Text(text)) => {
                let at = number("created", text)?;
                range = Range { from: at, to: at };
            }
            Some(bounds) => {
                only_bounds(bounds)?;
                for (name, value) in bounds.entries() {
                    let param = format!("created[{name}]");
                    let Param::Text(text) = value else { return Err(Refusal::shape(&param, "Invalid timestamp")) };
                    let at = number(&param, text)?;
                    match name.as_str() {
                        "gte" => range.from = range.from.max(at),
                        "gt" => range.from = range.from.max(at.saturating_add(1)),
                        "lte" => range.to = range.to.min(at),
                        _ => range.to = range.to.min(at.saturating_sub(1)),
                    }
                }
            }
        }
        Ok(range)
    }

    fn holds(&self, at: i64) -> bool {
        (self.from..=self.to).contains(&at)
    }
}

fn only_bounds(bounds: &Param) -> Result<(), Refusal> {
    match bounds.entries().iter().find(|(name, _)| !["gt", "gte", "lt", "lte"].contains(&name.as_str())) {
        Some((name, _)) => Err(Refusal::unknown(&format!("created[{name}]"))),
        None => Ok(()),
    }
}

/// Which page of a list, newest first.
struct Window {
    limit: usize,
    after: Option<u64>,
    before: Option<u64>,
}

impl Window {
    fn of(params: &Param, place: impl Fn(&str, &str) -> Result<u64, Refusal>) -> Result<Self, Refusal> {
        let limit = match params.text("limit")? {
            None => 10,
            Some(text) => match text.parse::<usize>() {
                Ok(n @ 1..=100) => n,
                Ok(_) => {
                    return Err(Refusal {
                        code: Some("parameter_invalid_integer"),
                        ..Refusal::shape("limit", "This value must be between 1 and 100")
                    });
                }
                Err(_) => {
                    return Err(Refusal { code: Some("parameter_invalid_integer"), ..Refusal::shape("limit", "Invalid integer") });
                }
            },
        };
        let cursor = |param: &str| params.text(param)?.map(|id| place(param, id)).transpose();
        let (after, before) = (cursor("starting_after")?, cursor("ending_before")?);
        if after.is_some() && before.is_some() {
            return Err(Refusal::shape("ending_before", "You may only specify one of these parameters: starting_after, ending_before"));
        }
        Ok(Window { limit, after, before })
    }

    fn range(&self) -> std::ops::Range<u64> {
        self.before.map_or(0, |b| b + 1)..self.after.unwrap_or(u64::MAX)
    }

    fn take<'a>(&self, seqs: impl DoubleEndedIterator<Item = &'a u64>, fits: impl Fn(&u64) -> Option<Value>, url: &str) -> Value {
        let one_more = self.limit + 1;
        // `ending_before`: the page next to the cursor, so counted from the oldest, and shown newest first all the same.
        let mut data: Vec<Value> = if self.before.is_some() {
            seqs.filter_map(fits).take(one_more).collect()
        } else {
            seqs.rev().filter_map(fits).take(one_more).collect()
        };
        let has_more = data.len() > self.limit;
        data.truncate(self.limit);
        if self.before.is_some() {
            data.reverse();
        }
        json!({"object": "list", "data": data, "has_more": has_more, "url": url})
    }
}
