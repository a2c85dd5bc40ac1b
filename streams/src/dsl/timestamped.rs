//! The stores of tables: each value with its timestamp in front, eight bytes big-endian, as Kafka Streams stores it.

use std::sync::Arc;

use super::SharedSerde;
use crate::error::ProcessorError;
use crate::processor::ProcessorContext;
use crate::serde::SerdeError;

pub(super) struct TimestampedStore<K, V> {
    pub(super) name: Arc<str>,
    pub(super) key_serde: SharedSerde<K>,
    pub(super) value_serde: SharedSerde<V>,
}

impl<K, V> Clone for TimestampedStore<K, V> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), key_serde: self.key_serde.clone(), value_serde: self.value_serde.clone() }
    }
}

impl<K, V> TimestampedStore<K, V> {
    pub(super) fn get(&self, ctx: &mut ProcessorContext<'_>, key: &K) -> Result<Option<(V, i64)>, ProcessorError> {
        let key = self.key(key)?;
        let Some(stored) = ctx.store(&self.name)?.get(&key)? else { return Ok(None) };
        let Some((timestamp, value)) = stored.split_first_chunk::<8>() else {
            return Err(SerdeError::Length { expected: 8, actual: stored.len() }.into());
        };
        let value = self.value_serde.deserialize(&self.name, Some(value))?;
        Ok(Some((value, i64::from_be_bytes(*timestamp))))
    }

    /// Sets a value; `None`, or one whose serde says null, deletes it.
    pub(super) fn put(&self, ctx: &mut ProcessorContext<'_>, key: &K, value: Option<&V>, timestamp: i64) -> Result<(), ProcessorError> {
        let key = self.key(key)?;
        let value = value.map_or(Ok(None), |value| self.value_serde.serialize(&self.name, value))?;
        let mut store = ctx.store(&self.name)?;
        match value {
            None => store.delete(key),
            Some(value) => {
                let mut stored = Vec::with_capacity(8 + value.len());
                stored.extend_from_slice(&timestamp.to_be_bytes());
                stored.extend_from_slice(&value);
                store.put(key, stored);
            }
        }
        Ok(())
    }

    fn key(&self, key: &K) -> Result<Vec<u8>, SerdeError> {
        self.key_serde.serialize(&self.name, key)?.ok_or(SerdeError::Null)
    }
}
