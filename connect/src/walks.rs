//! When a system's first backfill is through, and when its configuration changes, every customer's writes to it are computed:
//! a `Walk` for every partition of `customers.unify` (rule 25).

use crate::{
    cursors::Cursors,
    error::ConnectError,
    topics::{codec, customers_topic, partitions_of},
};
use schemas::{AvroCodec, Registry, System, UnifyBody, UnifyMessage, Walk};
use std::time::Duration;
use streams::{
    Log, ProducerRecord, TopicPartition,
    embedded::{Clock, SystemClock},
};

const UNIFY: &str = "customers.unify";
/// An import happens once: its steps are looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Publishes walks. Cheap to clone.
#[derive(Clone)]
pub struct Walks {
    log: Log,
    codec: AvroCodec<UnifyMessage>,
    cursors: Cursors,
    /// `application.id` of the customer topology: its group offsets tell how far it is.
    application_id: String,
}

impl Walks {
    /// The topology's topics must exist.
    pub fn new(log: &Log, registry: &Registry, cursors: &Cursors, application_id: &str) -> Result<Self, ConnectError> {
        let codec = codec(registry, UNIFY)?;
        Ok(Walks { log: log.clone(), codec, cursors: cursors.clone(), application_id: application_id.to_owned() })
    }

    /// Whether the system's import was announced to every partition.
    pub fn imported(&self, system: &System) -> bool {
        self.cursors.get(&import_flag(system)).is_some()
    }

    /// The system's first backfill is through the connector (every read is answered, its results are in the log): waits until
    /// the topology has taken them in, then announces the import, once and for all. Call it at each start; may be dropped.
    pub async fn import(&self, system: &System) -> Result<(), ConnectError> {
        let flag = import_flag(system);
        if self.cursors.get(&flag).is_some() {
            return Ok(());
        }
        self.taken_in(system).await?;
        let walks = self.walk(system, "import")?;
        self.cursors.set_with(&flag, "announced", walks).await?;
        tracing::info!(%system, "The first import is through: customers that it lacks are created there from now on.");
        Ok(())
    }

    /// Waits until the topology has taken in the results that are in `customers.<system>` by now, and what it asked for before
    /// is in the requests' topics.
    pub async fn taken_in(&self, system: &System) -> Result<(), ConnectError> {
        // What is asked, claimed and linked because of a result comes into each topic before the previous one's end is committed.
        for topic in [customers_topic(system), "customers.identify".to_owned(), UNIFY.to_owned(), format!("links.{system}")] {
            self.passed(&topic).await?;
        }
        self.log.settled().await.map_err(ConnectError::log("waiting for the topology"))
    }

    /// The system's configuration, as a hash: a walk if it is another than at the last start.
    pub async fn configured(&self, system: &System, hash: &str) -> Result<(), ConnectError> {
        let name = format!("{system}.configuration");
        let (count, known) = match self.cursors.get(&name) {
            Some(stored) => {
                let (count, known) = stored.split_once(' ').unwrap_or(("0", &stored));
                (count.parse::<u64>().unwrap_or(0), Some(known.to_owned()))
            }
            None => (0, None),
        };
        match known {
            Some(known) if known == hash => Ok(()),
            // Before the first import there is nobody to walk for.
            None => self.cursors.set(&name, &format!("0 {hash}")).await,
            Some(_) => {
                // A partition ignores a reason that it has had; a configuration may come back, hence the count.
                let count = count + 1;
                let walks = self.walk(system, &format!("{hash}#{count}"))?;
                self.cursors.set_with(&name, &format!("{count} {hash}"), walks).await?;
                tracing::info!(%system, "The configuration has changed: every customer is looked at again.");
                Ok(())
            }
        }
    }

    /// A walk for every partition.
    fn walk(&self, system: &System, reason: &str) -> Result<Vec<ProducerRecord>, ConnectError> {
        let message = UnifyMessage { body: UnifyBody::Walk(Walk { system: system.clone(), reason: reason.to_owned() }) };
        let encoded = self.codec.encode(&message);
        let value = encoded.map_err(|source| ConnectError::Encode { topic: UNIFY.to_owned(), source })?;
        let record = |partition| {
            ProducerRecord::new(UNIFY, system.to_string(), value.clone()).with_partition(partition).with_timestamp(SystemClock.now_ms())
        };
        Ok((0..partitions_of(&self.log, UNIFY)?).map(record).collect())
    }

    /// Waits until the topology has committed the end of the topic as it is now.
    async fn passed(&self, topic: &str) -> Result<(), ConnectError> {
        let failed = || ConnectError::log(format!("waiting for {topic} to be processed"));
        self.log.settled().await.map_err(failed())?;
        for partition in 0..partitions_of(&self.log, topic)? {
            let tp = TopicPartition::new(topic, partition);
            let end = self.log.end_offset(&tp).await.map_err(failed())?;
            while !self.log.passed(&self.application_id, &tp, end).await.map_err(failed())? {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }
}

fn import_flag(system: &System) -> String {
    format!("{system}.imported")
}
