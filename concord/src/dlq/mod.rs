//! `concord dlq`: what could not be processed, and what becomes of it. Dead letters are read from the log's file; retrying and discarding
//! go through the running process, or straight into the log where none runs.
//!
//! - [`letter`]: a dead letter; [`marks`]: what was dealt with; [`wanted`]: which are meant
//! - [`deal`]: retrying and discarding; [`known`]: what is there, as the running process knows it; [`args`], [`shown`]: the command line and what it prints

mod args;
mod deal;
mod known;
mod letter;
mod marks;
mod shown;
mod wanted;

pub use args::DlqCommand;
pub use deal::{DeadLetters, DealError, Dealing, Dealt, Refused};
pub use letter::Place;

use crate::{
    config::{Config, Env, Need, Overrides},
    show, stdout,
    target::{self, Target},
    topics,
};
use anyhow::{Context, bail};
use args::Which;
use letter::Letter;
use marks::{MARKS, Mark, Marks};
use serde_json::{Value as Json, json};
use std::time::{SystemTime, UNIX_EPOCH};
use streams::{
    TopicPartition,
    embedded::{Log, LogError, LogReader, Options},
};
use wanted::Wanted;

/// Dead letters that are dealt with by one request.
const PAGE: usize = 500;

/// Whether all that was asked for could be done.
pub async fn run(command: DlqCommand, overrides: &Overrides, env: &Env) -> anyhow::Result<bool> {
    let now = now();
    match command {
        DlqCommand::List { filter, limit, after, all, json } => {
            let wanted = Wanted { dealt_with: all, after, ..filter.wanted(now) };
            list(&Source::open(overrides, env)?, &wanted, limit as usize, json, now)?;
            Ok(true)
        }
        DlqCommand::Show { id, json } => {
            show(&Source::open(overrides, env)?, &id, json, now)?;
            Ok(true)
        }
        DlqCommand::Retry { which } => deal(which, Dealing::Retry, overrides, env).await,
        DlqCommand::Discard { which, reason } => deal(which, Dealing::Discard { reason }, overrides, env).await,
    }
}

pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as i64)
}

/// Dead letters, and how each was dealt with.
type Letters<'a> = Vec<(Letter, Option<&'a Mark>)>;

/// A log that is read beside its process.
struct Source {
    reader: LogReader,
    marks: Marks,
}

impl Source {
    fn open(overrides: &Overrides, env: &Env) -> anyhow::Result<Source> {
        let config = Config::load(overrides, env, Need::Shape)?;
        let folder = target::folder(&config, "`concord consume <topic>.dlq` shows dead letters there")?;
        let reader =
            LogReader::open(folder).with_context(|| format!("no log to read in {} (--data-dir names another)", folder.display()))?;
        let mut marks = Marks::default();
        let tp = TopicPartition::new(MARKS, 0);
        loop {
            let records = match reader.read(&tp, marks.next(), 1_000, 1 << 20) {
                Err(LogError::UnknownTopic(_)) => break,
                records => records?,
            };
            if records.is_empty() {
                break;
            }
            records.iter().try_for_each(|record| marks.read(record).map(drop))?;
        }
        Ok(Source { reader, marks })
    }

    /// The first that are wanted, in order of place; and whether there are more.
    fn page(&self, wanted: &Wanted, limit: usize) -> anyhow::Result<(Letters<'_>, bool)> {
        let mut found = Vec::new();
        for topic in self.reader.topics()?.into_iter().filter(|topic| wanted.takes_topic(&topic.name)) {
            for partition in 0..topic.partitions {
                let tp = TopicPartition::new(topic.name.as_str(), partition);
                let mut next = 0;
                loop {
                    let records = self.reader.read(&tp, next, PAGE, 1 << 20)?;
                    let Some(last) = records.last() else { break };
                    next = last.offset + 1;
                    for letter in records.into_iter().map(Letter) {
                        let mark = self.marks.of(&letter.place());
                        if !wanted.takes(&letter, mark) {
                            continue;
                        }
                        if found.len() == limit {
                            return Ok((found, true));
                        }
                        found.push((letter, mark));
                    }
                }
            }
        }
        Ok((found, false))
    }

    fn one(&self, id: &Place) -> anyhow::Result<(Letter, Option<&Mark>)> {
        let records = match self.reader.read(&id.topic_partition(), id.offset, 1, 1) {
            Err(LogError::UnknownTopic(_) | LogError::UnknownPartition(_)) => Vec::new(),
            records => records?,
        };
        let found = records.into_iter().find(|record| record.offset == id.offset).map(Letter);
        let letter = found.with_context(|| format!("there is no dead letter {id}; `concord dlq list --all` shows those there are"))?;
        Ok((letter, self.marks.of(id)))
    }
}

