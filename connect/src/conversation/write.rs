//! A write of some fields, if the record still shows what was expected (rules 3, 4 and 5).

use super::{Act, LOOK_LASTS, Published, Scene, Style, answer, look};
use crate::call::{Call, Refusal, Reply, Seen, Update};
use schemas::{
    CustomerFields, ExternalId, Millis, Outcome, Write,
    rules::{Rule, holds},
};

#[derive(Clone, Debug)]
pub(super) struct Task {
    id: ExternalId,
    write: Write,
    /// The last published result is the one that this write was decided upon, and shows what it expects.
    known: bool,
    /// The key's number: one more after each stored failure.
    key: u32,
    /// A call whose outcome is not known has been made: it may still land.
    unknown: bool,
    looked_at: Millis,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Before a write: does the record still show what is expected?
    Looking,
    Writing,
    /// The write is done: the answer showed no snapshot of now.
    LookingAfter {
        left: Option<CustomerFields>,
    },
    LookingRefused {
        refusal: Refusal,
    },
}

/// Whether the last published result is the one that the write was decided upon, and shows what it expects.
pub(super) fn shows_expected(published: &Published, write: &Write) -> bool {
    published.order == write.after
        && published.fields.as_ref().is_some_and(|fields| write.expected.iter().all(|(field, value)| fields.get(field) == *value))
}

impl Task {
    pub fn new(id: ExternalId, write: Write, known: bool) -> Self {
        Task { id, write, known, key: 0, unknown: false, looked_at: Millis::MIN, phase: Phase::Looking }
    }

    pub fn start(&mut self, scene: &Scene<'_>) -> Act {
        match scene.terms.style {
            Style::Idempotent if !holds(Rule::LookBeforePost) => self.post(scene.now(), None),
            // What waited in the topic is looked at again: somebody may have edited it meanwhile.
            Style::Idempotent if self.known && scene.now() - scene.asked_at < LOOK_LASTS => self.post(scene.now(), None),
            Style::Stamped if self.write.settled && self.write.stamp.is_some() => self.post(scene.now(), self.write.stamp),
            _ => self.look(),
        }
    }

    /// The call after a pause: the same, unless it is time to look again.
    pub fn again(&mut self, scene: &Scene<'_>, call: Call) -> Call {
        let look_again = match (scene.terms.style, &self.phase) {
            (Style::Idempotent, Phase::Writing) => {
                scene.keys_expired() || (!self.unknown && holds(Rule::LookBeforePost) && scene.now() - self.looked_at > LOOK_LASTS)
            }
            _ => false,
        };
        if look_again {
            self.phase = Phase::Looking;
            Call::Get { id: self.id.clone() }
        } else {
            call
        }
    }

    pub fn unknown(&mut self, hint: Option<Millis>) -> Act {
        self.unknown |= matches!(self.phase, Phase::Writing);
        Act::Retry { hint }
    }

    pub fn on_reply(&mut self, scene: &Scene<'_>, reply: Reply) -> Act {
        match &mut self.phase {
            Phase::Looking => match look(&self.id, reply) {
                Ok(seen) => self.decide(scene, seen),
                Err(reply) => Act::Unexpected(reply),
            },
            Phase::Writing => self.on_written(scene, reply),
            Phase::LookingAfter { left } => match look(&self.id, reply) {
                Ok(seen) => {
                    let mut answer = answer(&self.write.id, Outcome::Done);
                    answer.left = left.take();
                    scene.answered(seen, answer)
                }
                Err(reply) => Act::Unexpected(reply),
            },
            Phase::LookingRefused { refusal } => match look(&self.id, reply) {
                Ok(seen) if seen.is_deleted() => scene.answered(seen, answer(&self.write.id, Outcome::Gone)),
                Ok(seen) if carries(&seen, &self.write) => scene.answered(seen, answer(&self.write.id, Outcome::Done)),
                Ok(seen) => scene.answered(seen, super::refused(&self.write.id, std::mem::take(refusal))),
                Err(reply) => Act::Unexpected(reply),
            },
        }
    }

    fn on_written(&mut self, scene: &Scene<'_>, reply: Reply) -> Act {
        match reply {
            Reply::Done { seen, exact } => {
                let mut answer = answer(&self.write.id, Outcome::Done);
                answer.left = if exact { seen.fields.clone() } else { None };
                scene.answered(seen, answer)
            }
            Reply::Replayed { seen } => self.look_after(seen.fields),
            Reply::Accepted => self.look_after(None),
            Reply::Refused(refusal) => {
                self.phase = Phase::LookingRefused { refusal };
                Act::Call(Call::Get { id: self.id.clone() })
            }
            // A stored failure is replayed for its key for ever: whether it did something, the mark tells.
            Reply::Stored { .. } | Reply::Missing => {
                self.key += 1;
                self.phase = Phase::Looking;
                Act::WaitThen(scene.pause(self.key), Call::Get { id: self.id.clone() })
            }
            Reply::Changed => self.look(),
            Reply::KeyReused => Act::Poison(format!("the key of write {} is known with other parameters", self.write.id)),
            other => Act::Unexpected(other),
        }
    }

    /// What a look before the write says (rule 4; rule 5 the same, and the stamp's second must be over).
    fn decide(&mut self, scene: &Scene<'_>, seen: Seen) -> Act {
        self.looked_at = scene.now();
        if seen.is_deleted() {
            return scene.answered(seen, answer(&self.write.id, Outcome::Gone));
        }
        if carries(&seen, &self.write) {
            return scene.answered(seen, answer(&self.write.id, Outcome::Done));
        }
        if seen.mark != self.write.mark || !seen.shows(&self.write.expected) {
            return scene.answered(seen, answer(&self.write.id, Outcome::MovedOn));
        }
        match (scene.terms.style, seen.stamp) {
            (Style::Idempotent, _) => self.post(scene.now(), None),
            (Style::Stamped, None) => Act::Poison("the record has no stamp to compare".to_owned()),
            (Style::Stamped, Some(_)) if !seen.settled() => Act::WaitThen(seen.unsettled_for(), Call::Get { id: self.id.clone() }),
            (Style::Stamped, stamp) => self.post(scene.now(), stamp),
        }
    }

    fn look(&mut self) -> Act {
        self.phase = Phase::Looking;
        Act::Call(Call::Get { id: self.id.clone() })
    }

    fn look_after(&mut self, left: Option<CustomerFields>) -> Act {
        self.phase = Phase::LookingAfter { left };
        Act::Call(Call::Get { id: self.id.clone() })
    }

    fn post(&mut self, now: Millis, unmodified_since: Option<Millis>) -> Act {
        self.phase = Phase::Writing;
        self.looked_at = now;
        let key = match self.key {
            0 => self.write.id.to_string(),
            n => format!("{}.k{n}", self.write.id),
        };
        Act::Call(Call::Update(Update {
            id: self.id.clone(),
            key,
            write: self.write.id.clone(),
            set: self.write.set.clone(),
            unmodified_since,
        }))
    }
}

/// Whether the record carries the write's mark: it has landed.
fn carries(seen: &Seen, write: &Write) -> bool {
    seen.mark.as_deref() == Some(write.id.to_string().as_str())
}
