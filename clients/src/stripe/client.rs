//! The calls.

use super::{
    Class, Customer, Error, Event, Form, Found, Lane, Options, Page, SetupError, Tombstone,
    error::{Body, Signs, classify},
    limits::{Endpoint, Limiter},
};
use crate::Secret;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use schemas::Millis;
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("stripe-should-retry");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// The largest answer that is read: a page of 100 customers, each with all the metadata it may have, is a tenth of it.
const MAX_ANSWER: usize = 32 << 20;

/// What an id may not bring into a path as it is.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<T> {
    pub value: T,
    /// Stripe's clock when it answered (HTTP `Date`, whole seconds); 0 if it did not say.
    pub look: Millis,
    pub request_id: Option<String>,
    /// The stored answer of an earlier call with this key: it shows the record as it was then.
    pub replayed: bool,
}

impl<T> Reply<T> {
    /// The same answer about something else.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Reply<U> {
        Reply { value: f(self.value), look: self.look, request_id: self.request_id, replayed: self.replayed }
    }
}

/// Filters and place of a list of customers, which Stripe gives newest first. Times are in seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Exactly this e-mail: Stripe minds upper and lower case.
    pub email: Option<String>,
    pub created_gte: Option<i64>,
    pub created_lte: Option<i64>,
    /// The page after (older than) this customer.
    pub starting_after: Option<String>,
    /// The page before (newer than) this customer.
    pub ending_before: Option<String>,
    /// 1 to 100; Stripe's default is 10.
    pub limit: Option<u8>,
}

/// Filters and place of a list of events, which Stripe gives newest first and keeps for 30 days. Times are in seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventsQuery {
    /// At most 20; none: all types.
    pub types: Vec<String>,
    pub created_gte: Option<i64>,
    pub created_lte: Option<i64>,
    pub starting_after: Option<String>,
    pub ending_before: Option<String>,
    pub limit: Option<u8>,
}

struct Inner {
    http: reqwest::Client,
    base: Url,
    /// The headers of every call; the key's is marked sensitive.
    headers: HeaderMap,
    key: Secret,
    limiter: Limiter,
    live: bool,
}

/// A Stripe account. Clones share connections and rate limits.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    lane: Lane,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.inner.base.as_str()).field("lane", &self.lane).finish_non_exhaustive()
    }
}

