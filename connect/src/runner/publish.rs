//! What is finished becomes one append: results, reads asked for, dead letters, and the offsets that they cover.

use super::Shared;
use crate::{
    error::ConnectError,
    partition::{Batch, Output},
    topics::Topics,
};
use schemas::{Action, Read, Request};
use streams::{ConsumerRecord, Headers, ProducerRecord, TopicPartition, dlq_headers, embedded::Append};

/// Adds a batch of a partition to an append.
pub(super) async fn add(append: &mut Append, shared: &Shared, partition: &TopicPartition, batch: &Batch) -> Result<(), ConnectError> {
    let Shared { topics, log, .. } = shared;
    for output in &batch.outputs {
        match output {
            Output::Result { key, result } => {
                let value = topics.customer.encode(result).map_err(encode(&topics.customers))?;
                append.records.push(ProducerRecord::new(topics.customers.clone(), key.clone(), value).with_timestamp(shared.now()));
            }
            Output::Ask { id } => {
                let read = Request { action: Action::Read(Read::default()) };
                let value = topics.request.encode(&read).map_err(encode(&topics.requests))?;
                let key = id.as_str().to_owned();
                append.records.push(ProducerRecord::new(topics.requests.clone(), key, value).with_timestamp(shared.now()));
            }
            Output::Dead { offset, reason, .. } => {
                let failed = ConnectError::log(format!("reading {}", topics.requests));
                let letter = |record| append.records.push(dead(topics, record, reason));
                log.scan(partition, *offset, *offset + 1, letter).await.map_err(failed)?;
            }
        }
    }
    if let Some(finished) = batch.finished {
        append.offsets.push((shared.group.clone(), partition.clone(), finished));
    }
    Ok(())
}

/// The dead letter of a request: as it was, and what was wrong.
pub(super) fn dead(topics: &Topics, record: ConsumerRecord, reason: &str) -> ProducerRecord {
    let mut headers: Headers = record.headers.clone();
    headers.add(dlq_headers::EXCEPTION, "concord.connect.Poison");
    headers.add(dlq_headers::MESSAGE, reason.to_owned());
    headers.add(dlq_headers::TOPIC, record.topic.to_string());
    headers.add(dlq_headers::PARTITION, record.partition.to_string());
    headers.add(dlq_headers::OFFSET, record.offset.to_string());
    ProducerRecord {
        topic: topics.dead.clone(),
        partition: Some(record.partition),
        key: record.key,
        value: record.value,
        timestamp: record.timestamp,
        headers,
    }
}

fn encode(topic: &str) -> impl FnOnce(schemas::CodecError) -> ConnectError {
    let topic = topic.to_owned();
    move |source| ConnectError::Encode { topic, source }
}
