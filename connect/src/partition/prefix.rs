//! Which offsets are finished: the committed offset is the end of the finished prefix.

use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Prefix {
    /// Offsets taken and not part of the finished prefix, ascending, with whether they are finished.
    taken: VecDeque<(i64, bool)>,
    /// The end of the finished prefix.
    end: i64,
    /// The end as it was last given out.
    given: i64,
}

impl Prefix {
    pub fn new(committed: i64) -> Self {
        Prefix { taken: VecDeque::new(), end: committed, given: committed }
    }

    /// Whether this offset is new; they come in order.
    pub fn take(&mut self, offset: i64) -> bool {
        if offset < self.taken.back().map_or(self.end, |(last, _)| last + 1) {
            return false;
        }
        self.taken.push_back((offset, false));
        true
    }

    pub fn finish(&mut self, offset: i64) {
        if let Ok(i) = self.taken.binary_search_by_key(&offset, |(o, _)| *o) {
            self.taken[i].1 = true;
        }
        while let Some((offset, true)) = self.taken.front() {
            self.end = offset + 1;
            self.taken.pop_front();
        }
    }

    /// How many offsets are held.
    pub fn len(&self) -> usize {
        self.taken.len()
    }

    pub fn end(&self) -> i64 {
        self.end
    }

    /// The end, if it moved since it was last given.
    pub fn give(&mut self) -> Option<i64> {
        let moved = self.end > self.given;
        self.given = self.end;
        moved.then_some(self.end)
    }

    /// What was given was not committed: it is given again.
    pub fn take_back(&mut self) {
        self.given = i64::MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_after_the_last_offset_before_which_all_are_finished() {
        let mut prefix = Prefix::new(10);
        assert!(prefix.take(10) && prefix.take(11) && prefix.take(14));
        assert!(!prefix.take(14) && !prefix.take(9), "seen before");
        prefix.finish(11);
        assert_eq!((prefix.end(), prefix.give()), (10, None));
        prefix.finish(10);
        assert_eq!((prefix.give(), prefix.give()), (Some(12), None));
        prefix.finish(14);
        assert_eq!((prefix.give(), prefix.len()), (Some(15), 0));
    }
}
