//! A batch of requests, in one SQL transaction: look, decide, write, and tell.

use super::{
    batch::{Batch, Mode, number, refused},
    job::{Job, Slots, copy_text, mask},
    statements::Statements,
    verdict::{Found, Told, Verdict, Wish, decide},
};
use clients::postgres::{Attached, Fault, Reader, Shape, Table, classify, error::code};
use rustc_hash::FxHashSet;
use schemas::{Action, System};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Writes batches over one connection.
pub struct Writer {
    db: PgConnection,
    table: Table,
    shape: Shape,
    statements: Statements,
    reader: Reader,
    /// The log that the fence's ids are of.
    log: Uuid,
    /// No trigger of the owner's was seen to write to the table after our writes: what a write returns is what is stored.
    undisturbed: bool,
}

impl Writer {
    /// Prepares a connection: nobody else uses it.
    pub async fn new(mut db: PgConnection, system: &System, attached: Attached) -> Result<Self, sqlx::Error> {
        // A role called like our schema would find our tables before the owner's.
        let shadowed: bool = sqlx::query_scalar("SELECT 'concord' = ANY (current_schemas(false))").fetch_one(&mut db).await?;
        if shadowed {
            db.execute("SET search_path = public").await?;
        }
        let (table, shape, reader) = (attached.table.clone(), attached.table.shape(), Reader::new(system, &attached));
        let statements = Statements::new(system, attached);
        db.execute(AssertSqlSafe(statements.batch.clone())).await?;
        let log: Option<Uuid> =
            sqlx::query_scalar("SELECT log FROM concord.products WHERE system = $1").bind(system.as_str()).fetch_one(&mut db).await?;
        Ok(Writer { db, table, shape, statements, reader, log: log.unwrap_or_default(), undisturbed: true })
    }

    /// Carries the requests out, each about another record, and says which are finished: decided, with their answers in the
    /// outbox. The others are to be tried again later: somebody has their rows locked.
    ///
    /// An error concerns them all; nothing is decided then that is not told.
    pub async fn apply(&mut self, jobs: &[&Job]) -> Result<Vec<bool>, sqlx::Error> {
        let mut finished = vec![false; jobs.len()];
        let (reads, writes): (Vec<usize>, Vec<usize>) = (0..jobs.len()).partition(|&n| matches!(jobs[n].action, Action::Read(_)));
        if !reads.is_empty() {
            self.read(jobs, &reads, &mut finished).await?;
        }
        let mut todo = vec![(writes, Mode::Normal, 0)];
        while let Some((group, mode, attempts)) = todo.pop() {
            if group.is_empty() {
                continue;
            }
            let these: Vec<&Job> = group.iter().map(|&n| jobs[n]).collect();
            let error = match self.attempt(&these, &mode).await {
                Ok(done) => {
                    group.iter().zip(done).for_each(|(&n, done)| finished[n] = done);
                    continue;
                }
                Err(error) => error,
            };
            let halves = |mode: Mode| {
                let (a, b) = group.split_at(group.len() / 2);
                [(b.to_vec(), mode.clone(), 0), (a.to_vec(), mode, 0)]
            };
            match (classify(&error, &self.table), &mode) {
                // The whole transaction failed, at COMMIT or before anything was tried.
                (Fault::Refused(_), Mode::Normal) => todo.push((group, Mode::Immediate, 0)),
                (Fault::Refused(refusal), Mode::Immediate) if group.len() == 1 => todo.push((group, Mode::Refuse(refusal), 0)),
                (Fault::Refused(_), Mode::Immediate) => todo.extend(halves(mode)),
                (Fault::Again, _) if attempts == 0 && code(&error).as_deref() != Some("55P03") => todo.push((group, mode, 1)),
                (Fault::Again, _) if group.len() > 1 => todo.extend(halves(mode)),
                (Fault::Again, _) => {}
                (Fault::Refused(_) | Fault::Away | Fault::Broken, _) => return Err(error),
            }
        }
        Ok(finished)
    }

    /// Forgets decided writes that are older than this (an SQL interval), a slice at a time.
    pub async fn prune(&mut self, older_than: &str) -> Result<(), sqlx::Error> {
        loop {
            let slice = "DELETE FROM concord.fence WHERE id IN \
                         (SELECT id FROM concord.fence WHERE at < now() - $1::interval LIMIT 10000)";
            let gone = sqlx::query(slice).bind(older_than).execute(&mut self.db).await?.rows_affected();
            if gone < 10_000 {
                return Ok(());
            }
        }
    }

