//! One store: a log of transactions in segments, and an index of where each key's newest value is.
//!
//! A transaction is appended with one write and ends in a mark, which holds the position in the changelog. So a file that ends anywhere
//! is the store as it was after some transaction. A mark also names the oldest segment that is needed: what was moved out of older ones
//! is before it. Opening goes through all segments, and a log that lacks something that its last mark needs is damaged. Marks are
//! numbered: a segment that lost its last transactions does not fit to the next one.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Position;
use super::compaction::{Moved, Retired};
use super::index::{Found, Index, Place};
use super::recent::Recent;
use super::record::{self, HEADER, Mark, Record};
use super::segment::{self, Segment, damage};

/// A segment that is longer gets a successor.
pub(super) const SEGMENT: u64 = 16 << 20;
const KEPT_BATCH: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Log {
    pub(super) folder: PathBuf,
    pub(super) segment_bytes: u64,
    /// Without gaps; the last one is written to.
    pub(super) segments: VecDeque<Segment>,
    pub(super) index: Index,
    position: Option<Position>,
    /// The last mark's number.
    number: u64,
    /// Up to where the oldest segment was cleared.
    pub(super) swept: u64,
    pub(super) retired: Retired,
    /// The keys in order, once somebody has asked for a range.
    ordered: RefCell<Option<BTreeSet<Box<[u8]>>>>,
    /// For reading a record, and for writing a transaction.
    scratch: RefCell<Vec<u8>>,
    batch: Vec<u8>,
    /// Bytes of changes in the last transaction.
    written: u64,
    recent: RefCell<Recent>,
}

impl Log {
    /// Opens the log in a folder, which is made if it is not there. What a crash cut off is removed; an error of the kind
    /// [`InvalidData`](io::ErrorKind::InvalidData) says that the log is damaged.
    pub(super) fn open(folder: &Path, segment_bytes: u64) -> io::Result<Log> {
        fs::create_dir_all(folder)?;
        let mut log = Log {
            folder: folder.to_owned(),
            segment_bytes,
            segments: VecDeque::new(),
            index: Index::new(),
            position: None,
            number: 0,
            swept: HEADER.len() as u64,
            retired: Retired::default(),
            ordered: RefCell::default(),
            scratch: RefCell::default(),
            batch: Vec::new(),
            written: 0,
            recent: RefCell::default(),
        };
        for id in segment::list(folder)? {
            if log.segments.back().is_some_and(|last| last.id + 1 != id) {
                return Err(damage(format!("no segment before {id} in {}", folder.display())));
            }
            log.segments.push_back(Segment::open(folder, id)?);
        }
        let last = log.read_all()?;
        // Only now: the last one may be gone, and then the one before it is written to.
        log.retired.note_unsynced(&log.segments);
        let Some(last) = last else { return Ok(log) };
        if log.segments.front().is_none_or(|first| first.id > last.oldest) {
            return Err(damage(format!("segment {} is missing in {}", last.oldest, folder.display())));
        }
        log.forget_before(last.oldest);
        (log.position, log.number) = (last.next.map(|next| Position { next, as_of: last.as_of }), last.number);
        Ok(log)
    }

    /// Older segments are not needed once the last mark, which says so, is on the disk.
    fn forget_before(&mut self, oldest: u32) {
        while self.segments.front().is_some_and(|first| first.id < oldest)
            && let Some(unneeded) = self.segments.pop_front()
            && let Some(active) = self.segments.back()
        {
            self.retired.wait(unneeded.path, active.id);
        }
    }

