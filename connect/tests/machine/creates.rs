//! Rule 7: a create makes one record, and none beside somebody's.

use super::*;

const EMAIL: &str = "Ada@Example.com";

fn create_id() -> WriteId {
    WriteId::create(ada(), &system(), 0, 2)
}

fn create(email: Option<&str>) -> Create {
    let mut set = values(&[(Field::Name, "Ada")]);
    set.extend(email.map(|email| (Field::Email, Value::from(email))));
    Create { id: create_id(), key: create_id().key(), customer: ada(), set }
}

fn play(style: Style, email: Option<&str>) -> Play {
    Play::of(style, Action::Create(create(email)), None)
}

/// A record with this e-mail, made by this customer's create or by somebody.
fn found(id: &str, email: &str, concord_id: Option<CustomerId>) -> Seen {
    let fields = CustomerFields { name: Some("Ada".into()), email: Some(email.into()), ..CustomerFields::default() };
    Seen { id: ExternalId::new(id), fields: Some(fields), concord_id: concord_id.map(|c| c.to_string()), ..seen("Ada") }
}

fn made() -> Reply {
    done(found("cus_new", EMAIL, Some(ada())))
}

#[track_caller]
fn post(call: Call) -> connect::Create {
    match call {
        Call::Create(create) => create,
        other => panic!("expected a create, got {other:?}"),
    }
}

fn is_find_by_email(call: &Call) -> bool {
    matches!(call, Call::FindByEmail { email } if email == EMAIL)
}

fn asked(finished: &Finished) -> Vec<&str> {
    finished.asks.iter().map(ExternalId::as_str).collect()
}

#[track_caller]
fn assert_unseen(finished: &Finished, id: &str) {
    assert_eq!((finished.key.as_str(), outcome(finished), answer(finished).unseen), (id, Outcome::Done, true));
    assert_eq!(finished.result.fields, Some(CustomerFields::from(&create(Some(EMAIL)).set)), "what was sent");
    assert_eq!((finished.result.order, finished.result.look, asked(finished)), (Some(0), 0, vec![id]));
}

#[test]
fn nobody_has_the_email_so_it_is_made_and_read_at_once() {
    let mut play = play(Style::Idempotent, Some(EMAIL));
    assert!(is_find_by_email(&play.start()));
    let create = post(play.then(Reply::Found(Vec::new())));
    assert_eq!((create.key.as_str(), &create.id), (format!("{}:stripe:create0", ada()).as_str(), &create_id()));
    let finished = play.finish(made());
    assert_eq!((finished.key.as_str(), outcome(&finished), asked(&finished)), ("cus_new", Outcome::Done, vec!["cus_new"]));
    assert_eq!(finished.result.order, Some(0), "outside the order");
    assert_eq!(finished.result.concord_id.as_deref(), Some(ada().to_string().as_str()));
    assert_eq!(answer(&finished).left, found("cus_new", EMAIL, None).fields);
    assert!(!answer(&finished).unseen);
}

#[test]
fn without_an_email_the_key_alone_protects() {
    for email in [None, Some("  ")] {
        let mut play = play(Style::Idempotent, email);
        assert_eq!(post(play.start()).key, create_id().key());
    }
}

#[test]
fn somebodys_record_with_the_email_holds_it_and_is_read() {
    for style in [Style::Idempotent, Style::Stamped] {
        let mut play = play(style, Some(EMAIL));
        let mut call = play.start();
        if style == Style::Stamped {
            assert!(matches!(call, Call::FindOurs { customer, .. } if customer == ada()));
            call = play.then(Reply::Found(Vec::new()));
        }
        assert!(is_find_by_email(&call));
        let finished = play.finish(Reply::Found(vec![found("cus_theirs", " ada@example.COM ", None)]));
        assert_eq!((finished.key.clone(), outcome(&finished)), (ada().to_string(), Outcome::Held));
        assert_eq!((finished.result.fields.clone(), asked(&finished)), (None, vec!["cus_theirs"]));
    }
}

