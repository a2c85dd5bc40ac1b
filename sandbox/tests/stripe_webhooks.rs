//! Webhooks of the stand-in: signed, sent until taken, and astray on request.

use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use sandbox::{Fault, Handle, Options, Rule, Sandbox, Target};
use serde_json::{Value, json};
use sha2::Sha256;
use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

const SECRET: &str = "whsec_test";

#[derive(Default)]
struct Endpoint {
    /// Statuses to answer first; then 200.
    statuses: Mutex<VecDeque<u16>>,
    got: Mutex<Vec<(Instant, Value)>>,
    connections: AtomicUsize,
}

impl Endpoint {
    async fn start() -> (Arc<Endpoint>, Target) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::new(format!("http://{}/hook", listener.local_addr().unwrap()), SECRET);
        let endpoint = Arc::new(Endpoint::default());
        let served = endpoint.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                served.connections.fetch_add(1, Ordering::Relaxed);
                let served = served.clone();
                let service = service_fn(move |request| take(served.clone(), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        (endpoint, target)
    }

    fn names(&self) -> Vec<String> {
        self.got.lock().iter().map(|(_, event)| event["data"]["object"]["name"].as_str().unwrap_or("").to_owned()).collect()
    }

    async fn until(&self, count: usize) {
        eventually(|| self.got.lock().len() >= count).await;
    }
}

async fn take(endpoint: Arc<Endpoint>, request: Request<Incoming>) -> Result<Response<Empty<&'static [u8]>>, Infallible> {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let signature = parts.headers["stripe-signature"].to_str().unwrap();
    let part = |name: &str| signature.split(',').find_map(|p| p.strip_prefix(name)?.strip_prefix('=')).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{}.", part("t")).as_bytes());
    mac.update(&body);
    mac.verify_slice(&hex::decode(part("v1")).unwrap()).expect("signed over the raw body");
    let status = endpoint.statuses.lock().pop_front().unwrap_or(200);
    if status == 200 {
        endpoint.got.lock().push((at, serde_json::from_slice(&body).unwrap()));
    }
    Ok(Response::builder().status(status).body(Empty::new()).unwrap())
}

async fn eventually(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not within ten seconds");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn start(options: Options) -> (Handle, Arc<Endpoint>) {
    let (endpoint, target) = Endpoint::start().await;
    (Sandbox::start(Options { webhook: Some(target), ..options }).await.unwrap(), endpoint)
}

fn create(sandbox: &Handle, name: &str) -> String {
    sandbox.create(json!({ "name": name })).unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_change_is_told_signed_and_soon() {
    let (sandbox, endpoint) = start(Options::default()).await;
    let id = create(&sandbox, "Ann");
    endpoint.until(1).await;
    let mut late = Vec::new();
    for n in 0..50 {
        let changed = Instant::now();
        sandbox.update(&id, json!({ "name": format!("Ann {n}") })).unwrap();
        endpoint.until(n + 2).await;
        late.push(endpoint.got.lock().last().unwrap().0.duration_since(changed));
    }
    late.sort();
    assert!(late[25] < Duration::from_millis(20), "{:?}", late[25]);
    assert_eq!(endpoint.connections.load(Ordering::Relaxed), 1, "one connection, kept");
    let event = endpoint.got.lock()[1].1.clone();
    assert_eq!(event["type"], "customer.updated");
    assert_eq!(event["data"]["previous_attributes"], json!({"name": "Ann"}));
    eventually(|| sandbox.pending_webhooks() == 0).await;
}

#[tokio::test]
async fn what_is_not_taken_comes_again() {
    let (sandbox, endpoint) = start(Options { webhook_retry: Duration::from_millis(5), ..Options::default() }).await;
    endpoint.statuses.lock().extend([503, 500, 302, 400]);
    create(&sandbox, "Ann");
    assert_eq!(sandbox.pending_webhooks(), 1);
    endpoint.until(1).await;
    assert!(endpoint.statuses.lock().is_empty());
    eventually(|| sandbox.pending_webhooks() == 0).await;
}

#[tokio::test]
async fn a_restart_sends_what_was_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { state: Some(folder.path().join("stripe.jsonl")), ..Options::default() };
    // Nobody listens there.
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let target = Target::new(format!("http://{nowhere}/"), SECRET);
    let sandbox = Sandbox::start(Options { webhook: Some(target), ..options.clone() }).await.unwrap();
    for name in ["a", "b"] {
        create(&sandbox, name);
    }
    drop(sandbox);
    let (sandbox, endpoint) = start(options).await;
    endpoint.until(2).await;
    let mut names = endpoint.names();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    eventually(|| sandbox.pending_webhooks() == 0).await;
}

#[tokio::test]
async fn webhooks_go_astray_on_request() {
    let (sandbox, endpoint) = start(Options::default()).await;
    sandbox.fault(Rule::next(1, Fault::WebhookDrop));
    create(&sandbox, "dropped");
    eventually(|| sandbox.pending_webhooks() == 0).await;
    create(&sandbox, "kept");
    endpoint.until(1).await;
    assert_eq!(endpoint.names(), ["kept"]);

    sandbox.fault(Rule::next(1, Fault::WebhookDouble));
    create(&sandbox, "twice");
    endpoint.until(3).await;
    assert_eq!(endpoint.names(), ["kept", "twice", "twice"]);
    let ids: Vec<_> = endpoint.got.lock().iter().map(|(_, e)| e["id"].clone()).collect();
    assert_eq!(ids[1], ids[2], "the same event");

    sandbox.fault(Rule::next(1, Fault::WebhookReorder { ms: 60_000 }));
    create(&sandbox, "first");
    // Held by the time the next one is made: the rule has struck.
    eventually(|| sandbox.faults_left() == 0).await;
    create(&sandbox, "second");
    endpoint.until(5).await;
    assert_eq!(endpoint.names()[3..], ["second", "first"]);

    let asked = Instant::now();
    sandbox.fault(Rule::next(1, Fault::WebhookDelay { ms: 150 }));
    create(&sandbox, "late");
    endpoint.until(6).await;
    assert!(asked.elapsed() >= Duration::from_millis(150));
}
