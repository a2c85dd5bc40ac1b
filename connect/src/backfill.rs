//! A backfill's reads, in slices: never more than so many unanswered per partition, so that live ones are not buried; and which
//! reads are answered.

use crate::{error::ConnectError, requests::Requests, topics::runner_group};
use rustc_hash::FxHashMap;
use schemas::{Action, ExternalId, Read, Request};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use streams::{ConsumerRecord, Follow, ProducerRecord, TopicPartition, embedded::Append, partition_for_key};

/// Publishes the reads of a backfill (or a sweep), and knows which are answered.
///
/// A read is answered once a result of its record with a higher order is in `customers.<system>`, or the runner has committed
/// past it. (The first alone tells while another record's request is stuck before it, the second where it became a dead letter.)
pub struct Slices {
    requests: Requests,
    partitions: Vec<Unanswered>,
    /// Their results, at the same places.
    results: Follow,
    limit: usize,
}

struct Unanswered {
    requests: TopicPartition,
    /// Offset of each read that is not answered → its record.
    reads: BTreeMap<i64, String>,
    by_record: FxHashMap<String, VecDeque<i64>>,
}

/// Unanswered reads per partition.
pub const SLICE: usize = 1_000;

/// Results come with a wake-up; dead letters are noticed this much later.
const PATIENCE: Duration = Duration::from_millis(500);

impl Slices {
    /// Begins with nothing unanswered: a backfill that is resumed publishes again what its cursor does not cover.
    pub async fn new(requests: Requests) -> Result<Self, ConnectError> {
        Slices::with_limit(requests, SLICE).await
    }

    pub async fn with_limit(requests: Requests, limit: usize) -> Result<Self, ConnectError> {
        let mut ends = Vec::new();
        for partition in 0..requests.topics().partitions {
            let results = TopicPartition::new(requests.topics().customers.clone(), partition);
            let end = requests.log().end_offset(&results).await;
            ends.push(end.map_err(ConnectError::log(format!("reading {}", requests.topics().customers)))?);
        }
        Slices::seen(requests, &ends, limit).await
    }

    /// Results before `seen` are known.
    async fn seen(requests: Requests, seen: &[i64], limit: usize) -> Result<Self, ConnectError> {
        let topics = requests.topics();
        let (mut partitions, mut from) = (Vec::new(), Vec::new());
        for (partition, seen) in (0..topics.partitions).zip(seen) {
            let requests = topics.requests_at(partition);
            partitions.push(Unanswered { requests, reads: BTreeMap::new(), by_record: FxHashMap::default() });
            from.push((TopicPartition::new(topics.customers.clone(), partition), *seen));
        }
        let results = requests.log().follow(from).await.map_err(ConnectError::log(format!("reading {}", topics.customers)))?;
        Ok(Slices { requests, partitions, results, limit: limit.max(1) })
    }

    /// Instead: every read that is in `requests.<system>` by now, whoever published it. `since`: the ends of `customers.<system>` before
    /// this process's runner began; what an earlier one answered and did not commit is answered again.
    pub async fn by_now(requests: Requests, since: &[i64]) -> Result<Self, ConnectError> {
        let mut slices = Slices::seen(requests, since, SLICE).await?;
        let (log, topics, group) =
            (slices.requests.log().clone(), slices.requests.topics().clone(), runner_group(slices.requests.system()));
        let failed = || ConnectError::log(format!("reading {}", topics.requests));
        for partition in &mut slices.partitions {
            let tp = partition.requests.clone();
            let end = log.end_offset(&tp).await.map_err(failed())?;
            let from = log.next(&group, &tp).await.map_err(failed())?;
            let ask = |record: ConsumerRecord| {
                let Some(Ok(id)) = record.key.as_deref().map(std::str::from_utf8) else { return };
                let request = record.value.and_then(|value| topics.request.decode(&value).ok());
                if matches!(request, Some(Request { action: Action::Read(_) })) {
                    partition.ask(record.offset, id);
                }
            };
            log.scan(&tp, from, end, ask).await.map_err(failed())?;
        }
        Ok(slices)
    }

