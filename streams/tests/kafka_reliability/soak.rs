//! A long run at four fifths of what the application can do, with a rebalance every minute: is it steady, and does memory stay? The minutes
//! begin once the peak is known.
//!
//! `cargo test --release -p streams --test kafka_reliability -- --ignored soak --minutes 20` draws it into docs/kafka-soak.svg.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::counting::Counting;
use crate::kafka_support::Process;
use crate::plot::{self, Panel};
use crate::run::Run;

/// How long the peak is measured, and before that is not: three brokers that just began need about a minute to be as fast as they get.
const WARMING_UP: Duration = Duration::from_secs(90);
const MEASURED: Duration = Duration::from_secs(30);
const REBALANCE_EVERY: Duration = Duration::from_secs(60);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_secs(120);

pub fn soak(run: &mut Run) {
    let peak = peak();
    let rate = peak * 4 / 5;
    println!("peak {peak} lines/s; {rate} lines/s from now on");
    let counting = Counting::begin_at("soak", rate);
    let (steady, mut guest, mut ending) = (["a", "b"].map(|name| counting.start(name)), None::<Process>, Vec::new());
    counting.await_news();
    let (started, length) = (Instant::now(), run.length().unwrap_or(SHORTEST).max(SHORTEST));
    let (mut counted, mut behind, mut memory, mut marks) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()], Vec::new());
    let (mut before, mut at) = (counting.tail.read(), 0.0);
    while started.elapsed() < length {
        if started.elapsed() > REBALANCE_EVERY * (marks.len() as u32 + 1) {
            marks.push(started.elapsed().as_secs_f64());
            guest = match guest.take() {
                None => Some(counting.start("guest")),
                Some(mut leaving) => {
                    leaving.ask_to_end();
                    ending.push(leaving);
                    None
                }
            };
        }
        counting.tail.read_for(SAMPLE_EVERY);
        let (now, read) = (started.elapsed().as_secs_f64(), counting.tail.read());
        counted.push((now, (read - before) as f64 / (now - at)));
        behind.push((now, counting.load.written().saturating_sub(read) as f64));
        memory.iter_mut().zip(&steady).for_each(|(curve, process)| curve.push((now, process.memory() as f64 / 1e6)));
        (before, at) = (read, now);
    }
    let [a, b] = memory;
    let peak_memory = a.iter().chain(&b).map(|(_, mb)| *mb).fold(0.0, f64::max);
    // What was counted, not what was to be written.
    let held = before as f64 / started.elapsed().as_secs_f64();
    let share = 100.0 * held / peak as f64;
    let heading = format!("Counting on Kafka, exactly once: {held:.0} lines/s ({share:.0} % of the peak of {peak}), a rebalance a minute");
    let panels = [
        Panel { title: "lines counted a second".into(), curves: vec![(String::new(), counted)] },
        Panel { title: "lines written and not counted yet".into(), curves: vec![(String::new(), behind)] },
        Panel { title: "resident memory, MB".into(), curves: vec![("process a".into(), a), ("process b".into(), b)] },
    ];
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kafka-soak.svg");
    fs::write(&file, plot::svg(&heading, &panels, &marks)).unwrap();
    println!(
        "{held:.0} lines/s held, {share:.0} % of the peak; {} rebalances, most memory {peak_memory:.0} MB; drawn into docs/kafka-soak.svg",
        marks.len()
    );
    run.survived(counting.await_news());
    counting.finish_by_reading(steady.into_iter().chain(guest).chain(ending), run);
}

/// Lines a second that two processes count while more than that are written, by the same machine.
fn peak() -> u64 {
    let counting = Counting::begin_at("peak", u64::MAX);
    let processes = ["a", "b"].map(|name| counting.start(name));
    counting.await_news();
    counting.tail.read_for(WARMING_UP);
    let (before, began) = (counting.tail.read(), Instant::now());
    counting.tail.read_for(MEASURED);
    let peak = (counting.tail.read() - before) as f64 / began.elapsed().as_secs_f64();
    counting.load.stop();
    processes.into_iter().for_each(Process::end);
    peak as u64
}
