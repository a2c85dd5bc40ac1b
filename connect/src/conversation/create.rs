//! A create: look for our own record, then for somebody's with the same e-mail, then make one (rule 7).

use super::{Act, Finished, LOOK_LASTS, Scene, Style, answer};
use crate::call::{self, Call, Refusal, Reply, Seen, Update};
use schemas::{
    Answer, Create, CustomerFields, CustomerId, ExternalId, Field, Millis, Outcome, SourceCustomer, normalise_email,
    rules::{Rule, holds},
};

/// A list by `created` begins this long before the first attempt: the system's clock is not ours.
const CLOCKS_APART: Millis = 3_600_000;

/// A key is gone after this.
const KEYS_DIE: Millis = 24 * 3_600_000;

/// Why nothing is made while the catch-up is under way.
const CATCHING_UP: &str = "still catching up with what changed at the system before the start";

/// What was made before is certainly in the list after this.
const TWIN_SHOWS: Millis = 60_000;

const MADE_BEFORE: &str = "it was made before, with other values";

/// At most this many records with the same e-mail are asked to be read.
const ASKED: usize = 10;

#[derive(Clone, Debug)]
pub(super) struct Task {
    create: Create,
    /// The key's number: one more after each stored failure.
    key: u32,
    /// A call whose outcome is not known has been made: it may still land.
    unknown: bool,
    looked_at: Millis,
    /// What the look found: our own record, and somebody's with the same e-mail.
    ours: Option<ExternalId>,
    others: Vec<ExternalId>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    FindingOurs,
    FindingByEmail,
    Making,
    /// Made before, with other values: where is it?
    FindingTwin {
        again: bool,
    },
}

impl Task {
    pub fn new(create: Create) -> Self {
        let phase = Phase::FindingOurs;
        Task { create, key: 0, unknown: false, looked_at: Millis::MIN, ours: None, others: Vec::new(), phase }
    }

    pub fn start(&mut self, scene: &Scene<'_>) -> Act {
        let call = self.first_look(scene);
        self.act(scene, call)
    }

    /// The call after a pause: the same, unless it is time to look again.
    pub fn again(&mut self, scene: &Scene<'_>, call: Call) -> Call {
        let stale = !self.unknown && scene.now() - self.looked_at > LOOK_LASTS;
        if self.phase == Phase::Making && (stale || self.key_is_spent(scene)) { self.first_look(scene).unwrap_or(call) } else { call }
    }

    pub fn unknown(&mut self, hint: Option<Millis>) -> Act {
        self.unknown |= self.phase == Phase::Making;
        Act::Retry { hint }
    }

    pub fn on_reply(&mut self, scene: &Scene<'_>, reply: Reply) -> Act {
        match (self.phase, reply) {
            (Phase::FindingOurs | Phase::FindingByEmail, Reply::Found(found)) => {
                self.note(found);
                let call = if self.phase == Phase::FindingOurs && self.ours.is_none() { self.look_by_email() } else { None };
                self.act(scene, call)
            }
            (Phase::FindingTwin { again }, Reply::Found(found)) => {
                self.note(found);
                match (&self.ours, again) {
                    (Some(_), _) => self.held(MADE_BEFORE),
                    (None, false) => {
                        self.phase = Phase::FindingTwin { again: true };
                        Act::WaitThen(TWIN_SHOWS, self.find_twin(scene))
                    }
                    // What the key holds made nothing: a stored failure of an earlier body. It would be in the way until it expires.
                    (None, true) => {
                        self.key += 1;
                        let call = self.look_by_email();
                        self.act(scene, call)
                    }
                }
            }
            (Phase::FindingTwin { .. }, Reply::Refused(_)) => self.held(MADE_BEFORE),
            // It has no record, so a refusal needs no look.
            (Phase::FindingByEmail, Reply::Refused(refusal)) if refusal.field == Some(Field::Email) => self.refused(refusal),
            (Phase::Making, reply) => self.on_made(scene, reply),
            (_, reply) => Act::Unexpected(reply),
        }
    }

