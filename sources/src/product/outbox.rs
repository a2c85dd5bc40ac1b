//! Taking the outbox: its rows are read, published, and removed once the log has them.
//!
//! A row is taken by being there. No position is kept that could pass a row which commits late, so a slow transaction is
//! neither skipped nor does it hold anybody up.

use super::{chunk::Chunk, message::OutboxRow};
use clients::postgres::Shape;
use sqlx::{PgConnection, Row, postgres::PgRow};
use std::collections::HashMap;

/// Results of one append, or a few more: those of an outbox row stay together.
pub const BATCH: i64 = 2_000;

/// The shapes of the outbox's arrays, read as they turn up.
#[derive(Debug, Default)]
pub struct Shapes {
    known: HashMap<i32, Shape>,
}

impl Shapes {
    pub fn get(&self, number: Option<i32>) -> Option<&Shape> {
        self.known.get(&number?)
    }

    /// Reads those that are not known yet.
    pub async fn learn(&mut self, db: &mut PgConnection, rows: &[OutboxRow]) -> Result<(), sqlx::Error> {
        let unknown: Vec<i32> = rows.iter().filter_map(|r| r.shape).filter(|n| !self.known.contains_key(n)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let found: Vec<(i32, Vec<String>)> =
            sqlx::query_as("SELECT shape, slots FROM concord.shapes WHERE shape = ANY ($1)").bind(unknown).fetch_all(db).await?;
        for (number, slots) in found {
            if let Ok(slots) = slots.iter().map(|s| s.parse()).collect::<Result<_, _>>() {
                self.known.insert(number, Shape { slots });
            }
        }
        Ok(())
    }
}

/// The first results that are there, in order of number: as many outbox rows as it takes to have [`BATCH`] of them.
pub async fn rows(db: &mut PgConnection, system: &str) -> Result<Vec<OutboxRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT number, (extract(epoch FROM at) * 1000)::bigint AS at, kind, incarnation, external_id, shape, \
                CASE WHEN isfinite(stamp) THEN (extract(epoch FROM stamp) * 1000)::bigint END AS stamp, write_id, outcome, refused_field, reason, \
                coalesce(taken, false) AS taken, notices::text AS notices, ids, incarnations, \
                CASE WHEN ids IS NULL THEN fields ELSE ARRAY(SELECT unnest(fields)) END AS fields, \
                CASE WHEN ids IS NULL THEN previous ELSE ARRAY(SELECT unnest(previous)) END AS previous, \
                CASE WHEN ids IS NOT NULL THEN ARRAY(SELECT CASE WHEN isfinite(s) THEN (extract(epoch FROM s) * 1000)::bigint END FROM unnest(stamps) s) END AS stamps \
         FROM concord.outbox \
         WHERE system = $1 AND number <= ( \
             SELECT max(number) FROM ( \
                 SELECT number, sum(coalesce(cardinality(ids), 1)) OVER (ORDER BY number) - coalesce(cardinality(ids), 1) AS before \
                 FROM concord.outbox WHERE system = $1 ORDER BY number LIMIT $2) f \
             WHERE before < $2) \
         ORDER BY number LIMIT $2",
    )
    .bind(system)
    .bind(BATCH)
    .fetch_all(db)
    .await?;
    let mut all = Vec::with_capacity(rows.len());
    for from in &rows {
        let row = row(from)?;
        match chunk(from)? {
            Some(chunk) => all.extend(chunk.apart(row)),
            None => all.push(row),
        }
    }
    Ok(all)
}

/// Removes rows that the log has.
pub async fn remove(db: &mut PgConnection, numbers: &[i64]) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM concord.outbox WHERE number = ANY ($1)").bind(numbers).execute(db).await?;
    Ok(())
}

/// The last number that was given.
pub async fn last_number(db: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM concord.outbox_number").fetch_one(db).await
}

/// Whether every row up to this number that a read wrote is taken.
pub async fn reads_taken(db: &mut PgConnection, system: &str, up_to: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT NOT EXISTS (SELECT FROM concord.outbox WHERE system = $1 AND kind = 'r' AND number <= $2)")
        .bind(system)
        .bind(up_to)
        .fetch_one(db)
        .await
}

fn chunk(row: &PgRow) -> Result<Option<Chunk>, sqlx::Error> {
    let Some(ids) = row.try_get("ids")? else { return Ok(None) };
    Ok(Some(Chunk { ids, incarnations: row.try_get("incarnations")?, stamps: row.try_get("stamps")? }))
}

fn row(row: &PgRow) -> Result<OutboxRow, sqlx::Error> {
    let letter = |of: i8| char::from(of.unsigned_abs());
    Ok(OutboxRow {
        number: row.try_get("number")?,
        place: None,
        at: row.try_get("at")?,
        kind: letter(row.try_get("kind")?),
        incarnation: row.try_get("incarnation")?,
        external_id: row.try_get("external_id")?,
        shape: row.try_get("shape")?,
        stamp: row.try_get("stamp")?,
        fields: row.try_get("fields")?,
        previous: row.try_get("previous")?,
        write_id: row.try_get("write_id")?,
        outcome: row.try_get::<Option<i8>, _>("outcome")?.map(letter),
        refused_field: row.try_get("refused_field")?,
        reason: row.try_get("reason")?,
        taken: row.try_get("taken")?,
        notices: row.try_get("notices")?,
    })
}
