//! What a transaction does with the requests that it looks at: it locks and compares their rows, writes those that may be
//! written, and tells what became of each.

use super::{
    job::{Job, Slots, fence_id, mask, own_key},
    statements::Statements,
    verdict::{Found, Told},
};
use clients::postgres::{Fault, Reader, Refusal, Table, classify};
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{Action, Create, Field, normalise_email};
use sqlx::{AssertSqlSafe, Connection, Executor, Postgres, Row, Transaction};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Creates that share one savepoint (and are made singly where one of them fails).
const CREATES: usize = 50;

/// How a batch is tried.
#[derive(Debug, Clone)]
pub(super) enum Mode {
    Normal,
    /// Deferred constraints are checked at once, so that each error has its row.
    Immediate,
    /// This one request cannot be made at all: tell so.
    Refuse(Refusal),
}

/// What one transaction is doing.
pub(super) struct Batch<'a> {
    pub(super) jobs: &'a [&'a Job],
    pub(super) log: Uuid,
    pub(super) slots: Vec<Slots>,
    /// What is still to be told of each request.
    pub(super) told: BTreeMap<usize, (i64, Told)>,
    /// Written, fenced and told in one step.
    pub(super) quick: FxHashSet<usize>,
    /// Decided, but not now.
    pub(super) later: FxHashSet<usize>,
    /// In the fence already.
    pub(super) fenced: FxHashSet<usize>,
    /// Keys of the rows that creates made.
    made: Vec<(usize, String)>,
    /// Records whose rows in the outbox are replaced by our answers.
    pub(super) replaced: Vec<&'a str>,
}

