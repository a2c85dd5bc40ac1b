//! Appends that become one transaction.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::super::transactions::{TransactionError, Transactions};
use super::super::{KafkaStreamsError, refusal};
use super::brokers::Brokers;
use super::queue::Pending;
use super::{KafkaLogError, error};
use crate::TopicPartition;
use crate::embedded::LogError;

/// A transaction holds at most so many records, or so many bytes and one append.
const MOST_RECORDS: usize = 5_000;
const MOST_BYTES: usize = 8 << 20;
/// Pauses after a transaction that was aborted: they double.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Appends in the order in which they came. Each is in the transaction as a whole, or answered with an error.
#[derive(Default)]
pub(super) struct Round {
    appends: Vec<Pending>,
    records: usize,
    bytes: usize,
}

/// What became of one attempt, if not what was wanted.
enum Attempt {
    /// Some appends were answered; the others are to be tried again, after a pause if none was.
    Again { reason: String, at_once: bool },
    /// Nobody knows what became of it, or another owner is there: nothing may be written any more.
    Over(String),
}

impl Round {
    pub(super) fn push(&mut self, pending: Pending) {
        self.records += pending.append.records.len();
        self.bytes += pending.append.size();
        self.appends.push(pending);
    }

    pub(super) fn is_full(&self) -> bool {
        self.records >= MOST_RECORDS || self.bytes >= MOST_BYTES
    }

