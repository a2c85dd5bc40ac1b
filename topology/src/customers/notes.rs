//! Notices: evidence of who changed what and when, and of edits that a write of ours covered.

use super::{
    Config,
    merge::{Theirs, Turn},
    state::{Customer, NOTICES, Noticed, Replica, forget_eldest, value_of},
};
use schemas::{ConflictKind, Field, Millis, Notice, Rule, System, Value, holds};

/// When an edit was made, by its system's clock, and the event that told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    pub time: Millis,
    pub event_id: Option<String>,
}

impl Replica {
    /// The newest notice of somebody's change of the field to this value. One of ours is no evidence of anybody's edit.
    pub(super) fn evidence(&self, field: &Field, value: &Value) -> Option<Evidence> {
        let theirs = self.notices.get(field)?.iter().filter(|n| !n.ours && n.new == *value);
        let newest = theirs.max_by_key(|n| n.time)?;
        let event_id = Some(newest.event_id.clone()).filter(|id| !id.is_empty());
        Some(Evidence { time: newest.time, event_id })
    }

    fn keep(&mut self, config: &Config, system: &System, notice: &Notice) {
        let ours = notice.ours(system).is_some();
        for change in notice.changes.iter().filter(|c| config.maps(system, &c.field)) {
            let kept = self.notices.or_default(change.field.clone());
            let twice = |n: &Noticed| !n.event_id.is_empty() && n.event_id == notice.event_id && n.new == change.new;
            if !kept.iter().any(twice) {
                kept.push(Noticed::new(notice, ours, change.new.clone()));
                forget_eldest(kept, NOTICES);
            }
        }
    }
}

impl Customer {
    /// Keeps the notices. One of ours with another previous value than the write expected tells that it covered an edit that
    /// nobody had seen: a conflict like any other.
    pub(super) fn note(&mut self, turn: &mut Turn<'_>, system: &System, r: &mut Replica, notices: &[Notice]) {
        if self.deleted {
            return; // its values are forgotten, and nobody's edit counts any more
        }
        for notice in notices {
            r.keep(turn.config, system, notice);
        }
        if holds(Rule::CoveredEdits) {
            for notice in notices {
                self.covered(turn, system, r, notice);
            }
        }
    }

    fn covered(&mut self, turn: &mut Turn<'_>, system: &System, r: &mut Replica, notice: &Notice) {
        let Some(id) = notice.ours(system).and_then(|id| self.call(system, &id)).filter(|id| !id.is_create()) else { return };
        let Some(at) = r.ring.iter().position(|w| w.id == id) else { return };
        for change in &notice.changes {
            let (field, Some(previous)) = (&change.field, &change.previous) else { continue };
            let (w, previous) = (&mut r.ring[at], &previous.value);
            if !w.set.contains_key(field) || value_of(&w.expected, field) == previous || !w.told.insert(field.clone()) {
                continue;
            }
            if previous != self.golden_value(field) {
                let look = w.look;
                let evidence = r.evidence(field, previous).unwrap_or(Evidence { time: look, event_id: None });
                let theirs = Theirs { system, external_id: &r.external_id, field, value: previous, evidence };
                self.conflict(turn, &theirs, ConflictKind::Covered);
            }
        }
    }
}
