//! Processes that count at least once, killed at random and at each step of a commit: nothing is lost. What is there twice is told.

use rand::Rng;
use rand::seq::SliceRandom;

use crate::counting::{Counting, WITHIN};
use crate::kafka_support::{AT_LEAST_ONCE, DIES_AT, GROUP_INSTANCE};
use crate::run::Run;

/// The steps of a commit in their order; none: anywhere, and the other process with it.
const BLOWS: [Option<&str>; 9] = [
    Some("before the outputs"),
    Some("before the changelogs"),
    Some("before the flush"),
    Some("after the acknowledgements"),
    Some("after a local store"),
    Some("after the local stores"),
    Some("after the offsets"),
    None,
    None,
];

pub fn killed(run: &mut Run) {
    let counting = Counting::begin("at-least-once");
    let start = |name: &str, settings: &[(&str, &str)]| counting.start_with(name, &[settings, &[(AT_LEAST_ONCE, "")]].concat());
    let (mut steady, mut victim) = (start("steady", &[]), None);
    counting.await_news();
    let mut blows = Vec::new();
    while run.goes_on(BLOWS.len()) {
        if blows.is_empty() {
            blows = BLOWS.to_vec();
            blows.shuffle(&mut run.rng);
        }
        let Some(blow) = blows.pop() else { break };
        // Comes back to its old place, or is replaced by the other one when its session ends.
        let settings: &[(&str, &str)] = if run.rng.random_ratio(3, 4) { &[(GROUP_INSTANCE, "victim")] } else { &[] };
        drop(victim.take());
        match blow {
            Some(step) => {
                let death = format!("{step}:{}", run.rng.random_range(1..=20));
                start("victim", &[settings, &[(DIES_AT, &death)]].concat()).await_death(WITHIN);
            }
            None => {
                let dying = start("victim", settings);
                counting.await_news();
                run.pause(300);
                dying.kill();
                steady.kill();
                steady = start("steady", &[]);
            }
        }
        victim = Some(start("victim", settings));
        let recovery = counting.await_news();
        println!("killed {}: recovery {recovery:?}", blow.unwrap_or("at random, both"));
        run.survived(recovery);
    }
    let verdict = counting.verdict_at_least_once(victim.into_iter().chain([steady]));
    run.found(verdict);
    assert!(verdict.is_complete(), "{verdict:?}");
}
