//! Reading records into the outbox: a result like any other, numbered under its row's lock.
//!
//! Nobody is waited for: a row that somebody has locked is left out, and said to be.

use super::{attach::Attached, table::Table};
use schemas::System;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use std::collections::{HashMap, HashSet};

/// How long a key's incarnation may be waited for; somebody is then just inserting or deleting the row.
const LOCK_WAIT_MS: u32 = 50;

/// The statements that read a table.
#[derive(Debug, Clone)]
pub struct Reader {
    system: String,
    table: Table,
    present: String,
    absent: String,
    lock: &'static str,
    there: String,
}

/// A key's number of returns, under its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incarnation {
    pub number: i64,
    /// No delete of it was numbered.
    pub live: bool,
}

impl Reader {
    pub fn new(system: &System, attached: &Attached) -> Self {
        let (table, shape) = (&attached.table, attached.shape);
        let key = table.as_key("x.id");
        Reader {
            system: system.to_string(),
            table: table.clone(),
            // The locking subquery is planned on its own, so numbers and times are taken once the rows are locked.
            present: format!(
                "INSERT INTO concord.outbox (kind, system, external_id, incarnation, shape, stamp, fields, notices)
                 SELECT 'r', $1, x.id, coalesce(i.incarnation, 0), {shape}, {stamp}, {fields}, x.notices::jsonb
                 FROM unnest($2::text[], $3::text[]) AS x(id, notices) JOIN {t} t ON {key_t} = {key}
                 LEFT JOIN concord.incarnations i ON i.system = $1 AND i.external_id = x.id AND i.incarnation > 0
                 FOR SHARE OF t SKIP LOCKED
                 RETURNING external_id",
                t = table.sql(),
                key_t = table.key_of("t"),
                stamp = table.stamp_of("t"),
                fields = table.fields_of("t"),
            ),
            absent: "WITH gone AS (UPDATE concord.incarnations SET live = false WHERE system = $1 AND external_id = ANY ($2) RETURNING external_id, incarnation)
                     INSERT INTO concord.outbox (kind, system, external_id, incarnation, notices)
                     SELECT 'r', $1, g.external_id, g.incarnation, x.notices::jsonb
                     FROM gone g JOIN unnest($2::text[], $3::text[]) AS x(id, notices) ON x.id = g.external_id"
                .into(),
            lock: "SELECT external_id, incarnation, live FROM concord.incarnations WHERE system = $1 AND external_id = ANY ($2) FOR UPDATE SKIP LOCKED",
            there: format!(
                "SELECT x.id FROM unnest($1::text[]) AS x(id) JOIN {t} t ON {key_t} = {key}",
                t = table.sql(),
                key_t = table.key_of("t")
            ),
        }
    }

    /// Writes one outbox row for each of these records, as it is or as deleted, and returns those that somebody had locked.
    /// `notices`: json for each id, or nothing.
    ///
    /// A transaction of its own.
    pub async fn read(&self, db: &mut PgConnection, ids: &[String], notices: &[Option<String>]) -> Result<Vec<String>, sqlx::Error> {
        let mut one = db.begin().await?;
        let (mut good, mut strange) = (Vec::new(), Vec::new());
        for (id, notices) in ids.iter().zip(notices) {
            // No row can have such a key, and casting it would be an error.
            if self.table.key.kind.accepts(id) { good.push((id, notices)) } else { strange.push((id, notices)) }
        }
        let (good_ids, good_notices): (Vec<&String>, Vec<&Option<String>>) = good.iter().copied().unzip();
        let rows = sqlx::query(AssertSqlSafe(self.present.clone()))
            .bind(&self.system)
            .bind(&good_ids)
            .bind(&good_notices)
            .fetch_all(&mut *one)
            .await?;
        let read: HashSet<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let mut rest: Vec<(&String, &Option<String>)> = good.into_iter().filter(|(id, _)| !read.contains(*id)).collect();
        rest.append(&mut strange);
        sqlx::query("SELECT pg_notify($1, $2)").bind(super::CHANNEL).bind(&self.system).execute(&mut *one).await?;
        if rest.is_empty() {
            one.commit().await?;
            return Ok(Vec::new());
        }
        let ids: Vec<String> = rest.iter().map(|(id, _)| (*id).clone()).collect();
        let absent = self.lock_absent(&mut one, &ids).await?;
        let (told, notices): (Vec<&String>, Vec<&Option<String>>) = rest.iter().copied().filter(|(id, _)| absent.contains_key(*id)).unzip();
        if !told.is_empty() {
            sqlx::query(AssertSqlSafe(self.absent.clone())).bind(&self.system).bind(&told).bind(&notices).execute(&mut *one).await?;
        }
        one.commit().await?;
        Ok(ids.into_iter().filter(|id| !absent.contains_key(id)).collect())
    }

    /// Of these keys, those that have no row, with their incarnation, locked until the transaction ends: nobody numbers an
    /// insert of them before. Keys left out have a row, or somebody is busy with them.
    pub async fn lock_absent(&self, db: &mut PgConnection, ids: &[String]) -> Result<HashMap<String, Incarnation>, sqlx::Error> {
        let mut inner = db.begin().await?;
        inner.execute(AssertSqlSafe(format!("SET LOCAL lock_timeout = {LOCK_WAIT_MS}"))).await?;
        // Their order is that of every other insert of several, so that two of them never wait for each other.
        let made = sqlx::query(
            "INSERT INTO concord.incarnations (system, external_id, incarnation, live) \
             SELECT $1, x.id, 0, true FROM unnest($2::text[]) AS x(id) ORDER BY 2 ON CONFLICT DO NOTHING",
        )
        .bind(&self.system)
        .bind(ids)
        .execute(&mut *inner)
        .await;
        match made {
            Ok(_) => {}
            Err(error) if super::error::code(&error).as_deref() == Some("55P03") => {
                inner.rollback().await?;
                return Ok(HashMap::new());
            }
            Err(error) => return Err(error),
        }
        let rows = sqlx::query(self.lock).bind(&self.system).bind(ids).fetch_all(&mut *inner).await?;
        let mut locked = HashMap::new();
        for row in &rows {
            locked.insert(row.try_get::<String, _>(0)?, Incarnation { number: row.try_get(1)?, live: row.try_get(2)? });
        }
        // A statement of its own, so that it sees what was committed before the locks were had.
        let castable: Vec<&String> = locked.keys().filter(|id| self.table.key.kind.accepts(id)).collect();
        let there: Vec<String> = sqlx::query_scalar(AssertSqlSafe(self.there.clone())).bind(&castable).fetch_all(&mut *inner).await?;
        for id in there {
            locked.remove(&id);
        }
        inner.commit().await?;
        Ok(locked)
    }

    /// These keys' deletes are numbered now: of rows that [`lock_absent`](Self::lock_absent) found missing.
    pub async fn number_deletes(&self, db: &mut PgConnection, ids: &[&str]) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE concord.incarnations SET live = false WHERE system = $1 AND external_id = ANY ($2)")
            .bind(&self.system)
            .bind(ids)
            .execute(db)
            .await?;
        Ok(())
    }
}
