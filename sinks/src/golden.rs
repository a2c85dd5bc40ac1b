//! The golden tables: `customers.unified` and `customers.conflicts`, for SQL users and the HTTP API.
//!
//! They are derived: a log that this group has not read before fills them from empty. A batch is one SQL transaction, with how far the
//! tables have come by it, and the group's offsets are committed after it; a batch that comes again changes nothing, since a row keeps
//! the greatest version. Tables that have not come as far as the group (the database was restored from a backup) go on from where they
//! are.

use clients::postgres::{self, message};
use connect::{ConnectError, Health};
use rustc_hash::FxHashMap;
use schemas::{AvroCodec, CustomerConflict, CustomerId, Field, Millis, Registry, UnifiedCustomer, Value, normalise_email, value_subject};
use serde_json::{Value as Json, json};
use sqlx::{Connection, PgConnection, Postgres, Transaction, postgres::PgPoolOptions};
use std::time::Duration;
use streams::{
    ConsumerRecord, Follow, Log, TopicPartition,
    embedded::{Append, LogError},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The consumer group.
pub const GROUP: &str = "concord-sink-golden";
const UNIFIED: &str = "customers.unified";
const CONFLICTS: &str = "customers.conflicts";

/// Records of one partition in a batch.
const BATCH: usize = 500;
/// Pauses after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// What it is made of.
#[derive(Clone)]
pub struct Options {
    pub database_url: String,
    /// What tells this log from others: no two act on a database at once.
    pub log: String,
}

/// The sink.
pub struct Golden {
    log: Log,
    unified: AvroCodec<UnifiedCustomer>,
    conflicts: AvroCodec<CustomerConflict>,
    options: Options,
    health: watch::Sender<Health>,
    places: Vec<TopicPartition>,
    /// Up to where each is in the tables, as far as it is known.
    next: Vec<i64>,
    /// What comes into them, at the same places.
    follow: Follow,
    /// The log is new to this group: what is in the tables is another log's.
    fresh: bool,
}

/// Why it stops: the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    #[error("reading {0}")]
    Log(&'static str, #[source] LogError),
    #[error("a batch cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// What one transaction writes.
#[derive(Default)]
struct Batch {
    customers: FxHashMap<CustomerId, UnifiedCustomer>,
    conflicts: Vec<CustomerConflict>,
    /// Where each partition is after it.
    ends: Vec<(usize, i64)>,
}

impl Golden {
    /// The topics must exist. Nothing is asked of Postgres yet.
    pub async fn new(log: &Log, registry: &Registry, options: Options) -> Result<Self, ConnectError> {
        let failed = |source| ConnectError::Log { action: format!("reading {UNIFIED}"), source };
        let schema = |topic: &str| {
            let topic = topic.to_string();
            move |source| ConnectError::Schema { topic, source }
        };
        let unified = registry.codec(&value_subject(UNIFIED)).map_err(schema(UNIFIED))?;
        let conflicts = registry.codec(&value_subject(CONFLICTS)).map_err(schema(CONFLICTS))?;
        log.create_group(GROUP, &[UNIFIED, CONFLICTS]).await.map_err(failed)?;
        let (mut places, mut all) = (Vec::new(), Vec::new());
        // Nothing was read of this log yet. (The group itself is there already, at the beginning of each partition.)
        let mut fresh = true;
        for topic in log.topics().into_iter().filter(|topic| topic.name == UNIFIED || topic.name == CONFLICTS) {
            for partition in 0..topic.partitions {
                let tp = TopicPartition::new(topic.name.as_str(), partition);
                let next = log.next(GROUP, &tp).await.map_err(failed)?;
                fresh &= next <= log.beginning_offset(&tp).await.map_err(failed)?;
                all.push(next);
                places.push(tp);
            }
        }
        let follow = log.follow(from(&places, &all)).await.map_err(failed)?;
        let health = watch::Sender::new(Health::Ok);
        Ok(Golden { log: log.clone(), unified, conflicts, options, health, places, next: all, follow, fresh })
    }

    /// Whether Postgres takes what comes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Writes what comes until `shutdown`. While Postgres is away it waits, and says so.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), GoldenError> {
        let mut pause = PAUSES.0;
        let mut db: Option<PgConnection> = None;
        // Taken and not written yet.
        let mut batch = Batch::default();
        while !shutdown.is_cancelled() {
            if batch.ends.is_empty() {
                batch = self.read()?;
            }
            if batch.ends.is_empty() && db.is_some() {
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    ready = self.follow.ready(|_| true) => ready.map_err(|e| GoldenError::Log(GROUP, e))?,
                }
                continue;
            }
            let written = match &mut db {
                Some(one) => self.write(one, &batch).await.map(|()| true).map_err(|error| message(&error)),
                None => self.begin(&mut batch).await?.map(|one| {
                    db = Some(one);
                    false
                }),
            };
            match written {
                Ok(true) => {
                    self.commit(std::mem::take(&mut batch)).await?;
                    pause = PAUSES.0;
                    self.health.send_if_modified(|health| std::mem::replace(health, Health::Ok) != Health::Ok);
                }
                Ok(false) => {
                    self.health.send_if_modified(|health| std::mem::replace(health, Health::Ok) != Health::Ok);
                }
                Err(error) => {
                    // Whatever comes next may be another database.
                    db = None;
                    tracing::warn!(error, pause_ms = pause.as_millis() as u64, "The golden tables cannot be written; trying again.");
                    self.health.send_replace(Health::Degraded(error));
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
        Ok(())
    }

    /// Connects, makes the tables, empties them of another log, and goes on from where they are; or why it cannot.
    async fn begin(&mut self, batch: &mut Batch) -> Result<Result<PgConnection, String>, GoldenError> {
        let mut db = match open(&self.options).await {
            Ok(db) => db,
            Err(error) => return Ok(Err(error)),
        };
        Ok(match self.settle(&mut db, batch).await? {
            Ok(()) => Ok(db),
            Err(error) => Err(message(&error)),
        })
    }

    async fn settle(&mut self, db: &mut PgConnection, batch: &mut Batch) -> Result<Result<(), sqlx::Error>, GoldenError> {
        let found = match there(db, &self.options.log, &self.places).await {
            Ok(there) => there,
            Err(error) => return Ok(Err(error)),
        };
        let mut next = found.next;
        if self.fresh || found.of_another_log {
            let emptied = match emptied(db).await {
                Ok(emptied) => emptied,
                Err(error) => return Ok(Err(error)),
            };
            // A process that stood still meanwhile, and does not act any more, would empty what another has filled: the log tells it.
            let nothing = self.places.iter().map(|tp| (GROUP.to_owned(), tp.clone(), 0)).take(1).collect();
            let append = Append { records: Vec::new(), offsets: nothing };
            self.log.append(append).await.map_err(|error| GoldenError::Log(GROUP, error))?;
            if let Err(error) = emptied.commit().await {
                return Ok(Err(error));
            }
            self.fresh = false;
            next.fill(0);
        }
        if next.iter().zip(&self.next).any(|(next, known)| next < known) {
            tracing::warn!("The golden tables in Postgres have not come as far as this log was read: they are filled from where they are.");
            self.next = next.into_iter().zip(&self.next).map(|(next, known)| next.min(*known)).collect();
            *batch = Batch::default();
            self.follow = self.log.follow(from(&self.places, &self.next)).await.map_err(|error| GoldenError::Log(GROUP, error))?;
        }
        Ok(Ok(()))
    }

    /// The batch; one by one where Postgres has something against some of it.
    async fn write(&self, db: &mut PgConnection, batch: &Batch) -> Result<(), sqlx::Error> {
        let ends = |batch: &Batch| -> Json {
            let ends = batch.ends.iter().filter_map(|(n, end)| Some((self.places.get(*n)?, *end)));
            let row = |(tp, next): (&TopicPartition, i64)| json!({"topic": &*tp.topic, "partition": tp.partition, "next": next, "log": self.options.log});
            ends.map(row).collect()
        };
        match write(db, batch, &ends(batch)).await {
            Err(error) if is_refused(&error) => write_each(db, batch, &ends(batch)).await,
            outcome => outcome,
        }
    }

    /// What is there of every partition.
    fn read(&mut self) -> Result<Batch, GoldenError> {
        let mut batch = Batch::default();
        for n in 0..self.places.len() {
            let records = self.follow.take(n, BATCH, 4 << 20).map_err(|e| GoldenError::Log(GROUP, e))?;
            let Some(last) = records.last() else { continue };
            batch.ends.push((n, last.offset + 1));
            for record in &records {
                self.take(record, &mut batch);
            }
        }
        Ok(batch)
    }

    fn take(&self, record: &ConsumerRecord, batch: &mut Batch) {
        let Some(value) = record.value.as_deref() else { return };
        let taken = if &*record.topic == UNIFIED {
            self.unified.decode(value).map(|customer| {
                batch.customers.insert(customer.customer_id, customer);
            })
        } else {
            self.conflicts.decode(value).map(|conflict| batch.conflicts.push(conflict))
        };
        if let Err(error) = taken {
            metrics::counter!("concord_golden_undecodable_total").increment(1);
            tracing::error!(topic = %record.topic, partition = record.partition, offset = record.offset, %error, "A record cannot be read; it is passed over.");
        }
    }

    async fn commit(&mut self, batch: Batch) -> Result<(), GoldenError> {
        let mut append = Append::default();
        for (n, end) in batch.ends {
            let Some(tp) = self.places.get(n) else { continue };
            self.next[n] = end;
            append = append.with_offset(GROUP, tp.clone(), end);
        }
        metrics::counter!("concord_golden_customers_total").increment(batch.customers.len() as u64);
        match self.log.append(append).await {
            Ok(_) => Ok(()),
            // The disk is full, say: the batch may come again, and changes nothing then.
            Err(error) if error.class() == streams::embedded::ErrorClass::Retriable => Ok(()),
            Err(error) => Err(GoldenError::Log(GROUP, error)),
        }
    }
}

/// Connects, and makes the tables. One connection: another one may be to a database that was restored meanwhile.
async fn open(options: &Options) -> Result<PgConnection, String> {
    let connect = PgPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(5)).connect(&options.database_url);
    let pool = connect.await.map_err(|error| message(&error))?;
    let mut db = pool.acquire().await.map_err(|error| message(&error))?.detach();
    postgres::act(&mut db, &options.log).await.map_err(|error| error.to_string())?;
    postgres::migrate(&pool).await.map_err(|error| error.to_string())?;
    Ok(db)
}

fn from(places: &[TopicPartition], next: &[i64]) -> Vec<(TopicPartition, i64)> {
    places.iter().cloned().zip(next.iter().copied()).collect()
}

/// What is in the tables.
struct There {
    of_another_log: bool,
    /// Up to where each place is in them.
    next: Vec<i64>,
}

async fn there(db: &mut PgConnection, log: &str, places: &[TopicPartition]) -> Result<There, sqlx::Error> {
    let rows: Vec<(String, i32, i64, String)> =
        sqlx::query_as("select topic, partition, next, log from concord.golden").fetch_all(db).await?;
    let of = |tp: &TopicPartition| rows.iter().find(|(topic, partition, ..)| *topic == *tp.topic && *partition == tp.partition);
    let next = places.iter().map(|tp| of(tp).map_or(0, |(_, _, next, _)| *next)).collect();
    Ok(There { of_another_log: rows.iter().any(|(.., of)| of != log), next })
}

/// A transaction without the rows of another log. Not TRUNCATE: readers go on meanwhile.
async fn emptied(db: &mut PgConnection) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    let mut one = db.begin().await?;
    for sql in
        ["delete from concord.customers", "delete from concord.crosswalk", "delete from concord.conflicts", "delete from concord.golden"]
    {
        sqlx::query(sql).execute(&mut *one).await?;
    }
    Ok(one)
}

/// The batch, in one transaction.
async fn write(db: &mut PgConnection, batch: &Batch, ends: &Json) -> Result<(), sqlx::Error> {
    let mut one = db.begin().await?;
    if !batch.customers.is_empty() {
        let rows: Json = batch.customers.values().map(customer_row).collect();
        sqlx::query(
            "insert into concord.customers as c (customer_id, version, deleted, name, email, email_norm, phone, address, attributes, updated_at, record)
             select customer_id, version, deleted, name, email, email_norm, phone, address, attributes, to_timestamp(updated_at / 1000.0), record
               from jsonb_to_recordset($1) as r(customer_id uuid, version bigint, deleted boolean, name text, email text, email_norm text,
                    phone text, address jsonb, attributes jsonb, updated_at bigint, record jsonb)
             on conflict (customer_id) do update set version = excluded.version, deleted = excluded.deleted, name = excluded.name,
                    email = excluded.email, email_norm = excluded.email_norm, phone = excluded.phone, address = excluded.address,
                    attributes = excluded.attributes, updated_at = excluded.updated_at, record = excluded.record
              where c.version < excluded.version",
        )
        .bind(&rows)
        .execute(&mut *one)
        .await?;
        // What no longer takes part first: a system has one record of a customer that does.
        for takes_part in [false, true] {
            // An id that came back after its delete is linked by two customers, and only one of them is alive. It keeps the row.
            sqlx::query(
                "insert into concord.crosswalk as w (system, external_id, customer_id, deleted, spare, version)
                 select system, external_id, customer_id, deleted, spare, version
                   from jsonb_to_recordset($1) as r(system text, external_id text, customer_id uuid, deleted boolean, spare boolean, version bigint)
                 on conflict (system, external_id) do update set customer_id = excluded.customer_id, deleted = excluded.deleted,
                        spare = excluded.spare, version = excluded.version
                  where case when w.customer_id = excluded.customer_id then w.version < excluded.version
                             else w.deleted or w.spare or not (excluded.deleted or excluded.spare) end",
            )
            .bind(links(batch, takes_part))
            .execute(&mut *one)
            .await?;
        }
    }
    if !batch.conflicts.is_empty() {
        let rows: Json = batch.conflicts.iter().enumerate().map(|(n, conflict)| conflict_row(n, conflict)).collect();
        sqlx::query(
            "insert into concord.conflicts (id, at, customer_id, kind, system, record)
             select id, to_timestamp(at / 1000.0), customer_id, kind, system, record
               from jsonb_to_recordset($1) as r(n bigint, id text, at bigint, customer_id uuid, kind text, system text, record jsonb)
              order by n
             on conflict (id) do nothing",
        )
        .bind(&rows)
        .execute(&mut *one)
        .await?;
    }
    sqlx::query(
        "insert into concord.golden (topic, partition, next, log)
         select topic, partition, next, log from jsonb_to_recordset($1) as r(topic text, partition integer, next bigint, log text)
         on conflict (topic, partition) do update set next = excluded.next, log = excluded.log",
    )
    .bind(ends)
    .execute(&mut *one)
    .await?;
    one.commit().await
}

/// Whether Postgres has something against the data, so that it would refuse them again (SQLSTATE classes 21, 22, 23).
fn is_refused(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["21", "22", "23"].iter().any(|class| code.starts_with(class)))
}

