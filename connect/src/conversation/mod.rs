//! One request's conversation: from its first call to its known outcome (docs/protocol.md, rules 2 to 5, 7 and 8).
//!
//! [`Conversation::next`] takes what happened and says what to do next. A call is repeated, same key and same body, until its
//! outcome is known; only a known outcome finishes. Nothing is kept outside: after a crash the request runs again from the
//! start, and keys, marks and compare-and-set make the repeated calls harmless.

mod create;
mod delete;
mod read;
mod write;

use crate::{
    backoff::Backoff,
    call::{Call, Reply, Seen},
};
use schemas::{Action, Answer, CustomerFields, ExternalId, Millis, Outcome, Read, SourceCustomer, System, WriteId};

/// How a system protects a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Idempotency keys, no compare-and-set: looked at before (Stripe; rule 4).
    Idempotent,
    /// Compare-and-set by a last-modified stamp that is only seconds fine; a unique field for `concord_id` (Salesforce; rule 5).
    Stamped,
}

/// Keys expire after 24 hours: from here on, look before the call is repeated.
pub(crate) const KEYS_LIVE: Millis = 23 * 3_600_000;

/// A look this old is repeated before we write, where nothing of ours may be under way.
pub(crate) const LOOK_LASTS: Millis = 10_000;

/// Calls that are refused although they only look are repeated this often, then the request is poison.
const REFUSED_LOOKS: u32 = 5;

/// What happened.
#[allow(clippy::large_enum_variant)] // Few at a time, and moved once: a box would only cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The request's turn has come.
    Start,
    /// The wait is over.
    Due,
    /// The call was answered.
    Reply(Reply),
}

/// The moment at which it happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// The runner's wall clock.
    pub now: Millis,
    /// In `0.0..1.0`: spreads the pauses.
    pub jitter: f64,
}

/// What to do next.
#[allow(clippy::large_enum_variant)] // Few at a time, and moved once: a box would only cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Perform this, then [`Input::Reply`].
    Call(Call),
    /// Wait until then, then [`Input::Due`].
    Wait { until: Millis },
    /// The outcome is known: publish it.
    Finish(Finished),
    /// The same, best once the catch-up is through: what asks again pauses longer each time.
    FinishCaughtUp(Finished),
    /// This request cannot be answered: it goes to the dead letters, and the next one of this record takes its turn.
    Poison(String),
}

/// A known outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Key of the result: the external id; of an answer that made no record: the customer id.
    pub key: String,
    pub result: SourceCustomer,
    /// Records to be read next (a `Read` on `requests.<system>`), in the same append.
    pub asks: Vec<ExternalId>,
}

/// The last result that this runner published for a record (rule 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub order: i64,
    /// `None`: deleted.
    pub fields: Option<CustomerFields>,
}

/// What a conversation knows of its system.
#[derive(Clone, Debug)]
pub struct Terms {
    pub system: System,
    pub style: Style,
    pub backoff: Backoff,
    /// The request was decided when all that had changed at the system before this start was known (rule 7).
    pub caught_up: bool,
}

/// One request's conversation. Adjoining reads share one.
#[derive(Clone, Debug)]
pub struct Conversation {
    terms: Terms,
    /// The request's key.
    key: String,
    /// Offset of the (last joined) request + 1.
    order: i64,
    /// When the request was appended: the earliest moment at which a call of it can have been made, also before a crash.
    asked_at: Millis,
    task: Task,
    /// The call under way, or the one that is repeated after the wait.
    call: Option<Call>,
    failures: u32,
    refused_looks: u32,
}

#[allow(clippy::large_enum_variant)] // Few at a time, and moved once: a box would only cost.
#[derive(Clone, Debug)]
enum Task {
    Read(read::Task),
    Write(write::Task),
    Create(create::Task),
    Delete(delete::Task),
}

/// What a task decides. `Retry`: the call under way, again (the task may replace it then, see `again`).
#[allow(clippy::large_enum_variant)] // Few at a time, and moved once: a box would only cost.
#[derive(Debug)]
pub(crate) enum Act {
    Call(Call),
    /// Wait this long, then call.
    WaitThen(Millis, Call),
    Retry {
        hint: Option<Millis>,
    },
    Finish(Finished),
    FinishCaughtUp(Finished),
    Poison(String),
    /// The system's answer does not fit the call.
    Unexpected(Reply),
}

/// What a task needs to decide.
pub(crate) struct Scene<'a> {
    pub terms: &'a Terms,
    pub key: &'a str,
    pub order: i64,
    pub asked_at: Millis,
    pub moment: Moment,
}

impl Scene<'_> {
    /// Whether a key that was first used when the request was asked may have expired.
    pub fn keys_expired(&self) -> bool {
        self.now() - self.asked_at >= KEYS_LIVE
    }

    pub fn now(&self) -> Millis {
        self.moment.now
    }

    /// The pause before something that failed for the n-th time is tried in another way.
    pub fn pause(&self, n: u32) -> Millis {
        self.terms.backoff.pause(n, None, self.moment.jitter)
    }

    /// The result of a look that answers nothing.
    pub fn shown(&self, seen: Seen) -> Act {
        self.finish(seen.result(self.order))
    }

    /// The result that answers a call about this record.
    pub fn answered(&self, seen: Seen, answer: Answer) -> Act {
        let mut result = seen.result(self.order);
        result.answer = Some(answer);
        self.finish(result)
    }

    fn finish(&self, result: SourceCustomer) -> Act {
        Act::Finish(Finished { key: self.key.to_owned(), result, asks: Vec::new() })
    }
}

