//! Requests that are not finished: whose turn it is, and how far each partition is. Pure.

use super::job::Job;
use rustc_hash::FxHashMap;
use schemas::Action;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// A request's place in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub partition: i32,
    pub offset: i64,
}

/// One turn: a record's next request, with the places that it finishes (reads that follow each other are one).
#[derive(Debug, Clone)]
pub struct Turn {
    pub job: Job,
    places: Vec<Place>,
}

/// One thing at a time per record, in the topic's order; many records at once.
#[derive(Debug, Default)]
pub struct Queue {
    /// Unfinished requests of each record, in order; the first has its turn, unless it is out.
    records: FxHashMap<Arc<str>, VecDeque<(Place, Job)>>,
    /// Records whose first request can be taken.
    ready: VecDeque<Arc<str>>,
    /// Records to be tried again, by when (milliseconds).
    later: BTreeSet<(i64, Arc<str>)>,
    partitions: BTreeMap<i32, Progress>,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Progress {
    /// The offset after the last one offered.
    end: i64,
    unfinished: BTreeSet<i64>,
    committed: i64,
}

impl Queue {
    /// A partition is read from here on.
    pub fn start(&mut self, partition: i32, committed: i64) {
        self.partitions.insert(partition, Progress { end: committed, unfinished: BTreeSet::new(), committed });
    }

    /// Where the partition is to be read next.
    pub fn next_offset(&self, partition: i32) -> i64 {
        self.partitions.get(&partition).map_or(0, |p| p.end)
    }

    /// How many requests are not finished.
    pub fn len(&self) -> usize {
        self.waiting
    }

    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// A request was read. `None`: a place that holds no request; it is finished.
    pub fn offer(&mut self, place: Place, job: Option<Job>) {
        let progress = self.partitions.entry(place.partition).or_default();
        progress.end = place.offset + 1;
        let Some(job) = job else { return };
        progress.unfinished.insert(place.offset);
        self.waiting += 1;
        let key: Arc<str> = job.key.as_str().into();
        let requests = self.records.entry(key.clone()).or_default();
        requests.push_back((place, job));
        if requests.len() == 1 {
            self.ready.push_back(key);
        }
    }

    /// The next turns, each of another record, at most `limit`.
    pub fn take(&mut self, limit: usize, now: i64) -> Vec<Turn> {
        while self.later.first().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.ready.push_back(key);
            }
        }
        let keys = self.ready.drain(..self.ready.len().min(limit));
        keys.filter_map(|key| self.records.get(&key).and_then(turn)).collect()
    }

    /// When `take` may have more than now, if nothing else happens.
    pub fn next_due(&self) -> Option<i64> {
        self.later.first().map(|(due, _)| *due)
    }

    /// Whether some record has its turn.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// A turn is over. Not finished: again at `due`.
    pub fn give_back(&mut self, turn: &Turn, finished: bool, due: i64) {
        let key: Arc<str> = turn.job.key.as_str().into();
        if !finished {
            self.later.insert((due, key));
            return;
        }
        for place in &turn.places {
            if let Some(progress) = self.partitions.get_mut(&place.partition) {
                progress.unfinished.remove(&place.offset);
            }
            self.waiting -= 1;
        }
        let Some(requests) = self.records.get_mut(&key) else { return };
        requests.drain(..turn.places.len().min(requests.len()));
        if requests.is_empty() {
            self.records.remove(&key);
        } else {
            self.ready.push_back(key);
        }
    }

    /// The partitions whose finished prefix is longer than what was committed, with its end.
    pub fn to_commit(&self) -> Vec<(i32, i64)> {
        let ends = self.partitions.iter().map(|(n, p)| (*n, p.unfinished.first().copied().unwrap_or(p.end), p.committed));
        ends.filter(|(_, end, committed)| end > committed).map(|(n, end, _)| (n, end)).collect()
    }

    pub fn committed(&mut self, ends: &[(i32, i64)]) {
        for (partition, end) in ends {
            if let Some(progress) = self.partitions.get_mut(partition) {
                progress.committed = progress.committed.max(*end);
            }
        }
    }
}

/// The first request of a record; a read takes along the reads right behind it: one look answers them all.
fn turn(requests: &VecDeque<(Place, Job)>) -> Option<Turn> {
    let (place, job) = requests.front()?;
    let mut turn = Turn { job: job.clone(), places: vec![*place] };
    if let Action::Read(read) = &mut turn.job.action {
        for (place, job) in requests.iter().skip(1) {
            let Action::Read(next) = &job.action else { break };
            read.notices.extend(next.notices.iter().cloned());
            turn.places.push(*place);
        }
    }
    Some(turn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{CustomerId, Delete, Notice, Read, System, WriteId};

    fn read(key: &str, event: &str) -> Option<Job> {
        let notice = Notice { event_id: event.into(), write_id: None, time: 0, changes: vec![] };
        Some(Job { key: key.into(), action: Action::Read(Read { notices: vec![notice], page: None }) })
    }

    fn delete(key: &str) -> Option<Job> {
        let customer = CustomerId::from_uuid(uuid::Uuid::nil());
        let id = WriteId::write(customer, &System::new("product").unwrap(), 1);
        Some(Job { key: key.into(), action: Action::Delete(Delete { id, customer, incarnation: 0 }) })
    }

    fn at(partition: i32, offset: i64) -> Place {
        Place { partition, offset }
    }

    fn keys(turns: &[Turn]) -> Vec<&str> {
        turns.iter().map(|t| t.job.key.as_str()).collect()
    }

    #[test]
    fn a_record_has_one_turn_at_a_time_in_order() {
        let mut queue = Queue::default();
        for (offset, job) in [read("a", "1"), delete("a"), delete("b"), delete("a")].into_iter().enumerate() {
            queue.offer(at(0, offset as i64), job);
        }
        let first = queue.take(10, 0);
        assert_eq!(keys(&first), ["a", "b"]);
        assert!(queue.take(10, 0).is_empty(), "a is out");
        queue.give_back(&first[0], true, 0);
        let second = queue.take(10, 0);
        assert_eq!(keys(&second), ["a"]);
        assert!(matches!(second[0].job.action, Action::Delete(_)));
    }

    #[test]
    fn reads_that_follow_each_other_are_one_and_bring_all_notices() {
        let mut queue = Queue::default();
        for (offset, job) in [read("a", "1"), read("a", "2"), delete("a"), read("a", "3")].into_iter().enumerate() {
            queue.offer(at(0, offset as i64), job);
        }
        let turns = queue.take(10, 0);
        let Action::Read(read) = &turns[0].job.action else { panic!("a read") };
        assert_eq!(read.notices.iter().map(|n| n.event_id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
        queue.give_back(&turns[0], true, 0);
        assert_eq!(queue.to_commit(), [(0, 2)]);
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn only_the_finished_prefix_of_a_partition_is_committed() {
        let mut queue = Queue::default();
        queue.start(0, 5);
        queue.start(1, 0);
        queue.offer(at(0, 5), delete("a"));
        queue.offer(at(0, 6), delete("b"));
        queue.offer(at(1, 0), None);
        let turns = queue.take(10, 0);
        queue.give_back(&turns[1], true, 0);
        queue.give_back(&turns[0], false, 100);
        assert_eq!(queue.to_commit(), [(1, 1)], "a at 5 is not finished");
        queue.committed(&[(1, 1)]);
        assert!(queue.take(10, 99).is_empty());
        assert_eq!(queue.next_due(), Some(100));
        let again = queue.take(10, 100);
        queue.give_back(&again[0], true, 0);
        assert_eq!(queue.to_commit(), [(0, 7)]);
    }
}
