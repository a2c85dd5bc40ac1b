//! Committed records of partitions of one topic, on their way from a consumer to who takes them.
//!
//! Memory is bounded: a partition whose queue is full is paused, and what librdkafka has fetched of it already is fetched again later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::sync::Notify;

use super::super::clients::Plain;
use super::super::receive;
use super::aside::Aside;
use super::brokers::Brokers;
use super::{clients, ends, error};
use crate::ConsumerRecord;
use crate::embedded::LogError;

/// A partition is paused when it has so many records queued, or so many bytes …
pub(super) const PAUSE_AT: usize = 2_000;
const PAUSE_AT_BYTES: usize = 2 << 20;
/// … until it has fewer than this.
const RESUME_AT: usize = 500;
const RESUME_AT_BYTES: usize = 512 << 10;
/// Errors come without notice: it is looked for them this often.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Reading {
    topic: Arc<str>,
    consumer: Aside<BaseConsumer<Plain>>,
    news: Arc<Notify>,
    places: Vec<Place>,
}

struct Place {
    partition: i32,
    queue: VecDeque<ConsumerRecord>,
    bytes: usize,
    /// Lowest offset that may be queued next.
    next: i64,
    /// Lowest offset that may be taken next.
    position: i64,
    paused: bool,
    /// Nothing was left behind what is queued when the consumer last looked.
    ended: bool,
}

impl Place {
    fn is_full(&self) -> bool {
        self.queue.len() >= PAUSE_AT || self.bytes >= PAUSE_AT_BYTES
    }

    fn has_room(&self) -> bool {
        self.queue.len() < RESUME_AT && self.bytes < RESUME_AT_BYTES
    }
}

