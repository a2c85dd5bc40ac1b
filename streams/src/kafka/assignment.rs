//! Which tasks a set of partitions makes.
//!
//! A task needs the partition of its number of every topic of its sub-topology. The range assignor gives equal numbers of equally wide
//! topics to one member (as long as all members read the same topics), so a member has all of a task or nothing of it.

use std::collections::BTreeSet;

use crate::{BuiltTopology, TaskId, TopicPartition};

/// What partitions make.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Tasks with all their partitions, in the order of the sub-topology's source topics.
    pub(super) complete: Vec<(TaskId, Vec<TopicPartition>)>,
    /// Tasks some of whose partitions are missing.
    pub(super) incomplete: Vec<(TaskId, Vec<TopicPartition>)>,
}

/// Sorts partitions into tasks. Partitions of topics that the topology does not read are none of its business.
pub(super) fn plan(topology: &BuiltTopology, partitions: &BTreeSet<TopicPartition>) -> Plan {
    let mut tasks: BTreeSet<TaskId> = BTreeSet::new();
    for TopicPartition { topic, partition } in partitions {
        if let Some(subtopology) = topology.reader_of(topic) {
            tasks.insert(TaskId { subtopology: subtopology as i32, partition: *partition });
        }
    }
    let mut plan = Plan::default();
    for task in tasks {
        let topics = &topology.subtopologies()[task.subtopology as usize].source_topics;
        let wanted = topics.iter().map(|topic| TopicPartition::new(topic.clone(), task.partition));
        let given: Vec<TopicPartition> = wanted.filter(|wanted| partitions.contains(wanted)).collect();
        let list = if given.len() == topics.len() { &mut plan.complete } else { &mut plan.incomplete };
        list.push((task, given));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StringSerde, Topology};

    fn partitions<const N: usize>(list: [(&str, i32); N]) -> BTreeSet<TopicPartition> {
        list.into_iter().map(|(topic, partition)| TopicPartition::new(topic, partition)).collect()
    }

    #[test]
    fn a_task_needs_its_partition_of_every_topic_of_its_sub_topology() {
        let mut topology = Topology::new();
        topology.add_source("joined", StringSerde, StringSerde, ["a", "b"]).unwrap();
        topology.add_source("alone", StringSerde, StringSerde, ["c"]).unwrap();
        let topology = topology.build("app").unwrap();

        let plan = plan(&topology, &partitions([("a", 0), ("b", 0), ("a", 1), ("c", 1), ("foreign", 0)]));

        let names = |list: &[(TaskId, Vec<TopicPartition>)]| list.iter().map(|(task, _)| task.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&plan.complete), ["0_0", "1_1"]);
        assert_eq!(names(&plan.incomplete), ["0_1"]);
    }
}