/// An answer with nothing but its outcome.
pub(crate) fn answer(write_id: &WriteId, outcome: Outcome) -> Answer {
    Answer { write_id: write_id.clone(), outcome, refused_field: None, reason: None, taken: false, left: None, unseen: false }
}

impl Conversation {
    /// The conversation of a request that was appended at `offset` and time `asked_at`. `published`: the last result that this
    /// runner published for the record, if it remembers.
    pub fn new(terms: Terms, key: &str, offset: i64, asked_at: Millis, action: Action, published: Option<&Published>) -> Self {
        let id = ExternalId::new(key);
        let task = match action {
            Action::Read(read) => Task::Read(read::Task::new(id, read)),
            Action::Write(write) => {
                let known = published.is_some_and(|p| write::shows_expected(p, &write));
                Task::Write(write::Task::new(id, write, known))
            }
            Action::Create(create) => Task::Create(create::Task::new(create)),
            Action::Delete(delete) => Task::Delete(delete::Task::new(id, delete)),
        };
        Conversation { terms, key: key.to_owned(), order: offset + 1, asked_at, task, call: None, failures: 0, refused_looks: 0 }
    }

    /// Whether it only looks: adjoining reads may [`join`](Self::join) it.
    pub fn reads(&self) -> bool {
        matches!(self.task, Task::Read(_))
    }

    /// One more read that the next call answers. Only before that call is sent: what is shown then is newer than its notices.
    pub fn join(&mut self, offset: i64, read: Read) {
        if let Task::Read(task) = &mut self.task {
            task.join(read);
            self.order = offset + 1;
        }
    }

    /// What happened, and what to do next.
    pub fn next(&mut self, input: Input, moment: Moment) -> Step {
        let scene = Scene { terms: &self.terms, key: &self.key, order: self.order, asked_at: self.asked_at, moment };
        let act = match input {
            Input::Start => match &mut self.task {
                Task::Read(task) => task.start(),
                Task::Write(task) => task.start(&scene),
                Task::Create(task) => task.start(&scene),
                Task::Delete(task) => task.start(),
            },
            Input::Due => match (self.call.take(), &mut self.task) {
                (Some(call), Task::Write(task)) => Act::Call(task.again(&scene, call)),
                (Some(call), Task::Create(task)) => Act::Call(task.again(&scene, call)),
                (Some(call), _) => Act::Call(call),
                (None, _) => Act::Poison("a wait that nothing follows".to_owned()),
            },
            Input::Reply(reply) => {
                let failed = matches!(reply, Reply::Unknown { .. } | Reply::Busy { .. } | Reply::Unauthorized { .. });
                if !failed {
                    self.failures = 0;
                }
                match (reply, &mut self.task) {
                    (Reply::Unknown { retry_after, .. }, Task::Write(task)) => task.unknown(retry_after),
                    (Reply::Unknown { retry_after, .. }, Task::Create(task)) => task.unknown(retry_after),
                    (Reply::Unknown { retry_after, .. } | Reply::Busy { retry_after, .. }, _) => Act::Retry { hint: retry_after },
                    (Reply::Unauthorized { .. }, _) => Act::Retry { hint: None },
                    (reply, Task::Read(task)) => task.on_reply(&scene, reply),
                    (reply, Task::Write(task)) => task.on_reply(&scene, reply),
                    (reply, Task::Create(task)) => task.on_reply(&scene, reply),
                    (reply, Task::Delete(task)) => task.on_reply(&scene, reply),
                }
            }
        };
        self.take(act, moment)
    }

    fn take(&mut self, act: Act, moment: Moment) -> Step {
        match act {
            Act::Call(call) => {
                self.call = Some(call.clone());
                Step::Call(call)
            }
            Act::WaitThen(pause, call) => {
                self.call = Some(call);
                Step::Wait { until: moment.now + pause }
            }
            Act::Retry { hint } => {
                self.failures += 1;
                Step::Wait { until: moment.now + self.terms.backoff.pause(self.failures, hint, moment.jitter) }
            }
            Act::Finish(finished) => Step::Finish(finished),
            Act::FinishCaughtUp(finished) => Step::FinishCaughtUp(finished),
            Act::Poison(reason) => Step::Poison(reason),
            Act::Unexpected(reply) => {
                self.refused_looks += 1;
                if self.refused_looks < REFUSED_LOOKS {
                    Step::Wait { until: moment.now + self.terms.backoff.pause(self.refused_looks, None, moment.jitter) }
                } else {
                    let call = self.call.as_ref().map_or("nothing", Call::name);
                    Step::Poison(match reply {
                        Reply::Refused(refusal) => format!("{call}: {}", refusal.reason),
                        other => format!("{call} was answered by {other:?}").chars().take(300).collect(),
                    })
                }
            }
        }
    }
}

/// An answer to a call that was refused for good.
pub(crate) fn refused(write_id: &WriteId, refusal: crate::call::Refusal) -> Answer {
    Answer { refused_field: refusal.field, reason: Some(refusal.reason), taken: refusal.taken, ..answer(write_id, Outcome::Refused) }
}

/// The snapshot in the answer to a [`Call::Get`]; the answer itself where it has none.
pub(crate) fn look(id: &ExternalId, reply: Reply) -> Result<Seen, Reply> {
    match reply {
        Reply::Done { seen, .. } => Ok(seen),
        Reply::Missing => Ok(Seen::deleted(id.clone(), 0)),
        other => Err(other),
    }
}
