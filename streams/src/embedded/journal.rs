//! Store changes are written twice: at the commit, one after the other, to the table `journal`; and behind, in order of key and many to a
//! page, to the table `entries`. A page of `entries` is then written once for many changes, and not once for each.
//!
//! In memory lie two tables of changes. A commit adds to the *young* one. When that is full it becomes the *old* one, whose changes
//! the next commits write to `entries`, each a slice; when the last slice is written, the journal's rows of the old table go, in the
//! same transaction. The old table stays until the young one replaces it, as a cache.
//!
//! A crash between any two commits loses nothing: what the journal still holds is read into the young table when the log is opened,
//! and a change that was written behind already is written again, to the same value.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use rusqlite::Connection;

use super::varint;
use crate::StoreChanges;

/// What an entry of a table costs beside its bytes, roughly.
const OVERHEAD: usize = 100;
/// A commit writes this many times more changes behind than it adds, so that the old table is done before the young one is full.
const PACE: usize = 2;

/// A store in the file, and a partition of it.
pub(super) type Place = (i64, i32);
type Changes = BTreeMap<Bytes, Option<Bytes>>;
type Change = (Place, Bytes, Option<Bytes>);

/// Changes since some commit; the last one of each key.
#[derive(Debug, Default)]
struct Table {
    places: BTreeMap<Place, Changes>,
    bytes: usize,
}

/// What a commit adds, and how far it writes behind: taken over once it is committed.
#[derive(Debug, Default)]
pub(super) struct Step {
    added: Vec<Change>,
    added_bytes: usize,
    written_to: Option<Cursor>,
    entries: usize,
}

impl Step {
    /// Pages that it writes, roughly.
    pub(super) fn pages(&self) -> usize {
        self.added_bytes / 4096 + self.entries / 2
    }
}

/// The next change of the old table to be written to `entries`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cursor {
    At(Place, Bytes),
    Done,
}

/// The changes that the journal holds.
#[derive(Debug)]
pub(super) struct Journal {
    young: Table,
    old: Table,
    cursor: Cursor,
    /// The journal's rows up to this one are those of the old table.
    old_until: i64,
    last: i64,
    /// When the young table is full.
    half: usize,
}

impl Journal {
    /// Reads what the journal holds. Both tables together hold about `max_bytes`.
    pub(super) fn open(connection: &Connection, max_bytes: usize) -> rusqlite::Result<Journal> {
        let (young, old) = (Table::default(), Table::default());
        let mut journal = Journal { young, old, cursor: Cursor::Done, old_until: 0, last: 0, half: max_bytes / 2 };
        let mut statement = connection.prepare("SELECT number, changes FROM journal ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            journal.last = row.get(0)?;
            let blob = Bytes::copy_from_slice(row.get_ref(1)?.as_blob()?);
            journal.young.add(decode(&blob)?, blob.len());
        }
        Ok(journal)
    }

    /// The last change of a key, if the journal knows one: `Some(None)`, it was deleted.
    pub(super) fn get(&self, place: Place, key: &[u8]) -> Option<Option<Bytes>> {
        let find = |table: &Table| table.places.get(&place).and_then(|changes| changes.get(key)).cloned();
        find(&self.young).or_else(|| find(&self.old))
    }

    /// The changes of the keys within the bounds.
    pub(super) fn range(&self, place: Place, from: Bound<&[u8]>, to: Bound<&[u8]>) -> BTreeMap<Bytes, Option<Bytes>> {
        let mut found = BTreeMap::new();
        for table in [&self.old, &self.young] {
            let changes = table.places.get(&place).into_iter().flat_map(|changes| changes.range::<[u8], _>((from, to)));
            found.extend(changes.map(|(key, value)| (key.clone(), value.clone())));
        }
        found
    }

