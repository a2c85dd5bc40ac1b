//! How long an edit takes to the other side, both ways, at a steady rate: from the commit in the product to the durable write in
//! Stripe, and from the edit in Stripe (whose webhook leaves at once) to the commit in the product.
//!
//! The real binary, a real Postgres that syncs to disk, and the stand-in for Stripe with a live key's limits.

use crate::broker;
use anyhow::Context;
use sandbox::{Handle, Options, Sandbox, Target, postgres::TestPostgres};
use serde_json::json;
use sqlx::{PgPool, postgres::PgListener};
use std::{
    collections::HashMap,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Edits a second
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Seconds of edits, each way
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Seconds of edits before those, each way, that do not count: on Kafka all of it starts cold [default: 5, and 45 on Kafka]
    #[arg(long)]
    warm_up: Option<u32>,
    /// Customers that the edits are spread over
    #[arg(long, default_value_t = 100)]
    customers: usize,
    /// With the log on Apache Kafka: a broker is started, unless `KAFKA_BOOTSTRAP_SERVERS` names one
    #[arg(long)]
    kafka: bool,
    /// The binary [default: concord beside this one]
    #[arg(long)]
    concord: Option<PathBuf>,
}

impl Args {
    /// Edits each way that do not count.
    fn warming(&self) -> usize {
        (self.rate * self.warm_up.unwrap_or(if self.kafka { 45 } else { 5 })) as usize
    }

    /// All edits of one way.
    fn edits(&self) -> usize {
        self.warming() + (self.rate * self.seconds) as usize
    }
}

const SECRET: &str = "whsec_bench";

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| i64::try_from(t.as_micros()).unwrap_or(i64::MAX))
}

/// The process, ended with the bench.
struct Concord(Child);

impl Drop for Concord {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(args))
}

async fn measure(args: &Args) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let postgres = TestPostgres::start_with(&sandbox::postgres::Options { fsync: true, ..Default::default() })?;
    let pool = PgPool::connect(&postgres.url()).await?;
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    // A live account's limits; its key is one of the stand-in's own.
    let stripe = Sandbox::start(Options {
        webhook: Some(Target::new(format!("http://{listen}/api/v1/myproduct/stripewebhook/"), SECRET)),
        rate_limit: Some(100),
        ..Options::default()
    })
    .await?;
    let data = tempfile::tempdir()?;
    let beside = std::env::current_exe()?.parent().context("a folder")?.join("concord");
    // It runs in a folder of its own.
    let program = std::path::absolute(args.concord.clone().unwrap_or(beside))?;
    let mut command = Command::new(&program);
    command
        .arg("run")
        .env_clear()
        .current_dir(data.path())
        .env("DATABASE_URL", postgres.url())
        .env("STRIPE_API_KEY", "sk_test_sandbox")
        .env("STRIPE_WEBHOOK_SECRET", SECRET)
        .env("STRIPE_API_BASE", stripe.base())
        .env("CONCORD_LISTEN", listen.to_string())
        .env("CONCORD_DATA_DIR", data.path().join("data"))
        .env("CONCORD_REGISTRY_LISTEN", "off")
        .env("CONCORD_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if args.kafka {
        command.env("KAFKA_BOOTSTRAP_SERVERS", broker::bootstrap());
    }
    let child = command.spawn().with_context(|| format!("{} (cargo build --release -p concord makes it)", program.display()))?;
    let _concord = Concord(child);
    let ready = reqwest::Client::builder().no_proxy().build()?;
    until("concord is ready", async || ready.get(format!("http://{listen}/readyz")).send().await.is_ok_and(|r| r.status() == 200)).await?;

    for n in 0..args.customers {
        sqlx::query("insert into public.customers (id, name, email) values ($1, $2, $3)")
            .bind(format!("p{n}"))
            .bind(format!("Customer {n}"))
            .bind(format!("customer{n}@example.com"))
            .execute(&pool)
            .await?;
    }
    until("everybody is in Stripe", async || stripe.history().len() == args.customers).await?;
    let ids: HashMap<String, String> =
        stripe.history().into_iter().filter_map(|(id, _)| Some((stripe.customer(&id).ok()?["email"].as_str()?.to_string(), id))).collect();
    sleep(Duration::from_secs(3)).await; // the echoes' reads

    let to_stripe = product_to_stripe(args, &pool, &stripe, &ids).await?;
    let to_product = stripe_to_product(args, &pool, &postgres, &stripe, &ids).await?;
    println!(
        "latency at {} edits/s, {} s each way, {} customers, both sides durable, 100 Stripe calls/s, the log {}",
        args.rate,
        args.seconds,
        args.customers,
        if args.kafka { "on Kafka" } else { "embedded" }
    );
    print("product -> Stripe", to_stripe);
    print("Stripe -> product", to_product);
    Ok(())
}

