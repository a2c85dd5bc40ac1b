//! Whatever the system answers, and in whatever order: each request is answered, in its record's order, and nothing is lost.

use super::*;
use connect::{Options, Output, Partition, Ticket};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Move {
    Offer { record: u8, kind: u8 },
    Send,
    Answer { which: usize, how: u8 },
    Publish { aborts: bool },
    Later,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0..4u8, 0..4u8).prop_map(|(record, kind)| Move::Offer { record, kind }),
        3 => Just(Move::Send),
        4 => (0..16usize, 0..8u8).prop_map(|(which, how)| Move::Answer { which, how }),
        1 => any::<bool>().prop_map(|aborts| Move::Publish { aborts }),
        1 => Just(Move::Later),
    ];
    prop::collection::vec(one, 0..120)
}

fn request(kind: u8) -> Request {
    let read = |page: Option<&str>| Action::Read(Read { notices: Vec::new(), page: page.map(Into::into) });
    Request {
        action: match kind {
            0 => read(None),
            1 => read(Some("p")),
            2 => Action::Write(write()),
            _ => Action::Delete(Delete { id: write_id(), customer: ada(), incarnation: 0 }),
        },
    }
}

/// How the system answers this call; 0 and 1 well, the rest badly.
fn reply(call: &Call, how: u8) -> Reply {
    match how {
        2 => return unknown(),
        3 => return busy(Some(10)),
        4 => return Reply::Unauthorized { reason: "401".into() },
        5 if call.changes() => return Reply::Stored { status: 500 },
        6 if call.changes() => return refused(Field::Name),
        _ => {}
    }
    match call {
        Call::Get { id } => done(Seen { id: id.clone(), ..seen(if how == 0 { "old" } else { "theirs" }) }),
        Call::Update(update) => done(Seen { id: update.id.clone(), ..seen("new") }),
        Call::List { .. } => Reply::Found((0..2).map(|n| Seen { id: ExternalId::new(format!("r{n}")), ..seen("old") }).collect()),
        _ => Reply::Accepted,
    }
}

proptest! {
    #[test]
    fn every_request_is_answered_in_order(moves in moves()) {
        let options = Options {
            backoff: Backoff { first: 10, longest: 50 },
            lists: true,
            calls: 3,
            ..Options::new(system(), Style::Idempotent)
        };
        let mut p = Partition::new(options, 0);
        let (mut now, mut offset) = (NOW, 0);
        let mut out: Vec<(Ticket, Call)> = Vec::new();
        let mut published: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut asked: BTreeMap<String, i64> = BTreeMap::new();
        let mut committed = 0;
        let mut publish = |p: &mut Partition, aborts: bool| {
            let batch = p.take_batch();
            if aborts {
                p.aborted(batch);
                return committed;
            }
            for output in &batch.outputs {
                if let Output::Result { key, result } = output {
                    published.entry(key.clone()).or_default().push(result.order.unwrap());
                }
            }
            p.committed(&batch);
            committed = batch.finished.unwrap_or(committed);
            committed
        };
        for one in moves {
            match one {
                Move::Offer { record, kind } => {
                    let key = format!("r{record}");
                    p.offer(offset, &key, request(kind), now);
                    offset += 1;
                    asked.insert(key, offset);
                }
                Move::Send => out.extend(p.next_call(Moment { now, jitter: 0.5 })),
                Move::Answer { which, how } if !out.is_empty() => {
                    let (ticket, call) = out.remove(which % out.len());
                    p.on_reply(ticket, reply(&call, how), Moment { now, jitter: 0.5 });
                }
                Move::Answer { .. } => {}
                Move::Publish { aborts } => {
                    publish(&mut p, aborts);
                }
                Move::Later => now += 30,
            }
            prop_assert!(out.len() <= 3);
        }
        for _ in 0..10_000 {
            for (ticket, call) in std::mem::take(&mut out) {
                p.on_reply(ticket, reply(&call, 0), Moment { now, jitter: 0.5 });
            }
            out.extend(std::iter::from_fn(|| p.next_call(Moment { now, jitter: 0.5 })));
            if out.is_empty() {
                match p.next_wake() {
                    Some(at) => now = now.max(at),
                    None => break,
                }
            }
        }
        prop_assert_eq!(publish(&mut p, false), offset, "everything is finished");
        prop_assert!(p.is_idle());
        prop_assert_eq!((p.progress().live, p.progress().backfill), (0, 0));
        for (key, last) in asked {
            let orders = published.get(&key).cloned().unwrap_or_default();
            prop_assert!(orders.is_sorted_by(|a, b| a < b), "{} {:?}", key, orders);
            prop_assert_eq!(orders.last().copied(), Some(last), "the last request of {} is answered", key);
        }
    }
}
