//! What the driver holds of a store: the committed entries.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

/// One store of one task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreInstance {
    /// The store's name.
    pub name: Arc<str>,
    /// Its place among the stores of the topology ([`BuiltTopology::stores`](crate::BuiltTopology::stores)).
    pub index: usize,
    /// The partition of its task.
    pub partition: i32,
}

/// A store could not be read.
#[derive(Debug, thiserror::Error)]
#[error("store {store}, partition {partition}: {source}")]
pub struct StateError {
    /// The store's name.
    pub store: Arc<str>,
    /// The partition of its task.
    pub partition: i32,
    /// The driver's error.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl StateError {
    /// The driver's error about this store.
    pub fn new(store: &StoreInstance, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { store: store.name.clone(), partition: store.partition, source: source.into() }
    }
}

/// Committed state, as a driver keeps it. A task reads through it and never writes to it: it hands its changes over at commit.
pub trait StateBacking {
    /// The value of a key.
    fn get(&self, store: &StoreInstance, key: &[u8]) -> Result<Option<Bytes>, StateError>;

    /// At most `limit` entries whose keys are within the bounds, in ascending order of key (unsigned bytes).
    /// Fewer than `limit` means that there are no more.
    fn range(&self, store: &StoreInstance, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, StateError>;
}

/// State in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryBacking {
    stores: BTreeMap<(usize, i32), BTreeMap<Bytes, Bytes>>,
}

impl MemoryBacking {
    /// Takes over the changes of a commit.
    pub fn apply(&mut self, changes: &super::StoreChanges<'_>) {
        for (key, value) in changes.entries() {
            self.put(changes.store.index, changes.store.partition, key.clone(), value.clone());
        }
    }

    /// Sets or removes one entry of a store, which is named by its place among the stores of the topology.
    pub fn put(&mut self, store: usize, partition: i32, key: Bytes, value: Option<Bytes>) {
        let store = self.stores.entry((store, partition)).or_default();
        match value {
            Some(value) => store.insert(key, value),
            None => store.remove(&key),
        };
    }
}

impl StateBacking for MemoryBacking {
    fn get(&self, store: &StoreInstance, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.stores.get(&(store.index, store.partition)).and_then(|entries| entries.get(key)).cloned())
    }

    fn range(&self, store: &StoreInstance, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        if super::overlay::is_empty_range(from, to) {
            return Ok(Vec::new());
        }
        let entries = self.stores.get(&(store.index, store.partition));
        Ok(entries
            .into_iter()
            .flat_map(|entries| entries.range::<[u8], _>((from, to)))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}
