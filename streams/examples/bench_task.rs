//! How many records a second one task takes: a one-stage merge of two systems' snapshots per key, everything in memory, one core.
//!
//! `cargo run --release -p streams --example bench_task [records] [keys]`

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use streams::{
    BytesSerde, ConsumerRecord, Env, Headers, MemoryBacking, Processor, ProcessorContext, ProcessorError, Record, StoreBuilder, Task,
    TaskConfig, TaskId, Topology,
};

const COMMIT_EVERY: usize = 10_000;

/// Keeps the newest snapshot of each of two systems and publishes both; a snapshot that changes nothing is dropped.
struct Merge;

impl Processor<Bytes, Bytes> for Merge {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<Bytes, Bytes>) -> Result<(), ProcessorError> {
        let right = ctx.record_metadata().is_some_and(|at| &*at.topic == "right");
        let mut store = ctx.store("merged")?;
        let known = store.get(&record.key)?;
        let (left_part, right_part) = known.as_deref().map_or((&[][..], &[][..]), |known| {
            let middle = known.iter().position(|byte| *byte == b'|').unwrap_or(known.len());
            (&known[..middle], known.get(middle + 1..).unwrap_or_default())
        });
        let merged = match right {
            true if *right_part == *record.value => return Ok(()),
            true => [left_part, b"|", &record.value].concat(),
            false if *left_part == *record.value => return Ok(()),
            false => [&record.value, &b"|"[..], right_part].concat(),
        };
        let merged = Bytes::from(merged);
        store.put(record.key.clone(), merged.clone());
        ctx.forward(record.with_value(merged))
    }
}

fn topology() -> Result<Topology, streams::TopologyError> {
    let mut topology = Topology::new();
    topology
        .add_source::<Bytes, Bytes>("source", BytesSerde, BytesSerde, ["left", "right"])?
        .add_processor("merge", || Merge, ["source"])?
        .add_state_store(StoreBuilder::key_value("merged"), ["merge"])?
        .add_sink::<Bytes, Bytes>("sink", "merged", BytesSerde, BytesSerde, ["merge"])?;
    Ok(topology)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let records = arguments.next().transpose()?.unwrap_or(2_000_000);
    let keys = arguments.next().transpose()?.unwrap_or(200_000).max(1);
    let topics: [Arc<str>; 2] = ["left".into(), "right".into()];
    let (mut offsets, mut outputs, mut backing) = ([0_i64; 2], 0_usize, MemoryBacking::default());
    let id = TaskId { subtopology: 0, partition: 0 };
    let one = |_: &str| Some(1);
    let mut task = {
        let env = Env { now: 0, backing: &backing, partitions: &one };
        Task::new(Arc::new(topology()?.build("bench")?), id, TaskConfig::default(), env)?
    };
    let started = Instant::now();
    for number in 0..records {
        let side = number % 2;
        // A multiplicative walk over the keys: every key comes up, in an order that no cache likes.
        let key = (number / 2).wrapping_mul(2_654_435_761) % keys;
        let record = ConsumerRecord {
            topic: topics[side].clone(),
            partition: 0,
            offset: offsets[side],
            timestamp: number as i64,
            key: Some(Bytes::from(format!("customer-{key:012}"))),
            value: Some(Bytes::from(format!(
                "{{\"name\":\"Customer {key}\",\"email\":\"customer{key}@example.com\",\"plan\":{}}}",
                number / keys
            ))),
            headers: Headers::new(),
        };
        offsets[side] += 1;
        task.process(record, Env { now: number as i64, backing: &backing, partitions: &one })?;
        outputs += task.drain_outputs().count();
        if number % COMMIT_EVERY == COMMIT_EVERY - 1 || number + 1 == records {
            task.before_commit(Env { now: number as i64, backing: &backing, partitions: &one })?;
            for changes in task.changes() {
                backing.apply(&changes);
            }
            task.committed();
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{records} records over {keys} keys, {outputs} outputs: {:.0} records/s", records as f64 / seconds);
    Ok(())
}
