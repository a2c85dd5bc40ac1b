//! A watch over calls of librdkafka that take no timeout: a client that is dropped waits for its threads, a consumer also for the group.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::KafkaStreamsError;

/// Makes a call in a thread of its own. If it does not return in time, it is left to itself.
pub(super) fn within(action: &'static str, longest: Duration, call: impl FnOnce() + Send + 'static) -> Result<(), KafkaStreamsError> {
    let (done, wait) = mpsc::channel();
    let work = move || {
        call();
        // Nobody waits any longer.
        let _ = done.send(());
    };
    thread::Builder::new().name(action.to_owned()).spawn(work).map_err(|error| KafkaStreamsError::io(action, error))?;
    if wait.recv_timeout(longest).is_err() {
        metrics::counter!("kafka_stream_thread_stuck_total").increment(1);
        tracing::warn!(action, ?longest, "A call of librdkafka does not return; it is left to itself.");
    }
    Ok(())
}
