//! The schema registry over HTTP, as Confluent's clients know it: `concord registry`, and the same within `concord run`.
//!
//! - [`service`]: one change after the other, each on disk before it is seen; [`door`]: who may ask
//! - [`remote`]: another registry in its place
//! - [`routes`]: which request asks what; [`request`], [`answer`]: how that is written in HTTP

mod answer;
mod door;
mod remote;
mod request;
mod routes;
mod service;

pub use door::Door;
pub use remote::{open, waiting};
pub use service::Service;

use crate::{
    config::{Env, Overrides, RegistryConfig},
    topics,
};
use anyhow::{Context, bail};
use request::Request;
use schemas::Registry;
use sources::webhook::{Limits, RequestBody, serve};
use std::{convert::Infallible, net::SocketAddr, os::unix::fs::PermissionsExt, sync::Arc};
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
use tower::service_fn;

/// Takes the address, so that a second process fails before it does anything.
pub async fn bind(config: &RegistryConfig) -> anyhow::Result<Option<(TcpListener, SocketAddr)>> {
    let Some(listen) = config.listen else { return Ok(None) };
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("CONCORD_REGISTRY_LISTEN: cannot listen on {listen}; is another registry there? `off` serves none, another address serves ours there")
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
pub async fn start(
    listener: Option<(TcpListener, SocketAddr)>,
    log: &Log,
    registry: &Registry,
    config: &RegistryConfig,
    stop: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let Some((listener, at)) = listener else { return Ok(tokio::spawn(async {})) };
    let service = Service::new(log.clone(), registry.clone()).await?;
    tracing::info!(listen = %at, "The schema registry is served, too.");
    Ok(tokio::spawn(run(listener, service, Door::new(at, config), stop)))
}

/// `concord registry`: the registry alone, on the log of a data folder that no other process uses.
pub async fn command(overrides: &Overrides, env: &Env) -> anyhow::Result<()> {
    let (folder, config) = RegistryConfig::alone(overrides, env)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let Some((listener, at)) = bind(&config).await? else {
        bail!("CONCORD_REGISTRY_LISTEN is off: there is nothing to serve; unset it, or give --listen");
    };
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)))
        .with_context(|| format!("CONCORD_DATA_DIR: cannot make {}, or restrict it to this user", folder.display()))?;
    let embedded = embedded::Log::open(&folder, Options::default())
        .context("`concord run` serves the registry of its data folder itself; one beside it needs a folder of its own (--data-dir)")?;
    let log = Log::from(embedded.clone());
    log.create_topic(TopicConfig::compact(topics::SCHEMAS, 1)).await?;
    let registry = topics::registry_in(&log).await?;
    let service = Service::new(log, registry).await?;
    let stop = CancellationToken::new();
    tracing::info!(listen = %at, data = %folder.display(), "The schema registry is running.");
    let served = tokio::spawn(run(listener, service, Door::new(at, &config), stop.clone()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
    served.await?;
    tokio::task::spawn_blocking(move || embedded.close()).await?;
    tracing::info!("Stopped.");
    Ok(())
}