    /// The first call of a look; none where the key alone protects, and nothing is to be compared.
    fn first_look(&mut self, scene: &Scene<'_>) -> Option<Call> {
        (self.ours, self.others) = (None, Vec::new());
        self.looked_at = scene.now();
        let since = match scene.terms.style {
            Style::Stamped => Some(0),
            Style::Idempotent if self.key_is_spent(scene) => Some((scene.asked_at - CLOCKS_APART).max(0)),
            Style::Idempotent => None,
        };
        match since {
            Some(since) => {
                self.phase = Phase::FindingOurs;
                Some(Call::FindOurs { customer: self.create.customer, since })
            }
            None => self.look_by_email(),
        }
    }

    /// The key is known, so what it made is not older than a key.
    fn find_twin(&self, scene: &Scene<'_>) -> Call {
        let since = (scene.now() - KEYS_DIE - CLOCKS_APART).max(0);
        Call::FindOurs { customer: self.create.customer, since }
    }

    fn look_by_email(&mut self) -> Option<Call> {
        if !holds(Rule::LookBeforeCreate) {
            return None;
        }
        let email = self.create.set.get(&Field::Email)?.as_text().filter(|email| normalise_email(email).is_some())?.to_owned();
        self.phase = Phase::FindingByEmail;
        Some(Call::FindByEmail { email })
    }

    /// Sorts what was found: our record for this customer, records of others' making with the same e-mail. What our creates
    /// made for other customers counts as neither.
    fn note(&mut self, found: Vec<Seen>) {
        let email = self.create.set.get(&Field::Email).and_then(|email| normalise_email(email.as_text()?));
        for seen in found {
            match seen.concord_id.as_deref().and_then(|id| id.parse::<CustomerId>().ok()) {
                Some(customer) if customer == self.create.customer => {
                    self.ours.get_or_insert(seen.id);
                }
                Some(_) => {}
                None => {
                    let same = seen.fields.and_then(|f| f.email).and_then(|e| normalise_email(&e)).is_some_and(|e| Some(e) == email);
                    if same && self.phase == Phase::FindingByEmail && self.others.len() < ASKED {
                        self.others.push(seen.id);
                    }
                }
            }
        }
    }

    /// Goes on with a look, or decides upon what was found.
    fn act(&mut self, scene: &Scene<'_>, look: Option<Call>) -> Act {
        if let Some(call) = look {
            return Act::Call(call);
        }
        match (self.ours.clone(), scene.terms.style) {
            (Some(id), Style::Stamped) if !holds(Rule::UniqueIdNeverUpsert) => self.upsert(id),
            (Some(id), Style::Stamped) => self.unseen(id),
            (Some(id), Style::Idempotent) if self.key_is_spent(scene) => self.unseen(id),
            // The stored answer to the create is the oldest snapshot there is.
            (Some(_), Style::Idempotent) => self.make(),
            (None, _) if !self.others.is_empty() => self.held("somebody's record has this e-mail"),
            (None, _) if !scene.terms.caught_up && holds(Rule::CatchUpBeforeCreate) => self.held_until_caught_up(),
            (None, _) => self.make(),
        }
    }

    fn make(&mut self) -> Act {
        self.phase = Phase::Making;
        let mut key = if holds(Rule::SameCreateKey) { self.create.key.clone() } else { self.create.id.to_string() };
        if self.key > 0 {
            key = format!("{key}.k{}", self.key);
        }
        Act::Call(Call::Create(call::Create { key, id: self.create.id.clone(), set: self.create.set.clone() }))
    }

    /// What an upsert would do: only to see in a test why it must not.
    fn upsert(&mut self, id: ExternalId) -> Act {
        self.phase = Phase::Making;
        let (key, write, set) = (self.create.key.clone(), self.create.id.clone(), self.create.set.clone());
        Act::Call(Call::Update(Update { id, key, write, set, unmodified_since: None }))
    }

