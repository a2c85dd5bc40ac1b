//! `concord dlq`: what could not be processed, and what becomes of it. Dead letters are read beside the processes; retrying and discarding
//! go through the running process, or straight into the log where none runs.
//!
//! - [`letter`]: a dead letter; [`marks`]: what was dealt with; [`wanted`]: which are meant; [`source`]: where the command reads them
//! - [`deal`]: retrying and discarding; [`known`]: what is there, as the running process knows it; [`args`], [`shown`]: the command line and what it prints

mod args;
mod deal;
mod known;
mod letter;
mod marks;
mod shown;
mod source;
mod wanted;

pub use args::DlqCommand;
pub use deal::{DeadLetters, DealError, Dealing, Dealt, Refused};
pub use letter::{Place, SUFFIX};
pub use marks::{MARKS, Mark, Marks};

use crate::{
    config::{Env, Overrides},
    moment::now,
    show, stdout,
    target::Target,
};
use anyhow::bail;
use args::Which;
use letter::Letter;
use serde_json::{Value as Json, json};
use source::Source;
use std::time::Duration;
use wanted::Wanted;

/// Dead letters that are dealt with by one request.
const PAGE: usize = 500;
/// How long the process may take for them: on Kafka it may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether all that was asked for could be done.
pub async fn run(command: DlqCommand, overrides: &Overrides, env: &Env) -> anyhow::Result<bool> {
    let now = now();
    match command {
        DlqCommand::List { filter, limit, after, all, json } => {
            let wanted = Wanted { dealt_with: all, after, ..filter.wanted(now) };
            list(&Source::open(overrides, env).await?, &wanted, limit as usize, json, now).await?;
            Ok(true)
        }
        DlqCommand::Show { id, json } => {
            show(&Source::open(overrides, env).await?, &id, json, now).await?;
            Ok(true)
        }
        DlqCommand::Retry { which } => deal(which, Dealing::Retry, overrides, env).await,
        DlqCommand::Discard { which, reason } => deal(which, Dealing::Discard { reason }, overrides, env).await,
    }
}

async fn list(source: &Source, wanted: &Wanted, limit: usize, as_json: bool, now: i64) -> anyhow::Result<()> {
    let (found, more) = source.page(wanted, limit).await?;
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

async fn show(source: &Source, id: &Place, as_json: bool, now: i64) -> anyhow::Result<()> {
    let (letter, mark) = source.one(id).await?;
    let registry = source.registry().await?;
    let whole = shown::whole(&letter, mark, &registry, now);
    if as_json { stdout::print(format_args!("{whole:#}\n")) } else { stdout::print(shown::letter(&whole)) }
}

/// Deals with what was named, or page by page with all that is wanted.
async fn deal(which: Which, dealing: Dealing, overrides: &Overrides, env: &Env) -> anyhow::Result<bool> {
    let Which { ids, all, filter, dry_run, json, server } = which;
    if dry_run {
        let source = Source::open(overrides, env).await?;
        return plan(&source, ids, filter.wanted(now()), &dealing, json).await;
    }
    let hands = Hands::find(&server, overrides, env).await?;
    let mut sum = Dealt::default();
    if all {
        let source = Source::open(overrides, env).await?;
        let mut wanted = filter.wanted(now());
        loop {
            let (found, more) = source.page(&wanted, PAGE).await?;
            let found: Vec<Place> = found.iter().map(|(letter, _)| letter.place()).collect();
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
async fn plan(source: &Source, ids: Vec<Place>, mut wanted: Wanted, dealing: &Dealing, as_json: bool) -> anyhow::Result<bool> {
    let mut items = Vec::new();
    let mut well = true;
    let mut add = |letter: &Letter, mark: Option<&Mark>| {
        let item = shown::planned(letter, mark, dealing);
        well &= item["refused"].is_null();
        items.push(item);
    };
    if ids.is_empty() {
        loop {
            let (found, more) = source.page(&wanted, PAGE).await?;
            found.iter().for_each(|(letter, mark)| add(letter, *mark));
            wanted.after = found.last().map(|(letter, _)| letter.place());
            if !more {
                break;
            }
        }
    } else {
        for id in &ids {
            let (letter, mark) = source.one(id).await?;
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
    Log(DeadLetters),
}

impl Hands {
    async fn find(server: &crate::cli::Server, overrides: &Overrides, env: &Env) -> anyhow::Result<Hands> {
        Ok(match Target::find(server, overrides, env).await? {
            Target::Process(client) => Hands::Process(client.patient(PATIENCE)),
            Target::Log(_, log) => Hands::Log(DeadLetters::new(log)),
        })
    }

    async fn deal(&self, places: &[Place], dealing: &Dealing) -> anyhow::Result<Dealt> {
        match self {
            Hands::Log(dead) => Ok(dead.deal(places, dealing, now()).await?),
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
