//! Joins of a stream with a table: each record of the stream meets the table's present value of its key.

use std::rc::Rc;
use std::sync::Arc;

use super::graph::{Kind, Repartition};
use super::table_nodes::Getter;
use super::{Data, Joined, KStream, KTable, SharedSerde, names};
use crate::error::ProcessorError;
use crate::processor::{NodeFactory, Processor, ProcessorContext, ProcessorNode};
use crate::record::Record;

impl<K: Data, V: Data> KStream<K, V> {
    /// Joins each record with the table's value of its key; records without one are left out. A record with a null key or value is skipped.
    pub fn join<VT: Data, VO: Data>(
        &self,
        table: &KTable<K, VT>,
        joiner: impl Fn(V, VT) -> VO + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, VO> {
        // The processor passes no `None` on: the joiner is called only with a value.
        self.joined(table, move |_, value, other| other.map(|other| joiner(value, other)), joined, false)
    }

    /// [`join`](Self::join) with the key at hand.
    pub fn join_with_key<VT: Data, VO: Data>(
        &self,
        table: &KTable<K, VT>,
        joiner: impl Fn(&K, V, VT) -> VO + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, VO> {
        self.joined(table, move |key, value, other| other.map(|other| joiner(key, value, other)), joined, false)
    }

    /// Joins each record with the table's value of its key, or with `None`. A record with a null value is skipped.
    pub fn left_join<VT: Data, VO: Data>(
        &self,
        table: &KTable<K, VT>,
        joiner: impl Fn(V, Option<VT>) -> VO + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, VO> {
        self.joined(table, move |_, value, other| Some(joiner(value, other)), joined, true)
    }

    fn joined<VT: Data, VO: Data>(
        &self,
        table: &KTable<K, VT>,
        joiner: impl Fn(&K, V, Option<VT>) -> Option<VO> + Send + Sync + 'static,
        joined: Joined<K, V>,
        left: bool,
    ) -> KStream<K, VO> {
        let key_serde = joined.key_serde.or_else(|| self.key_serde.clone());
        let value_serde = joined.value_serde.or_else(|| self.value_serde.clone());
        let stream = match self.repartition_required {
            true => self.repartitioned_for_join(joined.name.as_deref(), key_serde.clone(), value_serde.clone()),
            false => self.clone(),
        };
        let mut sources = stream.sources.clone();
        sources.extend(table.sources.iter().cloned());
        self.graph.copartition(sources.clone());
        let name = self.graph.name(if left { names::LEFTJOIN } else { names::JOIN }, joined.name.as_deref());
        let stores = table.table.require_values();
        let (joiner, values, own, keys) = (Arc::new(joiner), table.table.clone(), name.clone(), key_serde.clone());
        let write = Box::new(move |topology: &mut crate::Topology, parents| {
            let getter = values.getter()?;
            let (joiner, key_serde, value_serde) = (joiner.clone(), keys.clone(), value_serde.clone());
            let factory: NodeFactory = Arc::new(move |_| {
                let join = TableJoin {
                    getter: getter.clone(),
                    joiner: joiner.clone(),
                    key_serde: key_serde.clone(),
                    value_serde: value_serde.clone(),
                    left,
                };
                Box::new(ProcessorNode::<K, V, _>::new(join))
            });
            topology.add_processor_node(own.clone(), parents, factory)?;
            topology.connect_processor_and_state_stores(own.clone(), stores.iter().cloned()).map(drop)
        });
        let kind = if left { Kind::NullKeyRelaxed } else { Kind::Plain };
        let node = self.graph.add(&name, &[stream.node], kind, write);
        KStream {
            graph: self.graph.clone(),
            name,
            node,
            key_serde,
            value_serde: None,
            sources,
            repartition_required: false,
            join_repartition: Rc::default(),
        }
    }

    /// Several joins of one stream share its repartition topic, unless they name their own.
    fn repartitioned_for_join(&self, name: Option<&str>, key_serde: Option<SharedSerde<K>>, value_serde: Option<SharedSerde<V>>) -> Self {
        let prefix = name.unwrap_or(&self.name);
        let what = Repartition { key_serde: key_serde.clone(), value_serde: value_serde.clone(), partitioner: None, partitions: None };
        let planned = self.graph.plan_repartition(prefix, what);
        let source = planned.source.clone();
        let node = match self.join_repartition.get().filter(|_| prefix == self.name) {
            Some(node) => node,
            None => self.graph.add_repartition(self.node, planned),
        };
        self.join_repartition.set(Some(node));
        self.after_repartition(source, node, key_serde, value_serde)
    }
}

struct TableJoin<K, V, VT, F> {
    getter: Getter<K, VT>,
    joiner: Arc<F>,
    key_serde: Option<SharedSerde<K>>,
    value_serde: Option<SharedSerde<V>>,
    left: bool,
}

impl<K, V, VT, VO, F> Processor<K, V> for TableJoin<K, V, VT, F>
where
    K: Data,
    V: Data,
    VT: Data,
    VO: Data,
    F: Fn(&K, V, Option<VT>) -> Option<VO> + Send + Sync,
{
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Result<(), ProcessorError> {
        let null_key = self.key_serde.as_ref().is_some_and(|serde| serde.is_null(&record.key));
        let null_value = self.value_serde.as_ref().is_some_and(|serde| serde.is_null(&record.value));
        if null_value || (null_key && !self.left) {
            ctx.drop_record();
            return Ok(());
        }
        let other = if null_key { None } else { (self.getter)(ctx, &record.key)?.map(|(value, _)| value) };
        let Record { key, value, timestamp, headers } = record;
        match (self.joiner)(&key, value, other) {
            Some(value) => ctx.forward(Record { key, value, timestamp, headers }),
            None => Ok(()),
        }
    }
}
