//! Concord's own objects in the product's database, and the triggers on the product's table.

use super::{
    config::{TableConfig, quote},
    error::message,
    table::{Table, TableError, slots_literal},
    trigger::Triggers,
};
use schemas::System;
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, PgPool, SqlSafeStr,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};
use std::time::Duration;

/// How long an attempt to attach may wait for the table's lock; every writer that comes meanwhile waits behind it.
const LOCK_STEP: Duration = Duration::from_millis(50);
/// The pause before the next attempt: writers that waited get through.
const LOCK_PAUSE: Duration = Duration::from_millis(450);

/// Why the product's table could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("migrating the schema concord: {0}")]
    Migrate(MigrateError),
    #[error("{what}: {}", message(.error))]
    Sql { what: &'static str, error: sqlx::Error },
}

impl From<sqlx::Error> for AttachError {
    fn from(error: sqlx::Error) -> Self {
        AttachError::Sql { what: "attaching to the product's table", error }
    }
}

impl From<MigrateError> for AttachError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                AttachError::Sql { what: "migrating the schema concord", error }
            }
            error => AttachError::Migrate(error),
        }
    }
}

/// The schema `concord`, step by step: number, name, SQL.
pub(super) const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "concord", include_str!("migrations/0001_concord.sql")),
    (2, "chunks", include_str!("migrations/0002_chunks.sql")),
    (3, "json", include_str!("migrations/0003_json.sql")),
    (4, "golden", include_str!("migrations/0004_golden.sql")),
];

/// Makes the schema `concord` or brings it up to date; several processes may do so at once.
pub async fn migrate(db: &PgPool) -> Result<(), AttachError> {
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let mut migrator = Migrator::with_migrations(MIGRATIONS.into_iter().map(migration).collect());
    migrator.dangerous_set_table_name("concord.migrations");
    // Without the right to make a schema, one that is there is enough.
    let there: bool = sqlx::query_scalar("SELECT to_regnamespace('concord') IS NOT NULL").fetch_one(db).await?;
    if !there {
        let mut one = db.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('concord'))").execute(&mut *one).await?;
        sqlx::query("CREATE SCHEMA IF NOT EXISTS concord").execute(&mut *one).await?;
        one.commit().await?;
    }
    loop {
        let mut one = db.acquire().await?;
        let Err(error) = migrator.run_direct(None, &mut *one, false).await else { return Ok(()) };
        // The migrator keeps its lock where it fails; it goes with the connection.
        one.close().await?;
        match &error {
            MigrateError::ExecuteMigration(sql, _) | MigrateError::Execute(sql) if super::error::code(sql).as_deref() == Some("55P03") => {
                tracing::info!("waiting for open transactions to bring the schema concord up to date");
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            _ => return Err(error.into()),
        }
    }
}

/// The configured table, made first if it is Concord's own.
pub async fn prepare(db: &PgPool, config: &TableConfig) -> Result<Table, AttachError> {
    if config.owned {
        let mut one = db.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('concord'))").execute(&mut *one).await?;
        // Replacing the trigger would lock the table each time.
        if !touched(&mut one).await? {
            one.execute(include_str!("owned.sql")).await?;
        }
        one.commit().await?;
    }
    let mut one = db.acquire().await?;
    Ok(Table::inspect(&mut one, config).await?)
}

/// The trigger of the table that Concord owns: it keeps `updated_at`.
pub(super) const TOUCH: &str = "concord_touch";

/// Whether the table that Concord owns is there, with that trigger.
pub(super) async fn touched(db: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = to_regclass('public.customers') AND tgname = $1)")
        .bind(TOUCH)
        .fetch_one(db)
        .await
}

/// An attached table.
#[derive(Debug, Clone)]
pub struct Attached {
    pub table: Table,
    /// The number of the table's [`Shape`](super::Shape) in outbox rows.
    pub shape: i32,
    /// Another text whenever changes may have gone unnoticed: new triggers, other columns.
    pub identity: String,
}

/// All of it: [`migrate`], [`prepare`] and [`attach`]. Changes nothing that is there already.
pub async fn open(db: &PgPool, system: &System, config: &TableConfig) -> Result<Attached, AttachError> {
    migrate(db).await?;
    let table = prepare(db, config).await?;
    attach(db, system, table).await
}

