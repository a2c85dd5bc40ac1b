//! Rules of both guarantees that are broken on purpose: what reads the outputs must notice, or it proves nothing.

use crate::counting::{Counting, WITHIN};
use crate::kafka_support::{AT_LEAST_ONCE, BREAKS, DIES_AT, Process, Verdict};
use crate::run::Run;

pub fn is_noticed(_run: &mut Run) {
    let offsets = counted_with("offsets-with-the-outputs", "before committing:5");
    println!("offsets are committed outside the transaction: {offsets:?}");
    assert!(offsets.lost > 0, "what the offsets passed over is lost");
    // Not every transaction changes a store: this one did.
    let positions = counted_with("positions-of-local-stores", "before a local store:5");
    println!("the positions of local stores are ignored: {positions:?}");
    assert!(positions.duplicates > 0, "the store lacks a transaction, and counts on from there");
    let (counting, process) = dies_once("offsets-with-the-outputs", "before the outputs:5", &[(AT_LEAST_ONCE, "")]);
    let early = counting.verdict_at_least_once([process]);
    println!("at least once, offsets are committed before what they stand for is written: {early:?}");
    assert!(early.lost > 0, "what the offsets passed over is lost");
}

fn counted_with(broken: &str, death: &str) -> Verdict {
    let (counting, process) = dies_once(broken, death, &[]);
    counting.verdict([process])
}

/// A process that dies once, and comes back; neither follows the rule.
fn dies_once(broken: &str, death: &str, settings: &[(&str, &str)]) -> (Counting, Process) {
    let counting = Counting::begin("wrong");
    let dying = counting.start_with("a", &[settings, &[(BREAKS, broken), (DIES_AT, death)]].concat());
    dying.await_death(WITHIN);
    let process = counting.start_with("a", &[settings, &[(BREAKS, broken)]].concat());
    counting.await_news();
    (counting, process)
}
