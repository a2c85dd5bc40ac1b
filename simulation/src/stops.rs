//! Concord as a whole stops and starts again; and what a Stripe source does at each start of a runner: it catches up.

use crate::{
    log,
    plan::{SALESFORCE, STRIPE},
    world::{Event, World},
};
use schemas::Action;

impl World {
    pub fn is_down(&self) -> bool {
        self.now < self.down_until
    }

    /// Nothing of Concord goes on for so long: what was in memory is lost, calls under way take effect.
    pub fn stop(&mut self, lasts: i64, reset: bool) {
        self.down_until = self.now + lasts;
        self.runners.clear();
        self.product.sinks.clear();
        self.product.source += 1;
        self.product.taking = true;
        self.schedule(lasts, Event::Start { reset });
    }

    pub fn start(&mut self, reset: bool) {
        if reset && let Err(error) = self.begin_anew() {
            self.breaches.push(format!("a reset failed: {error:#}"));
        }
        for partition in 0..self.plan.settings.partitions {
            self.sink_start(partition);
            for system in [STRIPE, SALESFORCE] {
                if self.present(system) {
                    self.runner_start(system, partition);
                }
            }
        }
        let after = self.dice.notices.between(1, 30);
        self.schedule(after, Event::OutboxTake { source: self.product.source });
    }

    /// What Concord would do now waits until it starts again. Nobody takes a webhook, but the list of events has what it told of.
    pub fn unless_down(&mut self, event: Event) -> Option<Event> {
        match event {
            event if !self.is_down() => Some(event),
            Event::Notice { system: STRIPE, notice: Some(_), .. } => None,
            Event::Task(_)
            | Event::Notice { .. }
            | Event::OutboxAppend { .. }
            | Event::Backfill { .. }
            | Event::Through { .. }
            | Event::Sweep { .. } => {
                self.schedule(self.down_until - self.now, event);
                None
            }
            event => Some(event),
        }
    }

    /// The runner is there, and is no zombie.
    pub fn runs(&self, id: u64) -> bool {
        self.runners.iter().any(|r| r.id == id && !r.is_zombie())
    }

    /// Every event that nobody told of yet becomes a read; then those reads, and what comes of them, are waited for.
    pub fn begin_catch_up(&mut self, id: u64) {
        if !self.runs(id) {
            return;
        }
        if self.outage(STRIPE) {
            // It asks again; an outage may end before its time.
            let again = (self.outages[STRIPE] - self.now).min(20_000);
            return self.schedule(again, Event::CatchUp { runner: id });
        }
        self.stripe.missed.clear();
        for (record, notice) in std::mem::take(&mut self.stripe.unnoticed).into_values() {
            self.take_notice(STRIPE, &record, Some(notice));
        }
        let ends = self.ends(self.requests[STRIPE]);
        self.schedule(50, Event::Through { runner: Some(id), system: STRIPE, stage: 0, ends, pause: 50 });
    }

    /// Whether each read before these ends is answered: the runner is past it, or a result of its record is newer.
    pub fn reads_answered(&self, system: usize, ends: &[i64]) -> bool {
        let codecs = &self.shared.codecs;
        ends.iter().enumerate().all(|(partition, end)| {
            let committed = self.committed.get(&(system, partition)).copied().unwrap_or(0);
            let requests = &self.log.topics[self.requests[system]].partitions[partition];
            let results = &self.log.topics[self.customers[system]].partitions[partition];
            requests.iter().filter(|r| (committed..*end).contains(&r.offset)).all(|request| {
                let action = request.value.as_deref().and_then(|v| codecs.request.decode(v).ok()).map(|r| r.action);
                let newer = |order: Option<i64>| order.is_some_and(|order| order > request.offset);
                !matches!(action, Some(Action::Read(_)))
                    || results.iter().any(|result| {
                        log::key(result) == log::key(request)
                            && newer(result.value.as_deref().and_then(|v| codecs.source.decode(v).ok()).and_then(|r| r.order))
                    })
            })
        })
    }

    /// The topology has taken in what the catch-up brought.
    pub fn caught_up(&mut self, id: u64) {
        let ends = self.ends(self.requests[STRIPE]);
        let Some(runner) = self.runners.iter_mut().find(|r| r.id == id) else { return };
        runner.machine.caught_up(ends[runner.partition]);
        self.drive(id);
    }
}