    fn on_made(&mut self, scene: &Scene<'_>, reply: Reply) -> Act {
        match reply {
            Reply::Done { seen, exact } => self.made(scene, seen, exact),
            Reply::Replayed { seen } => self.made(scene, seen, true),
            Reply::Made { id } => self.unseen(id),
            Reply::Refused(refusal) => self.refused(refusal),
            // Its event is on the way; in case it is lost, it is looked for, too.
            Reply::KeyReused if self.ours.is_none() => {
                self.phase = Phase::FindingTwin { again: false };
                Act::Call(self.find_twin(scene))
            }
            Reply::KeyReused => self.held(MADE_BEFORE),
            // A stored failure is replayed for its key for ever: whether it made something, a look tells.
            Reply::Stored { .. } | Reply::AlreadyOurs => {
                self.key += 1;
                self.unknown = false;
                match self.first_look(scene) {
                    Some(call) => Act::WaitThen(scene.pause(self.key), call),
                    None => self.make(),
                }
            }
            other => Act::Unexpected(other),
        }
    }

    /// Whether repeating the create under its first key is of no use: the key may have expired, or holds a failure.
    fn key_is_spent(&self, scene: &Scene<'_>) -> bool {
        self.key > 0 || scene.keys_expired()
    }

    fn made(&self, scene: &Scene<'_>, seen: Seen, exact: bool) -> Act {
        if scene.terms.style == Style::Idempotent && !holds(Rule::CreateAnswerGivesFields) {
            return self.unseen(seen.id);
        }
        let order = if holds(Rule::CreateAnswersOutsideTheOrder) { 0 } else { scene.order };
        let id = seen.id.clone();
        let mut result = seen.result(order);
        let left = if exact { result.fields.clone() } else { None };
        result.answer = Some(Answer { left, ..answer(&self.create.id, Outcome::Done) });
        finish(&id, result)
    }

    /// It is made, and nobody looked: the answer's fields are what was sent.
    fn unseen(&self, id: ExternalId) -> Act {
        let result = SourceCustomer {
            order: Some(0),
            fields: Some(CustomerFields::from(&self.create.set)),
            concord_id: Some(self.create.customer.to_string()),
            answer: Some(Answer { unseen: true, ..answer(&self.create.id, Outcome::Done) }),
            ..SourceCustomer::default()
        };
        finish(&id, result)
    }

    fn refused(&self, refusal: Refusal) -> Act {
        Act::Finish(self.no_record(super::refused(&self.create.id, refusal), Vec::new()))
    }

    /// Not now. What stands in the way is read: it links, or shows that it no longer does.
    fn held(&self, reason: &str) -> Act {
        let asks = self.ours.iter().chain(&self.others).cloned().collect();
        Act::Finish(self.no_record(self.not_now(reason), asks))
    }

    /// The record may be there, made by somebody before the start and spelt otherwise than the look compares: the catch-up shows it,
    /// and it is linked. Otherwise the create is asked for again, under the same key.
    fn held_until_caught_up(&self) -> Act {
        Act::FinishCaughtUp(self.no_record(self.not_now(CATCHING_UP), Vec::new()))
    }

    fn not_now(&self, reason: &str) -> Answer {
        Answer { reason: Some(reason.to_owned()), ..answer(&self.create.id, Outcome::Held) }
    }

    fn no_record(&self, answer: Answer, asks: Vec<ExternalId>) -> Finished {
        let result = SourceCustomer { order: Some(0), answer: Some(answer), ..SourceCustomer::default() };
        Finished { key: self.create.customer.to_string(), result, asks }
    }
}

/// The record is made: its next look comes from a read, asked for at once.
fn finish(id: &ExternalId, result: SourceCustomer) -> Act {
    Act::Finish(Finished { key: id.to_string(), result, asks: vec![id.clone()] })
}
