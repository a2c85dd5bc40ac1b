//! How far consumer groups are behind.

use crate::{ConsumerRecord, TopicPartition};

/// What is left is counted one by one up to so many records; beyond that, by offsets.
pub(crate) const COUNTED: usize = 1_000;

/// How far a consumer group is in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLag {
    /// The group.
    pub group: String,
    /// What it reads.
    pub partition: TopicPartition,
    /// Offset of the next record it will process; `None`: it has committed nothing yet.
    pub committed: Option<i64>,
    /// Offset of the next record that will be written.
    pub end: i64,
    /// Records that it has not processed. Offsets that hold none (a compacted record, the end of a transaction) do not count; where more
    /// than a thousand are left they do, but for those before the first record; and so do those behind a transaction that stays open.
    pub lag: u64,
    /// Timestamp of the first of them, in milliseconds since the Unix epoch; `None`: nothing is left, or that record carries no time.
    pub oldest: Option<i64>,
}

/// What is left of a partition, seen from its first records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Offset and timestamp of the first record.
    first: Option<(i64, i64)>,
    /// Records that were seen.
    seen: usize,
}

impl Left {
    pub(crate) fn see(&mut self, record: &ConsumerRecord) {
        self.first.get_or_insert((record.offset, record.timestamp));
        self.seen += 1;
    }

    /// Whether enough was seen.
    pub(crate) fn is_counted(&self) -> bool {
        self.seen > COUNTED
    }

    /// `all`: every record up to `end` was seen.
    pub(crate) fn lag(&self, all: bool, end: i64) -> u64 {
        match self.first {
            Some((first, _)) if !all => u64::try_from(end - first).unwrap_or(0),
            _ => self.seen as u64,
        }
    }

    pub(crate) fn oldest(&self) -> Option<i64> {
        self.first.map(|(_, timestamp)| timestamp).filter(|timestamp| *timestamp > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Headers;

    fn record(offset: i64, timestamp: i64) -> ConsumerRecord {
        ConsumerRecord { topic: "t".into(), partition: 0, offset, timestamp, key: None, value: None, headers: Headers::new() }
    }

    #[test]
    fn offsets_without_records_are_no_lag() {
        let mut left = Left::default();
        assert_eq!((left.lag(true, 8), left.oldest()), (0, None), "only the end of a transaction is left");
        left.see(&record(3, 0));
        left.see(&record(6, 70));
        assert_eq!((left.lag(true, 8), left.oldest()), (2, None), "the first record carries no time");
    }

    #[test]
    fn a_long_lag_is_told_by_offsets_from_its_first_record() {
        let mut left = Left::default();
        (0..=COUNTED as i64).for_each(|n| left.see(&record(100 + n, 7)));
        assert!(left.is_counted());
        assert_eq!((left.lag(false, 5_000), left.oldest()), (4_900, Some(7)));
    }
}
