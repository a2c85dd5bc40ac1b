//! How far a group is behind: what is left behind its committed offsets.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::brokers::{Brokers, apart};
use super::scan::{self, Range};
use crate::embedded::LogError;
use crate::lag::Left;
use crate::{PartitionLag, TopicPartition};

/// How long it is waited for transactions that are open: where work is done there always are some, and each for a moment only.
const OPEN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// In every partition of some topics.
pub(super) async fn of_group(brokers: &Arc<Brokers>, group: &str, topics: &[(Arc<str>, i32)]) -> Result<Vec<PartitionLag>, LogError> {
    let partition = |(topic, count): &(Arc<str>, i32)| {
        let topic = topic.clone();
        (0..*count).map(move |partition| TopicPartition { topic: topic.clone(), partition })
    };
    let tps: Vec<TopicPartition> = topics.iter().flat_map(partition).collect();
    let (name, asked) = (group.to_owned(), tps.clone());
    // Before the ends: a group is never ahead of them.
    let committed = apart(brokers, move |brokers| brokers.committed_now(&name, &asked)).await?;
    let mut committed = committed.into_iter();
    let topics = topics.iter().map(|(topic, count)| {
        let count = usize::try_from(*count).unwrap_or(0);
        of_topic(brokers, group, topic.clone(), committed.by_ref().take(count).collect())
    });
    let topics: Vec<_> = topics.collect();
    let lags = futures_util::future::try_join_all(topics).await?;
    Ok(lags.into_iter().flatten().collect())
}

/// A partition of the topic.
struct Place {
    /// Where the group goes on.
    from: i64,
    end: i64,
    /// Before it nothing is open any more.
    settled: i64,
}

async fn of_topic(
    brokers: &Arc<Brokers>,
    group: &str,
    topic: Arc<str>,
    committed: Vec<Option<i64>>,
) -> Result<Vec<PartitionLag>, LogError> {
    let (name, nexts) = (topic.clone(), committed.clone());
    let places = apart(brokers, move |brokers| nexts.iter().zip(0..).map(|(next, n)| place(brokers, &name, n, *next)).collect());
    let places: Vec<Place> = places.await?;
    let ranges: Vec<Range> =
        places.iter().zip(0..).map(|(place, partition)| Range { partition, from: place.from, end: place.settled }).collect();
    let mut left = vec![Left::default(); places.len()];
    scan::scan(brokers, &topic, &ranges, |record| {
        let Some(left) = usize::try_from(record.partition).ok().and_then(|partition| left.get_mut(partition)) else {
            return ControlFlow::Break(());
        };
        left.see(&record);
        if left.is_counted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .await?;
    let lag = |((partition, committed), (place, left)): ((i32, Option<i64>), (&Place, &Left))| PartitionLag {
        group: group.to_owned(),
        partition: TopicPartition { topic: topic.clone(), partition },
        committed,
        end: place.end,
        lag: left.lag(!left.is_counted(), place.settled) + u64::try_from(place.end - place.settled.max(place.from)).unwrap_or(0),
        oldest: left.oldest(),
    };
    Ok((0..).zip(committed).zip(places.iter().zip(&left)).map(lag).collect())
}

fn place(brokers: &Brokers, topic: &Arc<str>, partition: i32, committed: Option<i64>) -> Result<Place, LogError> {
    let tp = TopicPartition { topic: topic.clone(), partition };
    let (beginning, end) = brokers.ends(&tp)?;
    let from = committed.unwrap_or(beginning).max(beginning);
    let since = Instant::now();
    let mut settled = end.min(from);
    while settled < end {
        settled = brokers.settled_end(&tp)?.min(end);
        if since.elapsed() > OPEN {
            break;
        }
        if settled < end {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(Place { from, end, settled })
}
