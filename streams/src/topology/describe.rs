//! The topology in words.

use std::fmt;

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
            write!(f, "  Sub-topology: {}\n", subtopology.id)?;
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

fn describe_nodes(topology: &Topology, members: &[usize]) -> Vec<DescribedNode> {
    members
        .iter()
        .map(|node| {
            let spec = &topology.nodes[*node];
            let successors =
                topology.nodes.iter().filter(|child| child.parents.contains(&spec.name)).map(|child| child.name.clone()).collect();
            let predecessors = spec.parents.clone();
            match &spec.role {
                Role::Source { topics } => DescribedNode::Source { name: spec.name.clone(), topics: topics.clone(), successors },
                Role::Processor { stores } => {
                    DescribedNode::Processor { name: spec.name.clone(), stores: stores.iter().cloned().collect(), successors, predecessors }
                }
                Role::Sink { topic, chooser } => {
                    DescribedNode::Sink { name: spec.name.clone(), topic: topic.clone(), chooser: chooser.clone(), predecessors }
                }
            }
        })
        .collect()
}
