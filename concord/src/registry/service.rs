//! The registry and its topic: what is answered is on disk.

use crate::topics::{SCHEMAS, registry_record};
use schemas::{
    Registry,
    registry::{Change, Refusal},
};
use std::sync::Arc;
use streams::{
    ConsumerRecord, Log, TopicPartition,
    embedded::{Append, LogError},
};
use tokio::sync::Mutex;

/// Questions go to the registry as it is; changes wait for each other.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    log: Log,
    partition: TopicPartition,
    /// The offset up to which the topic is in the registry. Whoever holds it may change something.
    seen: Mutex<i64>,
}

impl Service {
    /// `registry` holds what the topic holds.
    pub async fn new(log: Log, registry: Registry) -> Result<Self, LogError> {
        let partition = TopicPartition::new(SCHEMAS, 0);
        let seen = Mutex::new(log.end_offset(&partition).await?);
        Ok(Service { inner: Arc::new(Inner { registry, log, partition, seen }) })
    }

    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Decides on a change, makes it durable, and only then lets it be seen and answers. It happens to its end even if nobody waits for the
    /// answer any more: what is in the topic must be known before the next change is decided.
    pub async fn change<T, D>(&self, decide: D) -> Result<T, Refusal>
    where
        T: Send + 'static,
        D: FnOnce(&Registry) -> Result<Change<T>, Refusal> + Send + 'static,
    {
        let inner = self.inner.clone();
        let done = tokio::spawn(async move { inner.change(decide).await });
        done.await.unwrap_or_else(|panic| Err(store(panic)))
    }
}

impl Inner {
    async fn change<T>(&self, decide: impl FnOnce(&Registry) -> Result<Change<T>, Refusal>) -> Result<T, Refusal> {
        let mut seen = self.seen.lock().await;
        // An append that failed may be in the topic all the same.
        self.catch_up(&mut seen).await?;
        let Change { answer, records } = decide(&self.registry)?;
        if !records.is_empty() {
            self.log.append(Append::of(records.into_iter().map(registry_record))).await.map_err(store)?;
            self.catch_up(&mut seen).await?;
        }
        Ok(answer)
    }

    async fn catch_up(&self, seen: &mut i64) -> Result<(), Refusal> {
        let end = self.log.end_offset(&self.partition).await.map_err(store)?;
        let (from, mut taken) = (*seen, Ok(()));
        let take = |record: ConsumerRecord| {
            if taken.is_ok() {
                taken = self.registry.apply(record.key.as_deref().unwrap_or_default(), record.value.as_deref());
                *seen = record.offset + 1;
            }
        };
        self.log.scan(&self.partition, from, end, take).await.map_err(store)?;
        taken.map_err(store)
    }
}

fn store(error: impl std::fmt::Display) -> Refusal {
    tracing::warn!(%error, "The registry's topic cannot be written or read now.");
    Refusal::new(50001, "The registry's store does not take it now; try again.")
}
