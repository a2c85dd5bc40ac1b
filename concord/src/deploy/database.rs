//! The product's database: the schema `concord`, the table that Concord may own, the triggers.

use super::plan::{State, Step};
use crate::config::{Config, Kind};
use anyhow::Context;
use clients::postgres::{self, Drift, TableConfig};
use schemas::System;
use sqlx::PgPool;

/// The configured product, if there is one.
pub fn product(config: &Config) -> Option<(&System, &TableConfig)> {
    config.systems.iter().find_map(|(name, system)| match &system.kind {
        Kind::Postgres(table) => Some((name, table)),
        _ => None,
    })
}

pub fn pool(config: &Config) -> anyhow::Result<PgPool> {
    let url = config.database_url.as_ref().map(|url| url.reveal().to_string()).unwrap_or_default();
    postgres::pool(&url, 2).map_err(|error| anyhow::anyhow!("DATABASE_URL: {}", postgres::message(&error)))
}

pub async fn plan(config: &Config) -> anyhow::Result<Vec<Step>> {
    let Some((name, table)) = product(config) else { return Ok(Vec::new()) };
    let pool = pool(config)?;
    let mut db = pool.acquire().await.map_err(|error| anyhow::anyhow!("DATABASE_URL: {}", postgres::message(&error)))?;
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
