//! Rules 3 and 4: a write to a system with idempotency keys and no compare-and-set.

use super::*;

fn play(published: Option<&Published>) -> Play {
    Play::write(Style::Idempotent, write(), published)
}

#[test]
fn a_write_upon_the_last_published_result_posts_at_once() {
    let mut play = play(Some(&known()));
    let Call::Update(update) = play.start() else { panic!("not posted") };
    assert_eq!(update.key, write_id().to_string());
    assert_eq!((update.write, update.set), (write_id(), write().set));
    let finished = play.finish(done(seen("new")));
    assert_eq!((outcome(&finished), shown(&finished)), (Outcome::Done, Some("new")));
    assert_eq!(finished.result.order, Some(10), "the request's offset + 1");
    assert_eq!(answer(&finished).left, seen("new").fields, "the answer shows what our write left");
}

#[test]
fn anything_else_looks_first() {
    let older = Published { order: 4, ..known() };
    let other = Published { fields: seen("theirs").fields, ..known() };
    let deleted = Published { fields: None, ..known() };
    for published in [None, Some(&older), Some(&other), Some(&deleted)] {
        assert!(is_get(&play(published).start()), "{published:?}");
    }
    let mut queued = play(Some(&known()));
    queued.now += 60_000;
    assert!(is_get(&queued.start()), "it waited in the topic: somebody may have edited it meanwhile");
}

#[test]
fn the_look_decides() {
    let ours = Seen { mark: Some(write_id().to_string()), ..seen("new") };
    let others = Seen { mark: Some("another".into()), ..seen("old") };
    for (look, expected, shows) in [
        (gone(), Outcome::Gone, None),
        (ours, Outcome::Done, Some("new")),
        (others, Outcome::MovedOn, Some("old")),
        (seen("theirs"), Outcome::MovedOn, Some("theirs")),
    ] {
        let mut play = play(None);
        play.start();
        let finished = play.finish(done(look));
        assert_eq!((outcome(&finished), shown(&finished)), (expected, shows));
        assert_eq!(answer(&finished).left, None);
    }
    let mut play = play(None);
    play.start();
    assert_eq!(update_key(&play.then(done(seen("old")))), write_id().to_string());
}

#[test]
fn an_unknown_record_is_gone() {
    let mut play = play(None);
    play.start();
    let finished = play.finish(Reply::Missing);
    assert_eq!((outcome(&finished), finished.result.fields.clone()), (Outcome::Gone, None));
}

#[test]
fn a_write_is_repeated_with_the_same_key_and_body_until_its_outcome_is_known() {
    let mut play = play(Some(&known()));
    let first = play.start();
    for reply in [unknown(), busy(None), unknown(), Reply::Unauthorized { reason: "401".into() }] {
        assert_eq!(play.after_a_pause(reply), first);
    }
    assert_eq!(outcome(&play.finish(done(seen("new")))), Outcome::Done);
}

#[test]
fn pauses_double_and_the_vendors_hint_wins() {
    let mut play = play(Some(&known()));
    play.start();
    let mut pauses = Vec::new();
    for reply in [unknown(), unknown(), unknown(), busy(Some(7_000)), unknown()] {
        let before = play.now;
        play.after_a_pause(reply);
        pauses.push(play.now - before);
    }
    assert_eq!(pauses, [100, 200, 400, 7_050, 1_000]);
}

#[test]
fn a_replayed_answer_says_what_was_left_and_a_look_what_is_shown_now() {
    let mut play = play(Some(&known()));
    play.start();
    play.after_a_pause(unknown());
    assert!(is_get(&play.then(Reply::Replayed { seen: seen("new") })));
    let finished = play.finish(done(seen("edited since")));
    assert_eq!((outcome(&finished), shown(&finished)), (Outcome::Done, Some("edited since")));
    assert_eq!(answer(&finished).left, seen("new").fields);
}

