//! Topologies: sources, processors, sinks and stores, and how they hang together.

mod build;
mod describe;
mod groups;
mod java_order;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use build::BuiltRole;
pub use build::{BuiltStore, BuiltTopology, InternalTopic, SubTopology};
pub use describe::{DescribedNode, SubtopologyDescription, TopologyDescription};

use crate::processor::{NodeFactory, Processor, ProcessorNode};
use crate::serde::Serde;
use crate::sink::{SinkNode, StreamPartitioner, TopicName};
use crate::source::SourceNode;
use crate::store::StoreBuilder;

/// A topology that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid topology: {0}")]
pub struct TopologyError(pub String);

impl TopologyError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// A topology, built node by node. [`StreamsBuilder`](crate::StreamsBuilder) builds one from operators instead.
///
/// ```
/// use streams::*;
/// struct Shout;
/// impl Processor<String, String> for Shout {
///     fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, String>) -> Result<(), ProcessorError> {
///         let value = record.value.to_uppercase();
///         ctx.forward(record.with_value(value))
///     }
/// }
/// let mut topology = Topology::new();
/// topology
///     .add_source("source", StringSerde, StringSerde, ["quiet"])?
///     .add_processor("shout", || Shout, ["source"])?
///     .add_sink("sink", "loud", StringSerde, StringSerde, ["shout"])?;
/// assert!(topology.describe().to_string().contains("Sink: sink (topic: loud)"));
/// # Ok::<(), TopologyError>(())
/// ```
#[derive(Clone, Default)]
pub struct Topology {
    pub(crate) nodes: Vec<NodeSpec>,
    pub(crate) stores: BTreeMap<String, StoreSpec>,
    /// Repartition topics, which are named after the application, with the number of partitions where it is set.
    pub(crate) internal_topics: BTreeMap<String, Option<i32>>,
    /// Groups of source nodes whose topics must have equally many partitions.
    pub(crate) copartitioned: Vec<BTreeSet<String>>,
    pub(crate) needs_exactly_once: bool,
}

#[derive(Clone)]
pub(crate) struct NodeSpec {
    pub(crate) name: String,
    pub(crate) parents: Vec<String>,
    pub(crate) role: Role,
    pub(crate) factory: NodeFactory,
}

#[derive(Clone)]
pub(crate) enum Role {
    Source {
        topics: Vec<String>,
    },
    Processor {
        stores: Vec<String>,
    },
    /// `topic` is none where each record's topic is chosen at run time; then `chooser` describes by what.
    Sink {
        topic: Option<String>,
        chooser: String,
    },
}

#[derive(Clone)]
pub(crate) struct StoreSpec {
    pub(crate) builder: StoreBuilder,
    pub(crate) users: BTreeSet<String>,
}

/// What the topology's own methods return.
type Chained<'a> = Result<&'a mut Topology, TopologyError>;

impl Topology {
    /// An empty topology.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that records must not be processed twice: that what the stores hold is right only together with the outputs and offsets of
    /// the same commit. A driver that is set to less refuses the topology.
    pub fn require_exactly_once(&mut self) -> &mut Self {
        self.needs_exactly_once = true;
        self
    }

