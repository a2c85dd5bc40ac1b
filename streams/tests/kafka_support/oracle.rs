//! What must be true however the application was treated: each line is counted once, and each count shown once, in order.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::{Seen, client, eventually, read_all};

const STANDS_STILL: Duration = Duration::from_secs(10);

/// Counts that are visible so far, transaction markers included: a lower bound is all that it is good for.
pub fn counts_so_far(prefix: &str) -> i64 {
    let mut count = None;
    // A topic that was just made may not be known everywhere yet.
    eventually("the broker answers", Duration::from_secs(10), || {
        count = try_counts_so_far(prefix);
        count.is_some()
    });
    count.unwrap_or_default()
}

fn try_counts_so_far(prefix: &str) -> Option<i64> {
    static CONSUMER: OnceLock<BaseConsumer> = OnceLock::new();
    let consumer = CONSUMER.get_or_init(|| client().set("isolation.level", "read_committed").create().unwrap());
    consumer.fetch_watermarks(&format!("{prefix}-counts"), 0, Duration::from_secs(2)).ok().map(|(_, end)| end)
}

/// Reads the counts as they are committed.
pub struct Tail(BaseConsumer);

impl Tail {
    /// From now on.
    pub fn of(prefix: &str) -> Tail {
        let consumer: BaseConsumer = client()
            .set("group.id", "reader-of-tests")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "10")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&format!("{prefix}-counts"), 0, Offset::Offset(counts_so_far(prefix))).unwrap();
        consumer.assign(&list).unwrap();
        Tail(consumer)
    }

    /// Waits until a line that was written after now is counted, and that is committed; how long it took.
    pub fn await_news(&self, within: Duration) -> Duration {
        let (started, now) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64);
        loop {
            assert!(started.elapsed() < within, "nothing that was written since is counted after {within:?}");
            // Errors are those of brokers that are away.
            if let Some(Ok(message)) = self.0.poll(Duration::from_millis(20))
                && message.timestamp().to_millis().is_some_and(|written| written > now)
            {
                return started.elapsed();
            }
        }
    }
}

/// Waits until so many counts are committed in `<prefix>-counts`, which has one partition; or until the counting stands still, and what
/// is lost can be counted.
pub fn await_counted(prefix: &str, lines: u64) {
    let topic = format!("{prefix}-counts");
    let (mut last, mut since) = (-1, Instant::now());
    while since.elapsed() < STANDS_STILL {
        let now = counts_so_far(prefix);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        // The end counts transaction markers too.
        if now >= lines as i64 && read_all(&topic).len() as u64 >= lines {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Compares lines, words and counts. Prints what it found, then fails if anything was lost or is there twice.
pub fn assert_each_counted_once(prefix: &str, what: &str) {
    let text = |record: &Seen| String::from_utf8(record.value.clone()).unwrap();
    let lines = read_all(&format!("{prefix}-lines"));
    let mut expected = BTreeMap::<String, i64>::new();
    for line in &lines {
        *expected.entry(text(line)).or_default() += 1;
    }
    let mut shown = BTreeMap::<String, Vec<i64>>::new();
    for record in read_all(&format!("{prefix}-counts")) {
        shown.entry(record.key.clone()).or_default().push(i64::from_be_bytes(record.value.clone().try_into().unwrap()));
    }
    let (mut lost, mut twice, mut disorder) = (0, 0, 0);
    for (word, wanted) in &expected {
        let counts = shown.remove(word).unwrap_or_default();
        let distinct = counts.iter().collect::<std::collections::BTreeSet<_>>().len() as i64;
        lost += wanted - distinct.min(*wanted);
        // Counts beyond the number of lines say that a line was counted twice.
        twice += counts.len() as i64 - distinct + counts.iter().filter(|count| **count > *wanted).count() as i64;
        disorder += counts.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    }
    println!("{what}: {} lines, lost = {lost}, duplicates = {twice}, out of order = {disorder}", lines.len());
    assert!(shown.is_empty(), "words that nobody wrote: {shown:?}");
    assert_eq!((lost, twice, disorder), (0, 0, 0), "{what}");
}
