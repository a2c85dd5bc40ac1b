//! The product's source: everything that happens to its table, from the outbox that the triggers and the sink write.
//!
//! - [`Source`]: attaches to the table, then runs the two loops below until the shutdown
//! - `take`: outbox rows → `customers.<product>`, woken by NOTIFY, with a poll as the safety net
//! - `survey`: the first backfill, and the sweeps where changes may have gone unnoticed; it writes to the outbox, too
//! - [`place`]: which table it is
//! - [`message`]: a row as a message, [`chunk`]: several that share a row (both pure); [`outbox`], [`sweep`]: their SQL

pub mod chunk;
pub mod message;
pub mod outbox;
pub mod place;
mod survey;
pub mod sweep;
mod take;

pub use survey::THROUGH;

use clients::postgres::{self, ActError, AttachError, TableConfig};
use connect::{ConnectError, Cursors, Health, SourceError, topics};
use schemas::{AvroCodec, Registry, SourceCustomer, System, value_subject};
use std::time::Duration;
use streams::{Log, TopicPartition, embedded::LogError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the source reads.
#[derive(Debug, Clone)]
pub struct Options {
    pub system: System,
    pub database_url: String,
    pub table: TableConfig,
    /// The group of the topology that reads `customers.<product>`: a backfill never runs far ahead of it.
    pub application_id: String,
    /// What tells this log from others: no two act on a database at once.
    pub log: String,
}

/// How far the first backfill is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backfill {
    /// The table is not attached to yet.
    Waiting,
    Running {
        rows: u64,
    },
    /// All its results are in `customers.<product>`.
    Through,
}

/// Publishes the product.
pub struct Source {
    log: Log,
    cursors: Cursors,
    options: Options,
    codec: AvroCodec<SourceCustomer>,
    topic: String,
    partitions: Vec<TopicPartition>,
    names: Names,
    health: watch::Sender<Health>,
    backfill: watch::Sender<Backfill>,
}

/// What is remembered in the log, by name.
#[derive(Debug, Clone)]
struct Names {
    /// The greatest outbox number that was published.
    published: String,
    /// `through`, or `after <key>`.
    backfill: String,
    /// What identifies the triggers: others mean that changes may have gone unnoticed.
    table: String,
    /// The number of the outbox row that last told of a TRUNCATE.
    truncated: String,
    /// The one that was last swept for.
    swept: String,
}

fn backfill_cursor(system: &System) -> String {
    format!("{system}.backfill")
}

/// Why the work over a connection ended.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Act(#[from] ActError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error("{}", postgres::message(.0))]
    Sql(#[from] sqlx::Error),
    #[error("the log takes nothing: {0}")]
    Log(#[from] LogError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(
        "the product's database is older than what was published from it (its outbox is at {found}, {published} was published): it was \
         restored from a backup. Its rows would be taken for edits. To go on with the rows as they are, run \
         SELECT setval('concord.outbox_number', {published})"
    )]
    Restored { found: i64, published: i64 },
}

impl Source {
    /// The system's topics must exist. Nothing is asked of the database yet.
    pub fn new(log: &Log, registry: &Registry, cursors: &Cursors, options: Options) -> Result<Self, ConnectError> {
        let topic = topics::customers_topic(&options.system);
        let codec = registry.codec(&value_subject(&topic)).map_err(|source| ConnectError::Schema { topic: topic.clone(), source })?;
        let count = log.partitions(&topic).ok_or_else(|| ConnectError::NoTopic(topic.clone()))?;
        let name = |what: &str| format!("{}.{what}", options.system);
        Ok(Source {
            log: log.clone(),
            cursors: cursors.clone(),
            codec,
            partitions: (0..count).map(|n| TopicPartition::new(topic.as_str(), n)).collect(),
            topic,
            names: Names {
                published: name("outbox"),
                backfill: backfill_cursor(&options.system),
                table: name("table"),
                truncated: name("truncated"),
                swept: name("swept"),
            },
            options,
            health: watch::Sender::new(Health::Ok),
            backfill: watch::Sender::new(Backfill::Waiting),
        })
    }

    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub fn backfill(&self) -> watch::Receiver<Backfill> {
        self.backfill.subscribe()
    }

    /// Publishes until the shutdown. Trouble with the database is waited out, and so is a log that takes nothing for now.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), SourceError> {
        let mut pause = Duration::from_millis(100);
        while !shutdown.is_cancelled() {
            let started = tokio::time::Instant::now();
            let error = match self.serve(&shutdown).await {
                Ok(()) => break,
                Err(Trouble::Log(error)) if error.class() != streams::embedded::ErrorClass::Retriable => {
                    return Err(self.error("log", error));
                }
                Err(error) => error,
            };
            metrics::counter!("concord_product_source_errors_total", "system" => self.options.system.to_string()).increment(1);
            tracing::warn!(system = %self.options.system, %error, "The product cannot be read; trying again.");
            self.health.send_replace(Health::Paused(error.to_string()));
            if started.elapsed() > Duration::from_secs(30) {
                pause = Duration::from_millis(100);
            }
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

    /// Works until a connection fails.
    async fn serve(&self, shutdown: &CancellationToken) -> Result<(), Trouble> {
        let pool = postgres::pool(&self.options.database_url, 4)?;
        let mut acting = pool.acquire().await?;
        let attaching = async {
            postgres::act(&mut acting, &self.options.log).await?;
            Ok::<_, Trouble>(postgres::open(&pool, &self.options.system, &self.options.table).await?)
        };
        let attached = tokio::select! {
            attached = attaching => attached?,
            () = shutdown.cancelled() => return Ok(()),
        };
        let found = outbox::last_number(&mut acting).await?;
        let published = self.number(&self.names.published);
        if found < published {
            return Err(Trouble::Restored { found, published });
        }
        self.health.send_replace(Health::Ok);
        // Neither loop ends but by the shutdown or an error.
        let ended = tokio::try_join!(self.take(&pool, &mut acting, shutdown), self.survey(&pool, &attached, shutdown));
        drop(acting);
        pool.close().await;
        ended.map(|_| ())
    }

    fn number(&self, name: &str) -> i64 {
        self.cursors.get(name).and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}
