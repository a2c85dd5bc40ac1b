//! The graph of operators, from which the topology is written.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::sync::Arc;

use super::{Data, SharedSerde};
use crate::processor::{NodeFactory, Processor, ProcessorNode};
use crate::sink::{StreamPartitioner, TopicName};
use crate::source::SourceNode;
use crate::store::StoreBuilder;
use crate::topology::{Topology, TopologyError};

use super::names;

/// Writes an operator's nodes below the nodes with these names.
type Write = Box<dyn Fn(&mut Topology, Vec<String>) -> Result<(), TopologyError>>;

/// Shared by the builder and its streams and tables.
#[derive(Clone, Default)]
pub(crate) struct Graph(Rc<RefCell<Inner>>);

#[derive(Default)]
struct Inner {
    /// How many names were generated: every operator counts, named or not, so that naming one renumbers no other.
    index: u32,
    priority: u64,
    nodes: Vec<Operator>,
    roots: Vec<usize>,
    copartitioned: Vec<BTreeSet<String>>,
}

struct Operator {
    /// The name that children see: of the last node that the operator writes.
    name: String,
    parents: Vec<usize>,
    children: Vec<usize>,
    priority: u64,
    kind: Kind,
    write: Write,
}

pub(super) enum Kind {
    Plain,
    /// Sources of the same topics become one.
    Stream(Vec<String>),
    /// Whether null keys are filtered out is set at build.
    Repartition(Rc<Cell<bool>>),
    /// A left join, for which repartitioning keeps null keys.
    NullKeyRelaxed,
}

impl Graph {
    /// The next generated name; counts also where a name is given.
    pub(super) fn name(&self, prefix: &str, given: Option<&str>) -> String {
        let mut inner = self.0.borrow_mut();
        let generated = format!("{prefix}{:010}", inner.index);
        inner.index += 1;
        given.map_or(generated, str::to_owned)
    }

    /// The next generated name of a store.
    pub(super) fn store_name(&self, prefix: &str) -> String {
        self.name(&format!("{prefix}STATE-STORE-"), None)
    }

    /// Adds an operator below `parents`; without any, below the root.
    pub(super) fn add(&self, name: &str, parents: &[usize], kind: Kind, write: Write) -> usize {
        let mut inner = self.0.borrow_mut();
        let node = inner.nodes.len();
        inner.nodes.push(Operator { name: name.to_owned(), parents: Vec::new(), children: Vec::new(), priority: 0, kind, write });
        if parents.is_empty() {
            inner.roots.push(node);
            inner.prioritise(node);
        }
        drop(inner);
        for parent in parents {
            self.connect(*parent, node);
        }
        node
    }

    /// Puts an operator below another one. Its turn comes after all operators that are there already.
    pub(super) fn connect(&self, parent: usize, node: usize) {
        let mut inner = self.0.borrow_mut();
        if !inner.nodes[parent].children.contains(&node) {
            inner.nodes[parent].children.push(node);
            inner.nodes[node].parents.push(parent);
        }
        inner.prioritise(node);
    }

    pub(super) fn copartition(&self, sources: BTreeSet<String>) {
        self.0.borrow_mut().copartitioned.push(sources);
    }

    pub(super) fn add_store(&self, store: StoreBuilder) {
        let name = store.name().to_owned();
        self.add(&name, &[], Kind::Plain, Box::new(move |topology, _| topology.add_state_store(store.clone(), [""; 0]).map(drop)));
    }

    /// Adds a processor, with the stores that it is connected to once it is written.
    pub(super) fn add_processor<K: Data, V: Data, P: Processor<K, V> + 'static>(
        &self,
        name: &str,
        parents: &[usize],
        kind: Kind,
        stores: Vec<String>,
        supplier: impl Fn() -> P + Send + Sync + 'static,
    ) -> usize {
        let factory: NodeFactory = Arc::new(move |_| Box::new(ProcessorNode::<K, V, P>::new(supplier())));
        let own = name.to_owned();
        let write: Write = Box::new(move |topology, parents| {
            topology.add_processor_node(own.clone(), parents, factory.clone())?;
            topology.connect_processor_and_state_stores(own.clone(), stores.iter().cloned()).map(drop)
        });
        self.add(name, parents, kind, write)
    }

    /// The topology, written operator by operator in the order in which they were added, as far as their parents are written.
    pub(super) fn build(&self) -> Result<Topology, TopologyError> {
        let inner = self.0.borrow();
        let mut shape = Shape::of(&inner);
        shape.merge_sources(&inner)?;
        shape.filter_null_keys(&inner);
        let mut topology = Topology::new();
        let mut written = vec![false; inner.nodes.len()];
        let mut queue: BinaryHeap<Reverse<(u64, usize)>> =
            shape.roots.iter().map(|root| Reverse((inner.nodes[*root].priority, *root))).collect();
        while let Some(Reverse((_, node))) = queue.pop() {
            if shape.parents[node].iter().all(|parent| written[*parent]) && !written[node] {
                let parents = shape.parents[node].iter().map(|parent| inner.nodes[*parent].name.clone()).collect();
                (inner.nodes[node].write)(&mut topology, parents)?;
                written[node] = true;
            }
            queue.extend(shape.children[node].iter().map(|child| Reverse((inner.nodes[*child].priority, *child))));
        }
        for sources in &inner.copartitioned {
            topology.copartition(sources.clone());
        }
        topology.check_copartitioning()?;
        Ok(topology)
    }
}

impl Inner {
    fn prioritise(&mut self, node: usize) {
        self.nodes[node].priority = self.priority;
        self.priority += 1;
    }
}

