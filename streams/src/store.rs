//! Key-value state stores: a transaction's writes in an overlay, over what the driver holds.

mod backing;
mod overlay;
mod typed;

pub use backing::{MemoryBacking, StateBacking, StateError, StoreInstance};
pub(crate) use overlay::{Overlay, is_empty_range};
pub use overlay::{StoreChanges, StoreRange, StoreRef};
pub use typed::KeyValueStore;

/// Declares a key-value store of a topology.
///
/// ```
/// use streams::{StoreBuilder, Topology};
/// let store = StoreBuilder::key_value("counts").with_logging_disabled();
/// assert_eq!(store.name(), "counts");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreBuilder {
    name: String,
    logging: bool,
}

impl StoreBuilder {
    /// A store of bytes in order of key. Processors see it typed through [`KeyValueStore`].
    pub fn key_value(name: impl Into<String>) -> Self {
        Self { name: name.into(), logging: true }
    }

    /// Without a changelog topic: under Kafka it is lost with its machine.
    pub fn with_logging_disabled(mut self) -> Self {
        self.logging = false;
        self
    }

    /// The store's name, unique in its topology.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has a changelog topic.
    pub fn logging_enabled(&self) -> bool {
        self.logging
    }
}
