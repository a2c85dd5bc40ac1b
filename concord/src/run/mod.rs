//! `concord run`: everything in one process. What is started, in which order, and how it ends.
//!
//! Sources stop first; what is under way is finished by the runners and sinks; the log closes last. Whatever is not finished by
//! the deadline is done after the next start: nothing depends on a clean end.

pub mod began;
mod engine;
mod metrics;
mod owned;
mod product;
mod serve;
mod stripe;
pub mod supervise;
mod systems;
mod tail;

use crate::{
    cli::Role,
    config::{Config, Env, Need, Overrides},
    dlq::DeadLetters,
    http::{App, Events, Guard, Parts},
    registry,
    topics::Publisher,
};
use engine::Engine;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use owned::Stops;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use supervise::{Trouble, keep};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// For sources, then for runners and sinks, then for HTTP: less than ten seconds in all.
const STOP_SOURCES: Duration = Duration::from_secs(2);
const STOP_SINKS: Duration = Duration::from_secs(3);
const STOP_HTTP: Duration = Duration::from_secs(4);
/// The topology commits and leaves its group.
const STOP_ENGINE: Duration = Duration::from_secs(6);

/// After brokers that did not say how far the topology is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How often dead letters are counted that are on brokers, which nobody who asks for them waits for.
const COUNT_DEAD_LETTERS: Duration = Duration::from_secs(10);

/// What one process does by itself.
const ALL: [Role; 3] = [Role::Streams, Role::Connectors, Role::Http];

pub async fn run(roles: &[Role], overrides: &Overrides, env: &Env) -> anyhow::Result<()> {
    let config = Config::load(overrides, env, Need::Everything)?;
    let seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    let recorder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &seconds)?.install_recorder()?;
    metrics::describe();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    if config.kafka.is_none() && ALL.iter().any(|role| !roles.contains(role)) {
        anyhow::bail!("--roles: a part alone needs a log that several processes share: set KAFKA_BOOTSTRAP_SERVERS");
    }
    let listener = serve::bind(config.listen).await?;
    let registry_listener = if roles.contains(&Role::Http) { registry::bind(&config.registry).await? } else { None };
    let ended = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::pin!(ended);
    // Brokers or a registry that are away, or another process that is about to start, may be waited for.
    let engine = tokio::select! {
        engine = Engine::start(&config, roles) => Arc::new(engine?),
        () = &mut ended => return Ok(()),
    };
    let mut parts = Parts::default();
    for (name, look) in engine.parts() {
        parts.push(name, look);
    }
    let stops = Stops::new();
    let stop_http = CancellationToken::new();
    let systems = tokio::select! {
        systems = systems::start(&config, roles, &engine, &mut parts, &stops) => systems?,
        () = &mut ended => return Ok(()),
    };
    let registry_served = registry::start(registry_listener, engine.schemas.clone(), &config.registry, stop_http.clone());
    let (schemas, until) = (engine.schemas.clone(), stops.sinks.clone());
    let followed = keep("schemas".into(), stops.sinks.clone(), Trouble::default(), move || schemas.clone().follow(until.clone()));

    let dead_letters = Arc::new(DeadLetters::new(engine.log.clone()));
    let looked = dead_letters.clone();
    parts.add("dead letters", move || looked.part());
    let looking = (!engine.is_alone()).then(|| tokio::spawn(look(dead_letters.clone())));

    let events = Events::new(stop_http.clone());
    let (log, registry, partitions) = (engine.log.clone(), engine.registry.clone(), config.partitions);
    let (sent, stop) = (events.clone(), stops.sinks.clone());
    let tail = keep("events".into(), stops.sinks.clone(), Trouble::default(), move || {
        tail::run(log.clone(), registry.clone(), partitions, sent.clone(), stop.clone())
    });
    let app = App {
        systems: config.systems.iter().map(|(name, s)| json!({"name": name, "kind": s.kind.name(), "mode": s.mode.name()})).collect(),
        parts,
        metrics: recorder,
        events,
        publisher: Publisher::new(engine.log.clone(), engine.registry.clone(), &config.systems),
        dead_letters,
        pool: systems.pool.clone(),
        product: systems.product.clone(),
    };
    let catching_up = engine.clone();
    let catching_up = tokio::spawn(async move {
        while let Err(error) = catching_up.catch_up().await {
            tracing::warn!(error = format!("{error:#}"), "It cannot be told yet whether the topology has caught up.");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    });
    let guard = Guard::new(config.listen, config.api_token.clone());
    tracing::info!(listen = %config.listen, data = %config.data_dir.display(), configuration = config.source, "Concord is running.");
    let http = tokio::spawn(serve::run(listener, app, guard, systems.webhooks, stop_http.clone()));

    ended.await;
    tracing::info!("Stopping: sources first, then what is under way.");
    catching_up.abort();
    if let Some(looking) = looking {
        looking.abort();
    }
    let unfinished = |what: &str| tracing::warn!(what, "Not finished in time; it goes on after the next start.");
    stops.sources.cancel();
    stop_http.cancel();
    if timeout(STOP_SOURCES, supervise::all(systems.sources)).await.is_err() {
        unfinished("sources");
    }
    stops.sinks.cancel();
    if timeout(STOP_SINKS, supervise::all(systems.sinks.into_iter().chain([tail, followed]).collect())).await.is_err() {
        unfinished("sinks");
    }
    if timeout(STOP_HTTP, async { tokio::join!(http, registry_served) }).await.is_err() {
        unfinished("HTTP");
    }
    if timeout(STOP_SINKS, engine.schemas.release()).await.is_err() {
        unfinished("the schema registry");
    }
    if timeout(STOP_ENGINE, tokio::task::spawn_blocking(move || engine.close())).await.is_err() {
        unfinished("the log");
    }
    tracing::info!("Stopped.");
    Ok(())
}

async fn look(dead_letters: Arc<DeadLetters>) {
    loop {
        dead_letters.look().await;
        tokio::time::sleep(COUNT_DEAD_LETTERS).await;
    }
}
