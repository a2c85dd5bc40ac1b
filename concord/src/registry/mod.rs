//! The schema registry over HTTP, as Confluent's clients know it: `concord registry`, and the same within `concord run`.
//!
//! - [`service`]: one change after the other, each on disk before it is seen; [`door`]: who may ask
//! - [`remote`]: another registry in its place; [`asking`]: ids that are looked for when they are met
//! - [`routes`]: which request asks what; [`request`], [`answer`]: how that is written in HTTP

mod answer;
mod asking;
mod door;
mod remote;
mod request;
mod routes;
mod service;

pub use door::Door;
pub use remote::waiting;
pub use service::Service;

use crate::{
    config::{Alone, Config, Env, Overrides, RegistryConfig},
    run::supervise::{Trouble, keep},
    topics,
};
use anyhow::{Context, bail};
use request::Request;
use schemas::{
    Registry,
    registry::{Change, Refusal},
};
use sources::webhook::{Limits, RequestBody, serve};
use std::{convert::Infallible, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, sync::Arc};
use streams::{
    Log,
    embedded::{self, Options, TopicConfig},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use topology::customers;
use tower::service_fn;

/// Takes the address, so that a second process fails before it does anything.
pub async fn bind(config: &RegistryConfig) -> anyhow::Result<Option<(TcpListener, SocketAddr)>> {
    let Some(listen) = config.listen else { return Ok(None) };
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!(
            "CONCORD_REGISTRY_LISTEN: cannot listen on {listen}; is another registry there? Another address serves ours there (`concord registry` \
             takes --listen, too); `off` lets `concord run` serve none"
        )
    })?;
    let at = listener.local_addr().unwrap_or(listen);
    Ok(Some((listener, at)))
}

/// Serves until `stop`.
pub async fn run(listener: TcpListener, service: Service, door: Door, stop: CancellationToken) {
    let (service, door) = (Arc::new(service), Arc::new(door));
    let answering = service_fn(move |request: http::Request<RequestBody>| {
        let (service, door) = (service.clone(), door.clone());
        async move {
            let wanted = answer::media_type(request.headers());
            let response = match door.check(request.method(), request.headers()) {
                Err(refusal) => answer::refused(&refusal, wanted),
                Ok(()) => match Request::read(request).await {
                    Err(refusal) => answer::refused(&refusal, wanted),
                    Ok(request) => match routes::answer(service, request).await {
                        Ok(body) => answer::done(body, wanted),
                        Err(refusal) => answer::refused(&refusal, wanted),
                    },
                },
            };
            let status = response.status().as_u16().to_string();
            metrics::counter!("concord_registry_requests_total", "status" => status).increment(1);
            Ok::<_, Infallible>(response)
        }
    });
    serve(listener, answering, Limits::default(), stop).await;
}

/// Within `concord run`: serves the registry that it uses itself, until `stop`.
pub fn start(
    listener: Option<(TcpListener, SocketAddr)>,
    service: Service,
    config: &RegistryConfig,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let Some((listener, at)) = listener else { return tokio::spawn(async {}) };
    tracing::info!(listen = %at, "The schema registry is served, too.");
    tokio::spawn(run(listener, service, Door::new(at, config), stop))
}

/// The schemas that this process writes with, registered in the log's registry or in the one that `config` names, and the registry for
/// those that decode.
pub async fn ready(service: &Service, config: &Config, customers: &customers::Config) -> anyhow::Result<Registry> {
    if let Some(remote) = &config.schema_registry {
        let needed = Registry::new();
        customers::build(customers, &needed)?;
        return remote::open(service, remote, &needed).await;
    }
    register(service, customers).await?;
    Ok(match config.kafka {
        // Nobody else writes to the log.
        None => service.registry().clone(),
        Some(_) => service.clone().looking(),
    })
}

/// Registers every schema that the topology writes with, all of them or none.
pub async fn register(service: &Service, customers: &customers::Config) -> anyhow::Result<()> {
    let customers = customers.clone();
    let decide = move |registry: &Registry| {
        let tried = registry.fork();
        customers::build(&customers, &tried).map_err(|error| Refusal::new(409, error.to_string()))?;
        Ok(Change { answer: (), records: tried.take_unsaved() })
    };
    service.change(decide).await.map_err(|refusal| anyhow::anyhow!("registering the schemas: {}", refusal.message))
}

/// `concord registry`: the registry alone, on the log of a data folder that no other process uses, or on Kafka.
pub async fn command(overrides: &Overrides, env: &Env) -> anyhow::Result<()> {
    let Alone { folder, kafka, application_id, registry: config } = RegistryConfig::alone(overrides, env)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ended = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::pin!(ended);
    let Some((listener, at)) = bind(&config).await? else {
        bail!("CONCORD_REGISTRY_LISTEN is off: there is nothing to serve; unset it, or give --listen");
    };
    let opened = async {
        let log = match &kafka {
            Some(kafka) => kafka.connect(&application_id).await?.into(),
            None => in_folder(&folder)?,
        };
        log.create_topic(TopicConfig::compact(topics::SCHEMAS, 1)).await?;
        let service = Service::open(log.clone(), topics::SCHEMAS).await?;
        anyhow::Ok((log, service))
    };
    // Brokers that are away may be waited for.
    let (log, service) = tokio::select! {
        opened = opened => opened?,
        () = &mut ended => return Ok(()),
    };
    let stop = CancellationToken::new();
    let place = kafka.as_ref().map_or_else(|| folder.display().to_string(), |kafka| kafka.bootstrap_servers.clone());
    tracing::info!(listen = %at, log = place, "The schema registry is running.");
    let served = tokio::spawn(run(listener, service.clone(), Door::new(at, &config), stop.clone()));
    let (followed, until) = (service.clone(), stop.clone());
    let followed = keep("schemas".into(), stop.clone(), Trouble::default(), move || followed.clone().follow(until.clone()));
    ended.await;
    stop.cancel();
    served.await?;
    followed.await?;
    service.release().await;
    if let Log::Embedded(log) = log {
        tokio::task::spawn_blocking(move || log.close()).await?;
    }
    tracing::info!("Stopped.");
    Ok(())
}

fn in_folder(folder: &Path) -> anyhow::Result<Log> {
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)))
        .with_context(|| format!("CONCORD_DATA_DIR: cannot make {}, or restrict it to this user", folder.display()))?;
    let log = embedded::Log::open(folder, Options::default())
        .context("`concord run` serves the registry of its data folder itself; one beside it needs a folder of its own (--data-dir)")?;
    Ok(log.into())
}
