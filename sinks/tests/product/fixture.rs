//! A product with a table of its own, and a writer.

use clients::postgres::{self, Attached, TableConfig};
use sandbox::postgres::TestPostgres;
use schemas::{Action, Create, CustomerId, Delete, ExternalId, Field, Read, System, Value, Values, Write, WriteId};
use sinks::product::{job::Job, writer::Writer};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Row};

pub const ACCOUNTS: &str = "
    CREATE TABLE public.accounts (
        id bigserial PRIMARY KEY, full_name varchar(20) NOT NULL, mail text UNIQUE, phone text CHECK (phone <> 'none'),
        city text, extra jsonb, logins int NOT NULL DEFAULT 0);";

pub fn accounts() -> TableConfig {
    let columns = [("name", "full_name"), ("email", "mail"), ("phone", "phone"), ("address.city", "city"), ("attributes", "extra")];
    TableConfig {
        table: "public.accounts".into(),
        key: "id".into(),
        columns: columns.iter().map(|(f, c)| (f.to_string(), c.to_string())).collect(),
        owned: false,
    }
}

pub struct Product {
    pub db: PgPool,
    pub writer: Writer,
    pub attached: Attached,
    pub url: String,
    _postgres: TestPostgres,
}

impl Product {
    pub async fn new() -> Self {
        Self::with(ACCOUNTS).await
    }

    pub async fn with(owners: &str) -> Self {
        Self::of(owners, &accounts()).await
    }

    pub async fn of(owners: &str, config: &TableConfig) -> Self {
        let postgres = TestPostgres::start().unwrap();
        let url = postgres.url();
        let db = PgPool::connect(&url).await.unwrap();
        db.execute(AssertSqlSafe(owners.to_string())).await.unwrap();
        let attached = postgres::open(&db, &system(), config).await.unwrap();
        let writer = writer(&url, &attached).await;
        Product { db, writer, attached, url, _postgres: postgres }
    }

    pub async fn run(&self, sql: &str) {
        self.db.execute(AssertSqlSafe(sql.to_string())).await.unwrap();
    }

    /// Applies, and says what became of it: the outbox's new rows.
    pub async fn apply(&mut self, jobs: &[Job]) -> Vec<String> {
        let finished = self.try_apply(jobs).await;
        assert!(finished.iter().all(|f| *f), "{finished:?}");
        self.told().await
    }

    pub async fn try_apply(&mut self, jobs: &[Job]) -> Vec<bool> {
        self.writer.apply(&jobs.iter().collect::<Vec<_>>()).await.unwrap()
    }

    /// The outbox's rows in order, which it empties: `kind id.incarnation name mail`, and of an answer its outcome and field.
    pub async fn told(&self) -> Vec<String> {
        let rows = sqlx::query(
            "WITH t AS (DELETE FROM concord.outbox RETURNING *)
             SELECT t.kind, t.outcome, t.refused_field, t.taken, coalesce(t.external_id, x.id) AS external_id,
                    coalesce(x.incarnation, t.incarnation) AS incarnation,
                    CASE WHEN x.id IS NULL THEN t.fields ELSE ARRAY(SELECT unnest(t.fields[x.place:x.place])) END AS fields
             FROM t LEFT JOIN LATERAL unnest(t.ids, t.incarnations) WITH ORDINALITY AS x(id, incarnation, place) ON true
             ORDER BY t.number, length(x.id), x.id",
        )
        .fetch_all(&self.db)
        .await;
        rows.unwrap()
            .iter()
            .map(|row| {
                let letter = |column: &str| row.get::<Option<i8>, _>(column).map(|l| char::from(l as u8).to_string()).unwrap_or_default();
                let id = row
                    .get::<Option<String>, _>("external_id")
                    .map_or("-".to_string(), |id| format!("{id}.{}", row.get::<i64, _>("incarnation")));
                let fields: Option<Vec<Option<String>>> = row.get("fields");
                let fields =
                    fields.map_or(String::new(), |f| format!(" {} {}", f[0].as_deref().unwrap_or("-"), f[1].as_deref().unwrap_or("-")));
                let mut text = format!("{}{} {id}{fields}", letter("kind"), letter("outcome"));
                if let Some(field) = row.get::<Option<String>, _>("refused_field") {
                    text.push_str(&format!(" !{field}"));
                }
                if row.get::<Option<bool>, _>("taken") == Some(true) {
                    text.push_str(" taken");
                }
                text
            })
            .collect()
    }

    pub async fn text(&self, sql: &str) -> String {
        sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(format!("SELECT string_agg(x::text, ' | ') FROM ({sql}) x")))
            .fetch_one(&self.db)
            .await
            .unwrap()
            .unwrap_or_default()
    }
}

pub async fn writer(url: &str, attached: &Attached) -> Writer {
    let db = PgConnection::connect(url).await.unwrap();
    Writer::new(db, &system(), attached.clone()).await.unwrap()
}

pub fn system() -> System {
    System::new("product").unwrap()
}

pub fn customer(n: u128) -> CustomerId {
    CustomerId::from_uuid(uuid::Uuid::from_u128(n))
}

pub fn values(pairs: &[(&str, &str)]) -> Values {
    pairs.iter().map(|(f, v)| (f.parse::<Field>().unwrap(), Value::from(*v))).collect()
}

/// A write of customer 1, numbered, to a record of incarnation 0.
pub fn write(number: u64, id: &str, expected: &[(&str, &str)], set: &[(&str, &str)]) -> Job {
    write_to(number, id, 0, expected, set)
}

pub fn write_to(number: u64, id: &str, incarnation: i64, expected: &[(&str, &str)], set: &[(&str, &str)]) -> Job {
    let write = Write {
        id: WriteId::write(customer(1), &system(), number),
        customer: customer(1),
        incarnation,
        set: values(set),
        expected: values(expected),
        mark: None,
        after: 0,
        stamp: None,
        settled: true,
    };
    Job { key: id.into(), action: Action::Write(write) }
}

pub fn delete(number: u64, id: &str, incarnation: i64) -> Job {
    let id_of = WriteId::write(customer(1), &system(), number);
    Job { key: id.into(), action: Action::Delete(Delete { id: id_of, customer: customer(1), incarnation }) }
}

pub fn create(n: u128, body: u64, set: &[(&str, &str)]) -> Job {
    let id = WriteId::create(customer(n), &system(), 0, body);
    let create = Create { key: id.key(), id, customer: customer(n), set: values(set) };
    Job { key: customer(n).to_string(), action: Action::Create(create) }
}

pub fn read(id: &str) -> Job {
    Job { key: ExternalId::new(id).to_string(), action: Action::Read(Read::default()) }
}
