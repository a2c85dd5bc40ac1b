//! Topics before the start: those of others must be there, those of the application are made as Kafka Streams makes them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::cluster::{Cluster, TopicSpec};
use super::{KafkaStreamsConfig, KafkaStreamsError, clients};
use crate::BuiltTopology;

/// How long a changelog keeps the record that a key was deleted, at least.
pub(super) const TOMBSTONES_STAY: Duration = Duration::from_hours(24);

/// Checks the topics of a topology, and makes those that belong to the application.
pub(super) fn prepare(topology: &BuiltTopology, cluster: &Cluster) -> Result<(), KafkaStreamsError> {
    match repartition_topics(topology, &cluster.topics()?) {
        Ok(missing) => cluster.create(&missing)?,
        Err(error) => {
            if let KafkaStreamsError::TopicsMissing(topics) = &error {
                let reads = |topic: &str| topology.source_topics().any(|source| **source == *topic);
                topics.iter().try_for_each(|topic| cluster.check_hidden(topic, if reads(topic) { "READ" } else { "WRITE" }))?;
            }
            return Err(error);
        }
    }
    cluster.create(&changelog_topics(topology, &cluster.topics()?)?)
}

/// The repartition topics that are missing.
fn repartition_topics(topology: &BuiltTopology, there: &HashMap<Arc<str>, i32>) -> Result<Vec<TopicSpec>, KafkaStreamsError> {
    let internal: BTreeSet<&Arc<str>> =
        topology.subtopologies().iter().flat_map(|sub| &sub.repartition_topics).map(|topic| &topic.name).collect();
    let named = topology.subtopologies().iter().flat_map(|sub| sub.source_topics.iter().chain(&sub.sink_topics));
    let missing: BTreeSet<&Arc<str>> = named.filter(|topic| !internal.contains(topic) && !there.contains_key(*topic)).collect();
    if !missing.is_empty() {
        return Err(KafkaStreamsError::TopicsMissing(missing.into_iter().map(|topic| topic.to_string()).collect()));
    }
    let wanted = topology.repartition_topics(&|topic| there.get(topic).copied())?;
    // What Kafka Streams sets: the application itself says when a record is done with.
    let settings =
        [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("segment.bytes", "52428800"), ("message.timestamp.type", "CreateTime")];
    missing_of(wanted, there, &settings)
}

/// The changelog topics that are missing; all repartition topics are there.
fn changelog_topics(topology: &BuiltTopology, there: &HashMap<Arc<str>, i32>) -> Result<Vec<TopicSpec>, KafkaStreamsError> {
    let widths = widths(topology, there)?;
    let stores = topology.stores().iter().filter_map(|store| Some((store.changelog_topic.clone()?, widths[store.subtopology])));
    let tombstones_stay = TOMBSTONES_STAY.as_millis().to_string();
    let settings = [("cleanup.policy", "compact"), ("delete.retention.ms", &tombstones_stay), ("message.timestamp.type", "CreateTime")];
    missing_of(stores.collect(), there, &settings)
}

/// How many tasks each sub-topology has. All topics that it reads are equally wide: no assignor keeps the partitions of a task together
/// otherwise.
fn widths(topology: &BuiltTopology, there: &HashMap<Arc<str>, i32>) -> Result<Vec<i32>, KafkaStreamsError> {
    // Checks what a join needs, with a message of its own.
    topology.tasks(&|topic| there.get(topic).copied())?;
    let mut widths = Vec::new();
    for (number, sub) in topology.subtopologies().iter().enumerate() {
        let counts: BTreeMap<&Arc<str>, i32> =
            sub.source_topics.iter().map(|topic| (topic, there.get(topic).copied().unwrap_or(0))).collect();
        let distinct: BTreeSet<i32> = counts.values().copied().collect();
        match (distinct.len(), distinct.first()) {
            (1, Some(width)) => widths.push(*width),
            // A sub-topology without sources has no tasks.
            (0, _) => widths.push(0),
            _ => {
                let list: Vec<String> = counts.iter().map(|(topic, count)| format!("{topic}={count}")).collect();
                return Err(KafkaStreamsError::NotCopartitioned { subtopology: number, counts: list.join(", ") });
            }
        }
    }
    Ok(widths)
}