impl<'a> Batch<'a> {
    /// Nothing is looked at, written or told yet.
    pub(super) fn new(jobs: &'a [&'a Job], slots: Vec<Slots>, log: Uuid) -> Self {
        Batch {
            jobs,
            log,
            slots,
            told: BTreeMap::new(),
            quick: FxHashSet::default(),
            later: FxHashSet::default(),
            fenced: FxHashSet::default(),
            made: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Locks what can be locked, and finds out how each other record stands.
    pub(super) async fn look(
        &mut self,
        tx: &mut Transaction<'_, Postgres>,
        statements: &Statements,
        reader: &Reader,
    ) -> Result<FxHashMap<usize, Found>, sqlx::Error> {
        let mut found: FxHashMap<usize, Found> = FxHashMap::default();
        let is_open = |n: &usize| !self.quick.contains(n) && !matches!(self.jobs[*n].action, Action::Create(_));
        let open: Vec<i32> = (0..self.jobs.len()).filter(is_open).map(number).collect();
        if open.is_empty() {
            return Ok(found);
        }
        tx.execute(AssertSqlSafe(statements.patience.clone())).await?;
        for row in sqlx::query(AssertSqlSafe(statements.look.clone())).bind(&open).fetch_all(&mut **tx).await? {
            let n = index(row.try_get(0)?);
            found.insert(n, Found::Row { shows: row.try_get(1)?, incarnation: row.try_get(2)? });
            if row.try_get(3)? {
                self.fenced.insert(n);
            }
        }
        let rest: Vec<i32> = open.into_iter().filter(|n| !found.contains_key(&index(*n))).collect();
        if rest.is_empty() {
            return Ok(found);
        }
        let mut absent: Vec<usize> = Vec::new();
        let rows = sqlx::query(AssertSqlSafe(statements.look_again.clone())).bind(&rest).fetch_all(&mut **tx).await?;
        for row in rows {
            let n = index(row.try_get(0)?);
            found.insert(n, Found::Busy);
            if row.try_get(2)? {
                self.fenced.insert(n);
            } else if !row.try_get::<bool, _>(1)? {
                absent.push(n);
            }
        }
        let ids: Vec<String> = absent.iter().map(|&n| self.jobs[n].key.clone()).collect();
        if !ids.is_empty() {
            let locked = reader.lock_absent(tx, &ids).await?;
            for n in absent {
                if let Some(incarnation) = locked.get(&self.jobs[n].key) {
                    found.insert(n, Found::Absent(*incarnation));
                }
            }
            tx.execute(AssertSqlSafe(statements.patience.clone())).await?;
        }
        Ok(found)
    }

    /// Updates row sets by the columns that they set. A unique value may have been freed by a later one of them: once more.
    pub(super) async fn update(
        &mut self,
        tx: &mut Transaction<'_, Postgres>,
        statements: &mut Statements,
        table: &Table,
        groups: BTreeMap<u64, Vec<i32>>,
    ) -> Result<(), sqlx::Error> {
        let mut taken: Vec<(u64, usize)> = Vec::new();
        let mut updated = 0;
        for (mask, group) in groups {
            if mask == 0 {
                continue;
            }
            let sql = statements.update(mask);
            let all: Vec<usize> = group.iter().map(|n| index(*n)).collect();
            updated += self.each(tx, &sql, group, table).await?.len();
            let is_taken = |n: &usize| matches!(self.told.get(n), Some((_, Told::Refused { taken: true, .. })));
            taken.extend(all.into_iter().filter(is_taken).map(|n| (mask, n)));
        }
        if updated == 0 {
            return Ok(());
        }
        for (mask, n) in taken {
            let sql = statements.update(mask);
            if let Some((_, told)) = self.told.get_mut(&n) {
                *told = Told::Done;
            }
            self.each(tx, &sql, vec![number(n)], table).await?;
        }
        Ok(())
    }

    /// Runs a statement for all of these requests; where a row is refused, for half of them, and so on. Returns those done.
    pub(super) async fn each(
        &mut self,
        tx: &mut Transaction<'_, Postgres>,
        sql: &str,
        all: Vec<i32>,
        table: &Table,
    ) -> Result<Vec<usize>, sqlx::Error> {
        let mut done = Vec::with_capacity(all.len());
        let mut todo = vec![all];
        while let Some(group) = todo.pop() {
            if group.is_empty() {
                continue;
            }
            let mut inner = tx.begin().await?;
            match sqlx::query(AssertSqlSafe(sql.to_owned())).bind(&group).fetch_all(&mut *inner).await {
                Ok(rows) => {
                    inner.commit().await?;
                    let rows: FxHashSet<i32> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
                    for n in group {
                        if rows.contains(&n) {
                            done.push(index(n));
                        } else {
                            let reason = "a trigger of the table left the row as it was".to_owned();
                            self.refuse(index(n), &Refusal { reason, ..Refusal::default() });
                        }
                    }
                }
                Err(error) => {
                    inner.rollback().await?;
                    let Fault::Refused(refusal) = classify(&error, table) else { return Err(error) };
                    if let [n] = group[..] {
                        self.refuse(index(n), &refusal);
                    } else {
                        let (a, b) = group.split_at(group.len() / 2);
                        todo.extend([b.to_vec(), a.to_vec()]);
                    }
                }
            }
        }
        Ok(done)
    }

    fn refuse(&mut self, n: usize, refusal: &Refusal) {
        if let Some((_, told)) = self.told.get_mut(&n) {
            *told = refused(self.jobs[n], refusal);
        }
    }

    /// Makes the rows that are not made yet, each with its fence row, or neither.
    pub(super) async fn create(
        &mut self,
        tx: &mut Transaction<'_, Postgres>,
        statements: &mut Statements,
        table: &Table,
        mode: &Mode,
    ) -> Result<(), sqlx::Error> {
        let jobs = self.jobs;
        let creates =
            jobs.iter().enumerate().filter_map(|(n, job)| if let Action::Create(create) = &job.action { Some((n, create)) } else { None });
        let creates: Vec<_> = creates.collect();
        let keys: Vec<Uuid> = creates.iter().map(|(_, create)| fence_id(self.log, &create.key)).collect();
        let made: FxHashSet<Uuid> = sqlx::query_scalar("SELECT id FROM concord.fence WHERE id = ANY ($1)")
            .bind(&keys)
            .fetch_all(&mut **tx)
            .await?
            .into_iter()
            .collect();
        let is_made = |create: &Create| made.contains(&fence_id(self.log, &create.key));
        let mut creates: Vec<_> = creates.into_iter().filter(|(_, create)| !is_made(create)).collect();
        let somebodys = same_email(tx, statements, &creates).await?;
        for n in &somebodys {
            let reason = "a record that was not made from here has this e-mail".to_owned();
            self.told.insert(*n, (0, Told::Held { reason }));
        }
        creates.retain(|(n, _)| !somebodys.contains(n));
        let mut todo: Vec<Vec<_>> = creates.chunks(CREATES).map(<[_]>::to_vec).collect();
        while let Some(group) = todo.pop() {
            if let Mode::Refuse(refusal) = mode {
                for (n, _) in group {
                    self.told.insert(n, (0, not_made(jobs[n], refusal)));
                }
                continue;
            }
            let mut inner = tx.begin().await?;
            let mut made = Vec::with_capacity(group.len());
            let mut failed = None;
            for (n, create) in &group {
                let sql = statements.insert(mask(&self.slots[*n].set));
                let row = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql.to_string()))
                    .bind(number(*n))
                    .bind(fence_id(self.log, &create.key))
                    .bind(own_key(create).to_string())
                    .fetch_optional(&mut *inner)
                    .await;
                match row {
                    Ok(Some(id)) => made.push((*n, id)),
                    Ok(None) => failed = Some(Refusal { reason: "a trigger of the table made no row".into(), ..Refusal::default() }),
                    Err(error) => match classify(&error, table) {
                        Fault::Refused(refusal) if !is_fence(&error) => failed = Some(refusal),
                        // Another process is just making it: it is in the fence then.
                        Fault::Refused(_) | Fault::Again | Fault::Away | Fault::Broken => return Err(error),
                    },
                }
                if failed.is_some() {
                    break;
                }
            }
            match (failed, &group[..]) {
                (None, _) => {
                    inner.commit().await?;
                    self.made.extend(made);
                }
                (Some(refusal), [(n, _)]) => {
                    inner.rollback().await?;
                    self.told.insert(*n, (0, not_made(jobs[*n], &refusal)));
                }
                (Some(_), _) => {
                    inner.rollback().await?;
                    todo.extend(group.iter().map(|one| vec![*one]));
                }
            }
        }
        Ok(())
    }

    /// The last statements: the fence, and one outbox row for each answer not told yet, from the rows as they are now.
    pub(super) async fn tell(
        &mut self,
        tx: &mut Transaction<'_, Postgres>,
        statements: &Statements,
        before: i64,
    ) -> Result<(), sqlx::Error> {
        let jobs = self.jobs;
        let is_create = |n: usize| matches!(jobs[n].action, Action::Create(_));
        let enter: Vec<i32> = (0..jobs.len())
            .filter(|n| !is_create(*n) && ![&self.quick, &self.later, &self.fenced].iter().any(|set| set.contains(n)))
            .map(number)
            .collect();
        if !enter.is_empty() {
            sqlx::query(AssertSqlSafe(statements.fence.clone())).bind(&enter).execute(&mut **tx).await?;
        }
        let mut replaced = std::mem::take(&mut self.replaced);
        replaced.extend(self.made.iter().map(|(_, id)| id.as_str()));
        if !replaced.is_empty() {
            sqlx::query(AssertSqlSafe(statements.replace.clone())).bind(before).bind(&replaced).execute(&mut **tx).await?;
        }
        let (about, without): (Vec<_>, Vec<_>) = self.told.iter().partition(|(n, _)| !is_create(**n));
        if !about.is_empty() {
            let answers = Columns::of(&about);
            let (numbers, incarnations): (Vec<i32>, Vec<i64>) =
                about.iter().map(|(n, (incarnation, _))| (number(**n), *incarnation)).unzip();
            sqlx::query(AssertSqlSafe(statements.answers.clone()))
                .bind(numbers)
                .bind(incarnations)
                .bind(answers.outcomes)
                .bind(answers.fields)
                .bind(answers.reasons)
                .bind(answers.taken)
                .execute(&mut **tx)
                .await?;
        }
        let write_ids = |all: &mut dyn Iterator<Item = usize>| -> Vec<String> {
            all.map(|n| jobs[n].write_id().map(ToString::to_string).unwrap_or_default()).collect()
        };
        if !without.is_empty() {
            let answers = Columns::of(&without);
            sqlx::query(AssertSqlSafe(statements.unmade.clone()))
                .bind(write_ids(&mut without.iter().map(|(n, _)| **n)))
                .bind(answers.outcomes)
                .bind(answers.fields)
                .bind(answers.reasons)
                .bind(answers.taken)
                .execute(&mut **tx)
                .await?;
        }
        if !self.made.is_empty() {
            let ids: Vec<&str> = self.made.iter().map(|(_, id)| id.as_str()).collect();
            sqlx::query(AssertSqlSafe(statements.ours.clone())).bind(&ids).execute(&mut **tx).await?;
            sqlx::query(AssertSqlSafe(statements.made.clone()))
                .bind(ids)
                .bind(write_ids(&mut self.made.iter().map(|(n, _)| *n)))
                .execute(&mut **tx)
                .await?;
        }
        Ok(())
    }
}