async fn product_to_stripe(args: &Args, pool: &PgPool, stripe: &Handle, ids: &HashMap<String, String>) -> anyhow::Result<Vec<f64>> {
    let mut tick = ticks(args.rate);
    let mut sent: HashMap<String, i64> = HashMap::new();
    for n in 0..args.edits() {
        tick.tick().await;
        let phone = format!("+44 a {n}");
        sqlx::query("update public.customers set phone = $1 where id = $2")
            .bind(&phone)
            .bind(format!("p{}", n % args.customers))
            .execute(pool)
            .await?;
        if n >= args.warming() {
            sent.insert(phone, now());
        }
    }
    // An edit that a later one of the same customer overtook has no arrival of its own; at this rate there is none.
    let mut arrived: HashMap<String, i64> = HashMap::new();
    until("every edit is in Stripe", async || {
        arrived = ids.values().flat_map(|id| arrivals(stripe, id)).collect();
        sent.keys().all(|phone| arrived.contains_key(phone))
    })
    .await?;
    Ok(sent.iter().filter_map(|(phone, at)| Some((arrived.get(phone)? - at) as f64 / 1_000.0)).collect())
}

/// When each phone was first shown, in microseconds.
fn arrivals(stripe: &Handle, id: &str) -> Vec<(String, i64)> {
    let history = stripe.history();
    let Some((_, past)) = history.iter().find(|(known, _)| known == id) else { return Vec::new() };
    past.iter().filter_map(|p| Some((p.customer.as_ref()?["phone"].as_str()?.to_string(), p.at * 1_000))).rev().collect()
}

async fn stripe_to_product(
    args: &Args,
    pool: &PgPool,
    postgres: &TestPostgres,
    stripe: &Handle,
    ids: &HashMap<String, String>,
) -> anyhow::Result<Vec<f64>> {
    // A notification is delivered after the commit: when it is here, the row is durable.
    sqlx::raw_sql(
        "create function public.bench_seen() returns trigger language plpgsql as $$ begin perform pg_notify('bench', new.phone); return null; end $$;
         create trigger bench_seen after update of phone on public.customers for each row execute function public.bench_seen()",
    )
    .execute(pool)
    .await?;
    let mut listener = PgListener::connect(&postgres.url()).await?;
    listener.listen("bench").await?;
    let total = args.edits();
    let arrivals = tokio::spawn(async move {
        let mut arrived: HashMap<String, i64> = HashMap::new();
        while arrived.len() < total {
            match timeout(Duration::from_secs(30), listener.recv()).await {
                Ok(Ok(notification)) => {
                    arrived.entry(notification.payload().to_string()).or_insert_with(now);
                }
                _ => break,
            }
        }
        arrived
    });
    let mut tick = ticks(args.rate);
    let mut sent: HashMap<String, i64> = HashMap::new();
    for n in 0..total {
        tick.tick().await;
        let phone = format!("+44 b {n}");
        let id = &ids[&format!("customer{}@example.com", n % args.customers)];
        stripe.update(id, json!({ "phone": phone }))?;
        if n >= args.warming() {
            sent.insert(phone, now());
        }
    }
    let arrived = arrivals.await?;
    anyhow::ensure!(sent.keys().all(|phone| arrived.contains_key(phone)), "{} of {total} edits arrived", arrived.len());
    Ok(sent.iter().filter_map(|(phone, at)| Some((arrived.get(phone)? - at) as f64 / 1_000.0)).collect())
}

fn ticks(rate: u32) -> tokio::time::Interval {
    let mut tick = interval(Duration::from_secs(1) / rate.max(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds().await {
        anyhow::ensure!(Instant::now() < deadline, "not within two minutes: {what}");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn print(way: &str, mut millis: Vec<f64>) {
    millis.sort_by(f64::total_cmp);
    let at = |share| quantile(&millis, share);
    println!(
        "  {way}: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, most {:.1} ms ({} edits)",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        millis.len()
    );
}

/// Of values from the least to the most, the one that this share of them does not exceed.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted.get(((sorted.len() as f64 - 1.0) * share).round() as usize).copied().unwrap_or(f64::NAN)
}
