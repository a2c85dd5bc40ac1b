//! `concord deploy --destroy`: everything of Concord's goes, nothing of a customer's does.

use super::{
    database::{pool, product},
    kafka::Brokers,
    log::{FILE, open},
    removal::Removal,
};
use crate::{config::Config, stdout};
use anyhow::{Context, bail};
use clients::postgres::{self, Table, TableError};
use std::{
    io::{BufRead, IsTerminal, Write},
    path::Path,
};

pub async fn run(config: &Config, yes: bool) -> anyhow::Result<bool> {
    let on_brokers = match &config.kafka {
        Some(kafka) => Some(Removal::look(config, Brokers::reach(config, kafka).await?).await?),
        None => None,
    };
    let log = config.data_dir.join(FILE);
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
    if let Some((name, table)) = product(config) {
        going.push(format!("the triggers concord_{name}_… on {}", table.table));
        going.push("the schema concord in DATABASE_URL: outbox, fences, golden tables".into());
        kept.push(format!("{} and all its rows", table.table));
    }
    let list = |lines: &[String]| lines.iter().map(|it| format!("  - {it}\n")).collect::<String>();
    eprint!("This takes away for ever:\n{}", list(&going));
    if let [one] = kept.as_slice() {
        eprintln!("It keeps {one}.");
    } else if !kept.is_empty() {
        eprint!("It keeps:\n{}", list(&kept));
    }
    if !yes && !agreed()? {
        bail!("nothing was taken away");
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
    if let Some((name, config_of_table)) = product(config) {
        let pool = pool(config)?;
        let mut db = pool.acquire().await.map_err(|error| anyhow::anyhow!("DATABASE_URL: {}", postgres::message(&error)))?;
        match Table::inspect(&mut db, config_of_table).await {
            Ok(table) => postgres::detach(&pool, name, &table).await?,
            Err(TableError::NoTable(_)) => {}
            Err(error) => return Err(error.into()),
        }
        sqlx::query("DROP SCHEMA IF EXISTS concord CASCADE")
            .execute(&mut *db)
            .await
            .map_err(|error| anyhow::anyhow!("{}", postgres::message(&error)))?;
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

/// Whether a person says so. A script must say `--yes`.
fn agreed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("not asked, since standard input is no terminal: give --yes as well. Nothing was taken away");
    }
    eprint!("Type `destroy` to go on: ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim() == "destroy")
}
