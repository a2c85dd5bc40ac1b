//! Creates, while the source is catching up (rule 7): what asked for them does not know all that changed before this start.

use super::{
    Partition,
    record::{Pending, Talk},
};
use crate::conversation::{Finished, Moment};
use schemas::Millis;
use std::sync::Arc;

/// An answer is held back no longer than this: until then the finished prefix ends before it.
const LONGEST: Millis = 600_000;

impl Partition {
    /// The catch-up is through: whoever asked for the requests from `end` on knew all of it. What was asked for before was decided
    /// without it, also if its turn comes only now.
    pub fn caught_up(&mut self, end: i64) {
        self.caught_up = Some(end);
        for key in std::mem::take(&mut self.held_back) {
            self.give_back(&key);
        }
    }

    /// Whether it has room for one more: a few, since the reads that the catch-up waits for need most of it. Other answers are
    /// given at once, and the pauses of what asks again grow.
    pub(super) fn holds_back(&self) -> bool {
        self.caught_up.is_none() && self.held_back.len() < self.options.room / 4
    }

    pub(super) fn hold_back(&mut self, key: &Arc<str>, finished: Finished, moment: Moment) {
        if let Some(Talk::Own { pending, .. }) = self.records.get_mut(key).map(|record| &mut record.talk) {
            *pending = Pending::CatchUp(Box::new(finished), moment.now + LONGEST);
            self.held_back.insert(key.clone());
        }
        self.place(key);
    }

    /// Publishes an answer that was held back.
    pub(super) fn give_back(&mut self, key: &Arc<str>) {
        self.held_back.remove(key);
        let talk = self.records.get_mut(key).map(|record| &mut record.talk);
        let Some(Talk::Own { pending: pending @ Pending::CatchUp(..), .. }) = talk else { return };
        if let Pending::CatchUp(finished, _) = std::mem::replace(pending, Pending::Answer) {
            self.conclude(key, *finished);
        }
    }
}
