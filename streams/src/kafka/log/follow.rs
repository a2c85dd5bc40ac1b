//! Partitions as they grow.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

use super::brokers::{Brokers, apart, missing};
use super::reading::Reading;
use crate::embedded::LogError;
use crate::{ConsumerRecord, TopicPartition};

/// Committed records of some partitions as they come, each partition in order. A partition is called by its place in the list that it
/// was begun with.
///
/// Memory is bounded: what nobody takes is not fetched any further.
pub struct Follow {
    /// One for each topic.
    readings: Vec<Reading>,
    places: Vec<(usize, usize)>,
    news: Arc<Notify>,
}

impl Follow {
    pub(super) async fn begin(brokers: &Arc<Brokers>, from: Vec<(TopicPartition, i64)>) -> Result<Follow, LogError> {
        let topics = apart(brokers, Brokers::topics).await?;
        if let Some(error) = from.iter().find_map(|(tp, _)| missing(&topics, tp)) {
            return Err(error);
        }
        let mut by_topic: BTreeMap<Arc<str>, Vec<(i32, i64)>> = BTreeMap::new();
        let mut places = Vec::with_capacity(from.len());
        for (tp, offset) in from {
            let of_topic = by_topic.entry(tp.topic.clone()).or_default();
            of_topic.push((tp.partition, offset));
            places.push((tp.topic, of_topic.len() - 1));
        }
        let places = places.into_iter().map(|(topic, place)| (by_topic.range(..topic).count(), place)).collect();
        let news = Arc::new(Notify::new());
        let begin = |(topic, from): (&Arc<str>, &Vec<(i32, i64)>)| Reading::begin(brokers, topic, from, &news, false);
        let readings = by_topic.iter().map(begin).collect::<Result<_, _>>()?;
        Ok(Follow { readings, places, news })
    }

    /// Waits until one of the wanted places has a record; for ever if none is wanted. May be dropped and called again.
    pub async fn ready(&mut self, wanted: impl Fn(usize) -> bool) -> Result<(), LogError> {
        let wanted: Vec<_> = self.places.iter().enumerate().filter(|(n, _)| wanted(*n)).map(|(_, place)| *place).collect();
        if wanted.is_empty() {
            return std::future::pending().await;
        }
        loop {
            self.pump()?;
            if wanted.iter().any(|(reading, place)| self.readings[*reading].has_queued(*place)) {
                return Ok(());
            }
            Reading::news(&self.news).await;
        }
    }

    /// What is here of a place's next records: at most `max_records`, and no more once `max_bytes` are reached. Never waits.
    pub fn take(&mut self, place: usize, max_records: usize, max_bytes: usize) -> Result<Vec<ConsumerRecord>, LogError> {
        let Some((reading, place)) = self.places.get(place).copied() else { return Ok(Vec::new()) };
        let reading = &mut self.readings[reading];
        if !reading.has_queued(place) {
            reading.pump()?;
        }
        reading.take(place, max_records, max_bytes)
    }

    /// Passes over what is here of a place.
    pub fn pass(&mut self, place: usize) -> Result<(), LogError> {
        let Some((reading, place)) = self.places.get(place).copied() else { return Ok(()) };
        self.readings[reading].pass(place)
    }

    /// Where a place goes on: behind the last record that was taken.
    pub fn position(&self, place: usize) -> i64 {
        self.places.get(place).map_or(0, |(reading, place)| self.readings[*reading].position(*place))
    }

    /// About how many records of a place are not taken yet, by what the brokers last told. Ends of transactions count, but for those
    /// behind the last record.
    pub fn backlog(&self, place: usize) -> i64 {
        let Some((reading, place)) = self.places.get(place) else { return 0 };
        let reading = &self.readings[*reading];
        if reading.is_over(*place) {
            return 0;
        }
        let queued = i64::try_from(reading.queued(*place)).unwrap_or(i64::MAX);
        reading.end(*place).map_or(0, |end| end - reading.position(*place)).max(queued)
    }

    /// How many records of all places are held in memory, but for what librdkafka holds itself.
    pub fn held(&self) -> usize {
        self.places.iter().map(|(reading, place)| self.readings[*reading].queued(*place)).sum()
    }

    fn pump(&mut self) -> Result<(), LogError> {
        self.readings.iter_mut().try_for_each(Reading::pump)
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("places", &self.places.len()).finish_non_exhaustive()
    }
}