fn list(source: &Source, wanted: &Wanted, limit: usize, as_json: bool, now: i64) -> anyhow::Result<()> {
    let (found, more) = source.page(wanted, limit)?;
    let items: Vec<Json> = found.iter().map(|(letter, mark)| shown::item(letter, *mark, now)).collect();
    if as_json {
        return stdout::print(format_args!("{:#}\n", Json::Array(items)));
    }
    stdout::print(shown::list(&items, wanted.dealt_with, show::width()))?;
    if let Some((last, _)) = found.last().filter(|_| more) {
        eprintln!("there are more: the next page is --after {}; --limit shows more at once", last.place());
    }
    Ok(())
}

fn show(source: &Source, id: &Place, as_json: bool, now: i64) -> anyhow::Result<()> {
    let (letter, mark) = source.one(id)?;
    let registry = topics::registry_of(&source.reader)?;
    let whole = shown::whole(&letter, mark, &registry, now);
    if as_json { stdout::print(format_args!("{whole:#}\n")) } else { stdout::print(shown::letter(&whole)) }
}

/// Deals with what was named, or page by page with all that is wanted.
async fn deal(which: Which, dealing: Dealing, overrides: &Overrides, env: &Env) -> anyhow::Result<bool> {
    let Which { ids, all, filter, dry_run, json, server } = which;
    if dry_run {
        let source = Source::open(overrides, env)?;
        return plan(&source, ids, filter.wanted(now()), &dealing, json);
    }
    let hands = Hands::find(&server, overrides, env).await?;
    let mut sum = Dealt::default();
    if all {
        let mut wanted = filter.wanted(now());
        loop {
            let (found, more) = Source::open(overrides, env)?.page(&wanted, PAGE).map(|(found, more)| {
                let places: Vec<Place> = found.iter().map(|(letter, _)| letter.place()).collect();
                (places, more)
            })?;
            sum.add(hands.deal(&found, &dealing).await?);
            wanted.after = found.last().cloned();
            if !more {
                break;
            }
        }
    } else {
        for ids in ids.chunks(PAGE) {
            sum.add(hands.deal(ids, &dealing).await?);
        }
    }
    if json {
        stdout::print(format_args!("{:#}\n", json!(sum)))?;
    } else {
        stdout::print(shown::dealt(&sum, &dealing))?;
    }
    for Refused { id, error } in &sum.refused {
        eprintln!("{id}: {error}");
    }
    Ok(sum.refused.is_empty())
}

/// What would be done.
fn plan(source: &Source, ids: Vec<Place>, mut wanted: Wanted, dealing: &Dealing, as_json: bool) -> anyhow::Result<bool> {
    let mut items = Vec::new();
    let mut well = true;
    let mut add = |letter: &Letter, mark: Option<&Mark>| {
        let item = shown::planned(letter, mark, dealing);
        well &= item["refused"].is_null();
        items.push(item);
    };
    if ids.is_empty() {
        loop {
            let (found, more) = source.page(&wanted, PAGE)?;
            found.iter().for_each(|(letter, mark)| add(letter, *mark));
            wanted.after = found.last().map(|(letter, _)| letter.place());
            if !more {
                break;
            }
        }
    } else {
        for id in &ids {
            let (letter, mark) = source.one(id)?;
            add(&letter, mark);
        }
    }
    if as_json {
        stdout::print(format_args!("{:#}\n", Json::Array(items)))?;
    } else {
        stdout::print(shown::plan(&items, dealing, show::width()))?;
        eprintln!("nothing was done; without --dry-run it is");
    }
    Ok(well)
}

/// What does it.
enum Hands {
    Process(crate::client::Client),
    Folder(DeadLetters),
}

impl Hands {
    async fn find(server: &crate::cli::Server, overrides: &Overrides, env: &Env) -> anyhow::Result<Hands> {
        Ok(match Target::find(server, overrides, env).await? {
            Target::Process(client) => Hands::Process(client),
            Target::Folder(config) => Hands::Folder(DeadLetters::new(Log::open(&config.data_dir, Options::default())?.into())),
        })
    }

    async fn deal(&self, places: &[Place], dealing: &Dealing) -> anyhow::Result<Dealt> {
        match self {
            Hands::Folder(dead) => Ok(dead.deal(places, dealing, now()).await?),
            Hands::Process(client) => {
                let (path, body) = match dealing {
                    Dealing::Retry => ("/api/v1/dlq/retry", json!({ "ids": places })),
                    Dealing::Discard { reason } => ("/api/v1/dlq/discard", json!({ "ids": places, "reason": reason })),
                };
                let (status, body) = client.post(path, &body).await?;
                if status != 200 {
                    bail!("{}", body["detail"].as_str().unwrap_or(&body.to_string()));
                }
                Ok(serde_json::from_value(body)?)
            }
        }
    }
}
