//! The product's sink: requests of `requests.<product>` become SQL, and what became of them a row of the outbox.
//!
//! The product has no conversation of calls: a batch of requests, one of each record, is one SQL transaction (protocol
//! rules 6 to 8), and the source publishes the outcomes with everything else that happens to the table.
//!
//! - [`Sink`]: reads the topic, runs batches, commits what is finished
//! - [`queue`]: whose turn it is (pure); [`verdict`]: what becomes of a request (pure)
//! - [`writer`]: one batch in one transaction, with the SQL of `statements` and the rows of [`job`]: most of it by `quick`,
//!   what that leaves by `batch`

mod batch;
pub mod job;
pub mod queue;
mod quick;
mod statements;
pub mod verdict;
pub mod writer;

use clients::postgres::{self, ActError, AttachError, TableConfig};
use connect::{ConnectError, Cursors, Health, SourceError, topics};
use job::Job;
use queue::{Place, Queue, Turn};
use schemas::{AvroCodec, Registry, Request, System, value_subject};
use sqlx::{ConnectOptions, PgConnection};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use streams::{
    ConsumerRecord, Follow, Headers, Log, ProducerRecord, TopicPartition, dlq_headers,
    embedded::{Append, LogError, TopicConfig},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use writer::Writer;

/// Requests in one transaction.
const BATCH: usize = 2_000;
/// Requests held in memory; more wait in the log.
const HELD: usize = 20_000;
/// When a row that somebody has locked is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// How long a dead letter is kept, as the other connectors keep theirs.
const DEAD_LETTERS: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long a decided write stays in the fence: longer than its request stays in its topic.
const FENCE: &str = "60 days";

/// What the sink writes to.
#[derive(Debug, Clone)]
pub struct Options {
    pub system: System,
    pub database_url: String,
    pub table: TableConfig,
    /// What tells this log from others: no two act on a database at once.
    pub log: String,
}

/// The cursor that has the log's name, as `concord.products` has it.
pub fn log_cursor(system: &System) -> String {
    format!("{system}.log")
}

/// Writes the product.
pub struct Sink {
    log: Log,
    cursors: Cursors,
    options: Options,
    codec: AvroCodec<Request>,
    requests: Vec<TopicPartition>,
    dead: String,
    group: String,
    health: watch::Sender<Health>,
}

/// Why a connection's work ended.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Act(#[from] ActError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error("{}", postgres::message(.0))]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl Sink {
    /// The system's topics must exist. Nothing is asked of the database yet.
    pub async fn new(log: &Log, registry: &Registry, cursors: &Cursors, options: Options) -> Result<Self, ConnectError> {
        let topic = topics::requests_topic(&options.system);
        let codec = registry.codec(&value_subject(&topic)).map_err(|source| ConnectError::Schema { topic: topic.clone(), source })?;
        let partitions = log.partitions(&topic).ok_or_else(|| ConnectError::NoTopic(topic.clone()))?;
        let requests = (0..partitions).map(|n| TopicPartition::new(topic.as_str(), n)).collect();
        let (dead, group) = (format!("{topic}.dlq"), topics::runner_group(&options.system));
        let failed = |action: String| |source: LogError| ConnectError::Log { action, source };
        if log.partitions(&dead).is_none() {
            let config = TopicConfig::delete(dead.clone(), partitions, DEAD_LETTERS);
            log.create_topic(config).await.map_err(failed(format!("creating {dead}")))?;
        }
        log.create_group(&group, &[&topic]).await.map_err(failed(format!("announcing {group}")))?;
        let health = watch::Sender::new(Health::Ok);
        Ok(Sink { log: log.clone(), cursors: cursors.clone(), options, codec, requests, dead, group, health })
    }

    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Writes until the shutdown. Trouble with the database is waited out; only an unusable log ends it.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), SourceError> {
        let mut pause = Duration::from_millis(100);
        while !shutdown.is_cancelled() {
            let error = match self.serve(&shutdown, &mut pause).await {
                Ok(()) => break,
                Err(Trouble::Log(error)) => return Err(self.error("log", error)),
                Err(Trouble::Connect(error)) => return Err(self.error("log", error)),
                Err(error) => error,
            };
            metrics::counter!("concord_product_sink_errors_total", "system" => self.options.system.to_string()).increment(1);
            tracing::warn!(system = %self.options.system, %error, "The product cannot be written; trying again.");
            self.health.send_replace(Health::Paused(error.to_string()));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => {}
            }
            pause = (pause * 2).min(Duration::from_secs(10));
        }
        Ok(())
    }

    fn error(&self, stage: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> SourceError {
        SourceError { system: self.options.system.clone(), stage, cause: Box::new(cause) }
    }

    /// Works over one connection until it fails.
    async fn serve(&self, shutdown: &CancellationToken, pause: &mut Duration) -> Result<(), Trouble> {
        let pool = postgres::pool(&self.options.database_url, 2)?;
        let attaching = async {
            let mut db = pool.connect_options().connect().await?;
            postgres::act(&mut db, &self.options.log).await?;
            Ok::<_, Trouble>((db, postgres::open(&pool, &self.options.system, &self.options.table).await?))
        };
        let (db, attached) = tokio::select! {
            attached = attaching => attached?,
            () = shutdown.cancelled() => return Ok(()),
        };
        let mut one = pool.acquire().await?;
        self.own_fence(&mut one).await?;
        drop(one);
        pool.close().await;
        let mut writer = Writer::new(db, &self.options.system, attached).await?;
        let mut queue = Queue::default();
        let mut from = Vec::with_capacity(self.requests.len());
        for tp in &self.requests {
            let next = self.log.next(&self.group, tp).await?;
            queue.start(tp.partition, next);
            from.push((tp.clone(), next));
        }
        let mut requests = self.log.follow(from).await?;
        let mut dead: Vec<ProducerRecord> = Vec::new();
        let mut commit: Option<Commit> = None;
        let mut next_prune = tokio::time::Instant::now();
        self.health.send_replace(Health::Ok);
        loop {
            self.fill(&mut requests, &mut queue, &mut dead)?;
            let turns = queue.take(BATCH, now());
            if !turns.is_empty() {
                let finished = self.apply(&mut writer, &turns).await;
                let due = now() + i64::try_from(BUSY_PAUSE.as_millis()).unwrap_or(50);
                for (n, turn) in turns.iter().enumerate() {
                    queue.give_back(turn, finished.as_ref().is_ok_and(|f| f[n]), due);
                }
                finished?;
                *pause = Duration::from_millis(100);
            }
            // The SQL commit comes first: a crash in between repeats requests, which the fence knows.
            let ended = commit.as_ref().is_none_or(Commit::is_over);
            if ended {
                if let Some(over) = commit.take() {
                    queue.committed(&over.finish().await?);
                }
                commit = self.commit(&queue, &mut dead);
            }
            if shutdown.is_cancelled() {
                if let Some(over) = commit.take() {
                    over.finish().await?;
                }
                return Ok(());
            }
            if queue.is_ready() {
                continue;
            }
            if tokio::time::Instant::now() >= next_prune {
                next_prune = tokio::time::Instant::now() + Duration::from_secs(3600);
                writer.prune(FENCE).await?;
            }
            let due = queue.next_due().map_or(Duration::from_secs(60), |due| Duration::from_millis((due - now()).max(0).unsigned_abs()));
            let room = queue.len() < HELD;
            tokio::select! {
                ready = requests.ready(|_| room) => ready?,
                () = tokio::time::sleep(due) => {}
                () = shutdown.cancelled() => {}
                () = Commit::over(&mut commit) => {}
            }
        }
    }

    /// Reads what there is room for.
    fn fill(&self, requests: &mut Follow, queue: &mut Queue, dead: &mut Vec<ProducerRecord>) -> Result<(), Trouble> {
        for (n, tp) in self.requests.iter().enumerate() {
            while queue.len() < HELD {
                let records = requests.take(n, BATCH, 4 << 20)?;
                if records.is_empty() {
                    break;
                }
                for record in records {
                    let place = Place { partition: record.partition, offset: record.offset };
                    match self.job(&record) {
                        Ok(job) => queue.offer(place, Some(job)),
                        Err(reason) => {
                            tracing::error!(topic = %tp.topic, partition = record.partition, offset = record.offset, reason, "A request is a dead letter.");
                            metrics::counter!("concord_dead_letters_total", "system" => self.options.system.to_string()).increment(1);
                            dead.push(self.dead_letter(record, &reason));
                            queue.offer(place, None);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn job(&self, record: &ConsumerRecord) -> Result<Job, String> {
        let key = record.key.as_deref().ok_or("a request without a key")?;
        let key = std::str::from_utf8(key).map_err(|e| format!("its key is no text: {e}"))?;
        let value = record.value.as_deref().ok_or("a request without a value")?;
        let request = self.codec.decode(value).map_err(|e| e.to_string())?;
        Ok(Job { key: key.into(), action: request.action })
    }

    async fn apply(&self, writer: &mut Writer, turns: &[Turn]) -> Result<Vec<bool>, sqlx::Error> {
        let started = std::time::Instant::now();
        let jobs: Vec<&Job> = turns.iter().map(|turn| &turn.job).collect();
        let finished = writer.apply(&jobs).await?;
        let system = self.options.system.to_string();
        let done = finished.iter().filter(|f| **f).count();
        metrics::counter!("concord_product_requests_total", "system" => system.clone()).increment(done as u64);
        metrics::counter!("concord_product_requests_busy_total", "system" => system.clone()).increment((finished.len() - done) as u64);
        metrics::histogram!("concord_product_batch_seconds", "system" => system).record(started.elapsed().as_secs_f64());
        Ok(finished)
    }

    /// Starts committing what is finished, if there is anything.
    fn commit(&self, queue: &Queue, dead: &mut Vec<ProducerRecord>) -> Option<Commit> {
        let ends = queue.to_commit();
        if ends.is_empty() && dead.is_empty() {
            return None;
        }
        let offsets =
            ends.iter().map(|(n, end)| (self.group.clone(), TopicPartition::new(self.requests[0].topic.clone(), *n), *end)).collect();
        let append = Append { records: std::mem::take(dead), offsets };
        let log = self.log.clone();
        let task = tokio::spawn(async move { append_until_taken(&log, append).await });
        Some(Commit { ends, task, result: None })
    }

    fn dead_letter(&self, record: ConsumerRecord, reason: &str) -> ProducerRecord {
        let mut headers: Headers = record.headers.clone();
        headers.add(dlq_headers::EXCEPTION, "concord.product.Poison");
        headers.add(dlq_headers::MESSAGE, reason.to_owned());
        headers.add(dlq_headers::TOPIC, record.topic.to_string());
        headers.add(dlq_headers::PARTITION, record.partition.to_string());
        headers.add(dlq_headers::OFFSET, record.offset.to_string());
        ProducerRecord {
            topic: self.dead.as_str().into(),
            partition: Some(record.partition),
            key: record.key,
            value: record.value,
            timestamp: record.timestamp,
            headers,
        }
    }

    /// The fence's ids are of one log: in another one (a new data folder) the same write ids are other writes.
    async fn own_fence(&self, db: &mut PgConnection) -> Result<(), Trouble> {
        let name = log_cursor(&self.options.system);
        let log = match self.cursors.get(&name) {
            Some(log) => log,
            None => {
                let log = uuid::Uuid::new_v4().to_string();
                self.cursors.set(&name, &log).await?;
                log
            }
        };
        sqlx::query("UPDATE concord.products SET log = $2::uuid WHERE system = $1 AND log IS DISTINCT FROM $2::uuid")
            .bind(self.options.system.as_str())
            .bind(&log)
            .execute(db)
            .await?;
        Ok(())
    }
}

/// Offsets on their way into the log.
struct Commit {
    ends: Vec<(i32, i64)>,
    task: JoinHandle<Result<(), LogError>>,
    result: Option<Result<(), LogError>>,
}

impl Commit {
    fn is_over(&self) -> bool {
        self.result.is_some() || self.task.is_finished()
    }

    async fn wait(&mut self) -> &Result<(), LogError> {
        if self.result.is_none() {
            // A task that panicked committed nothing; the next one covers its offsets.
            self.result = Some((&mut self.task).await.unwrap_or(Ok(())));
        }
        self.result.get_or_insert(Ok(()))
    }

    /// The ends that are committed.
    async fn finish(mut self) -> Result<Vec<(i32, i64)>, LogError> {
        self.wait().await.clone()?;
        Ok(self.ends)
    }

    async fn over(commit: &mut Option<Commit>) {
        match commit {
            Some(commit) => {
                commit.wait().await;
            }
            None => std::future::pending().await,
        }
    }
}

/// Appends, however long the log takes nothing (a full disk).
async fn append_until_taken(log: &Log, append: Append) -> Result<(), LogError> {
    loop {
        match log.append(append.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if error.class() == streams::embedded::ErrorClass::Retriable => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