#[test]
fn while_the_source_catches_up_nothing_is_made() {
    for email in [Some(EMAIL), None] {
        for style in [Style::Idempotent, Style::Stamped] {
            let mut play = Play::too_early(style, create(email));
            let mut input = Input::Start;
            // It looks all the same: our own record may be there.
            let looks = usize::from(style == Style::Stamped) + usize::from(email.is_some());
            for _ in 0..looks {
                let look = call(play.next(input));
                assert!(!look.changes(), "{look:?}");
                input = Input::Reply(Reply::Found(Vec::new()));
            }
            let finished = play.finish_caught_up(input);
            assert_eq!((finished.key.clone(), outcome(&finished)), (ada().to_string(), Outcome::Held));
            assert!(answer(&finished).reason.as_ref().unwrap().contains("catching up"), "{:?}", answer(&finished).reason);
            assert_eq!((finished.result.fields.clone(), asked(&finished).len()), (None, 0));
        }
    }
}

#[test]
fn while_the_source_catches_up_what_a_look_finds_is_answered_at_once() {
    // Our own record: the key's stored answer, or without a look.
    let mut play = Play::too_early(Style::Idempotent, create(Some(EMAIL)));
    play.start();
    post(play.then(Reply::Found(vec![found("cus_new", EMAIL, Some(ada()))])));
    assert_eq!(outcome(&play.finish(Reply::Replayed { seen: found("cus_new", EMAIL, Some(ada())) })), Outcome::Done);
    let mut play = Play::too_early(Style::Stamped, create(Some(EMAIL)));
    play.start();
    assert_unseen(&play.finish(Reply::Found(vec![found("003A", EMAIL, Some(ada()))])), "003A");
    // Somebody's: it is read now.
    let mut play = Play::too_early(Style::Idempotent, create(Some(EMAIL)));
    play.start();
    let finished = play.finish(Reply::Found(vec![found("cus_theirs", EMAIL, None)]));
    assert_eq!((outcome(&finished), asked(&finished)), (Outcome::Held, vec!["cus_theirs"]));
}

#[test]
fn without_the_wait_for_the_catch_up_a_record_is_made_beside_one_that_nobody_has_seen() {
    let _without = Without::the(Rule::CatchUpBeforeCreate);
    let mut play = Play::too_early(Style::Idempotent, create(Some(EMAIL)));
    play.start();
    post(play.then(Reply::Found(Vec::new())));
}

#[test]
fn another_email_another_customers_create_and_the_deleted_hold_nothing() {
    let other = CustomerId::minted(&system(), &ExternalId::new("x"), 0);
    let deleted = Seen { fields: None, ..found("cus_3", EMAIL, None) };
    let mut play = play(Style::Idempotent, Some(EMAIL));
    play.start();
    post(play.then(Reply::Found(vec![found("cus_1", "bob@example.com", None), found("cus_2", EMAIL, Some(other)), deleted])));
}

#[test]
fn our_own_record_is_posted_all_the_same_while_the_key_lives() {
    let mut play = play(Style::Idempotent, Some(EMAIL));
    play.start();
    let call = play.then(Reply::Found(vec![found("cus_theirs", EMAIL, None), found("cus_new", EMAIL, Some(ada()))]));
    assert_eq!(post(call).key, create_id().key());
    let finished = play.finish(Reply::Replayed { seen: found("cus_new", EMAIL, Some(ada())) });
    assert_eq!((outcome(&finished), finished.key.as_str()), (Outcome::Done, "cus_new"));
    assert_eq!(finished.result.fields, found("cus_new", EMAIL, None).fields, "the oldest snapshot there is");
}

#[test]
fn after_23_hours_our_own_record_is_answered_without_a_look() {
    let mut play = play(Style::Idempotent, Some(EMAIL));
    play.now += 23 * HOUR;
    let Call::FindOurs { customer, since } = play.start() else { panic!("looks for ours first") };
    assert_eq!((customer, since), (ada(), NOW - HOUR), "created since the first attempt, by a clock that is not ours");
    assert_unseen(&play.finish(Reply::Found(vec![found("cus_new", "changed@example.com", Some(ada()))])), "cus_new");
}

