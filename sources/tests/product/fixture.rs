//! A product's table, a log, and the source between them.

use clients::postgres::TableConfig;
use connect::{Cursors, Health};
use sandbox::postgres::{Options as Server, TestPostgres};
use schemas::{AvroCodec, Registry, SourceCustomer, System};
use sources::product::{Backfill, Options, Source};
use sqlx::{AssertSqlSafe, Executor, PgPool};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use streams::{
    TopicPartition,
    embedded::{self, Log, TopicConfig},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub const ACCOUNTS: &str = "
    CREATE TABLE public.accounts (id bigserial PRIMARY KEY, full_name text NOT NULL, mail text UNIQUE, plan text,
        logins int NOT NULL DEFAULT 0, changed_at timestamptz DEFAULT now());";

pub fn accounts() -> TableConfig {
    let columns = [("name", "full_name"), ("email", "mail"), ("attributes.plan", "plan"), ("updated_at", "changed_at")];
    TableConfig {
        table: "public.accounts".into(),
        key: "id".into(),
        columns: columns.iter().map(|(f, c)| (f.to_string(), c.to_string())).collect(),
        owned: false,
    }
}

pub fn system() -> System {
    System::new("product").unwrap()
}

pub struct World {
    pub postgres: TestPostgres,
    pub db: PgPool,
    pub log: Log,
    registry: Registry,
    codec: AvroCodec<SourceCustomer>,
    seen: [i64; 2],
    _folder: tempfile::TempDir,
}

pub struct Running {
    pub health: watch::Receiver<Health>,
    pub backfill: watch::Receiver<Backfill>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn through(&mut self) {
        self.backfill.wait_for(|b| *b == Backfill::Through).await.unwrap();
    }

    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("it ends").unwrap();
    }
}

impl World {
    pub async fn new(owners: &str) -> Self {
        let postgres = TestPostgres::start_with(&Server { fsync: true, ..Server::default() }).unwrap();
        let db = PgPool::connect(&postgres.url()).await.unwrap();
        db.execute(AssertSqlSafe(owners.to_string())).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path(), embedded::Options { min_free_bytes: 0, ..embedded::Options::default() }).unwrap();
        for topic in ["customers.product", "requests.product"] {
            log.create_topic(TopicConfig::delete(topic, 2, Duration::from_secs(3600))).unwrap();
        }
        let registry = Registry::new();
        let codec = registry.codec("customers.product-value").unwrap();
        World { postgres, db, log, registry, codec, seen: [0; 2], _folder: folder }
    }

    pub async fn start(&self) -> Running {
        self.start_on(accounts()).await
    }

    pub async fn start_on(&self, table: TableConfig) -> Running {
        let options =
            Options { system: system(), database_url: self.postgres.url(), table, application_id: "concord".into(), log: "1".into() };
        let log = self.log.clone().into();
        let source = Source::new(&log, &self.registry, &Cursors::open(&log).await.unwrap(), options).unwrap();
        let (health, backfill, stop) = (source.health(), source.backfill(), CancellationToken::new());
        let token = stop.clone();
        let task = tokio::spawn(async move { source.run(token).await.unwrap() });
        Running { health, backfill, stop, task }
    }

    pub async fn run(&self, sql: &str) {
        self.db.execute(AssertSqlSafe(sql.to_string())).await.unwrap();
    }

    /// What was published since the last call, by key in its order.
    pub fn news(&mut self) -> Vec<(String, SourceCustomer)> {
        let mut news = Vec::new();
        for partition in 0..2 {
            let tp = TopicPartition::new("customers.product", partition);
            loop {
                let records = self.log.read(&tp, self.seen[partition as usize], 10_000, 1 << 24).unwrap();
                let Some(last) = records.last() else { break };
                self.seen[partition as usize] = last.offset + 1;
                for record in records {
                    let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
                    news.push((key, self.codec.decode(&record.value.unwrap()).unwrap()));
                }
            }
        }
        news
    }

    /// Waits until so many results are published, and returns them.
    pub async fn await_news(&mut self, count: usize) -> Vec<(String, SourceCustomer)> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut news = Vec::new();
        while news.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} after 30 s: {news:?}", news.len());
            let (mut a, mut b) = (self.end(0), self.end(1));
            news.extend(self.news());
            if news.len() < count {
                let _ = tokio::time::timeout(Duration::from_millis(100), async {
                    tokio::select! { r = a.changed() => r, r = b.changed() => r }
                })
                .await;
            }
        }
        news
    }

    fn end(&self, partition: i32) -> watch::Receiver<i64> {
        let mut end = self.log.watch(&TopicPartition::new("customers.product", partition)).unwrap();
        end.mark_unchanged();
        end
    }
}

/// `id.incarnation name`, or `id.incarnation -` of a delete.
pub fn say(news: &[(String, SourceCustomer)]) -> Vec<String> {
    news.iter()
        .map(|(id, r)| {
            let name = r.fields.as_ref().map_or("-", |f| f.name.as_deref().unwrap_or_default());
            format!("{id}.{} {name}", r.incarnation.unwrap())
        })
        .collect()
}

/// Checks that each key's results are in order, and returns the last of each.
pub fn last_of_each(news: &[(String, SourceCustomer)]) -> HashMap<String, SourceCustomer> {
    let mut last: HashMap<String, SourceCustomer> = HashMap::new();
    for (id, result) in news {
        if let Some(before) = last.insert(id.clone(), result.clone()) {
            assert!(before.order < result.order, "{id}: {before:?} then {result:?}");
        }
    }
    last
}
