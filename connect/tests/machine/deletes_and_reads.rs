//! Rule 8, and reads.

use super::*;

fn delete() -> Play {
    Play::of(Style::Idempotent, Action::Delete(Delete { id: write_id(), customer: ada(), incarnation: 0 }), None)
}

#[test]
fn a_delete_is_done_once_a_look_shows_nothing() {
    for reply in [Reply::Accepted, Reply::Missing, Reply::Stored { status: 500 }] {
        let mut play = delete();
        assert!(matches!(play.start(), Call::Delete(connect::Delete { key, .. }) if key == write_id().to_string()));
        let look = play.then(reply);
        assert!(is_get(&look));
        let finished = play.finish(Reply::Missing);
        assert_eq!((outcome(&finished), finished.result.fields.clone()), (Outcome::Done, None));
    }
}

#[test]
fn a_refused_delete_carries_the_record_as_it_is() {
    let mut play = delete();
    play.start();
    play.then(Reply::Refused(Refusal { reason: "has invoices".into(), ..Refusal::default() }));
    let finished = play.finish(done(seen("old")));
    assert_eq!((outcome(&finished), shown(&finished)), (Outcome::Refused, Some("old")));
    assert_eq!(answer(&finished).reason.as_deref(), Some("has invoices"));
}

#[test]
fn a_delete_that_a_look_contradicts_is_not_done() {
    let mut play = delete();
    play.start();
    play.then(Reply::Accepted);
    assert_eq!(outcome(&play.finish(done(seen("undeleted")))), Outcome::Refused);
}

#[test]
fn a_delete_is_repeated_until_its_outcome_is_known() {
    let mut play = delete();
    let first = play.start();
    assert_eq!(play.after_a_pause(unknown()), first);
    assert_eq!(play.after_a_pause(busy(None)), first);
}

#[test]
fn a_read_carries_all_its_notices_and_answers_nothing() {
    let notice = |id: &str| Notice { event_id: id.into(), write_id: None, time: NOW, changes: Vec::new() };
    let mut play = Play::of(Style::Idempotent, Action::Read(Read { notices: vec![notice("a")], page: None }), None);
    play.conversation.join(11, Read { notices: vec![notice("b")], page: None });
    assert!(is_get(&play.start()));
    assert!(is_get(&play.after_a_pause(unknown())));
    let finished = play.finish(done(seen("old")));
    assert_eq!(finished.result.notices, [notice("a"), notice("b")]);
    assert_eq!((finished.result.order, finished.result.answer.clone()), (Some(12), None));
    assert_eq!((finished.result.look, finished.key.as_str(), finished.asks.len()), (NOW, RECORD, 0));
}
