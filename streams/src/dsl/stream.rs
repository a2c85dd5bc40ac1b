//! Streams of records.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::graph::{Graph, Kind, Repartition, known};
use super::stateless::{Filter, FlatMap, FlatMapValues, Map, MapValues, PassThrough, Peek};
use super::{BranchedKStream, Consumed, Data, Grouped, KGroupedStream, Produced, Repartitioned, SharedSerde, names};
use crate::processor::{NodeFactory, Processor};
use crate::sink::TopicName;
use crate::source::SourceNode;

/// A stream of records. Its operators add nodes to the topology and return the stream that comes out of them.
pub struct KStream<K, V> {
    pub(super) graph: Graph,
    pub(super) name: String,
    pub(super) node: usize,
    pub(super) key_serde: Option<SharedSerde<K>>,
    pub(super) value_serde: Option<SharedSerde<V>>,
    /// The sources that its records come from.
    pub(super) sources: BTreeSet<String>,
    /// Its keys may have changed, so that records of one key may be in several partitions.
    pub(super) repartition_required: bool,
    /// Where joins of this very stream repartition it, once one did.
    pub(super) join_repartition: Rc<Cell<Option<usize>>>,
}

impl<K, V> Clone for KStream<K, V> {
    fn clone(&self) -> Self {
        Self {
            graph: self.graph.clone(),
            name: self.name.clone(),
            node: self.node,
            key_serde: self.key_serde.clone(),
            value_serde: self.value_serde.clone(),
            sources: self.sources.clone(),
            repartition_required: self.repartition_required,
            join_repartition: self.join_repartition.clone(),
        }
    }
}

impl<K: Data, V: Data> KStream<K, V> {
    pub(super) fn source(graph: &Graph, topics: Vec<String>, consumed: Consumed<K, V>) -> Self {
        let name = graph.name(names::SOURCE, consumed.name.as_deref());
        let (key_serde, value_serde) = (consumed.key_serde.clone(), consumed.value_serde.clone());
        let factory: NodeFactory = Arc::new(move |_| Box::new(SourceNode::new(key_serde.clone(), value_serde.clone())));
        let (own, read) = (name.clone(), topics.clone());
        let write = Box::new(move |topology: &mut crate::Topology, _| {
            topology.add_source_node(own.clone(), read.clone(), factory.clone()).map(drop)
        });
        let node = graph.add(&name, &[], Kind::Stream(topics), write);
        Self {
            graph: graph.clone(),
            sources: BTreeSet::from([name.clone()]),
            name,
            node,
            key_serde: Some(consumed.key_serde),
            value_serde: Some(consumed.value_serde),
            repartition_required: false,
            join_repartition: Rc::default(),
        }
    }

    /// The stream that comes out of a new node below this one.
    pub(super) fn child<K2, V2>(
        &self,
        name: String,
        node: usize,
        key_serde: Option<SharedSerde<K2>>,
        value_serde: Option<SharedSerde<V2>>,
        rekeyed: bool,
    ) -> KStream<K2, V2> {
        KStream {
            graph: self.graph.clone(),
            name,
            node,
            key_serde,
            value_serde,
            sources: self.sources.clone(),
            repartition_required: self.repartition_required || rekeyed,
            join_repartition: Rc::default(),
        }
    }

