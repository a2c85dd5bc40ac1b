//! The contract of a connector: what it implements, and nothing of it decides.

use crate::{
    call::{Call, Create, Delete, Refusal, Reply, Update},
    catch_up::CatchUp,
};
use async_trait::async_trait;
use schemas::{CustomerId, ExternalId, Millis};
use tokio_util::sync::CancellationToken;

/// How a system is read, and how its changes are noticed.
///
/// A notice is a [`schemas::Read`] appended to `requests.<system>`, under the record's external id. Whatever a source sees of
/// a record beside that (a webhook's payload, a list's row) is no snapshot: the conversation reads the record itself.
#[async_trait]
pub trait Source: Send + Sync {
    /// [`Call::Get`]: the record as it is now.
    async fn read(&self, id: &ExternalId) -> Reply;

    /// [`Call::List`]: one page, for reads of a backfill. `None`: the system has no such call, each record is read singly.
    async fn list(&self, page: &str) -> Option<Reply> {
        let _ = page;
        None
    }

    /// Whether it has caught up since the start; its [`run`](Self::run) says so. `None`: there is nothing to catch up with, creates need
    /// not wait.
    fn catch_up(&self) -> Option<&CatchUp> {
        None
    }

    /// Notices changes, and publishes them ([`Requests`](crate::Requests)), until the shutdown: events from where its cursor stands, the first
    /// backfill ([`Slices`](crate::Slices), then [`Walks::import`](crate::Walks::import)), sweeps. An error ends it; it is run again after a pause.
    async fn run(&self, shutdown: CancellationToken) -> Result<(), SourceError> {
        shutdown.cancelled().await;
        Ok(())
    }
}

/// How a system is written to, and how its records are found.
#[async_trait]
pub trait Sink: Send + Sync {
    async fn update(&self, update: &Update) -> Reply;
    async fn create(&self, create: &Create) -> Reply;
    async fn delete(&self, delete: &Delete) -> Reply;
    /// [`Call::FindOurs`].
    async fn find_ours(&self, customer: CustomerId, since: Millis) -> Reply;
    /// [`Call::FindByEmail`].
    async fn find_by_email(&self, email: &str) -> Reply;
}

/// What ends a source's loop for good; it is started again with a pause.
#[derive(Debug, thiserror::Error)]
#[error("{system}: {stage}: {cause}")]
pub struct SourceError {
    pub system: schemas::System,
    /// What it was doing, e.g. `backfill`.
    pub stage: &'static str,
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// Performs one call. Without a sink (`mode = "read"`) what would change something is refused.
pub async fn perform(source: &dyn Source, sink: Option<&dyn Sink>, call: &Call) -> Reply {
    match (call, sink) {
        (Call::Get { id }, _) => source.read(id).await,
        (Call::List { page }, _) => {
            source.list(page).await.unwrap_or_else(|| Reply::Refused(Refusal { reason: "no list call".into(), ..Refusal::default() }))
        }
        (Call::Update(update), Some(sink)) => sink.update(update).await,
        (Call::Create(create), Some(sink)) => sink.create(create).await,
        (Call::Delete(delete), Some(sink)) => sink.delete(delete).await,
        (Call::FindOurs { customer, since }, Some(sink)) => sink.find_ours(*customer, *since).await,
        (Call::FindByEmail { email }, Some(sink)) => sink.find_by_email(email).await,
        (_, None) => Reply::Refused(Refusal { reason: "this system is only read".into(), ..Refusal::default() }),
    }
}
