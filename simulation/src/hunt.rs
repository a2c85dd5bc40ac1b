//! Many histories: run them on some threads, stop at the first that fails or count all, shrink one.

use crate::{Counts, Plan, Shared, Verdict, plan, play};
use schemas::rules::{Rule, break_rule, mend_rules};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// What to run.
#[derive(Clone, Debug)]
pub struct Hunt {
    pub from: u64,
    pub seeds: u64,
    pub threads: usize,
    pub broken: Option<Rule>,
    /// Whether to stop at the first failure.
    pub stop: bool,
    /// Replaced runners can still publish.
    pub unfenced: bool,
}

impl Hunt {
    fn plan(&self, seed: u64) -> Plan {
        let mut plan = plan(seed);
        plan.settings.unfenced = self.unfenced;
        plan
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    pub run: u64,
    /// The failing seeds in order, each with what does not hold.
    pub failing: Vec<(u64, Vec<String>)>,
    pub counts: Counts,
}

/// Plays one seed with a rule broken or none; a panic is a failure like any other.
pub fn judge(shared: &Arc<Shared>, plan: Plan, broken: Option<Rule>, tracing: bool) -> Verdict {
    mend_rules();
    if let Some(rule) = broken {
        break_rule(rule);
    }
    let verdict = catch_unwind(AssertUnwindSafe(|| play(shared, plan, tracing)));
    mend_rules();
    let failed = |text: String| Verdict { failures: vec![text], counts: Counts::default(), trace: Vec::new() };
    match verdict {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(error)) => failed(format!("{error:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            failed(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

/// Runs the seeds.
pub fn hunt(hunt: &Hunt) -> anyhow::Result<Found> {
    let found = Mutex::new(Found::default());
    let (next, over) = (AtomicU64::new(hunt.from), AtomicBool::new(false));
    let worker = || -> anyhow::Result<()> {
        let shared = Shared::new()?;
        let (mut counts, mut run) = (Counts::default(), 0);
        while !over.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= hunt.from + hunt.seeds {
                break;
            }
            let verdict = judge(&shared, hunt.plan(seed), hunt.broken, false);
            counts += &verdict.counts;
            run += 1;
            // A history that fails anyway says nothing about the rule.
            let counts_for = |broken: Option<Rule>| broken.is_none() || judge(&shared, hunt.plan(seed), None, false).failures.is_empty();
            if !verdict.failures.is_empty() && counts_for(hunt.broken) {
                if hunt.stop {
                    over.store(true, Ordering::Relaxed);
                }
                if let Ok(mut found) = found.lock() {
                    found.failing.push((seed, verdict.failures));
                }
            }
        }
        if let Ok(mut found) = found.lock() {
            found.counts += &counts;
            found.run += run;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..hunt.threads.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked"))))
    })?;
    let mut found = found.into_inner().unwrap_or_default();
    found.failing.sort();
    Ok(found)
}

/// Leaves out actions and faults as long as the history still fails in the same way.
pub fn shrink(shared: &Arc<Shared>, plan: Plan, broken: Option<Rule>) -> Plan {
    let kind = |verdict: &Verdict| verdict.failures.first().map(|f| f.split(':').next().unwrap_or_default().to_owned());
    let wanted = kind(&judge(shared, plan.clone(), broken, false));
    let fails = |plan: &Plan| kind(&judge(shared, plan.clone(), broken, false)) == wanted && wanted.is_some();
    let mut best = plan;
    let mut size = best.steps.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < best.steps.len() {
            let mut less = best.clone();
            less.steps.drain(at..(at + size).min(less.steps.len()));
            if fails(&less) {
                best = less;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    type Faultless = fn(&mut Plan);
    let faults: [Faultless; 16] = [
        |p| p.settings.faults.fail_before = 0,
        |p| p.settings.faults.fail_after = 0,
        |p| p.settings.faults.late = 0,
        |p| p.settings.faults.stored_5xx = 0,
        |p| p.settings.faults.notice_lost = 0,
        |p| p.settings.faults.notice_twice = 0,
        |p| p.settings.faults.notice_late = 0,
        |p| p.settings.faults.task_abort = 0,
        |p| p.settings.faults.outbox_twice = 0,
        |p| p.settings.faults.answer_slow = 0,
        |p| p.settings.partitions = 1,
        |p| p.settings.unify_clock = 0,
        |p| p.settings.systems.iter_mut().for_each(|s| s.clock = 0),
        |p| p.settings.systems.iter_mut().for_each(|s| s.rendering = [crate::values::Rendering::Exact; 5]),
        |p| p.settings.of_record = Default::default(),
        |p| p.settings.systems[crate::plan::SALESFORCE].present = false,
    ];
    for less in faults {
        let mut simpler = best.clone();
        less(&mut simpler);
        if fails(&simpler) {
            best = simpler;
        }
    }
    best
}
