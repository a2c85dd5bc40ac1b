//! A transaction's writes to a store, and reads through them.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;

use super::{StateBacking, StateError, StoreInstance};

/// How many committed entries an iteration asks for at once.
const PAGE: usize = 128;

/// The uncommitted writes of one store: the last one of each key, in order of key.
#[derive(Debug)]
pub(crate) struct Overlay {
    pub(crate) store: StoreInstance,
    writes: BTreeMap<Bytes, Option<Bytes>>,
}

impl Overlay {
    pub(crate) fn new(store: StoreInstance) -> Self {
        Self { store, writes: BTreeMap::new() }
    }

    pub(crate) fn clear(&mut self) {
        self.writes.clear();
    }

    pub(crate) fn changes(&self) -> StoreChanges<'_> {
        StoreChanges { store: &self.store, writes: &self.writes }
    }
}

/// What a transaction changes in one store.
#[derive(Debug, Clone, Copy)]
pub struct StoreChanges<'a> {
    /// The store.
    pub store: &'a StoreInstance,
    writes: &'a BTreeMap<Bytes, Option<Bytes>>,
}

impl<'a> StoreChanges<'a> {
    /// The last write of each key, in ascending order of key; `None` deletes it.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&'a Bytes, &'a Option<Bytes>)> + use<'a> {
        self.writes.iter()
    }

    /// How many keys are changed.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// A store as its processor sees it: the transaction's own writes over the committed state.
pub struct StoreRef<'a> {
    pub(crate) overlay: &'a mut Overlay,
    pub(crate) backing: &'a dyn StateBacking,
}

impl StoreRef<'_> {
    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        get(self.overlay, self.backing, key)
    }

    /// Sets the value of a key.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.overlay.writes.insert(key.into(), Some(value.into()));
    }

    /// Sets the value of a key that has none; the value that it has, otherwise.
    pub fn put_if_absent(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Option<Bytes>, StateError> {
        let key = key.into();
        let old = self.get(&key)?;
        if old.is_none() {
            self.put(key, value);
        }
        Ok(old)
    }

    /// Removes a key. The value that it had is not read: ask [`get`](Self::get) first, if it matters.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.overlay.writes.insert(key.into(), None);
    }

    /// The entries whose keys are within the range, in ascending order of key (unsigned bytes). Read page by page.
    pub fn range<'k>(&self, range: impl RangeBounds<&'k [u8]>) -> StoreRange<'_> {
        StoreRange::new(self.overlay, self.backing, owned(range.start_bound().cloned()), owned(range.end_bound().cloned()))
    }

    /// All entries, in ascending order of key.
    pub fn all(&self) -> StoreRange<'_> {
        StoreRange::new(self.overlay, self.backing, Bound::Unbounded, Bound::Unbounded)
    }

    /// The entries whose keys start with these bytes.
    pub fn prefix_scan(&self, prefix: &[u8]) -> StoreRange<'_> {
        StoreRange::new(self.overlay, self.backing, Bound::Included(Bytes::copy_from_slice(prefix)), after_prefix(prefix))
    }
}

pub(crate) fn get(overlay: &Overlay, backing: &dyn StateBacking, key: &[u8]) -> Result<Option<Bytes>, StateError> {
    match overlay.writes.get(key) {
        Some(written) => Ok(written.clone()),
        None => backing.get(&overlay.store, key),
    }
}

fn owned(bound: Bound<&[u8]>) -> Bound<Bytes> {
    bound.map(Bytes::copy_from_slice)
}

fn borrowed(bound: &Bound<Bytes>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// The first key after all those that start with the prefix.
fn after_prefix(prefix: &[u8]) -> Bound<Bytes> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end.into());
        }
    }
    Bound::Unbounded
}

/// Whether a range holds nothing, which `BTreeMap::range` answers with a panic where start and end cross.
pub(crate) fn is_empty_range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to) | Bound::Included(to)) => from >= to,
        _ => false,
    }
}

/// Entries of a store in order of key.
pub struct StoreRange<'a> {
    writes: std::iter::Peekable<std::collections::btree_map::Range<'a, Bytes, Option<Bytes>>>,
    backing: &'a dyn StateBacking,
    store: &'a StoreInstance,
    page: std::iter::Peekable<std::vec::IntoIter<(Bytes, Bytes)>>,
    /// Where the next page starts; none after the last page.
    next: Option<Bound<Bytes>>,
    end: Bound<Bytes>,
}

impl<'a> StoreRange<'a> {
    pub(crate) fn new(overlay: &'a Overlay, backing: &'a dyn StateBacking, from: Bound<Bytes>, to: Bound<Bytes>) -> Self {
        let empty = is_empty_range(borrowed(&from), borrowed(&to));
        let writes = if empty {
            overlay.writes.range::<[u8], _>((Bound::Included(&[][..]), Bound::Excluded(&[][..])))
        } else {
            overlay.writes.range::<[u8], _>((borrowed(&from), borrowed(&to)))
        };
        Self {
            writes: writes.peekable(),
            backing,
            store: &overlay.store,
            page: Vec::new().into_iter().peekable(),
            next: (!empty).then_some(from),
            end: to,
        }
    }

    fn fill(&mut self) -> Result<(), StateError> {
        if self.page.peek().is_some() {
            return Ok(());
        }
        let Some(from) = self.next.take() else { return Ok(()) };
        let page = self.backing.range(self.store, borrowed(&from), borrowed(&self.end), PAGE)?;
        if page.len() >= PAGE {
            self.next = page.last().map(|(key, _)| Bound::Excluded(key.clone()));
        }
        self.page = page.into_iter().peekable();
        Ok(())
    }
}

impl Iterator for StoreRange<'_> {
    type Item = Result<(Bytes, Bytes), StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Err(error) = self.fill() {
                return Some(Err(error));
            }
            let order = match (self.writes.peek(), self.page.peek()) {
                (None, None) => return None,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((written, _)), Some((committed, _))) => written.as_ref().cmp(committed.as_ref()),
            };
            if order == std::cmp::Ordering::Greater {
                return self.page.next().map(Ok);
            }
            if order == std::cmp::Ordering::Equal {
                self.page.next();
            }
            if let Some((key, Some(value))) = self.writes.next() {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}
