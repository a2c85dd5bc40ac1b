//! Reads of a backfill, answered a page at a time by one list call.

use super::{
    Partition, Ticket, Under,
    record::{Taken, Talk},
};
use crate::{
    call::{Call, Reply, Seen},
    conversation::{Finished, Moment},
};
use rustc_hash::FxHashMap;
use schemas::ExternalId;
use std::sync::Arc;

impl Partition {
    /// One list call for every idle record whose next request is a read of this page.
    pub(super) fn send_page(&mut self, page: String) -> (Ticket, Call) {
        let keys: Vec<Arc<str>> = self.pages.get(&page).into_iter().flatten().cloned().collect();
        for key in &keys {
            if let Some(record) = self.records.get_mut(key) {
                let mut reads = Vec::new();
                while record.queue.front().is_some_and(Taken::is_read) {
                    reads.extend(record.queue.pop_front());
                }
                record.talk = Talk::Listed { reads };
            }
            self.place(key);
        }
        let ticket = self.ticket(Under::Page { page: page.clone(), keys });
        (ticket, Call::List { page })
    }

    /// Answers what the page shows, in this partition only. What it lacks is read singly; if the call failed, all of it waits.
    pub(super) fn on_page(&mut self, page: String, keys: Vec<Arc<str>>, reply: Reply, moment: Moment) {
        let pause = match &reply {
            Reply::Unknown { retry_after, .. } | Reply::Busy { retry_after, .. } => Some(*retry_after),
            Reply::Unauthorized { .. } => Some(None),
            _ => None,
        };
        let not_before = pause.map(|hint| {
            let failures = self.page_failures.entry(page.clone()).or_default();
            *failures += 1;
            moment.now + self.options.backoff.pause(*failures, hint, moment.jitter)
        });
        if not_before.is_none() {
            self.page_failures.remove(&page);
        }
        let mut found: FxHashMap<ExternalId, Seen> = match reply {
            Reply::Found(found) => found.into_iter().map(|seen| (seen.id.clone(), seen)).collect(),
            _ => FxHashMap::default(),
        };
        for key in keys {
            let Some(record) = self.records.get_mut(&key) else { continue };
            let Talk::Listed { reads } = std::mem::take(&mut record.talk) else { continue };
            match found.remove(&ExternalId::new(&*key)) {
                Some(seen) => {
                    let order = reads.last().map_or(0, |read| read.offset) + 1;
                    let about: Vec<_> = reads.iter().map(|read| (read.offset, read.is_live())).collect();
                    let mut result = seen.result(order);
                    result.notices = reads.into_iter().filter_map(Taken::into_read).flat_map(|read| read.notices).collect();
                    self.publish(Finished { key: key.to_string(), result, asks: Vec::new() });
                    self.finish(&key, &about);
                }
                None => {
                    record.not_before = not_before;
                    record.singly = not_before.is_none();
                    for read in reads.into_iter().rev() {
                        record.queue.push_front(read);
                    }
                }
            }
            self.place(&key);
        }
    }
}
