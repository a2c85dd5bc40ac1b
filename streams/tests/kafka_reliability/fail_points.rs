//! A process that dies before and after each step of what it does with its transactions, and at each step of a rebalance.

use rand::Rng;
use rand::seq::SliceRandom;

use crate::counting::{Counting, WITHIN};
use crate::kafka_support::{DIES_AT, GROUP_INSTANCE};
use crate::run::Run;

/// The steps in the order in which they are taken (streams/src/kafka/fail_point.rs), and among how many times the process dies there:
/// some come only once in a life.
const STEPS: [(&str, u32); 13] = [
    ("after settling", 1),
    ("partitions are given", 1),
    ("after restoring", 1),
    ("before beginning", 20),
    ("after beginning", 20),
    ("before the changelogs", 20),
    ("before the flush", 20),
    ("before adding offsets", 20),
    ("before committing", 20),
    ("after committing", 20),
    ("after a local store", 20),
    ("after the local stores", 20),
    (GIVEN_BACK, 1),
];
/// Comes when another process leaves or joins.
const GIVEN_BACK: &str = "partitions are given back";

pub fn dies_at_each_step(run: &mut Run) {
    let counting = Counting::begin("steps");
    let mut steady = counting.start("steady");
    counting.await_news();
    let mut victim = None;
    let mut steps = Vec::new();
    while run.goes_on(STEPS.len()) {
        if steps.is_empty() {
            steps = STEPS.to_vec();
            steps.shuffle(&mut run.rng);
        }
        let Some((step, times)) = steps.pop() else { break };
        // A member with a name of its own comes back to its old place; another one is waited for until its session ends, and the steady
        // process takes over.
        let settings: &[(&str, &str)] = if run.rng.random_ratio(3, 4) { &[(GROUP_INSTANCE, "victim")] } else { &[] };
        let death = format!("{step}:{}", run.rng.random_range(1..=times));
        drop(victim.take());
        let dying = counting.start_with("victim", &[settings, &[(DIES_AT, &death)]].concat());
        if step == GIVEN_BACK {
            counting.await_news();
            steady.end();
            steady = counting.start("steady");
        }
        dying.await_death(WITHIN);
        victim = Some(counting.start_with("victim", settings));
        let recovery = counting.await_news();
        println!("died {death}: recovery {recovery:?}");
        run.survived(recovery);
    }
    counting.finish(victim.into_iter().chain([steady]), run);
}
