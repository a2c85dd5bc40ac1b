//! A watch over calls of librdkafka that heed no timeout: a client that is dropped waits for its threads, a consumer also for the group; and
//! a producer that adds offsets may wait for a coordinator that is gone.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::KafkaStreamsError;

/// Makes a call in a thread of its own. If it does not return in time, it is left to itself, and nothing comes of it here.
pub(super) fn within<T: Send + 'static>(
    action: &'static str,
    longest: Duration,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>, KafkaStreamsError> {
    let (done, wait) = mpsc::channel();
    let work = move || {
        // Nobody waits any longer, if this fails.
        let _ = done.send(call());
    };
    thread::Builder::new().name(action.to_owned()).spawn(work).map_err(|error| KafkaStreamsError::io(action, error))?;
    let returned = wait.recv_timeout(longest).ok();
    if returned.is_none() {
        metrics::counter!("kafka_stream_thread_stuck_total").increment(1);
        tracing::warn!(action, ?longest, "A call of librdkafka does not return; it is left to itself.");
    }
    Ok(returned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_does_not_return_is_left_to_itself() {
        let (end, never) = mpsc::channel::<()>();
        let stuck = within("waiting for ever", Duration::from_millis(10), move || never.recv().is_err()).unwrap();
        assert_eq!(stuck, None);
        drop(end);
        assert_eq!(within("counting", Duration::from_secs(60), || 7).unwrap(), Some(7));
    }
}