impl Client {
    pub fn new(options: Options) -> Result<Self, SetupError> {
        // Fails where a provider was installed before: one is enough.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut auth = HeaderValue::from_str(&format!("Bearer {}", options.key.reveal())).map_err(|_| SetupError::Key)?;
        auth.set_sensitive(true);
        let version = HeaderValue::from_str(&options.version).map_err(|e| SetupError::Http(e.to_string()))?;
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, auth), (STRIPE_VERSION, version)]);
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("concord/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            .pool_idle_timeout(Duration::from_secs(50))
            .tcp_nodelay(true);
        if options.is_local() {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|e| SetupError::Http(e.to_string()))?;
        let live = options.is_live();
        // Beside it, what is left of it can be told from the calls.
        metrics::gauge!("concord_client_rate_limit", "client" => "stripe").set(f64::from(options.limits.total.get()));
        let inner = Inner { http, base: options.base, headers, key: options.key, limiter: Limiter::new(options.limits), live };
        Ok(Client { inner: Arc::new(inner), lane: Lane::Live })
    }

    /// The same account for backfills and sweeps: its calls leave at least half of the rate limit to the others.
    pub fn bulk(&self) -> Client {
        Client { inner: self.inner.clone(), lane: Lane::Bulk }
    }

    /// Whether the account's real customers are behind this key.
    pub fn is_live(&self) -> bool {
        self.inner.live
    }

    /// The customer, or what is left of it. [`Class::Missing`] where there never was one.
    pub async fn retrieve(&self, id: &str) -> Result<Reply<Found>, Error> {
        self.call(Endpoint::Retrieve, Method::GET, &customer(Endpoint::Retrieve, id)?, None, None).await
    }

    /// Makes a customer; once per `key`, while Stripe remembers it (24 h).
    pub async fn create(&self, form: &Form, key: &str) -> Result<Reply<Customer>, Error> {
        let reply = self.call(Endpoint::Create, Method::POST, "/v1/customers", Some(form), Some(key)).await?;
        live(Endpoint::Create, reply)
    }

    /// Sets parameters of a customer and gives it back as this left it; once per `key`.
    pub async fn update(&self, id: &str, form: &Form, key: &str) -> Result<Reply<Customer>, Error> {
        let path = customer(Endpoint::Update, id)?;
        let reply = self.call(Endpoint::Update, Method::POST, &path, Some(form), Some(key)).await?;
        live(Endpoint::Update, reply)
    }

    /// Deletes a customer for good, its subscriptions too. Deleted before: [`Class::Missing`].
    pub async fn delete(&self, id: &str) -> Result<Reply<Tombstone>, Error> {
        self.call(Endpoint::Delete, Method::DELETE, &customer(Endpoint::Delete, id)?, None, None).await
    }

    /// A page of the live customers.
    pub async fn list(&self, query: &ListQuery) -> Result<Reply<Page<Customer>>, Error> {
        let mut form = Form::default();
        if let Some(email) = &query.email {
            form.set("email", email);
        }
        place(&mut form, query.created_gte, query.created_lte, &query.starting_after, &query.ending_before, query.limit);
        self.call(Endpoint::List, Method::GET, &with_query("/v1/customers", &form), None, None).await
    }

    /// A page of events.
    pub async fn events(&self, query: &EventsQuery) -> Result<Reply<Page<Event>>, Error> {
        let mut form = Form::default();
        for kind in &query.types {
            form.set_in("types", "", kind);
        }
        place(&mut form, query.created_gte, query.created_lte, &query.starting_after, &query.ending_before, query.limit);
        self.call(Endpoint::Events, Method::GET, &with_query("/v1/events", &form), None, None).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        method: Method,
        path: &str,
        form: Option<&Form>,
        key: Option<&str>,
    ) -> Result<Reply<T>, Error> {
        let waited = self.inner.limiter.turn(endpoint, self.lane).await;
        metrics::histogram!("concord_client_wait_seconds", "client" => "stripe").record(waited.as_secs_f64());
        let started = Instant::now();
        let result = self.exchange(endpoint, method, path, form, key).await;
        let outcome = result.as_ref().map_or_else(|e| e.class.name(), |_| "ok");
        metrics::counter!("concord_client_requests_total", "client" => "stripe", "operation" => endpoint.name(), "outcome" => outcome)
            .increment(1);
        metrics::histogram!("concord_client_request_seconds", "client" => "stripe", "operation" => endpoint.name())
            .record(started.elapsed().as_secs_f64());
        if let Err(error) = &result {
            tracing::debug!(operation = endpoint.name(), error_type = outcome, request_id = error.request_id, %error, "A call to Stripe failed.");
        }
        result
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        method: Method,
        path: &str,
        form: Option<&Form>,
        key: Option<&str>,
    ) -> Result<Reply<T>, Error> {
        let inner = &*self.inner;
        let url = inner.base.join(path).map_err(|e| local(endpoint, Class::Refused, e.to_string()))?;
        let mut request = inner.http.request(method, url).headers(inner.headers.clone());
        if let Some(key) = key {
            let key = HeaderValue::from_str(key).map_err(|_| local(endpoint, Class::Refused, "not an idempotency key".into()))?;
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        if let Some(form) = form {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.encode());
        }
        let lost = |e: reqwest::Error| {
            let class = if e.is_connect() { Class::Unreachable } else { Class::Lost };
            local(endpoint, class, inner.key.scrub(&chain(&e.without_url())))
        };
        let mut response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        let signs = Headers::of(response.headers());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(local(endpoint, Class::Foreign, "an answer larger than any of Stripe's".into()));
            }
            bytes.extend_from_slice(&chunk);
        }
        if (200..300).contains(&status) {
            return match serde_json::from_slice(&bytes) {
                Ok(value) => Ok(Reply { value, look: signs.look.unwrap_or(0), request_id: signs.request_id, replayed: signs.replayed }),
                Err(e) => {
                    let message = format!("HTTP {status} with a body that is not Stripe's: {e}");
                    Err(Error { status: Some(status), ..signs.error(endpoint, Class::Foreign, message) })
                }
            };
        }
        let body = serde_json::from_slice::<Failure>(&bytes).ok().map(|f| f.error);
        let class = classify(Signs {
            status,
            body: body.as_ref(),
            should_retry: signs.should_retry,
            replayed: signs.replayed,
            keyed: key.is_some(),
        });
        let body = body.unwrap_or_default();
        let message = body.message.unwrap_or_else(|| "an answer without an explanation".into());
        let message = inner.key.scrub(&message);
        Err(Error { status: Some(status), code: body.code, param: body.param, ..signs.error(endpoint, class, message) })
    }
}

