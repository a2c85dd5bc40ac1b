//! `concord publish`: JSON lines to a topic, through the running process, or straight into the log where none runs.

use crate::{
    cli,
    client::Client,
    config::{Env, Overrides},
    registry::Service,
    target,
    topics::{Outcome, Published, Publisher, Refused, schemas_topic},
};
use anyhow::{Context, bail};
use serde_json::{Value as Json, json};
use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};

/// Lines that travel together.
const BATCH: usize = 500;

enum Target {
    Process(Client),
    Log(Publisher),
}

impl Target {
    async fn find(args: &cli::Publish, overrides: &Overrides, env: &Env) -> anyhow::Result<Target> {
        match target::Target::find(&args.server, overrides, env).await? {
            target::Target::Process(client) => Ok(Target::Process(client)),
            target::Target::Log(config, log) => {
                let schemas = schemas_topic(&config);
                if log.partitions(schemas).is_none() {
                    bail!("nothing is set up in this log yet: `concord run` does it");
                }
                let schemas = Service::open(log.clone(), schemas).await?;
                Ok(Target::Log(Publisher::new(log, schemas.registry().clone(), &config.systems)))
            }
        }
    }

    async fn publish(&self, topic: &str, records: &[Published]) -> anyhow::Result<Outcome> {
        match self {
            Target::Process(client) => {
                let (status, body) = client.post(&format!("/api/v1/topics/{topic}/records"), &json!({ "records": records })).await?;
                if status != 200 {
                    bail!("{}", body["detail"].as_str().unwrap_or(&body.to_string()));
                }
                Ok(serde_json::from_value(body)?)
            }
            Target::Log(publisher) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as i64);
                Ok(publisher.publish(topic, records, now).await?)
            }
        }
    }
}

/// Publishes every good line, names every bad one by its number, and says whether all were good.
pub async fn run(args: cli::Publish, overrides: &Overrides, env: &Env) -> anyhow::Result<bool> {
    let input: Box<dyn AsyncBufRead + Unpin> = if args.file == Path::new("-") {
        Box::new(BufReader::new(tokio::io::stdin()))
    } else {
        let file = tokio::fs::File::open(&args.file).await.with_context(|| format!("cannot open {}", args.file.display()))?;
        Box::new(BufReader::new(file))
    };
    if args.key.is_none() && args.key_field.is_none() {
        bail!("say what the key is: --key KEY, or --key-field NAME for a field of each line");
    }
    let target = Target::find(&args, overrides, env).await?;
    let mut run =
        Run { target, args, started: Instant::now(), accepted: 0, refused: 0, batch: Vec::new(), numbers: Vec::new(), bad: Vec::new() };
    let mut lines = input.lines();
    let mut number = 0u64;
    while let Some(line) = lines.next_line().await.with_context(|| format!("line {}: not text", number + 1))? {
        number += 1;
        if line.trim().is_empty() {
            continue;
        }
        match record(&line, &run.args) {
            Ok(record) => {
                run.batch.push(record);
                run.numbers.push(number);
            }
            Err(error) => run.bad.push((number, error)),
        }
        if run.batch.len() + run.bad.len() >= BATCH {
            run.send().await?;
        }
    }
    run.send().await?;
    run.progress(true);
    eprintln!(
        "published {} to {} in {:.1} s; {} refused",
        records(run.accepted),
        run.args.topic,
        run.started.elapsed().as_secs_f64(),
        run.refused
    );
    Ok(run.refused == 0)
}

struct Run {
    target: Target,
    args: cli::Publish,
    started: Instant,
    accepted: usize,
    refused: usize,
    batch: Vec<Published>,
    /// The batch's line numbers.
    numbers: Vec<u64>,
    /// Lines among them that were refused, with their numbers.
    bad: Vec<(u64, String)>,
}

impl Run {
    /// Publishes the batch, and names what was refused of it in the order of the lines.
    async fn send(&mut self) -> anyhow::Result<()> {
        let outcome = if self.batch.is_empty() { Ok(Outcome::default()) } else { self.target.publish(&self.args.topic, &self.batch).await };
        if let Ok(Outcome { accepted, errors }) = &outcome {
            self.accepted += accepted;
            let number = |index: usize| self.numbers.get(index).copied().unwrap_or(0);
            self.bad.extend(errors.iter().map(|Refused { index, error }| (number(*index), error.clone())));
        }
        self.bad.sort();
        self.refused += self.bad.len();
        for (number, error) in self.bad.drain(..) {
            eprintln!("line {number}: {error}");
        }
        outcome.with_context(|| {
            let line = self.numbers.first().copied().unwrap_or(0);
            format!("stopped before line {line}; published before it: {}", records(self.accepted))
        })?;
        self.batch.clear();
        self.numbers.clear();
        self.progress(false);
        Ok(())
    }

    fn progress(&self, last: bool) {
        let mut err = std::io::stderr();
        if err.is_terminal() {
            let rate = self.accepted as f64 / self.started.elapsed().as_secs_f64().max(0.001);
            let _ = write!(err, "\r{}, {rate:.0} a second{}", records(self.accepted), if last { "\r\x1b[K" } else { "" });
        }
    }
}

fn records(n: usize) -> String {
    if n == 1 { "1 record".into() } else { format!("{n} records") }
}

/// A line as a record: its key by flag or field, the rest (or one field) its value.
fn record(line: &str, args: &cli::Publish) -> Result<Published, String> {
    let mut line: Json = serde_json::from_str(line).map_err(|e| format!("not JSON: {e}"))?;
    let key = match (&args.key, &args.key_field) {
        (Some(key), _) => key.clone(),
        (None, Some(name)) => {
            let taken = match &mut line {
                Json::Object(fields) => fields.remove(name),
                _ => return Err("not a JSON object".into()),
            };
            match taken {
                Some(Json::String(key)) => key,
                Some(Json::Number(key)) => key.to_string(),
                Some(_) => return Err(format!("{name} is no text or number, so it is no key")),
                None => return Err(format!("there is no field {name} to take the key from")),
            }
        }
        (None, None) => return Err("no key".into()),
    };
    let value = match &args.value_field {
        Some(name) => line.get_mut(name).map(Json::take).ok_or_else(|| format!("there is no field {name} to take the value from"))?,
        None => line,
    };
    Ok(Published { key, value })
}
