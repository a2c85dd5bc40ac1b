//! Rules 1 and 2: whose turn it is, and what is finished.

use super::*;
use connect::{Batch, Options, Output, Partition, Ticket};

fn partition() -> Partition {
    let backoff = Backoff { first: 100, longest: 1_000 };
    Partition::new(Options { backoff, lists: true, calls: 8, room: 100, memory: 100, ..Options::new(system(), Style::Idempotent) }, 0)
}

fn read(event: &str) -> Request {
    let notice = Notice { event_id: event.into(), write_id: None, time: NOW, changes: Vec::new() };
    Request { action: Action::Read(Read { notices: vec![notice], page: None }) }
}

fn page(cursor: &str) -> Request {
    Request { action: Action::Read(Read { notices: Vec::new(), page: Some(cursor.into()) }) }
}

fn write_after(after: i64) -> Request {
    Request { action: Action::Write(Write { after, ..write() }) }
}

fn at(now: Millis) -> Moment {
    Moment { now, jitter: 1.0 }
}

fn now() -> Moment {
    at(NOW)
}

fn calls(partition: &mut Partition) -> Vec<(Ticket, Call)> {
    std::iter::from_fn(|| partition.next_call(now())).collect()
}

#[track_caller]
fn one_call(partition: &mut Partition) -> (Ticket, Call) {
    let mut calls = calls(partition);
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.remove(0)
}

fn get(id: &str) -> Call {
    Call::Get { id: ExternalId::new(id) }
}

fn shows(id: &str, name: &str) -> Seen {
    Seen { id: ExternalId::new(id), ..seen(name) }
}

/// The results of a batch: key, order, events.
fn results(batch: &Batch) -> Vec<(String, i64, Vec<String>)> {
    let result = |output: &Output| match output {
        Output::Result { key, result } => {
            let events = result.notices.iter().map(|n| n.event_id.clone()).collect();
            Some((key.clone(), result.order.unwrap_or(-1), events))
        }
        _ => None,
    };
    batch.outputs.iter().filter_map(result).collect()
}

fn publish(partition: &mut Partition) -> Batch {
    let batch = partition.take_batch();
    partition.committed(&batch);
    batch
}

#[test]
fn one_request_at_a_time_per_record_and_many_records_at_once() {
    let mut p = partition();
    p.offer(0, "a", read("1"), NOW);
    p.offer(1, "a", write_after(9), NOW);
    p.offer(2, "b", read("2"), NOW);
    let sent = calls(&mut p);
    assert_eq!(sent.iter().map(|(_, call)| call.clone()).collect::<Vec<_>>(), [get("a"), get("b")]);
    p.on_reply(sent[0].0, done(shows("a", "old")), now());
    assert_eq!(one_call(&mut p).1, get("a"), "the write's own look");
}

#[test]
fn adjoining_reads_are_one_look_with_all_their_notices_and_the_last_ones_order() {
    let mut p = partition();
    for (offset, event) in [(0, "1"), (1, "2"), (2, "3")] {
        p.offer(offset, "a", read(event), NOW);
    }
    p.offer(3, "a", write_after(3), NOW);
    p.offer(4, "a", read("4"), NOW);
    let (ticket, call) = one_call(&mut p);
    assert_eq!(call, get("a"));
    p.on_reply(ticket, done(shows("a", "old")), now());
    let batch = publish(&mut p);
    assert_eq!(results(&batch), [("a".to_owned(), 3, vec!["1".into(), "2".into(), "3".into()])]);
    assert_eq!(batch.finished, Some(3));
    assert!(matches!(one_call(&mut p).1, Call::Update(_)), "the write, before the read behind it; at once, upon order 3");
}

#[test]
fn a_read_taken_after_the_call_was_sent_does_not_share_its_answer() {
    let mut p = partition();
    p.offer(0, "a", read("1"), NOW);
    let (ticket, _) = one_call(&mut p);
    p.offer(1, "a", read("2"), NOW);
    p.on_reply(ticket, done(shows("a", "old")), now());
    assert_eq!(results(&publish(&mut p)), [("a".to_owned(), 1, vec!["1".into()])]);
    assert_eq!(one_call(&mut p).1, get("a"), "another look for the second");
}

#[test]
fn without_that_the_last_change_is_never_seen() {
    let _without = Without::the(Rule::ReadsJoinedBeforeTheCall);
    let mut p = partition();
    p.offer(0, "a", read("1"), NOW);
    let (ticket, _) = one_call(&mut p);
    p.offer(1, "a", read("2"), NOW);
    p.on_reply(ticket, done(shows("a", "old")), now());
    assert_eq!(results(&publish(&mut p)), [("a".to_owned(), 2, vec!["1".into(), "2".into()])]);
    assert!(calls(&mut p).is_empty());
}