/// The batch one by one: what is refused is passed over, and holds nothing else up.
async fn write_each(db: &mut PgConnection, batch: &Batch, ends: &Json) -> Result<(), sqlx::Error> {
    let customers = batch
        .customers
        .iter()
        .map(|(id, customer)| Batch { customers: [(*id, customer.clone())].into_iter().collect(), ..Batch::default() });
    let conflicts = batch.conflicts.iter().map(|conflict| Batch { conflicts: vec![conflict.clone()], ..Batch::default() });
    for one in customers.chain(conflicts) {
        match write(db, &one, &json!([])).await {
            Err(error) if is_refused(&error) => {
                let customer = one.customers.keys().next().copied().or_else(|| one.conflicts.first().map(|c| c.customer_id));
                let id = customer.map(|id| id.to_string()).unwrap_or_default();
                metrics::counter!("concord_golden_refused_total").increment(1);
                tracing::error!(customer = id, error = message(&error), "The golden tables refuse a record; it is passed over.");
            }
            outcome => outcome?,
        }
    }
    write(db, &Batch::default(), ends).await
}

fn customer_row(customer: &UnifiedCustomer) -> Json {
    let value = |field: &Field| customer.fields.iter().find(|f| f.field == *field).map_or(Value::Empty, |f| f.value.clone());
    let text = |field: &Field| schemas::json::value(&value(field));
    let attributes = customer.fields.iter().filter_map(|f| match (&f.field, &f.value) {
        (Field::Attribute(key), Value::Text(text)) => Some((key.to_string(), Json::String(text.to_string()))),
        _ => None,
    });
    let email = value(&Field::Email).as_text().and_then(normalise_email);
    let millis: Millis = customer.updated_at;
    storable(json!({
        "customer_id": customer.customer_id, "version": customer.version, "deleted": customer.deleted, "name": text(&Field::Name),
        "email": text(&Field::Email), "email_norm": email, "phone": text(&Field::Phone), "address": text(&Field::Address),
        "attributes": attributes.collect::<serde_json::Map<_, _>>(), "updated_at": millis, "record": schemas::json::unified(customer),
    }))
}

