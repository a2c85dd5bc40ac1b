//! The usual case of a batch, in one statement for all requests that set and expect the same columns.

use super::{
    batch::{Batch, index, number},
    job::{Slots, bits, fence_id, mask},
    statements::{Statements, UNDISTURBED},
};
use clients::postgres::Table;
use schemas::Action;
use sqlx::{AssertSqlSafe, Connection, Postgres, Transaction};
use std::collections::BTreeMap;
use uuid::Uuid;

impl Batch<'_> {
    /// The usual case in one statement: nobody has the rows locked, they show what is expected, nothing is refused, and no
    /// trigger of the owner's writes to the table in turn. Where anything else comes up, nothing has happened, and each
    /// request is looked at.
    ///
    /// Returns false if it was such a trigger.
    pub(super) async fn quick(
        &mut self,
        tx: &mut Transaction<'_, Postgres>,
        statements: &mut Statements,
        table: &Table,
    ) -> Result<bool, sqlx::Error> {
        let mut groups: BTreeMap<(u64, u64), Vec<Quick>> = BTreeMap::new();
        for (n, job) in self.jobs.iter().enumerate() {
            let (Action::Write(write), slots) = (&job.action, &self.slots[n]) else { continue };
            let masks = (mask(&slots.set), mask(&slots.expected));
            if masks.0 != 0 && table.key.kind.accepts(&job.key) {
                let write_id = write.id.to_string();
                let fence = fence_id(self.log, &write_id);
                groups.entry(masks).or_default().push(Quick { n, key: &job.key, incarnation: write.incarnation, write_id, fence, slots });
            }
        }
        if groups.is_empty() {
            return Ok(true);
        }
        let mut inner = tx.begin().await?;
        match quick(&mut inner, statements, groups).await {
            Ok(Some(done)) => {
                inner.commit().await?;
                self.quick.extend(done);
                Ok(true)
            }
            Ok(None) => {
                inner.rollback().await?;
                Ok(false)
            }
            Err(error) if error.as_database_error().is_some() => {
                inner.rollback().await?;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}

/// A write as the quick statement takes it.
struct Quick<'a> {
    n: usize,
    fence: Uuid,
    write_id: String,
    key: &'a str,
    incarnation: i64,
    slots: &'a Slots,
}

/// Compares, sets, fences and tells; an id that is fenced already is an error. `None`: a trigger of the owner's wrote to the
/// table, too.
async fn quick(
    tx: &mut Transaction<'_, Postgres>,
    statements: &mut Statements,
    groups: BTreeMap<(u64, u64), Vec<Quick<'_>>>,
) -> Result<Option<Vec<usize>>, sqlx::Error> {
    let mut done: Vec<usize> = Vec::new();
    for ((set, expected), group) in groups {
        let sql = statements.quick(set, expected);
        let mut query = sqlx::query_scalar(AssertSqlSafe(sql.to_string()))
            .bind(group.iter().map(|q| number(q.n)).collect::<Vec<_>>())
            .bind(group.iter().map(|q| q.fence).collect::<Vec<_>>())
            .bind(group.iter().map(|q| q.write_id.as_str()).collect::<Vec<_>>())
            .bind(group.iter().map(|q| q.key).collect::<Vec<_>>())
            .bind(group.iter().map(|q| q.incarnation).collect::<Vec<_>>());
        for slot in bits(set) {
            query = query.bind(group.iter().map(|q| q.slots.set[slot].as_deref()).collect::<Vec<_>>());
        }
        for slot in bits(expected) {
            query = query.bind(group.iter().map(|q| q.slots.expected[slot].as_deref()).collect::<Vec<_>>());
        }
        let rows: Vec<i32> = query.fetch_all(&mut **tx).await?;
        let undisturbed: bool = sqlx::query_scalar(UNDISTURBED).bind(rows.len().to_string()).fetch_one(&mut **tx).await?;
        if !undisturbed {
            return Ok(None);
        }
        done.extend(rows.into_iter().map(index));
    }
    Ok(Some(done))
}
