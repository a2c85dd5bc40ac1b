//! What must be true however the application was treated: each line is counted once, and each count shown once, in order.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::load::WORDS;
use super::{client, eventually, read_committed};

const STANDS_STILL: Duration = Duration::from_secs(10);
/// The brokers abort what nobody ends, after `transaction.timeout.ms`.
const SETTLES: Duration = Duration::from_secs(30);
const PROCESSES: Duration = Duration::from_secs(60);
const CALL: Duration = Duration::from_secs(2);

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
pub struct Tail {
    consumer: BaseConsumer,
    /// How many it has read.
    read: Cell<u64>,
    /// The last count of each word.
    last: RefCell<BTreeMap<Vec<u8>, i64>>,
    /// Of what it has read from the beginning.
    verdict: Cell<Verdict>,
}

impl Tail {
    /// From now on.
    pub fn of(prefix: &str) -> Tail {
        Tail::at(prefix, Offset::Offset(counts_so_far(prefix)))
    }

    /// All of them.
    pub fn from_the_beginning(prefix: &str) -> Tail {
        Tail::at(prefix, Offset::Beginning)
    }

    fn at(prefix: &str, offset: Offset) -> Tail {
        let consumer: BaseConsumer = client()
            .set("group.id", "reader-of-tests")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "10")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&format!("{prefix}-counts"), 0, offset).unwrap();
        consumer.assign(&list).unwrap();
        Tail { consumer, read: Cell::new(0), last: RefCell::default(), verdict: Cell::default() }
    }

    /// A word that was counted, and when its line was written; if one comes soon. Errors are those of brokers that are away.
    fn next(&self) -> Option<(Vec<u8>, i64)> {
        let message = self.consumer.poll(Duration::from_millis(20))?.ok()?;
        self.read.set(self.read.get() + 1);
        let (word, count) = (message.key().unwrap_or_default().to_vec(), number(message.payload()));
        self.check(&word, count);
        Some((word, message.timestamp().to_millis().unwrap_or(-1)))
    }

    /// Each count follows on the last one of its word.
    fn check(&self, word: &[u8], count: i64) {
        let mut last = self.last.borrow_mut();
        let before = last.get(word).copied().unwrap_or(0);
        let mut verdict = self.verdict.get();
        verdict.lost += (count - before - 1).max(0);
        verdict.duplicates += i64::from(count <= before);
        self.verdict.set(verdict);
        if count > before {
            last.insert(word.to_vec(), count);
        }
    }

    /// How many counts it has read.
    pub fn read(&self) -> u64 {
        self.read.get()
    }

    /// Reads for so long.
    pub fn read_for(&self, time: Duration) {
        let started = Instant::now();
        while started.elapsed() < time {
            self.next();
        }
    }

    /// What it has read from the beginning, where there were so many lines in all.
    pub fn verdict(&self, lines: u64) -> Verdict {
        let mut verdict = Verdict { lines: lines as i64, ..self.verdict.get() };
        for word in 0..WORDS {
            let last = self.last.borrow().get(format!("w{word}").as_bytes()).copied().unwrap_or(0);
            let wanted = (lines + WORDS - 1 - word) / WORDS;
            verdict.lost += (wanted as i64 - last).max(0);
            verdict.duplicates += (last - wanted as i64).max(0);
        }
        verdict
    }

    /// Waits until a line of each word that was written after now is counted, and that is committed; how long it took.
    pub fn await_news(&self, within: Duration) -> Duration {
        let (started, now) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64);
        let mut words = BTreeSet::new();
        while (words.len() as u64) < WORDS {
            assert!(started.elapsed() < within, "{} of {WORDS} words that were written since are counted after {within:?}", words.len());
            if let Some((word, _)) = self.next().filter(|(_, written)| *written > now) {
                words.insert(word);
            }
        }
        started.elapsed()
    }

    /// Waits until it has read so many; or until they stand still, and what is lost can be counted.
    pub fn await_counted(&self, lines: u64) {
        let mut since = Instant::now();
        while self.read.get() < lines && since.elapsed() < STANDS_STILL {
            if self.next().is_some() {
                since = Instant::now();
            }
        }
    }
}

/// Waits until so many counts are committed in `<prefix>-counts`, which has one partition; or until the counting stands still, and what
/// is lost can be counted.
pub fn await_counted(prefix: &str, lines: u64) {
    Tail::from_the_beginning(prefix).await_counted(lines);
}

