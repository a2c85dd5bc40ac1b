//! What the product costs, in ratios of one run on this machine:
//!
//! - the sink (2,000 writes a transaction: compare, set, fence, answers) beside a bare COPY → UPDATE of the same rows in
//!   transactions of the same size, on a table without triggers
//! - somebody's bulk UPDATE on the attached table beside the same on a table without triggers
//!
//! `cargo run --release -p sinks --example product_bench [rows]` (needs an installed PostgreSQL server)

use clients::postgres::{self, TableConfig};
use sandbox::postgres::{Options, TestPostgres};
use schemas::{Action, CustomerId, Field, System, Value, Values, Write, WriteId};
use sinks::product::{job::Job, writer::Writer};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

const BATCH: usize = 2_000;
const ROUNDS: usize = 5;

const TABLES: &str = "
    CREATE TABLE public.accounts (
        id bigserial PRIMARY KEY, full_name text NOT NULL, mail text UNIQUE, phone text, street text, city text, zip text,
        country text, plan text, extra jsonb, changed_at timestamptz NOT NULL DEFAULT now());
    INSERT INTO public.accounts (full_name, mail, phone, street, city, zip, country, plan, extra)
        SELECT 'Person 0 ' || n, 'p' || n || '@example.com', '+49 30 ' || n, 'Street ' || n, 'Berlin', '10115', 'DE', 'free',
               '{\"seats\": \"3\", \"color\": \"red\"}' FROM generate_series(1, $rows) n;
    CREATE TABLE public.bare (LIKE public.accounts INCLUDING ALL);
    INSERT INTO public.bare SELECT * FROM public.accounts;
    CREATE TEMPORARY TABLE batch (id bigint, full_name text, phone text) ON COMMIT DELETE ROWS;";

fn accounts() -> TableConfig {
    let columns = [
        ("name", "full_name"),
        ("email", "mail"),
        ("phone", "phone"),
        ("address.line1", "street"),
        ("address.city", "city"),
        ("address.postal_code", "zip"),
        ("address.country", "country"),
        ("attributes.plan", "plan"),
        ("attributes", "extra"),
        ("updated_at", "changed_at"),
    ];
    TableConfig {
        table: "public.accounts".into(),
        key: "id".into(),
        columns: columns.iter().map(|(f, c)| (f.to_string(), c.to_string())).collect(),
        owned: false,
    }
}

struct Bench {
    db: PgConnection,
    writer: Writer,
    rows: usize,
}

impl Bench {
    /// Bare: COPY into a temporary table, UPDATE from it.
    async fn bare(&mut self, round: usize) -> Result<Duration, sqlx::Error> {
        let batches: Vec<String> = (1..=self.rows)
            .collect::<Vec<_>>()
            .chunks(BATCH)
            .map(|ids| {
                ids.iter().fold(String::new(), |mut text, n| {
                    let _ = writeln!(text, "{n}\tPerson {round} {n}\t+49 30 {n} {round}");
                    text
                })
            })
            .collect();
        let started = Instant::now();
        for text in batches {
            let mut tx = self.db.begin().await?;
            let mut copy = tx.copy_in_raw("COPY batch FROM STDIN").await?;
            copy.send(text.as_bytes()).await?;
            copy.finish().await?;
            tx.execute("UPDATE public.bare t SET full_name = b.full_name, phone = b.phone FROM batch b WHERE b.id = t.id").await?;
            tx.commit().await?;
        }
        Ok(started.elapsed())
    }

