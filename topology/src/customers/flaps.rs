//! (23) The flap guard: automations that set a field back and forth are held, with a conflict, until somebody types.

use super::{
    merge::{Conflict, Theirs, Turn, contender_of},
    state::{Customer, FLIPS, Flip, forget_eldest},
};
use schemas::{ConflictKind, Field, Millis, Value};

/// How often one system may choose one value on top, within [`WINDOW`].
const TIMES: usize = 3;
const WINDOW: Millis = 60_000;

impl Customer {
    /// A value was just chosen on top: is it the third time in a minute, with others in between?
    pub(super) fn flap_guard(&mut self, turn: &mut Turn<'_>, theirs: &Theirs<'_>) {
        let flips = self.flips.or_default(theirs.field.clone());
        flips.push(Flip { value: theirs.value.clone(), system: theirs.system.clone(), at: turn.now });
        forget_eldest(flips, FLIPS);
        // Only a value that is not golden is chosen, so between two times of the same value there was another.
        let same = |f: &&Flip| f.value == *theirs.value && f.system == *theirs.system && f.at > turn.now - WINDOW;
        if flips.iter().filter(same).count() >= TIMES && self.held.insert(theirs.field.clone()) {
            let golden = self.golden.get(theirs.field).map(contender_of);
            let conflict = Conflict::new(ConflictKind::Flapping, theirs.system, Some(theirs.external_id));
            let detail = format!("chosen {TIMES} times in {} s: held until another value is typed", WINDOW / 1000);
            self.record(turn, Conflict { field: Some(theirs.field.clone()), winner: golden, detail: Some(detail), ..conflict });
        }
    }

    /// A value that is not among the last ones was typed by a person: the field is free again.
    pub(super) fn release_held(&mut self, field: &Field, value: &Value) {
        if self.held.contains(field) && !self.flips.get(field).is_some_and(|flips| flips.iter().any(|f| f.value == *value)) {
            self.held.remove(field);
            self.flips.remove(field);
        }
    }
}