#[test]
fn a_read_that_comes_while_a_failed_look_waits_shares_the_next_one() {
    let mut p = partition();
    p.offer(0, "a", read("1"), NOW);
    let (ticket, _) = one_call(&mut p);
    p.on_reply(ticket, unknown(), now());
    p.offer(1, "a", read("2"), NOW);
    assert!(calls(&mut p).is_empty());
    assert_eq!(p.next_wake(), Some(NOW + 100));
    let (ticket, call) = p.next_call(at(NOW + 100)).unwrap();
    assert_eq!(call, get("a"));
    p.on_reply(ticket, done(shows("a", "old")), now());
    assert_eq!(results(&publish(&mut p)), [("a".to_owned(), 2, vec!["1".into(), "2".into()])]);
    assert!(p.is_idle());
}

#[test]
fn an_answer_that_comes_twice_is_ignored() {
    let mut p = partition();
    p.offer(0, "a", read("1"), NOW);
    let (ticket, _) = one_call(&mut p);
    p.on_reply(ticket, unknown(), now());
    p.on_reply(ticket, done(shows("a", "late")), now());
    assert!(p.take_batch().is_empty());
}

#[test]
fn live_ones_go_before_a_backfill_also_a_records_own() {
    let mut p = partition();
    p.offer(0, "a", page("p1"), NOW);
    p.offer(1, "b", page("p2"), NOW);
    p.offer(2, "c", read("1"), NOW);
    p.offer(3, "b", write_after(0), NOW);
    let sent: Vec<_> = calls(&mut p).into_iter().map(|(_, call)| call).collect();
    assert_eq!(sent, [get("b"), get("c"), get("a")], "b's backfill read is in the way of its write");
}

#[test]
fn a_page_is_answered_by_one_list_call_and_each_result_has_its_own_order() {
    let mut p = partition();
    for (offset, id) in [(0, "a"), (1, "b"), (2, "c"), (3, "d")] {
        p.offer(offset, id, page("p1"), NOW);
    }
    p.offer(4, "e", page("p2"), NOW);
    p.offer(5, "d", read("1"), NOW);
    let sent = calls(&mut p);
    let list = Call::List { page: "p1".into() };
    assert_eq!(sent.iter().map(|(_, call)| call.clone()).collect::<Vec<_>>(), [get("d"), list, get("e")]);
    let stranger = shows("z", "another partition's");
    p.on_reply(sent[1].0, Reply::Found(vec![shows("c", "C"), stranger, shows("a", "A"), shows("d", "D")]), now());
    let batch = publish(&mut p);
    assert_eq!(results(&batch), [("a".into(), 1, vec![]), ("c".into(), 3, vec![])], "only those that it was sent for");
    assert_eq!(batch.finished, Some(1));
    assert_eq!(one_call(&mut p).1, get("b"), "what the page lacks is read singly");
}

#[test]
fn reads_of_a_sweep_without_pages_are_read_singly_behind_live_ones() {
    let mut p = partition();
    for (offset, id) in [(0, "a"), (1, "b")] {
        p.offer(offset, id, page(""), NOW);
    }
    p.offer(2, "c", read("1"), NOW);
    let sent: Vec<_> = calls(&mut p).into_iter().map(|(_, call)| call).collect();
    assert_eq!(sent, [get("c"), get("a"), get("b")]);
}

