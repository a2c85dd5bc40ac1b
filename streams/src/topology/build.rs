//! From a topology to what tasks are made of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{NodeSpec, Role, Topology, TopologyError, groups};
use crate::processor::NodeFactory;
use crate::task::TaskId;

/// A checked topology of one application: immutable, shared by its tasks and their driver.
pub struct BuiltTopology {
    pub(crate) application_id: Arc<str>,
    pub(crate) nodes: Vec<BuiltNode>,
    subtopologies: Vec<SubTopology>,
    stores: Vec<BuiltStore>,
    sources: HashMap<Arc<str>, usize>,
    internal: BTreeMap<String, Arc<str>>,
    copartitioned: Vec<BTreeSet<Arc<str>>>,
    needs_exactly_once: bool,
}

pub(crate) struct BuiltNode {
    pub(crate) name: Arc<str>,
    pub(crate) subtopology: usize,
    pub(crate) children: Vec<usize>,
    pub(crate) role: BuiltRole,
    pub(crate) factory: NodeFactory,
}

pub(crate) enum BuiltRole {
    Source {
        topics: Vec<Arc<str>>,
    },
    /// Places in [`BuiltTopology::stores`].
    Processor {
        stores: Vec<usize>,
    },
    Sink,
}

/// Nodes that are connected, and so run together.
#[derive(Debug, Clone, Default)]
pub struct SubTopology {
    /// The topics that it reads, each read by no other sub-topology.
    pub source_topics: Vec<Arc<str>>,
    /// The topics that it is known to write (a topic that is chosen per record is not).
    pub sink_topics: Vec<Arc<str>>,
    /// Its stores, as places in [`BuiltTopology::stores`].
    pub stores: Vec<usize>,
    /// The repartition topics that it reads.
    pub repartition_topics: Vec<InternalTopic>,
}

/// A store of the topology.
#[derive(Debug, Clone)]
pub struct BuiltStore {
    /// The name.
    pub name: Arc<str>,
    /// The sub-topology that has it.
    pub subtopology: usize,
    /// The name of its changelog topic: `<application.id>-<store>-changelog`. None if logging is disabled.
    pub changelog_topic: Option<Arc<str>>,
}

/// A topic that belongs to the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalTopic {
    /// The name, with the application id in front.
    pub name: Arc<str>,
    /// How many partitions it has, if the topology says.
    pub partitions: Option<i32>,
}

impl BuiltTopology {
    /// The application id.
    pub fn application_id(&self) -> &str {
        &self.application_id
    }

    /// Whether records must not be processed twice.
    pub fn needs_exactly_once(&self) -> bool {
        self.needs_exactly_once
    }

    /// The sub-topologies, in order of their numbers.
    pub fn subtopologies(&self) -> &[SubTopology] {
        &self.subtopologies
    }

    /// All stores, in order of name.
    pub fn stores(&self) -> &[BuiltStore] {
        &self.stores
    }

    /// The sub-topology that reads a topic.
    pub fn reader_of(&self, topic: &str) -> Option<usize> {
        self.sources.get(topic).map(|node| self.nodes[*node].subtopology)
    }

    /// All topics that the application reads, in the order of its sub-topologies.
    pub fn source_topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.subtopologies.iter().flat_map(|subtopology| &subtopology.source_topics)
    }

    /// The partitions of every repartition topic: as set, else as many as the widest topic read by a sub-topology that writes it.
    /// `partitions` answers for all other topics.
    pub fn repartition_topics(&self, partitions: &dyn Fn(&str) -> Option<i32>) -> Result<BTreeMap<Arc<str>, i32>, TopologyError> {
        let wanted: Vec<&InternalTopic> = self.subtopologies.iter().flat_map(|subtopology| &subtopology.repartition_topics).collect();
        let mut known: BTreeMap<Arc<str>, i32> =
            wanted.iter().filter_map(|topic| topic.partitions.map(|count| (topic.name.clone(), count))).collect();
        // A topic's writers may read other repartition topics: as many passes as there are topics settle any chain.
        for _ in 0..wanted.len() {
            for topic in wanted.iter().filter(|topic| topic.partitions.is_none()) {
                let writers = self.subtopologies.iter().filter(|subtopology| subtopology.sink_topics.contains(&topic.name));
                let widest = writers
                    .flat_map(|writer| &writer.source_topics)
                    .filter_map(|source| known.get(source).copied().or_else(|| partitions(source)));
                if let Some(widest) = widest.max() {
                    known.insert(topic.name.clone(), widest);
                }
            }
            self.widen_copartitioned(&wanted, &mut known, partitions);
        }
        match wanted.iter().find(|topic| !known.contains_key(&topic.name)) {
            Some(topic) => Err(TopologyError::new(format!("the number of partitions of repartition topic {} is not known", topic.name))),
            None => Ok(known),
        }
    }

    /// Repartition topics that are joined with other topics get their number of partitions.
    fn widen_copartitioned(
        &self,
        wanted: &[&InternalTopic],
        known: &mut BTreeMap<Arc<str>, i32>,
        partitions: &dyn Fn(&str) -> Option<i32>,
    ) {
        for group in &self.copartitioned {
            let free = |topic: &Arc<str>| wanted.iter().any(|wanted| wanted.name == *topic && wanted.partitions.is_none());
            let fixed = group.iter().filter(|topic| !free(topic)).find_map(|topic| known.get(topic).copied().or_else(|| partitions(topic)));
            let count = fixed.or_else(|| group.iter().filter_map(|topic| known.get(topic).copied()).max());
            if let Some(count) = count {
                for topic in group.iter().filter(|topic| free(topic)) {
                    known.insert(topic.clone(), count);
                }
            }
        }
    }

    /// The tasks of the application: of each sub-topology one per partition of its widest topic. Checks what must be co-partitioned.
    pub fn tasks(&self, partitions: &dyn Fn(&str) -> Option<i32>) -> Result<Vec<TaskId>, TopologyError> {
        for group in &self.copartitioned {
            let counts: BTreeMap<&str, Option<i32>> = group.iter().map(|topic| (&**topic, partitions(topic))).collect();
            if counts.values().collect::<BTreeSet<_>>().len() > 1 {
                let list: Vec<String> = counts
                    .iter()
                    .map(|(topic, count)| format!("{topic}={}", count.map_or("?".to_owned(), |count| count.to_string())))
                    .collect();
                return Err(TopologyError::new(format!("Topics not co-partitioned: [{}]", list.join(", "))));
            }
        }
        let mut tasks = Vec::new();
        for (number, subtopology) in self.subtopologies.iter().enumerate() {
            let mut widest = 0;
            for topic in &subtopology.source_topics {
                let count = partitions(topic).ok_or_else(|| TopologyError::new(format!("source topic {topic} does not exist")))?;
                widest = widest.max(count);
            }
            tasks.extend((0..widest).map(|partition| TaskId { subtopology: number as i32, partition }));
        }
        Ok(tasks)
    }

    pub(crate) fn source_node(&self, topic: &str) -> Option<usize> {
        self.sources.get(topic).copied()
    }

    /// The real name of a topic that the topology names.
    pub(crate) fn topic(&self, name: &str) -> Arc<str> {
        self.internal.get(name).cloned().unwrap_or_else(|| name.into())
    }
}

