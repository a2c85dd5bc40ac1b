//! The product's database: the schema `concord`, the table that Concord may own, the triggers.

use super::plan::{State, Step};
use crate::{
    config::{Config, Kind},
    reader::Reader,
    run::began::BEGAN,
};
use anyhow::{Context, bail};
use clients::postgres::{self, Drift, Table, TableConfig, TableError, acting};
use connect::cursors;
use schemas::System;
use sinks::product::log_cursor;
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use std::ops::ControlFlow;
use streams::TopicPartition;

/// The configured product, if there is one.
pub fn product(config: &Config) -> Option<(&System, &TableConfig)> {
    config.systems.iter().find_map(|(name, system)| match &system.kind {
        Kind::Postgres(table) => Some((name, table)),
        _ => None,
    })
}

pub fn pool(config: &Config) -> anyhow::Result<PgPool> {
    let url = config.database_url.as_ref().map(|url| url.reveal().to_string()).unwrap_or_default();
    postgres::pool(&url, 2).map_err(sql)
}

/// `log`: the one at hand, if there is one yet.
pub async fn plan(config: &Config, log: Option<&Reader>) -> anyhow::Result<Vec<Step>> {
    let Some((name, table)) = product(config) else { return Ok(Vec::new()) };
    let began = match log {
        Some(log) => cursor(log, BEGAN).await?,
        None => None,
    };
    let pool = pool(config)?;
    let mut db = pool.acquire().await.map_err(sql)?;
    let others = acting::others(&mut db, &began.unwrap_or_default()).await.map_err(sql)?;
    if !others.is_empty() {
        let refused = State::Refused(acting::ActError::Another(others).to_string());
        return Ok(vec![Step::new("postgres", "database", refused)]);
    }
    let drift = postgres::drift(&mut db, name, table).await.with_context(|| format!("{name}: looking at {}", table.table))?;
    Ok(steps(&drift, table))
}

fn steps(drift: &Drift, table: &TableConfig) -> Vec<Step> {
    let list = |names: &[String]| names.join(", ");
    let state = |missing: &[String], what: &str| match missing {
        [] => State::Same,
        missing => State::Create(format!("{what}{}", list(missing))),
    };
    let schema = match drift.unknown.as_slice() {
        [] => state(&drift.migrations, "migrations "),
        unknown => State::Refused(format!(
            "a newer build migrated it ({}): this one does not know what it means",
            unknown.iter().map(|version| format!("{version:04}")).collect::<Vec<_>>().join(", ")
        )),
    };
    let mut steps = vec![Step::new("postgres", "schema concord", schema)];
    if table.owned {
        let state = if drift.table { State::Create("the table, with its triggers".into()) } else { State::Same };
        steps.push(Step::new("postgres", table.table.clone(), state));
    }
    if !drift.table {
        steps.push(Step::new("postgres", format!("triggers on {}", table.table), state(&drift.triggers, "")));
        let functions = if drift.functions.is_empty() { State::Same } else { State::Change(list(&drift.functions)) };
        steps.push(Step::new("postgres", "functions of the triggers", functions));
    }
    steps
}

pub async fn apply(config: &Config) -> anyhow::Result<()> {
    let Some((name, table)) = product(config) else { return Ok(()) };
    let pool = pool(config)?;
    postgres::open(&pool, name, table).await.with_context(|| format!("{name}: preparing {}", table.table))?;
    pool.close().await;
    Ok(())
}

/// What a removal has to do with.
pub struct Product<'a> {
    pub name: &'a System,
    pub table: &'a TableConfig,
    /// Whether the schema `concord` is: without it there are no triggers.
    pub is_there: bool,
    pool: PgPool,
    db: PoolConnection<Postgres>,
}

impl<'a> Product<'a> {
    /// Connects; none: no product is configured.
    pub async fn reach(config: &'a Config) -> anyhow::Result<Option<Product<'a>>> {
        let Some((name, table)) = product(config) else { return Ok(None) };
        let pool = pool(config)?;
        let mut db = pool.acquire().await.map_err(sql)?;
        let there = sqlx::query_scalar("SELECT to_regnamespace('concord') IS NOT NULL").fetch_one(&mut *db).await;
        Ok(Some(Product { name, table, is_there: there.map_err(sql)?, pool, db }))
    }

    /// Refuses what was made for another log than the one that is here: it may be another Concord's.
    pub async fn is_of(&mut self, log: Option<&Reader>) -> anyhow::Result<()> {
        let made_for = acting::logs(&mut self.db).await.map_err(sql)?;
        let here = match log {
            Some(log) => cursor(log, &log_cursor(self.name)).await?,
            None => None,
        };
        if let Some(other) = made_for.iter().find(|log| here.as_ref() != Some(log)) {
            let here = here.map_or_else(|| "there is none here".to_owned(), |here| format!("here is {here}"));
            bail!(
                "DATABASE_URL: its schema concord was made for the log {other}, and {here}: it may be another Concord's. Give the folder or the \
                 brokers of that log; if that log is gone, --allow other-log. Nothing was taken away"
            );
        }
        Ok(())
    }

    /// Sees to it that nobody works with it from now on.
    pub async fn hold(&mut self) -> anyhow::Result<()> {
        let Err(acting) = acting::nobody_acts(&mut self.db).await.map_err(sql)? else { return Ok(()) };
        bail!("Concord is running with this database ({}); stop it first. Nothing was taken away", acting::told(&acting));
    }

    pub async fn remove(mut self) -> anyhow::Result<()> {
        match Table::inspect(&mut self.db, self.table).await {
            Ok(table) => postgres::detach(&self.pool, self.name, &table).await?,
            Err(TableError::NoTable(_)) => {}
            Err(error) => return Err(error.into()),
        }
        sqlx::query("DROP SCHEMA IF EXISTS concord CASCADE").execute(&mut *self.db).await.map_err(sql)?;
        Ok(())
    }
}

/// What a cursor is, in a log that may have none.
async fn cursor(log: &Reader, name: &str) -> anyhow::Result<Option<String>> {
    let (partition, mut found) = (TopicPartition::new(cursors::CURSORS_TOPIC, 0), None);
    if !log.has(&partition)? {
        return Ok(None);
    }
    let (from, end) = log.ends(&partition).await?;
    let take = |record: streams::ConsumerRecord| {
        if record.key.as_deref() == Some(name.as_bytes()) {
            found = record.value.map(|value| String::from_utf8_lossy(&value).into_owned());
        }
        ControlFlow::Continue(())
    };
    log.scan(&partition, from, end, take).await?;
    Ok(found)
}

fn sql(error: sqlx::Error) -> anyhow::Error {
    anyhow::anyhow!("DATABASE_URL: {}", postgres::message(&error))
}
