//! What is new in `customers.unified` and `customers.conflicts`, for the page's events.

use crate::http::Events;
use schemas::{AvroCodec, CustomerConflict, Registry, UnifiedCustomer, value_subject};
use streams::{Log, TopicPartition};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use topology::customers::topics::{CONFLICTS, UNIFIED};

/// Sends what comes from now on, until `stop`.
pub async fn run(log: Log, registry: Registry, partitions: i32, events: Events, stop: CancellationToken) -> anyhow::Result<()> {
    let unified: AvroCodec<UnifiedCustomer> = registry.codec(&value_subject(UNIFIED))?;
    let conflicts: AvroCodec<CustomerConflict> = registry.codec(&value_subject(CONFLICTS))?;
    let mut tails = JoinSet::new();
    for partition in 0..partitions {
        let (unified, conflicts) = (unified.clone(), conflicts.clone());
        let customer = move |bytes: &[u8]| unified.decode(bytes).ok().map(|c| ("customer", schemas::json::unified(&c)));
        let conflict = move |bytes: &[u8]| conflicts.decode(bytes).ok().map(|c| ("conflict", schemas::json::conflict(&c)));
        tails.spawn(tail(log.clone(), TopicPartition::new(UNIFIED, partition), events.clone(), customer));
        tails.spawn(tail(log.clone(), TopicPartition::new(CONFLICTS, partition), events.clone(), conflict));
    }
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        Some(ended) = tails.join_next() => ended?,
    }
}

async fn tail(
    log: Log,
    tp: TopicPartition,
    events: Events,
    shown: impl Fn(&[u8]) -> Option<(&'static str, serde_json::Value)>,
) -> anyhow::Result<()> {
    let end = log.end_offset(&tp).await?;
    let mut follow = log.follow(vec![(tp, end)]).await?;
    loop {
        follow.ready(|_| true).await?;
        // Who opens the page reads everything first: what nobody listens to is passed over.
        if !events.wanted() {
            follow.pass(0)?;
        }
        loop {
            let records = follow.take(0, 500, 1 << 20)?;
            if records.is_empty() {
                break;
            }
            for event in records.iter().filter_map(|record| record.value.as_deref()) {
                if let Some((name, body)) = shown(event) {
                    events.send(name, body);
                }
            }
        }
    }
}
