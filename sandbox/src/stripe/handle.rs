//! Starting and steering the stand-in from a program.

use super::{
    account::{Call, Past},
    faults::Rule,
    params::Param,
    server,
    state::{Answer, State},
    webhooks,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Why the stand-in does not start, or does not take a setting.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the stand-in listens on this machine only (127.0.0.1 or [::1]), not on {0}; in a container, --in-container lets it")]
    NotLoopback(SocketAddr),
    #[error("webhooks go to this machine only (http://127.0.0.1:…), not to {0:?}")]
    Webhook(String),
    #[error("listening on {at}: {error}")]
    Listen { at: SocketAddr, error: io::Error },
    #[error("the state file {path:?}: {error}")]
    State { path: PathBuf, error: io::Error },
}

/// Where webhooks go, and what signs them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub url: String,
    pub secret: String,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Target {
    pub fn new(url: impl Into<String>, secret: impl Into<String>) -> Self {
        Target { url: url.into(), secret: secret.into() }
    }

    /// This machine only: the customers in here may be real people's.
    pub fn check(&self) -> Result<(), SandboxError> {
        let local = reqwest::Url::parse(&self.url).ok().filter(|url| url.scheme() == "http").is_some_and(|url| {
            url.host_str()
                .is_some_and(|host| host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
        });
        if local { Ok(()) } else { Err(SandboxError::Webhook(self.url.clone())) }
    }
}

/// How the stand-in behaves.
#[derive(Clone)]
pub struct Options {
    /// Loopback only, unless [`Options::in_container`]; port 0 for any free one.
    pub listen: SocketAddr,
    /// Listens off loopback, too: a container's published port leads there. Who asks has to use a name of this machine all the same.
    pub in_container: bool,
    /// The one API key that is taken. `sk_live_…` makes the account a live one.
    pub key: String,
    pub webhook: Option<Target>,
    /// The file that keeps the account over restarts.
    pub state: Option<PathBuf>,
    /// API calls per second; `None`: any number.
    pub rate_limit: Option<u32>,
    /// Without it the Events API answers 403, as for a restricted key.
    pub events_api: bool,
    pub api_version: String,
    /// Of the chance in faults.
    pub seed: u64,
    pub clock_skew_ms: i64,
    /// The pause before a refused webhook comes again; it doubles.
    pub webhook_retry: Duration,
    pub webhook_retry_most: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            in_container: false,
            key: "sk_test_sandbox".into(),
            webhook: None,
            state: None,
            rate_limit: None,
            events_api: true,
            api_version: "2025-09-30.clover".into(),
            seed: 0,
            clock_skew_ms: 0,
            webhook_retry: Duration::from_millis(500),
            webhook_retry_most: Duration::from_secs(30),
        }
    }
}

impl Options {
    pub(crate) fn livemode(&self) -> bool {
        !["sk_test_", "rk_test_"].iter().any(|prefix| self.key.starts_with(prefix))
    }
}

/// The stand-in.
pub struct Sandbox;

impl Sandbox {
    /// Listens, and serves on the current runtime until the handle is dropped or told to end.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
    /// let sandbox = sandbox::Sandbox::start(sandbox::Options::default()).await.unwrap();
    /// let ann = sandbox.create(serde_json::json!({"name": "Ann", "email": "ann@example.com"})).unwrap();
    /// assert_eq!(sandbox.customer(ann["id"].as_str().unwrap()).unwrap()["name"], "Ann");
    /// sandbox.shutdown().await;
    /// # });
    /// ```
    pub async fn start(options: Options) -> Result<Handle, SandboxError> {
        if !options.in_container && !options.listen.ip().is_loopback() {
            return Err(SandboxError::NotLoopback(options.listen));
        }
        if let Some(target) = &options.webhook {
            target.check()?;
        }
        let at = options.listen;
        let listener = TcpListener::bind(at).await.map_err(|error| SandboxError::Listen { at, error })?;
        let addr = listener.local_addr().map_err(|error| SandboxError::Listen { at, error })?;
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let path = options.state.clone();
        let state = State::new(options, sender).map_err(|error| SandboxError::State { path: path.unwrap_or_default(), error })?;
        let state = Arc::new(state);
        let end = CancellationToken::new();
        let deliveries = tokio::spawn(webhooks::run(state.clone(), receiver));
        let server = tokio::spawn(server::run(state.clone(), listener, end.clone()));
        Ok(Handle { addr, state, end, server, deliveries })
    }
}

