//! The product: its outbox as a source, its table as a sink, the golden tables beside it, and its own API's connection.

use super::{
    engine::Engine,
    owned::{Acting, Owned, Stops, Tasks, Work},
    supervise::{Trouble, keep},
    systems::Systems,
};
use crate::{
    config::{Config, Mode, SystemConfig},
    http::{Part, Parts, Product},
};
use anyhow::Context;
use clients::postgres::TableConfig;
use connect::Health;
use parking_lot::Mutex;
use schemas::{Registry, System};
use sinks::{golden, product as sink};
use sources::product::{self as source, Backfill, place::keep_place};
use sqlx::{PgPool, postgres::PgPoolOptions};
use std::{
    str::FromStr,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Connections of the API and the golden tables' readers.
const CONNECTIONS: u32 = 10;

/// The health of a task that may be started again, and what it last failed of.
#[derive(Clone, Default)]
struct Watched {
    health: Arc<Mutex<Option<watch::Receiver<Health>>>>,
    trouble: Trouble,
}

impl Watched {
    fn started(&self, health: watch::Receiver<Health>) {
        *self.health.lock() = Some(health);
        self.trouble.clear();
    }

    /// Without Postgres this process cannot do its work.
    fn part(&self) -> Part {
        if let Some(trouble) = self.trouble.get() {
            return Part::Down(trouble);
        }
        match self.health.lock().as_ref().map(|health| health.borrow().clone()).unwrap_or_default() {
            Health::Ok => Part::Ok(String::new()),
            Health::Degraded(reason) | Health::Paused(reason) => Part::Down(reason),
        }
    }
}

/// The database that the product and the golden tables are in.
pub struct Database {
    url: String,
    application_id: String,
    /// Of the API and the golden tables' readers.
    pool: PgPool,
}

impl Database {
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let url = config.database_url.as_ref().map(|url| url.reveal().to_string()).unwrap_or_default();
        // sqlx's own message would repeat the string.
        let options =
            sqlx::postgres::PgConnectOptions::from_str(&url).map_err(|_| anyhow::anyhow!("DATABASE_URL: not a postgres:// address"))?;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(Duration::from_secs(3)).connect_lazy_with(options);
        Ok(Database { url, application_id: config.application_id.clone(), pool })
    }
}

/// What an owner does for the product.
pub struct ProductWork {
    registry: Registry,
    source: source::Options,
    /// `None`: the product is only read.
    sink: Option<sink::Options>,
    walk_reason: String,
    noticing: Watched,
    writing: Watched,
}

/// The product's work, and its parts of the health.
pub fn table(
    name: &System,
    system: &SystemConfig,
    table: &TableConfig,
    database: &Database,
    engine: &Engine,
    parts: &mut Parts,
) -> (ProductWork, Acting) {
    let (url, table, log) = (database.url.clone(), table.clone(), engine.log_name());
    let work = ProductWork {
        registry: engine.registry.clone(),
        source: source::Options {
            system: name.clone(),
            database_url: url.clone(),
            table: table.clone(),
            application_id: database.application_id.clone(),
            log: log.clone(),
        },
        sink: (system.mode == Mode::Sync).then(|| sink::Options { system: name.clone(), database_url: url, table, log }),
        walk_reason: engine.customers.walk_reason(name),
        noticing: Watched::default(),
        writing: Watched::default(),
    };
    let acting = Acting::default();
    let watched = [(name.to_string(), Some(&work.noticing)), (format!("{name}: sink"), work.sink.as_ref().map(|_| &work.writing))];
    for (part, watched) in watched {
        if let Some(watched) = watched.cloned() {
            let here = acting.clone();
            parts.add(part, move || here.elsewhere().unwrap_or_else(|| watched.part()));
        }
    }
    (work, acting)
}

