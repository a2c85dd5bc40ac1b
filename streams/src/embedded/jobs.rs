//! The queue between everybody who wants something written and the one thread that writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::streams::StreamsConfig;
use super::{Append, LogError, TopicConfig};
use crate::BuiltTopology;
use crate::client::Status;

/// Where the outcome of a job goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, LogError>>;

/// An append from outside, waiting for its commit.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) append: Append,
    pub(super) reply: Reply<Vec<i64>>,
    /// Frees the queue's room when the append is answered.
    pub(super) _room: OwnedSemaphorePermit,
}

/// What the writer is asked for.
pub(super) enum Job {
    Append(Pending),
    CreateTopic(TopicConfig, Reply<()>),
    CreateGroup { group: String, topics: Vec<String>, reply: Reply<()> },
    DeleteGroup { group: String, reply: Reply<()> },
    Start { topology: Arc<BuiltTopology>, config: Box<StreamsConfig>, status: Arc<Status>, reply: Reply<()> },
    StopStreams { reply: Reply<()> },
    Tidy { reply: Reply<()> },
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    woken: bool,
    closed: bool,
}

/// The queue itself. Its room is bounded in bytes, so that callers wait outside when the writer cannot keep up.
pub(super) struct Jobs {
    queue: Mutex<Queue>,
    ready: Condvar,
    room: Arc<Semaphore>,
    room_kib: u32,
}

impl Jobs {
    pub(super) fn new(max_pending_bytes: usize) -> Jobs {
        let room_kib = u32::try_from(max_pending_bytes / 1024).unwrap_or(u32::MAX).clamp(1, 1 << 24);
        Jobs { queue: Mutex::default(), ready: Condvar::new(), room: Arc::new(Semaphore::new(room_kib as usize)), room_kib }
    }

    /// Waits until an append of this size may be queued.
    pub(super) async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, LogError> {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(self.room_kib);
        self.room.clone().acquire_many_owned(kib).await.map_err(|_| LogError::Closed)
    }

    pub(super) fn push(&self, job: Job) -> Result<(), LogError> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(LogError::Closed);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.ready.notify_one();
        Ok(())
    }

    /// Makes the writer look at the clock, and at what it was told beside the queue.
    pub(super) fn wake(&self) {
        self.queue.lock().woken = true;
        self.ready.notify_one();
    }

    /// No more jobs are taken; those that are queued are still done.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.room.close();
        self.ready.notify_one();
    }

    /// The next job, if there is one now.
    pub(super) fn next(&self) -> Option<Job> {
        self.queue.lock().jobs.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.lock().jobs.is_empty()
    }

    /// Whether no job is there and none will come.
    pub(super) fn is_over(&self) -> bool {
        let queue = self.queue.lock();
        queue.closed && queue.jobs.is_empty()
    }

    /// Nobody works on them any more: what is queued is answered with [`LogError::Closed`].
    pub(super) fn give_up(&self) {
        self.close();
        let left = std::mem::take(&mut self.queue.lock().jobs);
        drop(left);
    }

    /// Waits until there is a job, a wake-up, the end, or `deadline`.
    pub(super) fn wait(&self, deadline: Option<Instant>) {
        let mut queue = self.queue.lock();
        while queue.jobs.is_empty() && !queue.woken && !queue.closed {
            match deadline {
                None => self.ready.wait(&mut queue),
                Some(deadline) => {
                    if self.ready.wait_until(&mut queue, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
        queue.woken = false;
    }
}