    /// Publishes a read of each record of a page, as soon as there is room, in one append with `others` (a cursor). `page`: what
    /// [`Source::list`](crate::Source::list) takes, where the system has list calls. A page larger than the limit goes out in parts.
    pub async fn publish(&mut self, page: Option<&str>, records: &[ExternalId], others: Vec<ProducerRecord>) -> Result<(), ConnectError> {
        let mut others = Some(others);
        let parts: Vec<&[ExternalId]> = if records.is_empty() { vec![records] } else { records.chunks(self.limit).collect() };
        for (n, part) in parts.iter().enumerate() {
            let places: Vec<usize> = part.iter().map(|id| self.place(id)).collect();
            while !self.has_room(&places) {
                self.progress().await?;
            }
            // Reads of a backfill without list calls carry a page, too: it is what tells them from live ones.
            let page = Some(page.unwrap_or_default().to_owned());
            let reads = part.iter().map(|id| self.requests.read(id, Read { notices: Vec::new(), page: page.clone() }));
            let mut append = reads.collect::<Result<Vec<_>, _>>()?;
            if n + 1 == parts.len() {
                append.extend(others.take().unwrap_or_default());
            }
            if append.is_empty() {
                continue;
            }
            let offsets = self.requests.append(Append::of(append)).await?;
            for ((id, place), offset) in part.iter().zip(places).zip(offsets) {
                self.partitions[place].ask(offset, id.as_str());
            }
        }
        Ok(())
    }

    /// How many reads are not answered yet.
    pub fn unanswered(&self) -> usize {
        self.partitions.iter().map(|partition| partition.reads.len()).sum()
    }

    /// Waits until every read is answered.
    pub async fn answered(&mut self) -> Result<(), ConnectError> {
        self.look().await?;
        while self.unanswered() > 0 {
            self.progress().await?;
        }
        Ok(())
    }

    fn place(&self, id: &ExternalId) -> usize {
        let partition = partition_for_key(id.as_str().as_bytes(), self.requests.topics().partitions);
        usize::try_from(partition).unwrap_or_default()
    }

    fn has_room(&self, places: &[usize]) -> bool {
        let mut wanted: FxHashMap<usize, usize> = FxHashMap::default();
        for place in places {
            *wanted.entry(*place).or_default() += 1;
        }
        wanted.into_iter().all(|(place, n)| {
            let unanswered = self.partitions[place].reads.len();
            unanswered == 0 || unanswered + n <= self.limit
        })
    }

    /// Waits for new results, and looks at them.
    async fn progress(&mut self) -> Result<(), ConnectError> {
        // Whatever ends the wait, everything is looked at.
        if let Ok(ready) = tokio::time::timeout(PATIENCE, self.results.ready(|_| true)).await {
            ready.map_err(ConnectError::log("watching results"))?;
        }
        self.look().await
    }

    async fn look(&mut self) -> Result<(), ConnectError> {
        let group = runner_group(self.requests.system());
        let topics = self.requests.topics().clone();
        let log = self.requests.log().clone();
        let failed = || ConnectError::log(format!("reading {}", topics.customers));
        for (n, partition) in self.partitions.iter_mut().enumerate() {
            loop {
                let records = self.results.take(n, 1_000, 1 << 20).map_err(failed())?;
                if records.is_empty() {
                    break;
                }
                for record in records {
                    let Some(Ok(key)) = record.key.as_deref().map(std::str::from_utf8) else { continue };
                    if !partition.by_record.contains_key(key) {
                        continue;
                    }
                    let order = record.value.and_then(|value| topics.customer.decode(&value).ok()).and_then(|result| result.order);
                    partition.answer(key, order.unwrap_or(0));
                }
            }
            let committed = log.committed(&group, &partition.requests).await.map_err(failed())?.unwrap_or(0);
            while let Some((offset, key)) = partition.reads.first_key_value().filter(|(offset, _)| **offset < committed) {
                let (order, key) = (offset + 1, key.clone());
                partition.answer(&key, order);
            }
        }
        Ok(())
    }
}

impl Unanswered {
    fn ask(&mut self, offset: i64, id: &str) {
        self.reads.insert(offset, id.to_owned());
        self.by_record.entry(id.to_owned()).or_default().push_back(offset);
    }

    /// Every read of the record before this order is answered.
    fn answer(&mut self, key: &str, order: i64) {
        let Some(offsets) = self.by_record.get_mut(key) else { return };
        while let Some(offset) = offsets.front().copied().filter(|offset| *offset < order) {
            offsets.pop_front();
            self.reads.remove(&offset);
        }
        if offsets.is_empty() {
            self.by_record.remove(key);
        }
    }
}
