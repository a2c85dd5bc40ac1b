//! Tables: the present value of each key.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::graph::{Graph, Kind, known};
use super::stateless::MapValues;
use super::table_nodes::{Change, Derive, DeriveChanges, DerivedTable, SourceTable, TableNode, TableSource};
use super::{Consumed, Data, KStream, Materialized, SharedSerde, names};
use crate::processor::{NodeFactory, ProcessorNode};
use crate::serde::Nullable;
use crate::source::SourceNode;

/// A table. Its operators add nodes to the topology and return the table that comes out of them.
pub struct KTable<K, V> {
    pub(super) graph: Graph,
    pub(super) name: String,
    pub(super) node: usize,
    pub(super) key_serde: Option<SharedSerde<K>>,
    pub(super) value_serde: Option<SharedSerde<V>>,
    pub(super) sources: BTreeSet<String>,
    pub(super) queryable: Option<String>,
    pub(super) table: Rc<dyn TableNode<K, V>>,
}

impl<K, V> Clone for KTable<K, V> {
    fn clone(&self) -> Self {
        Self {
            graph: self.graph.clone(),
            name: self.name.clone(),
            node: self.node,
            key_serde: self.key_serde.clone(),
            value_serde: self.value_serde.clone(),
            sources: self.sources.clone(),
            queryable: self.queryable.clone(),
            table: self.table.clone(),
        }
    }
}

impl<K: Data, V: Data> KTable<K, V> {
    pub(super) fn source(graph: &Graph, topic: &str, consumed: Consumed<K, V>, materialized: Option<Materialized<K, V>>) -> Self {
        let materialized = materialized.unwrap_or_default();
        let queryable = materialized.store.clone();
        let store_name = materialized.store.unwrap_or_else(|| graph.store_name(&format!("{topic}-")));
        let generated = graph.name(names::SOURCE, None);
        let source = consumed.name.as_ref().map_or(generated, |name| format!("{name}{}", names::TABLE_SOURCE_SUFFIX));
        let name = graph.name(names::TABLE_SOURCE, consumed.name.as_deref());
        let key_serde = materialized.key_serde.unwrap_or_else(|| consumed.key_serde.clone());
        let value_serde = materialized.value_serde.unwrap_or_else(|| consumed.value_serde.clone());
        let table = Rc::new(SourceTable::new(
            &store_name,
            materialized.logging,
            Some(key_serde.clone()),
            Some(value_serde.clone()),
            queryable.is_some(),
        ));
        let (read_keys, read_values) = (consumed.key_serde.clone(), Arc::new(Nullable(consumed.value_serde.clone())));
        let read: NodeFactory = Arc::new(move |_| Box::new(SourceNode::skipping_null_keys(read_keys.clone(), read_values.clone())));
        let (written, topic, own, own_source, null_test) =
            (table.clone(), topic.to_owned(), name.clone(), source.clone(), consumed.key_serde);
        let write = Box::new(move |topology: &mut crate::Topology, _| {
            topology.add_source_node(own_source.clone(), vec![topic.clone()], read.clone())?;
            let (store, old, null_test) = (written.store()?, written.sends_old_values(), null_test.clone());
            let stored = store.is_some();
            let factory: NodeFactory = Arc::new(move |_| {
                let processor = TableSource { key_serde: null_test.clone(), store: store.clone(), old };
                Box::new(ProcessorNode::<K, Option<V>, _>::new(processor))
            });
            topology.add_processor_node(own.clone(), vec![own_source.clone()], factory)?;
            if stored {
                topology.add_state_store(written.builder(), [own.as_str()])?;
            }
            Ok(())
        });
        let node = graph.add(&name, &[], Kind::Plain, write);
        Self {
            graph: graph.clone(),
            name,
            node,
            key_serde: Some(key_serde),
            value_serde: Some(value_serde),
            sources: BTreeSet::from([source]),
            queryable,
            table,
        }
    }

    /// The name of the store that was given to the table, if one was.
    pub fn queryable_store_name(&self) -> Option<&str> {
        self.queryable.as_deref()
    }