    async fn sink(&mut self, round: usize) -> Result<Duration, sqlx::Error> {
        let system = System::new("product").unwrap_or_else(|e| panic!("{e}"));
        let values = |round: usize, n: usize| -> Values {
            let phone = if round == 0 { format!("+49 30 {n}") } else { format!("+49 30 {n} {round}") };
            [(Field::Name, Value::from(format!("Person {round} {n}"))), (Field::Phone, Value::from(phone))].into()
        };
        let jobs: Vec<Job> = (1..=self.rows)
            .map(|n| {
                let customer = CustomerId::from_uuid(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &n.to_be_bytes()));
                let write = Write {
                    id: WriteId::write(customer, &system, round as u64),
                    customer,
                    incarnation: 0,
                    set: values(round, n),
                    expected: values(round - 1, n),
                    mark: None,
                    after: 0,
                    stamp: None,
                    settled: true,
                };
                Job { key: n.to_string(), action: Action::Write(write) }
            })
            .collect();
        let batches: Vec<Vec<&Job>> = jobs.chunks(BATCH).map(|jobs| jobs.iter().collect()).collect();
        let started = Instant::now();
        for batch in &batches {
            self.writer.apply(batch).await?;
        }
        let took = started.elapsed();
        let done: i64 = sqlx::query_scalar("SELECT count(*) FROM concord.outbox WHERE outcome = 'd'").fetch_one(&mut self.db).await?;
        assert_eq!(done, i64::try_from(self.rows).unwrap_or(0), "every write was made");
        Ok(took)
    }

    async fn bulk(&mut self, table: &str) -> Result<Duration, sqlx::Error> {
        let sql = format!("UPDATE public.{table} SET plan = plan || 'x'");
        let started = Instant::now();
        self.db.execute(AssertSqlSafe(sql)).await?;
        Ok(started.elapsed())
    }

    async fn tidy(&mut self) -> Result<(), sqlx::Error> {
        self.db.execute("DELETE FROM concord.outbox").await?;
        for sql in ["VACUUM public.accounts", "VACUUM public.bare", "VACUUM concord.outbox", "CHECKPOINT"] {
            self.db.execute(sql).await?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let rows: usize = std::env::args().nth(1).map_or(Ok(50_000), |n| n.parse())?;
    let settings = ["shared_buffers=512MB", "max_wal_size=4GB", "autovacuum=off"].map(String::from).into();
    let server = TestPostgres::start_with(&Options { fsync: true, settings, ..Options::default() })?;
    let mut db = PgConnection::connect(&server.url()).await?;
    db.execute(AssertSqlSafe(TABLES.replace("$rows", &rows.to_string()))).await?;
    let pool = PgPool::connect(&server.url()).await?;
    let system = System::new("product")?;
    let attached = postgres::open(&pool, &system, &accounts()).await?;
    let writer = Writer::new(PgConnection::connect(&server.url()).await?, &system, attached).await?;
    let mut bench = Bench { db, writer, rows };
    bench.tidy().await?;
    bench.db.execute("ANALYZE").await?;

    let (mut bare, mut sink, mut plain, mut noticed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        bare.push(bench.bare(round).await?);
        sink.push(bench.sink(round).await?);
        bench.tidy().await?;
        plain.push(bench.bulk("bare").await?);
        noticed.push(bench.bulk("accounts").await?);
        bench.tidy().await?;
    }
    let per_second = |d: Duration| rows as f64 / d.as_secs_f64();
    let (bare, sink, plain, noticed) = (median(bare), median(sink), median(plain), median(noticed));
    println!("{rows} rows, {BATCH} a transaction, medians of {ROUNDS} rounds, every commit fsynced");
    println!("bare COPY -> UPDATE               {:>9.0} rows/s", per_second(bare));
    println!(
        "product sink                      {:>9.0} writes/s   {:.2} x bare (aim: at least 0.50)",
        per_second(sink),
        bare.as_secs_f64() / sink.as_secs_f64()
    );
    println!("bulk UPDATE, no trigger           {:>9.0} rows/s", per_second(plain));
    println!(
        "bulk UPDATE, attached             {:>9.0} rows/s     {:.2} x the time (aim: at most 2.00)",
        per_second(noticed),
        noticed.as_secs_f64() / plain.as_secs_f64()
    );
    Ok(())
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}
