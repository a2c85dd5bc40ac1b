//! The configured systems: each one's source and sink, supervised on their own, so that one that is down stops no other.

use super::{
    engine::Engine,
    product,
    supervise::{Trouble, keep},
};
use crate::{
    config::{Config, Kind, Mode, Stripe, SystemConfig},
    http::{Part, Parts, Product},
};
use clients::stripe::Client;
use connect::{CatchUp, Health, Requests, Runner, Sink, Source, Style, catch_up::Stage, runner};
use parking_lot::Mutex;
use schemas::System;
use sources::{
    product::place::keep_place,
    stripe::{RecentEvents, Webhook},
};
use sqlx::PgPool;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use streams::{TopicPartition, embedded::LogError};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// How often what was published to a topic is counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What was started.
#[derive(Default)]
pub struct Systems {
    pub sources: Vec<JoinHandle<()>>,
    pub sinks: Vec<JoinHandle<()>>,
    pub webhooks: Vec<Webhook>,
    pub pool: Option<PgPool>,
    pub product: Option<Arc<OnceLock<Product>>>,
}

/// When sources stop, and when sinks do.
#[derive(Clone)]
pub struct Stops {
    pub sources: CancellationToken,
    pub sinks: CancellationToken,
}

/// Starts every system's source and sink.
pub async fn start(config: &Config, engine: &Engine, parts: &mut Parts, stops: &Stops) -> anyhow::Result<Systems> {
    let mut systems = Systems::default();
    for (name, system) in &config.systems {
        match &system.kind {
            Kind::Postgres(table) => {
                keep_place(&engine.cursors, name, table).await?;
                product::start(config, name, system, table, engine, parts, stops, &mut systems)?;
            }
            Kind::Stripe(account) => start_stripe(name, system, account, engine, parts, stops, &mut systems).await?,
            Kind::Topic => systems.sources.push(show_topic(name, engine, parts, stops)),
        }
        engine.walks.configured(name, &engine.customers.walk_reason(name)).await?;
    }
    Ok(systems)
}

/// Nothing runs for a system of kind `topic`: what was published to it tells whether anybody does.
fn show_topic(name: &System, engine: &Engine, parts: &mut Parts, stops: &Stops) -> JoinHandle<()> {
    let (log, topic) = (engine.log.clone(), format!("customers.{name}"));
    let count = Arc::new(AtomicI64::new(0));
    let (shown, of) = (count.clone(), topic.clone());
    parts.add(name.as_str(), move || Part::Ok(format!("{} published to {of}", shown.load(Ordering::Relaxed))));
    let stop = stops.sources.clone();
    keep(format!("{name}: count"), stops.sources.clone(), Trouble::default(), move || {
        let (log, topic, count, stop) = (log.clone(), topic.clone(), count.clone(), stop.clone());
        async move {
            while !stop.is_cancelled() {
                let mut ends = 0;
                for partition in 0..log.partitions(&topic).unwrap_or(0) {
                    ends += log.end_offset(&TopicPartition::new(&*topic, partition)).await?;
                }
                count.store(ends, Ordering::Relaxed);
                let _ = tokio::time::timeout(COUNT_EVERY, stop.cancelled()).await;
            }
            Ok::<(), LogError>(())
        }
    })
}

async fn start_stripe(
    name: &System,
    system: &SystemConfig,
    account: &Stripe,
    engine: &Engine,
    parts: &mut Parts,
    stops: &Stops,
    systems: &mut Systems,
) -> anyhow::Result<()> {
    let Some(options) = account.options.clone() else { return Ok(()) };
    let client = Client::new(options)?;
    let requests = Requests::new(&engine.log, &engine.registry, name)?;
    let recent = RecentEvents::default();
    if account.webhook_secrets.is_empty() {
        tracing::warn!(system = %name, "No webhook secret is set: changes are noticed by polling Stripe's events only.");
    } else {
        systems.webhooks.push(Webhook::new(requests.clone(), account.webhook_secrets.clone(), recent.clone())?);
    }
    let source = sources::stripe::Stripe::new(
        client.clone(),
        engine.log.clone(),
        requests,
        engine.cursors.clone(),
        recent,
        sources::stripe::Options::default(),
    )
    .await?;
    let source: Arc<dyn Source> = Arc::new(source.announcing(engine.walks.clone()));
    let stage = source.catch_up().map(CatchUp::watch).filter(|_| system.mode == Mode::Sync);
    let sink: Option<Arc<dyn Sink>> = (system.mode == Mode::Sync).then(|| Arc::new(sinks::stripe::Stripe::new(client)) as Arc<dyn Sink>);

    let noticing = Trouble::default();
    let (run, stop, well) = (source.clone(), stops.sources.clone(), noticing.clone());
    systems.sources.push(keep(format!("{name}: source"), stops.sources.clone(), noticing.clone(), move || {
        let (run, stop) = (run.clone(), stop.clone());
        well.clear();
        async move { run.run(stop).await }
    }));

    let talking = Trouble::default();
    let health: Arc<Mutex<Option<watch::Receiver<Health>>>> = Arc::default();
    let (log, registry, stop, shown, well) =
        (engine.log.clone(), engine.registry.clone(), stops.sinks.clone(), health.clone(), talking.clone());
    let options = runner::Options { lists: true, ..runner::Options::new(name.clone(), Style::Idempotent) };
    systems.sinks.push(keep(format!("{name}: conversation"), stops.sinks.clone(), talking.clone(), move || {
        let (log, registry, options, source, sink, stop) =
            (log.clone(), registry.clone(), options.clone(), source.clone(), sink.clone(), stop.clone());
        let shown = shown.clone();
        well.clear();
        async move {
            let runner = Runner::new(log, &registry, options, source, sink).await?;
            *shown.lock() = Some(runner.health());
            runner.run(stop).await
        }
    }));
    // A vendor that is away is degraded, never down: its outage must not take our webhook out of service.
    parts.add(name.as_str(), move || {
        let health = health.lock().as_ref().map(|health| health.borrow().clone()).unwrap_or_default();
        let stage = stage.as_ref().map_or(Stage::Through, |stage| stage.borrow().clone());
        let (waits, failing) = match stage {
            Stage::Through => ("", None),
            Stage::Going => ("catching up with what changed before the start: creates wait for it", None),
            Stage::Failing(why) => ("", Some(format!("creates wait until it has caught up with what changed before the start: {why}"))),
        };
        let troubles: Vec<String> = match health {
            Health::Ok => [talking.get(), noticing.get(), failing].into_iter().flatten().collect(),
            Health::Degraded(_) | Health::Paused(_) => [Some(health.to_string()), failing].into_iter().flatten().collect(),
        };
        if troubles.is_empty() { Part::Ok(waits.to_owned()) } else { Part::Degraded(troubles.join("; ")) }
    });
    Ok(())
}
