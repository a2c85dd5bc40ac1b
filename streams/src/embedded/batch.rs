//! Records of one partition that lie together in one row, as Kafka keeps them.
//!
//! Layout: 1 (the layout's version), then for each record: offset (the first absolute, then the difference), timestamp (likewise), length of
//! the key + 1 (0: null) and the key, the same for the value, length of the headers and the headers.

use bytes::Bytes;

use super::{LogError, headers, varint};
use crate::{ConsumerRecord, Headers, TopicPartition};

const VERSION: u8 = 1;
/// A batch is closed when it is this long.
const FULL: usize = 32 << 10;

/// Puts a batch together.
#[derive(Debug, Default)]
pub(super) struct BatchBuilder {
    blob: Vec<u8>,
    headers: Vec<u8>,
    offset: i64,
    timestamp: i64,
}

/// The parts of a record that a batch holds.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a Headers,
}

impl BatchBuilder {
    pub(super) fn is_empty(&self) -> bool {
        self.blob.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.blob.len() >= FULL
    }

    /// Offset of the last record.
    pub(super) fn last(&self) -> i64 {
        self.offset
    }

    pub(super) fn blob(&self) -> &[u8] {
        &self.blob
    }

    pub(super) fn clear(&mut self) {
        self.blob.clear();
        self.offset = 0;
        self.timestamp = 0;
    }

    /// Adds a record; offsets ascend.
    pub(super) fn push(&mut self, entry: Entry<'_>) {
        if self.blob.is_empty() {
            self.blob.push(VERSION);
        }
        varint::put_signed(&mut self.blob, entry.offset - self.offset);
        varint::put_signed(&mut self.blob, entry.timestamp.wrapping_sub(self.timestamp));
        self.offset = entry.offset;
        self.timestamp = entry.timestamp;
        for part in [entry.key, entry.value] {
            match part {
                None => varint::put(&mut self.blob, 0),
                Some(bytes) => {
                    varint::put(&mut self.blob, bytes.len() as u64 + 1);
                    self.blob.extend_from_slice(bytes);
                }
            }
        }
        self.headers.clear();
        headers::encode(entry.headers, &mut self.headers);
        varint::put(&mut self.blob, self.headers.len() as u64);
        self.blob.extend_from_slice(&self.headers);
    }
}

/// The records of a batch, in order. Keys and values share its memory.
pub(super) fn decode(blob: &[u8], tp: &TopicPartition) -> Result<Vec<ConsumerRecord>, LogError> {
    let blob = Bytes::copy_from_slice(blob);
    let damaged = || LogError::invalid(format!("batch of {tp}"), "the stored bytes are damaged");
    let (version, mut rest) = blob.split_first().ok_or_else(damaged)?;
    if *version != VERSION {
        return Err(LogError::invalid(format!("batch of {tp}"), format!("layout version {version}: written by a newer program")));
    }
    let mut records = Vec::new();
    let (mut offset, mut timestamp) = (0i64, 0i64);
    while !rest.is_empty() {
        let record = take_record(&blob, &mut rest, tp, &mut offset, &mut timestamp).ok_or_else(damaged)?;
        records.push(record);
    }
    Ok(records)
}

fn take_record(blob: &Bytes, rest: &mut &[u8], tp: &TopicPartition, offset: &mut i64, timestamp: &mut i64) -> Option<ConsumerRecord> {
    *offset = offset.checked_add(varint::take_signed(rest)?)?;
    *timestamp = timestamp.wrapping_add(varint::take_signed(rest)?);
    let mut part = || -> Option<Option<Bytes>> {
        match varint::take(rest)? {
            0 => Some(None),
            length => Some(Some(blob.slice_ref(varint::take_bytes(rest, length - 1)?))),
        }
    };
    let (key, value) = (part()?, part()?);
    let length = varint::take(rest)?;
    let headers = headers::decode(varint::take_bytes(rest, length)?)?;
    Some(ConsumerRecord { topic: tp.topic.clone(), partition: tp.partition, offset: *offset, timestamp: *timestamp, key, value, headers })
}

/// A record as an entry of a batch.
pub(super) fn entry(record: &ConsumerRecord) -> Entry<'_> {
    let ConsumerRecord { offset, timestamp, key, value, headers, .. } = record;
    Entry { offset: *offset, timestamp: *timestamp, key: key.as_deref(), value: value.as_deref(), headers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_comes_back_with_gaps_nulls_and_headers() {
        let tp = TopicPartition::new("events", 3);
        let mut headers = Headers::new();
        headers.add("trace", "7");
        let record = |offset, timestamp, key: Option<&str>, value: Option<&str>, headers: &Headers| ConsumerRecord {
            topic: tp.topic.clone(),
            partition: 3,
            offset,
            timestamp,
            key: key.map(|text| Bytes::copy_from_slice(text.as_bytes())),
            value: value.map(|text| Bytes::copy_from_slice(text.as_bytes())),
            headers: headers.clone(),
        };
        let records = vec![
            record(1_000_000, 1_700_000_000_000, Some("a"), Some("1"), &headers),
            record(1_000_007, -5, None, None, &Headers::new()),
            record(1_000_008, i64::MAX, Some(""), Some(&"x".repeat(1000)), &Headers::new()),
            record(1_000_009, i64::MIN, Some("b"), None, &headers),
        ];
        let mut builder = BatchBuilder::default();
        for record in &records {
            builder.push(entry(record));
        }
        assert_eq!(builder.last(), 1_000_009);
        assert_eq!(decode(builder.blob(), &tp).unwrap(), records);
        for length in 0..builder.blob().len() {
            let whole = decode(&builder.blob()[..length], &tp).is_ok_and(|some| some.len() == records.len());
            assert!(!whole, "cut at {length}");
        }
        assert!(decode(&[9], &tp).unwrap_err().to_string().contains("newer"));
    }
}