    /// Adds a source that reads these topics.
    pub fn add_source<K: Any + Clone, V: Any + Clone>(
        &mut self,
        name: impl Into<String>,
        key_serde: impl Serde<K> + 'static,
        value_serde: impl Serde<V> + 'static,
        topics: impl IntoIterator<Item = impl Into<String>>,
    ) -> Chained<'_> {
        let (key_serde, value_serde): (Arc<dyn Serde<K>>, Arc<dyn Serde<V>>) = (Arc::new(key_serde), Arc::new(value_serde));
        let factory: NodeFactory = Arc::new(move |_| Box::new(SourceNode::new(key_serde.clone(), value_serde.clone())));
        self.add_source_node(name.into(), topics.into_iter().map(Into::into).collect(), factory)
    }

    pub(crate) fn add_source_node(&mut self, name: String, topics: Vec<String>, factory: NodeFactory) -> Chained<'_> {
        if topics.is_empty() {
            return Err(TopologyError::new("You must provide at least one topic"));
        }
        self.check_new_name(&name)?;
        for (index, topic) in topics.iter().enumerate() {
            let taken = self.nodes.iter().any(|node| matches!(&node.role, Role::Source { topics } if topics.contains(topic)));
            if taken || topics[..index].contains(topic) {
                return Err(TopologyError::new(format!("Topic {topic} has already been registered by another source.")));
            }
        }
        self.nodes.push(NodeSpec { name, parents: Vec::new(), role: Role::Source { topics }, factory });
        Ok(self)
    }

    /// Adds a processor below its parents. The supplier is called once per task.
    pub fn add_processor<K: Any, V: Any, P: Processor<K, V> + 'static>(
        &mut self,
        name: impl Into<String>,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        parents: impl IntoIterator<Item = impl Into<String>>,
    ) -> Chained<'_> {
        let factory: NodeFactory = Arc::new(move |_| Box::new(ProcessorNode::<K, V, P>::new(supplier())));
        self.add_processor_node(name.into(), parents.into_iter().map(Into::into).collect(), factory)
    }

    pub(crate) fn add_processor_node(&mut self, name: String, parents: Vec<String>, factory: NodeFactory) -> Chained<'_> {
        self.check_new_name(&name)?;
        self.check_parents(&name, &parents)?;
        self.nodes.push(NodeSpec { name, parents, role: Role::Processor { stores: Vec::new() }, factory });
        Ok(self)
    }

    /// Adds a store, and connects processors to it.
    pub fn add_state_store(&mut self, store: StoreBuilder, processors: impl IntoIterator<Item = impl Into<String>>) -> Chained<'_> {
        let name = store.name().to_owned();
        match self.stores.get(&name) {
            Some(known) if known.builder != store => {
                return Err(TopologyError::new(format!("A different StateStore has already been added with the name {name}")));
            }
            Some(_) => {}
            None => {
                self.stores.insert(name.clone(), StoreSpec { builder: store, users: BTreeSet::new() });
            }
        }
        for processor in processors {
            self.connect(processor.into(), &name)?;
        }
        Ok(self)
    }

    /// Connects a processor to stores.
    pub fn connect_processor_and_state_stores(
        &mut self,
        processor: impl Into<String>,
        stores: impl IntoIterator<Item = impl Into<String>>,
    ) -> Chained<'_> {
        let processor = processor.into();
        for store in stores {
            self.connect(processor.clone(), &store.into())?;
        }
        Ok(self)
    }

    /// Adds a sink that writes its parents' records to a topic.
    pub fn add_sink<K: Any + Clone, V: Any + Clone>(
        &mut self,
        name: impl Into<String>,
        topic: impl Into<TopicName<K, V>>,
        key_serde: impl Serde<K> + 'static,
        value_serde: impl Serde<V> + 'static,
        parents: impl IntoIterator<Item = impl Into<String>>,
    ) -> Chained<'_> {
        let parents = parents.into_iter().map(Into::into).collect();
        self.add_sink_node(name.into(), topic.into(), Arc::new(key_serde), Arc::new(value_serde), None, parents)
    }

    /// Adds a sink whose partitions a partitioner of the user's own chooses.
    pub fn add_sink_with_partitioner<K: Any + Clone, V: Any + Clone>(
        &mut self,
        name: impl Into<String>,
        topic: impl Into<TopicName<K, V>>,
        key_serde: impl Serde<K> + 'static,
        value_serde: impl Serde<V> + 'static,
        partitioner: impl StreamPartitioner<K, V> + 'static,
        parents: impl IntoIterator<Item = impl Into<String>>,
    ) -> Chained<'_> {
        let parents = parents.into_iter().map(Into::into).collect();
        self.add_sink_node(name.into(), topic.into(), Arc::new(key_serde), Arc::new(value_serde), Some(Arc::new(partitioner)), parents)
    }

    pub(crate) fn add_sink_node<K: Any + Clone, V: Any + Clone>(
        &mut self,
        name: String,
        topic: TopicName<K, V>,
        key_serde: Arc<dyn Serde<K>>,
        value_serde: Arc<dyn Serde<V>>,
        partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
        parents: Vec<String>,
    ) -> Chained<'_> {
        self.check_new_name(&name)?;
        self.check_parents(&name, &parents)?;
        let role = Role::Sink { topic: topic.fixed().map(str::to_owned), chooser: topic.description() };
        let factory: NodeFactory = Arc::new(move |resolve| {
            Box::new(SinkNode::new(topic.resolved(resolve), key_serde.clone(), value_serde.clone(), partitioner.clone()))
        });
        self.nodes.push(NodeSpec { name, parents, role, factory });
        Ok(self)
    }

    /// Declares a topic that belongs to the application: its real name is `<application.id>-<name>`.
    pub(crate) fn add_internal_topic(&mut self, name: impl Into<String>, partitions: Option<i32>) {
        self.internal_topics.insert(name.into(), partitions);
    }

    /// Declares that the topics of these sources must have equally many partitions.
    pub(crate) fn copartition(&mut self, sources: BTreeSet<String>) {
        self.copartitioned.push(sources);
    }

    /// Topics that are joined and whose numbers of partitions the topology itself sets must agree.
    pub(crate) fn check_copartitioning(&self) -> Result<(), TopologyError> {
        for sources in &self.copartitioned {
            let topics = self.nodes.iter().filter(|node| sources.contains(&node.name)).flat_map(|node| match &node.role {
                Role::Source { topics } => topics.as_slice(),
                _ => &[],
            });
            let set: BTreeMap<&String, Option<i32>> =
                topics.map(|topic| (topic, self.internal_topics.get(topic).copied().flatten())).collect();
            let counts: BTreeSet<i32> = set.values().copied().flatten().collect();
            if counts.len() > 1 && set.values().all(Option::is_some) {
                let list: Vec<String> = set.iter().map(|(topic, count)| format!("{topic}={}", count.unwrap_or_default())).collect();
                return Err(TopologyError::new(format!(
                    "Following topics do not have the same number of partitions: [{{{}}}]",
                    list.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// The topology in words, as Kafka Streams prints it.
    pub fn describe(&self) -> TopologyDescription {
        describe::describe(self)
    }

    /// Checks the topology, and makes it ready for tasks.
    pub fn build(&self, application_id: &str) -> Result<BuiltTopology, TopologyError> {
        build::build(self, application_id)
    }

    fn connect(&mut self, processor: String, store: &str) -> Result<(), TopologyError> {
        let spec = self.stores.get_mut(store).ok_or_else(|| TopologyError::new(format!("StateStore {store} is not added yet.")))?;
        let node = self
            .nodes
            .iter_mut()
            .find(|node| node.name == processor)
            .ok_or_else(|| TopologyError::new(format!("Processor {processor} is not added yet.")))?;
        let Role::Processor { stores } = &mut node.role else {
            return Err(TopologyError::new(format!("cannot connect a state store {store} to a source node or a sink node.")));
        };
        if !stores.iter().any(|known| known == store) {
            stores.push(store.to_owned());
        }
        spec.users.insert(processor);
        Ok(())
    }

    fn check_new_name(&self, name: &str) -> Result<(), TopologyError> {
        match self.nodes.iter().any(|node| node.name == name) {
            true => Err(TopologyError::new(format!("Processor {name} is already added."))),
            false => Ok(()),
        }
    }

    fn check_parents(&self, name: &str, parents: &[String]) -> Result<(), TopologyError> {
        if parents.is_empty() {
            return Err(TopologyError::new(format!("You must provide at least one parent name: {name}")));
        }
        for parent in parents {
            if parent == name {
                return Err(TopologyError::new(format!("Processor {name} cannot be a predecessor of itself.")));
            }
            match self.nodes.iter().find(|node| node.name == *parent) {
                None => return Err(TopologyError::new(format!("Predecessor processor {parent} is not added yet for {name}"))),
                Some(NodeSpec { role: Role::Sink { .. }, .. }) => {
                    return Err(TopologyError::new(format!("Sink {parent} cannot be used as a parent of {name}")));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