#[derive(Deserialize)]
struct Failure {
    error: Body,
}

/// What an answer's headers say.
struct Headers {
    look: Option<Millis>,
    request_id: Option<String>,
    replayed: bool,
    should_retry: Option<bool>,
    retry_after: Option<Duration>,
}

impl Headers {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        let flag = |name: &HeaderName| match text(name) {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        };
        Headers {
            look: text(&header::DATE).and_then(http_date),
            request_id: text(&REQUEST_ID).map(|id| id.chars().take(100).collect()),
            replayed: flag(&IDEMPOTENT_REPLAYED) == Some(true),
            should_retry: flag(&SHOULD_RETRY),
            retry_after: text(&header::RETRY_AFTER).and_then(|s| s.parse().ok()).map(Duration::from_secs),
        }
    }

    fn error(self, endpoint: Endpoint, class: Class, message: String) -> Error {
        Error {
            request_id: self.request_id.map(Into::into),
            retry_after: self.retry_after,
            look: self.look,
            replayed: self.replayed,
            ..local(endpoint, class, message)
        }
    }
}

fn local(endpoint: Endpoint, class: Class, message: String) -> Error {
    Error {
        class,
        operation: endpoint.name(),
        status: None,
        code: None,
        param: None,
        message: message.into(),
        request_id: None,
        retry_after: None,
        look: None,
        replayed: false,
    }
}

/// An error with its causes: the transport's own message names none of them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// Milliseconds of an HTTP `Date`.
fn http_date(text: &str) -> Option<Millis> {
    OffsetDateTime::parse(text, &Rfc2822).ok().map(|t| t.unix_timestamp() * 1000)
}

fn live(endpoint: Endpoint, reply: Reply<Found>) -> Result<Reply<Customer>, Error> {
    let Reply { value, look, request_id, replayed } = reply;
    match value {
        Found::Live(customer) => Ok(Reply { value: *customer, look, request_id, replayed }),
        Found::Deleted(_) => Err(Error {
            look: Some(look),
            request_id: request_id.map(Into::into),
            ..local(endpoint, Class::Foreign, "a deleted customer".into())
        }),
    }
}

/// The path of a customer. An id that no path can carry is nobody's.
fn customer(endpoint: Endpoint, id: &str) -> Result<String, Error> {
    if id.is_empty() || id.len() > 255 || id.bytes().all(|c| c == b'.') {
        return Err(local(endpoint, Class::Missing, "not an id that Stripe could have given".into()));
    }
    Ok(format!("/v1/customers/{}", utf8_percent_encode(id, IN_PATH)))
}

fn with_query(path: &str, form: &Form) -> String {
    if form.is_empty() { path.into() } else { format!("{path}?{}", form.encode()) }
}

fn place(form: &mut Form, gte: Option<i64>, lte: Option<i64>, after: &Option<String>, before: &Option<String>, limit: Option<u8>) {
    if let Some(time) = gte {
        form.set_in("created", "gte", time.to_string());
    }
    if let Some(time) = lte {
        form.set_in("created", "lte", time.to_string());
    }
    if let Some(id) = after {
        form.set("starting_after", id);
    }
    if let Some(id) = before {
        form.set("ending_before", id);
    }
    if let Some(limit) = limit {
        form.set("limit", limit.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_date_is_read_and_nothing_else() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        assert_eq!(http_date("yesterday"), None);
    }

    #[test]
    fn no_id_reaches_another_path() {
        assert_eq!(customer(Endpoint::Retrieve, "cus_1").unwrap(), "/v1/customers/cus_1");
        assert_eq!(customer(Endpoint::Retrieve, "a/../b?c").unwrap(), "/v1/customers/a%2F%2E%2E%2Fb%3Fc");
        for id in ["", ".", ".."] {
            assert_eq!(customer(Endpoint::Delete, id).unwrap_err().class, Class::Missing);
        }
    }
}
