//! A batch of requests, in one SQL transaction: look, decide, write, and tell.

use super::{
    job::{Job, Slots, bits, copy_text, fence_id, mask, own_key},
    statements::{Statements, UNDISTURBED},
    verdict::{Found, Told, Verdict, Wish, decide},
};
use clients::postgres::{Attached, Fault, Reader, Refusal, Shape, Table, classify, error::code};
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{Action, Create, Field, System, normalise_email};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Postgres, Row, Transaction};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Creates that share one savepoint (and are made singly where one of them fails).
const CREATES: usize = 50;

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

/// How a batch is tried.
#[derive(Debug, Clone)]
enum Mode {
    Normal,
    /// Deferred constraints are checked at once, so that each error has its row.
    Immediate,
    /// This one request cannot be made at all: tell so.
    Refuse(Refusal),
}

/// What one transaction is doing.
struct Batch<'a> {
    jobs: &'a [&'a Job],
    log: Uuid,
    slots: Vec<Slots>,
    /// What is still to be told of each request.
    told: BTreeMap<usize, (i64, Told)>,
    /// Written, fenced and told in one step.
    quick: FxHashSet<usize>,
    /// Decided, but not now.
    later: FxHashSet<usize>,
    /// In the fence already.
    fenced: FxHashSet<usize>,
    /// Keys of the rows that creates made.
    made: Vec<(usize, String)>,
    /// Records whose rows in the outbox are replaced by our answers.
    replaced: Vec<&'a str>,
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
        let mut batch = Batch {
            jobs,
            log: *log,
            slots: jobs.iter().map(slots).collect(),
            told: BTreeMap::new(),
            quick: FxHashSet::default(),
            later: FxHashSet::default(),
            fenced: FxHashSet::default(),
            made: Vec::new(),
            replaced: Vec::new(),
        };
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

impl<'a> Batch<'a> {
    /// The usual case in one statement: nobody has the rows locked, they show what is expected, nothing is refused, and no
    /// trigger of the owner's writes to the table in turn. Where anything else comes up, nothing has happened, and each
    /// request is looked at.
    ///
    /// Returns false if it was such a trigger.
    async fn quick(&mut self, tx: &mut Transaction<'_, Postgres>, statements: &mut Statements, table: &Table) -> Result<bool, sqlx::Error> {
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

    /// Locks what can be locked, and finds out how each other record stands.
    async fn look(
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
    async fn update(
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
    async fn each(
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
    async fn create(
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
    async fn tell(&mut self, tx: &mut Transaction<'_, Postgres>, statements: &Statements, before: i64) -> Result<(), sqlx::Error> {
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

fn refused(job: &Job, refusal: &Refusal) -> Told {
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
fn number(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn index(n: i32) -> usize {
    usize::try_from(n).unwrap_or_default()
}
