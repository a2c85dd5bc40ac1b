//! The HTTP server: one address for Stripe's API, the page and the controls.

use super::{
    api::{self, Asked, Reset},
    clock::http_date,
    control,
    state::{Answer, State},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use std::{sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const MAX_BODY: usize = 1 << 20;
/// How long answers under way may take at the end.
const DRAIN: Duration = Duration::from_secs(3);

pub(crate) async fn run(state: Arc<State>, listener: TcpListener, end: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(60)).pipeline_flush(true);
    let graceful = GracefulShutdown::new();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = end.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "A connection could not be accepted.");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let state = state.clone();
        let service = service_fn(move |request| respond(state.clone(), request));
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        connections.spawn(async move {
            // Ends with an error where the client hung up, or was hung up on.
            let _ = connection.await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

async fn respond(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Reset> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "The body is too large.\n".into()));
    };
    let asked = Asked { method: parts.method, uri: parts.uri, headers: parts.headers, body: body.to_bytes() };
    if !is_local(&asked) {
        return Ok(plain(StatusCode::FORBIDDEN, "text/plain", "This stand-in serves this machine only.\n".into()));
    }
    match asked.uri.path() {
        "/" => Ok(plain(StatusCode::OK, "text/html; charset=utf-8", control::PAGE.into())),
        "/favicon.ico" => Ok(plain(StatusCode::NO_CONTENT, "text/plain", Bytes::new())),
        path if path.starts_with("/_sandbox/") => {
            let Answer { status, body, .. } = control::answer(&state, &asked);
            Ok(plain(StatusCode::from_u16(status).unwrap_or_default(), "application/json", body.into()))
        }
        _ => {
            let version = asked.headers.get("stripe-version").cloned();
            let told = api::answer(&state, asked).await?;
            Ok(dress(&state, told, version))
        }
    }
}

/// Asked under a name of this machine: a page of another site that points its own name here gets nothing.
fn is_local(asked: &Asked) -> bool {
    let local = |host: &str| {
        let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|c| c.is_ascii_digit())).map_or(host, |(name, _)| name);
        matches!(name, "localhost" | "[::1]") || name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
    };
    let host = asked.headers.get(header::HOST).and_then(|v| v.to_str().ok()).is_some_and(local);
    let origin = match asked.headers.get(header::ORIGIN).map(|v| v.to_str()) {
        None => true,
        Some(Ok(origin)) => origin.split_once("://").is_some_and(|(_, host)| local(host)),
        Some(Err(_)) => false,
    };
    host && origin
}

/// The headers that each of Stripe's answers has.
fn dress(state: &State, told: api::Told, version: Option<HeaderValue>) -> Response<Full<Bytes>> {
    let api::Told { answer, request_id, key } = told;
    let mut response = plain(StatusCode::from_u16(answer.status).unwrap_or_default(), "application/json", answer.body.into());
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    set("date", http_date(state.clock.now()));
    set("request-id", request_id);
    set("stripe-version", version.and_then(|v| v.to_str().ok().map(str::to_owned)).unwrap_or_else(|| state.options.api_version.clone()));
    if let Some(key) = key {
        set("idempotency-key", key);
    }
    if let Some(original) = answer.original {
        set("original-request", original);
        set("idempotent-replayed", "true".into());
    }
    if let Some(retry) = answer.should_retry {
        set("stripe-should-retry", retry.to_string());
    }
    if let Some(seconds) = answer.retry_after {
        set("retry-after", seconds.to_string());
    }
    if answer.status == 429 {
        set("stripe-rate-limited-reason", "global-rate".into());
    }
    response
}

fn plain(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
