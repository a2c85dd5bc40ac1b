//! Stripe's webhook over HTTP: what it accepts, what it refuses, and that nothing but an accepted event changes anything.

mod requests_log;

use clients::Secret;
use hmac::{Hmac, KeyInit, Mac};
use requests_log::RequestsLog;
use schemas::{Change, Field, Notice, Previous, Value};
use sources::{
    stripe::{RecentEvents, Webhook, webhook::routes},
    webhook::{Limits, serve},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use streams::embedded::{Clock, ManualClock};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const NOW: i64 = 1_750_000_000;
const SECRET: &str = "whsec_current";
const ROTATED: &str = "whsec_rotated";
const PATH: &str = "/api/v1/myproduct/stripewebhook/";

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<()>,
    log: RequestsLog,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let log = RequestsLog::new("stripe");
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW * 1000));
        let secrets = vec![Secret::new(SECRET), Secret::new(""), Secret::new(ROTATED)];
        let webhook = Webhook::new(log.requests.clone(), secrets, RecentEvents::default()).unwrap().with_clock(clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(serve(listener, warp::service(routes(vec![Arc::new(webhook)])), limits, stop.clone()));
        Server { address, stop, running, log }
    }

    async fn post(&self, header: Option<&str>, body: &[u8]) -> (u16, serde_json::Value) {
        let mut request = client().post(format!("http://{}{PATH}", self.address)).body(body.to_vec());
        if let Some(header) = header {
            request = request.header("stripe-signature", header);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn stop(self) -> RequestsLog {
        self.stop.cancel();
        timeout(Duration::from_secs(10), self.running).await.expect("the server stops").unwrap();
        self.log
    }
}

fn client() -> reqwest::Client {
    // The first caller installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap()
}

fn sign(time: i64, body: &[u8], secret: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(time.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

fn event(id: &str, kind: &str) -> Vec<u8> {
    serde_json::json!({
        "id": id, "object": "event", "type": kind, "created": NOW - 1, "livemode": false, "api_version": "2025-09-30.clover",
        "pending_webhooks": 1, "request": {"id": "req_1", "idempotency_key": null},
        "data": {
            "object": {"id": "cus_1", "object": "customer", "created": NOW - 100, "name": "Ada", "email": "ada@example.com",
                       "address": {"line1": "New Street", "city": "Leeds", "country": "GB", "line2": null, "postal_code": null, "state": null},
                       "metadata": {"plan": "pro", "concord_write": "x"}},
            "previous_attributes": {"email": "old@example.com", "address": {"line1": "Old Street"}, "metadata": {"plan": null}}
        }
    })
    .to_string()
    .into_bytes()
}

#[tokio::test]
async fn each_good_and_bad_delivery_is_answered_as_it_should_be() {
    let server = Server::start(Limits::default()).await;
    let good = event("evt_good", "customer.updated");
    let v1 = |body: &[u8]| sign(NOW, body, SECRET);
    let mut altered = good.clone();
    *altered.last_mut().unwrap() = b' ';
    let oversized = vec![b' '; (256 << 10) + 1];
    let largest =
        [event("evt_largest", "customer.updated"), vec![b' '; (256 << 10) - event("evt_largest", "customer.updated").len()]].concat();
    let plain = br#"{"object":"list","data":[]}"#.to_vec();
    let no_customer = br#"{"id":"evt_x","type":"customer.updated","created":1,"data":{"object":{"object":"card"}}}"#.to_vec();
    let at = |time: i64, body: &[u8], secret: &str| format!("t={time},v1={}", sign(time, body, secret));

    // (what, header, body, status, a part of the answer)
    let refused = vec![
        ("no signature", None, good.clone(), 400, "no Stripe-Signature"),
        ("an altered byte", Some(at(NOW, &good, SECRET)), altered, 400, "no signature matches"),
        ("old", Some(at(NOW - 301, &good, SECRET)), good.clone(), 400, "too old"),
        ("future", Some(at(NOW + 301, &good, SECRET)), good.clone(), 400, "future"),
        ("a wrong secret", Some(at(NOW, &good, "whsec_other")), good.clone(), 400, "no signature matches"),
        ("an empty secret", Some(at(NOW, &good, "")), good.clone(), 400, "no signature matches"),
        ("another time than the signed", Some(format!("t={},v1={}", NOW - 5, v1(&good))), good.clone(), 400, "no signature matches"),
        ("only v0", Some(format!("t={NOW},v0={}", v1(&good))), good.clone(), 400, "no v1"),
        ("no time", Some(format!("v1={}", v1(&good))), good.clone(), 400, "no single time"),
        ("two times", Some(format!("t={NOW},t={NOW},v1={}", v1(&good))), good.clone(), 400, "no single time"),
        ("not hexadecimal", Some(format!("t={NOW},v1=xyz")), good.clone(), 400, "no signature matches"),
        ("cut short", Some(format!("t={NOW},v1={}", &v1(&good)[..62])), good.clone(), 400, "no signature matches"),
        ("junk", Some("Bearer abc".into()), good.clone(), 400, "no single time"),
        ("oversized", Some(at(NOW, &oversized, SECRET)), oversized.clone(), 413, "larger than 262144 bytes"),
        ("empty", Some(at(NOW, b"", SECRET)), vec![], 400, "not an event"),
        ("not JSON", Some(at(NOW, b"name=Ada", SECRET)), b"name=Ada".to_vec(), 400, "not an event"),
        ("not UTF-8", Some(at(NOW, b"\xff\xfe", SECRET)), b"\xff\xfe".to_vec(), 400, "not an event"),
        ("not an event", Some(at(NOW, &plain, SECRET)), plain.clone(), 400, "not an event"),
        ("an event without a customer", Some(at(NOW, &no_customer, SECRET)), no_customer.clone(), 400, "carries no customer"),
    ];
    for (what, header, body, status, part) in refused {
        let (answered, json) = server.post(header.as_deref(), &body).await;
        assert_eq!(answered, status, "{what}: {json}");
        assert!(json["error"].as_str().unwrap().contains(part), "{what}: {json}");
        assert_eq!(server.log.reads(), [], "{what} changes nothing");
    }
    for kind in ["customer.subscription.created", "customer.source.updated", "invoice.paid"] {
        let body = event("evt_unused", kind);
        let (answered, json) = server.post(Some(&at(NOW, &body, SECRET)), &body).await;
        assert_eq!((answered, json["used"].as_bool()), (200, Some(false)), "{kind}");
        assert_eq!(server.log.reads(), [], "{kind} is not used");
    }

    let accepted = vec![
        ("the current secret", "evt_1", at(NOW, &event("evt_1", "customer.updated"), SECRET), event("evt_1", "customer.updated")),
        ("the rotated secret", "evt_2", at(NOW, &event("evt_2", "customer.created"), ROTATED), event("evt_2", "customer.created")),
        (
            "several v1, the last is ours",
            "evt_3",
            format!("t={NOW},v1={},v0=00,v1={}", sign(NOW, b"", "x"), v1(&event("evt_3", "customer.deleted"))),
            event("evt_3", "customer.deleted"),
        ),
        ("just not too old", "evt_4", at(NOW - 300, &event("evt_4", "customer.updated"), SECRET), event("evt_4", "customer.updated")),
        ("just not too early", "evt_5", at(NOW + 300, &event("evt_5", "customer.updated"), SECRET), event("evt_5", "customer.updated")),
        ("the largest body", "evt_largest", at(NOW, &largest, SECRET), largest.clone()),
    ];
    for (n, (what, id, header, body)) in accepted.into_iter().enumerate() {
        let (answered, json) = server.post(Some(&header), &body).await;
        assert_eq!((answered, json["received"].as_bool()), (200, Some(true)), "{what}: {json}");
        let reads = server.log.reads();
        assert_eq!(reads.len(), n + 1, "{what} is in the log when it is answered");
        assert!(reads.iter().any(|(_, read)| read.notices[0].event_id == id), "{what}");
    }
    // Delivered again: known.
    let again = event("evt_1", "customer.updated");
    assert_eq!(server.post(Some(&at(NOW, &again, SECRET)), &again).await.0, 200);
    let reads = server.stop().await.reads();
    assert_eq!(reads.len(), 6);

    // The notice has whole fields: the partial previous values laid over the customer.
    let (customer, read) = reads.iter().find(|(_, read)| read.notices[0].event_id == "evt_1").unwrap();
    let address = |line1: &str| schemas::Address { line1: line1.into(), city: "Leeds".into(), country: "GB".into(), ..Default::default() };
    let change = |field, previous: Value, new: Value| Change { field, previous: Some(Previous { value: previous }), new };
    let expected = Notice {
        event_id: "evt_1".into(),
        write_id: None,
        time: (NOW - 1) * 1000,
        changes: vec![
            change(Field::Email, "old@example.com".into(), "ada@example.com".into()),
            change(Field::Address, address("Old Street").into(), address("New Street").into()),
            change(Field::attribute("plan"), Value::Empty, "pro".into()),
        ],
    };
    assert_eq!((customer.as_str(), &read.notices[..], &read.page), ("cus_1", &[expected][..], &None));
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let server = Server::start(Limits::default()).await;
    let url = format!("http://{}", server.address);
    let get = client().get(format!("{url}{PATH}")).send().await.unwrap();
    assert_eq!((get.status().as_u16(), get.headers()["allow"].to_str().unwrap()), (405, "POST"));
    for (path, status) in
        [(format!("{PATH}stripe/"), 400), (format!("{PATH}other/"), 404), (format!("{PATH}stripe/more"), 404), ("/".into(), 404)]
    {
        assert_eq!(client().post(format!("{url}{path}")).send().await.unwrap().status().as_u16(), status, "{path}");
    }
    server.stop().await;
}

/// An endless chunked body, valid signature header or not: reading stops soon after the limit.
#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let server = Server::start(Limits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nstripe-signature: t={NOW},v1=00\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 0x10000], b"\r\n".to_vec()].concat();
    let mut sent = 0usize;
    let endless = async {
        loop {
            if writing.write_all(&chunk).await.is_err() {
                return std::future::pending::<String>().await;
            }
            sent += 0x10000;
        }
    };
    let answer = async {
        let mut answer = vec![0; 4096];
        let n = reading.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..n]).into_owned()
    };
    let answer = timeout(Duration::from_secs(10), async {
        tokio::select! { answer = answer => answer, never = endless => never }
    });
    assert!(answer.await.expect("an answer comes").starts_with("HTTP/1.1 413 "));
    assert!(sent < 16 << 20, "{sent} bytes were taken");
    assert_eq!(server.stop().await.reads(), []);
}

