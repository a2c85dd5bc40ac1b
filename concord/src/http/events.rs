//! `/api/v1/events`: every unified customer and conflict as it comes, for the page.

use futures_util::StreamExt;
use serde_json::Value as Json;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use warp::{Reply, reply::Response, sse};

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// `customer` or `conflict`
    pub name: &'static str,
    pub body: Arc<Json>,
}

/// Where events come from. Who is too slow to read them is cut off, and reads everything again when it reconnects.
#[derive(Clone)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    shutdown: CancellationToken,
}

impl Events {
    pub fn new(shutdown: CancellationToken) -> Self {
        Events { sender: broadcast::Sender::new(1_024), shutdown }
    }

    pub fn send(&self, name: &'static str, body: Json) {
        // Nobody listens: nothing to do.
        let _ = self.sender.send(Event { name, body: Arc::new(body) });
    }

    /// Whether anybody listens.
    pub fn wanted(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// The stream of one listener, which ends with the process.
    pub fn stream(&self) -> Response {
        let events = BroadcastStream::new(self.sender.subscribe())
            .take_while(|event| std::future::ready(event.is_ok()))
            .filter_map(|event| std::future::ready(event.ok()))
            .map(|event| Ok::<_, Infallible>(sse::Event::default().event(event.name).data(event.body.to_string())));
        let events = events.take_until(self.shutdown.clone().cancelled_owned());
        sse::reply(sse::keep_alive().interval(Duration::from_secs(15)).stream(events)).into_response()
    }
}
