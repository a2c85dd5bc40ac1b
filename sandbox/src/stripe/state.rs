//! What every connection shares, and the one place where a call takes effect.

use super::{
    account::{Account, Actor, Answered, Call, Entry, KeyState, token},
    clock::Clock,
    faults::Faults,
    journal::Journal,
    params::Param,
    refusal::Refusal,
    webhooks::Delivery,
};
use crate::{Options, Target};
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashSet},
    io,
    time::Instant,
};
use tokio::sync::mpsc::UnboundedSender;

pub(crate) struct State {
    pub options: Options,
    pub clock: Clock,
    pub faults: Mutex<Faults>,
    pub target: Mutex<Option<Target>>,
    ledger: Mutex<Ledger>,
    bucket: Mutex<Option<Bucket>>,
    /// API requests by kind, refused ones too.
    pub requests: Mutex<BTreeMap<&'static str, u64>>,
    deliveries: UnboundedSender<Delivery>,
}

struct Ledger {
    account: Account,
    journal: Option<Journal>,
    /// Keys whose first call is still running.
    running: HashSet<String>,
}

/// An answer, but for the headers that every one has.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: String,
    /// The first request with this key, whose stored answer this is.
    pub original: Option<String>,
    pub should_retry: Option<bool>,
    pub retry_after: Option<u32>,
}

impl Answer {
    pub(crate) fn refused(refusal: &Refusal) -> Self {
        Answer { status: refusal.status, body: pretty(&refusal.json()), original: None, should_retry: None, retry_after: None }
    }

