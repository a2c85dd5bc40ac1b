//! The conversation machine, branch by branch: given what is known, when the system answers, then what is said.

mod catch_up;
mod creates;
mod deletes_and_reads;
mod idempotent_writes;
mod partitions;
mod properties;
mod stamped_writes;

use connect::{
    Call, Conversation, Finished, Input, Moment, Refusal, Reply, Seen, Step, Style,
    backoff::Backoff,
    conversation::{Published, Terms},
};
use schemas::{
    Action, Answer, Create, CustomerFields, CustomerId, Delete, ExternalId, Field, Millis, Notice, Outcome, Read, Request, System, Value,
    Values, Write, WriteId,
    rules::{Rule, break_rule, mend_rules},
};

const NOW: Millis = 1_700_000_000_000;
const HOUR: Millis = 3_600_000;
const RECORD: &str = "cus_1";

fn system() -> System {
    System::new("stripe").unwrap()
}

fn ada() -> CustomerId {
    CustomerId::minted(&System::new("product").unwrap(), &ExternalId::new("42"), 0)
}

fn values(values: &[(Field, &str)]) -> Values {
    values.iter().map(|(field, value)| (field.clone(), Value::from(*value))).collect()
}

/// The record as it shows this name.
fn seen(name: &str) -> Seen {
    Seen {
        id: ExternalId::new(RECORD),
        look: NOW,
        fields: Some(CustomerFields { name: Some(name.into()), ..CustomerFields::default() }),
        concord_id: None,
        mark: None,
        created: NOW - HOUR,
        stamp: None,
    }
}

fn gone() -> Seen {
    Seen::deleted(ExternalId::new(RECORD), NOW)
}

fn done(seen: Seen) -> Reply {
    Reply::Done { seen, exact: true }
}

fn unknown() -> Reply {
    Reply::Unknown { reason: "timed out".into(), retry_after: None }
}

fn busy(retry_after: Option<Millis>) -> Reply {
    Reply::Busy { reason: "too many requests".into(), retry_after }
}

fn refused(field: Field) -> Reply {
    Reply::Refused(Refusal { field: Some(field), reason: "no".into(), taken: false })
}

fn write_id() -> WriteId {
    WriteId::write(ada(), &system(), 7)
}

/// Sets the name to "new" where it is "old", decided upon the result of order 5.
fn write() -> Write {
    Write {
        id: write_id(),
        customer: ada(),
        incarnation: 0,
        set: values(&[(Field::Name, "new")]),
        expected: values(&[(Field::Name, "old")]),
        mark: None,
        after: 5,
        stamp: None,
        settled: false,
    }
}

/// What the runner published last: order 5, the name is "old".
fn known() -> Published {
    Published { order: 5, fields: seen("old").fields }
}

/// A conversation that is played by hand.
struct Play {
    conversation: Conversation,
    now: Millis,
}

impl Play {
    fn of(style: Style, action: Action, published: Option<&Published>) -> Self {
        let key = if let Action::Create(create) = &action { create.customer.to_string() } else { RECORD.to_owned() };
        let terms = Terms { system: system(), style, backoff: Backoff { first: 100, longest: 1_000 }, caught_up: true };
        Play { conversation: Conversation::new(terms, &key, 9, NOW, action, published), now: NOW }
    }

    /// While the source is catching up.
    fn too_early(style: Style, create: Create) -> Self {
        let (key, backoff) = (create.customer.to_string(), Backoff { first: 100, longest: 1_000 });
        let terms = Terms { system: system(), style, backoff, caught_up: false };
        Play { conversation: Conversation::new(terms, &key, 9, NOW, Action::Create(create), None), now: NOW }
    }

    fn write(style: Style, write: Write, published: Option<&Published>) -> Self {
        Play::of(style, Action::Write(write), published)
    }

    fn next(&mut self, input: Input) -> Step {
        self.conversation.next(input, Moment { now: self.now, jitter: 1.0 })
    }

    #[track_caller]
    fn start(&mut self) -> Call {
        call(self.next(Input::Start))
    }

    /// Answers, and expects another call at once.
    #[track_caller]
    fn then(&mut self, reply: Reply) -> Call {
        call(self.next(Input::Reply(reply)))
    }

    /// Answers, expects a pause, and waits it out.
    #[track_caller]
    fn after_a_pause(&mut self, reply: Reply) -> Call {
        match self.next(Input::Reply(reply)) {
            Step::Wait { until } => {
                assert!(until > self.now, "a pause of {}", until - self.now);
                self.now = until;
                call(self.next(Input::Due))
            }
            other => panic!("expected a pause, got {other:?}"),
        }
    }

    /// Answers, and expects an outcome that is best told once the catch-up is through.
    #[track_caller]
    fn finish_caught_up(&mut self, input: Input) -> Finished {
        match self.next(input) {
            Step::FinishCaughtUp(finished) => finished,
            other => panic!("expected an outcome for later, got {other:?}"),
        }
    }

    /// Answers, and expects the outcome.
    #[track_caller]
    fn finish(&mut self, reply: Reply) -> Finished {
        match self.next(Input::Reply(reply)) {
            Step::Finish(finished) => finished,
            other => panic!("expected the outcome, got {other:?}"),
        }
    }
}

#[track_caller]
fn call(step: Step) -> Call {
    match step {
        Step::Call(call) => call,
        other => panic!("expected a call, got {other:?}"),
    }
}

#[track_caller]
fn outcome(finished: &Finished) -> Outcome {
    answer(finished).outcome
}

#[track_caller]
fn answer(finished: &Finished) -> &Answer {
    finished.result.answer.as_ref().expect("an answer")
}

/// The name that the result shows.
fn shown(finished: &Finished) -> Option<&str> {
    finished.result.fields.as_ref()?.name.as_deref()
}

fn is_get(call: &Call) -> bool {
    matches!(call, Call::Get { id } if id.as_str() == RECORD)
}

/// The key of an update.
#[track_caller]
fn update_key(call: &Call) -> &str {
    match call {
        Call::Update(update) => &update.key,
        other => panic!("expected an update, got {other:?}"),
    }
}

/// Breaks a rule until the end of the test.
struct Without;

impl Without {
    fn the(rule: Rule) -> Without {
        break_rule(rule);
        Without
    }
}

impl Drop for Without {
    fn drop(&mut self) {
        mend_rules();
    }
}
