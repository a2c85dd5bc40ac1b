//! Source nodes: from bytes to records.

use std::any::Any;
use std::sync::Arc;

use crate::error::ProcessorError;
use crate::processor::{Node, ProcessorContext};
use crate::record::{ConsumerRecord, Record};
use crate::serde::{Serde, SerdeError};

pub(crate) struct SourceNode<K, V> {
    key_serde: Arc<dyn Serde<K>>,
    value_serde: Arc<dyn Serde<V>>,
    skip_null_keys: bool,
}

impl<K, V> SourceNode<K, V> {
    pub(crate) fn new(key_serde: Arc<dyn Serde<K>>, value_serde: Arc<dyn Serde<V>>) -> Self {
        Self { key_serde, value_serde, skip_null_keys: false }
    }

    /// For tables, in which a null key means nothing.
    pub(crate) fn skipping_null_keys(key_serde: Arc<dyn Serde<K>>, value_serde: Arc<dyn Serde<V>>) -> Self {
        Self { key_serde, value_serde, skip_null_keys: true }
    }

    fn decode(&self, record: &ConsumerRecord) -> Result<Record<K, V>, SerdeError> {
        Ok(Record {
            key: self.key_serde.deserialize(&record.topic, record.key.as_deref())?,
            value: self.value_serde.deserialize(&record.topic, record.value.as_deref())?,
            timestamp: record.timestamp,
            headers: record.headers.clone(),
        })
    }
}

impl<K: Any + Clone, V: Any + Clone> Node for SourceNode<K, V> {
    /// Decodes and forwards the task's current record; `record` is not looked at.
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, _record: &mut dyn Any) -> Result<(), ProcessorError> {
        let Some(current) = &ctx.core.current else {
            return Err(ProcessorError::fatal("record-type", "a record was forwarded to a source"));
        };
        if current.timestamp < 0 {
            return Err(ProcessorError::new("negative-timestamp", format!("the record has timestamp {}", current.timestamp)));
        }
        if self.skip_null_keys && current.key.is_none() {
            ctx.core.stream_time = ctx.core.stream_time.max(current.timestamp);
            ctx.drop_record();
            return Ok(());
        }
        let record = self.decode(current)?;
        ctx.core.stream_time = ctx.core.stream_time.max(record.timestamp);
        ctx.forward(record)
    }
}