    /// Writes it and answers. An error is the end of the ownership; what is still in it then is answered by being dropped.
    ///
    /// `held` says whether this process still owns the name; asked between attempts.
    pub(super) fn write(
        &mut self,
        brokers: &Brokers,
        transactions: &mut Transactions,
        mut held: impl FnMut() -> Result<(), String>,
    ) -> Result<(), String> {
        let deadline = Instant::now() + brokers.config.api_timeout;
        let mut pause = FIRST_PAUSE;
        while !self.appends.is_empty() {
            let (reason, at_once) = match self.attempt(brokers, transactions) {
                Ok(()) => return Ok(()),
                Err(Attempt::Over(reason)) => return Err(reason),
                Err(Attempt::Again { reason, at_once }) => (reason, at_once),
            };
            metrics::counter!("kafka_log_transactions_aborted_total").increment(1);
            if Instant::now() > deadline {
                tracing::warn!(reason, "Appends are given up: no transaction of theirs was committed.");
                let error: LogError = KafkaLogError::Away { action: "appending".to_owned(), reason }.into();
                std::mem::take(&mut self.appends).into_iter().for_each(|pending| pending.answer(Err(error.clone())));
                return Ok(());
            }
            tracing::debug!(reason, "A transaction was aborted; it is tried again.");
            if !at_once {
                std::thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            held()?;
        }
        Ok(())
    }

    fn attempt(&mut self, brokers: &Brokers, transactions: &mut Transactions) -> Result<(), Attempt> {
        let groups = self.groups(brokers).map_err(|error| Attempt::Again { reason: error.to_string(), at_once: false })?;
        if self.records == 0 && groups.is_empty() {
            std::mem::take(&mut self.appends).into_iter().for_each(|pending| pending.answer(Ok(Vec::new())));
            return Ok(());
        }
        let outcome = transactions
            .add_offsets(groups)
            .map_err(|error| (None, error))
            .and_then(|()| self.send(transactions).map_err(|(append, error)| (Some(append), error)))
            .and_then(|()| transactions.commit().map_err(|error| (None, error)));
        let (append, error) = match outcome {
            Ok(offsets) => {
                return match self.answer(|slot| offsets.get(&slot).copied()) {
                    true => Ok(()),
                    false => Err(Attempt::Over("a committed record has no offset".to_owned())),
                };
            }
            Err(failure) => failure,
        };
        if let TransactionError::Renew(reason) = error {
            return Err(Attempt::Over(reason));
        }
        transactions.abort().map_err(|error| Attempt::Over(error.to_string()))?;
        let mut refused = self.refused(transactions.failed());
        if let (Some(append), TransactionError::Refused(reason)) = (append, &error) {
            refused.insert(append, LogError::Invalid { what: "record of an append".to_owned(), reason: reason.clone() });
        }
        if let TransactionError::Denied(denied) = &error {
            refused.extend(self.denied(denied));
        }
        let at_once = !refused.is_empty();
        self.give_up(refused);
        Err(Attempt::Again { reason: error.to_string(), at_once })
    }

    /// Hands all records over, numbered from 1 on; else which append has one that was not taken.
    fn send(&self, transactions: &mut Transactions) -> Result<(), (usize, TransactionError)> {
        let mut slot = 0;
        for (n, pending) in self.appends.iter().enumerate() {
            for (record, partition) in pending.append.records.iter().zip(&pending.placed.0) {
                slot += 1;
                transactions.send(record, *partition, slot).map_err(|error| (n, error))?;
            }
        }
        Ok(())
    }

    /// The offsets that the groups get: of two for the same partition the later one.
    fn groups(&self, brokers: &Brokers) -> Result<Vec<(TopicPartitionList, ConsumerGroupMetadata)>, LogError> {
        let mut groups: BTreeMap<&str, BTreeMap<(&str, i32), i64>> = BTreeMap::new();
        for (group, TopicPartition { topic, partition }, next) in self.appends.iter().flat_map(|pending| &pending.append.offsets) {
            groups.entry(group).or_default().insert((topic, *partition), *next);
        }
        let mut lists = Vec::with_capacity(groups.len());
        for (group, offsets) in groups {
            let mut list = TopicPartitionList::with_capacity(offsets.len());
            for ((topic, partition), next) in offsets {
                let added = list.add_partition_offset(topic, partition, Offset::Offset(next));
                added.map_err(|error| error::of_call("setting an offset", &error))?;
            }
            lists.push((list, brokers.group_metadata(group)?));
        }
        Ok(lists)
    }

    /// Answers all with the offsets of their records; false: one is missing.
    #[must_use]
    fn answer(&mut self, offset: impl Fn(usize) -> Option<i64>) -> bool {
        let mut slot = 0;
        for pending in std::mem::take(&mut self.appends) {
            let slots = slot + 1..=slot + pending.append.records.len();
            slot += pending.append.records.len();
            match slots.map(&offset).collect::<Option<Vec<i64>>>() {
                Some(offsets) => pending.answer(Ok(offsets)),
                None => return false,
            }
        }
        true
    }

    /// Appends with a record that the brokers will never take.
    fn refused(&self, failed: Vec<(usize, KafkaError)>) -> BTreeMap<usize, LogError> {
        let mut refused = BTreeMap::new();
        for (slot, error) in failed {
            let mut last = 0;
            let found = self.appends.iter().enumerate().find_map(|(n, pending)| {
                let first = last + 1;
                last += pending.append.records.len();
                (slot <= last).then(|| (n, &pending.append.records[slot - first]))
            });
            if let Some((append, record)) = found
                && let Some(error) = error::of_record(&record.topic, &error)
            {
                refused.entry(append).or_insert(error);
            }
        }
        refused
    }

    /// Appends that need a right that is missing: those that write the topic that is named, else all.
    fn denied(&self, denied: &KafkaStreamsError) -> BTreeMap<usize, LogError> {
        let writes = |pending: &Pending| match denied {
            KafkaStreamsError::Unauthorized { resource, .. } => {
                pending.append.records.iter().any(|record| *resource == refusal::topic_named(&record.topic))
            }
            _ => false,
        };
        let any = self.appends.iter().any(writes);
        let concerned = self.appends.iter().enumerate().filter(|(_, pending)| !any || writes(pending));
        let refused = || KafkaLogError::Refused { action: "appending".to_owned(), reason: denied.to_string() }.into();
        concerned.map(|(n, _)| (n, refused())).collect()
    }

    fn give_up(&mut self, mut refused: BTreeMap<usize, LogError>) {
        let appends = std::mem::take(self).appends;
        for (n, pending) in appends.into_iter().enumerate() {
            match refused.remove(&n) {
                Some(error) => pending.answer(Err(error)),
                None => self.push(pending),
            }
        }
    }
}
