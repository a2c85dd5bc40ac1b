//! Rule 7 in a partition: creates, while the source is catching up.

use super::*;
use connect::{Options, Output, Partition, Ticket};

const MINUTE: Millis = 60_000;

fn partition(room: usize) -> Partition {
    Partition::new(Options { catches_up: true, room, ..Options::new(system(), Style::Idempotent) }, 0)
}

/// A create for the n-th customer, without an e-mail: nothing is looked for.
fn create(n: i64) -> (String, Request) {
    let customer = CustomerId::minted(&system(), &ExternalId::new(n.to_string()), 0);
    let id = WriteId::create(customer, &system(), 0, 0);
    let create = Create { key: id.key(), id, customer, set: values(&[(Field::Name, "Ada")]) };
    (customer.to_string(), Request { action: Action::Create(create) })
}

fn offer_create(p: &mut Partition, offset: i64) {
    let (key, request) = create(offset);
    p.offer(offset, &key, request, NOW);
}

fn at(now: Millis) -> Moment {
    Moment { now, jitter: 1.0 }
}

fn next(p: &mut Partition, now: Millis) -> Option<(Ticket, Call)> {
    p.next_call(at(now))
}

/// The outcomes that are to be published.
fn outcomes(p: &mut Partition) -> Vec<Outcome> {
    let outcome = |output: Output| match output {
        Output::Result { result, .. } => result.answer.map(|answer| answer.outcome),
        other => panic!("{other:?}"),
    };
    p.take_batch().outputs.into_iter().filter_map(outcome).collect()
}

#[test]
fn a_create_is_answered_when_the_catch_up_is_through_and_made_when_it_is_asked_for_again() {
    let mut p = partition(100);
    offer_create(&mut p, 0);
    assert_eq!(next(&mut p, NOW), None, "nothing is made");
    assert_eq!(outcomes(&mut p), [], "and whoever asks would pause longer each time");
    p.caught_up(1);
    assert_eq!(next(&mut p, NOW), None);
    assert_eq!((outcomes(&mut p), p.finished()), (vec![Outcome::Held], 1));
    offer_create(&mut p, 1);
    assert!(matches!(next(&mut p, NOW), Some((_, Call::Create(_)))));
}

#[test]
fn what_was_asked_for_before_the_catch_up_was_through_is_not_made_also_if_its_turn_comes_later() {
    let mut p = partition(100);
    p.caught_up(1);
    offer_create(&mut p, 0);
    assert_eq!((next(&mut p, NOW), outcomes(&mut p)), (None, vec![Outcome::Held]));
}

#[test]
fn a_look_that_is_under_way_when_the_catch_up_ends_was_asked_for_before() {
    let mut p = partition(100);
    let (key, mut request) = create(0);
    if let Action::Create(create) = &mut request.action {
        create.set.extend(values(&[(Field::Email, "ada@example.com")]));
    }
    p.offer(0, &key, request, NOW);
    let (ticket, call) = next(&mut p, NOW).unwrap();
    assert!(matches!(call, Call::FindByEmail { .. }));
    p.caught_up(1);
    p.on_reply(ticket, Reply::Found(Vec::new()), at(NOW));
    assert_eq!((next(&mut p, NOW), outcomes(&mut p)), (None, vec![Outcome::Held]));
}

#[test]
fn an_answer_is_held_back_for_ten_minutes_at_most() {
    let mut p = partition(100);
    offer_create(&mut p, 0);
    next(&mut p, NOW);
    assert_eq!(p.next_wake(), Some(NOW + 10 * MINUTE));
    next(&mut p, NOW + 10 * MINUTE);
    assert_eq!((outcomes(&mut p), p.finished()), (vec![Outcome::Held], 1), "the committed prefix goes on");
    p.caught_up(1);
    assert_eq!(outcomes(&mut p), []);
}

#[test]
fn creates_that_wait_leave_room_for_the_reads_that_the_catch_up_waits_for() {
    let mut p = partition(8);
    for offset in 0..8 {
        offer_create(&mut p, offset);
    }
    assert_eq!(p.room(), 0);
    next(&mut p, NOW);
    assert_eq!((outcomes(&mut p).len(), p.room()), (6, 6), "a quarter of the room waits, the others are answered");
}

#[test]
fn nothing_but_creates_waits() {
    let mut p = partition(100);
    p.offer(0, RECORD, Request { action: Action::Write(write()) }, NOW);
    let (ticket, look) = next(&mut p, NOW).unwrap();
    assert!(is_get(&look));
    p.on_reply(ticket, done(seen("old")), at(NOW));
    assert!(matches!(next(&mut p, NOW), Some((_, Call::Update(_)))));
}
