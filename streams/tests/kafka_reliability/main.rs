//! What the engine survives on a real Kafka of three brokers, as a table: docs/reliability.md.
//!
//! Each scenario has lines counted while something is done to processes, brokers or files, and reads everything that was committed in the
//! end. By itself each is short; `--minutes` makes all of them together as long as that, and `--seed` repeats their choices:
//! `cargo test -p streams --test kafka_reliability -- --seed 7 --minutes 20`.

mod at_least_once;
mod brokers;
mod counting;
mod disk;
mod fail_points;
#[path = "../kafka_support/mod.rs"]
mod kafka_support;
mod plot;
mod poison;
mod processes;
mod run;
mod soak;
mod state;
mod wrong_build;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Trial};

use kafka_support::{own_cluster, run_child};
use run::{Options, Row, Run};

/// What is done in a scenario, in the words of the table; its name among the tests; and the scenario.
type Scenario = (&'static str, &'static str, fn(&mut Run));

/// Only when it is asked for.
const SOAK: &str = "soak";

const SCENARIOS: [Scenario; 11] = [
    ("kill -9 of one or two of three processes", "killed_at_random", processes::killed),
    ("SIGSTOP past the session timeout, takeover, SIGCONT", "stopped_and_continued", processes::stopped_and_continued),
    ("processes added and removed", "added_and_removed", processes::added_and_removed),
    ("a process dies at a step of a commit or of a rebalance", "dies_at_each_step", fail_points::dies_at_each_step),
    ("kill -9 of the broker that coordinates or leads, of three", "brokers_killed", brokers::killed),
    ("kill -9, and the local state is lost, damaged or older", "state_damaged", state::damaged),
    ("the disk of the local state is full, and has room again", "disk_full", disk::full),
    ("records that fail, and kill -9", "poison", poison::set_aside),
    ("at least once: kill -9 at random and at each step of a commit", "at_least_once", at_least_once::killed),
    ("a rule is broken on purpose, which must be noticed", "wrong_build", wrong_build::is_noticed),
    ("four fifths of the peak for long, a rebalance a minute", SOAK, soak::soak),
];

fn main() -> ExitCode {
    if run_child() {
        return ExitCode::SUCCESS;
    }
    let (options, arguments) = Options::take(std::env::args());
    let mut arguments = Arguments::from_iter(arguments);
    arguments.test_threads = Some(1);
    let asked = |name: &str| name != SOAK || arguments.ignored || arguments.include_ignored;
    let chosen = |name: &str| asked(name) && arguments.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    let share = SCENARIOS.iter().filter(|(_, name, _)| chosen(name)).count();
    let table = Arc::new(Mutex::new(Vec::<Row>::new()));
    let trials = SCENARIOS.iter().enumerate().map(|(number, (what, name, scenario))| {
        let table = table.clone();
        Trial::test(format!("on_kafka::{name}"), move || {
            own_cluster(3);
            let mut run = Run::begin(what, options, number, share);
            let outcome = catch_unwind(AssertUnwindSafe(|| scenario(&mut run)));
            table.lock().unwrap().push(run.end(outcome.is_ok()));
            outcome.map_err(|panic| resume_unwind(panic))
        })
        .with_ignored_flag(*name == SOAK)
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    run::print(&table.lock().unwrap(), options);
    conclusion.exit_code()
}
