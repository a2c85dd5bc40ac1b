//! Random histories as a test. More of them: `cargo run --release -p simulation -- --seeds 50000`.

use schemas::rules::Rule;
use simulation::{
    Shared,
    dice::Dice,
    directed::fails_without,
    hunt::{Found, Hunt, hunt},
};

fn run(broken: Option<Rule>, from: u64, seeds: u64) -> Found {
    let stop = broken.is_some();
    hunt(&Hunt { from, seeds, threads: 2, broken, stop, unfenced: false }).expect("the simulation runs")
}

#[test]
fn what_must_hold_at_rest_holds_in_2000_histories() {
    // `CONCORD_SEEDS`: fewer, for a quick look.
    let seeds = std::env::var("CONCORD_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let found = run(None, 0, seeds);
    assert_eq!(found.run, seeds);
    assert!(found.failing.is_empty(), "again with --seed N --trace --shrink: {:#?}", &found.failing[..found.failing.len().min(5)]);
    // What it is about did happen.
    let counts = &found.counts;
    for (what, count) in [
        ("writes", counts.writes),
        ("conflicts", counts.conflicts),
        ("covered edits", counts.covered),
        ("late calls", counts.calls_late),
        ("stored failures", counts.stored_5xx),
        ("lost notices", counts.notices_lost),
        ("aborted transactions", counts.aborts),
        ("logs begun anew", counts.resets),
    ] {
        assert!(count > 50 || seeds < 2_000, "{what}: {count}");
    }
}

#[test]
fn breaking_a_rule_is_noticed() {
    for rule in [
        Rule::DuplicateGoesOnMinted,
        Rule::Renderings,
        Rule::ClaimantsAreASet,
        Rule::Order,
        Rule::Spares,
        Rule::Incarnations,
        Rule::LookBeforePost,
        Rule::CreateAnswersOutsideTheOrder,
        Rule::CoveredEdits,
    ] {
        let found = run(Some(rule), 0, 1_000);
        assert!(!found.failing.is_empty(), "none of {} histories fails without {rule}", found.run);
    }
}

#[test]
fn every_rule_that_chance_seldom_breaks_has_a_story_that_fails_without_it() {
    let shared = Shared::new().unwrap();
    let told: Vec<_> = Rule::ALL.iter().filter_map(|rule| Some((rule, fails_without(&shared, *rule)?))).collect();
    // Those of `simulation::directed` and those of the topology.
    assert_eq!(told.len(), 28, "{told:?}");
    for (rule, fails) in told {
        assert_eq!(fails, Ok(true), "{rule}");
    }
}

#[test]
fn the_same_seed_throws_the_same_and_every_stream_differs() {
    let throw = |seed, name| (0..8).map(|_| 0).scan(Dice::new(seed, name), |d, _: i32| Some(d.below(1000))).collect::<Vec<_>>();
    assert_eq!(throw(1, "a"), throw(1, "a"));
    assert_ne!(throw(1, "a"), throw(1, "b"));
    assert_ne!(throw(1, "a"), throw(2, "a"));
}
