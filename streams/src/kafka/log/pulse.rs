//! Whether the brokers are there.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use super::brokers::Brokers;
use crate::embedded::LogError;

const EVERY: Duration = Duration::from_millis(500);
/// A broker that takes longer is away.
const WAIT: Duration = Duration::from_secs(2);

/// Asks now and then, as long as the log is there; who watches hears when the answer changes.
pub(super) fn start(brokers: &Arc<Brokers>) -> Result<watch::Sender<Option<String>>, LogError> {
    let (trouble, weak) = (watch::Sender::new(None), Arc::downgrade(brokers));
    let told = trouble.clone();
    thread::Builder::new()
        .name("kafka-pulse".to_owned())
        .spawn(move || watch_over(&weak, &told))
        .map_err(|error| LogError::Io { action: "starting the thread that watches the brokers".to_owned(), source: Arc::new(error) })?;
    Ok(trouble)
}

fn watch_over(brokers: &Weak<Brokers>, trouble: &watch::Sender<Option<String>>) {
    while let Some(there) = brokers.upgrade() {
        let found = there.pulse(WAIT).err();
        drop(there);
        trouble.send_if_modified(|known| {
            let changed = known.is_some() != found.is_some();
            match &found {
                Some(reason) if changed => tracing::warn!(reason, "The log is away."),
                None if changed => tracing::info!("The log is back."),
                _ => {}
            }
            if changed {
                known.clone_from(&found);
            }
            changed
        });
        thread::sleep(EVERY);
    }
}
