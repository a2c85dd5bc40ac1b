//! Rules of exactly-once that are broken on purpose: what reads the outputs must notice, or it proves nothing.

use crate::counting::{Counting, WITHIN};
use crate::kafka_support::{BREAKS, DIES_AT, Verdict};
use crate::run::Run;

pub fn is_noticed(_run: &mut Run) {
    let offsets = counted_with("offsets-in-the-transaction", "before committing:5");
    println!("offsets are committed outside the transaction: {offsets:?}");
    assert!(offsets.lost > 0, "what the offsets passed over is lost");
    // Not every transaction changes a store: this one did.
    let positions = counted_with("positions-of-local-stores", "before a local store:5");
    println!("the positions of local stores are ignored: {positions:?}");
    assert!(positions.duplicates > 0, "the store lacks a transaction, and counts on from there");
}

/// A process that dies once, and comes back; neither follows the rule.
fn counted_with(broken: &str, death: &str) -> Verdict {
    let counting = Counting::begin("wrong");
    let dying = counting.start_with("a", &[(BREAKS, broken), (DIES_AT, death)]);
    dying.await_death(WITHIN);
    let process = counting.start_with("a", &[(BREAKS, broken)]);
    counting.await_news();
    counting.verdict([process])
}
