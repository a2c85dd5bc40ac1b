//! The topology in words.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;

use super::java_order::{self, TreeSet};
use super::{Role, Topology, groups};

/// What [`Topology::describe`] returns; its text is Kafka Streams' own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyDescription {
    /// The sub-topologies, in order of their numbers.
    pub subtopologies: Vec<SubtopologyDescription>,
}

/// One sub-topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubtopologyDescription {
    /// Its number.
    pub id: usize,
    /// Its nodes, those with the most below them first.
    pub nodes: Vec<DescribedNode>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DescribedNode {
    /// A source.
    Source {
        /// The name.
        name: String,
        /// The topics, as the topology names them.
        topics: Vec<String>,
        /// The nodes below.
        successors: Vec<String>,
    },
    /// A processor.
    Processor {
        /// The name.
        name: String,
        /// The stores that it uses.
        stores: Vec<String>,
        /// The nodes below.
        successors: Vec<String>,
        /// The nodes above.
        predecessors: Vec<String>,
    },
    /// A sink.
    Sink {
        /// The name.
        name: String,
        /// The topic; none where it is chosen per record.
        topic: Option<String>,
        /// What chooses the topic.
        chooser: String,
        /// The nodes above.
        predecessors: Vec<String>,
    },
}

impl DescribedNode {
    /// The node's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Source { name, .. } | Self::Processor { name, .. } | Self::Sink { name, .. } => name,
        }
    }
}

struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("none"),
            names => f.write_str(&names.join(", ")),
        }
    }
}

impl fmt::Display for DescribedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { name, topics, successors } => {
                write!(f, "Source: {name} (topics: [{}])\n      --> {}", topics.join(", "), Names(successors))
            }
            Self::Processor { name, stores, successors, predecessors } => {
                let (stores, successors, predecessors) = (stores.join(", "), Names(successors), Names(predecessors));
                write!(f, "Processor: {name} (stores: [{stores}])\n      --> {successors}\n      <-- {predecessors}")
            }
            Self::Sink { name, topic: Some(topic), predecessors, .. } => {
                write!(f, "Sink: {name} (topic: {topic})\n      <-- {}", Names(predecessors))
            }
            Self::Sink { name, chooser, predecessors, .. } => {
                write!(f, "Sink: {name} (extractor class: {chooser})\n      <-- {}", Names(predecessors))
            }
        }
    }
}

impl fmt::Display for TopologyDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Topologies:\n ")?;
        for subtopology in &self.subtopologies {
            writeln!(f, "  Sub-topology: {}", subtopology.id)?;
            for node in &subtopology.nodes {
                writeln!(f, "    {node}")?;
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

pub(super) fn describe(topology: &Topology) -> TopologyDescription {
    let groups = groups::node_groups(topology);
    let count = groups.iter().max().map_or(0, |last| last + 1);
    let subtopologies = (0..count)
        .map(|id| {
            let members: Vec<usize> = (0..groups.len()).filter(|node| groups[*node] == id).collect();
            SubtopologyDescription { id, nodes: describe_nodes(topology, &members) }
        })
        .collect();
    TopologyDescription { subtopologies }
}

/// Connects the nodes of a sub-topology in the order of Kafka Streams' collections, which decides the order of successors and predecessors.
fn describe_nodes(topology: &Topology, members: &[usize]) -> Vec<DescribedNode> {
    let names: Vec<String> = members.iter().map(|node| topology.nodes[*node].name.clone()).collect();
    let by_name: HashMap<&str, usize> = members.iter().map(|node| (topology.nodes[*node].name.as_str(), *node)).collect();
    let mut nodes: HashMap<usize, Linked> = members.iter().map(|node| (*node, Linked::default())).collect();
    for name in java_order::hash_set(java_order::hash_set(names.clone())) {
        let node = by_name[name.as_str()];
        for parent in &topology.nodes[node].parents {
            let parent = by_name[parent.as_str()];
            link(topology, &mut nodes, node, parent);
        }
    }
    let mut order: Vec<usize> = members.to_vec();
    order.sort_by(|a, b| compare(topology, &nodes, *a, *b));
    order.into_iter().map(|node| described(topology, &nodes[&node], node)).collect()
}

/// A node's neighbours, and how many nodes are below it, itself included; once per path.
struct Linked {
    size: usize,
    successors: TreeSet,
    predecessors: TreeSet,
}

impl Default for Linked {
    fn default() -> Self {
        Self { size: 1, successors: TreeSet::default(), predecessors: TreeSet::default() }
    }
}

/// Larger ones first, then by name.
fn compare(topology: &Topology, nodes: &HashMap<usize, Linked>, a: usize, b: usize) -> Ordering {
    let sizes = nodes[&b].size.cmp(&nodes[&a].size);
    sizes.then_with(|| topology.nodes[a].name.encode_utf16().cmp(topology.nodes[b].name.encode_utf16()))
}

fn link(topology: &Topology, nodes: &mut HashMap<usize, Linked>, node: usize, parent: usize) {
    let mut set = nodes.get_mut(&node).map(|node| std::mem::take(&mut node.predecessors)).unwrap_or_default();
    set.insert(parent, |a, b| compare(topology, nodes, a, b));
    nodes.entry(node).or_default().predecessors = set;
    let mut set = nodes.get_mut(&parent).map(|parent| std::mem::take(&mut parent.successors)).unwrap_or_default();
    set.insert(node, |a, b| compare(topology, nodes, a, b));
    nodes.entry(parent).or_default().successors = set;
    grow(nodes, parent, nodes[&node].size);
}

/// Counts more nodes below a node, and below those above it.
fn grow(nodes: &mut HashMap<usize, Linked>, node: usize, by: usize) {
    nodes.entry(node).or_default().size += by;
    for above in nodes[&node].predecessors.items() {
        grow(nodes, above, by);
    }
}

fn described(topology: &Topology, linked: &Linked, node: usize) -> DescribedNode {
    let names = |set: &TreeSet| set.items().into_iter().map(|node| topology.nodes[node].name.clone()).collect();
    let spec = &topology.nodes[node];
    let (name, successors, predecessors) = (spec.name.clone(), names(&linked.successors), names(&linked.predecessors));
    match &spec.role {
        Role::Source { topics } => DescribedNode::Source { name, topics: java_order::hash_set_of(topics.clone()), successors },
        Role::Processor { stores } => {
            let stores = java_order::hash_set_of(java_order::hash_set(stores.clone()));
            DescribedNode::Processor { name, stores, successors, predecessors }
        }
        Role::Sink { topic, chooser } => DescribedNode::Sink { name, topic: topic.clone(), chooser: chooser.clone(), predecessors },
    }
}
