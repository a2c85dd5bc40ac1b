//! `concord consume`: a topic's records as JSON lines. It reads the log's file beside the process that writes it, or asks the brokers.

use crate::{
    cli,
    config::{Config, Env, Need, Overrides},
    registry::Service,
    stdout::written,
    topics,
};
use anyhow::{Context, bail};
use schemas::{CodecError, Registry};
use std::{io::Write, ops::ControlFlow, time::Duration};
use streams::{
    ConsumerRecord, Log, TopicPartition,
    embedded::{LogReader, TopicConfig},
};

/// Between two looks with `--follow` at a file.
const LOOK: Duration = Duration::from_millis(100);

/// Prints until the end, `--max`, or with `--follow` until interrupted.
pub async fn run(args: cli::Consume, overrides: &Overrides, env: &Env) -> anyhow::Result<()> {
    let config = Config::load(overrides, env, Need::Shape)?;
    match &config.kafka {
        Some(kafka) => {
            let log = kafka.connect(&config.application_id).await?;
            let schemas = Service::open(log.clone(), topics::schemas_topic(&config)).await?;
            cluster(args, log, schemas).await
        }
        None => folder(args, &config).await,
    }
}

async fn folder(args: cli::Consume, config: &Config) -> anyhow::Result<()> {
    let folder = &config.data_dir;
    let reader = LogReader::open(folder).with_context(|| format!("no log to read in {} (--data-dir names another)", folder.display()))?;
    let mut places = Vec::new();
    for tp in partitions(&args, &reader.topics()?)? {
        let from = match begin(&args.from)? {
            Begin::Beginning => reader.beginning_offset(&tp)?,
            Begin::End => reader.end_offset(&tp)?,
            Begin::At(offset) => offset,
        };
        places.push((tp, from));
    }
    let mut printer = Printer { topic: args.topic, registry: topics::registry_of(&reader)?, left: args.max.unwrap_or(u64::MAX) };
    loop {
        let printed = print(&reader, &mut printer, &mut places)?;
        if printer.left == 0 || (printed == 0 && !args.follow) {
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
fn print(reader: &LogReader, printer: &mut Printer, places: &mut [(TopicPartition, i64)]) -> anyhow::Result<u64> {
    let mut printed = 0;
    for (tp, next) in places {
        if printer.left == 0 {
            break;
        }
        let mut reloaded = false;
        let records = reader.read(tp, *next, printer.left.min(500) as usize, 1 << 20)?;
        for record in &records {
            // A schema that was registered after this started: looked for once a batch, since a dlq's bytes may name any.
            if !reloaded && printer.lacks_schema(record) {
                printer.registry = topics::registry_of(reader)?;
                reloaded = true;
            }
            printer.print(record)?;
            *next = record.offset + 1;
            printed += 1;
        }
    }
    written(std::io::stdout().flush())?;
    Ok(printed)
}

async fn cluster(args: cli::Consume, log: Log, schemas: Service) -> anyhow::Result<()> {
    let mut places = Vec::new();
    for tp in partitions(&args, &log.topics())? {
        let end = log.end_offset(&tp).await?;
        let from = match begin(&args.from)? {
            Begin::Beginning => log.beginning_offset(&tp).await?,
            Begin::End => end,
            Begin::At(offset) => offset,
        };
        places.push((tp, from, end));
    }
    let mut printer = Printer { topic: args.topic, registry: schemas.registry().clone(), left: args.max.unwrap_or(u64::MAX) };
    for (tp, next, end) in &mut places {
        let (from, mut failed) = (*next, None);
        let take = |record: ConsumerRecord| {
            if printer.left == 0 {
                return ControlFlow::Break(());
            }
            *next = record.offset + 1;
            match printer.print(&record) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        log.scan_until(tp, from, *end, take).await?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    written(std::io::stdout().flush())?;
    if !args.follow || printer.left == 0 {
        return Ok(());
    }
    let count = places.len();
    let mut follow = log.follow(places.into_iter().map(|(tp, next, _)| (tp, next)).collect()).await?;
    while printer.left > 0 {
        tokio::select! {
            ready = follow.ready(|_| true) => ready?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        for place in 0..count {
            for record in follow.take(place, printer.left.min(500) as usize, 1 << 20)? {
                if printer.lacks_schema(&record) {
                    schemas.catch_up().await?;
                }
                printer.print(&record)?;
            }
        }
        written(std::io::stdout().flush())?;
    }
    Ok(())
}

enum Begin {
    Beginning,
    End,
    At(i64),
}

fn begin(from: &str) -> anyhow::Result<Begin> {
    Ok(match from {
        "beginning" => Begin::Beginning,
        "end" => Begin::End,
        number => Begin::At(number.parse().with_context(|| format!("--from {number}: an offset, `beginning` or `end`"))?),
    })
}

/// The partitions that were asked for.
fn partitions(args: &cli::Consume, topics: &[TopicConfig]) -> anyhow::Result<Vec<TopicPartition>> {
    let Some(topic) = topics.iter().find(|t| t.name == args.topic) else {
        let names: Vec<&str> = topics.iter().map(|t| t.name.as_str()).collect();
        bail!("there is no topic {}; these are: {}", args.topic, names.join(", "));
    };
    let numbers: Vec<i32> = match args.partition {
        Some(one) if (0..topic.partitions).contains(&one) => vec![one],
        Some(one) => bail!("{} has no partition {one}; it has 0 to {}", args.topic, topic.partitions - 1),
        None => (0..topic.partitions).collect(),
    };
    Ok(numbers.into_iter().map(|partition| TopicPartition::new(args.topic.as_str(), partition)).collect())
}

struct Printer {
    topic: String,
    registry: Registry,
    /// How many more may be printed.
    left: u64,
}

impl Printer {
    fn lacks_schema(&self, record: &ConsumerRecord) -> bool {
        let unknown = |bytes: &[u8]| matches!(self.registry.decode_json(bytes), Err(CodecError::UnknownSchema(_)));
        record.value.as_deref().is_some_and(unknown)
    }

    fn print(&mut self, record: &ConsumerRecord) -> anyhow::Result<()> {
        written(writeln!(std::io::stdout().lock(), "{}", topics::shown(&self.registry, &self.topic, record)))?;
        self.left -= 1;
        Ok(())
    }
}
