//! Store entries that were committed lately, so that a key that is busy is not looked up in the file again and again.

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::StoreInstance;

/// What an entry costs beside its bytes, roughly.
const OVERHEAD: usize = 128;

type Entries = FxHashMap<Bytes, Bytes>;

/// Two generations: what is used moves to the young one; when that is full, it becomes the old one, and the old one goes.
#[derive(Debug)]
pub(super) struct EntryCache {
    young: FxHashMap<(usize, i32), Entries>,
    old: FxHashMap<(usize, i32), Entries>,
    young_bytes: usize,
    /// Half of the bytes that it may hold.
    half: usize,
}

impl EntryCache {
    pub(super) fn new(max_bytes: usize) -> EntryCache {
        EntryCache { young: FxHashMap::default(), old: FxHashMap::default(), young_bytes: 0, half: max_bytes / 2 }
    }

    /// The committed value of a key, if it is known here; that it has none is not.
    pub(super) fn get(&mut self, store: &StoreInstance, key: &[u8]) -> Option<Bytes> {
        let place = (store.index, store.partition);
        if let Some(value) = self.young.get(&place).and_then(|entries| entries.get(key)) {
            return Some(value.clone());
        }
        let (key, value) = self.old.get_mut(&place)?.remove_entry(key)?;
        self.insert(place, key, value.clone());
        Some(value)
    }

    /// A change that was committed; `None` deletes.
    pub(super) fn put(&mut self, store: &StoreInstance, key: &[u8], value: Option<&[u8]>) {
        let place = (store.index, store.partition);
        if let Some(entries) = self.old.get_mut(&place) {
            entries.remove(key);
        }
        if let Some((key, value)) = self.young.get_mut(&place).and_then(|entries| entries.remove_entry(key)) {
            self.young_bytes -= key.len() + value.len() + OVERHEAD;
        }
        if let Some(value) = value {
            // Copies: the originals may be slices of something large.
            self.insert(place, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        }
    }

    /// Forgets everything: the stores belong to another topology now.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.young_bytes = 0;
    }

    fn insert(&mut self, place: (usize, i32), key: Bytes, value: Bytes) {
        let bytes = key.len() + value.len() + OVERHEAD;
        if self.young_bytes + bytes > self.half {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if bytes <= self.half {
            self.young_bytes += bytes;
            self.young.entry(place).or_default().insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(index: usize) -> StoreInstance {
        StoreInstance { name: "store".into(), index, partition: 0 }
    }

    #[test]
    fn it_knows_what_was_put_last_and_nothing_of_what_was_deleted() {
        let mut cache = EntryCache::new(10_000);
        cache.put(&store(0), b"a", Some(b"1"));
        cache.put(&store(0), b"a", Some(b"2"));
        cache.put(&store(1), b"a", Some(b"3"));
        assert_eq!(cache.get(&store(0), b"a").as_deref(), Some(&b"2"[..]));
        cache.put(&store(0), b"a", None);
        assert_eq!(cache.get(&store(0), b"a"), None);
        assert_eq!(cache.get(&store(1), b"a").as_deref(), Some(&b"3"[..]));
        cache.clear();
        assert_eq!(cache.get(&store(1), b"a"), None);
    }

    #[test]
    fn it_stays_within_its_bytes_and_keeps_what_is_used() {
        let mut cache = EntryCache::new(100 * (OVERHEAD + 5));
        for key in 0..1_000u32 {
            cache.put(&store(0), &key.to_be_bytes(), Some(b"v"));
            assert!(cache.get(&store(0), &0u32.to_be_bytes()).is_some(), "used all the time");
            let held: usize = [&cache.young, &cache.old].iter().flat_map(|generation| generation.values()).map(FxHashMap::len).sum();
            assert!(held <= 100, "{held}");
        }
        assert!(cache.get(&store(0), &500u32.to_be_bytes()).is_none());
        // A stale value in the old generation must not come back.
        cache.put(&store(0), &0u32.to_be_bytes(), None);
        assert!(cache.get(&store(0), &0u32.to_be_bytes()).is_none());
    }
}
