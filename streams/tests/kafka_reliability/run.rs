//! How long a scenario goes on, what it chooses, and what is told of it in the end.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::kafka_support::Verdict;

/// What the command line says beside what every test binary understands.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The choices are repeated with it; when exactly something happens is not.
    seed: u64,
    /// All scenarios together; none: the short version.
    minutes: Option<u64>,
}

impl Options {
    /// Takes ours out of the arguments.
    pub fn take(arguments: impl Iterator<Item = String>) -> (Options, Vec<String>) {
        let (mut options, mut others) = (Options { seed: rand::random_range(0..1_000_000), minutes: None }, Vec::new());
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let mut number = || arguments.next().and_then(|value| value.parse().ok());
            match argument.as_str() {
                "--seed" => options.seed = number().expect("--seed takes a number"),
                "--minutes" => options.minutes = Some(number().expect("--minutes takes a number")),
                _ => others.push(argument),
            }
        }
        (options, others)
    }
}

/// A scenario under way.
pub struct Run {
    pub rng: StdRng,
    until: Option<Instant>,
    rounds: usize,
    row: Row,
}

/// What is told of a scenario.
#[derive(Debug, Clone)]
pub struct Row {
    what: &'static str,
    /// How often it was survived.
    times: usize,
    verdict: Option<Verdict>,
    recoveries: Vec<Duration>,
    passed: bool,
    took: Duration,
    started: Instant,
}

impl Run {
    /// The scenario of this number, one of so many that share the time.
    pub fn begin(what: &'static str, options: Options, number: usize, share: usize) -> Run {
        let started = Instant::now();
        let row = Row { what, times: 0, verdict: None, recoveries: Vec::new(), passed: false, took: Duration::ZERO, started };
        let until = options.minutes.map(|minutes| started + Duration::from_secs(minutes * 60) / share.max(1) as u32);
        Run { rng: StdRng::seed_from_u64(options.seed.wrapping_add(number as u64)), until, rounds: 0, row }
    }

    /// Whether there is another round: so many in the short version, in the long one until the time is over, and not fewer.
    pub fn goes_on(&mut self, short: usize) -> bool {
        let goes_on = self.rounds < short || self.until.is_some_and(|until| Instant::now() < until);
        self.rounds += usize::from(goes_on);
        goes_on
    }

    /// How long the long version is to be.
    pub fn length(&self) -> Option<Duration> {
        self.until.map(|until| until - self.row.started)
    }

    /// Anywhere in the work that goes on.
    pub fn pause(&mut self, longest_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.rng.random_range(0..longest_ms)));
    }

    /// It was survived once more.
    pub fn survived(&mut self, recovery: Duration) {
        self.row.times += 1;
        self.row.recoveries.push(recovery);
    }

    pub fn found(&mut self, verdict: Verdict) {
        self.row.verdict = Some(verdict);
        println!("{}: {verdict:?}", self.row.what);
    }

    pub fn end(mut self, passed: bool) -> Row {
        (self.row.passed, self.row.took) = (passed, self.row.started.elapsed());
        self.row
    }
}

/// Prints the table.
pub fn print(rows: &[Row], options: Options) {
    if rows.is_empty() {
        return;
    }
    println!("seed {}", options.seed);
    println!("| what | times | lines | lost | duplicates | recovery p50 | p99 | longest | took | |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        let mut recoveries = row.recoveries.clone();
        recoveries.sort();
        let seconds = |time: Option<&Duration>| time.map_or("-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()));
        let count = recoveries.len();
        let [p50, p99] = [50, 99].map(|percent| seconds(recoveries.get((count * percent).div_ceil(100).saturating_sub(1))));
        let found = |of: fn(Verdict) -> i64| row.verdict.map_or("-".to_owned(), |verdict| of(verdict).to_string());
        println!(
            "| {} | {} | {} | {} | {} | {p50} | {p99} | {} | {:.0} s | {} |",
            row.what,
            row.times,
            found(|verdict| verdict.lines),
            found(|verdict| verdict.lost),
            found(|verdict| verdict.duplicates + verdict.disorder),
            seconds(recoveries.last()),
            row.took.as_secs_f64(),
            if row.passed { "passed" } else { "**failed**" }
        );
    }
}