    async fn read(&mut self, jobs: &[&Job], reads: &[usize], finished: &mut [bool]) -> Result<(), sqlx::Error> {
        let ids: Vec<String> = reads.iter().map(|&n| jobs[n].key.clone()).collect();
        let notices: Vec<Option<String>> = reads
            .iter()
            .map(|&n| match &jobs[n].action {
                Action::Read(read) if !read.notices.is_empty() => serde_json::to_string(&read.notices).ok(),
                _ => None,
            })
            .collect();
        let busy: FxHashSet<String> = self.reader.read(&mut self.db, &ids, &notices).await?.into_iter().collect();
        for &n in reads {
            finished[n] = !busy.contains(&jobs[n].key);
        }
        Ok(())
    }

    async fn attempt(&mut self, jobs: &[&Job], mode: &Mode) -> Result<Vec<bool>, sqlx::Error> {
        let Writer { db, table, shape, statements, reader, log, undisturbed } = self;
        let mut tx = db.begin_with(AssertSqlSafe(statements.begin.clone())).await?;
        if matches!(mode, Mode::Immediate) {
            tx.execute("SET CONSTRAINTS ALL IMMEDIATE").await?;
        }
        let slots = |job: &&Job| if matches!(mode, Mode::Refuse(_)) { Slots::default() } else { job.slots(shape) };
        let mut batch = Batch::new(jobs, jobs.iter().map(slots).collect(), *log);
        if matches!(mode, Mode::Normal) && *undisturbed {
            *undisturbed = batch.quick(&mut tx, statements, table).await?;
        }
        let rest: Vec<usize> = (0..jobs.len()).filter(|n| !batch.quick.contains(n)).collect();
        if !rest.is_empty() {
            let mut copy = tx.copy_in_raw(&statements.copy).await?;
            copy.send(copy_text(jobs, &rest, &batch.slots, table, *log).into_bytes()).await?;
            copy.finish().await?;
        }
        let found = batch.look(&mut tx, statements, reader).await?;
        let (mut updates, mut deletes): (BTreeMap<u64, Vec<i32>>, Vec<i32>) = (BTreeMap::new(), Vec::new());
        let mut unnumbered: Vec<&str> = Vec::new();
        for (&n, &found) in &found {
            let wish = match &jobs[n].action {
                Action::Write(write) => Wish::Write { incarnation: write.incarnation },
                Action::Delete(delete) => Wish::Delete { incarnation: delete.incarnation },
                Action::Read(_) | Action::Create(_) => continue,
            };
            let incarnation = match found {
                Found::Row { incarnation, .. } => incarnation,
                Found::Absent(incarnation) => incarnation.number,
                Found::Busy => 0,
            };
            match (decide(wish, batch.fenced.contains(&n), found), mode) {
                (Verdict::Later, _) => {
                    batch.later.insert(n);
                }
                (Verdict::Nothing, _) => {}
                (Verdict::TellDeleted, _) => {
                    unnumbered.push(&jobs[n].key);
                    batch.told.insert(n, (incarnation, Told::Gone));
                }
                (Verdict::MovedOn, _) => {
                    batch.told.insert(n, (incarnation, Told::MovedOn));
                }
                (Verdict::Update | Verdict::Delete, Mode::Refuse(refusal)) => {
                    batch.told.insert(n, (incarnation, refused(jobs[n], refusal)));
                }
                (Verdict::Update, _) => {
                    batch.told.insert(n, (incarnation, Told::Done));
                    updates.entry(mask(&batch.slots[n].set)).or_default().push(number(n));
                }
                (Verdict::Delete, _) => {
                    batch.told.insert(n, (incarnation, Told::Done));
                    deletes.push(number(n));
                }
            }
        }
        let creates = jobs.iter().any(|job| matches!(job.action, Action::Create(_)));
        let before: i64 = if creates || !deletes.is_empty() {
            sqlx::query_scalar("SELECT last_value - 1 FROM concord.outbox_number").fetch_one(&mut *tx).await?
        } else {
            0
        };
        let unanswered: Vec<i32> = found.keys().filter(|n| !batch.told.contains_key(n)).map(|n| number(*n)).collect();
        if !unanswered.is_empty() {
            sqlx::query(statements.unanswered).bind(unanswered).execute(&mut *tx).await?;
        }
        batch.update(&mut tx, statements, table, updates).await?;
        let delete = statements.delete.clone();
        let deleted = batch.each(&mut tx, &delete, deletes, table).await?;
        batch.replaced.extend(deleted.into_iter().map(|n| jobs[n].key.as_str()));
        if !unnumbered.is_empty() {
            reader.number_deletes(&mut tx, &unnumbered).await?;
        }
        if creates {
            tx.execute(AssertSqlSafe(statements.patience.clone())).await?;
            batch.create(&mut tx, statements, table, mode).await?;
        }
        tx.execute(AssertSqlSafe(statements.quiet.clone())).await?;
        batch.tell(&mut tx, statements, before).await?;
        tx.commit().await?;
        Ok((0..jobs.len()).map(|n| !batch.later.contains(&n)).collect())
    }
}
