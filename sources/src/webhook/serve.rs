//! The accept loop. warp's own never times out a header that is half sent, and waits for ever when it stops.

use super::connections::{Connections, Phase, Place};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

/// Errors of bodies and services.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How much one server takes on.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once. One more makes the one give way whose request is incomplete for longest.
    pub connections: usize,
    /// For a request's header to be complete, from the connection's or the previous answer's end on.
    pub header: Duration,
    /// For a request's body to be complete, from the header on.
    pub body: Duration,
    /// Bytes of a request's body; a route may allow less.
    pub body_bytes: u64,
    /// From a request's header to its answer's; what the answer then streams may take as long as it likes.
    pub answer: Duration,
    /// For requests under way when the server is told to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 1024,
            header: Duration::from_secs(15),
            body: Duration::from_secs(20),
            body_bytes: 4 << 20,
            answer: Duration::from_secs(30),
            drain: Duration::from_secs(3),
        }
    }
}

/// Bytes of a request's header.
const HEADER_BYTES: usize = 64 << 10;
/// After an accept that failed (out of file descriptors, say).
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Serves HTTP/1 until `shutdown`, then lets requests under way end, and cuts off what has not ended after [`Limits::drain`].
///
/// A CONNECT request never reaches the service: this is no proxy (and warp panics on one in some routes).
pub async fn serve<S, B>(listener: TcpListener, service: S, limits: Limits, shutdown: CancellationToken)
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let connections = Connections::default();
    let mut tasks = JoinSet::new();
    let limits = Arc::new(limits);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "A connection was not accepted.");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let evicted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            evicted = connections.room(limits.connections) => evicted,
        };
        if evicted > 0 {
            metrics::counter!("concord_http_connections_evicted_total").increment(evicted as u64);
        }
        // Those that ended (a panic in a request ends its connection, and nothing else).
        while tasks.try_join_next().is_some() {}
        let place = connections.enter();
        metrics::gauge!("concord_http_connections").set(connections.count() as f64);
        tasks.spawn(connection(stream, service.clone(), limits.clone(), place, shutdown.clone()));
    }
    drop(listener);
    let ended = timeout(limits.drain, async { while tasks.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(connections = connections.count(), "Connections that did not end in time were cut off.");
        connections.evict_all();
        while tasks.join_next().await.is_some() {}
    }
}

async fn connection<S, B>(stream: TcpStream, service: S, limits: Arc<Limits>, place: Arc<Place>, shutdown: CancellationToken)
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    // Small answers leave at once; a socket that refuses this still works.
    let _ = stream.set_nodelay(true);
    let answering = (place.clone(), limits.clone());
    let service = service_fn(move |request| {
        let (place, limits) = answering.clone();
        answer(request, service.clone(), place, limits)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header).max_buf_size(HEADER_BYTES);
    let mut conversation = pin!(http.serve_connection(TokioIo::new(stream), service));
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            () = place.evicted() => break,
            () = shutdown.cancelled(), if !stopping => {
                stopping = true;
                conversation.as_mut().graceful_shutdown();
            }
            ended = conversation.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "A connection ended early.");
                }
                break;
            }
        }
    }
}

async fn answer<S, B>(
    request: Request<Incoming>,
    service: S,
    place: Arc<Place>,
    limits: Arc<Limits>,
) -> Result<Response<ResponseBody<B>>, Infallible>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
{
    let response = if request.method() == Method::CONNECT {
        own(StatusCode::METHOD_NOT_ALLOWED, "This is no proxy.")
    } else {
        let request = request.map(|body| RequestBody::new(body, place.clone(), &limits));
        match timeout(limits.answer, service.oneshot(request)).await {
            Ok(Ok(response)) => response.map(Either::Left),
            Ok(Err(error)) => {
                tracing::error!(error = error.into(), "A request failed.");
                own(StatusCode::INTERNAL_SERVER_ERROR, "Something is wrong here.")
            }
            Err(_) => own(StatusCode::SERVICE_UNAVAILABLE, "This takes too long. Try again later."),
        }
    };
    place.enter(Phase::Answering);
    Ok(response.map(|body| ResponseBody { body: Box::pin(body), place }))
}

fn own<B>(status: StatusCode, says: &str) -> Response<Either<B, Full<Bytes>>> {
    let mut response = Response::new(Either::Right(Full::from(serde_json::json!({ "error": says }).to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    response
}

/// A request's body: ends with an error when it takes too long or is too large.
pub struct RequestBody {
    body: Incoming,
    too_late: Pin<Box<Sleep>>,
    left: u64,
    place: Arc<Place>,
}

impl RequestBody {
    fn new(body: Incoming, place: Arc<Place>, limits: &Limits) -> Self {
        place.enter(if body.is_end_stream() { Phase::Working } else { Phase::Receiving });
        RequestBody { body, too_late: Box::pin(sleep(limits.body)), left: limits.body_bytes, place }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => {
                return match self.too_late.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err("the body takes too long".into()))),
                    Poll::Pending => Poll::Pending,
                };
            }
            Poll::Ready(frame) => frame,
        };
        if frame.is_none() || self.body.is_end_stream() {
            self.place.enter(Phase::Working);
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                match self.left.checked_sub(bytes) {
                    Some(left) => {
                        self.left = left;
                        Some(Ok(frame))
                    }
                    None => Some(Err("the body is too large".into())),
                }
            }
            Some(Err(error)) => Some(Err(error.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body: when it is through, the connection waits for its next request.
struct ResponseBody<B> {
    body: Pin<Box<Either<B, Full<Bytes>>>>,
    place: Arc<Place>,
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for ResponseBody<B> {
    fn drop(&mut self) {
        self.place.enter(Phase::Receiving);
    }
}
