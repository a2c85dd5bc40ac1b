//! When a client on the driver begins to restore: it says "starting" once more, as the listener of the client on Kafka Streams does.

use metrics::{Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// What there is to restore, as the driver's metrics have it.
const REMAINING: &str = "kafka_stream_state_restore_remaining_records";

pub fn announce() -> anyhow::Result<()> {
    metrics::set_global_recorder(Listener(Arc::default())).map_err(|error| anyhow::anyhow!("{error}"))
}

struct Listener(Arc<Remaining>);

/// Whether there was anything.
#[derive(Default)]
struct Remaining(AtomicBool);

impl GaugeFn for Remaining {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, records: f64) {
        if records > 0.0 && !self.0.swap(true, Ordering::SeqCst) {
            println!("starting");
        }
    }
}

impl Recorder for Listener {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        if key.name() == REMAINING { Gauge::from_arc(self.0.clone()) } else { Gauge::noop() }
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