/// A running stand-in. Dropped, it ends at once, as if it were killed.
pub struct Handle {
    addr: SocketAddr,
    state: Arc<State>,
    end: CancellationToken,
    server: JoinHandle<()>,
    deliveries: JoinHandle<()>,
}

/// A refused edit: the HTTP status and Stripe's error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {body}")]
pub struct Refused {
    pub status: u16,
    pub body: Value,
}

impl Handle {
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Scheme and host, as `STRIPE_API_BASE` wants it.
    pub fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Answers what is under way, and ends.
    pub async fn shutdown(mut self) {
        self.end.cancel();
        let _ = (&mut self.server).await;
    }

    /// A person creates a customer in Stripe's pages, with parameters as of the API, in JSON.
    pub fn create(&self, params: Value) -> Result<Value, Refused> {
        self.by_hand(&Call::Create, &Param::from_json(&params))
    }

    /// A person edits a customer in Stripe's pages; `null` or `""` clears.
    pub fn update(&self, id: &str, params: Value) -> Result<Value, Refused> {
        self.by_hand(&Call::Update(id.into()), &Param::from_json(&params))
    }

    /// A person deletes a customer in Stripe's pages.
    pub fn delete(&self, id: &str) -> Result<Value, Refused> {
        self.by_hand(&Call::Delete(id.into()), &Param::empty())
    }

    /// The customer or its tombstone, past every limit and fault.
    pub fn customer(&self, id: &str) -> Result<Value, Refused> {
        self.by_hand(&Call::Retrieve(id.into()), &Param::empty())
    }

    fn by_hand(&self, call: &Call, params: &Param) -> Result<Value, Refused> {
        let failed = |error: io::Error| Refused { status: 500, body: error.to_string().into() };
        let Answer { status, body, .. } = self.state.by_hand(call, params).map_err(failed)?;
        let body = serde_json::from_str(&body).unwrap_or_default();
        if status == 200 { Ok(body) } else { Err(Refused { status, body }) }
    }

    /// Every customer that there ever was, oldest first, with its history.
    pub fn history(&self) -> Vec<(String, Vec<Past>)> {
        self.state.read(|account| account.ids().map(|id| (id.clone(), account.history(id).unwrap_or_default())).collect())
    }

    pub fn fault(&self, rule: Rule) {
        self.state.faults.lock().add([rule], None);
    }

    /// Rules whose chance starts from this seed.
    pub fn faults(&self, rules: impl IntoIterator<Item = Rule>, seed: u64) {
        self.state.faults.lock().add(rules, Some(seed));
    }

    pub fn clear_faults(&self) {
        self.state.faults.lock().clear();
    }

    /// Rules that have not struck as often as they are to.
    pub fn faults_left(&self) -> usize {
        self.state.faults.lock().rules().len()
    }

    pub fn set_webhook(&self, target: Option<Target>) -> Result<(), SandboxError> {
        if let Some(target) = &target {
            target.check()?;
        }
        *self.state.target.lock() = target;
        Ok(())
    }

    pub fn set_rate_limit(&self, limit: Option<u32>) {
        self.state.set_rate_limit(limit);
    }

    /// The account's clock is this far from the machine's: a skew, or time that passes.
    pub fn set_skew(&self, ms: i64) {
        self.state.clock.set_skew(ms);
    }

    /// Milliseconds, by the account's clock.
    pub fn now(&self) -> i64 {
        self.state.clock.now()
    }

    /// API requests so far of this kind: `create`, `retrieve`, `update`, `delete`, `list` or `events`.
    pub fn requests(&self, kind: &str) -> u64 {
        self.state.requests.lock().get(kind).copied().unwrap_or_default()
    }

    /// Webhooks that nobody has taken yet.
    pub fn pending_webhooks(&self) -> usize {
        self.state.read(|account| account.pending().len())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end.cancel();
        self.server.abort();
        self.deliveries.abort();
    }
}
