//! All of HTTP on one port: the guard, then the webhooks and the API.

use crate::http::{App, Guard, answer, routes};
use anyhow::Context;
use sources::{
    stripe::webhook::{self, Webhook},
    webhook::{Limits, RequestBody, serve},
};
use std::{convert::Infallible, net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::{Service, service_fn};
use warp::{Filter, reply::Response};

/// Takes the address, so that a second process fails before it does anything.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| format!("CONCORD_LISTEN: cannot listen on {listen}; is another process there?"))
}

/// Serves until `stop`.
pub async fn run(listener: TcpListener, app: App, guard: Guard, webhooks: Vec<Webhook>, stop: CancellationToken) {
    let webhooks = webhook::routes(webhooks.into_iter().map(Arc::new).collect());
    let inner = warp::service(webhooks.or(routes(app)).unify());
    let guard = Arc::new(guard);
    let service = service_fn(move |request: http::Request<RequestBody>| {
        let checked = guard.check(request.method(), request.uri().path(), request.headers());
        let mut inner = inner.clone();
        async move {
            match checked {
                // warp's service is always ready.
                Ok(()) => inner.call(request).await,
                Err(refusal) => Ok::<Response, Infallible>(answer::detail(refusal.status, refusal.detail)),
            }
        }
    });
    serve(listener, service, Limits::default(), stop).await;
}
