//! Lines that keep coming.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::client;

const WORDS: u64 = 23;
const BATCH: u64 = 20;
/// So much pause after each batch: the load is steady, and small enough to be checked in the end.
const PACE: Duration = Duration::from_millis(8);

/// A thread that writes lines of one word each to `<prefix>-lines`, until it is told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub fn start(prefix: &str) -> Load {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count, topic) = (stop.clone(), written.clone(), format!("{prefix}-lines"));
        let thread = std::thread::spawn(move || {
            let producer: BaseProducer = client().set("enable.idempotence", "true").create().unwrap();
            while !stopped.load(Ordering::SeqCst) {
                let first = count.load(Ordering::SeqCst);
                for id in first..first + BATCH {
                    let (key, line) = (id.to_string(), format!("w{}", id % WORDS));
                    producer.send(BaseRecord::to(&topic).key(&key).payload(&line)).map_err(|(error, _)| error).unwrap();
                }
                // Rust's `flush` would look again after 100 ms only.
                while producer.flush(Duration::ZERO).is_err() {
                    producer.poll(Duration::from_millis(1));
                }
                count.store(first + BATCH, Ordering::SeqCst);
                std::thread::sleep(PACE);
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
