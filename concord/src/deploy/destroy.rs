//! `concord deploy --destroy`: everything of Concord's goes, nothing of a customer's does.

use super::{
    Allow,
    database::Product,
    kafka::Brokers,
    log::{FILE, open},
    removal::{NOTHING, Removal},
};
use crate::{config::Config, stdout};
use anyhow::{Context, bail};
use std::{
    io::{BufRead, IsTerminal, Write},
    path::Path,
};

pub async fn run(config: &Config, yes: bool, allow: &[Allow]) -> anyhow::Result<bool> {
    let log = config.data_dir.join(FILE);
    // Both are reached before anything goes: else half of it would be gone.
    let brokers = match &config.kafka {
        Some(kafka) => Some(Brokers::reach(config, kafka).await?),
        None => None,
    };
    let mut product = Product::reach(config).await?;
    if let Some(product) = &mut product
        && !allow.contains(&Allow::OtherLog)
    {
        product.is_of(super::at_hand(config, brokers.as_ref()).await?.as_ref()).await?;
    }
    let on_brokers = match brokers {
        Some(brokers) => Some(Removal::look(config, brokers).await?),
        None => None,
    };
    let mut going = Vec::new();
    let mut kept = Vec::new();
    match &on_brokers {
        Some(removal) => {
            going.extend(removal.going());
            kept.extend(removal.kept());
        }
        None if log.exists() => {
            going.push(format!("the log in {}: topics, schemas, stores, who is linked to whom", config.data_dir.display()));
        }
        None => {}
    }
    if let Some(Product { name, table, .. }) = product.as_ref().filter(|product| product.is_there) {
        going.push(format!("the triggers concord_{name}_… on {}", table.table));
        going.push("the schema concord in DATABASE_URL: outbox, fences, golden tables".into());
        kept.push(format!("{} and all its rows", table.table));
    }
    if going.is_empty() {
        stdout::print("Nothing of Concord's is there.\n")?;
        return Ok(true);
    }
    let list = |lines: &[String]| lines.iter().map(|it| format!("  - {it}\n")).collect::<String>();
    eprint!("This takes away for ever:\n{}", list(&going));
    if let [one] = kept.as_slice() {
        eprintln!("It keeps {one}.");
    } else if !kept.is_empty() {
        eprint!("It keeps:\n{}", list(&kept));
    }
    if !yes && !agreed("destroy", NOTHING)? {
        bail!("nothing was taken away");
    }
    if let Some(removal) = &on_brokers {
        removal.idle()?;
    }
    if let Some(product) = &mut product {
        product.hold().await?;
    }
    match on_brokers {
        Some(removal) => removal.apply().await?,
        None if log.exists() => {
            // Only who has the folder may take it away: a process that runs would go on writing.
            let held = open(config)?;
            tokio::task::spawn_blocking(move || held.close()).await?;
            for suffix in ["", "-wal", "-shm"] {
                let file = config.data_dir.join(format!("{FILE}{suffix}"));
                gone(&file, std::fs::remove_file(&file))?;
            }
        }
        None => {}
    }
    if let Some(product) = product {
        product.remove().await?;
    }
    stdout::print("Taken away.\n")?;
    Ok(true)
}

/// Whether a path is gone, if it ever was there.
pub fn gone(path: &Path, removed: std::io::Result<()>) -> anyhow::Result<()> {
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context(path.display().to_string()),
        _ => Ok(()),
    }
}

/// Whether a person types the word. A script must say `--yes`. `nothing`: what is told of a script that does not.
pub fn agreed(word: &str, nothing: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("not asked, since standard input is no terminal: give --yes as well. {nothing}");
    }
    eprint!("Type `{word}` to go on: ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim() == word)
}
