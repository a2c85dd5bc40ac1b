//! How long an edit takes through a client: from just before it is handed to a producer that does not linger until a consumer of what is
//! committed has its output. At a steady rate far below what any client can do, and with nothing tuned.

use super::topics::{Edit, Topics};
use crate::{
    kafka_clients::{Settings, watch::Client},
    merge::{INPUTS, customer},
};
use anyhow::Context;
use rdkafka::{
    consumer::BaseConsumer,
    error::KafkaError,
    producer::{BaseProducer, Producer},
};
use std::{
    panic::resume_unwind,
    thread,
    time::{Duration, Instant},
};

pub const WHAT: &str = "200 edits/s for 20 s, the first 5 s left out; one thread, each client's default commit interval";
const BETWEEN_EDITS: Duration = Duration::from_millis(5);
const EDITS: usize = 20 * 200;
const WARM_UP: usize = 5 * 200;
/// What each client does if it is told nothing.
pub const SETTINGS: Settings = Settings { threads: 1, commit: None };
/// An output that takes longer is missing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Milliseconds of all edits but the first, from the least to the most. The client has committed all inputs, and is ended.
pub fn measure(topics: &Topics, client: Client, output: &str, keys: usize) -> anyhow::Result<Vec<f64>> {
    // No edit so far has a higher number: each of these changes its customer.
    let first = topics.written()?;
    let edit = |n: usize| {
        // As the inputs were filled: a step that shares no factor with the count.
        let key = n * 7_919 % keys;
        anyhow::Ok((key, topics.edit(INPUTS[n % 2], key, &customer(key, first + n))?))
    };
    let (keys, edits): (Vec<usize>, Vec<Edit>) = (0..EDITS).map(edit).collect::<anyhow::Result<Vec<_>>>()?.into_iter().unzip();
    let from = topics.ends(output)?;
    let reader = topics.reader(output, &from)?;
    let producer = topics.producer(0)?;
    let (sent, arrived) = thread::scope(|scope| {
        let arrived = scope.spawn(|| arrivals(topics, &reader, first, &keys));
        let sent = send(&producer, &edits)?;
        anyhow::Ok((sent, arrived.join().unwrap_or_else(|panic| resume_unwind(panic))?))
    })?;
    client.stop()?;
    let outputs = topics.count(output, &from)?;
    anyhow::ensure!(outputs == EDITS, "{outputs} outputs of {EDITS} edits");
    let millis = |(sent, arrived): (Instant, Instant)| (arrived - sent).as_secs_f64() * 1_000.0;
    let mut millis: Vec<f64> = sent.into_iter().zip(arrived).skip(WARM_UP).map(millis).collect();
    millis.sort_by(f64::total_cmp);
    Ok(millis)
}

/// Sends the edits evenly; when each.
fn send(producer: &BaseProducer, edits: &[Edit]) -> anyhow::Result<Vec<Instant>> {
    let mut sent = Vec::with_capacity(edits.len());
    let mut due = Instant::now();
    for edit in edits {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += BETWEEN_EDITS;
        sent.push(Instant::now());
        producer.send(edit.record()).map_err(|(error, _)| error)?;
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE)?;
    Ok(sent)
}

/// When the output of each edit came: there is one of each, and none of anything else.
fn arrivals(topics: &Topics, reader: &BaseConsumer, first: usize, keys: &[usize]) -> anyhow::Result<Vec<Instant>> {
    let mut arrived = vec![None; keys.len()];
    let mut missing = keys.len();
    while missing > 0 {
        let message = match reader.poll(PATIENCE) {
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(_))) => continue,
            Some(Err(error)) => return Err(error).context("reading the outputs"),
            None => anyhow::bail!("the outputs of {missing} edits are missing"),
        };
        let now = Instant::now();
        let (key, look) = topics.output(&message)?;
        let edit = usize::try_from(look - 1)?.checked_sub(first).filter(|edit| keys.get(*edit) == Some(&key));
        let edit = edit.context("an output of no edit")?;
        anyhow::ensure!(arrived[edit].replace(now).is_none(), "an edit came out twice");
        missing -= 1;
    }
    Ok(arrived.into_iter().flatten().collect())
}