    /// The entries for which the predicate holds. An entry for which it holds no longer becomes a tombstone.
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filtered(None, None, predicate, true)
    }

    /// [`filter`](Self::filter), stored as told.
    pub fn filter_with(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static, materialized: Materialized<K, V>) -> Self {
        self.filtered(None, Some(materialized), predicate, true)
    }

    /// [`filter`](Self::filter) with a name for the node.
    pub fn filter_named(&self, name: &str, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filtered(Some(name), None, predicate, true)
    }

    /// The entries for which the predicate does not hold.
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filtered(None, None, predicate, false)
    }

    /// [`filter_not`](Self::filter_not), stored as told.
    pub fn filter_not_with(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static, materialized: Materialized<K, V>) -> Self {
        self.filtered(None, Some(materialized), predicate, false)
    }

    fn filtered(
        &self,
        name: Option<&str>,
        materialized: Option<Materialized<K, V>>,
        predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
        keep: bool,
    ) -> Self {
        let inherit = self.value_serde.clone();
        let derive: Derive<K, V, V> = Arc::new(move |key, value| (predicate(key, &value) == keep).then_some(value));
        // Where old values can be had without storing anything more, tombstones for what was never there are spared.
        self.derived(name, names::TABLE_FILTER, materialized, derive, inherit, true)
    }

    /// Entries with other values.
    pub fn map_values<V2: Data>(&self, mapper: impl Fn(V) -> V2 + Send + Sync + 'static) -> KTable<K, V2> {
        self.derived(None, names::TABLE_MAPVALUES, None, Arc::new(move |_, value| Some(mapper(value))), None, false)
    }

    /// Entries with other values, made from key and value.
    pub fn map_values_with_key<V2: Data>(&self, mapper: impl Fn(&K, V) -> V2 + Send + Sync + 'static) -> KTable<K, V2> {
        self.derived(None, names::TABLE_MAPVALUES, None, Arc::new(move |key, value| Some(mapper(key, value))), None, false)
    }

    /// [`map_values`](Self::map_values), stored as told.
    pub fn map_values_with<V2: Data>(
        &self,
        mapper: impl Fn(V) -> V2 + Send + Sync + 'static,
        materialized: Materialized<K, V2>,
    ) -> KTable<K, V2> {
        self.derived(None, names::TABLE_MAPVALUES, Some(materialized), Arc::new(move |_, value| Some(mapper(value))), None, false)
    }

    /// [`map_values_with_key`](Self::map_values_with_key) with a name for the node.
    pub fn map_values_named<V2: Data>(&self, name: &str, mapper: impl Fn(&K, V) -> V2 + Send + Sync + 'static) -> KTable<K, V2> {
        self.derived(Some(name), names::TABLE_MAPVALUES, None, Arc::new(move |key, value| Some(mapper(key, value))), None, false)
    }

    /// [`map_values_named`](Self::map_values_named), stored as told.
    pub fn map_values_named_with<V2: Data>(
        &self,
        name: &str,
        mapper: impl Fn(&K, V) -> V2 + Send + Sync + 'static,
        materialized: Materialized<K, V2>,
    ) -> KTable<K, V2> {
        self.derived(
            Some(name),
            names::TABLE_MAPVALUES,
            Some(materialized),
            Arc::new(move |key, value| Some(mapper(key, value))),
            None,
            false,
        )
    }

    fn derived<V2: Data>(
        &self,
        name: Option<&str>,
        prefix: &str,
        materialized: Option<Materialized<K, V2>>,
        derive: Derive<K, V, V2>,
        inherited: Option<SharedSerde<V2>>,
        quiet: bool,
    ) -> KTable<K, V2> {
        if materialized.as_ref().is_some_and(|materialized| materialized.store.is_none()) {
            // Kafka Streams uses up a name here.
            self.graph.store_name(prefix);
        }
        let materialized = materialized.unwrap_or_default();
        let key_serde = materialized.key_serde.or_else(|| self.key_serde.clone());
        let value_serde = materialized.value_serde.or(inherited);
        let name = self.graph.name(prefix, name);
        let old_values = Cell::new(quiet && self.table.enable_old_values(false));
        let table = Rc::new(DerivedTable {
            parent: self.table.clone(),
            derive: derive.clone(),
            store_name: materialized.store.clone(),
            logging: materialized.logging,
            key_serde: key_serde.clone(),
            value_serde: value_serde.clone(),
            old_values,
        });
        let (written, own) = (table.clone(), name.clone());
        let write = Box::new(move |topology: &mut crate::Topology, parents| {
            let (store, derive, old) = (written.store()?, written.derive.clone(), written.old_values.get());
            let factory: NodeFactory = Arc::new(move |_| {
                let processor = DeriveChanges { derive: derive.clone(), store: store.clone(), old, quiet };
                Box::new(ProcessorNode::<K, Change<V>, _>::new(processor))
            });
            topology.add_processor_node(own.clone(), parents, factory)?;
            match written.builder() {
                Some(store) => topology.add_state_store(store, [own.as_str()]).map(drop),
                None => Ok(()),
            }
        });
        let node = self.graph.add(&name, &[self.node], Kind::Plain, write);
        KTable {
            graph: self.graph.clone(),
            name,
            node,
            key_serde,
            value_serde,
            sources: self.sources.clone(),
            queryable: materialized.store,
            table,
        }
    }

    /// The table's changes as a stream; a deleted entry is a record with the value `None`.
    pub fn to_stream(&self) -> KStream<K, Option<V>> {
        self.streamed(None)
    }

    /// [`to_stream`](Self::to_stream) with a name for the node.
    pub fn to_stream_named(&self, name: &str) -> KStream<K, Option<V>> {
        self.streamed(Some(name))
    }

    fn streamed(&self, name: Option<&str>) -> KStream<K, Option<V>> {
        let name = self.graph.name(names::TABLE_TOSTREAM, name);
        let new_value = Arc::new(|_: &K, change: Change<V>| change.new);
        let node =
            self.graph.add_processor::<K, Change<V>, _>(&name, &[self.node], Kind::Plain, Vec::new(), move || MapValues(new_value.clone()));
        let value_serde = self.value_serde.clone().map(|serde| Arc::new(Nullable(serde)) as SharedSerde<Option<V>>);
        KStream {
            graph: self.graph.clone(),
            name,
            node,
            key_serde: self.key_serde.clone(),
            value_serde,
            sources: self.sources.clone(),
            repartition_required: false,
            join_repartition: Rc::default(),
        }
    }
}