/// The edges of the graph, which the build may change without changing the graph itself.
struct Shape {
    roots: Vec<usize>,
    parents: Vec<Vec<usize>>,
    children: Vec<Vec<usize>>,
}

impl Shape {
    fn of(inner: &Inner) -> Self {
        Self {
            roots: inner.roots.clone(),
            parents: inner.nodes.iter().map(|node| node.parents.clone()).collect(),
            children: inner.nodes.iter().map(|node| node.children.clone()).collect(),
        }
    }

    /// A topic that is read twice as a stream is read by one source.
    fn merge_sources(&mut self, inner: &Inner) -> Result<(), TopologyError> {
        let mut kept: Vec<(usize, &Vec<String>)> = Vec::new();
        for root in std::mem::take(&mut self.roots) {
            let Kind::Stream(topics) = &inner.nodes[root].kind else {
                self.roots.push(root);
                continue;
            };
            let Some((main, main_topics)) = kept.iter().find(|(_, other)| topics.iter().any(|topic| other.contains(topic))).copied() else {
                kept.push((root, topics));
                self.roots.push(root);
                continue;
            };
            if main_topics != topics {
                return Err(TopologyError::new("Two source nodes are subscribed to overlapping but not equal input topics"));
            }
            for child in std::mem::take(&mut self.children[root]) {
                self.parents[child].retain(|parent| *parent != root);
                self.parents[child].push(main);
                self.children[main].push(child);
            }
        }
        Ok(())
    }

    /// Repartitioning drops null keys, unless a left join somewhere below wants them.
    fn filter_null_keys(&self, inner: &Inner) {
        let mut wanted = vec![false; inner.nodes.len()];
        // Children come after their parents, save where one was connected again later: as many passes as it takes.
        let mut changed = true;
        while changed {
            changed = false;
            for node in (0..inner.nodes.len()).rev() {
                let below = |child: &usize| wanted[*child] || matches!(inner.nodes[*child].kind, Kind::NullKeyRelaxed);
                if !wanted[node] && self.children[node].iter().any(below) {
                    wanted[node] = true;
                    changed = true;
                }
            }
        }
        for (node, wanted) in inner.nodes.iter().zip(wanted) {
            if let Kind::Repartition(filter) = &node.kind {
                filter.set(!wanted);
            }
        }
    }
}

/// What a repartition topic needs.
pub(super) struct Repartition<K, V> {
    pub(super) key_serde: Option<SharedSerde<K>>,
    pub(super) value_serde: Option<SharedSerde<V>>,
    pub(super) partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
    pub(super) partitions: Option<i32>,
}

/// An operator that is not in the graph yet, with the name of the source of its topic.
pub(super) struct PlannedRepartition<K, V> {
    pub(super) source: String,
    topic: String,
    filter: String,
    sink: String,
    what: Repartition<K, V>,
}

impl Graph {
    /// Names the nodes of a repartition: filter, sink and source.
    pub(super) fn plan_repartition<K, V>(&self, prefix: &str, what: Repartition<K, V>) -> PlannedRepartition<K, V> {
        let topic = if prefix.ends_with("-repartition") { prefix.to_owned() } else { format!("{prefix}-repartition") };
        let (sink, filter, source) = (self.name(names::SINK, None), self.name(names::FILTER, None), self.name(names::SOURCE, None));
        let generated = names::is_generated(prefix);
        let pick = |generated_name: String, suffix: &str| if generated { generated_name } else { format!("{topic}{suffix}") };
        let (source, filter, sink) = (pick(source, "-source"), pick(filter, "-filter"), pick(sink, "-sink"));
        PlannedRepartition { source, topic, filter, sink, what }
    }

    pub(super) fn add_repartition<K: Data, V: Data>(&self, parent: usize, planned: PlannedRepartition<K, V>) -> usize {
        let PlannedRepartition { source, topic, filter, sink, what } = planned;
        let drop_null_keys = Rc::new(Cell::new(true));
        let kind = Kind::Repartition(drop_null_keys.clone());
        let name = source.clone();
        let write: Write = Box::new(move |topology, parents| {
            let key_serde = known(&what.key_serde, "keys", &topic)?;
            let value_serde = known(&what.value_serde, "values", &topic)?;
            topology.add_internal_topic(topic.clone(), what.partitions);
            let (null_test, drop_null_keys) = (key_serde.clone(), drop_null_keys.get());
            let factory: NodeFactory = Arc::new(move |_| {
                let keep = super::stateless::NotNullKey { serde: null_test.clone(), all: !drop_null_keys };
                Box::new(ProcessorNode::<K, V, _>::new(keep))
            });
            topology.add_processor_node(filter.clone(), parents, factory)?;
            let to = TopicName::Fixed(topic.clone());
            topology.add_sink_node(
                sink.clone(),
                to,
                key_serde.clone(),
                value_serde.clone(),
                what.partitioner.clone(),
                vec![filter.clone()],
            )?;
            let factory: NodeFactory = Arc::new(move |_| Box::new(SourceNode::new(key_serde.clone(), value_serde.clone())));
            topology.add_source_node(source.clone(), vec![topic.clone()], factory).map(drop)
        });
        self.add(&name, &[parent], kind, write)
    }
}

/// The serde, or an error that says where it is missing.
pub(super) fn known<T: ?Sized>(serde: &Option<Arc<T>>, what: &str, place: &str) -> Result<Arc<T>, TopologyError> {
    serde.clone().ok_or_else(|| TopologyError::new(format!("no serde is known for the {what} of {place}")))
}
