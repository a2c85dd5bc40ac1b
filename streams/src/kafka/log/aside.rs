//! Clients are dropped in a thread of their own: librdkafka waits for its threads then, and a caller may be an async one.

use std::ops::Deref;
use std::thread;

/// A client that nobody waits for in the end.
pub(super) struct Aside<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Aside<T> {
    pub(super) fn new(client: T) -> Aside<T> {
        Aside(Some(client))
    }
}

impl<T: Send + 'static> Deref for Aside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(client) => client,
            // Only `drop` takes it.
            None => unreachable!("a client that was dropped"),
        }
    }
}

impl<T: Send + 'static> Drop for Aside<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        // Without another thread it is dropped here.
        if let Err(error) = thread::Builder::new().name("client-drop".to_owned()).spawn(move || drop(client)) {
            tracing::warn!(%error, "A Kafka client is dropped in the caller's thread.");
        }
    }
}
