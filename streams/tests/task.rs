//! A task is pure: what goes in, and what comes out.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use streams::{
    ConsumerRecord, Env, ExceptionHandler, Headers, KeyValueStore, LongSerde, MemoryBacking, Processor, ProcessorContext, ProcessorError,
    ProducerRecord, PunctuationType, Record, ScheduleId, StoreBuilder, StringSerde, Task, TaskConfig, TaskId, Topology, TopologyError,
    dlq_headers,
};

type Done = Result<(), ProcessorError>;

const ID: TaskId = TaskId { subtopology: 0, partition: 1 };

fn one(_: &str) -> Option<i32> {
    Some(2)
}

fn env(backing: &MemoryBacking) -> Env<'_> {
    Env { now: 1_000, backing, partitions: &one }
}

fn record(offset: i64, key: &str, value: &str) -> ConsumerRecord {
    ConsumerRecord {
        topic: "in".into(),
        partition: 1,
        offset,
        timestamp: 10 * offset,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Headers::new(),
    }
}

fn one_processor<P: Processor<String, String> + 'static>(
    supplier: impl Fn() -> P + Send + Sync + 'static,
) -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    topology
        .add_source::<String, String>("source", StringSerde, StringSerde, ["in"])?
        .add_processor("processor", supplier, ["source"])?
        .add_state_store(StoreBuilder::key_value("counts"), ["processor"])?
        .add_sink::<String, String>("sink", "out", StringSerde, StringSerde, ["processor"])?;
    Ok(topology)
}

fn task_of(topology: Topology, handler: ExceptionHandler, backing: &MemoryBacking) -> Task {
    let built = Arc::new(topology.build("app").expect("a topology"));
    Task::new(built, ID, TaskConfig { exception_handler: handler }, env(backing)).expect("a task")
}

fn texts(task: &mut Task) -> Vec<String> {
    task.drain_outputs().map(|output| String::from_utf8(output.value.expect("a value").to_vec()).expect("text")).collect()
}

/// Counts per key; a value "…!" says how often it came; at commit, it tells the keys it saw.
struct Counting {
    counts: KeyValueStore<String, i64>,
    seen: Vec<String>,
}

impl Counting {
    fn new() -> Self {
        Self { counts: KeyValueStore::new("counts", StringSerde, LongSerde), seen: Vec::new() }
    }
}

impl Processor<String, String> for Counting {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Done {
        let count = self.counts.get(ctx, &record.key)?.unwrap_or(0) + 1;
        self.counts.put(ctx, &record.key, &count)?;
        self.seen.push(record.key.clone());
        if record.value.ends_with('!') { ctx.forward(record.with_value(count.to_string())) } else { Ok(()) }
    }

    fn before_commit(&mut self, ctx: &mut ProcessorContext<'_>) -> Done {
        let seen = std::mem::take(&mut self.seen).join(",");
        ctx.forward(Record::new("seen".to_owned(), seen, ctx.current_stream_time_ms()))
    }
}

#[test]
fn the_writes_of_a_transaction_are_folded_by_key_and_sorted() {
    let backing = MemoryBacking::default();
    let mut task = task_of(one_processor(Counting::new).expect("a topology"), streams::log_and_fail(), &backing);
    for (offset, key) in ["b", "a", "b", "c", "b"].iter().enumerate() {
        task.process(record(offset as i64, key, "x"), env(&backing)).expect("processed");
    }
    let changes: Vec<_> = task.changes().collect();
    assert_eq!(changes.len(), 1);
    assert_eq!((&*changes[0].store.name, changes[0].store.partition), ("counts", 1));
    let entries: Vec<(&[u8], u8)> = changes[0].entries().map(|(key, value)| (&key[..], value.as_ref().expect("a count")[7])).collect();
    assert_eq!(entries, [(&b"a"[..], 1), (b"b", 3), (b"c", 1)]);
    assert_eq!(task.consumed().map(|(topic, next)| (topic.to_string(), next)).collect::<Vec<_>>(), [("in".to_owned(), 5)]);
}

#[test]
fn an_abort_forgets_and_a_commit_keeps() {
    let mut backing = MemoryBacking::default();
    let mut task = task_of(one_processor(Counting::new).expect("a topology"), streams::log_and_fail(), &backing);
    task.process(record(0, "a", "x"), env(&backing)).expect("processed");
    task.changes().for_each(|changes| backing.apply(&changes));
    task.committed();
    assert_eq!(task.changes().count() + task.consumed().count(), 0);

    task.process(record(7, "a", "lost!"), env(&backing)).expect("processed");
    assert_eq!(task.stream_time(), 70);
    task.abort(env(&backing)).expect("made anew");
    assert!(!task.has_outputs());
    assert_eq!(task.changes().count() + task.consumed().count(), 0);
    assert_eq!(task.stream_time(), 0, "the stream time of the last commit");

    task.process(record(7, "a", "again!"), env(&backing)).expect("processed");
    assert_eq!(texts(&mut task), ["2"]);
}

