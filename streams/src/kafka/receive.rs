//! Records on their way from the consumer to the tasks.

use std::sync::Arc;

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers as _};
use rustc_hash::FxHashMap;

use super::KafkaStreamsError;
use super::running::Running;
use crate::{ConsumerRecord, Headers};

/// Topic, then partition → which task reads it, as which of its inputs.
pub(super) type Readers = FxHashMap<Arc<str>, Vec<Option<(usize, usize)>>>;

/// Finds the tasks by their partitions.
pub(super) fn readers(tasks: &[Running]) -> Readers {
    let mut readers = Readers::default();
    for (task, running) in tasks.iter().enumerate() {
        for (place, input) in running.inputs.iter().enumerate() {
            let partitions = readers.entry(input.partition.topic.clone()).or_default();
            let number = running.id.partition as usize;
            partitions.resize(partitions.len().max(number + 1), None);
            partitions[number] = Some((task, place));
        }
    }
    readers
}

/// Queues a record at the task that reads it. Partitions without a task are paused, so none comes from them: one that did would be lost.
pub(super) fn offer(tasks: &mut [Running], readers: &Readers, message: &BorrowedMessage<'_>) -> Result<(), KafkaStreamsError> {
    let reader = readers.get(message.topic()).and_then(|partitions| partitions.get(message.partition() as usize).copied().flatten());
    let Some((task, place)) = reader else {
        let place = format!("{}-{} offset {}", message.topic(), message.partition(), message.offset());
        return Err(KafkaStreamsError::invariant(format!("no task here reads {place}")));
    };
    let input = &mut tasks[task].inputs[place];
    let record = record(message, &input.partition.topic);
    let offset = record.offset;
    match input.offer(record) {
        true => Ok(()),
        false => Err(KafkaStreamsError::invariant(format!("{} went back to offset {offset}", input.partition))),
    }
}

pub(super) fn record(message: &BorrowedMessage<'_>, topic: &Arc<str>) -> ConsumerRecord {
    let mut headers = Headers::new();
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        headers.add_nullable(header.key, header.value.map(Bytes::copy_from_slice));
    }
    ConsumerRecord {
        topic: topic.clone(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(0).max(0),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers,
    }
}
