//! Grouped streams, and their aggregation to tables.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::graph::{Kind, Repartition};
use super::table_nodes::{Aggregate, AggregateTable};
use super::timestamped::TimestampedStore;
use super::{Data, Grouped, KStream, KTable, Materialized, names};
use crate::LongSerde;
use crate::processor::{NodeFactory, ProcessorNode};

/// A stream whose records are grouped by key. Made by [`KStream::group_by_key`] and [`KStream::group_by`].
pub struct KGroupedStream<K, V> {
    stream: KStream<K, V>,
    grouped: Grouped<K, V>,
    repartition_required: bool,
    repartition: Rc<Cell<Option<usize>>>,
}

impl<K: Data, V: Data> KGroupedStream<K, V> {
    pub(super) fn new(stream: &KStream<K, V>, grouped: Grouped<K, V>, repartition_required: bool) -> Self {
        Self { stream: stream.clone(), grouped, repartition_required, repartition: Rc::default() }
    }

    /// How many records each key has had.
    pub fn count(&self) -> KTable<K, i64> {
        self.counted(None, Materialized::default())
    }

    /// [`count`](Self::count), stored as told.
    pub fn count_with(&self, materialized: Materialized<K, i64>) -> KTable<K, i64> {
        self.count_named_with(None, materialized)
    }

    /// [`count_with`](Self::count_with) with a name for the node.
    pub fn count_named(&self, name: &str, materialized: Materialized<K, i64>) -> KTable<K, i64> {
        self.count_named_with(Some(name), materialized)
    }

    fn count_named_with(&self, name: Option<&str>, materialized: Materialized<K, i64>) -> KTable<K, i64> {
        if materialized.store.is_none() {
            // Kafka Streams uses up a name here.
            self.stream.graph.store_name(names::AGGREGATE);
        }
        self.counted(name, materialized)
    }

    fn counted(&self, name: Option<&str>, mut materialized: Materialized<K, i64>) -> KTable<K, i64> {
        materialized.value_serde.get_or_insert_with(|| Arc::new(LongSerde));
        self.aggregated(name, names::AGGREGATE, materialized, || Some(0), |_, _, count| count.unwrap_or(0) + 1)
    }

    /// Combines the values of each key: the first value stands as it is, each further one is combined with the result so far.
    pub fn reduce(&self, reducer: impl Fn(V, V) -> V + Send + Sync + 'static) -> KTable<K, V> {
        self.reduce_with(reducer, Materialized::default())
    }

    /// [`reduce`](Self::reduce), stored as told.
    pub fn reduce_with(&self, reducer: impl Fn(V, V) -> V + Send + Sync + 'static, materialized: Materialized<K, V>) -> KTable<K, V> {
        self.reduced(None, reducer, materialized)
    }

    /// [`reduce_with`](Self::reduce_with) with a name for the node.
    pub fn reduce_named(
        &self,
        name: &str,
        reducer: impl Fn(V, V) -> V + Send + Sync + 'static,
        materialized: Materialized<K, V>,
    ) -> KTable<K, V> {
        self.reduced(Some(name), reducer, materialized)
    }

    fn reduced(
        &self,
        name: Option<&str>,
        reducer: impl Fn(V, V) -> V + Send + Sync + 'static,
        mut materialized: Materialized<K, V>,
    ) -> KTable<K, V> {
        materialized.value_serde = materialized.value_serde.or_else(|| self.grouped.value_serde.clone());
        self.aggregated(
            name,
            names::REDUCE,
            materialized,
            || None,
            move |_, value, old| match old {
                Some(old) => reducer(old, value),
                None => value,
            },
        )
    }

