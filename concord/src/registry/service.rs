//! The registry and its topic: what is answered is on disk, and what others write is taken in.

use super::asking;
use crate::topics::{registry_record, replay};
use schemas::{
    Registry,
    registry::{Change, Refusal},
};
use std::{ops::ControlFlow, sync::Arc, time::Duration};
use streams::{ConsumerRecord, Log, Owner, TopicPartition, embedded::Append};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Whoever changes the topic takes this name over.
const WRITER: &str = "schemas";
/// How often a change is decided anew because another process wrote at the same time.
const ATTEMPTS: u32 = 20;
/// Longest pause before that.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a client is let wait; then it is told to ask again.
const PATIENCE: Duration = Duration::from_secs(20);
/// Before a topic that could not be read is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Records of the topic that are taken in at once.
const TAKEN: usize = 1_000;

/// Questions go to the registry as it is; changes wait for each other.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    log: Log,
    partition: TopicPartition,
    /// Whoever holds it may take in the topic, and change it.
    place: Mutex<Place>,
}

#[derive(Default)]
struct Place {
    /// The offset up to which the topic is in the registry.
    seen: i64,
    /// This process wrote last, as far as it knows.
    writer: Option<Owner>,
}

impl Service {
    /// Reads the topic. It must exist.
    pub async fn open(log: Log, topic: &str) -> anyhow::Result<Self> {
        let partition = TopicPartition::new(topic, 0);
        let inner = Inner { registry: Registry::new(), log, partition, place: Mutex::default() };
        let service = Service { inner: Arc::new(inner) };
        service.catch_up().await?;
        Ok(service)
    }

    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Decides on a change, makes it durable, and only then lets it be seen and answers. It is decided again if another process wrote
    /// meanwhile. It happens to its end even if nobody waits for the answer any more: what is in the topic must be known before the next
    /// change is decided.
    pub async fn change<T, D>(&self, decide: D) -> Result<T, Refusal>
    where
        T: Send + 'static,
        D: Fn(&Registry) -> Result<Change<T>, Refusal> + Send + 'static,
    {
        let inner = self.inner.clone();
        let done = tokio::spawn(async move { inner.change(decide).await });
        let done = tokio::time::timeout(PATIENCE, done).await.map_err(|_| store("it takes longer than whoever asks waits"))?;
        done.unwrap_or_else(|panic| Err(store(panic)))
    }

    /// Takes in what other processes write, until `stop` or as long as the log can be read.
    pub async fn follow(self, stop: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            followed = self.inner.follow() => followed,
            () = stop.cancelled() => Ok(()),
        }
    }

    /// The registry for those that decode, where other processes may register what this one has not heard of yet.
    pub fn looking(&self) -> Registry {
        let service = self.clone();
        asking::looking(self.registry(), move |id| {
            let service = service.clone();
            async move {
                // A record is written after its schema. While the log cannot be read, nothing is known.
                while let Err(error) = service.catch_up().await {
                    tracing::warn!(id, error = format!("{error:#}"), "A schema that a record names is not here yet; looking again.");
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                service.registry().schema(id).map(drop).ok_or_else(|| "no schema has this id".to_owned())
            }
        })
    }

    /// Takes in what is in the topic now.
    pub async fn catch_up(&self) -> anyhow::Result<()> {
        self.inner.catch_up(&mut self.inner.place.lock().await.seen).await
    }

    /// Leaves the topic to others.
    pub async fn release(&self) {
        if let Some(writer) = self.inner.place.lock().await.writer.take() {
            writer.release().await;
        }
    }
}

impl Inner {
    async fn follow(&self) -> anyhow::Result<()> {
        let from = self.place.lock().await.seen;
        let mut follow = self.log.follow(vec![(self.partition.clone(), from)]).await?;
        loop {
            follow.ready(|_| true).await?;
            let mut place = self.place.lock().await;
            for record in follow.take(0, TAKEN, usize::MAX)? {
                if record.offset >= place.seen {
                    replay(&self.registry, &record)?;
                    place.seen = record.offset + 1;
                }
            }
        }
    }

    async fn change<T>(&self, decide: impl Fn(&Registry) -> Result<Change<T>, Refusal>) -> Result<T, Refusal> {
        let mut place = self.place.lock().await;
        for _ in 0..ATTEMPTS {
            // An append that failed may be in the topic all the same.
            self.catch_up(&mut place.seen).await.map_err(unread)?;
            let Change { answer, records } = decide(&self.registry)?;
            if records.is_empty() {
                return Ok(answer);
            }
            let Some(writer) = place.writer.take_if(|writer| !writer.is_lost()) else {
                // From then on nobody else writes unnoticed; but somebody may have, so it is decided once more.
                place.writer = Some(self.log.take_over(WRITER).await.map_err(store)?);
                continue;
            };
            let appended =
                writer.log().append(Append::of(records.into_iter().map(|record| registry_record(&self.partition, record)))).await;
            match appended {
                Ok(_) => {
                    place.writer = Some(writer);
                    self.catch_up(&mut place.seen).await.map_err(unread)?;
                    return Ok(answer);
                }
                Err(error) if writer.is_lost() => {
                    tracing::debug!(%error, "Another process changed the registry at the same time; deciding again.");
                    tokio::time::sleep(PAUSE.mul_f64(rand::random())).await;
                }
                Err(error) => {
                    place.writer = Some(writer);
                    return Err(store(error));
                }
            }
        }
        Err(store("other processes change it all the time"))
    }

    async fn catch_up(&self, seen: &mut i64) -> anyhow::Result<()> {
        let end = self.log.end_offset(&self.partition).await?;
        let (from, mut taken) = (*seen, Ok(()));
        let take = |record: ConsumerRecord| {
            taken = replay(&self.registry, &record);
            match taken {
                Ok(()) => {
                    *seen = record.offset + 1;
                    ControlFlow::Continue(())
                }
                Err(_) => ControlFlow::Break(()),
            }
        };
        self.log.scan_until(&self.partition, from, end, take).await?;
        taken?;
        // On Kafka ends of transactions lie behind the last record.
        *seen = end.max(*seen);
        Ok(())
    }
}

fn unread(error: anyhow::Error) -> Refusal {
    store(format!("{error:#}"))
}

fn store(error: impl std::fmt::Display) -> Refusal {
    tracing::warn!(%error, "The registry's topic cannot be written or read now.");
    Refusal::new(50001, "The registry's store does not take it now; try again.")
}