impl Reading {
    /// Begins to read partitions, each from an offset on: from the first that is left, if retention removed it. `hurried`: the end is
    /// told as soon as it is reached. `news` hears when there is something to pump.
    pub(super) fn begin(
        brokers: &Brokers,
        topic: &Arc<str>,
        from: &[(i32, i64)],
        news: &Arc<Notify>,
        hurried: bool,
    ) -> Result<Reading, LogError> {
        let failed = |error: KafkaError| error::of_call(&format!("beginning to read {topic}"), &error);
        let mut consumer = clients::reader(&brokers.for_clients, hurried)?;
        let notify = news.clone();
        consumer.set_nonempty_callback(move || notify.notify_one());
        let mut list = TopicPartitionList::with_capacity(from.len());
        for (partition, offset) in from {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).map_err(failed)?;
        }
        consumer.assign(&list).map_err(failed)?;
        let place = |(partition, from): &(i32, i64)| Place {
            partition: *partition,
            queue: VecDeque::new(),
            bytes: 0,
            next: *from,
            position: *from,
            paused: false,
            ended: false,
        };
        let places = from.iter().map(place).collect();
        Ok(Reading { topic: topic.clone(), consumer: Aside::new(consumer), news: news.clone(), places })
    }

    /// Waits until there may be something to [`pump`](Self::pump).
    pub(super) async fn news(news: &Notify) {
        // That it did not come in time is no error.
        let _ = tokio::time::timeout(LOOK, news.notified()).await;
    }

    /// Queues what the consumer has.
    pub(super) fn pump(&mut self) -> Result<(), LogError> {
        let Reading { topic, consumer, places, .. } = self;
        let place_of = |places: &[Place], partition| places.iter().position(|place| place.partition == partition);
        loop {
            match consumer.poll(Duration::ZERO) {
                None => return Ok(()),
                Some(Ok(message)) => {
                    let Some(place) = place_of(places, message.partition()) else { continue };
                    places[place].offer(&message, topic);
                    if !places[place].paused && places[place].is_full() {
                        let of_one = one(topic, places[place].partition);
                        consumer.pause(&of_one).map_err(|error| error::of_call(&format!("pausing {topic}"), &error))?;
                        places[place].paused = true;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(place) = place_of(places, partition) {
                        places[place].ended = true;
                    }
                }
                Some(Err(error)) if error::is_refusal(&error) => return Err(error::of_call(&format!("reading {topic}"), &error)),
                // librdkafka goes on by itself.
                Some(Err(error)) => tracing::debug!(%error, topic = &**topic, "The reader of a topic reports an error."),
            }
        }
    }

    /// What is queued of a place: at most `max_records`, and no more once `max_bytes` are reached.
    pub(super) fn take(&mut self, place: usize, max_records: usize, max_bytes: usize) -> Result<Vec<ConsumerRecord>, LogError> {
        let Some(at) = self.places.get_mut(place) else { return Ok(Vec::new()) };
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < max_records && bytes < max_bytes {
            let Some(record) = at.queue.pop_front() else { break };
            let size = size_of(&record);
            at.bytes -= size;
            at.position = record.offset + 1;
            bytes += size;
            taken.push(record);
        }
        self.resume(place)?;
        Ok(taken)
    }

    /// Passes over everything of a place that the brokers have told of.
    pub(super) fn pass(&mut self, place: usize) -> Result<(), LogError> {
        let end = self.end(place);
        let Reading { topic, consumer, places, .. } = self;
        let Some(at) = places.get_mut(place) else { return Ok(()) };
        if let Some(end) = end
            && end > at.next
        {
            let failed = |error: KafkaError| error::of_call(&format!("passing over records of {topic}"), &error);
            // Without a wait: what still comes of the old place is passed over by its offset.
            consumer.seek(topic, at.partition, Offset::Offset(end), Duration::ZERO).map_err(failed)?;
            (at.next, at.ended) = (end, true);
        }
        at.queue.clear();
        (at.bytes, at.position) = (0, at.next);
        self.resume(place)
    }

    fn resume(&mut self, place: usize) -> Result<(), LogError> {
        let at = &mut self.places[place];
        if at.paused && at.has_room() {
            let resumed: KafkaResult<()> = self.consumer.resume(&one(&self.topic, at.partition));
            resumed.map_err(|error| error::of_call(&format!("going on with {}", self.topic), &error))?;
            at.paused = false;
            // What comes of it may be there before anybody waits for it.
            self.news.notify_one();
        }
        Ok(())
    }

    pub(super) fn has_queued(&self, place: usize) -> bool {
        self.queued(place) > 0
    }

    pub(super) fn queued(&self, place: usize) -> usize {
        self.places.get(place).map_or(0, |place| place.queue.len())
    }

    /// Whether everything was taken, and nothing was left when the consumer last looked.
    pub(super) fn is_over(&self, place: usize) -> bool {
        self.places.get(place).is_some_and(|place| place.ended && place.queue.is_empty())
    }

    /// Lowest offset that may be taken next.
    pub(super) fn position(&self, place: usize) -> i64 {
        self.places.get(place).map_or(0, |place| place.position)
    }

    /// The end, ends of transactions included, as the last fetch told it.
    pub(super) fn end(&self, place: usize) -> Option<i64> {
        ends::last_told(&self.consumer, &self.topic, self.places.get(place)?.partition)
    }

    /// Has the end of this place told again; whether that is under way.
    pub(super) fn look_again(&mut self, place: usize) -> bool {
        let at = &mut self.places[place];
        // It cannot go where it is while librdkafka looks for a new leader, say.
        let looks = self.consumer.seek(&self.topic, at.partition, Offset::Offset(at.next), Duration::ZERO).is_ok();
        at.ended &= !looks;
        looks
    }
}

impl Place {
    fn offer(&mut self, message: &BorrowedMessage<'_>, topic: &Arc<str>) {
        // Behind an end that does not exist any more, librdkafka begins at the beginning.
        if message.offset() < self.next {
            return;
        }
        let record = receive::record(message, topic);
        self.next = record.offset + 1;
        self.bytes += size_of(&record);
        self.ended = false;
        self.queue.push_back(record);
    }
}

fn one(topic: &str, partition: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    list
}

/// Bytes that a record holds in memory, roughly.
fn size_of(record: &ConsumerRecord) -> usize {
    let headers: usize = record.headers.iter().map(|header| header.key.len() + header.value.as_ref().map_or(0, |value| value.len())).sum();
    record.key.as_ref().map_or(0, |key| key.len()) + record.value.as_ref().map_or(0, |value| value.len()) + headers + 96
}
