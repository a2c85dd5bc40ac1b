//! Appends on their way to who writes them.

use std::sync::mpsc;
use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::KafkaLogError;
use crate::embedded::{Append, LogError};

/// Appends that wait hold at most this much; more wait outside.
const ROOM_KIB: u32 = 16 << 10;

/// The partitions of an append's records.
pub(super) struct Placed(pub(super) Vec<i32>);

/// Bounds what waits.
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    pub(super) fn new() -> Room {
        Room(Arc::new(Semaphore::new(ROOM_KIB as usize)))
    }

    pub(super) async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, LogError> {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(ROOM_KIB);
        self.0.clone().acquire_many_owned(kib).await.map_err(|_| LogError::Closed)
    }
}

/// An append that waits for its transaction.
pub(super) struct Pending {
    pub(super) append: Append,
    pub(super) placed: Placed,
    reply: oneshot::Sender<Result<Vec<i64>, LogError>>,
    _room: OwnedSemaphorePermit,
}

impl Pending {
    pub(super) fn answer(self, outcome: Result<Vec<i64>, LogError>) {
        // Whoever gave up waiting does not hear of it.
        let _ = self.reply.send(outcome);
    }
}

/// What an owner's thread is asked for.
pub(super) enum Ask {
    Append(Pending),
    /// To finish what came before, and to leave the name to others.
    Leave,
}

/// The way to an owner's thread, open until the ownership ends.
pub(super) struct Queue {
    name: String,
    asks: mpsc::Sender<Ask>,
    room: Room,
    /// Why the ownership ended.
    why: Arc<OnceLock<String>>,
}

impl Queue {
    pub(super) fn new(name: &str, asks: mpsc::Sender<Ask>, why: Arc<OnceLock<String>>) -> Queue {
        Queue { name: name.to_owned(), asks, room: Room::new(), why }
    }

    pub(super) async fn append(&self, append: Append, placed: Placed) -> Result<Vec<i64>, LogError> {
        let room = self.room.take(append.size()).await?;
        let (reply, outcome) = oneshot::channel();
        let ask = Ask::Append(Pending { append, placed, reply, _room: room });
        self.asks.send(ask).map_err(|_| self.lost())?;
        outcome.await.unwrap_or_else(|_| Err(self.lost()))
    }

    fn lost(&self) -> LogError {
        let reason = self.why.get().map_or("it was given back", String::as_str).to_owned();
        KafkaLogError::Lost { name: self.name.clone(), reason }.into()
    }
}
