//! How a source says that something changed: reads, appended to `requests.<system>`.

use crate::{error::ConnectError, topics::Topics};
use schemas::{Action, ExternalId, Notice, Read, Registry, Request, System};
use std::sync::Arc;
use streams::{
    Log, ProducerRecord,
    embedded::{Append, Clock, SystemClock},
};

/// Appends reads to `requests.<system>`. Cheap to clone.
#[derive(Clone)]
pub struct Requests {
    log: Log,
    topics: Topics,
    system: System,
    clock: Arc<dyn Clock>,
}

impl Requests {
    /// The system's topics must exist.
    pub fn new(log: &Log, registry: &Registry, system: &System) -> Result<Self, ConnectError> {
        let topics = Topics::new(log, registry, system)?;
        Ok(Requests { log: log.clone(), topics, system: system.clone(), clock: Arc::new(SystemClock) })
    }

    pub fn system(&self) -> &System {
        &self.system
    }

    /// What a source noticed, as one append: durable, all of it, when this returns `Ok`. A record with no notices is just read.
    pub async fn notices(&self, noticed: impl IntoIterator<Item = (ExternalId, Vec<Notice>)>) -> Result<(), ConnectError> {
        self.notices_and(noticed, []).await
    }

    /// The same together with other records, e.g. the cursor ([`Cursors::record`](crate::Cursors::record)) up to which the
    /// source has noticed everything.
    pub async fn notices_and(
        &self,
        noticed: impl IntoIterator<Item = (ExternalId, Vec<Notice>)>,
        others: impl IntoIterator<Item = ProducerRecord>,
    ) -> Result<(), ConnectError> {
        let reads = noticed.into_iter().map(|(id, notices)| self.read(&id, Read { notices, page: None }));
        let mut records = reads.collect::<Result<Vec<_>, _>>()?;
        records.extend(others);
        if !records.is_empty() {
            self.append(Append::of(records)).await?;
        }
        Ok(())
    }

    /// One read as a record of the topic, to be appended with others.
    pub fn read(&self, id: &ExternalId, read: Read) -> Result<ProducerRecord, ConnectError> {
        let topic = &self.topics.requests;
        let encoded = self.topics.request.encode(&Request { action: Action::Read(read) });
        let value = encoded.map_err(|source| ConnectError::Encode { topic: topic.to_string(), source })?;
        Ok(ProducerRecord::new(topic.clone(), id.as_str().to_owned(), value).with_timestamp(self.clock.now_ms()))
    }

    pub(crate) async fn append(&self, append: Append) -> Result<Vec<i64>, ConnectError> {
        self.log.append(append).await.map_err(ConnectError::log(format!("appending to {}", self.topics.requests)))
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn topics(&self) -> &Topics {
        &self.topics
    }
}
