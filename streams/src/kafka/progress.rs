//! How far a task is: the offset of its next record and its stream time, which is kept with the committed offset as its metadata.

use crate::TopicPartition;

/// Where a partition's processing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) partition: TopicPartition,
    /// Offset of the next record.
    pub(super) next: i64,
    /// The task's stream time at the commit; -1 if it is not known.
    pub(super) stream_time: i64,
}

const PREFIX: &str = "v1;stream-time=";

/// A committed offset's metadata.
pub(super) fn metadata(stream_time: i64) -> String {
    format!("{PREFIX}{stream_time}")
}

/// The stream time of a committed offset's metadata. Another program's is no stream time.
pub(super) fn stream_time(metadata: &str) -> i64 {
    metadata.strip_prefix(PREFIX).and_then(|time| time.parse().ok()).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_time_comes_back_and_foreign_metadata_is_none() {
        assert_eq!(stream_time(&metadata(1_700_000_000_000)), 1_700_000_000_000);
        assert_eq!(stream_time(""), -1);
        assert_eq!(stream_time("AgAAAYzhZoDo"), -1);
    }
}
