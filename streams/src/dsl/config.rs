//! Serdes and names of operators.

use std::sync::Arc;

use super::SharedSerde;
use crate::serde::Serde;
use crate::sink::StreamPartitioner;

/// How a topic is read.
pub struct Consumed<K, V> {
    pub(super) key_serde: SharedSerde<K>,
    pub(super) value_serde: SharedSerde<V>,
    pub(super) name: Option<String>,
}

impl<K, V> Consumed<K, V> {
    /// With these serdes.
    pub fn with(key_serde: impl Serde<K> + 'static, value_serde: impl Serde<V> + 'static) -> Self {
        Self { key_serde: Arc::new(key_serde), value_serde: Arc::new(value_serde), name: None }
    }

    /// With a name for the source node.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// How a topic is written. By default with the serdes of the stream, where they are known.
pub struct Produced<K, V> {
    pub(super) key_serde: Option<SharedSerde<K>>,
    pub(super) value_serde: Option<SharedSerde<V>>,
    pub(super) partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
    pub(super) name: Option<String>,
}

impl<K, V> Default for Produced<K, V> {
    fn default() -> Self {
        Self { key_serde: None, value_serde: None, partitioner: None, name: None }
    }
}

impl<K, V> Produced<K, V> {
    /// With these serdes.
    pub fn with(key_serde: impl Serde<K> + 'static, value_serde: impl Serde<V> + 'static) -> Self {
        Self { key_serde: Some(Arc::new(key_serde)), value_serde: Some(Arc::new(value_serde)), ..Self::default() }
    }

    /// With a partitioner of one's own.
    pub fn with_stream_partitioner(mut self, partitioner: impl StreamPartitioner<K, V> + 'static) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }

    /// With a name for the sink node.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// How a stream is grouped. By default with the serdes of the stream, where they are known.
pub struct Grouped<K, V> {
    pub(super) key_serde: Option<SharedSerde<K>>,
    pub(super) value_serde: Option<SharedSerde<V>>,
    pub(super) name: Option<String>,
}

impl<K, V> Default for Grouped<K, V> {
    fn default() -> Self {
        Self { key_serde: None, value_serde: None, name: None }
    }
}

impl<K, V> Grouped<K, V> {
    /// With these serdes.
    pub fn with(key_serde: impl Serde<K> + 'static, value_serde: impl Serde<V> + 'static) -> Self {
        Self { key_serde: Some(Arc::new(key_serde)), value_serde: Some(Arc::new(value_serde)), name: None }
    }

    /// With a name for the repartition topic.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// How a stream is repartitioned. By default with the serdes of the stream, where they are known.
pub struct Repartitioned<K, V> {
    pub(super) key_serde: Option<SharedSerde<K>>,
    pub(super) value_serde: Option<SharedSerde<V>>,
    pub(super) partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
    pub(super) partitions: Option<i32>,
    pub(super) name: Option<String>,
}

impl<K, V> Default for Repartitioned<K, V> {
    fn default() -> Self {
        Self { key_serde: None, value_serde: None, partitioner: None, partitions: None, name: None }
    }
}

impl<K, V> Repartitioned<K, V> {
    /// With these serdes.
    pub fn with(key_serde: impl Serde<K> + 'static, value_serde: impl Serde<V> + 'static) -> Self {
        Self { key_serde: Some(Arc::new(key_serde)), value_serde: Some(Arc::new(value_serde)), ..Self::default() }
    }

    /// With a name for the topic: it is called `<application.id>-<name>-repartition`.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// With a number of partitions; else as many as the stream's own topics have.
    pub fn with_number_of_partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// With a partitioner of one's own.
    pub fn with_stream_partitioner(mut self, partitioner: impl StreamPartitioner<K, V> + 'static) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }
}

/// How a table is stored. By default with a generated name, and the serdes that are known.
pub struct Materialized<K, V> {
    pub(super) store: Option<String>,
    pub(super) key_serde: Option<SharedSerde<K>>,
    pub(super) value_serde: Option<SharedSerde<V>>,
    pub(super) logging: bool,
}

impl<K, V> Default for Materialized<K, V> {
    fn default() -> Self {
        Self { store: None, key_serde: None, value_serde: None, logging: true }
    }
}

impl<K, V> Materialized<K, V> {
    /// In a store of this name (Kafka Streams' `Materialized.as`).
    pub fn named(store: impl Into<String>) -> Self {
        Self { store: Some(store.into()), ..Self::default() }
    }

    /// With these serdes.
    pub fn with(key_serde: impl Serde<K> + 'static, value_serde: impl Serde<V> + 'static) -> Self {
        Self::default().with_key_serde(key_serde).with_value_serde(value_serde)
    }

    /// With this serde for keys.
    pub fn with_key_serde(mut self, serde: impl Serde<K> + 'static) -> Self {
        self.key_serde = Some(Arc::new(serde));
        self
    }

    /// With this serde for values.
    pub fn with_value_serde(mut self, serde: impl Serde<V> + 'static) -> Self {
        self.value_serde = Some(Arc::new(serde));
        self
    }

    /// Without a changelog topic.
    pub fn with_logging_disabled(mut self) -> Self {
        self.logging = false;
        self
    }
}

/// How a stream is joined with a table. By default with the serdes of the stream, where they are known.
pub struct Joined<K, V> {
    pub(super) key_serde: Option<SharedSerde<K>>,
    pub(super) value_serde: Option<SharedSerde<V>>,
    pub(super) name: Option<String>,
}

impl<K, V> Default for Joined<K, V> {
    fn default() -> Self {
        Self { key_serde: None, value_serde: None, name: None }
    }
}

impl<K, V> Joined<K, V> {
    /// With these serdes for the stream's records, needed where it must be repartitioned.
    pub fn with(key_serde: impl Serde<K> + 'static, value_serde: impl Serde<V> + 'static) -> Self {
        Self { key_serde: Some(Arc::new(key_serde)), value_serde: Some(Arc::new(value_serde)), name: None }
    }

    /// With a name for the join, and for the repartition topic where one is needed.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}
