//! Records that fail in each way in which one can, between others, while the process is killed: each is set aside once, with what was wrong
//! with it, in the transaction that passes over it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::seq::SliceRandom;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use streams::dlq_headers;

use crate::counting::Counting;
use crate::kafka_support::*;
use crate::run::Run;

/// Too large with the key that it becomes.
const HUGE: usize = 600_000;

pub fn set_aside(run: &mut Run) {
    let counting = Counting::begin("poison");
    let mut process = counting.start("a");
    counting.await_news();
    let producer: BaseProducer = client().set("enable.idempotence", "true").create().unwrap();
    let lines = format!("{}-lines", counting.prefix);
    let mut rounds = 0;
    while run.goes_on(2) {
        let huge = vec![b'x'; HUGE];
        let mut kinds: [(&str, &[u8]); 3] = [("undecodable", b"\xff\xfe"), ("fails", POISON.as_bytes()), ("huge", &huge)];
        kinds.shuffle(&mut run.rng);
        for (kind, line) in kinds {
            let key = format!("{POISON}-{kind}-{rounds}");
            producer.send(BaseRecord::to(&lines).key(&key).payload(line)).map_err(|(error, _)| error).unwrap();
            run.pause(100);
        }
        producer.flush(Duration::from_secs(20)).unwrap();
        rounds += 1;
        run.pause(100);
        process.kill();
        process = counting.start("a");
        run.survived(counting.await_news());
    }
    let prefix = counting.prefix.clone();
    counting.finish([process], run);
    assert_set_aside(&prefix, rounds);
}

/// By the code of the error: dead letters of lines are undecodable or too large, those of words failed.
fn assert_set_aside(prefix: &str, rounds: usize) {
    let header =
        |record: &Seen, name: &str| record.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default();
    let (mut codes, mut places, mut letters) = (BTreeMap::<String, usize>::new(), BTreeSet::new(), 0);
    for topic in ["lines", "words"].map(|name| format!("{prefix}-{name}")) {
        let read: BTreeMap<_, _> = read_all(&topic).into_iter().map(|record| ((record.partition, record.offset), record)).collect();
        for letter in read_all(&format!("{topic}.dlq")) {
            assert_eq!(header(&letter, dlq_headers::TOPIC), topic);
            let number = |name: &str| header(&letter, name).parse::<i64>().unwrap();
            let place = (number(dlq_headers::PARTITION) as i32, number(dlq_headers::OFFSET));
            let source = &read[&place];
            assert_eq!((&letter.key, &letter.value, letter.timestamp), (&source.key, &source.value, source.timestamp), "as it was");
            assert!(!header(&letter, dlq_headers::MESSAGE).is_empty());
            places.insert((topic.clone(), place));
            *codes.entry(header(&letter, dlq_headers::EXCEPTION)).or_default() += 1;
            letters += 1;
        }
    }
    println!("dead letters: {codes:?}");
    assert_eq!(places.len(), letters, "no record is set aside twice");
    assert_eq!((codes.len(), codes.values().all(|count| *count == rounds)), (3, true), "each of {rounds} of each kind: {codes:?}");
    assert!(codes.contains_key("record-too-large"), "{codes:?}");
}
