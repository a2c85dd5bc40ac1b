//! Whether a source has caught up since this start: until it has, the runner makes no records (rule 7).
//!
//! Somebody may have been added to the system while nobody listened. What asks for creates does not know of them before the
//! source has noticed all that changed, those reads are answered, and the topology has taken the results in. Nothing of it is
//! stored: a process that starts again catches up again.

use crate::{backfill::Slices, error::ConnectError, requests::Requests, walks::Walks};
use std::time::Instant;
use streams::TopicPartition;
use tokio::sync::watch;

/// How far the catch-up is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    Going,
    /// It is tried again and again, for this reason.
    Failing(String),
    Through,
}

/// One source's catch-up. Made before the system's runner begins.
pub struct CatchUp {
    requests: Requests,
    /// The ends of `customers.<system>` before the runner began.
    since: Vec<i64>,
    began: Instant,
    stage: watch::Sender<Stage>,
}

impl CatchUp {
    pub async fn new(requests: &Requests) -> Result<Self, ConnectError> {
        let customers = &requests.topics().customers;
        let mut since = Vec::new();
        for partition in 0..requests.topics().partitions {
            let end = requests.log().end_offset(&TopicPartition::new(customers.clone(), partition)).await;
            since.push(end.map_err(ConnectError::log(format!("reading {customers}")))?);
        }
        Ok(CatchUp { since, requests: requests.clone(), began: Instant::now(), stage: watch::Sender::new(Stage::Going) })
    }

    /// How far it is, as it changes.
    pub fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    pub fn is_through(&self) -> bool {
        *self.stage.borrow() == Stage::Through
    }

    /// The system does not let itself be asked what changed.
    pub fn failing(&self, reason: &dyn std::fmt::Display) {
        self.set(Stage::Failing(reason.to_string()));
    }

    /// It answers.
    pub fn going(&self) {
        self.set(Stage::Going);
    }

    /// All that changed before the start is in `requests.<system>`: waits until those reads are answered, and the topology has
    /// taken the results in; then the catch-up is through. May be dropped and called again.
    pub async fn noticed(&self, walks: Option<&Walks>) -> Result<(), ConnectError> {
        if self.is_through() {
            return Ok(());
        }
        Slices::by_now(self.requests.clone(), &self.since).await?.answered().await?;
        if let Some(walks) = walks {
            walks.taken_in(self.requests.system()).await?;
        }
        self.set(Stage::Through);
        let system = self.requests.system();
        tracing::info!(%system, seconds = self.began.elapsed().as_secs_f32(), "Caught up with what changed before the start: records are made from now on.");
        Ok(())
    }

    fn set(&self, stage: Stage) {
        self.stage.send_if_modified(|known| {
            let changed = *known != Stage::Through && *known != stage;
            if changed {
                *known = stage;
            }
            changed
        });
    }
}
