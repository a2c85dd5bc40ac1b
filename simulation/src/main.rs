//! Runs seeds of the simulation, one seed with its trace, or the table of rules.

use clap::Parser;
use schemas::rules::Rule;
use simulation::{
    Shared, directed,
    hunt::{Hunt, hunt, judge, shrink},
    plan,
};
use std::{process::ExitCode, time::Instant};

/// Random histories of people, systems and faults around the real sync protocol.
#[derive(Parser)]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Break this rule of docs/protocol.md, section 7, by its name.
    #[arg(long = "break", value_name = "RULE")]
    broken: Option<Rule>,
    /// Stop at the first failure.
    #[arg(long)]
    stop: bool,
    /// Break each rule in turn and say how that shows.
    #[arg(long)]
    table: bool,
    /// With --table: count every failure instead of stopping at the first.
    #[arg(long)]
    count: bool,
    /// Runners that were replaced can still publish, as on a log without transactions.
    #[arg(long)]
    unfenced: bool,
    /// Run this one seed.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: print what happens.
    #[arg(long)]
    trace: bool,
    /// With --seed: leave out what is not needed to fail.
    #[arg(long)]
    shrink: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(seed) = options.seed {
        return one(&options, seed);
    }
    if options.table {
        return table(&options);
    }
    let start = Instant::now();
    let all = Hunt {
        from: options.from,
        seeds: options.seeds,
        threads: options.threads,
        broken: options.broken,
        stop: options.stop,
        unfenced: options.unfenced,
    };
    let found = hunt(&all)?;
    let seconds = start.elapsed().as_secs_f64();
    for (seed, failures) in found.failing.iter().take(40) {
        println!("seed {seed}: {}", failures.first().map_or("", String::as_str));
    }
    let kinds = kinds(&found.failing);
    if !kinds.is_empty() {
        println!("failing by what does not hold: {kinds}");
    }
    print!("{}", found.counts);
    println!("{} seeds, {} failing, {seconds:.1} s, {:.0} seeds/s", found.run, found.failing.len(), found.run as f64 / seconds);
    if let Some((seed, _)) = found.failing.first() {
        println!("again: --seed {seed} --trace --shrink");
    }
    Ok(if found.failing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn kinds(failing: &[(u64, Vec<String>)]) -> String {
    let mut kinds = std::collections::BTreeMap::<&str, usize>::new();
    for (_, failures) in failing {
        *kinds.entry(failures.first().and_then(|f| f.split(':').next()).unwrap_or_default()).or_default() += 1;
    }
    kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
}

fn one(options: &Options, seed: u64) -> anyhow::Result<ExitCode> {
    let shared = Shared::new()?;
    let mut history = plan(seed);
    history.settings.unfenced = options.unfenced;
    if options.shrink {
        history = shrink(&shared, history, options.broken);
    }
    println!("{:#?}", history.settings);
    for step in &history.steps {
        println!("{:>10.3} {:?}", step.at as f64 / 1000.0, step.act);
    }
    let verdict = judge(&shared, history, options.broken, options.trace);
    for line in &verdict.trace {
        println!("{line}");
    }
    for failure in &verdict.failures {
        println!("FAILS {failure}");
    }
    Ok(if verdict.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line for each rule: what happens without it, in random histories and in the directed one.
fn table(options: &Options) -> anyhow::Result<ExitCode> {
    let shared = Shared::new()?;
    let mut fine = true;
    println!("{:<34} {:<58} directed history", "without", "random histories");
    for rule in std::iter::once(None).chain(Rule::ALL.iter().copied().map(Some)) {
        let all = Hunt {
            from: options.from,
            seeds: options.seeds,
            threads: options.threads,
            broken: rule,
            stop: !options.count,
            unfenced: options.unfenced,
        };
        let found = hunt(&all)?;
        let random = match found.failing.first() {
            None => format!("none of {} fails", found.run),
            Some((seed, failures)) => {
                let what = failures.first().and_then(|f| f.split(':').next()).unwrap_or_default();
                let count = if options.count { format!("{} of {} fail, first ", found.failing.len(), found.run) } else { String::new() };
                format!("{count}seed {seed} fails ({what})")
            }
        };
        let (directed, caught) = match rule.map(|rule| directed::fails_without(&shared, rule)) {
            None => (String::new(), found.failing.is_empty()),
            Some(None) => ("-".to_owned(), !found.failing.is_empty()),
            Some(Some(Ok(true))) => ("fails without it, not with it".to_owned(), true),
            Some(Some(Ok(false))) => ("does not fail without it".to_owned(), !found.failing.is_empty()),
            Some(Some(Err(wrong))) => (format!("fails with it: {wrong}"), false),
        };
        fine &= caught;
        println!("{:<34} {random:<58} {directed}", rule.map_or("(nothing broken)", Rule::name));
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
