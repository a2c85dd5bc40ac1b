//! The product: its outbox as a source, its table as a sink, the golden tables beside it, and its own API's connection.

use super::{
    engine::Engine,
    supervise::{Trouble, keep},
    systems::{Stops, Systems},
};
use crate::{
    config::{Config, Mode, SystemConfig},
    http::{Part, Parts, Product},
};
use anyhow::Context;
use clients::postgres::TableConfig;
use connect::Health;
use parking_lot::Mutex;
use schemas::System;
use sinks::{golden, product as sink};
use sources::product::{self as source, Backfill};
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

#[allow(clippy::too_many_arguments)] // what is configured, what it runs on, and where what is started goes
pub fn start(
    config: &Config,
    name: &System,
    system: &SystemConfig,
    table: &TableConfig,
    engine: &Engine,
    parts: &mut Parts,
    stops: &Stops,
    systems: &mut Systems,
) -> anyhow::Result<()> {
    let url = config.database_url.as_ref().map(|url| url.reveal().to_string()).unwrap_or_default();
    // sqlx's own message would repeat the string.
    let options =
        sqlx::postgres::PgConnectOptions::from_str(&url).map_err(|_| anyhow::anyhow!("DATABASE_URL: not a postgres:// address"))?;
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(Duration::from_secs(3)).connect_lazy_with(options);
    systems.pool = Some(pool.clone());

    let (log, registry, cursors) = (engine.log.clone(), engine.registry.clone(), engine.cursors.clone());
    let watched = Watched::default();
    let shown = watched.clone();
    let made = source::Options {
        system: name.clone(),
        database_url: url.clone(),
        table: table.clone(),
        application_id: config.application_id.clone(),
    };
    let (stop, walks, product) = (stops.sources.clone(), engine.walks.clone(), name.clone());
    systems.sources.push(keep(format!("{name}: source"), stops.sources.clone(), watched.trouble.clone(), move || {
        let source = source::Source::new(&log, &registry, &cursors, made.clone());
        let (shown, stop, walks, product) = (shown.clone(), stop.clone(), walks.clone(), product.clone());
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
    let part = watched.clone();
    parts.add(name.as_str(), move || part.part());

    if system.mode == Mode::Sync {
        let (log, registry, cursors) = (engine.log.clone(), engine.registry.clone(), engine.cursors.clone());
        let watched = Watched::default();
        let shown = watched.clone();
        let made = sink::Options { system: name.clone(), database_url: url.clone(), table: table.clone() };
        let stop = stops.sinks.clone();
        systems.sinks.push(keep(format!("{name}: sink"), stops.sinks.clone(), watched.trouble.clone(), move || {
            let (log, registry, cursors, made) = (log.clone(), registry.clone(), cursors.clone(), made.clone());
            let (shown, stop) = (shown.clone(), stop.clone());
            async move {
                let sink = sink::Sink::new(&log, &registry, &cursors, made).await.context("the product's sink")?;
                shown.started(sink.health());
                sink.run(stop).await.context("the product's sink")
            }
        }));
        parts.add(format!("{name}: sink"), move || watched.part());
    }

    let (log, registry) = (engine.log.clone(), engine.registry.clone());
    let watched = Watched::default();
    let shown = watched.clone();
    let made = golden::Options { database_url: url };
    let stop = stops.sinks.clone();
    systems.sinks.push(keep("golden tables".into(), stops.sinks.clone(), watched.trouble.clone(), move || {
        let (log, registry, made) = (log.clone(), registry.clone(), made.clone());
        let (shown, stop) = (shown.clone(), stop.clone());
        async move {
            let golden = golden::Golden::new(&log, &registry, made).await.context("the golden tables")?;
            shown.started(golden.health());
            golden.run(stop).await.context("the golden tables")
        }
    }));
    parts.add("golden tables", move || watched.part());

    let slot = Arc::new(OnceLock::new());
    systems.product = Some(slot.clone());
    let attaching = Trouble::default();
    attaching.set("not attached yet");
    let (part, stop, name, table) = (attaching.clone(), stops.sources.clone(), name.clone(), table.clone());
    systems.sources.push(keep(format!("{name}: API"), stops.sources.clone(), attaching.clone(), move || {
        let (pool, name, table, slot, stop, attaching) =
            (pool.clone(), name.clone(), table.clone(), slot.clone(), stop.clone(), attaching.clone());
        async move { attach(pool, name, table, &slot, &attaching, stop).await }
    }));
    parts.add("API", move || part.part(Part::Down));
    Ok(())
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
