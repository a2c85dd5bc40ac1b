//! `concord consume`: a topic's records as JSON lines. It reads the log's file beside the process that writes it.

use crate::{
    cli,
    config::{Config, Env, Need, Overrides},
    stdout::written,
    topics,
};
use anyhow::{Context, bail};
use schemas::{CodecError, Registry};
use std::{io::Write, time::Duration};
use streams::{TopicPartition, embedded::LogReader};

/// Between two looks with `--follow`.
const LOOK: Duration = Duration::from_millis(100);

/// Prints until the end, `--max`, or with `--follow` until interrupted.
pub async fn run(args: cli::Consume, overrides: &Overrides, env: &Env) -> anyhow::Result<()> {
    let config = Config::load(overrides, env, Need::Shape)?;
    let folder = config.data_dir;
    let reader = LogReader::open(&folder).with_context(|| format!("no log to read in {} (--data-dir names another)", folder.display()))?;
    let topics = reader.topics()?;
    let Some(topic) = topics.iter().find(|t| t.name == args.topic) else {
        let names: Vec<&str> = topics.iter().map(|t| t.name.as_str()).collect();
        bail!("there is no topic {}; these are: {}", args.topic, names.join(", "));
    };
    let partitions: Vec<i32> = match args.partition {
        Some(one) if (0..topic.partitions).contains(&one) => vec![one],
        Some(one) => bail!("{} has no partition {one}; it has 0 to {}", args.topic, topic.partitions - 1),
        None => (0..topic.partitions).collect(),
    };
    let mut places = Vec::new();
    for partition in partitions {
        let tp = TopicPartition::new(args.topic.as_str(), partition);
        let from = match args.from.as_str() {
            "beginning" => reader.beginning_offset(&tp)?,
            "end" => reader.end_offset(&tp)?,
            number => number.parse::<i64>().with_context(|| format!("--from {number}: an offset, `beginning` or `end`"))?,
        };
        places.push((tp, from));
    }
    let mut registry = topics::registry_of(&reader)?;
    let mut left = args.max.unwrap_or(u64::MAX);
    loop {
        let printed = print(&reader, &mut registry, &args.topic, &mut places, &mut left)?;
        if left == 0 || (printed == 0 && !args.follow) {
            return Ok(());
        }
        if printed == 0 {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }
}

/// What is there now, partition by partition.
fn print(
    reader: &LogReader,
    registry: &mut Registry,
    topic: &str,
    places: &mut [(TopicPartition, i64)],
    left: &mut u64,
) -> anyhow::Result<u64> {
    let mut printed = 0;
    let mut out = std::io::stdout().lock();
    for (tp, next) in places {
        if *left == 0 {
            break;
        }
        let mut reloaded = false;
        let records = reader.read(tp, *next, (*left).min(500) as usize, 1 << 20)?;
        for record in &records {
            // A schema that was registered after this started: looked for once a batch, since a dlq's bytes may name any.
            let unknown = |bytes: &[u8]| matches!(registry.decode_json(bytes), Err(CodecError::UnknownSchema(_)));
            if !reloaded && record.value.as_deref().is_some_and(unknown) {
                *registry = topics::registry_of(reader)?;
                reloaded = true;
            }
            written(writeln!(out, "{}", topics::shown(registry, topic, record)))?;
            *next = record.offset + 1;
            *left -= 1;
            printed += 1;
        }
    }
    written(out.flush())?;
    Ok(printed)
}