/// Puts the triggers on the table, or replaces their functions if they are there.
///
/// Once this returns, no transaction is open that changed the table without them. Open transactions are waited for, in
/// steps short enough that nobody who writes to the table waits for more than a moment.
pub async fn attach(db: &PgPool, system: &System, table: Table) -> Result<Attached, AttachError> {
    let mut one = db.acquire().await?;
    let shape = shape(&mut one, &table).await?;
    let triggers = Triggers::new(system, &table, shape);
    sqlx::query("INSERT INTO concord.products (system) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(system.as_str())
        .execute(&mut *one)
        .await?;
    {
        let mut together = one.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('concord'))").execute(&mut *together).await?;
        for function in &triggers.functions {
            together.execute(AssertSqlSafe(function.clone())).await?;
        }
        together.commit().await?;
    }
    let mut attempts = 0u32;
    let mut overtaken = 0u32;
    loop {
        let (missing, identity) = missing(&mut one, &table, &triggers).await?;
        if missing.is_empty() {
            return Ok(Attached { table, shape, identity: format!("{shape} {identity}") });
        }
        let statements: Vec<&str> = missing.iter().map(|(_, sql)| sql.as_str()).collect();
        match create(&mut one, &table, &statements).await {
            Ok(()) => tracing::info!(%system, table = table.sql(), "attached to the product's table"),
            Err(error) if super::error::code(&error).as_deref() == Some("55P03") => {
                if attempts.is_multiple_of(60) {
                    tracing::info!(%system, table = table.sql(), "waiting for open transactions to attach to the product's table");
                }
                attempts += 1;
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            // Somebody else attached between our look and our lock. (More often than that, it is a trigger that is disabled.)
            Err(error) if super::error::code(&error).as_deref() == Some("42710") && overtaken < 3 => overtaken += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes the triggers off the table again (a clean uninstall; the schema `concord` stays).
pub async fn detach(db: &PgPool, system: &System, table: &Table) -> Result<(), AttachError> {
    let triggers = Triggers::new(system, table, 0);
    let mut one = db.begin().await?;
    for (name, _) in &triggers.triggers {
        let sql = format!("DROP TRIGGER IF EXISTS {} ON {}", quote(name), table.sql());
        one.execute(AssertSqlSafe(sql)).await?;
    }
    one.commit().await?;
    Ok(())
}

/// The number of this set of slots.
async fn shape(db: &mut PgConnection, table: &Table) -> Result<i32, sqlx::Error> {
    let slots = slots_literal(&table.shape());
    let insert = format!("INSERT INTO concord.shapes (slots) VALUES ({slots}) ON CONFLICT DO NOTHING");
    db.execute(AssertSqlSafe(insert)).await?;
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT shape FROM concord.shapes WHERE slots = {slots}"))).fetch_one(db).await
}

/// The triggers that are not there (or are disabled) with their statements, and the numbers of those that are.
pub(super) async fn missing(
    db: &mut PgConnection,
    table: &Table,
    triggers: &Triggers,
) -> Result<(Vec<(String, String)>, String), sqlx::Error> {
    let there: Vec<(String, String)> = sqlx::query_as(
        "SELECT t.tgname::text, t.oid::text FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2 AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') ORDER BY t.oid",
    )
    .bind(&table.schema)
    .bind(&table.name)
    .fetch_all(db)
    .await?;
    let ours = |wanted: &str| triggers.triggers.iter().any(|(name, _)| name == wanted);
    let numbers: Vec<&str> = there.iter().filter(|(name, _)| ours(name)).map(|(_, number)| number.as_str()).collect();
    let is_there = |wanted: &str| there.iter().any(|(name, _)| name == wanted);
    let missing = triggers.triggers.iter().filter(|(name, _)| !is_there(name)).cloned().collect();
    Ok((missing, numbers.join(" ")))
}

async fn create(db: &mut PgConnection, table: &Table, statements: &[&str]) -> Result<(), sqlx::Error> {
    let mut together = db.begin().await?;
    let lock = format!("SET LOCAL lock_timeout = {}; LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", LOCK_STEP.as_millis(), table.sql());
    together.execute(AssertSqlSafe(lock)).await?;
    for statement in statements {
        together.execute(AssertSqlSafe(statement.to_string())).await?;
    }
    together.commit().await
}
