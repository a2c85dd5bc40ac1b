//! The commit: what the tasks read, wrote and changed since the last one becomes visible at once, or not at all.
//!
//! At least once it becomes visible in this order: outputs and changelogs, local stores, offsets. Whatever ends it in between, the stores
//! know what the group's offsets have passed, and maybe more; the tasks are opened anew, from offsets and changelogs as they are then.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use rustc_hash::FxHashMap;

use super::error::Halt;
use super::life::Life;
use super::local_store::Position;
use super::running::{Running, now_ms};
use super::transactions::Slot;
use super::{KafkaStreamsError, ProcessingGuarantee, fail_point, progress, refusal};
use crate::{Headers, ProducerRecord, StoreChanges, Task};

/// How long offsets that were not taken, and may be soon, are committed again.
const COMMIT_AGAIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

impl Life<'_> {
    /// Whether it is time: when all input is processed, after the pause that the last commit's cost asks for; else after the commit
    /// interval.
    pub(super) fn must_commit(&self, drained: bool) -> bool {
        let now = Instant::now();
        let idle = drained && now >= self.last_commit + self.commit_pause;
        (idle || now >= self.last_commit + self.shared.config.commit_interval) && self.has_uncommitted()
    }

    pub(super) fn has_uncommitted(&self) -> bool {
        let needs = |running: &Running| running.has_uncommitted() || running.task.as_ref().is_some_and(Task::needs_before_commit);
        self.output.is_open() || self.tasks.iter().any(needs)
    }

    /// Commits everything since the last commit, if there is anything.
    pub(super) fn commit(&mut self) -> Result<(), Halt> {
        let started = Instant::now();
        for index in 0..self.tasks.len() {
            if self.tasks[index].task.as_ref().is_some_and(Task::needs_before_commit) {
                self.call(index, |task, env| task.before_commit(env))?;
            }
        }
        if !self.output.is_open() && !self.tasks.iter().any(Running::has_uncommitted) {
            return Ok(());
        }
        let mut offsets = self.offsets()?;
        if fail_point::breaks("offsets-with-the-outputs") {
            self.commit_offsets(&offsets)?;
            offsets = TopicPartitionList::new();
        }
        let guarantee = self.shared.config.processing_guarantee;
        if guarantee == ProcessingGuarantee::ExactlyOnceV2 {
            // The group's generation as it is now: with an older one the broker would refuse the offsets, and so the transaction.
            let group = self.consumer.group_metadata().ok_or_else(|| KafkaStreamsError::invariant("the consumer has no group"))?;
            self.output.transactions.add_offsets(vec![(offsets.clone(), group)])?;
        }
        fail_point::reached("before the outputs");
        self.output.hand_over()?;
        fail_point::reached("before the changelogs");
        self.write_changelogs()?;
        match guarantee {
            ProcessingGuarantee::ExactlyOnceV2 => {
                let ends = self.output.transactions.commit()?;
                fail_point::reached("after committing");
                self.apply(&ends)?;
                fail_point::reached("after the local stores");
            }
            ProcessingGuarantee::AtLeastOnce => {
                let ends = self.output.transactions.acknowledge()?;
                fail_point::reached("after the acknowledgements");
                self.apply(&ends)?;
                fail_point::reached("after the local stores");
                self.commit_offsets(&offsets)?;
                fail_point::reached("after the offsets");
            }
        }
        self.note_commit(started);
        metrics::counter!("kafka_stream_thread_commit_total").increment(1);
        metrics::histogram!("kafka_stream_thread_commit_latency_seconds").record(started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Writes the last change of each key of each store to the store's changelog.
    fn write_changelogs(&mut self) -> Result<(), Halt> {
        for running in self.tasks.iter().filter(|running| running.worked) {
            let Some(task) = &running.task else { continue };
            for changes in task.changes() {
                let Some(changelog) = running.changelogs.iter().find(|changelog| changelog.store == changes.store.index) else { continue };
                for (key, value) in changes.entries() {
                    let record = ProducerRecord {
                        topic: changelog.topic.clone(),
                        partition: None,
                        key: Some(key.clone()),
                        value: value.clone(),
                        timestamp: task.stream_time().max(0),
                        headers: Headers::new(),
                    };
                    self.output.write_changelog(running.id, &record, changelog.slot)?;
                }
            }
        }
        Ok(())
    }

    /// Where the group goes on after this commit, with the stream time of each task.
    fn offsets(&self) -> Result<TopicPartitionList, KafkaStreamsError> {
        let mut list = TopicPartitionList::new();
        for running in self.tasks.iter().filter(|running| running.worked) {
            for (input, next) in running.offsets() {
                let mut element = list.add_partition(&input.partition.topic, input.partition.partition);
                element.set_offset(Offset::Offset(next)).map_err(|error| KafkaStreamsError::broker("setting an offset", error))?;
                element.set_metadata(progress::metadata(running.stream_time()));
            }
        }
        match list.count() {
            // Only offsets tell the broker who commits: without any, a member that lost its partitions could still write.
            0 => Err(KafkaStreamsError::invariant("a transaction without offsets")),
            _ => Ok(list),
        }
    }

    /// Commits offsets without a transaction. Again where that is safe: while the group's generation is the same, an offset that is
    /// committed twice is the same offset. Where it is not taken, the tasks are opened anew, from what is.
    fn commit_offsets(&self, offsets: &TopicPartitionList) -> Result<(), Halt> {
        if offsets.count() == 0 {
            // A test has committed them before.
            return Ok(());
        }
        let deadline = Instant::now() + COMMIT_AGAIN;
        loop {
            let Err(error) = self.consumer.commit(offsets, CommitMode::Sync) else { return Ok(()) };
            refusal::of_group(&self.shared.config, &error).map_or(Ok(()), Err)?;
            if refusal::is_of_topic(&error) {
                let topics = self.shared.topology.source_topics().map(|topic| &**topic);
                return Err(refusal::unreadable(&self.shared.config, &self.probe_id(), topics).into());
            }
            if !is_passing(&error) || Instant::now() > deadline {
                return Err(Halt::Renew(format!("committing offsets: {error}")));
            }
            tracing::debug!(%error, "Committing offsets again.");
            thread::sleep(PAUSE);
        }
    }

    /// The local stores follow what is committed.
    fn apply(&mut self, ends: &FxHashMap<Slot, i64>) -> Result<(), KafkaStreamsError> {
        let now = now_ms();
        for running in self.tasks.iter_mut().filter(|running| running.worked) {
            let Some(task) = &running.task else { continue };
            let changes: Vec<StoreChanges<'_>> = task.changes().collect();
            if !changes.is_empty() {
                let mut positions = Vec::with_capacity(changes.len());
                for changelog in &running.changelogs {
                    if changes.iter().any(|changes| changes.store.index == changelog.store) {
                        let Some(last) = ends.get(&changelog.slot) else {
                            return Err(KafkaStreamsError::invariant(format!("no offset came back from {}", changelog.topic)));
                        };
                        positions.push((changelog.store, Position { next: last + 1, as_of: now }));
                    }
                }
                fail_point::reached("before a local store");
                running.local.commit(&changes, &positions)?;
                fail_point::reached("after a local store");
            }
            drop(changes);
            if running.has_uncommitted() {
                self.shared.forgive(running.id);
            }
            running.committed();
        }
        Ok(())
    }
}

/// Whether the same offsets may be taken soon: the coordinator is on its way, or has told the group of a newer epoch that this member, which
/// still has its partitions, has not heard of yet.
fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        BrokerTransportFailure, CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator, OperationTimedOut, RequestTimedOut,
        StaleMemberEpoch, WaitingForCoordinator,
    };
    matches!(
        error.rdkafka_error_code(),
        Some(
            BrokerTransportFailure
                | CoordinatorLoadInProgress
                | CoordinatorNotAvailable
                | NotCoordinator
                | OperationTimedOut
                | RequestTimedOut
                | StaleMemberEpoch
                | WaitingForCoordinator
        )
    )
}
