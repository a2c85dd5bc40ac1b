//! Which connections are open and what each is doing, so that the right one gives way when there are too many.

use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its next request is not here, or not all of it: header or body.
    Receiving,
    /// Its request is complete and not answered yet: never given up, and bounded by the time for an answer.
    Working,
    /// Its answer is being sent, which may go on for hours (server-sent events).
    Answering,
}

/// The open connections. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Connections {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    freed: Notify,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, Open>,
}

struct Open {
    phase: Phase,
    since: Instant,
    gone: CancellationToken,
}

/// One connection's place in the table, given back on drop.
pub(super) struct Place {
    id: u64,
    connections: Connections,
    gone: CancellationToken,
}

impl Connections {
    pub(super) fn enter(&self) -> Arc<Place> {
        let mut table = self.shared.table.lock();
        let id = table.next;
        table.next += 1;
        let gone = CancellationToken::new();
        table.open.insert(id, Open { phase: Phase::Receiving, since: Instant::now(), gone: gone.clone() });
        Arc::new(Place { id, connections: self.clone(), gone })
    }

    pub(super) fn count(&self) -> usize {
        self.shared.table.lock().open.len()
    }

    /// Waits until there is room for one more: the connection whose request is incomplete for longest gives way at once, else the one
    /// that answers for longest; requests that are being worked on are waited for. Returns how many gave way.
    pub(super) async fn room(&self, most: usize) -> usize {
        let mut evicted = 0;
        loop {
            let freed = self.shared.freed.notified();
            if self.count() < most {
                return evicted;
            }
            if self.evict() {
                evicted += 1;
            } else {
                freed.await;
            }
        }
    }

    fn evict(&self) -> bool {
        let mut table = self.shared.table.lock();
        let rank = |open: &Open| match open.phase {
            Phase::Receiving => Some(0),
            Phase::Answering => Some(1),
            Phase::Working => None,
        };
        let oldest = table.open.iter().filter_map(|(id, open)| Some((rank(open)?, open.since, *id))).min();
        let Some(evicted) = oldest.and_then(|(_, _, id)| table.open.remove(&id)) else { return false };
        evicted.gone.cancel();
        true
    }

    /// Gives up every connection.
    pub(super) fn evict_all(&self) {
        self.shared.table.lock().open.values().for_each(|open| open.gone.cancel());
    }
}

impl Place {
    pub(super) fn enter(&self, phase: Phase) {
        if let Some(open) = self.connections.shared.table.lock().open.get_mut(&self.id)
            && open.phase != phase
        {
            // Between two requests its wait begins anew.
            open.phase = phase;
            open.since = Instant::now();
        }
    }

    /// Ends when this connection has to give way.
    pub(super) async fn evicted(&self) {
        self.gone.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.shared.table.lock().open.remove(&self.id);
        self.connections.shared.freed.notify_one();
    }
}