#[test]
fn after_23_hours_and_no_record_it_is_made() {
    let mut play = play(Style::Idempotent, Some(EMAIL));
    play.now += 23 * HOUR;
    play.start();
    assert!(is_find_by_email(&play.then(Reply::Found(Vec::new()))));
    post(play.then(Reply::Found(Vec::new())));
}

#[test]
fn a_create_is_repeated_with_the_same_key_until_its_outcome_is_known() {
    let mut play = play(Style::Idempotent, Some(EMAIL));
    play.start();
    let first = play.then(Reply::Found(Vec::new()));
    play.now += 60_000;
    for reply in [unknown(), busy(None), unknown()] {
        assert_eq!(play.after_a_pause(reply), first);
    }
    play.now += 23 * HOUR;
    assert!(matches!(play.after_a_pause(unknown()), Call::FindOurs { .. }), "the key may have expired");
}

#[test]
fn after_a_long_pause_without_an_attempt_under_way_it_looks_again() {
    let mut play = play(Style::Idempotent, Some(EMAIL));
    play.start();
    let first = play.then(Reply::Found(Vec::new()));
    assert_eq!(play.after_a_pause(busy(None)), first);
    assert!(is_find_by_email(&play.after_a_pause(busy(Some(30_000)))));
}

#[test]
fn a_refused_create_made_no_record() {
    let mut play = play(Style::Idempotent, Some(EMAIL));
    play.start();
    play.then(Reply::Found(Vec::new()));
    let finished = play.finish(refused(Field::Email));
    assert_eq!((finished.key.clone(), outcome(&finished)), (ada().to_string(), Outcome::Refused));
    assert_eq!((answer(&finished).refused_field.clone(), asked(&finished).len()), (Some(Field::Email), 0));
}

#[test]
fn an_email_that_cannot_even_be_looked_for_is_refused() {
    let mut play = play(Style::Idempotent, Some(EMAIL));
    play.start();
    assert_eq!(outcome(&play.finish(refused(Field::Email))), Outcome::Refused);
}

#[test]
fn a_key_known_with_another_body_is_held_and_what_it_made_is_read() {
    let mut play = play(Style::Idempotent, Some(EMAIL));
    play.start();
    play.then(Reply::Found(vec![found("cus_new", EMAIL, Some(ada()))]));
    let finished = play.finish(Reply::KeyReused);
    assert_eq!((outcome(&finished), asked(&finished)), (Outcome::Held, vec!["cus_new"]));
}

#[test]
fn a_key_known_with_another_body_is_looked_for_where_its_event_could_be_lost() {
    let mut play = play(Style::Idempotent, None);
    play.start();
    assert!(matches!(play.then(Reply::KeyReused), Call::FindOurs { since, .. } if since == NOW - 25 * HOUR));
    let finished = play.finish(Reply::Found(vec![found("cus_new", EMAIL, Some(ada()))]));
    assert_eq!((outcome(&finished), asked(&finished)), (Outcome::Held, vec!["cus_new"]));
}

#[test]
fn a_key_that_holds_an_earlier_bodys_failure_is_given_up_once_nothing_shows_up() {
    let mut play = play(Style::Idempotent, Some(EMAIL));
    play.start();
    play.then(Reply::Found(Vec::new()));
    assert!(matches!(play.then(Reply::KeyReused), Call::FindOurs { .. }));
    let before = play.now;
    assert!(matches!(play.after_a_pause(Reply::Found(Vec::new())), Call::FindOurs { .. }), "once more, a while later");
    assert_eq!(play.now - before, 60_000);
    assert!(is_find_by_email(&play.then(Reply::Found(Vec::new()))), "somebody may have made one meanwhile");
    assert_eq!(post(play.then(Reply::Found(Vec::new()))).key, format!("{}.k1", create_id().key()));
}