#[test]
fn a_stored_failure_looks_and_goes_on_under_the_next_key() {
    let mut play = play(Some(&known()));
    play.start();
    assert!(is_get(&play.after_a_pause(Reply::Stored { status: 500 })));
    assert_eq!(update_key(&play.then(done(seen("old")))), format!("{}.k1", write_id()));
    assert!(is_get(&play.after_a_pause(Reply::Stored { status: 500 })));
    assert_eq!(update_key(&play.then(done(seen("old")))), format!("{}.k2", write_id()));
}

#[test]
fn a_stored_failure_that_had_its_effect_is_done() {
    let mut play = play(Some(&known()));
    play.start();
    play.after_a_pause(Reply::Stored { status: 500 });
    let finished = play.finish(done(Seen { mark: Some(write_id().to_string()), ..seen("new") }));
    assert_eq!((outcome(&finished), answer(&finished).left.clone()), (Outcome::Done, None));
}

#[test]
fn a_stored_failure_upon_a_record_that_moved_on_is_moved_on() {
    let mut play = play(Some(&known()));
    play.start();
    play.after_a_pause(Reply::Stored { status: 500 });
    assert_eq!(outcome(&play.finish(done(seen("theirs")))), Outcome::MovedOn);
}

#[test]
fn a_refusal_names_its_field_and_carries_a_fresh_snapshot() {
    let mut play = play(Some(&known()));
    play.start();
    assert!(is_get(&play.then(refused(Field::Name))));
    let finished = play.finish(done(seen("old")));
    assert_eq!((outcome(&finished), shown(&finished)), (Outcome::Refused, Some("old")));
    assert_eq!((answer(&finished).refused_field.clone(), answer(&finished).reason.as_deref()), (Some(Field::Name), Some("no")));
}

#[test]
fn a_refusal_of_a_record_that_is_deleted_is_gone() {
    let mut play = play(Some(&known()));
    play.start();
    play.then(refused(Field::Name));
    assert_eq!(outcome(&play.finish(done(gone()))), Outcome::Gone);
}

#[test]
fn a_missing_record_is_looked_at_and_gone() {
    let mut play = play(Some(&known()));
    play.start();
    assert!(is_get(&play.after_a_pause(Reply::Missing)));
    assert_eq!(outcome(&play.finish(done(gone()))), Outcome::Gone);
}

#[test]
fn after_23_hours_the_key_may_expire_and_a_look_comes_first() {
    let mut play = play(Some(&known()));
    let post = play.start();
    play.now += 23 * HOUR - 1_000;
    assert_eq!(play.after_a_pause(unknown()), post);
    play.now += 1_000;
    assert!(is_get(&play.after_a_pause(unknown())));
    let finished = play.finish(done(Seen { mark: Some(write_id().to_string()), ..seen("new") }));
    assert_eq!(outcome(&finished), Outcome::Done);
}

#[test]
fn after_a_long_pause_without_an_attempt_under_way_it_looks_again() {
    let mut play = play(Some(&known()));
    let post = play.start();
    assert_eq!(play.after_a_pause(busy(Some(2_000))), post, "a short one");
    assert!(is_get(&play.after_a_pause(busy(Some(30_000)))));
    assert_eq!(outcome(&play.finish(done(seen("theirs")))), Outcome::MovedOn);
}

#[test]
fn a_known_key_with_other_parameters_is_a_breach_and_never_refused() {
    let mut play = play(Some(&known()));
    play.start();
    assert!(matches!(play.next(Input::Reply(Reply::KeyReused)), Step::Poison(_)));
}

#[test]
fn looks_that_are_refused_are_repeated_a_little_and_then_poison() {
    let mut play = play(None);
    play.start();
    for _ in 0..4 {
        assert!(is_get(&play.after_a_pause(refused(Field::Name))));
    }
    assert!(matches!(play.next(Input::Reply(refused(Field::Name))), Step::Poison(reason) if reason == "get: no"));
}

#[test]
fn without_the_look_before_the_post_somebodys_edit_is_overwritten() {
    let _without = Without::the(Rule::LookBeforePost);
    assert!(matches!(play(None).start(), Call::Update(_)), "it posts upon a record that nobody has looked at");
}
