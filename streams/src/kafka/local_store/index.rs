//! Where the newest value of each key is: a hash table of 12 bytes a place, without the keys.
//!
//! A key is found by its hash; whether it is the key, its record in the file tells. The hash is seeded anew whenever a store is opened,
//! so nobody can choose keys that collide.

use std::hash::{BuildHasher, RandomState};

/// A place in the log: a segment, and where in it the record begins (never 0, where the header is).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    hash: u32,
    place: Place,
}

impl Slot {
    fn is_free(self) -> bool {
        self.place.offset == 0
    }
}

/// Open addressing: a key is at its home or after it, with no free slot between.
#[derive(Debug)]
pub(super) struct Index {
    seed: RandomState,
    slots: Vec<Slot>,
    len: usize,
}

const SMALLEST: usize = 64;

impl Index {
    pub(super) fn new() -> Index {
        Index { seed: RandomState::new(), slots: vec![Slot::default(); SMALLEST], len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.seed.hash_one(key)
    }

    /// Among the places of this hash the one that `is` is true for.
    pub(super) fn find<E>(&self, hash: u64, mut is: impl FnMut(Place) -> Result<bool, E>) -> Result<Option<Found>, E> {
        let hash = kept(hash);
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot.is_free() {
                return Ok(None);
            }
            if slot.hash == hash && is(slot.place)? {
                return Ok(Some(Found { at, place: slot.place }));
            }
            at = self.after(at);
        }
    }

    /// The slot that holds exactly this place.
    pub(super) fn at(&self, hash: u64, place: Place) -> Option<Found> {
        let found: Result<_, std::convert::Infallible> = self.find(hash, |other| Ok(other == place));
        found.unwrap_or(None)
    }

    /// The key that was found is now elsewhere.
    pub(super) fn replace(&mut self, found: Found, place: Place) {
        self.slots[found.at].place = place;
    }

    /// A key that is not in here.
    pub(super) fn insert(&mut self, hash: u64, place: Place) {
        if self.len >= self.slots.len() / 8 * 7 {
            self.grow();
        }
        self.len += 1;
        self.put(Slot { hash: kept(hash), place });
    }

    /// The key that was found is no more: those after it move up.
    pub(super) fn remove(&mut self, found: Found) {
        self.len -= 1;
        let mut free = found.at;
        let mut at = self.after(free);
        while !self.slots[at].is_free() {
            let distance = |from: usize| (at + self.slots.len() - from) % self.slots.len();
            if distance(self.home(self.slots[at].hash)) >= distance(free) {
                self.slots[free] = self.slots[at];
                free = at;
            }
            at = self.after(at);
        }
        self.slots[free] = Slot::default();
    }

    fn put(&mut self, slot: Slot) {
        let mut at = self.home(slot.hash);
        while !self.slots[at].is_free() {
            at = self.after(at);
        }
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        let larger = self.slots.len() / 4 * 5;
        let slots = std::mem::replace(&mut self.slots, vec![Slot::default(); larger]);
        for slot in slots.into_iter().filter(|slot| !slot.is_free()) {
            self.put(slot);
        }
    }

    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.slots.len() as u64) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }
}

/// The part of a hash that is kept: its upper half, which also tells where it is at home.
fn kept(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// A key that was found, until the index is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    at: usize,
    pub(super) place: Place,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes, so that many keys have the same one, and all homes are next to the table's end.
        #[test]
        fn it_is_a_map_also_where_hashes_collide(steps in prop::collection::vec((0u32..6, 1u32..400, any::<bool>()), 0..600)) {
            let (mut index, mut model) = (Index::new(), BTreeMap::new());
            for (hash, key, put) in steps {
                // The place stands for the key: its segment is the key, its offset changes.
                let hash = u64::MAX - (u64::from(hash * 7_000_000) << 32);
                let found = index.find(hash, |place| Ok::<_, ()>(place.segment == key)).unwrap();
                prop_assert_eq!(found.map(|found| found.place), model.get(&(hash, key)).copied());
                let place = Place { segment: key, offset: model.len() as u32 + 1 };
                match (put, found) {
                    (true, Some(found)) => index.replace(found, place),
                    (true, None) => index.insert(hash, place),
                    (false, Some(found)) => index.remove(found),
                    (false, None) => {}
                }
                if put { model.insert((hash, key), place); } else { model.remove(&(hash, key)); }
                prop_assert_eq!(index.len(), model.len());
            }
            for ((hash, _), place) in model {
                prop_assert_eq!(index.at(hash, place).map(|found| found.place), Some(place));
            }
        }
    }
}