#[test]
fn before_commit_runs_once_for_many_records_and_may_forward() {
    let backing = MemoryBacking::default();
    let mut task = task_of(one_processor(Counting::new).expect("a topology"), streams::log_and_fail(), &backing);
    assert!(!task.needs_before_commit());
    task.process(record(0, "a", "x"), env(&backing)).expect("processed");
    task.process(record(1, "b", "x"), env(&backing)).expect("processed");
    assert!(task.needs_before_commit());
    task.before_commit(env(&backing)).expect("done");
    assert!(!task.needs_before_commit());
    assert_eq!(texts(&mut task), ["a,b"]);
}

/// Fails as its value says.
struct Failing;

impl Processor<String, String> for Failing {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Done {
        match record.value.as_str() {
            "fail" => Err(ProcessorError::new("no-good", "it is no good")),
            "fatal" => Err(ProcessorError::fatal("broken", "an invariant is broken")),
            "swallow" => {
                let _ = ctx.forward_to("nobody", record);
                Ok(())
            }
            "types" => ctx.forward(Record::new(1_i64, 2_i64, 3)),
            "negative" => ctx.forward(record.with_timestamp(-1)),
            _ => ctx.forward(record),
        }
    }
}

fn failing(handler: ExceptionHandler, value: &str) -> (Result<(), String>, Vec<ProducerRecord>) {
    let backing = MemoryBacking::default();
    let mut task = task_of(one_processor(|| Failing).expect("a topology"), handler, &backing);
    let mut input = record(4, "k", value);
    input.headers.add("mine", "x");
    let result = task.process(input, env(&backing)).map_err(|error| error.to_string());
    (result, task.drain_outputs().collect())
}

#[test]
fn the_handler_decides_what_becomes_of_a_failure() {
    let (failed, _) = failing(streams::log_and_fail(), "fail");
    assert_eq!(failed.expect_err("an error"), "task 0_1 at in-1 offset 4: processor: it is no good [no-good]");

    let (skipped, outputs) = failing(streams::log_and_continue(), "fail");
    assert!(skipped.is_ok() && outputs.is_empty());

    let (kept, outputs) = failing(streams::dead_letter_queue(|topic| format!("{topic}.dlq")), "fail");
    assert!(kept.is_ok());
    let dead = &outputs[0];
    assert_eq!(
        (&*dead.topic, dead.key.as_deref(), dead.value.as_deref(), dead.timestamp),
        ("in.dlq", Some(&b"k"[..]), Some(&b"fail"[..]), 40)
    );
    let header = |name| dead.headers.text(name).expect("a header");
    assert_eq!(header("mine"), "x");
    assert_eq!(header(dlq_headers::EXCEPTION), "no-good");
    assert_eq!(header(dlq_headers::MESSAGE), "it is no good");
    assert_eq!(header(dlq_headers::TOPIC), "in");
    assert_eq!(header(dlq_headers::PARTITION), "1");
    assert_eq!(header(dlq_headers::OFFSET), "4");
}

#[test]
fn bytes_that_are_no_text_are_a_failure_of_the_source() {
    let backing = MemoryBacking::default();
    let mut task =
        task_of(one_processor(|| Failing).expect("a topology"), streams::dead_letter_queue(|topic| format!("{topic}.dlq")), &backing);
    let mut input = record(4, "k", "");
    input.value = Some(Bytes::from_static(&[0xff]));
    task.process(input, env(&backing)).expect("it goes to the dead letter queue");
    let outputs: Vec<ProducerRecord> = task.drain_outputs().collect();
    assert_eq!(outputs[0].headers.text(dlq_headers::EXCEPTION), Some("serde-utf8"));
    assert_eq!(outputs[0].headers.text(dlq_headers::STACKTRACE), Some("source"));
    assert_eq!(outputs[0].value.as_deref(), Some(&[0xff][..]));
}

#[test]
fn no_handler_passes_over_a_fatal_error() {
    for (value, code) in [("fatal", "broken"), ("types", "record-type"), ("swallow", "swallowed-error")] {
        let (result, outputs) = failing(streams::log_and_continue(), value);
        let error = result.expect_err(value);
        assert!(error.contains(code), "{value}: {error}");
        assert!(outputs.is_empty());
    }
}

#[test]
fn a_negative_timestamp_is_a_failure_of_production() {
    let (result, _) = failing(streams::log_and_fail(), "negative");
    assert!(result.expect_err("an error").contains("sink: a record has timestamp -1 [negative-timestamp]"));
}

#[test]
fn a_record_of_another_partition_is_refused() {
    let backing = MemoryBacking::default();
    let mut task = task_of(one_processor(|| Failing).expect("a topology"), streams::log_and_continue(), &backing);
    let mut input = record(0, "k", "v");
    input.partition = 0;
    assert!(task.process(input, env(&backing)).expect_err("refused").to_string().contains("not-my-record"));
}

/// Schedules by both times, and tells when it is called.
struct Ticking {
    stream: Option<ScheduleId>,
}

