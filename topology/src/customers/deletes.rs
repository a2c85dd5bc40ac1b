//! (24) A record is gone: whether the customer goes with it, and where.

use super::{
    merge::Turn,
    state::{Customer, Replica},
};
use schemas::{Notice, Rule, System, holds};

impl Customer {
    /// The live replica's record is gone. `r` is taken out of `self.replicas`, so these are the others.
    pub(super) fn gone(&mut self, turn: &mut Turn<'_>, system: &System, r: &mut Replica, notices: &[Notice]) {
        r.deleted = true;
        r.in_flight = None;
        r.delete_pause = None;
        if self.deleted {
            self.delete_wanted.remove(system);
            r.forget_values();
            return;
        }
        if holds(Rule::NoticesNotedWhenGone) {
            self.note(turn, system, r, notices);
        }
        let others = self.live_replicas().count();
        let reached = |s: &&System| turn.config.system(s).is_some_and(|s| s.is_reached_by_deletes());
        let reach: Vec<System> = self.live_replicas().map(|(s, _)| s).filter(reached).cloned().collect();
        if !reach.is_empty() || others == 0 {
            self.deleted = true;
            self.delete_wanted.extend(reach);
            self.forget_values();
            r.forget_values();
        }
    }

    /// A deleted customer keeps ids and attempts, and loses its values.
    fn forget_values(&mut self) {
        self.golden.clear();
        self.held.clear();
        self.flips.clear();
        for r in self.replicas.values_mut().filter(|r| r.deleted) {
            r.forget_values();
        }
        for creates in self.creates.values_mut() {
            creates.refused.clear();
            creates.refused_body = None;
            creates.held = None;
            for attempt in &mut creates.attempts {
                attempt.set.clear();
                attempt.versions.clear();
            }
        }
    }
}

impl Replica {
    fn forget_values(&mut self) {
        self.base.clear();
        self.shows.clear();
        self.rendered.clear();
        self.refused.clear();
        self.notices.clear();
        for w in &mut self.ring {
            w.set.clear();
            w.expected.clear();
            w.versions.clear();
        }
    }
}