    pub(super) fn attach<P: Processor<K, V> + 'static>(&self, name: &str, supplier: impl Fn() -> P + Send + Sync + 'static) -> usize {
        self.graph.add_processor::<K, V, P>(name, &[self.node], Kind::Plain, Vec::new(), supplier)
    }

    /// The records for which the predicate holds.
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filtered(None, predicate, true)
    }

    /// [`filter`](Self::filter) with a name for the node.
    pub fn filter_named(&self, name: &str, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filtered(Some(name), predicate, true)
    }

    /// The records for which the predicate does not hold.
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filtered(None, predicate, false)
    }

    /// [`filter_not`](Self::filter_not) with a name for the node.
    pub fn filter_not_named(&self, name: &str, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filtered(Some(name), predicate, false)
    }

    fn filtered(&self, name: Option<&str>, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static, keep: bool) -> Self {
        let name = self.graph.name(names::FILTER, name);
        let predicate = Arc::new(predicate);
        let node = self.attach(&name, move || Filter { predicate: predicate.clone(), keep });
        self.child(name, node, self.key_serde.clone(), self.value_serde.clone(), false)
    }

    /// Records with another key. Grouping or joining them repartitions.
    pub fn select_key<K2: Data>(&self, mapper: impl Fn(&K, &V) -> K2 + Send + Sync + 'static) -> KStream<K2, V> {
        self.rekeyed(None, mapper)
    }

    /// [`select_key`](Self::select_key) with a name for the node.
    pub fn select_key_named<K2: Data>(&self, name: &str, mapper: impl Fn(&K, &V) -> K2 + Send + Sync + 'static) -> KStream<K2, V> {
        self.rekeyed(Some(name), mapper)
    }

    fn rekeyed<K2: Data>(&self, name: Option<&str>, mapper: impl Fn(&K, &V) -> K2 + Send + Sync + 'static) -> KStream<K2, V> {
        let name = self.graph.name(names::KEY_SELECT, name);
        let map = Arc::new(move |key: K, value: V| (mapper(&key, &value), value));
        let node = self.attach(&name, move || Map(map.clone()));
        self.child(name, node, None, self.value_serde.clone(), true)
    }

    /// Records with other keys and values. Grouping or joining them repartitions.
    pub fn map<K2: Data, V2: Data>(&self, mapper: impl Fn(K, V) -> (K2, V2) + Send + Sync + 'static) -> KStream<K2, V2> {
        self.mapped(None, mapper)
    }

    /// [`map`](Self::map) with a name for the node.
    pub fn map_named<K2: Data, V2: Data>(&self, name: &str, mapper: impl Fn(K, V) -> (K2, V2) + Send + Sync + 'static) -> KStream<K2, V2> {
        self.mapped(Some(name), mapper)
    }

    fn mapped<K2: Data, V2: Data>(&self, name: Option<&str>, mapper: impl Fn(K, V) -> (K2, V2) + Send + Sync + 'static) -> KStream<K2, V2> {
        let name = self.graph.name(names::MAP, name);
        let mapper = Arc::new(mapper);
        let node = self.attach(&name, move || Map(mapper.clone()));
        self.child(name, node, None, None, true)
    }

    /// Records with other values.
    pub fn map_values<V2: Data>(&self, mapper: impl Fn(V) -> V2 + Send + Sync + 'static) -> KStream<K, V2> {
        self.mapped_values(None, move |_, value| mapper(value))
    }

    /// Records with other values, made from key and value.
    pub fn map_values_with_key<V2: Data>(&self, mapper: impl Fn(&K, V) -> V2 + Send + Sync + 'static) -> KStream<K, V2> {
        self.mapped_values(None, mapper)
    }

    /// [`map_values_with_key`](Self::map_values_with_key) with a name for the node.
    pub fn map_values_named<V2: Data>(&self, name: &str, mapper: impl Fn(&K, V) -> V2 + Send + Sync + 'static) -> KStream<K, V2> {
        self.mapped_values(Some(name), mapper)
    }

    fn mapped_values<V2: Data>(&self, name: Option<&str>, mapper: impl Fn(&K, V) -> V2 + Send + Sync + 'static) -> KStream<K, V2> {
        let name = self.graph.name(names::MAPVALUES, name);
        let mapper = Arc::new(mapper);
        let node = self.attach(&name, move || MapValues(mapper.clone()));
        self.child(name, node, self.key_serde.clone(), None, false)
    }

    /// Any number of records for each one. Grouping or joining them repartitions.
    pub fn flat_map<K2: Data, V2: Data, I: IntoIterator<Item = (K2, V2)> + 'static>(
        &self,
        mapper: impl Fn(K, V) -> I + Send + Sync + 'static,
    ) -> KStream<K2, V2> {
        self.flat_mapped(None, mapper)
    }

    /// [`flat_map`](Self::flat_map) with a name for the node.
    pub fn flat_map_named<K2: Data, V2: Data, I: IntoIterator<Item = (K2, V2)> + 'static>(
        &self,
        name: &str,
        mapper: impl Fn(K, V) -> I + Send + Sync + 'static,
    ) -> KStream<K2, V2> {
        self.flat_mapped(Some(name), mapper)
    }

    fn flat_mapped<K2: Data, V2: Data, I: IntoIterator<Item = (K2, V2)> + 'static>(
        &self,
        name: Option<&str>,
        mapper: impl Fn(K, V) -> I + Send + Sync + 'static,
    ) -> KStream<K2, V2> {
        let name = self.graph.name(names::FLATMAP, name);
        let mapper = Arc::new(mapper);
        let node = self.attach(&name, move || FlatMap(mapper.clone()));
        self.child(name, node, None, None, true)
    }

    /// Any number of records for each one, with its key.
    pub fn flat_map_values<V2: Data, I: IntoIterator<Item = V2> + 'static>(
        &self,
        mapper: impl Fn(V) -> I + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.flat_mapped_values(None, move |_, value| mapper(value))
    }

    /// [`flat_map_values`](Self::flat_map_values) from key and value, with a name for the node.
    pub fn flat_map_values_named<V2: Data, I: IntoIterator<Item = V2> + 'static>(
        &self,
        name: &str,
        mapper: impl Fn(&K, V) -> I + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.flat_mapped_values(Some(name), mapper)
    }

    fn flat_mapped_values<V2: Data, I: IntoIterator<Item = V2> + 'static>(
        &self,
        name: Option<&str>,
        mapper: impl Fn(&K, V) -> I + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        let name = self.graph.name(names::FLATMAPVALUES, name);
        let mapper = Arc::new(mapper);
        let node = self.attach(&name, move || FlatMapValues(mapper.clone()));
        self.child(name, node, self.key_serde.clone(), None, false)
    }

    /// Looks at each record, and passes it on.
    pub fn peek(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        self.peeked(None, action)
    }

    /// [`peek`](Self::peek) with a name for the node.
    pub fn peek_named(&self, name: &str, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        self.peeked(Some(name), action)
    }

    fn peeked(&self, name: Option<&str>, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        let name = self.graph.name(names::PEEK, name);
        let action = Arc::new(action);
        let node = self.attach(&name, move || Peek(action.clone()));
        self.child(name, node, self.key_serde.clone(), self.value_serde.clone(), false)
    }

    /// Looks at each record; the end of the stream.
    pub fn foreach(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) {
        self.each(None, action);
    }

    /// [`foreach`](Self::foreach) with a name for the node.
    pub fn foreach_named(&self, name: &str, action: impl Fn(&K, &V) + Send + Sync + 'static) {
        self.each(Some(name), action);
    }

    fn each(&self, name: Option<&str>, action: impl Fn(&K, &V) + Send + Sync + 'static) {
        let name = self.graph.name(names::FOREACH, name);
        let action = Arc::new(action);
        self.attach(&name, move || Peek(action.clone()));
    }

    /// The records of both streams, in no particular order between them.
    pub fn merge(&self, other: &Self) -> Self {
        self.merged(None, other)
    }

    /// [`merge`](Self::merge) with a name for the node.
    pub fn merge_named(&self, name: &str, other: &Self) -> Self {
        self.merged(Some(name), other)
    }

    fn merged(&self, name: Option<&str>, other: &Self) -> Self {
        let name = self.graph.name(names::MERGE, name);
        let node = self.graph.add_processor::<K, V, _>(&name, &[self.node, other.node], Kind::Plain, Vec::new(), || PassThrough);
        let mut merged = self.child(name, node, None, None, other.repartition_required);
        merged.sources.extend(other.sources.iter().cloned());
        merged
    }

    /// Splits the stream into branches: each record goes to the first whose predicate holds.
    pub fn split(&self) -> BranchedKStream<K, V> {
        BranchedKStream::new(self, None)
    }

    /// [`split`](Self::split) with a name, which is also the prefix of the branches' names.
    pub fn split_named(&self, name: &str) -> BranchedKStream<K, V> {
        BranchedKStream::new(self, Some(name))
    }

    /// Runs a processor of one's own, with these stores. The types of what it forwards are the caller's word.
    pub fn process<K2: Data, V2: Data, P: Processor<K, V> + 'static>(
        &self,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: impl IntoIterator<Item = impl Into<String>>,
    ) -> KStream<K2, V2> {
        let name = self.graph.name(names::PROCESSOR, None);
        self.process_named(&name, supplier, stores)
    }

    /// [`process`](Self::process) with a name for the node.
    pub fn process_named<K2: Data, V2: Data, P: Processor<K, V> + 'static>(
        &self,
        name: &str,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: impl IntoIterator<Item = impl Into<String>>,
    ) -> KStream<K2, V2> {
        let stores = stores.into_iter().map(Into::into).collect();
        let node = self.graph.add_processor::<K, V, P>(name, &[self.node], Kind::Plain, stores, supplier);
        self.child(name.to_owned(), node, None, None, true)
    }

    /// Writes the stream to a topic.
    pub fn to(&self, topic: impl Into<TopicName<K, V>>, produced: Produced<K, V>) {
        let name = self.graph.name(names::SINK, produced.name.as_deref());
        let topic = Rc::new(topic.into());
        let key_serde = produced.key_serde.or_else(|| self.key_serde.clone());
        let value_serde = produced.value_serde.or_else(|| self.value_serde.clone());
        let (own, partitioner) = (name.clone(), produced.partitioner);
        let write = Box::new(move |topology: &mut crate::Topology, parents| {
            let (key_serde, value_serde) = (known(&key_serde, "keys", &own)?, known(&value_serde, "values", &own)?);
            topology.add_sink_node(own.clone(), (*topic).clone(), key_serde, value_serde, partitioner.clone(), parents).map(drop)
        });
        self.graph.add(&name, &[self.node], Kind::Plain, write);
    }

    /// Sends the stream through a topic of the application's own, so that all records of a key are in one partition.
    pub fn repartition(&self, repartitioned: Repartitioned<K, V>) -> Self {
        let name = repartitioned.name.clone().unwrap_or_else(|| self.graph.name(names::REPARTITION, None));
        let key_serde = repartitioned.key_serde.or_else(|| self.key_serde.clone());
        let value_serde = repartitioned.value_serde.or_else(|| self.value_serde.clone());
        let what = Repartition {
            key_serde: key_serde.clone(),
            value_serde: value_serde.clone(),
            partitioner: repartitioned.partitioner,
            partitions: repartitioned.partitions,
        };
        let planned = self.graph.plan_repartition(&name, what);
        let source = planned.source.clone();
        let node = self.graph.add_repartition(self.node, planned);
        self.after_repartition(source, node, key_serde, value_serde)
    }

    /// The stream that comes out of a repartition topic.
    pub(super) fn after_repartition(
        &self,
        source: String,
        node: usize,
        key_serde: Option<SharedSerde<K>>,
        value_serde: Option<SharedSerde<V>>,
    ) -> Self {
        let mut stream = self.child(source.clone(), node, key_serde, value_serde, false);
        stream.sources = BTreeSet::from([source]);
        stream.repartition_required = false;
        stream
    }

    /// Groups by the present key.
    pub fn group_by_key(&self, grouped: Grouped<K, V>) -> KGroupedStream<K, V> {
        let key_serde = grouped.key_serde.or_else(|| self.key_serde.clone());
        let value_serde = grouped.value_serde.or_else(|| self.value_serde.clone());
        KGroupedStream::new(self, Grouped { key_serde, value_serde, name: grouped.name }, self.repartition_required)
    }

    /// Groups by another key; repartitions.
    pub fn group_by<K2: Data>(
        &self,
        key_selector: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
        grouped: Grouped<K2, V>,
    ) -> KGroupedStream<K2, V> {
        let rekeyed = self.rekeyed(grouped.name.as_deref(), key_selector);
        let value_serde = grouped.value_serde.or_else(|| self.value_serde.clone());
        KGroupedStream::new(&rekeyed, Grouped { key_serde: grouped.key_serde, value_serde, name: grouped.name }, true)
    }
}
