//! A dead letter: a record that could not be processed, as it was, with headers that say why and where from (KIP-1034).

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use streams::{ConsumerRecord, ProducerRecord, TopicPartition, dlq_headers};

/// What the name of every dead letter queue ends with.
pub const SUFFIX: &str = ".dlq";
/// What the names of the headers that tell of the error begin with.
const ERRORS: &str = "__streams.errors.";

/// Where a dead letter is, which is also its name: `customers.crm.dlq/0/17`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl Place {
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), self.partition)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let wrong = || format!("{text:?} names no dead letter; `concord dlq list` shows them, as TOPIC{SUFFIX}/PARTITION/OFFSET");
        let mut parts = text.rsplitn(3, '/');
        let (Some(offset), Some(partition), Some(topic)) = (parts.next(), parts.next(), parts.next()) else { return Err(wrong()) };
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| number.to_string() == text);
        let partition = number(partition).and_then(|number| i32::try_from(number).ok()).ok_or_else(wrong)?;
        let offset = offset.parse::<i64>().ok().filter(|number| *number >= 0 && number.to_string() == offset).ok_or_else(wrong)?;
        match topic.strip_suffix(SUFFIX) {
            Some(of) if !of.is_empty() => Ok(Place { topic: topic.to_owned(), partition, offset }),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Place, String> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> String {
        place.to_string()
    }
}

/// A record of a dead letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter(pub ConsumerRecord);

impl Letter {
    pub fn place(&self) -> Place {
        Place { topic: self.0.topic.to_string(), partition: self.0.partition, offset: self.0.offset }
    }

    /// The error's class: a code, or the name of an exception.
    pub fn class(&self) -> &str {
        self.0.headers.text(dlq_headers::EXCEPTION).unwrap_or_default()
    }

    pub fn message(&self) -> &str {
        self.0.headers.text(dlq_headers::MESSAGE).unwrap_or_default()
    }

    /// Where the record was when it failed: partition and offset.
    pub fn origin(&self) -> Option<(TopicPartition, i64)> {
        let text = |name| self.0.headers.text(name);
        let tp = TopicPartition::new(text(dlq_headers::TOPIC)?, text(dlq_headers::PARTITION)?.parse().ok()?);
        Some((tp, text(dlq_headers::OFFSET)?.parse().ok()?))
    }

    /// The record as it was before it failed, for the place where it was; `None`: it does not say where.
    pub fn again(&self) -> Option<ProducerRecord> {
        let ConsumerRecord { timestamp, key, value, headers, .. } = &self.0;
        let (TopicPartition { topic, partition }, _) = self.origin()?;
        let headers = headers.iter().filter(|header| !header.key.starts_with(ERRORS)).cloned().collect::<Vec<_>>().into();
        Some(ProducerRecord { topic, partition: Some(partition), key: key.clone(), value: value.clone(), timestamp: *timestamp, headers })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use streams::Headers;

    /// A dead letter of `customers.crm`.
    pub fn letter(partition: i32, offset: i64, timestamp: i64, class: &str, message: &str) -> Letter {
        let mut headers = Headers::new();
        headers.add("trace", "7").add(dlq_headers::EXCEPTION, class.to_owned()).add(dlq_headers::MESSAGE, message.to_owned());
        headers.add(dlq_headers::TOPIC, "customers.crm").add(dlq_headers::PARTITION, partition.to_string());
        headers.add(dlq_headers::OFFSET, (offset + 100).to_string()).add("trace", "8");
        let (topic, key, value) = ("customers.crm.dlq".into(), Some("ada".into()), Some("junk".into()));
        Letter(ConsumerRecord { topic, partition, offset, timestamp, key, value, headers })
    }

    #[test]
    fn a_place_is_read_as_it_is_shown() {
        let place = letter(3, 17, 0, "", "").place();
        assert_eq!(place.to_string(), "customers.crm.dlq/3/17");
        assert_eq!("customers.crm.dlq/3/17".parse(), Ok(place));
        for wrong in
            ["", "x", "customers.crm/0/1", ".dlq/0/1", "a.dlq/0", "a.dlq/-1/0", "a.dlq/0/-1", "a.dlq/0/01", "a.dlq/+0/1", "a.dlq/0/x"]
        {
            assert!(wrong.parse::<Place>().unwrap_err().contains("concord dlq list"), "{wrong}");
        }
    }

    #[test]
    fn a_record_goes_back_as_it_was_and_without_the_error() {
        let again = letter(3, 17, 70, "CONCORD-T004", "no value").again().unwrap();
        assert_eq!((&*again.topic, again.partition, again.timestamp), ("customers.crm", Some(3), 70));
        assert_eq!((again.key.as_deref(), again.value.as_deref()), (Some(&b"ada"[..]), Some(&b"junk"[..])));
        let headers: Vec<_> = again.headers.iter().map(|header| (&*header.key, header.value.as_deref().unwrap())).collect();
        assert_eq!(headers, [("trace", &b"7"[..]), ("trace", &b"8"[..])]);
    }

    #[test]
    fn a_record_that_does_not_say_where_it_was_cannot_go_back() {
        let mut letter = letter(3, 17, 70, "", "");
        letter.0.headers.remove(dlq_headers::PARTITION);
        assert_eq!((letter.origin(), letter.again()), (None, None));
    }
}
