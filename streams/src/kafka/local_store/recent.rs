//! The keys that were read since the last transaction, and where they were: what is read is as a rule written next, and need not be
//! looked up in the file again.

use std::hash::{BuildHasherDefault, Hasher};

use super::index::Place;

/// Bytes of keys that are remembered at most.
const MOST: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Recent {
    /// By the hash of the whole key: where in `keys` it is, and its place.
    places: std::collections::HashMap<u64, (usize, usize, Place), BuildHasherDefault<AsItIs>>,
    keys: Vec<u8>,
}

impl Recent {
    pub(super) fn note(&mut self, hash: u64, key: &[u8], place: Place) {
        if self.keys.len() + key.len() <= MOST {
            let start = self.keys.len();
            self.keys.extend_from_slice(key);
            self.places.insert(hash, (start, self.keys.len(), place));
        }
    }

    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<Place> {
        let (start, end, place) = self.places.get(&hash)?;
        (self.keys[*start..*end] == *key).then_some(*place)
    }

    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.keys.clear();
    }
}

/// The key is a hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