/// The links of all customers that take part in their system, or those that do not: one of each record.
fn links(batch: &Batch, takes_part: bool) -> Json {
    let all = batch.customers.values().flat_map(|customer| customer.records.iter().map(move |r| (customer, r)));
    let chosen = all.filter(|(_, r)| takes_part != (r.deleted || r.spare));
    let rows: FxHashMap<_, _> = chosen
        .map(|(customer, r)| {
            let row = json!({
                "system": r.system, "external_id": r.external_id, "customer_id": customer.customer_id, "deleted": r.deleted, "spare": r.spare,
                "version": customer.version,
            });
            ((&r.system, &r.external_id), storable(row))
        })
        .collect();
    rows.into_values().collect()
}

fn conflict_row(n: usize, conflict: &CustomerConflict) -> Json {
    storable(json!({
        "n": n, "id": conflict.id, "at": conflict.at, "customer_id": conflict.customer_id, "kind": conflict.kind, "system": conflict.system,
        "record": schemas::json::conflict(conflict),
    }))
}

/// Postgres has no null character in a text: it is left out.
fn storable(json: Json) -> Json {
    match json {
        Json::String(text) if text.contains('\0') => Json::String(text.replace('\0', "")),
        Json::Array(items) => Json::Array(items.into_iter().map(storable).collect()),
        Json::Object(map) => Json::Object(map.into_iter().map(|(key, value)| (key.replace('\0', ""), storable(value))).collect()),
        other => other,
    }
}