#[tokio::test]
async fn a_body_that_never_ends_is_timed_out() {
    let server = Server::start(Limits { body: Duration::from_millis(300), ..Limits::default() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await.expect("it is ended").unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(server.stop().await.reads(), []);
}

/// A thousand requests that are half sent, headers and bodies, on a server that takes far fewer: valid ones get through all the same.
#[tokio::test]
async fn half_sent_requests_do_not_stop_valid_ones() {
    let limits = Limits { connections: 200, drain: Duration::from_millis(200), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut half_sent = Vec::new();
    for n in 0..1_000 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let half = match n % 3 {
            0 => String::new(),
            1 => format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nstripe-"),
            _ => format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{{"),
        };
        // It may have had to give way already.
        let _ = stream.write_all(half.as_bytes()).await;
        half_sent.push(stream);
        if n % 100 == 99 {
            let body = event(&format!("evt_{n}"), "customer.updated");
            let header = format!("t={NOW},v1={}", sign(NOW, &body, SECRET));
            let (status, _) = timeout(Duration::from_secs(5), server.post(Some(&header), &body)).await.expect("an answer comes");
            assert_eq!(status, 200, "after {n} half-sent ones");
        }
    }
    assert_eq!(server.stop().await.reads().len(), 10);
    drop(half_sent);
}

#[tokio::test]
async fn a_connect_request_harms_nothing() {
    let server = Server::start(Limits::default()).await;
    for target in ["example.com:443", "127.0.0.1:80", PATH] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await.expect("it is ended").unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 ") || answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
    }
    let body = event("evt_after", "customer.updated");
    assert_eq!(server.post(Some(&format!("t={NOW},v1={}", sign(NOW, &body, SECRET))), &body).await.0, 200);
    assert_eq!(server.stop().await.reads().len(), 1);
}

/// While the log cannot take it the answer is 503, and the event is taken when it comes again.
#[tokio::test]
async fn a_log_that_is_closed_means_not_now() {
    let server = Server::start(Limits::default()).await;
    let body = event("evt_1", "customer.updated");
    let header = format!("t={NOW},v1={}", sign(NOW, &body, SECRET));
    server.log.log.clone().close();
    let response =
        client().post(format!("http://{}{PATH}", server.address)).header("stripe-signature", &header).body(body).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    server.stop().await;
}
