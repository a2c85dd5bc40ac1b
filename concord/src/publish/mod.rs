//! `concord publish`: JSON lines to a topic, through the running process, or straight into the log where none runs.
//!
//! - [`args`]: the command line; [`input`], [`line`]: lines as they come, and what each says
//! - [`target`]: where they go. A batch is encoded while the one before it is being written; two are never on their way, so that lines
//!   stay in their order

mod args;
mod input;
mod line;
mod target;

pub use args::Args;

use crate::{
    config::{Env, Overrides},
    topics::{Batch, Named, Outcome, Refused},
};
use anyhow::Context;
use input::{Line, Lines};
use line::Form;
use serde_json::json;
use std::{
    fs::File,
    io::{BufWriter, IsTerminal, Write},
    sync::Arc,
    time::Instant,
};
use target::Target;
use tokio::task::JoinHandle;

/// Publishes every good line, names every bad one by its number, and says whether all were good.
pub async fn run(args: Args, overrides: &Overrides, env: &Env) -> anyhow::Result<bool> {
    let form = Form::new(&args)?;
    let named = args.named()?;
    let errors = match &args.errors {
        Some(path) => Some(BufWriter::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?)),
        None => None,
    };
    if let Some(partition) = args.partition {
        eprintln!("all go to partition {partition}: where it is not that of their key, Concord does not know them again");
    }
    let mut lines = Lines::open(&args.file, form)?;
    let target = Arc::new(Target::find(&args, overrides, env).await?);
    // Whether there is such a topic, also where no line comes; and the schema, looked for once and not with every batch.
    let asked = target.prepare(&Batch { schema: named, ..Batch::default() })?;
    let schema = target.send(asked).await?.schema_id.map(Named::Id);
    let mut run =
        Run { target, validate_only: args.validate_only, schema, errors, started: Instant::now(), good: 0, refused: 0, under_way: None };
    while let Some(lines) = lines.next().await? {
        run.take(lines).await?;
    }
    run.finish().await?;
    let Run { good, refused, started, .. } = run;
    let (seconds, topic) = (started.elapsed().as_secs_f64(), &args.topic);
    let rate = good as f64 / seconds.max(0.001);
    if args.validate_only {
        eprintln!("{} for {topic} would be taken, {refused} refused; nothing was published", records(good));
    } else {
        eprintln!("published {} to {topic} in {seconds:.1} s, {rate:.0} a second; {refused} refused", records(good));
    }
    Ok(refused == 0)
}

struct Run {
    target: Arc<Target>,
    validate_only: bool,
    schema: Option<Named>,
    errors: Option<BufWriter<File>>,
    started: Instant,
    good: usize,
    refused: usize,
    under_way: Option<UnderWay>,
}

/// A batch that is being written.
struct UnderWay {
    /// Those that were sent, without their records.
    sent: Vec<(u64, String)>,
    /// Those that are no records, and why.
    bad: Vec<(u64, String, String)>,
    done: JoinHandle<anyhow::Result<Outcome>>,
}

impl Run {
    async fn take(&mut self, lines: Vec<Line>) -> anyhow::Result<()> {
        let first = lines.first().map_or(0, |line| line.number);
        let mut batch = Batch { schema: self.schema.clone(), validate_only: self.validate_only, ..Batch::default() };
        let (mut sent, mut bad) = (Vec::with_capacity(lines.len()), Vec::new());
        for Line { number, text, record } in lines {
            match record {
                Ok(record) => {
                    batch.records.push(record);
                    sent.push((number, text));
                }
                Err(error) => bad.push((number, error, text)),
            }
        }
        let prepared = self.target.prepare(&batch);
        drop(batch);
        self.finish().await?;
        let prepared = prepared.with_context(|| self.stopped(first))?;
        let target = self.target.clone();
        let none = sent.is_empty();
        let done = tokio::spawn(async move { if none { Ok(Outcome::default()) } else { target.send(prepared).await } });
        self.under_way = Some(UnderWay { sent, bad, done });
        Ok(())
    }

    /// Waits for what is under way, and names what was refused of it in the order of the lines.
    async fn finish(&mut self) -> anyhow::Result<()> {
        let Some(UnderWay { mut sent, mut bad, done }) = self.under_way.take() else { return Ok(()) };
        let outcome = done.await.unwrap_or_else(|panic| Err(panic.into()));
        if let Ok(Outcome { accepted, errors, .. }) = &outcome {
            self.good += accepted;
            let line = |Refused { index, error }: &Refused| {
                sent.get_mut(*index).map(|(number, text)| (*number, error.clone(), std::mem::take(text)))
            };
            bad.extend(errors.iter().filter_map(line));
        }
        bad.sort();
        self.refused += bad.len();
        for (line, error, text) in bad {
            match &mut self.errors {
                Some(file) => writeln!(file, "{}", json!({"line": line, "error": error, "text": text})).context("writing --errors")?,
                None => eprintln!("line {line}: {error}"),
            }
        }
        if let Some(file) = &mut self.errors {
            file.flush().context("writing --errors")?;
        }
        outcome.with_context(|| self.stopped(sent.first().map_or(0, |(number, _)| *number)))?;
        self.progress();
        Ok(())
    }

    fn stopped(&self, line: u64) -> String {
        format!(
            "stopped before line {line}; published before it: {} (of those that were sent with it, some may be there)",
            records(self.good)
        )
    }

    fn progress(&self) {
        let mut err = std::io::stderr();
        if err.is_terminal() {
            let rate = self.good as f64 / self.started.elapsed().as_secs_f64().max(0.001);
            // Whatever comes next is written over it.
            let _ = write!(err, "\r{}, {rate:.0} a second\x1b[K\r", records(self.good));
        }
    }
}

fn records(n: usize) -> String {
    if n == 1 { "1 record".into() } else { format!("{n} records") }
}