/// Of these creates, those whose e-mail a record has that we did not make.
async fn same_email(
    tx: &mut Transaction<'_, Postgres>,
    statements: &Statements,
    creates: &[(usize, &Create)],
) -> Result<FxHashSet<usize>, sqlx::Error> {
    let email = |create: &Create| normalise_email(create.set.get(&Field::Email)?.as_text()?);
    let (numbers, emails): (Vec<i32>, Vec<String>) = creates.iter().filter_map(|(n, create)| Some((number(*n), email(create)?))).unzip();
    let Some(sql) = statements.same_email.as_ref().filter(|_| !numbers.is_empty()) else { return Ok(FxHashSet::default()) };
    let rows: Vec<i32> = sqlx::query_scalar(AssertSqlSafe(sql.clone())).bind(numbers).bind(emails).fetch_all(&mut **tx).await?;
    Ok(rows.into_iter().map(index).collect())
}

/// Answers, column by column.
struct Columns {
    outcomes: Vec<&'static str>,
    fields: Vec<Option<String>>,
    reasons: Vec<Option<String>>,
    taken: Vec<Option<bool>>,
}

impl Columns {
    fn of(told: &[(&usize, &(i64, Told))]) -> Self {
        let mut columns = Columns { outcomes: Vec::new(), fields: Vec::new(), reasons: Vec::new(), taken: Vec::new() };
        for (_, (_, told)) in told {
            columns.outcomes.push(told.letter());
            let (field, reason, taken) = match told {
                Told::Refused { field, reason, taken } => (field.as_ref().map(ToString::to_string), Some(reason.clone()), Some(*taken)),
                Told::Held { reason } => (None, Some(reason.clone()), None),
                Told::Done | Told::MovedOn | Told::Gone => (None, None, None),
            };
            columns.fields.push(field);
            columns.reasons.push(reason);
            columns.taken.push(taken);
        }
        columns
    }
}

pub(super) fn refused(job: &Job, refusal: &Refusal) -> Told {
    Told::Refused { field: job.refused_field(&refusal.fields), reason: refusal.reason.clone(), taken: refusal.taken }
}

/// A create whose unique value somebody has waits for it; any other refusal is final.
fn not_made(job: &Job, refusal: &Refusal) -> Told {
    if refusal.taken { Told::Held { reason: refusal.reason.clone() } } else { refused(job, refusal) }
}

fn is_fence(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|e| e.constraint()) == Some("fence_pkey")
}

/// A request's number in the batch's table. A batch has a few thousand at the most.
pub(super) fn number(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

pub(super) fn index(n: i32) -> usize {
    usize::try_from(n).unwrap_or_default()
}
