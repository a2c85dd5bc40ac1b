//! Stripe's webhook: an event is believed only with a valid signature, and accepted only once its notice is in the log.

use super::{
    recent::RecentEvents,
    signature::{self, SignatureError},
};
use crate::webhook::{BodyError, read_body};
use bytes::Buf;
use clients::{
    Secret,
    stripe::{Event, record},
};
use connect::Requests;
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use schemas::{Millis, System};
use std::{sync::Arc, time::Duration};
use streams::embedded::{Clock, SystemClock};
use tokio::time::timeout;
use warp::{Filter, filters::BoxedFilter, reply::Response};

/// Bytes of a body. Stripe's events of customers have a few thousand.
pub const BODY_LIMIT: usize = 256 << 10;
/// For a body to be complete.
const BODY_TIME: Duration = Duration::from_secs(10);
/// For the log to take a notice; Stripe itself waits for 10 to 20 seconds.
const APPEND_TIME: Duration = Duration::from_secs(8);

/// A webhook without a secret would believe anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the webhook of {0} has no signing secret")]
pub struct NoSecret(pub System);

/// The webhook of one Stripe account.
pub struct Webhook {
    requests: Requests,
    secrets: Vec<Secret>,
    recent: RecentEvents,
    clock: Arc<dyn Clock>,
}

/// What a request is answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The notice is in the log (now, or since an earlier delivery).
    Noticed,
    /// A valid event of a kind that is not used.
    Unused,
    Method,
    Body(BodyError),
    Signature(SignatureError),
    NotAnEvent(String),
    /// The log cannot take it now: Stripe sends it again.
    NotNow,
}

impl Webhook {
    /// `secrets`: any of them may have signed (two while one is being rotated).
    pub fn new(requests: Requests, secrets: Vec<Secret>, recent: RecentEvents) -> Result<Self, NoSecret> {
        let secrets: Vec<Secret> = secrets.into_iter().filter(|secret| !secret.is_empty()).collect();
        if secrets.is_empty() {
            return Err(NoSecret(requests.system().clone()));
        }
        Ok(Webhook { requests, secrets, recent, clock: Arc::new(SystemClock) })
    }

    /// Another clock than the machine's, for tests.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub fn system(&self) -> &System {
        self.requests.system()
    }

    async fn receive<D: Buf, E>(&self, method: &Method, headers: &HeaderMap, body: impl Stream<Item = Result<D, E>>) -> Answer {
        if method != Method::POST {
            return Answer::Method;
        }
        let body = match read_body(body, BODY_LIMIT, BODY_TIME).await {
            Ok(body) => body,
            Err(error) => return Answer::Body(error),
        };
        let mut signatures = headers.get_all("stripe-signature").iter();
        let header = signatures.next().and_then(|value| value.to_str().ok()).filter(|_| signatures.next().is_none());
        self.accept(header, &body, self.clock.now_ms()).await
    }

    /// Takes one delivery.
    pub async fn accept(&self, header: Option<&str>, body: &[u8], now: Millis) -> Answer {
        if let Err(error) = signature::verify(header, body, &self.secrets, now) {
            return Answer::Signature(error);
        }
        let event: Event = match serde_json::from_slice(body) {
            Ok(event) => event,
            Err(error) => return Answer::NotAnEvent(error.to_string()),
        };
        if !event.is_of_customer() {
            return Answer::Unused;
        }
        if self.recent.contains(&event.id) {
            return Answer::Noticed;
        }
        let Some((id, notice)) = record::notice(&event) else {
            return Answer::NotAnEvent(format!("{} {} carries no customer", event.kind, event.id));
        };
        match timeout(APPEND_TIME, self.requests.notices([(id, vec![notice])])).await {
            Ok(Ok(())) => {
                self.recent.noticed(&event.id);
                Answer::Noticed
            }
            Ok(Err(error)) => {
                tracing::error!(system = %self.system(), event = %event.id, error = &error as &dyn std::error::Error, "The log did not take an event; Stripe will send it again.");
                Answer::NotNow
            }
            Err(_) => {
                tracing::error!(system = %self.system(), event = %event.id, "The log takes too long; Stripe will send the event again.");
                Answer::NotNow
            }
        }
    }
}

impl Answer {
    fn status(&self) -> StatusCode {
        match self {
            Answer::Noticed | Answer::Unused => StatusCode::OK,
            Answer::Method => StatusCode::METHOD_NOT_ALLOWED,
            Answer::Body(BodyError::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Answer::Body(BodyError::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            Answer::Body(BodyError::Broken) | Answer::Signature(_) | Answer::NotAnEvent(_) => StatusCode::BAD_REQUEST,
            Answer::NotNow => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The word for metrics.
    fn name(&self) -> &'static str {
        match self {
            Answer::Noticed => "noticed",
            Answer::Unused => "unused",
            Answer::Method => "method",
            Answer::Body(_) => "body",
            Answer::Signature(_) => "signature",
            Answer::NotAnEvent(_) => "not_an_event",
            Answer::NotNow => "not_now",
        }
    }

    fn into_response(self) -> Response {
        let json = match &self {
            Answer::Noticed => serde_json::json!({ "received": true }),
            Answer::Unused => serde_json::json!({ "received": true, "used": false }),
            Answer::Method => serde_json::json!({ "error": "Stripe sends events by POST." }),
            Answer::Body(error) => serde_json::json!({ "error": error.to_string() }),
            Answer::Signature(error) => serde_json::json!({ "error": error.to_string() }),
            Answer::NotAnEvent(why) => serde_json::json!({ "error": format!("not an event: {why}") }),
            Answer::NotNow => serde_json::json!({ "error": "The event cannot be stored now. Send it again later." }),
        };
        let mut response = Response::new(json.to_string().into());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Answer::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            Answer::NotNow => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            // What is left of the body is not read.
            Answer::Body(_) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// The accounts' webhooks: the first at `/api/v1/myproduct/stripewebhook/`, each (the first, too) at `…/<system>/` below it.
pub fn routes(webhooks: Vec<Arc<Webhook>>) -> BoxedFilter<(Response,)> {
    let webhooks: Arc<[Arc<Webhook>]> = webhooks.into();
    let base = warp::path!("api" / "v1" / "myproduct" / "stripewebhook" / ..);
    let first = {
        let webhooks = webhooks.clone();
        warp::path::end().and_then(move || {
            let found = webhooks.first().cloned();
            async move { found.ok_or_else(warp::reject::not_found) }
        })
    };
    let named = warp::path::param::<String>().and(warp::path::end()).and_then(move |name: String| {
        let found = webhooks.iter().find(|webhook| webhook.system().as_str() == name).cloned();
        async move { found.ok_or_else(warp::reject::not_found) }
    });
    base.and(first.or(named).unify())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(|webhook: Arc<Webhook>, method: Method, headers: HeaderMap, body| async move {
            let answer = webhook.receive(&method, &headers, body).await;
            let system = webhook.system().to_string();
            metrics::counter!("concord_webhook_requests_total", "system" => system.clone(), "answer" => answer.name()).increment(1);
            match &answer {
                Answer::Noticed | Answer::Unused | Answer::NotNow => {}
                refused => tracing::warn!(%system, reason = ?refused, "A webhook request was refused."),
            }
            answer.into_response()
        })
        .boxed()
}
