//! A typed view of a store.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::ProcessorError;
use crate::processor::ProcessorContext;
use crate::serde::{Serde, SerdeError};

/// The typed view of a store of bytes. A processor keeps one, and passes its context to each call.
///
/// ```
/// use streams::*;
/// struct Count { counts: KeyValueStore<String, i64> }
/// impl Processor<String, String> for Count {
///     fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Result<(), ProcessorError> {
///         let count = self.counts.get(ctx, &record.value)?.unwrap_or(0) + 1;
///         self.counts.put(ctx, &record.value, &count)
///     }
/// }
/// # let _ = Count { counts: KeyValueStore::new("counts", StringSerde, LongSerde) };
/// ```
pub struct KeyValueStore<K, V> {
    name: Arc<str>,
    key_serde: Arc<dyn Serde<K>>,
    value_serde: Arc<dyn Serde<V>>,
}

impl<K, V> Clone for KeyValueStore<K, V> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), key_serde: self.key_serde.clone(), value_serde: self.value_serde.clone() }
    }
}

impl<K, V> KeyValueStore<K, V> {
    /// The view of the store of this name.
    pub fn new(name: impl Into<Arc<str>>, key_serde: impl Serde<K> + 'static, value_serde: impl Serde<V> + 'static) -> Self {
        Self { name: name.into(), key_serde: Arc::new(key_serde), value_serde: Arc::new(value_serde) }
    }

    /// The store's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of a key.
    pub fn get(&self, ctx: &mut ProcessorContext<'_>, key: &K) -> Result<Option<V>, ProcessorError> {
        let key = self.key(key)?;
        let value = ctx.store(&self.name)?.get(&key)?;
        Ok(value.map(|value| self.value_serde.deserialize(&self.name, Some(&value))).transpose()?)
    }

    /// Sets the value of a key; a value whose serde says null deletes it.
    pub fn put(&self, ctx: &mut ProcessorContext<'_>, key: &K, value: &V) -> Result<(), ProcessorError> {
        let key = self.key(key)?;
        let value = self.value_serde.serialize(&self.name, value)?;
        let mut store = ctx.store(&self.name)?;
        match value {
            Some(value) => store.put(key, value),
            None => store.delete(key),
        }
        Ok(())
    }

    /// Removes a key.
    pub fn delete(&self, ctx: &mut ProcessorContext<'_>, key: &K) -> Result<(), ProcessorError> {
        let key = self.key(key)?;
        ctx.store(&self.name)?.delete(key);
        Ok(())
    }

    /// At most `limit` entries in ascending order of the serialised key, from a key on (or from the first).
    pub fn scan(&self, ctx: &mut ProcessorContext<'_>, from: Bound<&K>, limit: usize) -> Result<Vec<(K, V)>, ProcessorError> {
        let from = match from {
            Bound::Included(key) => Bound::Included(self.key(key)?),
            Bound::Excluded(key) => Bound::Excluded(self.key(key)?),
            Bound::Unbounded => Bound::Unbounded,
        };
        let from = match &from {
            Bound::Included(key) => Bound::Included(key.as_slice()),
            Bound::Excluded(key) => Bound::Excluded(key.as_slice()),
            Bound::Unbounded => Bound::Unbounded,
        };
        ctx.store(&self.name)?.range((from, Bound::Unbounded)).take(limit).map(|entry| self.entry(entry?)).collect()
    }

    fn entry(&self, (key, value): (Bytes, Bytes)) -> Result<(K, V), ProcessorError> {
        let key = self.key_serde.deserialize(&self.name, Some(&key))?;
        Ok((key, self.value_serde.deserialize(&self.name, Some(&value))?))
    }

    fn key(&self, key: &K) -> Result<Vec<u8>, SerdeError> {
        self.key_serde.serialize(&self.name, key)?.ok_or(SerdeError::Null)
    }
}