#[test]
fn what_a_known_key_made_may_show_up_late() {
    let mut play = play(Style::Idempotent, None);
    play.start();
    play.then(Reply::KeyReused);
    play.after_a_pause(Reply::Found(Vec::new()));
    let finished = play.finish(Reply::Found(vec![found("cus_new", EMAIL, Some(ada()))]));
    assert_eq!((outcome(&finished), asked(&finished)), (Outcome::Held, vec!["cus_new"]));
}

#[test]
fn a_stored_failure_looks_for_what_it_made() {
    let mut play = play(Style::Idempotent, Some(EMAIL));
    play.start();
    play.then(Reply::Found(Vec::new()));
    assert!(matches!(play.after_a_pause(Reply::Stored { status: 500 }), Call::FindOurs { .. }));
    assert_unseen(&play.finish(Reply::Found(vec![found("cus_new", EMAIL, Some(ada()))])), "cus_new");
}

#[test]
fn a_stored_failure_that_made_nothing_goes_on_under_the_next_key() {
    let mut play = play(Style::Idempotent, Some(EMAIL));
    play.start();
    play.then(Reply::Found(Vec::new()));
    play.after_a_pause(Reply::Stored { status: 500 });
    play.then(Reply::Found(Vec::new()));
    assert_eq!(post(play.then(Reply::Found(Vec::new()))).key, format!("{}.k1", create_id().key()));
}

#[test]
fn with_a_unique_mark_our_own_record_counts_also_deleted() {
    for seen in [found("003A", EMAIL, Some(ada())), Seen { fields: None, ..found("003A", EMAIL, Some(ada())) }] {
        let mut play = play(Style::Stamped, Some(EMAIL));
        play.start();
        assert_unseen(&play.finish(Reply::Found(vec![seen])), "003A");
    }
}

#[test]
fn with_a_unique_mark_a_duplicate_error_finds_our_own_record() {
    let mut play = play(Style::Stamped, None);
    play.start();
    post(play.then(Reply::Found(Vec::new())));
    assert!(matches!(play.after_a_pause(Reply::AlreadyOurs), Call::FindOurs { .. }));
    let finished = play.finish(Reply::Found(vec![found("003A", EMAIL, Some(ada()))]));
    assert_eq!((outcome(&finished), finished.key.as_str(), answer(&finished).unseen), (Outcome::Done, "003A", true));
}

#[test]
fn an_answer_that_shows_only_the_id_is_an_answer_without_a_look() {
    let mut play = play(Style::Stamped, Some(EMAIL));
    play.start();
    play.then(Reply::Found(Vec::new()));
    play.then(Reply::Found(Vec::new()));
    assert_unseen(&play.finish(Reply::Made { id: ExternalId::new("003A") }), "003A");
}

#[test]
fn without_the_same_key_a_new_body_makes_a_second_record() {
    let _without = Without::the(Rule::SameCreateKey);
    let mut play = play(Style::Idempotent, None);
    assert_eq!(post(play.start()).key, create_id().to_string(), "a key of its own");
}

#[test]
fn without_the_unique_id_a_repeated_create_overwrites() {
    let _without = Without::the(Rule::UniqueIdNeverUpsert);
    let mut play = play(Style::Stamped, Some(EMAIL));
    play.start();
    assert!(matches!(play.then(Reply::Found(vec![found("003A", EMAIL, Some(ada()))])), Call::Update(_)));
}

#[test]
fn without_being_outside_the_order_a_creates_answer_competes_with_newer_looks() {
    let _without = Without::the(Rule::CreateAnswersOutsideTheOrder);
    let mut play = play(Style::Idempotent, None);
    play.start();
    assert_eq!(play.finish(made()).result.order, Some(10));
}

#[test]
fn without_the_create_answers_fields_nobody_has_seen_it() {
    let _without = Without::the(Rule::CreateAnswerGivesFields);
    let mut play = play(Style::Idempotent, None);
    play.start();
    assert!(answer(&play.finish(made())).unseen);
}

#[test]
fn without_the_look_before_a_create_a_duplicate_is_made() {
    let _without = Without::the(Rule::LookBeforeCreate);
    post(play(Style::Idempotent, Some(EMAIL)).start());
}