    pub(crate) fn of(body: &Value) -> Self {
        Answer { status: 200, body: pretty(body), original: None, should_retry: None, retry_after: None }
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// A call's idempotency key and what was first asked with it.
#[derive(Debug, Clone)]
pub(crate) struct Keyed {
    pub key: String,
    pub fingerprint: String,
}

/// An error to answer although the call was done.
#[derive(Debug, Clone)]
pub(crate) struct Disguise {
    pub refusal: Refusal,
    /// Remember the error; otherwise the true answer is remembered.
    pub stored: bool,
}

impl State {
    pub(crate) fn new(options: Options, deliveries: UnboundedSender<Delivery>) -> io::Result<Self> {
        let clock = Clock::new(options.clock_skew_ms);
        let mut account = Account::new(options.livemode(), options.api_version.clone());
        let journal = options.state.as_ref().map(|path| Journal::open(path, &mut account, clock.now())).transpose()?;
        let state = State {
            clock,
            faults: Mutex::new(Faults::new(options.seed)),
            target: Mutex::new(options.webhook.clone()),
            bucket: Mutex::new(options.rate_limit.map(Bucket::new)),
            requests: Mutex::new(BTreeMap::new()),
            ledger: Mutex::new(Ledger { account, journal, running: HashSet::new() }),
            deliveries,
            options,
        };
        state.resend();
        Ok(state)
    }

    /// Webhooks that an earlier life did not get rid of.
    fn resend(&self) {
        let ledger = self.ledger.lock();
        for event in ledger.account.pending() {
            self.send(&ledger.account, &event);
        }
    }

    fn send(&self, account: &Account, event: &str) {
        if let Some(body) = account.webhook(event) {
            // Nobody listens after the end.
            let _ = self.deliveries.send(Delivery { event: event.to_owned(), body: pretty(&body).into() });
        }
    }

    /// Whether a call is within the rate limit.
    pub(crate) fn admit(&self) -> bool {
        self.bucket.lock().as_mut().is_none_or(Bucket::take)
    }

    pub(crate) fn set_rate_limit(&self, limit: Option<u32>) {
        *self.bucket.lock() = limit.map(Bucket::new);
    }

    /// Reserves a key for its call. `Some`: the answer is known without one.
    pub(crate) fn begin(&self, keyed: &Keyed) -> Option<Answer> {
        let mut ledger = self.ledger.lock();
        if ledger.running.contains(&keyed.key) {
            return Some(Answer::refused(&Refusal::key_in_use(&keyed.key)));
        }
        match ledger.account.key(&keyed.key, &keyed.fingerprint, self.clock.now()) {
            KeyState::Fresh => {
                ledger.running.insert(keyed.key.clone());
                None
            }
            KeyState::OtherParameters => Some(Answer::refused(&Refusal::key_reused(&keyed.key))),
            KeyState::Replay(answered) => Some(Answer {
                status: answered.status,
                body: answered.body,
                should_retry: (answered.status >= 500).then_some(false),
                original: Some(answered.request_id),
                retry_after: None,
            }),
        }
    }

    /// Ends a call that had no effect; `stored`: its answer is remembered all the same.
    pub(crate) fn end(&self, keyed: &Keyed, stored: Option<(&Answer, &str)>) -> io::Result<()> {
        let mut ledger = self.ledger.lock();
        ledger.running.remove(&keyed.key);
        match stored {
            Some((answer, request_id)) => {
                let entry = self.remember(keyed, answer, request_id);
                ledger.keep(vec![entry])
            }
            None => Ok(()),
        }
    }

    fn remember(&self, keyed: &Keyed, answer: &Answer, request_id: &str) -> Entry {
        Entry::Key {
            key: keyed.key.clone(),
            answered: Answered {
                fingerprint: keyed.fingerprint.clone(),
                status: answer.status,
                body: answer.body.clone(),
                request_id: request_id.to_owned(),
                at: self.clock.now(),
            },
        }
    }

    /// Does it: decides, writes down, takes in, and sends the webhook, all in one moment.
    pub(crate) fn perform(
        &self,
        call: &Call,
        params: &Param,
        request_id: &str,
        keyed: Option<&Keyed>,
        disguise: Option<&Disguise>,
    ) -> io::Result<Answer> {
        let by = Actor { request_id: Some(request_id.to_owned()), idempotency_key: keyed.map(|k| k.key.clone()) };
        let mut ledger = self.ledger.lock();
        let decided = ledger.account.decide(call, params, by, self.clock.now());
        let truth = match &decided {
            Ok(done) => Answer::of(&done.body),
            Err(refusal) => Answer::refused(refusal),
        };
        let early = decided.as_ref().is_err_and(|refusal| refusal.early);
        let told = disguise.map(|d| Answer { should_retry: d.stored.then_some(false), ..Answer::refused(&d.refusal) });
        let mut entries = Vec::new();
        let mut event = None;
        if let Ok(done) = decided
            && let Some(mut changed) = done.happened
        {
            changed.event.pending = self.target.lock().is_some();
            event = changed.event.pending.then(|| changed.event.id.clone());
            entries.push(Entry::Changed(changed));
        }
        if let Some(keyed) = keyed {
            ledger.running.remove(&keyed.key);
            let stored = match (&told, disguise) {
                (Some(told), Some(Disguise { stored: true, .. })) => Some(told),
                _ if early => None,
                _ => Some(&truth),
            };
            entries.extend(stored.map(|answer| self.remember(keyed, answer, request_id)));
        }
        ledger.keep(entries)?;
        if let Some(event) = event {
            self.send(&ledger.account, &event);
        }
        Ok(told.unwrap_or(truth))
    }

    /// A person's doing, in Stripe's pages.
    pub(crate) fn by_hand(&self, call: &Call, params: &Param) -> io::Result<Answer> {
        let mut ledger = self.ledger.lock();
        let done = match ledger.account.decide(call, params, Actor::default(), self.clock.now()) {
            Ok(done) => done,
            Err(refusal) => return Ok(Answer::refused(&refusal)),
        };
        if let Some(mut changed) = done.happened {
            changed.event.pending = self.target.lock().is_some();
            let event = changed.event.pending.then(|| changed.event.id.clone());
            ledger.keep(vec![Entry::Changed(changed)])?;
            if let Some(event) = event {
                self.send(&ledger.account, &event);
            }
        }
        Ok(Answer::of(&done.body))
    }

    /// The webhook of this event is dealt with.
    pub(crate) fn delivered(&self, event: &str) {
        if let Err(error) = self.ledger.lock().keep(vec![Entry::Delivered { event: event.to_owned() }]) {
            tracing::error!(%error, "The state file cannot be written.");
        }
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&Account) -> T) -> T {
        look(&self.ledger.lock().account)
    }

    pub(crate) fn count(&self, kind: &'static str) {
        *self.requests.lock().entry(kind).or_default() += 1;
    }
}

impl Ledger {
    /// Written down first: what the file does not have never happened.
    fn keep(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        if let Some(journal) = &mut self.journal {
            journal.append(&entries)?;
        }
        entries.into_iter().for_each(|entry| self.account.apply(entry));
        Ok(())
    }
}

pub(crate) fn request_id() -> String {
    format!("req_{}", token(14))
}

/// A token bucket: a second's worth at most.
struct Bucket {
    rate: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: u32) -> Self {
        Bucket { rate: rate.into(), tokens: rate.into(), at: Instant::now() }
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        self.tokens = (self.tokens + now.duration_since(self.at).as_secs_f64() * self.rate).min(self.rate);
        self.at = now;
        let free = self.tokens >= 1.0;
        if free {
            self.tokens -= 1.0;
        }
        free
    }
}