    /// Goes through all segments, in order; the last mark. Entries without a mark behind them are read, too: see `cut_tail`.
    fn read_all(&mut self) -> io::Result<Option<Mark>> {
        let mut last: Option<Mark> = None;
        for place in 0..self.segments.len() {
            let segment = self.segments[place].clone();
            let (mut end, mut entries) = (HEADER.len() as u64, 0);
            let scanned = match segment.has_header()? {
                true => segment.scan(end, u64::MAX, |offset, bytes, record| {
                    match record {
                        Record::Entry { key, value } => {
                            entries += 1;
                            self.set(key, here(segment.id, offset)?, value.is_some())?;
                        }
                        Record::Mark(mark) => {
                            if let Some(last) = last.filter(|last| last.number + 1 != mark.number) {
                                let what = format!("transaction {} comes after {}", mark.number, last.number);
                                return Err(damage(format!("{what} at {offset} of {}", segment.path.display())));
                            }
                            last = Some(mark);
                            end = offset + bytes.len() as u64;
                        }
                    }
                    Ok(())
                })?,
                false => Err(segment::NoRecord { offset: 0, what: "no header" }),
            };
            self.segments[place].entries = entries;
            let what = match scanned {
                // Only the last one may have no transactions yet.
                Ok(at) if at == end && (end > HEADER.len() as u64 || place + 1 == self.segments.len()) => continue,
                Ok(_) => "a transaction without its end",
                Err(no_record) => no_record.what,
            };
            self.cut_tail(place, end, what)?;
            return self.read_all();
        }
        Ok(last)
    }