/// Waits until the application has committed all that is in its topics. Where a line may be counted twice, their number does not tell.
pub fn await_processed(prefix: &str) {
    let group: BaseConsumer = client().set("group.id", prefix).create().unwrap();
    let is_processed = |topic: &str| {
        let metadata = group.fetch_metadata(Some(topic), CALL).ok()?;
        let mut partitions = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            partitions.add_partition(topic, partition.id());
        }
        let committed = group.committed_offsets(partitions, CALL).ok()?;
        let end = |partition| group.fetch_watermarks(topic, partition, CALL).ok().map(|(_, end)| end);
        Some(committed.elements().iter().all(|element| {
            let end = end(element.partition());
            end == Some(0) || end.map(Offset::Offset) == Some(element.offset())
        }))
    };
    // In this order: what the lines led to is there once they are committed.
    eventually("all is processed", PROCESSES, || {
        ["lines", "words"].iter().all(|name| is_processed(&format!("{prefix}-{name}")) == Some(true))
    });
}

/// A count as it is written.
fn number(bytes: Option<&[u8]>) -> i64 {
    i64::from_be_bytes(bytes.unwrap_or_default().try_into().unwrap())
}

/// What was found in the topics in the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    pub lines: i64,
    /// Lines without a word or without a count, and changelogs that are behind.
    pub lost: i64,
    /// Words and counts beyond the lines, and changelogs that are ahead.
    pub duplicates: i64,
    /// Counts of a word that do not follow on the one before.
    pub disorder: i64,
}

impl Verdict {
    pub fn is_right(self) -> bool {
        (self.lost, self.duplicates, self.disorder) == (0, 0, 0)
    }

    /// Each line is counted, at least once.
    pub fn is_complete(self) -> bool {
        self.lost == 0
    }
}

/// What has this as the beginning of its key fails, and is not counted.
pub const POISON: &str = "poison";

/// Compares lines, words, counts and the last count of each word in the store's changelog, all as they are committed.
pub fn verdict(prefix: &str) -> Verdict {
    let topic = |name: &str| format!("{prefix}-{name}");
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
    ["words", "counts", "counts-changelog"].iter().for_each(|name| await_settled(&topic(name)));
    let (mut lines, mut words) = (BTreeMap::<String, i64>::new(), BTreeMap::<String, i64>::new());
    let is_poison = |message: &BorrowedMessage<'_>| message.key().unwrap_or_default().starts_with(POISON.as_bytes());
    let read_committed = |name: &str, each: &mut dyn FnMut(&BorrowedMessage<'_>)| {
        read_committed(&topic(name), |message| {
            if !is_poison(message) {
                each(message)
            }
        });
    };
    read_committed("lines", &mut |line| *lines.entry(text(line.payload())).or_default() += 1);
    read_committed("words", &mut |word| *words.entry(text(word.key())).or_default() += 1);
    let (mut counts, mut stored) = (BTreeMap::<String, Vec<i64>>::new(), BTreeMap::<String, i64>::new());
    read_committed("counts", &mut |count| counts.entry(text(count.key())).or_default().push(number(count.payload())));
    read_committed("counts-changelog", &mut |count| {
        stored.insert(text(count.key()), number(count.payload()));
    });

    let mut verdict = Verdict { lines: lines.values().sum(), ..Verdict::default() };
    for (word, wanted) in &lines {
        let counts = counts.remove(word).unwrap_or_default();
        let distinct = counts.iter().collect::<BTreeSet<_>>().len() as i64;
        verdict.lost += wanted - distinct.min(*wanted);
        // Counts beyond the number of lines say that a line was counted twice.
        verdict.duplicates += counts.len() as i64 - distinct + counts.iter().filter(|count| **count > *wanted).count() as i64;
        verdict.disorder += counts.windows(2).filter(|pair| pair[1] != pair[0] + 1).count() as i64;
        for found in [words.remove(word), stored.remove(word)] {
            let found = found.unwrap_or_default();
            verdict.lost += (wanted - found).max(0);
            verdict.duplicates += (found - wanted).max(0);
        }
    }
    assert!(counts.is_empty() && words.is_empty() && stored.is_empty(), "words that nobody wrote: {counts:?} {words:?} {stored:?}");
    verdict
}

/// Waits until no transaction is open in a topic: what is behind one would not be seen.
fn await_settled(topic: &str) {
    let [committed, all] =
        ["read_committed", "read_uncommitted"].map(|level| client().set("isolation.level", level).create::<BaseConsumer>().unwrap());
    let metadata = all.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    for partition in metadata.topics()[0].partitions() {
        let end = |consumer: &BaseConsumer| consumer.fetch_watermarks(topic, partition.id(), Duration::from_secs(5)).map(|(_, end)| end);
        eventually("no transaction is open", SETTLES, || matches!((end(&committed), end(&all)), (Ok(stable), Ok(end)) if stable == end));
    }
}

/// Prints what it found, then fails if anything was lost or is there twice.
pub fn assert_each_counted_once(prefix: &str, what: &str) {
    let verdict = verdict(prefix);
    println!("{what}: {verdict:?}");
    assert!(verdict.is_right(), "{what}: {verdict:?}");
}