    /// Writes a commit's changes, and a slice of the old ones behind, inside the caller's transaction.
    pub(super) fn write(&self, connection: &Connection, changes: &[(Place, StoreChanges<'_>)]) -> rusqlite::Result<Step> {
        let count: usize = changes.iter().map(|(_, changes)| changes.len()).sum();
        if count == 0 {
            return Ok(Step::default());
        }
        let blob = Bytes::from(encode(changes));
        connection.prepare_cached("INSERT INTO journal (number, changes) VALUES (?, ?)")?.execute((self.last + 1, &*blob))?;
        // A full young table must find the old one done.
        let slice = if self.young.bytes >= self.half { usize::MAX } else { count * PACE };
        let (written_to, entries) = self.write_behind(connection, slice)?;
        Ok(Step { added: decode(&blob)?, added_bytes: blob.len(), written_to, entries })
    }

    fn write_behind(&self, connection: &Connection, slice: usize) -> rusqlite::Result<(Option<Cursor>, usize)> {
        let Cursor::At(place, key) = &self.cursor else { return Ok((None, 0)) };
        // OR REPLACE on a table whose only index is its primary key: one descent, no look for conflicts.
        let mut put = connection.prepare_cached("INSERT OR REPLACE INTO entries (store, partition, key, value) VALUES (?, ?, ?, ?)")?;
        let mut delete = connection.prepare_cached("DELETE FROM entries WHERE store = ? AND partition = ? AND key = ?")?;
        let mut written = 0;
        for (at, (key, value)) in self.old.from(*place, key) {
            if written == slice {
                return Ok((Some(Cursor::At(at, key.clone())), written));
            }
            match value {
                Some(value) => put.execute((at.0, at.1, &**key, &**value))?,
                None => delete.execute((at.0, at.1, &**key))?,
            };
            written += 1;
        }
        connection.prepare_cached("DELETE FROM journal WHERE number <= ?")?.execute([self.old_until])?;
        Ok((Some(Cursor::Done), written))
    }

    /// After the commit.
    pub(super) fn committed(&mut self, step: Step) {
        if let Some(cursor) = step.written_to {
            self.cursor = cursor;
        }
        if !step.added.is_empty() {
            self.last += 1;
            self.young.add(step.added, step.added_bytes);
        }
        if self.young.bytes >= self.half && self.cursor == Cursor::Done {
            self.old = std::mem::take(&mut self.young);
            self.old_until = self.last;
            self.cursor = self.old.first();
        }
    }
}

impl Table {
    /// Takes over the changes of a journal row; they go on lying in its bytes.
    fn add(&mut self, changes: Vec<Change>, bytes: usize) {
        self.bytes += bytes;
        for (place, key, value) in changes {
            if self.places.entry(place).or_default().insert(key, value).is_none() {
                self.bytes += OVERHEAD;
            }
        }
    }

    fn first(&self) -> Cursor {
        let mut all = self.places.iter().flat_map(|(place, changes)| changes.keys().map(|key| (*place, key)));
        all.next().map_or(Cursor::Done, |(place, key)| Cursor::At(place, key.clone()))
    }

    /// All changes from one on, in the order of `entries`.
    fn from<'a>(&'a self, place: Place, key: &'a Bytes) -> impl Iterator<Item = (Place, (&'a Bytes, &'a Option<Bytes>))> {
        let rest = self.places.range((Bound::Excluded(place), Bound::Unbounded));
        let first = self.places.get(&place).into_iter().flat_map(move |changes| changes.range::<Bytes, _>(key..));
        first.map(move |change| (place, change)).chain(rest.flat_map(|(place, changes)| changes.iter().map(|change| (*place, change))))
    }
}

/// The last change of one key in a row of the journal.
pub(super) fn find(blob: Bytes, place: Place, key: &[u8]) -> rusqlite::Result<Option<Option<Bytes>>> {
    Ok(decode(&blob)?.into_iter().find(|(at, name, _)| *at == place && name == key).map(|(_, _, value)| value))
}

/// For each store: its id, its partition, how many changes; for each change: length of the key and the key, length of the value + 1 (0:
/// deleted) and the value.
fn encode(changes: &[(Place, StoreChanges<'_>)]) -> Vec<u8> {
    let size = |changes: &StoreChanges<'_>| -> usize {
        changes.entries().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + 8).sum::<usize>() + 16
    };
    let mut blob = Vec::with_capacity(changes.iter().map(|(_, changes)| size(changes)).sum());
    for ((store, partition), changes) in changes {
        varint::put_signed(&mut blob, *store);
        varint::put_signed(&mut blob, i64::from(*partition));
        varint::put(&mut blob, changes.len() as u64);
        for (key, value) in changes.entries() {
            varint::put(&mut blob, key.len() as u64);
            blob.extend_from_slice(key);
            match value {
                None => varint::put(&mut blob, 0),
                Some(value) => {
                    varint::put(&mut blob, value.len() as u64 + 1);
                    blob.extend_from_slice(value);
                }
            }
        }
    }
    blob
}

fn decode(blob: &Bytes) -> rusqlite::Result<Vec<Change>> {
    let mut rest = &blob[..];
    let mut changes = Vec::new();
    let mut all = || -> Option<()> {
        while !rest.is_empty() {
            let store = varint::take_signed(&mut rest)?;
            let partition = i32::try_from(varint::take_signed(&mut rest)?).ok()?;
            for _ in 0..varint::take(&mut rest)? {
                let length = varint::take(&mut rest)?;
                let key = blob.slice_ref(varint::take_bytes(&mut rest, length)?);
                let value = match varint::take(&mut rest)? {
                    0 => None,
                    length => Some(blob.slice_ref(varint::take_bytes(&mut rest, length - 1)?)),
                };
                changes.push(((store, partition), key, value));
            }
        }
        Some(())
    };
    // As SQLite says it of a page that is not what was written.
    let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    all().ok_or_else(|| rusqlite::Error::SqliteFailure(corrupt, Some("a row of the journal is damaged".into())))?;
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreInstance;
    use crate::embedded::state_backing::SqliteState;
    use crate::embedded::{database, topics};
    use crate::store::{MemoryBacking, Overlay, StateBacking, StoreRef};
    use proptest::prelude::*;
    use std::cell::RefCell;

    const MAX_BYTES: usize = 6_000;

    #[derive(Debug, Clone)]
    enum Action {
        /// Key → value; none deletes. All in one commit, of one of two stores.
        Commit(usize, Vec<(u8, Option<u8>)>),
        /// A transaction that is rolled back.
        Fail(usize, Vec<(u8, Option<u8>)>),
        /// The process dies, and the file is opened again.
        Crash,
    }

    fn actions() -> impl Strategy<Value = Vec<Action>> {
        let changes = || (0..2usize, prop::collection::vec((any::<u8>(), prop::option::weighted(0.7, any::<u8>())), 0..40));
        prop::collection::vec(
            prop_oneof![
                8 => changes().prop_map(|(store, changes)| Action::Commit(store, changes)),
                1 => changes().prop_map(|(store, changes)| Action::Fail(store, changes)),
                1 => Just(Action::Crash),
            ],
            1..60,
        )
    }

    fn instance(index: usize) -> StoreInstance {
        StoreInstance { name: format!("store{index}").into(), index, partition: 3 }
    }

    fn overlay(index: usize, changes: &[(u8, Option<u8>)]) -> Overlay {
        let mut overlay = Overlay::new(instance(index));
        let empty = MemoryBacking::default();
        let mut store = StoreRef { overlay: &mut overlay, backing: &empty };
        for (key, value) in changes {
            match value {
                Some(value) => store.put(vec![b'k', *key], vec![*value; usize::from(*value)]),
                None => store.delete(vec![b'k', *key]),
            }
        }
        overlay
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is committed, given up, and lost in memory: the stores read as a plain map would, and so they do without us.
        #[test]
        fn stores_read_as_a_map(actions in actions()) {
            let folder = tempfile::tempdir().unwrap();
            let connection = database::open_writer(folder.path(), 1 << 20).unwrap();
            let ids = [0, 1].map(|index| crate::embedded::state_backing::id(&connection, "app", &instance(index).name).unwrap());
            let journal = RefCell::new(Journal::open(&connection, MAX_BYTES).unwrap());
            let mut expected = MemoryBacking::default();
            for action in &actions {
                match action {
                    Action::Commit(store, changes) | Action::Fail(store, changes) => {
                        let overlay = overlay(*store, changes);
                        let transaction = topics::begin(&connection).unwrap();
                        let step = journal.borrow().write(&transaction, &[((ids[*store], 3), overlay.changes())]).unwrap();
                        if matches!(action, Action::Commit(..)) {
                            transaction.commit().unwrap();
                            journal.borrow_mut().committed(step);
                            expected.apply(&overlay.changes());
                        }
                    }
                    Action::Crash => *journal.borrow_mut() = Journal::open(&connection, MAX_BYTES).unwrap(),
                }
                let rows: i64 = connection.query_row("SELECT coalesce(sum(length(changes)), 0) FROM journal", [], |row| row.get(0)).unwrap();
                prop_assert!(rows < 4 * MAX_BYTES as i64 + 20_000, "the journal stays short: {rows}");
                let state = SqliteState { connection: &connection, ids: &ids, journal: &journal };
                for index in 0..2 {
                    let all = |backing: &dyn StateBacking, limit| backing.range(&instance(index), Bound::Unbounded, Bound::Unbounded, limit).unwrap();
                    prop_assert_eq!(all(&state, 1_000), all(&expected, 1_000));
                    prop_assert_eq!(all(&state, 7), all(&expected, 7));
                    for key in 0..=u8::MAX {
                        let key = [b'k', key];
                        let value = expected.get(&instance(index), &key).unwrap();
                        prop_assert_eq!(&state.get(&instance(index), &key).unwrap(), &value);
                    }
                    let middle = (Bound::Excluded(&b"k\x20"[..]), Bound::Included(&b"k\xa0"[..]));
                    let some = |backing: &dyn StateBacking| backing.range(&instance(index), middle.0, middle.1, 5).unwrap();
                    prop_assert_eq!(some(&state), some(&expected));
                }
            }
            let reader = crate::embedded::LogReader::open(folder.path()).unwrap();
            for key in (0..=u8::MAX).map(|key| [b'k', key]) {
                prop_assert_eq!(reader.store_entry("app", "store1", 3, &key).unwrap(), expected.get(&instance(1), &key).unwrap());
            }
        }
    }

    #[test]
    fn a_damaged_row_is_found() {
        let overlay = overlay(0, &[(1, Some(7)), (2, None)]);
        let blob = Bytes::from(encode(&[((5, 3), overlay.changes())]));
        assert_eq!(decode(&blob).unwrap().len(), 2);
        for length in 1..blob.len() {
            assert!(decode(&blob.slice(..length)).is_err(), "cut at {length}");
        }
    }
}
