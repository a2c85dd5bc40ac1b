//! Rule 5: compare-and-set by a stamp that is a second wide.

use super::*;

const STAMP: Millis = NOW - 60_000;

fn stamped(name: &str, stamp: Millis) -> Seen {
    Seen { stamp: Some(stamp), ..seen(name) }
}

fn settled() -> Write {
    Write { stamp: Some(STAMP), settled: true, ..write() }
}

fn unsettled() -> Write {
    Write { stamp: Some(STAMP), settled: false, ..write() }
}

fn play(write: Write) -> Play {
    Play::write(Style::Stamped, write, None)
}

#[track_caller]
fn since(call: Call) -> Option<Millis> {
    match call {
        Call::Update(update) => update.unmodified_since,
        other => panic!("expected an update, got {other:?}"),
    }
}

#[test]
fn a_settled_write_compares_with_its_own_stamp() {
    let mut play = play(settled());
    assert_eq!(since(play.start()), Some(STAMP));
    let finished = play.finish(done(stamped("new", NOW)));
    assert_eq!(outcome(&finished), Outcome::Done);
    assert_eq!(answer(&finished).left, seen("new").fields);
    assert_eq!((finished.result.stamp, finished.result.settled), (Some(NOW), false));
}

#[test]
fn a_read_back_that_somebody_else_modified_leaves_unknown() {
    let mut play = play(settled());
    play.start();
    let finished = play.finish(Reply::Done { seen: stamped("theirs", NOW), exact: false });
    assert_eq!((outcome(&finished), answer(&finished).left.clone(), shown(&finished)), (Outcome::Done, None, Some("theirs")));
}

#[test]
fn a_write_without_a_read_back_is_looked_at() {
    let mut play = play(settled());
    play.start();
    assert!(is_get(&play.then(Reply::Accepted)));
    assert_eq!(outcome(&play.finish(done(stamped("new", NOW)))), Outcome::Done);
}

#[test]
fn an_unsettled_write_and_a_changed_record_look_and_decide() {
    let changed = |play: &mut Play| {
        play.start();
        play.then(Reply::Changed)
    };
    let ours = Seen { mark: Some(write_id().to_string()), ..stamped("new", STAMP) };
    let marked = Seen { mark: Some("another".into()), ..stamped("old", STAMP) };
    for (look, expected) in
        [(gone(), Outcome::Gone), (ours, Outcome::Done), (marked, Outcome::MovedOn), (stamped("theirs", STAMP), Outcome::MovedOn)]
    {
        let mut first = play(unsettled());
        assert!(is_get(&first.start()));
        assert_eq!(outcome(&first.finish(done(look.clone()))), expected);
        let mut second = play(settled());
        assert!(is_get(&changed(&mut second)));
        assert_eq!(outcome(&second.finish(done(look))), expected);
    }
}

#[test]
fn a_fresh_stamp_whose_second_is_over_is_compared() {
    let mut play = play(settled());
    play.start();
    play.then(Reply::Changed);
    assert_eq!(since(play.then(done(stamped("old", NOW - 2_000)))), Some(NOW - 2_000));
}

#[test]
fn the_stamps_second_is_waited_out() {
    let mut play = play(unsettled());
    play.start();
    assert!(is_get(&play.after_a_pause(done(stamped("old", NOW - 500)))), "edited in this very second: another edit may share the stamp");
    assert_eq!(play.now - NOW, 1_000, "until two seconds after the stamp's second, 500 ms of which are over");
    let later = Seen { look: NOW + 2_000, ..stamped("old", NOW - 500) };
    assert_eq!(since(play.then(done(later))), Some(NOW - 500));
}

#[test]
fn a_result_is_settled_two_seconds_after_the_stamps_second() {
    for (look, settled) in [(0, false), (1_999, false), (2_000, true), (5_000, true)] {
        assert_eq!(Seen { look: NOW + look, ..stamped("old", NOW + 999) }.settled(), settled, "{look}");
    }
    assert!(!seen("no stamp").settled());
}

#[test]
fn a_time_out_repeats_the_same_call_and_the_stamp_keeps_it_harmless() {
    let mut play = play(settled());
    let first = play.start();
    assert_eq!(play.after_a_pause(unknown()), first);
    assert!(is_get(&play.then(Reply::Changed)));
    let landed = Seen { mark: Some(write_id().to_string()), ..stamped("new", NOW) };
    assert_eq!(outcome(&play.finish(done(landed))), Outcome::Done);
}

#[test]
fn without_the_stamps_second_two_changes_in_one_second_are_one() {
    let _without = Without::the(Rule::StampSecond);
    let mut play = play(unsettled());
    play.start();
    assert_eq!(since(play.then(done(stamped("old", NOW)))), Some(NOW), "it compares with a second that is not over");
}
