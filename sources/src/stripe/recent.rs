//! Events that were noticed already, whichever way they came: each costs a read of the customer, so the second time is skipped.

use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use std::{collections::VecDeque, sync::Arc};

/// The ids of the last events whose notice is in the log. Cheap to clone: the webhook and the catch-up share one.
#[derive(Clone, Default)]
pub struct RecentEvents {
    ids: Arc<Mutex<Ids>>,
}

#[derive(Default)]
struct Ids {
    known: FxHashSet<String>,
    oldest_first: VecDeque<String>,
}

/// More than come in any time that the catch-up looks back, and a few megabytes at most.
const MOST: usize = 20_000;

impl RecentEvents {
    pub fn contains(&self, id: &str) -> bool {
        self.ids.lock().known.contains(id)
    }

    /// Its notice is durable.
    pub fn noticed(&self, id: &str) {
        let mut ids = self.ids.lock();
        if ids.known.insert(id.to_owned()) {
            ids.oldest_first.push_back(id.to_owned());
            if ids.oldest_first.len() > MOST
                && let Some(oldest) = ids.oldest_first.pop_front()
            {
                ids.known.remove(&oldest);
            }
        }
    }
}
