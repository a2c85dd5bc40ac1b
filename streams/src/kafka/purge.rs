//! Repartition topics are kept for ever by the brokers: the application deletes what it has processed, as Kafka Streams does.

use std::time::Instant;

use rdkafka::{Offset, TopicPartitionList};

use super::life::Life;
use crate::TaskId;

impl Life<'_> {
    /// Deletes the committed records of repartition topics, now and then. What cannot be deleted today goes with the next ones.
    pub(super) fn purge(&mut self) {
        if self.purged.elapsed() < self.shared.config.repartition_purge_interval {
            return;
        }
        self.purged = Instant::now();
        let mut processed = TopicPartitionList::new();
        for running in &self.tasks {
            for input in
                running.inputs.iter().filter(|input| input.committed() > 0 && self.is_repartition(running.id, &input.partition.topic))
            {
                let offset = Offset::Offset(input.committed());
                if let Err(error) = processed.add_partition_offset(&input.partition.topic, input.partition.partition, offset) {
                    tracing::warn!(%error, partition = %input.partition, "A partition's processed records are not deleted.");
                }
            }
        }
        if processed.count() > 0
            && let Err(error) = self.shared.cluster.delete_before(&processed)
        {
            tracing::warn!(error_code = error.code(), %error, "Processed records stay a while longer.");
        }
    }

    fn is_repartition(&self, task: TaskId, topic: &str) -> bool {
        let topics = &self.shared.topology.subtopologies()[task.subtopology as usize].repartition_topics;
        topics.iter().any(|internal| *internal.name == *topic)
    }
}
