//! The operators: [`StreamsBuilder`], [`KStream`], [`KTable`].
//!
//! Names, numbering and semantics are Kafka Streams'. What differs, because this is Rust:
//! - Null is `Option`, by a [`nullable`](crate::Serde::nullable) serde; without it, a null key or value is a deserialisation error (a table's null keys
//!   are skipped, and its null values are tombstones, in any case). [`KTable::to_stream`] gives `KStream<K, Option<V>>`.
//! - Where Java overloads with a `Named` or a `Materialized`, the method is called `…_named` or `…_with`.
//! - Everything that is wrong is reported by [`StreamsBuilder::build`].
//! - Stores have no record cache: every change is forwarded, as with `statestore.cache.max.bytes=0`.

mod branch;
mod config;
mod graph;
mod grouped;
mod join;
mod names;
mod stateless;
mod stream;
mod table;
mod table_nodes;
mod timestamped;

use std::any::Any;
use std::sync::Arc;

pub use branch::BranchedKStream;
pub use config::{Consumed, Grouped, Joined, Materialized, Produced, Repartitioned};
pub use grouped::KGroupedStream;
pub use stream::KStream;
pub use table::KTable;

use crate::serde::Serde;
use crate::store::StoreBuilder;
use crate::topology::{Topology, TopologyError};
use graph::Graph;

/// What flows through a topology.
pub trait Data: Any + Clone {}
impl<T: Any + Clone> Data for T {}

pub(crate) type SharedSerde<T> = Arc<dyn Serde<T>>;

/// One topic or several.
pub trait Topics {
    /// Their names.
    fn topics(self) -> Vec<String>;
}

impl Topics for &str {
    fn topics(self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl Topics for String {
    fn topics(self) -> Vec<String> {
        vec![self]
    }
}

impl Topics for Vec<String> {
    fn topics(self) -> Vec<String> {
        self
    }
}

impl<const N: usize> Topics for [&str; N] {
    fn topics(self) -> Vec<String> {
        self.map(str::to_owned).to_vec()
    }
}

/// Builds a topology from operators.
///
/// ```
/// use streams::*;
/// let builder = StreamsBuilder::new();
/// builder
///     .stream("lines", Consumed::with(StringSerde.nullable(), StringSerde))
///     .flat_map_values(|line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
///     .group_by(|_, word: &String| word.clone(), Grouped::with(StringSerde, StringSerde))
///     .count_with(Materialized::named("counts"))
///     .to_stream()
///     .to("word-counts", Produced::with(StringSerde, LongSerde.nullable()));
/// let topology = builder.build()?;
/// assert!(topology.describe().to_string().contains("Source: counts-repartition-source (topics: [counts-repartition])"));
/// # Ok::<(), TopologyError>(())
/// ```
#[derive(Clone, Default)]
pub struct StreamsBuilder {
    graph: Graph,
}

impl StreamsBuilder {
    /// A builder without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads topics as a stream of records.
    pub fn stream<K: Data, V: Data>(&self, topics: impl Topics, consumed: Consumed<K, V>) -> KStream<K, V> {
        KStream::source(&self.graph, topics.topics(), consumed)
    }

    /// Reads a topic as a table: the last value of each key, null deletes it. It has a store only if some operator needs one.
    pub fn table<K: Data, V: Data>(&self, topic: &str, consumed: Consumed<K, V>) -> KTable<K, V> {
        KTable::source(&self.graph, topic, consumed, None)
    }

    /// The same with a store of this name (or other serdes).
    pub fn table_with<K: Data, V: Data>(&self, topic: &str, consumed: Consumed<K, V>, materialized: Materialized<K, V>) -> KTable<K, V> {
        KTable::source(&self.graph, topic, consumed, Some(materialized))
    }

    /// Adds a store, to be connected by [`KStream::process`].
    pub fn add_state_store(&self, store: StoreBuilder) -> &Self {
        self.graph.add_store(store);
        self
    }

    /// The topology, or what is wrong with it.
    pub fn build(&self) -> Result<Topology, TopologyError> {
        self.graph.build()
    }
}
