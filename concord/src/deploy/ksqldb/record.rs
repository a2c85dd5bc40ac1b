//! How far migrations are, where Confluent's `ksql-migrations` keeps it, in its form: either tool goes on with the other's work.
//!
//! A stream of events, `MIGRATION_EVENTS`, and a table of the latest of each key, `MIGRATION_SCHEMA_VERSIONS`. The keys are the versions, and
//! `CURRENT`, which is the version that was begun last.

use super::{
    files::Migration,
    server::{PATIENCE, PAUSE, Server},
    statements::quoted,
};
use anyhow::bail;
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

pub const STREAM: &str = "MIGRATION_EVENTS";
pub const TABLE: &str = "MIGRATION_SCHEMA_VERSIONS";
const CURRENT: &str = "CURRENT";
/// Before the first one.
pub const NONE: &str = "<none>";
pub const MIGRATED: &str = "MIGRATED";
const RUNNING: &str = "RUNNING";
const ERROR: &str = "ERROR";
/// As much of an error as is kept.
const LONGEST_REASON: usize = 2_000;

/// What the table says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub version: String,
    pub state: String,
    pub checksum: String,
    /// The version that was migrated before.
    pub previous: String,
}

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub stream: bool,
    pub table: bool,
    pub current: Option<Row>,
    pub versions: BTreeMap<u32, Row>,
}

impl Found {
    /// The last version that is migrated, in the table's words.
    pub fn last(&self) -> &str {
        match &self.current {
            Some(row) if row.state == MIGRATED => &row.version,
            Some(row) => &row.previous,
            None => NONE,
        }
    }
}

pub async fn look(server: &Server, migrations: &[Migration]) -> anyhow::Result<Found> {
    let sources = server.sources().await?;
    let mut found = Found { stream: sources.contains(STREAM), table: sources.contains(TABLE), ..Found::default() };
    if found.table {
        found.current = row(server, CURRENT).await?;
        for migration in migrations {
            if let Some(row) = row(server, &migration.version.to_string()).await? {
                found.versions.insert(migration.version, row);
            }
        }
    }
    Ok(found)
}

async fn row(server: &Server, key: &str) -> anyhow::Result<Option<Row>> {
    let query = format!("SELECT version, state, checksum, previous FROM {TABLE} WHERE version_key = {};", quoted(key));
    let rows = server.rows(&query).await?;
    let text = |value: Option<&Json>| value.and_then(Json::as_str).unwrap_or_default().to_owned();
    Ok(rows.first().map(|row| Row {
        version: text(row.first()),
        state: text(row.get(1)),
        checksum: text(row.get(2)),
        previous: text(row.get(3)),
    }))
}

/// Why a migration failed, as whoever ran it wrote; tables of older tools do not have it.
pub async fn reason(server: &Server, version: u32) -> Option<String> {
    let query = format!("SELECT error_reason FROM {TABLE} WHERE version_key = '{version}';");
    let rows = server.rows(&query).await.ok()?;
    rows.first()?.first()?.as_str().filter(|reason| !reason.is_empty()).map(str::to_owned)
}

/// Makes what is missing of stream and table. `replicas`: of their topics; the brokers' default without it.
pub async fn initialise(server: &mut Server, found: &Found, replicas: Option<i32>) -> anyhow::Result<()> {
    let topics = format!("{}ksql_", server.service_id().await?);
    let replicas = replicas.map(|factor| format!(", REPLICAS={factor}")).unwrap_or_default();
    // Also what a stream held that was made before its table.
    let properties = BTreeMap::from([("auto.offset.reset".to_owned(), "earliest".to_owned())]);
    if !found.stream {
        let sql = format!(
            "CREATE STREAM {STREAM} (version_key STRING KEY, version STRING, name STRING, state STRING, checksum STRING, started_on STRING, \
             completed_on STRING, previous STRING, error_reason STRING) WITH (KAFKA_TOPIC={}, VALUE_FORMAT='JSON', PARTITIONS=1{replicas});",
            quoted(&format!("{topics}{STREAM}"))
        );
        server.run(&sql, &properties).await?;
    }
    if !found.table {
        let latest = ["version", "name", "state", "checksum", "started_on", "completed_on", "previous", "error_reason"];
        let latest: String = latest.iter().map(|column| format!(", latest_by_offset({column}) AS {column}")).collect();
        let sql = format!(
            "CREATE TABLE {TABLE} WITH (KAFKA_TOPIC={}) AS SELECT version_key{latest} FROM {STREAM} GROUP BY version_key;",
            quoted(&format!("{topics}{TABLE}"))
        );
        server.run(&sql, &properties).await?;
    }
    Ok(())
}

/// A migration under way.
pub struct Entry<'a> {
    migration: &'a Migration,
    previous: String,
    started: String,
}

impl<'a> Entry<'a> {
    /// `previous`: the last one that was migrated.
    pub async fn begin(server: &mut Server, migration: &'a Migration, previous: &str) -> anyhow::Result<Entry<'a>> {
        let entry = Entry { migration, previous: previous.to_owned(), started: now() };
        entry.write(server, RUNNING, "", "N/A").await?;
        Ok(entry)
    }

    /// It is migrated once the table says so.
    pub async fn end(self, server: &mut Server) -> anyhow::Result<()> {
        self.write(server, MIGRATED, &now(), "N/A").await?;
        let deadline = Instant::now() + PATIENCE;
        for key in [CURRENT.to_owned(), self.migration.version.to_string()] {
            while !row(server, &key).await?.is_some_and(|row| row.version == self.migration.version.to_string() && row.state == MIGRATED) {
                if Instant::now() > deadline {
                    bail!("{} was applied, and {TABLE} does not say so; look at the query that fills it", self.migration.title());
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    pub async fn failed(self, server: &mut Server, reason: &str) -> anyhow::Result<()> {
        let reason: String = reason.chars().take(LONGEST_REASON).collect();
        self.write(server, ERROR, &now(), &reason).await
    }

    async fn write(&self, server: &mut Server, state: &str, completed: &str, reason: &str) -> anyhow::Result<()> {
        let version = self.migration.version.to_string();
        // What looks like a variable would be taken for one.
        let reason = reason.replace("${", "$ {");
        for key in [CURRENT, &version] {
            let values =
                [key, &version, &self.migration.name, state, &self.migration.checksum, &self.started, completed, &self.previous, &reason];
            let sql = format!(
                "INSERT INTO {STREAM} (version_key, version, name, state, checksum, started_on, completed_on, previous, error_reason) VALUES ({});",
                values.map(quoted).join(", ")
            );
            server.run(&sql, &BTreeMap::new()).await?;
        }
        Ok(())
    }
}

/// Milliseconds since 1970, as text.
fn now() -> String {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis()).to_string()
}