impl Work for ProductWork {
    async fn begin(&self, owned: &Owned) -> anyhow::Result<Tasks> {
        let name = &self.source.system;
        keep_place(&owned.cursors, name, &self.source.table).await?;
        owned.walks.configured(name, &self.walk_reason).await?;
        let mut tasks = Tasks::default();
        let (registry, made, shown) = (self.registry.clone(), self.source.clone(), self.noticing.clone());
        let (log, cursors, walks, stop) = (owned.log.clone(), owned.cursors.clone(), owned.walks.clone(), owned.stops.sources.clone());
        tasks.sources.push(keep(format!("{name}: source"), stop.clone(), self.noticing.trouble.clone(), move || {
            let source = source::Source::new(&log, &registry, &cursors, made.clone());
            let (shown, stop, walks, product) = (shown.clone(), stop.clone(), walks.clone(), made.system.clone());
            async move {
                let source = source.context("the product's source")?;
                shown.started(source.health());
                let backfill = source.backfill();
                let import = async {
                    through(backfill).await;
                    if let Err(error) = walks.import(&product).await {
                        anyhow::bail!("announcing the import: {error}");
                    }
                    std::future::pending::<anyhow::Result<()>>().await
                };
                tokio::select! {
                    ended = source.run(stop) => ended.context("the product's source"),
                    failed = import => failed,
                }
            }
        }));
        if let Some(made) = self.sink.clone() {
            let (registry, shown) = (self.registry.clone(), self.writing.clone());
            let (log, cursors, stop) = (owned.log.clone(), owned.cursors.clone(), owned.stops.sinks.clone());
            tasks.sinks.push(keep(format!("{name}: sink"), stop.clone(), self.writing.trouble.clone(), move || {
                let (log, registry, cursors, made) = (log.clone(), registry.clone(), cursors.clone(), made.clone());
                let (shown, stop) = (shown.clone(), stop.clone());
                async move {
                    let sink = sink::Sink::new(&log, &registry, &cursors, made).await.context("the product's sink")?;
                    shown.started(sink.health());
                    sink.run(stop).await.context("the product's sink")
                }
            }));
        }
        Ok(tasks)
    }
}

/// What the owner of the golden tables does.
pub struct GoldenWork {
    registry: Registry,
    made: golden::Options,
    watched: Watched,
}

/// The golden tables' work, and their part of the health.
pub fn golden_tables(database: &Database, engine: &Engine, parts: &mut Parts) -> (GoldenWork, Acting) {
    let (acting, watched) = (Acting::default(), Watched::default());
    let (here, look) = (acting.clone(), watched.clone());
    parts.add("golden tables", move || here.elsewhere().unwrap_or_else(|| look.part()));
    let made = golden::Options { database_url: database.url.clone(), log: engine.log_name() };
    (GoldenWork { registry: engine.registry.clone(), made, watched }, acting)
}

impl Work for GoldenWork {
    async fn begin(&self, owned: &Owned) -> anyhow::Result<Tasks> {
        let (log, registry, made, shown) = (owned.log.clone(), self.registry.clone(), self.made.clone(), self.watched.clone());
        let stop = owned.stops.sinks.clone();
        let task = keep("golden tables".into(), stop.clone(), self.watched.trouble.clone(), move || {
            let (log, registry, made) = (log.clone(), registry.clone(), made.clone());
            let (shown, stop) = (shown.clone(), stop.clone());
            async move {
                let golden = golden::Golden::new(&log, &registry, made).await.context("the golden tables")?;
                shown.started(golden.health());
                golden.run(stop).await.context("the golden tables")
            }
        });
        Ok(Tasks { sources: Vec::new(), sinks: vec![task] })
    }
}

/// The connections of this process's API.
pub fn serve(name: &System, table: &TableConfig, database: &Database, parts: &mut Parts, stops: &Stops, systems: &mut Systems) {
    let pool = database.pool.clone();
    let slot = Arc::new(OnceLock::new());
    (systems.pool, systems.product) = (Some(pool.clone()), Some(slot.clone()));
    let attaching = Trouble::default();
    attaching.set("not attached yet");
    let (part, stop, name, table) = (attaching.clone(), stops.sources.clone(), name.clone(), table.clone());
    systems.sources.push(keep(format!("{name}: API"), stops.sources.clone(), attaching.clone(), move || {
        let (pool, name, table, slot, stop, attaching) =
            (pool.clone(), name.clone(), table.clone(), slot.clone(), stop.clone(), attaching.clone());
        async move { attach(pool, name, table, &slot, &attaching, stop).await }
    }));
    parts.add("API", move || part.part(Part::Down));
}

/// Waits until the first backfill is through; for ever if the source ends before.
async fn through(mut backfill: watch::Receiver<Backfill>) {
    if backfill.wait_for(|state| matches!(state, Backfill::Through)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Looks the table up for the API once Postgres answers, then has nothing more to do.
async fn attach(
    pool: PgPool,
    name: System,
    table: TableConfig,
    slot: &OnceLock<Product>,
    attaching: &Trouble,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    if slot.get().is_none() {
        let attached = tokio::select! {
            attached = clients::postgres::open(&pool, &name, &table) => attached.context("looking the product's table up")?,
            () = stop.cancelled() => return Ok(()),
        };
        // Only this task sets it.
        let _ = slot.set(Product { pool, table: Arc::new(attached.table) });
    }
    attaching.clear();
    stop.cancelled().await;
    Ok(())
}
