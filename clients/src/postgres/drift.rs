//! What [`open`](super::open) would still do: looked at, and left as it is.

use super::{
    attach::{AttachError, MIGRATIONS, TOUCH, missing, touched},
    config::TableConfig,
    table::{Table, TableError, slots_literal},
    trigger::Triggers,
};
use schemas::System;
use sqlx::{AssertSqlSafe, PgConnection};

/// What is not as it must be in the product's database. The plain: everything is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    /// Migrations of the schema `concord` that are still to run, as `0002 chunks`.
    pub migrations: Vec<String>,
    /// The table that Concord makes itself is not there.
    pub table: bool,
    /// Triggers that are not on the table, or are disabled.
    pub triggers: Vec<String>,
    /// Functions that are not there, or do what another build's, or another mapping's, do.
    pub functions: Vec<String>,
    /// Migrations that this build does not know: the database is a newer build's.
    pub unknown: Vec<i64>,
}

impl Drift {
    pub fn is_none(&self) -> bool {
        *self == Drift::default()
    }
}

/// Compares the database with what this build and this configuration want. An own table that is missing is drift; somebody else's is an error.
pub async fn drift(db: &mut PgConnection, system: &System, config: &TableConfig) -> Result<Drift, AttachError> {
    let mut drift = Drift::default();
    let there: bool = sqlx::query_scalar("SELECT to_regclass('concord.migrations') IS NOT NULL").fetch_one(&mut *db).await?;
    let done: Vec<i64> = match there {
        true => sqlx::query_scalar("SELECT version FROM concord.migrations WHERE success ORDER BY version").fetch_all(&mut *db).await?,
        false => Vec::new(),
    };
    let pending = MIGRATIONS.iter().filter(|(version, ..)| !done.contains(version));
    drift.migrations = pending.map(|(version, name, _)| format!("{version:04} {name}")).collect();
    drift.unknown = done.into_iter().filter(|version| !MIGRATIONS.iter().any(|(known, ..)| known == version)).collect();

    let table = match Table::inspect(db, config).await {
        Ok(table) => table,
        // Its triggers are made with it.
        Err(TableError::NoTable(_)) if config.owned => return Ok(Drift { table: true, ..drift }),
        Err(error) => return Err(error.into()),
    };
    let shape = match drift.migrations.is_empty() {
        true => {
            let slots = slots_literal(&table.shape());
            let sql = AssertSqlSafe(format!("SELECT shape FROM concord.shapes WHERE slots = {slots}"));
            sqlx::query_scalar::<_, i32>(sql).fetch_optional(&mut *db).await?
        }
        false => None,
    };
    let triggers = Triggers::new(system, &table, shape.unwrap_or(0));
    let (missing, _) = missing(db, &table, &triggers).await?;
    drift.triggers = missing.into_iter().map(|(name, _)| name).collect();
    if config.owned && !touched(db).await? {
        drift.triggers.push(TOUCH.into());
    }
    for (name, body) in triggers.functions.iter().filter_map(|sql| parts(sql)) {
        let there: Option<String> = sqlx::query_scalar(
            "SELECT p.prosrc FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'concord' AND p.proname = $1",
        )
        .bind(name)
        .fetch_optional(&mut *db)
        .await?;
        if there.as_deref() != Some(body) || shape.is_none() {
            drift.functions.push(name.to_owned());
        }
    }
    Ok(drift)
}

/// A function's name without its schema, and what it does.
fn parts(statement: &str) -> Option<(&str, &str)> {
    let name = statement.split("concord.\"").nth(1)?.split('"').next()?;
    Some((name, statement.split("$concord$").nth(1)?))
}
