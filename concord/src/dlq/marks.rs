//! What was dealt with: a record in the compacted topic `_concord.dlq` for each such dead letter, with its place as the key.

use super::letter::Place;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, fmt};
use streams::{ConsumerRecord, ProducerRecord};

/// Where marks are kept. It has one partition.
pub const MARKS: &str = "_concord.dlq";

/// How a dead letter was dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub outcome: Outcome,
    /// When, in milliseconds since the Unix epoch.
    pub at: i64,
    /// Why it was discarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Retried,
    Discarded,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Retried => "retried",
            Outcome::Discarded => "discarded",
        })
    }
}

impl Mark {
    /// The record that marks a dead letter.
    pub fn record(&self, place: &Place) -> Result<ProducerRecord, serde_json::Error> {
        let value = serde_json::to_vec(self)?;
        Ok(ProducerRecord::new(MARKS, place.to_string(), value).with_partition(0).with_timestamp(self.at))
    }

    /// The record that takes the mark back: its dead letter is no longer there.
    pub fn forgotten(place: &Place, now: i64) -> ProducerRecord {
        ProducerRecord::tombstone(MARKS, place.to_string()).with_partition(0).with_timestamp(now)
    }
}

/// All marks, as far as they were read.
#[derive(Debug, Default)]
pub struct Marks {
    marks: HashMap<Place, Mark>,
    next: i64,
}

/// A record of [`MARKS`] that is none of ours, or of a newer program.
#[derive(Debug, thiserror::Error)]
#[error("{MARKS}, offset {offset}: not a mark of a dead letter ({reason}); nothing is dealt with while it cannot be read")]
pub struct Unreadable {
    offset: i64,
    reason: String,
}

impl Marks {
    /// Offset of the first record of [`MARKS`] that was not read yet.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// The dead letter that the record is about.
    pub fn read(&mut self, record: &ConsumerRecord) -> Result<Place, Unreadable> {
        let unreadable = |reason: String| Unreadable { offset: record.offset, reason };
        let key = std::str::from_utf8(record.key.as_deref().unwrap_or_default()).map_err(|error| unreadable(error.to_string()))?;
        let place: Place = key.parse().map_err(unreadable)?;
        match &record.value {
            None => self.marks.remove(&place),
            Some(value) => {
                let mark = serde_json::from_slice(value).map_err(|error| unreadable(error.to_string()))?;
                self.marks.insert(place.clone(), mark)
            }
        };
        self.next = record.offset + 1;
        Ok(place)
    }

    pub fn of(&self, place: &Place) -> Option<&Mark> {
        self.marks.get(place)
    }

    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.marks.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streams::Headers;

    fn record(offset: i64, record: ProducerRecord) -> ConsumerRecord {
        let ProducerRecord { topic, key, value, timestamp, .. } = record;
        ConsumerRecord { topic, partition: 0, offset, timestamp, key, value, headers: Headers::new() }
    }

    #[test]
    fn a_mark_stays_until_its_dead_letter_is_gone() {
        let place: Place = "customers.crm.dlq/0/17".parse().unwrap();
        let mark = Mark { outcome: Outcome::Discarded, at: 70, reason: Some("a test of theirs".into()) };
        let mut marks = Marks::default();
        marks.read(&record(4, mark.record(&place).unwrap())).unwrap();
        assert_eq!((marks.of(&place), marks.next()), (Some(&mark), 5));
        assert_eq!(marks.of(&"customers.crm.dlq/0/18".parse().unwrap()), None);
        marks.read(&record(9, Mark::forgotten(&place, 80))).unwrap();
        assert_eq!((marks.of(&place), marks.next()), (None, 10));
    }

    #[test]
    fn what_cannot_be_read_is_not_passed_over() {
        let mut marks = Marks::default();
        let foreign = record(3, ProducerRecord::new(MARKS, "customers.crm.dlq/0/17", "{\"outcome\":\"undone\",\"at\":1}"));
        assert!(marks.read(&foreign).unwrap_err().to_string().contains("offset 3"));
        assert_eq!(marks.next(), 0);
    }
}
