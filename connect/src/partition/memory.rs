//! The last result published for each record, for the records heard of last (rule 4).

use crate::conversation::Published;
use rustc_hash::FxHashMap;
use std::{collections::VecDeque, sync::Arc};

#[derive(Debug)]
pub(super) struct Memory {
    capacity: usize,
    records: FxHashMap<Arc<str>, (u64, Published)>,
    /// Keys in the order of their entries' numbers; entries overtaken by a newer one are skipped.
    ages: VecDeque<(u64, Arc<str>)>,
    next: u64,
}

impl Memory {
    pub fn new(capacity: usize) -> Self {
        Memory { capacity, records: FxHashMap::default(), ages: VecDeque::new(), next: 0 }
    }

    pub fn get(&self, key: &str) -> Option<&Published> {
        self.records.get(key).map(|(_, published)| published)
    }

    /// Keeps the newest: what is published again after an older one (it is in order, so it never is) changes nothing.
    pub fn put(&mut self, key: &str, published: Published) {
        if self.get(key).is_some_and(|known| known.order > published.order) {
            return;
        }
        let key: Arc<str> = key.into();
        self.next += 1;
        self.records.insert(key.clone(), (self.next, published));
        self.ages.push_back((self.next, key));
        while self.records.len() > self.capacity || self.ages.len() > 2 * self.capacity.max(16) {
            let Some((age, key)) = self.ages.pop_front() else { break };
            match self.records.get(&key) {
                Some((current, _)) if *current == age => {
                    self.records.remove(&key);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(order: i64) -> Published {
        Published { order, fields: None }
    }

    #[test]
    fn the_records_heard_of_longest_ago_are_forgotten() {
        let mut memory = Memory::new(2);
        memory.put("a", published(1));
        memory.put("b", published(2));
        memory.put("a", published(3));
        memory.put("c", published(4));
        assert_eq!((memory.get("a"), memory.get("b"), memory.get("c")), (Some(&published(3)), None, Some(&published(4))));
        for order in 5..1_000 {
            memory.put("a", published(order));
        }
        assert_eq!(memory.get("a"), Some(&published(999)));
        assert!(memory.ages.len() <= 32);
    }
}
