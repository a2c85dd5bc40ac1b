//! Lines that keep coming.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::client;

/// So many different words.
pub const WORDS: u64 = 23;
/// Small enough to be checked in the end.
const LINES_A_SECOND: u64 = 2_000;
const BATCH_EVERY: Duration = Duration::from_millis(10);
/// A batch is waited for: many lines go in larger ones.
const MANY_LINES_A_SECOND: u64 = 10_000;
const LARGE_BATCH_EVERY: Duration = Duration::from_millis(50);
const LARGEST_BATCH: u64 = 10_000;

/// A thread that writes lines of one word each to `<prefix>-lines`, until it is told to stop. Each word is in one partition only: when all
/// words are counted, all partitions are read.
pub struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub fn start(prefix: &str) -> Load {
        Load::at(prefix, LINES_A_SECOND)
    }

    /// So many lines a second, or as many as can be written.
    pub fn at(prefix: &str, lines_a_second: u64) -> Load {
        let every = if lines_a_second > MANY_LINES_A_SECOND { LARGE_BATCH_EVERY } else { BATCH_EVERY };
        let batch = (lines_a_second / (1_000 / every.as_millis() as u64)).clamp(1, LARGEST_BATCH);
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count, topic) = (stop.clone(), written.clone(), format!("{prefix}-lines"));
        let thread = std::thread::spawn(move || {
            let producer: BaseProducer = client().set("enable.idempotence", "true").create().unwrap();
            let metadata = producer.client().fetch_metadata(Some(&topic), Duration::from_secs(10)).unwrap();
            let partitions = metadata.topics()[0].partitions().len() as u64;
            let mut due = Instant::now();
            while !stopped.load(Ordering::SeqCst) {
                let first = count.load(Ordering::SeqCst);
                for id in first..first + batch {
                    let (key, word) = (id.to_string(), id % WORDS);
                    let (line, partition) = (format!("w{word}"), (word % partitions) as i32);
                    let record = BaseRecord::to(&topic).partition(partition).key(&key).payload(&line);
                    producer.send(record).map_err(|(error, _)| error).unwrap();
                }
                // Rust's `flush` would look again after 100 ms only.
                while producer.flush(Duration::ZERO).is_err() {
                    producer.poll(Duration::from_millis(1));
                }
                count.store(first + batch, Ordering::SeqCst);
                // After an outage it does not catch up.
                due = Instant::now().max(due + every);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        Load { stop, written, thread: Some(thread) }
    }

    /// Lines that the broker has, at least.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Stops; how many lines there are in all.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.written()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