impl<K: Data, V: Data> KStream<K, V> {
    /// The stream as a table: the last value of each key.
    pub fn to_table(&self, materialized: Materialized<K, V>) -> KTable<K, V> {
        let graph = &self.graph;
        let name = graph.name(names::TO_KTABLE, None);
        let queryable = materialized.store.clone();
        let store_name = materialized.store.unwrap_or_else(|| graph.store_name(names::TO_KTABLE));
        let key_serde = materialized.key_serde.or_else(|| self.key_serde.clone());
        let value_serde = materialized.value_serde.or_else(|| self.value_serde.clone());
        let (parent, sources) = if self.repartition_required {
            let what = super::graph::Repartition {
                key_serde: key_serde.clone(),
                value_serde: value_serde.clone(),
                partitioner: None,
                partitions: None,
            };
            let planned = graph.plan_repartition(&name, what);
            let sources = BTreeSet::from([planned.source.clone()]);
            (graph.add_repartition(self.node, planned), sources)
        } else {
            (self.node, self.sources.clone())
        };
        let table =
            Rc::new(SourceTable::new(&store_name, materialized.logging, key_serde.clone(), value_serde.clone(), queryable.is_some()));
        let (written, own) = (table.clone(), name.clone());
        let (keys, values) = (key_serde.clone(), value_serde.clone());
        let write = Box::new(move |topology: &mut crate::Topology, parents| {
            let (key_serde, value_serde) = (known(&keys, "keys", &own)?, known(&values, "values", &own)?);
            let (store, old) = (written.store()?, written.sends_old_values());
            let stored = store.is_some();
            let factory: NodeFactory = Arc::new(move |_| {
                let source = TableSource { key_serde: key_serde.clone(), store: store.clone(), old };
                Box::new(ProcessorNode::<K, V, _>::new(super::table_nodes::FromStream { source, value_serde: value_serde.clone() }))
            });
            topology.add_processor_node(own.clone(), parents, factory)?;
            if stored {
                topology.add_state_store(written.builder(), [own.as_str()])?;
            }
            Ok(())
        });
        let node = graph.add(&name, &[parent], Kind::Plain, write);
        KTable { graph: graph.clone(), name, node, key_serde, value_serde, sources, queryable, table }
    }
}