pub(super) fn build(topology: &Topology, application_id: &str) -> Result<BuiltTopology, TopologyError> {
    if topology.nodes.iter().all(|node| !matches!(node.role, Role::Source { .. })) {
        return Err(TopologyError::new(
            "Topology has no stream threads and no global threads, must subscribe to at least one source topic or global table.",
        ));
    }
    let groups = groups::node_groups(topology);
    let stores = built_stores(topology, application_id, &groups)?;
    let internal: BTreeMap<String, Arc<str>> =
        topology.internal_topics.keys().map(|name| (name.clone(), format!("{application_id}-{name}").into())).collect();
    let real = |name: &str| internal.get(name).cloned().unwrap_or_else(|| Arc::from(name));
    let mut subtopologies = vec![SubTopology::default(); groups.iter().max().map_or(0, |last| last + 1)];
    let mut nodes = Vec::with_capacity(topology.nodes.len());
    let mut sources = HashMap::new();
    for (index, spec) in topology.nodes.iter().enumerate() {
        let subtopology = &mut subtopologies[groups[index]];
        let role = match &spec.role {
            Role::Source { topics } => {
                let real_topics: Vec<Arc<str>> = topics.iter().map(|topic| real(topic)).collect();
                for (topic, real) in topics.iter().zip(&real_topics) {
                    sources.insert(real.clone(), index);
                    subtopology.source_topics.push(real.clone());
                    if let Some(partitions) = topology.internal_topics.get(topic) {
                        subtopology.repartition_topics.push(InternalTopic { name: real.clone(), partitions: *partitions });
                    }
                }
                BuiltRole::Source { topics: real_topics }
            }
            Role::Processor { stores: names } => {
                // The names are checked when they are connected.
                BuiltRole::Processor {
                    stores: names.iter().filter_map(|name| stores.iter().position(|store| *store.name == **name)).collect(),
                }
            }
            Role::Sink { topic, .. } => {
                subtopology.sink_topics.extend(topic.as_deref().map(real));
                BuiltRole::Sink
            }
        };
        nodes.push(BuiltNode {
            name: spec.name.as_str().into(),
            subtopology: groups[index],
            children: children(topology, spec),
            role,
            factory: spec.factory.clone(),
        });
    }
    for (index, store) in stores.iter().enumerate() {
        subtopologies[store.subtopology].stores.push(index);
    }
    let copartitioned = topology
        .copartitioned
        .iter()
        .map(|sources| {
            let topics = topology.nodes.iter().filter(|node| sources.contains(&node.name)).flat_map(|node| match &node.role {
                Role::Source { topics } => topics.iter(),
                _ => [].iter(),
            });
            topics.map(|topic| real(topic)).collect()
        })
        .collect();
    Ok(BuiltTopology {
        application_id: application_id.into(),
        nodes,
        subtopologies,
        stores,
        sources,
        internal,
        copartitioned,
        needs_exactly_once: topology.needs_exactly_once,
    })
}

fn children(topology: &Topology, spec: &NodeSpec) -> Vec<usize> {
    topology.nodes.iter().enumerate().filter(|(_, child)| child.parents.contains(&spec.name)).map(|(index, _)| index).collect()
}

fn built_stores(topology: &Topology, application_id: &str, groups: &[usize]) -> Result<Vec<BuiltStore>, TopologyError> {
    let mut stores = Vec::with_capacity(topology.stores.len());
    for (name, spec) in &topology.stores {
        let user = spec.users.first().and_then(|user| topology.nodes.iter().position(|node| node.name == *user));
        let Some(user) = user else {
            return Err(TopologyError::new(format!("StateStore {name} is not connected to any processor.")));
        };
        stores.push(BuiltStore {
            name: name.as_str().into(),
            subtopology: groups[user],
            changelog_topic: spec.builder.logging_enabled().then(|| format!("{application_id}-{name}-changelog").into()),
        });
    }
    Ok(stores)
}