impl Processor<String, String> for Ticking {
    fn init(&mut self, ctx: &mut ProcessorContext<'_>) -> Done {
        self.stream = Some(ctx.schedule(Duration::from_millis(25), PunctuationType::StreamTime));
        ctx.schedule(Duration::from_millis(50), PunctuationType::WallClockTime);
        Ok(())
    }

    fn process(&mut self, _: &mut ProcessorContext<'_>, _: Record<String, String>) -> Done {
        Ok(())
    }

    fn punctuate(&mut self, ctx: &mut ProcessorContext<'_>, schedule: ScheduleId, time: i64) -> Done {
        assert_eq!(ctx.record_metadata(), None);
        let kind = if self.stream == Some(schedule) { "stream" } else { "wall" };
        ctx.forward(Record::new(String::new(), format!("{kind} {time}"), time))
    }
}

#[test]
fn punctuators_follow_their_time() {
    let backing = MemoryBacking::default();
    let mut task = task_of(one_processor(|| Ticking { stream: None }).expect("a topology"), streams::log_and_fail(), &backing);
    let mut after = |offset| {
        task.process(record(offset, "k", "v"), env(&backing)).expect("processed");
        texts(&mut task)
    };
    assert_eq!(after(0), ["stream 0"]);
    assert_eq!(after(2), [""; 0]);
    assert_eq!(after(9), ["stream 90"], "missed calls are made up for by one");
    assert_eq!(after(3), [""; 0], "time does not go back");
    assert_eq!(after(10), ["stream 100"], "the grid stays");

    assert_eq!(task.next_wall_clock_punctuation(), Some(1_050));
    let mut at = |now| {
        let any = task.punctuate(Env { now, ..env(&backing) }).expect("punctuated");
        (any, texts(&mut task))
    };
    assert_eq!(at(1_049), (false, vec![]));
    assert_eq!(at(1_201), (true, vec!["wall 1201".to_owned()]));
    assert_eq!(task.next_wall_clock_punctuation(), Some(1_250));
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Commit,
    Abort,
    Look(u8, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..12_u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0..12_u8).prop_map(Step::Delete),
        1 => Just(Step::Commit),
        1 => Just(Step::Abort),
        4 => (0..13_u8, 0..13_u8).prop_map(|(from, to)| Step::Look(from, to)),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Whatever is put, deleted, committed and aborted: the store reads like a map.
    #[test]
    fn a_store_reads_like_a_map(steps in steps()) {
        let mut backing = MemoryBacking::default();
        let mut task = task_of(one_processor(|| Failing).expect("a topology"), streams::log_and_fail(), &backing);
        let (mut model, mut committed) = (BTreeMap::new(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    task.store("counts", env(&backing)).expect("the store").put(vec![key], vec![value]);
                    model.insert(vec![key], vec![value]);
                }
                Step::Delete(key) => {
                    task.store("counts", env(&backing)).expect("the store").delete(vec![key]);
                    model.remove(&vec![key]);
                }
                Step::Commit => {
                    task.changes().for_each(|changes| backing.apply(&changes));
                    task.committed();
                    committed = model.clone();
                }
                Step::Abort => {
                    task.abort(env(&backing)).expect("made anew");
                    model = committed.clone();
                }
                Step::Look(from, to) => {
                    let store = task.store("counts", env(&backing)).expect("the store");
                    prop_assert_eq!(store.get(&[from]).expect("read").map(|value| value.to_vec()), model.get(&vec![from]).cloned());
                    let range = (Bound::Included(&[from][..]), Bound::Excluded(&[to][..]));
                    let found: Vec<(Vec<u8>, Vec<u8>)> =
                        store.range(range).map(|entry| entry.expect("read")).map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
                    let expected: Vec<(Vec<u8>, Vec<u8>)> = model.iter().filter(|(key, _)| (from..to).contains(&key[0])).map(|(key, value)| (key.clone(), value.clone())).collect();
                    prop_assert_eq!(found, expected);
                    let all: Vec<Vec<u8>> = store.all().map(|entry| entry.expect("read").0.to_vec()).collect();
                    prop_assert_eq!(all, model.keys().cloned().collect::<Vec<_>>());
                }
            }
        }
    }
}

#[test]
fn a_long_range_is_read_page_by_page_under_the_writes_of_the_transaction() {
    let mut backing = MemoryBacking::default();
    for number in 0..1_000_u16 {
        backing.put(0, 1, Bytes::copy_from_slice(&number.to_be_bytes()), Some(Bytes::from_static(b"old")));
    }
    let mut task = task_of(one_processor(|| Failing).expect("a topology"), streams::log_and_fail(), &backing);
    let mut store = task.store("counts", env(&backing)).expect("the store");
    for number in (0..1_000_u16).step_by(3) {
        store.delete(number.to_be_bytes().to_vec());
    }
    store.put(vec![0, 1, 0], "new");
    let keys: Vec<Vec<u8>> = store.all().map(|entry| entry.expect("read").0.to_vec()).collect();
    assert_eq!(keys.len(), 1_000 - 334 + 1);
    assert!(keys.is_sorted());
    assert_eq!(store.prefix_scan(&[0, 1]).count(), 2, "a key and its extension");
}