fn missing_of(
    wanted: BTreeMap<Arc<str>, i32>,
    there: &HashMap<Arc<str>, i32>,
    settings: &[(&'static str, &str)],
) -> Result<Vec<TopicSpec>, KafkaStreamsError> {
    let mut missing = Vec::new();
    for (name, partitions) in wanted {
        match there.get(&name) {
            Some(found) if *found == partitions => {}
            Some(found) => return Err(KafkaStreamsError::PartitionsDiffer { topic: name.to_string(), found: *found, wanted: partitions }),
            None => {
                let settings = settings.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
                missing.push(TopicSpec { name, partitions, settings });
            }
        }
    }
    Ok(missing)
}

/// A topic for dead letters, as wide as nobody needs it to be.
pub(super) fn dead_letter_topic(name: &Arc<str>, config: &KafkaStreamsConfig) -> TopicSpec {
    let retention = i64::try_from(config.dead_letter_retention.as_millis()).unwrap_or(-1).to_string();
    let largest = clients::largest_dead_letter(config).to_string();
    let settings = vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", retention), ("max.message.bytes", largest)];
    TopicSpec { name: name.clone(), partitions: 1, settings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StoreBuilder, StringSerde, Topology};

    fn there<const N: usize>(topics: [(&str, i32); N]) -> HashMap<Arc<str>, i32> {
        topics.into_iter().map(|(topic, count)| (topic.into(), count)).collect()
    }

    fn topology() -> BuiltTopology {
        struct Keep;
        impl crate::Processor<String, String> for Keep {
            fn process(
                &mut self,
                _ctx: &mut crate::ProcessorContext<'_>,
                _record: crate::Record<String, String>,
            ) -> Result<(), crate::ProcessorError> {
                Ok(())
            }
        }
        let mut topology = Topology::new();
        topology.add_source("source", StringSerde, StringSerde, ["a", "b"]).unwrap();
        topology.add_processor("keep", || Keep, ["source"]).unwrap();
        topology.add_state_store(StoreBuilder::key_value("kept"), ["keep"]).unwrap();
        topology.add_state_store(StoreBuilder::key_value("scratch").with_logging_disabled(), ["keep"]).unwrap();
        topology.add_sink("sink", "out", StringSerde, StringSerde, ["source"]).unwrap();
        topology.build("app").unwrap()
    }

    #[test]
    fn missing_topics_are_all_named() {
        let error = repartition_topics(&topology(), &there([("a", 2)])).unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), ("kafka-topics-missing", "these topics do not exist: b, out"));
    }

    #[test]
    fn changelogs_are_compacted_and_as_wide_as_the_sub_topology() {
        let specs = changelog_topics(&topology(), &there([("a", 2), ("b", 2), ("out", 5)])).unwrap();
        assert_eq!(specs.len(), 1, "a store without logging has none");
        assert_eq!((&*specs[0].name, specs[0].partitions), ("app-kept-changelog", 2));
        assert!(specs[0].settings.contains(&("cleanup.policy", "compact".to_owned())));
        assert!(specs[0].settings.contains(&("delete.retention.ms", "86400000".to_owned())));
    }

    #[test]
    fn what_cannot_be_kept_together_and_what_does_not_fit_is_refused() {
        let error = changelog_topics(&topology(), &there([("a", 2), ("b", 3), ("out", 5)])).unwrap_err();
        assert_eq!(error.code(), "kafka-not-copartitioned");
        assert!(error.to_string().contains("a=2, b=3"), "{error}");
        let error = changelog_topics(&topology(), &there([("a", 2), ("b", 2), ("out", 5), ("app-kept-changelog", 4)])).unwrap_err();
        assert_eq!(error.code(), "kafka-partitions-differ");
    }
}
