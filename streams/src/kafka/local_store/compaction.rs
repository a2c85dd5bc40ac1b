//! Room is won from the oldest segment: with each transaction a slice of it is gone through, and what is still the newest of its key is
//! written again as part of the transaction. When nothing is left in it, the transaction's mark says so, and the file is removed once
//! that mark is on the disk.
//!
//! A deletion in the oldest segment hides nothing that is older, so it is not moved.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::index::Place;
use super::log::Log;
use super::record::{HEADER, Record};
use super::segment::{Segment, damage};

/// More than what was written is gone through, so that the log stays below its bound …
const FASTER: u64 = 2;
/// … and more still when it is far beyond it.
const FASTEST: u64 = 8;
const LEAST: u64 = 64 << 10;

/// What a transaction moves.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Hash and old place, and where in the batch it is now.
    pub(super) entries: Vec<(u64, Place, usize)>,
    swept: u64,
    /// The oldest segment has nothing more.
    finished: bool,
}

impl Log {
    /// Copies what is needed of the next slice of the oldest segment.
    pub(super) fn sweep(&self, written: u64, batch: &mut Vec<u8>) -> io::Result<Moved> {
        let mut moved = Moved { swept: self.swept, ..Moved::default() };
        let (Some(oldest), Some(factor)) = (self.segments.front(), self.haste()) else { return Ok(moved) };
        let scanned = oldest.scan(self.swept, written * factor + LEAST, |offset, bytes, record| {
            if let Record::Entry { key, value: Some(_) } = record {
                let place = Place { segment: oldest.id, offset: u32::try_from(offset).unwrap_or(u32::MAX) };
                let hash = self.index.hash(key);
                if self.index.at(hash, place).is_some() {
                    moved.entries.push((hash, place, batch.len()));
                    batch.extend_from_slice(bytes);
                }
            }
            Ok(())
        })?;
        moved.swept =
            scanned.map_err(|no_record| damage(format!("{} at {} of {}", no_record.what, no_record.offset, oldest.path.display())))?;
        moved.finished = moved.swept >= oldest.len;
        Ok(moved)
    }

    /// How fast room must be won, if at all: at most half of the entries are to be outdated.
    fn haste(&self) -> Option<u64> {
        let (entries, live) = (self.segments.iter().map(|segment| segment.entries).sum::<u64>(), self.index.len() as u64);
        match entries {
            _ if self.segments.len() < 2 => None,
            _ if entries > 4 * live => Some(FASTEST),
            _ if entries > 2 * live => Some(FASTER),
            _ => None,
        }
    }

    /// The oldest segment that is needed when this is moved.
    pub(super) fn oldest_after(&self, moved: &Moved) -> u32 {
        self.segments.front().map_or(1, |oldest| oldest.id + u32::from(moved.finished))
    }

    /// The transaction with what was moved is written.
    pub(super) fn retire(&mut self, moved: Moved) -> io::Result<()> {
        self.swept = moved.swept;
        if moved.finished
            && let Some(oldest) = self.segments.pop_front()
            && let Some(active) = self.segments.back()
        {
            self.swept = HEADER.len() as u64;
            self.retired.wait(oldest.path, active.id);
        }
        self.retired.go_on()
    }
}

/// Segments that are no longer needed, and what must be on the disk before they go.
#[derive(Debug, Default)]
pub(super) struct Retired {
    /// They go when the segments up to this number are on the disk.
    waiting: VecDeque<(PathBuf, u32)>,
    /// Full segments that may not be on the disk yet.
    pub(super) unsynced: Vec<(u32, Arc<File>)>,
    syncing: Option<(u32, JoinHandle<io::Result<()>>)>,
    /// Up to this number all are on the disk.
    synced: u32,
}

impl Retired {
    /// Segments that were found: whoever wrote them may have been killed.
    pub(super) fn note_unsynced(&mut self, segments: &VecDeque<Segment>) {
        let full = segments.iter().take(segments.len().saturating_sub(1));
        self.unsynced.extend(full.map(|segment| (segment.id, segment.file.clone())));
    }

    /// A segment is not needed once those up to this number are on the disk.
    pub(super) fn wait(&mut self, unneeded: PathBuf, until: u32) {
        self.waiting.push_back((unneeded, until));
    }

    /// Nothing is written to this segment any more.
    pub(super) fn sealed(&mut self, full: &Segment) -> io::Result<()> {
        self.unsynced.push((full.id, full.file.clone()));
        self.go_on()
    }

    fn go_on(&mut self) -> io::Result<()> {
        if let Some((up_to, thread)) = self.syncing.take() {
            if !thread.is_finished() {
                self.syncing = Some((up_to, thread));
                return Ok(());
            }
            thread.join().map_err(|_| io::Error::other("the syncing thread panicked"))??;
            self.synced = up_to;
        }
        while self.waiting.front().is_some_and(|(_, until)| *until <= self.synced)
            && let Some((path, _)) = self.waiting.pop_front()
        {
            fs::remove_file(path)?;
        }
        // Without a segment to remove nothing needs to be on the disk.
        if let Some((up_to, _)) = self.unsynced.last()
            && !self.waiting.is_empty()
        {
            let up_to = *up_to;
            let files = std::mem::take(&mut self.unsynced);
            let sync = move || files.iter().try_for_each(|(_, file)| file.sync_data());
            self.syncing = Some((up_to, thread::Builder::new().name("store-sync".into()).spawn(sync)?));
        }
        Ok(())
    }
}