    /// Aggregates the values of each key, from an initial value on. An aggregate whose serde says null deletes the key.
    pub fn aggregate<A: Data>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, V, A) -> A + Send + Sync + 'static,
        materialized: Materialized<K, A>,
    ) -> KTable<K, A> {
        self.aggregated_from(None, initializer, aggregator, materialized)
    }

    /// [`aggregate`](Self::aggregate) with a name for the node.
    pub fn aggregate_named<A: Data>(
        &self,
        name: &str,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, V, A) -> A + Send + Sync + 'static,
        materialized: Materialized<K, A>,
    ) -> KTable<K, A> {
        self.aggregated_from(Some(name), initializer, aggregator, materialized)
    }

    fn aggregated_from<A: Data>(
        &self,
        name: Option<&str>,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, V, A) -> A + Send + Sync + 'static,
        materialized: Materialized<K, A>,
    ) -> KTable<K, A> {
        let initializer = Arc::new(initializer);
        let initial = initializer.clone();
        let step = move |key: &K, value, aggregate: Option<A>| aggregator(key, value, aggregate.unwrap_or_else(|| initializer()));
        self.aggregated(name, names::AGGREGATE, materialized, move || Some(initial()), step)
    }

    fn aggregated<A: Data>(
        &self,
        name: Option<&str>,
        prefix: &str,
        materialized: Materialized<K, A>,
        initial: impl Fn() -> Option<A> + Send + Sync + 'static,
        step: impl Fn(&K, V, Option<A>) -> A + Send + Sync + 'static,
    ) -> KTable<K, A> {
        let graph = &self.stream.graph;
        let key_serde = materialized.key_serde.or_else(|| self.grouped.key_serde.clone());
        let (queryable, logging) = (materialized.store.is_some(), materialized.logging);
        let store_name = materialized.store.unwrap_or_else(|| graph.store_name(prefix));
        let name = graph.name(prefix, name);
        let (parent, sources) = self.repartitioned(&store_name);
        let table = Rc::new(AggregateTable::new(&store_name, logging, key_serde.clone(), materialized.value_serde.clone()));
        let (written, step, initial, own) = (table.clone(), Arc::new(step), Arc::new(initial), name.clone());
        let null_value = self.grouped.value_serde.clone();
        let write = Box::new(move |topology: &mut crate::Topology, parents| {
            let store: TimestampedStore<K, A> = written.store()?;
            let (step, initial, null_value, old) = (step.clone(), initial.clone(), null_value.clone(), written.sends_old_values());
            let factory: NodeFactory = Arc::new(move |_| {
                let (store, step, initial, null_value) = (store.clone(), step.clone(), initial.clone(), null_value.clone());
                Box::new(ProcessorNode::<K, V, _>::new(Aggregate { store, step, initial, null_value, old }))
            });
            topology.add_processor_node(own.clone(), parents, factory)?;
            topology.add_state_store(written.builder(), [own.as_str()]).map(drop)
        });
        let node = graph.add(&name, &[parent], Kind::Plain, write);
        KTable {
            graph: graph.clone(),
            name,
            node,
            key_serde,
            value_serde: materialized.value_serde,
            sources,
            queryable: queryable.then_some(store_name),
            table,
        }
    }

    /// The node to aggregate below, and the sources of its records: those of the repartition topic, where one is needed.
    fn repartitioned(&self, store_name: &str) -> (usize, BTreeSet<String>) {
        if !self.repartition_required {
            return (self.stream.node, self.stream.sources.clone());
        }
        let graph = &self.stream.graph;
        let what = Repartition {
            key_serde: self.grouped.key_serde.clone(),
            value_serde: self.grouped.value_serde.clone(),
            partitioner: None,
            partitions: None,
        };
        let planned = graph.plan_repartition(self.grouped.name.as_deref().unwrap_or(store_name), what);
        let sources = BTreeSet::from([planned.source.clone()]);
        let node = match self.repartition.get().filter(|_| self.grouped.name.is_some()) {
            Some(node) => {
                graph.connect(self.stream.node, node);
                node
            }
            None => graph.add_repartition(self.stream.node, planned),
        };
        self.repartition.set(Some(node));
        (node, sources)
    }
}