    /// Removes what comes after the last mark: a transaction that was not written to its end. Behind such a one there is nothing.
    fn cut_tail(&mut self, place: usize, end: u64, what: &str) -> io::Result<()> {
        let is_last = place + 1 == self.segments.len();
        let segment = &mut self.segments[place];
        if !is_last || segment.has_mark_after(end)? {
            return Err(damage(format!("{what} after {end} of {}", segment.path.display())));
        }
        tracing::info!(segment = %segment.path.display(), end, bytes = segment.len.saturating_sub(end), "A local store's unfinished transaction is dropped.");
        if segment.has_header()? {
            segment.cut(end)?;
        } else {
            fs::remove_file(&segment.path)?;
            self.segments.pop_back();
        }
        self.index = Index::new();
        Ok(())
    }

    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Writes a transaction: changes, in the order in which they were made, and the new position.
    pub(super) fn write<'a>(
        &mut self,
        changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        position: Option<Position>,
    ) -> io::Result<()> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        // In proportion to what the last transaction wrote: this one's size is not known yet, and what is moved comes first.
        let moved = self.sweep(self.written, &mut batch)?;
        let first_change = batch.len();
        for (key, value) in changes {
            record::write_entry(&mut batch, key, value);
        }
        self.written = (batch.len() - first_change) as u64;
        record::write_mark(
            &mut batch,
            Mark {
                number: self.number + 1,
                next: position.map(|position| position.next),
                oldest: self.oldest_after(&moved),
                as_of: position.map_or(0, |position| position.as_of),
            },
        );
        let start = self.append(&batch)?;
        (self.position, self.number) = (position, self.number + 1);
        self.take_over(&batch, first_change, start, moved)?;
        self.recent.get_mut().clear();
        // One large transaction is not to keep its memory for ever.
        if batch.capacity() <= KEPT_BATCH {
            self.batch = batch;
        }
        Ok(())
    }

    /// Makes room for, and writes, a batch; where it begins.
    fn append(&mut self, batch: &[u8]) -> io::Result<Place> {
        if self.segments.back().is_none_or(|active| active.len >= self.segment_bytes) {
            let id = self.segments.back().map_or(1, |active| active.id + 1);
            let new = Segment::create(&self.folder, id)?;
            if let Some(full) = self.segments.back() {
                self.retired.sealed(full)?;
            }
            self.segments.push_back(new);
        }
        let Some(active) = self.segments.back_mut() else { return Err(io::Error::other("no segment to write to")) };
        let start = here(active.id, active.len)?;
        here(active.id, active.len + batch.len() as u64)?;
        active.append(batch)?;
        Ok(start)
    }

    /// The index follows what was written.
    fn take_over(&mut self, batch: &[u8], first_change: usize, start: Place, moved: Moved) -> io::Result<()> {
        let place = |at: usize| Place { segment: start.segment, offset: start.offset + at as u32 };
        let mut entries = moved.entries.len() as u64;
        for (hash, old, at) in &moved.entries {
            if let Some(found) = self.index.at(*hash, *old) {
                self.index.replace(found, place(*at));
            }
        }
        let mut at = first_change;
        while at < batch.len() {
            let rest = &batch[at..];
            if let Ok(Record::Entry { key, value }) = record::read(rest) {
                entries += 1;
                self.set(key, place(at), value.is_some())?;
            }
            at += record::length(rest).unwrap_or(rest.len());
        }
        if let Some(active) = self.segments.back_mut() {
            active.entries += entries;
        }
        self.retire(moved)
    }

    fn set(&mut self, key: &[u8], place: Place, present: bool) -> io::Result<()> {
        let hash = self.index.hash(key);
        // Unless it was moved since.
        let known = self.recent.get_mut().find(hash, key).and_then(|place| self.index.at(hash, place));
        let found = if known.is_some() { known } else { self.find(hash, key)? };
        match (found, present) {
            (Some(found), true) => self.index.replace(found, place),
            (None, true) => self.index.insert(hash, place),
            (Some(found), false) => self.index.remove(found),
            (None, false) => {}
        }
        if let Some(keys) = self.ordered.get_mut() {
            match present {
                true => keys.insert(key.into()),
                false => keys.remove(key),
            };
        }
        Ok(())
    }

    /// Finds a key; its record is in the scratch buffer then.
    fn find(&self, hash: u64, key: &[u8]) -> io::Result<Option<Found>> {
        let scratch = &mut *self.scratch.borrow_mut();
        self.index.find(hash, |place| {
            self.load(place, scratch)?;
            Ok(matches!(read(scratch)?, (found, _) if found == key))
        })
    }

    fn load(&self, place: Place, bytes: &mut Vec<u8>) -> io::Result<()> {
        let first = self.segments.front().map_or(0, |first| first.id);
        let segment = place.segment.checked_sub(first).and_then(|at| self.segments.get(at as usize));
        segment.ok_or_else(|| damage(format!("no segment {}", place.segment)))?.load(u64::from(place.offset), bytes)
    }

    pub(super) fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        let hash = self.index.hash(key);
        let Some(found) = self.find(hash, key)? else { return Ok(None) };
        self.recent.borrow_mut().note(hash, key, found.place);
        let scratch = self.scratch.borrow();
        Ok(read(&scratch)?.1.map(Bytes::copy_from_slice))
    }

    /// At most `limit` entries in order of key. The first call reads the whole log for its keys, which stay in memory from then on.
    pub(super) fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> io::Result<Vec<(Bytes, Bytes)>> {
        if self.ordered.borrow().is_none() {
            let keys = self.keys()?;
            *self.ordered.borrow_mut() = Some(keys);
        }
        let ordered = self.ordered.borrow();
        let keys = ordered.iter().flat_map(|keys| keys.range::<[u8], _>((from, to))).take(limit);
        keys.map(|key| {
            let value = self.get(key)?.ok_or_else(|| damage("a key without a value"))?;
            Ok((Bytes::copy_from_slice(key), value))
        })
        .collect()
    }

    fn keys(&self) -> io::Result<BTreeSet<Box<[u8]>>> {
        let mut keys = BTreeSet::new();
        for segment in &self.segments {
            let scanned = segment.scan(HEADER.len() as u64, u64::MAX, |offset, _, record| {
                if let Record::Entry { key, value: Some(_) } = record
                    && self.index.at(self.index.hash(key), here(segment.id, offset)?).is_some()
                {
                    keys.insert(key.into());
                }
                Ok(())
            })?;
            scanned.map_err(|no_record| damage(format!("{} at {} of {}", no_record.what, no_record.offset, segment.path.display())))?;
        }
        Ok(keys)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.segments.clear();
        segment::remove_all(&self.folder)?;
        *self = Log::open(&self.folder, self.segment_bytes)?;
        Ok(())
    }
}

/// The entry that these bytes are.
fn read(bytes: &[u8]) -> io::Result<(&[u8], Option<&[u8]>)> {
    match record::read(bytes).map_err(|damaged| damage(damaged.0))? {
        Record::Entry { key, value } => Ok((key, value)),
        Record::Mark(_) => Err(damage("a mark where an entry was")),
    }
}

fn here(segment: u32, offset: u64) -> io::Result<Place> {
    let offset = u32::try_from(offset).map_err(|_| io::Error::other("a transaction of more than 4 GiB"))?;
    Ok(Place { segment, offset })
}
