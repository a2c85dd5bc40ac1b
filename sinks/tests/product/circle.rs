//! The sink on the log, with the source beside it: requests in, results out.

use crate::fixture::*;
use connect::{Cursors, Health};
use sandbox::postgres::{Options as Server, TestPostgres};
use schemas::{Action, AvroCodec, Notice, Outcome, Read, Registry, Request, SourceCustomer};
use sinks::product::{Options, Sink, job::Job};
use sources::product as source;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use std::time::{Duration, Instant};
use streams::{
    ProducerRecord, TopicPartition,
    embedded::{self, Append, Log, TopicConfig},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

struct Circle {
    postgres: TestPostgres,
    db: PgPool,
    log: Log,
    registry: Registry,
    requests: AvroCodec<Request>,
    results: AvroCodec<SourceCustomer>,
    seen: i64,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    health: Option<watch::Receiver<Health>>,
    _folder: tempfile::TempDir,
}

impl Circle {
    async fn new() -> Self {
        let postgres = TestPostgres::start_with(&Server { fsync: true, ..Server::default() }).unwrap();
        let db = PgPool::connect(&postgres.url()).await.unwrap();
        db.execute(ACCOUNTS).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path(), embedded::Options { min_free_bytes: 0, ..embedded::Options::default() }).unwrap();
        for topic in ["customers.product", "requests.product"] {
            log.create_topic(TopicConfig::delete(topic, 1, Duration::from_secs(3600))).unwrap();
        }
        let registry = Registry::new();
        let requests = registry.codec("requests.product-value").unwrap();
        let results = registry.codec("customers.product-value").unwrap();
        let (stop, tasks) = (CancellationToken::new(), Vec::new());
        let mut circle = Circle { postgres, db, log, registry, requests, results, seen: 0, stop, tasks, health: None, _folder: folder };
        circle.start().await;
        circle
    }

    async fn start(&mut self) {
        self.stop = CancellationToken::new();
        let cursors = Cursors::open(&self.log.clone().into()).await.unwrap();
        let (url, table) = (self.postgres.url(), accounts());
        let options = source::Options {
            system: system(),
            database_url: url.clone(),
            table: table.clone(),
            application_id: "concord".into(),
            log: "1".into(),
        };
        let source = source::Source::new(&self.log.clone().into(), &self.registry, &cursors, options).unwrap();
        let mut backfill = source.backfill();
        let sink = Sink::new(
            &self.log.clone().into(),
            &self.registry,
            &cursors,
            Options { system: system(), database_url: url, table, log: "1".into() },
        )
        .await
        .unwrap();
        self.health = Some(sink.health());
        let (a, b) = (self.stop.clone(), self.stop.clone());
        self.tasks.push(tokio::spawn(async move { source.run(a).await.unwrap() }));
        self.tasks.push(tokio::spawn(async move { sink.run(b).await.unwrap() }));
        backfill.wait_for(|b| *b == source::Backfill::Through).await.unwrap();
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            tokio::time::timeout(Duration::from_secs(10), task).await.expect("it ends").unwrap();
        }
    }

    async fn ask(&self, jobs: &[Job]) {
        let record = |job: &Job| {
            let value = self.requests.encode(&Request { action: job.action.clone() }).unwrap();
            ProducerRecord::new("requests.product", job.key.clone(), value)
        };
        self.log.append(Append::of(jobs.iter().map(record))).await.unwrap();
    }

    async fn results(&mut self, count: usize) -> Vec<(String, SourceCustomer)> {
        let tp = TopicPartition::new("customers.product", 0);
        let mut results = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(30);
        while results.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} after 30 s", results.len());
            let mut end = self.log.watch(&tp).unwrap();
            end.mark_unchanged();
            for record in self.log.read(&tp, self.seen, 10_000, 1 << 24).unwrap() {
                self.seen = record.offset + 1;
                results
                    .push((String::from_utf8(record.key.unwrap().to_vec()).unwrap(), self.results.decode(&record.value.unwrap()).unwrap()));
            }
            if results.len() < count {
                let _ = tokio::time::timeout(Duration::from_millis(100), end.changed()).await;
            }
        }
        results
    }

    async fn committed(&self, next: i64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let tp = TopicPartition::new("requests.product", 0);
        while self.log.committed("concord-runner-product", &tp).unwrap() != Some(next) {
            assert!(Instant::now() < deadline, "{:?}", self.log.committed("concord-runner-product", &tp));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn outcome(result: &SourceCustomer) -> Option<Outcome> {
    result.answer.as_ref().map(|a| a.outcome)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peoples_edits_and_our_writes_are_one_sequence() {
    let mut circle = Circle::new().await;
    circle.db.execute("INSERT INTO accounts (id, full_name) VALUES (1, 'A')").await.unwrap();
    circle.results(1).await;
    circle.ask(&[write(1, "1", &[("name", "A")], &[("name", "B")])]).await;
    let (_, done) = circle.results(1).await.remove(0);
    let answer = done.answer.clone().unwrap();
    assert_eq!(
        (answer.outcome, answer.left.unwrap().name.as_deref(), done.fields.as_ref().unwrap().name.as_deref()),
        (Outcome::Done, Some("B"), Some("B"))
    );
    circle.db.execute("UPDATE accounts SET full_name = 'C'").await.unwrap();
    circle.ask(&[write(2, "1", &[("name", "B")], &[("name", "D")])]).await;
    let both = circle.results(2).await;
    assert_eq!(both.iter().map(|(_, r)| outcome(r)).collect::<Vec<_>>(), [None, Some(Outcome::MovedOn)]);
    assert!(done.order < both[0].1.order && both[0].1.order < both[1].1.order);
    circle.committed(2).await;
    circle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_asked_again_is_answered_by_what_was_told_already() {
    let mut circle = Circle::new().await;
    circle.db.execute("INSERT INTO accounts (id, full_name) VALUES (100, 'A')").await.unwrap();
    circle.results(1).await;
    let job = write(1, "100", &[("name", "A")], &[("name", "B")]);
    let notice = Notice { event_id: "e1".into(), write_id: None, time: 7, changes: vec![] };
    let read = Job { key: "100".into(), action: Action::Read(Read { notices: vec![notice.clone()], page: None }) };
    circle.ask(&[job.clone(), job.clone(), read]).await;
    let results = circle.results(2).await;
    assert_eq!(results.iter().map(|(_, r)| outcome(r)).collect::<Vec<_>>(), [Some(Outcome::Done), None]);
    assert_eq!(results[1].1.notices, [notice], "a read brings the notices that asked for it");
    circle.ask(&[create(9, 0, &[("name", "New")])]).await;
    let (id, made) = circle.results(1).await.remove(0);
    assert_eq!((outcome(&made), made.concord_id), (Some(Outcome::Done), Some(customer(9).to_string())));
    assert!(id.parse::<i64>().is_ok());
    circle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_becomes_a_dead_letter_and_stops_nothing() {
    let mut circle = Circle::new().await;
    circle.db.execute("INSERT INTO accounts (id, full_name) VALUES (1, 'A')").await.unwrap();
    circle.results(1).await;
    circle.log.append(Append::of([ProducerRecord::new("requests.product", "1", "no Avro")])).await.unwrap();
    circle.ask(&[write(1, "1", &[("name", "A")], &[("name", "B")])]).await;
    assert_eq!(outcome(&circle.results(1).await[0].1), Some(Outcome::Done));
    circle.committed(2).await;
    let dead = TopicPartition::new("requests.product.dlq", 0);
    circle.log.watch(&dead).unwrap().wait_for(|end| *end > 0).await.unwrap();
    let dead = circle.log.read(&dead, 0, 10, 1 << 20).unwrap();
    assert_eq!((dead.len(), dead[0].headers.text("__streams.errors.offset")), (1, Some("0")));
    circle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_servers_and_restarts_lose_and_double_nothing() {
    let mut circle = Circle::new().await;
    const ROWS: u64 = 200;
    let sql = format!("INSERT INTO accounts (id, full_name) SELECT n, '0' FROM generate_series(1, {ROWS}) n");
    circle.db.execute(AssertSqlSafe(sql)).await.unwrap();
    let mut results = circle.results(usize::try_from(ROWS).unwrap()).await;
    for round in 1..=4u64 {
        let (was, is) = ((round - 1).to_string(), round.to_string());
        let jobs: Vec<Job> = (1..=ROWS).map(|n| write(round * 1_000 + n, &n.to_string(), &[("name", &was)], &[("name", &is)])).collect();
        let (first, second) = jobs.split_at(100);
        circle.ask(first).await;
        circle.postgres.kill().unwrap();
        circle.ask(second).await;
        if round % 2 == 0 {
            circle.stop().await;
            circle.postgres.launch().unwrap();
            circle.start().await;
        } else {
            circle.postgres.launch().unwrap();
        }
        circle.committed(i64::try_from(round * ROWS).unwrap()).await;
        let mut db = PgConnection::connect(&circle.postgres.url()).await.unwrap();
        let names: Vec<String> = sqlx::query_scalar("SELECT DISTINCT full_name FROM accounts").fetch_all(&mut db).await.unwrap();
        assert_eq!(names, [is]);
    }
    // Each write was answered; an answer that is published twice has one number.
    let mut answers = std::collections::BTreeMap::new();
    while answers.len() < usize::try_from(4 * ROWS).unwrap() {
        for (_, result) in results.drain(..) {
            if let Some(answer) = &result.answer {
                assert_eq!(answer.outcome, Outcome::Done);
                let order = result.order;
                assert_eq!(*answers.entry(answer.write_id.to_string()).or_insert(order), order);
            }
        }
        if answers.len() < usize::try_from(4 * ROWS).unwrap() {
            results = circle.results(1).await;
        }
    }
    circle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_takes_milliseconds() {
    let mut circle = Circle::new().await;
    circle.db.execute("INSERT INTO accounts (id, full_name) VALUES (1, '0')").await.unwrap();
    circle.results(1).await;
    let mut took = Vec::new();
    for n in 1..=100u64 {
        let job = write(n, "1", &[("name", &(n - 1).to_string())], &[("name", &n.to_string())]);
        let asked = Instant::now();
        circle.ask(&[job]).await;
        assert_eq!(outcome(&circle.results(1).await[0].1), Some(Outcome::Done));
        took.push(asked.elapsed());
    }
    took.sort();
    println!("from the request to its answer in the log: p50 {:?}, p90 {:?}, p99 {:?}", took[50], took[90], took[98]);
    circle.stop().await;
}