#[test]
fn a_record_that_is_not_idle_is_left_out_of_the_list_call() {
    let mut p = partition();
    p.offer(0, "a", read("1"), NOW);
    let (busy, _) = one_call(&mut p);
    for (offset, id) in [(1, "a"), (2, "b"), (3, "c")] {
        p.offer(offset, id, page("p1"), NOW);
    }
    let (list, _) = one_call(&mut p);
    p.on_reply(busy, done(shows("a", "old")), now());
    p.on_reply(list, Reply::Found(vec![shows("a", "A"), shows("b", "B"), shows("c", "C")]), now());
    assert_eq!(results(&publish(&mut p)).iter().map(|(_, order, _)| *order).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(one_call(&mut p).1, get("a"));
}

#[test]
fn a_failed_list_call_waits_and_lets_live_ones_through() {
    let mut p = partition();
    for (offset, id) in [(0, "a"), (1, "b"), (2, "c")] {
        p.offer(offset, id, page("p1"), NOW);
    }
    let (list, _) = one_call(&mut p);
    p.on_reply(list, busy(Some(5_000)), now());
    assert!(calls(&mut p).is_empty());
    p.offer(3, "b", read("1"), NOW);
    assert_eq!(one_call(&mut p).1, get("b"));
    assert_eq!(p.next_wake(), Some(NOW + 5_050));
    let (list, call) = p.next_call(at(NOW + 5_050)).unwrap();
    assert_eq!(call, Call::List { page: "p1".into() });
    p.on_reply(list, refused(Field::Name), now());
    let singly: Vec<_> = calls(&mut p).into_iter().map(|(_, call)| call).collect();
    assert_eq!(singly, [get("a"), get("c")], "a page that cannot be listed is read record by record");
}

#[test]
fn results_are_published_before_the_prefix_passes_their_requests() {
    let mut p = partition();
    for (offset, id) in [(0, "a"), (1, "b"), (2, "c")] {
        p.offer(offset, id, read("1"), NOW);
    }
    let sent = calls(&mut p);
    p.on_reply(sent[1].0, done(shows("b", "old")), now());
    let batch = publish(&mut p);
    assert_eq!((results(&batch).len(), batch.finished), (1, None), "a is not finished");
    p.on_reply(sent[0].0, done(shows("a", "old")), now());
    assert_eq!(publish(&mut p).finished, Some(2));
    p.skip(3);
    p.on_reply(sent[2].0, done(shows("c", "old")), now());
    assert_eq!(publish(&mut p).finished, Some(4), "what is no request is finished");
    assert!(p.is_idle());
}

#[test]
fn results_of_an_aborted_append_come_again_and_count_as_published_only_then() {
    let mut p = partition();
    p.offer(0, RECORD, read("1"), NOW);
    p.offer(1, RECORD, write_after(1), NOW);
    let (ticket, _) = one_call(&mut p);
    p.on_reply(ticket, done(seen("old")), now());
    let batch = p.take_batch();
    p.aborted(batch.clone());
    assert_eq!(p.take_batch(), batch, "again, as it was");
    assert_eq!(one_call(&mut p).1, get(RECORD), "nothing is published: the write looks first");
}

#[test]
fn a_newer_result_that_is_not_published_yet_forbids_to_post_at_once() {
    let mut p = partition();
    p.offer(0, RECORD, read("1"), NOW);
    let (ticket, _) = one_call(&mut p);
    p.offer(1, RECORD, read("2"), NOW);
    p.on_reply(ticket, done(seen("old")), now());
    let first = p.take_batch();
    let (ticket, _) = one_call(&mut p);
    p.on_reply(ticket, done(seen("theirs")), now());
    p.committed(&first);
    p.offer(2, RECORD, write_after(1), NOW);
    assert_eq!(one_call(&mut p).1, get(RECORD));
}

#[test]
fn a_restart_begins_at_the_committed_offset_with_no_memory() {
    let mut p = Partition::new(Options::new(system(), Style::Idempotent), 7);
    p.offer(6, "a", read("1"), NOW);
    assert!(calls(&mut p).is_empty(), "it is committed");
    p.offer(7, RECORD, write_after(5), NOW);
    assert_eq!(one_call(&mut p).1, get(RECORD));
}

#[test]
fn poison_goes_to_the_dead_letters_and_holds_up_nobody() {
    let mut p = partition();
    p.offer(0, RECORD, write_after(5), NOW);
    p.offer(1, RECORD, read("1"), NOW);
    let mut moment = now();
    for _ in 0..5 {
        moment = at(p.next_wake().unwrap_or(moment.now));
        let (ticket, _) = p.next_call(moment).unwrap();
        p.on_reply(ticket, refused(Field::Name), moment);
    }
    let batch = p.take_batch();
    assert_eq!(batch.outputs, [Output::Dead { offset: 0, key: RECORD.into(), reason: "get: no".into() }]);
    assert_eq!(batch.finished, Some(1));
    assert_eq!(p.next_call(moment).map(|(_, call)| call), Some(get(RECORD)), "the next request of the record");
}

#[test]
fn a_create_made_is_published_with_the_read_that_it_asks_for() {
    let mut p = partition();
    let id = WriteId::create(ada(), &system(), 0, 0);
    let create = Create { key: id.key(), id, customer: ada(), set: values(&[(Field::Name, "Ada")]) };
    p.offer(0, &ada().to_string(), Request { action: Action::Create(create) }, NOW);
    let (ticket, _) = one_call(&mut p);
    p.on_reply(ticket, done(shows("cus_new", "Ada")), now());
    let batch = publish(&mut p);
    assert_eq!(results(&batch), [("cus_new".to_owned(), 0, vec![])]);
    assert_eq!(batch.outputs[1], Output::Ask { id: ExternalId::new("cus_new") });
}

#[test]
fn no_more_calls_at_once_than_allowed_and_no_more_requests_than_there_is_room_for() {
    let mut p = partition();
    for offset in 0..20 {
        p.offer(offset, &format!("r{offset}"), read("1"), NOW);
    }
    assert_eq!(p.room(), 80);
    let sent = calls(&mut p);
    assert_eq!((sent.len(), p.progress().calls, p.progress().live), (8, 8, 20));
    p.on_reply(sent[3].0, done(shows("r3", "old")), now());
    assert_eq!(calls(&mut p).len(), 1);
    assert_eq!((p.progress().live, p.progress().answered), (19, 1));
}
