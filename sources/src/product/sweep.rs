//! Reading the whole table into the outbox: the first time (a backfill), and whenever changes may have gone unnoticed.
//!
//! Rows that somebody has locked are come back for; nobody is waited for, and nobody waits for more than a batch.

use clients::postgres::{Attached, Reader};
use schemas::System;
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::BTreeSet;

/// Rows that are share-locked at a time.
pub const BATCH: i64 = 500;

/// A walk through the table in order of key.
pub struct Sweep {
    reader: Reader,
    page: String,
    first_page: String,
    missing: String,
    system: String,
    after: Option<String>,
    /// Keys that were locked when they had their turn.
    busy: BTreeSet<String>,
    at_end: bool,
}

impl Sweep {
    /// `after`: where an earlier walk had come to.
    pub fn new(system: &System, attached: &Attached, after: Option<String>) -> Self {
        let table = &attached.table;
        let (t, key, id) = (table.sql(), table.key_of("t"), table.id_of("t"));
        Sweep {
            reader: Reader::new(system, attached),
            page: format!("SELECT {id} FROM {t} t WHERE {key} > {} ORDER BY {key} LIMIT {BATCH}", table.as_key("$1")),
            first_page: format!("SELECT {id} FROM {t} t ORDER BY {key} LIMIT {BATCH}"),
            // What was there once, by the crosswalk or by its insert, and has no row now.
            missing: format!(
                "SELECT k.id FROM (
                    SELECT c.external_id AS id FROM concord.crosswalk c WHERE c.system = $1 AND NOT c.deleted
                    UNION SELECT i.external_id FROM concord.incarnations i WHERE i.system = $1 AND i.live) k
                 LEFT JOIN {t} t ON {id} = k.id WHERE {key} IS NULL"
            ),
            system: system.to_string(),
            after,
            busy: BTreeSet::new(),
            at_end: false,
        }
    }

    /// The key that everything up to is read; `None` at the start.
    pub fn position(&self) -> Option<&str> {
        // What is busy is not read: a later walk must begin before it.
        if self.busy.is_empty() { self.after.as_deref() } else { None }
    }

    /// Every row had its turn; what was locked then is left.
    pub fn at_end(&self) -> bool {
        self.at_end
    }

    /// How many rows are waited for.
    pub fn busy(&self) -> usize {
        self.busy.len()
    }

    /// Reads the next batch and says how many rows it had.
    pub async fn next(&mut self, db: &mut PgConnection) -> Result<usize, sqlx::Error> {
        let ids: Vec<String> = match &self.after {
            Some(after) => sqlx::query_scalar(AssertSqlSafe(self.page.clone())).bind(after).fetch_all(&mut *db).await?,
            None => sqlx::query_scalar(AssertSqlSafe(self.first_page.clone())).fetch_all(&mut *db).await?,
        };
        match ids.last() {
            Some(last) => self.after = Some(last.clone()),
            None => self.at_end = true,
        }
        self.read(db, &ids).await?;
        Ok(ids.len())
    }

    /// Tries what was locked again.
    pub async fn again(&mut self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        let ids: Vec<String> = std::mem::take(&mut self.busy).into_iter().collect();
        for ids in ids.chunks(usize::try_from(BATCH).unwrap_or(500)) {
            self.read(db, ids).await?;
        }
        Ok(())
    }

    /// Reads every key that was there once and has no row now.
    pub async fn missing(&mut self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        let ids: Vec<String> = sqlx::query_scalar(AssertSqlSafe(self.missing.clone())).bind(&self.system).fetch_all(&mut *db).await?;
        for ids in ids.chunks(usize::try_from(BATCH).unwrap_or(500)) {
            self.read(db, ids).await?;
        }
        Ok(())
    }

    async fn read(&mut self, db: &mut PgConnection, ids: &[String]) -> Result<(), sqlx::Error> {
        if !ids.is_empty() {
            self.busy.extend(self.reader.read(db, ids, &vec![None; ids.len()]).await?);
        }
        Ok(())
    }
}
