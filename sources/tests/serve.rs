//! The HTTP server: what its limits cut off, and what they do not.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use sources::webhook::{Limits, RequestBody, serve};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

fn text(text: &'static str) -> Response<Body> {
    Response::new(http_body_util::Full::from(text).boxed())
}

/// `/hold` waits for a permit, `/stream` sends a line every 50 ms for ever, `/panic` panics, everything else says "here" (after the body).
#[derive(Clone)]
struct Service {
    entered: Arc<Notify>,
    permits: Arc<Semaphore>,
}

impl Service {
    async fn answer(self, request: Request<RequestBody>) -> Result<Response<Body>, Infallible> {
        Ok(match request.uri().path() {
            "/hold" => {
                self.entered.notify_one();
                self.permits.acquire().await.unwrap().forget();
                text("held")
            }
            "/stream" => {
                let lines = stream::unfold((), |()| async {
                    sleep(Duration::from_millis(50)).await;
                    Some((Ok(Frame::data(Bytes::from_static(b"line\n"))), ()))
                });
                Response::new(BodyExt::boxed(StreamBody::new(lines.map(|line: Result<_, Infallible>| line))))
            }
            "/panic" => panic!("as told"),
            _ => match request.into_body().collect().await {
                Ok(_) => text("here"),
                Err(_) => text("no body"),
            },
        })
    }
}

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<()>,
    entered: Arc<Notify>,
    permits: Arc<Semaphore>,
}

async fn start(limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let service = Service { entered: Arc::new(Notify::new()), permits: Arc::new(Semaphore::new(0)) };
    let (entered, permits) = (service.entered.clone(), service.permits.clone());
    let answers = tower::service_fn(move |request| service.clone().answer(request));
    let running = tokio::spawn(serve(listener, answers, limits, stop.clone()));
    Server { address, stop, running, entered, permits }
}

impl Server {
    async fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn get(&self, path: &str) -> String {
        rest(self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await).await
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(10), self.running).await.expect("the server stops").unwrap();
    }
}

/// What comes until the connection ends.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // An abrupt end is one, too.
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_streaming_answer_outlives_every_time_out() {
    let short = Duration::from_millis(100);
    let server = start(Limits { header: short, body: short, answer: short, drain: short, ..Limits::default() }).await;
    let mut stream = server.send("GET /stream HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let begun = Instant::now();
    let mut buffer = [0; 1024];
    let mut last = String::new();
    while begun.elapsed() < Duration::from_millis(600) {
        let n = timeout(Duration::from_secs(5), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(n > 0, "it goes on");
        last = String::from_utf8_lossy(&buffer[..n]).into_owned();
    }
    assert!(last.contains("line"));
    // It does not hold up the end.
    server.stop().await;
}

#[tokio::test]
async fn what_comes_too_slowly_is_cut_off() {
    let server = start(Limits { header: Duration::from_millis(150), body: Duration::from_millis(150), ..Limits::default() }).await;
    for half in ["", "GET / HTTP/1.1\r\nhos"] {
        let stream = server.send(half).await;
        let answer = rest(stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{half:?}: {answer}");
    }
    let answer = rest(server.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nconnection: close\r\n\r\nhal").await).await;
    assert!(answer.ends_with("no body"), "{answer}");
    // A connection that is kept alive and idle.
    let answer = rest(server.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await).await;
    assert!(answer.ends_with("here"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let server = start(Limits { answer: Duration::from_millis(150), ..Limits::default() }).await;
    let answer = server.get("/hold").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn requests_that_are_worked_on_are_not_evicted() {
    let server = start(Limits { connections: 2, ..Limits::default() }).await;
    let held = [
        server.send("GET /hold HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await,
        server.send("GET /hold HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await,
    ];
    server.entered.notified().await;
    server.entered.notified().await;
    // There is no room: the third waits for one of them.
    let third = server.send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    server.permits.add_permits(2);
    for stream in held {
        assert!(rest(stream).await.ends_with("held"));
    }
    assert!(rest(third).await.ends_with("here"));
    server.stop().await;
}

#[tokio::test]
async fn at_the_end_requests_under_way_are_answered_and_others_cut_off() {
    let server = start(Limits { drain: Duration::from_secs(5), ..Limits::default() }).await;
    let held = server.send("GET /hold HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.entered.notified().await;
    server.stop.cancel();
    server.permits.add_permits(1);
    assert!(rest(held).await.ends_with("held"));
    server.stop().await;

    let server = start(Limits { drain: Duration::from_millis(100), ..Limits::default() }).await;
    let held = server.send("GET /hold HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let half = server.send("GET / HTTP").await;
    server.entered.notified().await;
    let address = server.address;
    server.stop().await;
    assert_eq!((rest(held).await, rest(half).await), (String::new(), String::new()));
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let server = start(Limits::default()).await;
    assert_eq!(server.get("/panic").await, "");
    assert!(server.get("/").await.ends_with("here"));
    server.stop().await;
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let server = start(Limits { body_bytes: 10, ..Limits::default() }).await;
    for (body, answer) in [("0123456789", "here"), ("0123456789x", "no body")] {
        let request = format!("POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        assert!(rest(server.send(&request).await).await.ends_with(answer), "{body}");
    }
    server.stop().await;
}
