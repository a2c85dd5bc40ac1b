//! `concord consume`: a topic's records as JSON lines, read beside the processes that write them.

use crate::{
    cli,
    config::{Config, Env, Need, Overrides},
    moment::now,
    reader::Reader,
    stdout::written,
    topics,
};
use anyhow::{Context, bail};
use schemas::{CodecError, Registry};
use std::{
    io::{BufWriter, Stdout, Write},
    ops::ControlFlow,
};
use streams::{ConsumerRecord, TopicPartition, embedded::TopicConfig};

/// Prints until the end, `--max`, or with `--follow` until interrupted.
pub async fn run(args: cli::Consume, overrides: &Overrides, env: &Env) -> anyhow::Result<()> {
    let config = Config::load(overrides, env, Need::Shape)?;
    let reader = Reader::open(&config).await?;
    let mut places = Vec::new();
    for tp in partitions(&args, &reader.topics()?)? {
        let (beginning, end) = reader.ends(&tp).await?;
        let from = match begin(&args.from)? {
            Begin::Beginning => beginning,
            Begin::End => end,
            Begin::At(offset) => offset,
        };
        places.push((tp, from, end));
    }
    // After the ends: what was written before them has its schema here.
    let mut printer = Printer::new(&args, reader.registry().await?);
    let print = async {
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
            reader.scan(tp, from, *end, take).await?;
            failed.map_or(Ok(()), Err)?;
        }
        printer.flush()?;
        if !args.follow || printer.left == 0 {
            return Ok(());
        }
        let mut following = reader.follow(places.into_iter().map(|(tp, next, end)| (tp, next.max(end))).collect()).await?;
        while printer.left > 0 {
            let records = following.next().await?;
            // A schema that was registered after this started: looked for once a batch, since a dlq's bytes may name any.
            if records.iter().any(|record| printer.lacks_schema(record)) {
                printer.registry = reader.registry().await?;
            }
            records.iter().try_for_each(|record| printer.print(record))?;
            printer.flush()?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        printed = print => printed,
        _ = tokio::signal::ctrl_c(), if args.follow => Ok(()),
    }
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
    key: Option<String>,
    /// Not before this time.
    since: Option<i64>,
    registry: Registry,
    /// How many more may be printed.
    left: u64,
    out: BufWriter<Stdout>,
}

impl Printer {
    fn new(args: &cli::Consume, registry: Registry) -> Printer {
        let (topic, key, since) = (args.topic.clone(), args.key.clone(), args.since.map(|since| since.before(now())));
        Printer { topic, key, since, registry, left: args.max.unwrap_or(u64::MAX), out: BufWriter::new(std::io::stdout()) }
    }

    fn wants(&self, record: &ConsumerRecord) -> bool {
        self.key.as_ref().is_none_or(|key| record.key.as_deref() == Some(key.as_bytes()))
            && self.since.is_none_or(|since| record.timestamp >= since)
    }

    fn lacks_schema(&self, record: &ConsumerRecord) -> bool {
        let unknown = |bytes: &[u8]| matches!(self.registry.decode_json(bytes), Err(CodecError::UnknownSchema(_)));
        record.value.as_deref().is_some_and(unknown)
    }

    /// Prints it if it is wanted, and if there may be more.
    fn print(&mut self, record: &ConsumerRecord) -> anyhow::Result<()> {
        if self.left == 0 || !self.wants(record) {
            return Ok(());
        }
        written(writeln!(self.out, "{}", topics::shown(&self.registry, &self.topic, record)))?;
        self.left -= 1;
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        written(self.out.flush())
    }
}
