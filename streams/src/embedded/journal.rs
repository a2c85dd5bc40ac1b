//! Store changes are written twice: at the commit, one after the other, to the table `journal`; and behind, in order of key and many to a
//! page, to the table `entries`. A page of `entries` is then written once for many changes, and not once for each.
//!
//! In memory lie two tables of changes. A commit adds to the *young* one, before it is written: the next round reads what the last one
//! changed while that is on its way into the file. When the young table is full it becomes the *old* one, whose changes the next commits
//! write to `entries`, each a slice ([`Behind`]); when the last slice is written, the journal's rows of the old table go, in the same
//! transaction. The old table stays until the young one replaces it, as a cache.
//!
//! A crash between any two commits loses nothing: what the journal still holds is read into the young table when the log is opened,
//! and a change that was written behind already is written again, to the same value. After a commit that failed the same is done.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::Connection;
use rustc_hash::{FxBuildHasher, FxHashSet};

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
    /// Hashes of all keys: most reads are of keys that are not here, and need no search to know it.
    hashes: FxHashSet<u64>,
    bytes: usize,
}

/// What a commit writes of the stores.
#[derive(Debug)]
pub(super) struct StoreCommit {
    /// Number of the journal's row, and the row.
    number: i64,
    changes: Bytes,
    /// Changes in it.
    count: usize,
    /// The table that is to be written behind from this commit on: all up to this row.
    begins: Option<Arc<Table>>,
    /// Whether all that is left of the old table must be written, since the young one is full.
    finishes: bool,
}

/// The changes that the journal holds, for those who read them.
#[derive(Debug)]
pub(super) struct Journal {
    young: Table,
    old: Arc<Table>,
    /// Whether all of the old table is in `entries`.
    old_is_written: bool,
    last: i64,
    /// When the young table is full.
    half: usize,
}

impl Journal {
    /// Reads what the journal holds. Both tables together hold about `max_bytes`.
    pub(super) fn open(connection: &Connection, max_bytes: usize) -> rusqlite::Result<Journal> {
        let (young, old) = (Table::default(), Arc::default());
        let mut journal = Journal { young, old, old_is_written: true, last: 0, half: max_bytes / 2 };
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
        let hash = hash(place, key);
        self.young.get(place, key, hash).or_else(|| self.old.get(place, key, hash))
    }

    /// The changes of the keys within the bounds.
    pub(super) fn range(&self, place: Place, from: Bound<&[u8]>, to: Bound<&[u8]>) -> BTreeMap<Bytes, Option<Bytes>> {
        let mut found = BTreeMap::new();
        for table in [&*self.old, &self.young] {
            let changes = table.places.get(&place).into_iter().flat_map(|changes| changes.range::<[u8], _>((from, to)));
            found.extend(changes.map(|(key, value)| (key.clone(), value.clone())));
        }
        found
    }

    /// The last changes of all keys of a store, by partition.
    pub(super) fn of_store(&self, store: i64) -> BTreeMap<(i32, Bytes), Option<Bytes>> {
        let mut found = BTreeMap::new();
        for table in [&*self.old, &self.young] {
            for ((_, partition), changes) in table.places.range((store, i32::MIN)..=(store, i32::MAX)) {
                found.extend(changes.iter().map(|(key, value)| ((*partition, key.clone()), value.clone())));
            }
        }
        found
    }

    /// Takes a commit's changes over; what the commit is to write of them. None: nothing changed.
    pub(super) fn add(&mut self, changes: &[(Place, StoreChanges<'_>)]) -> rusqlite::Result<Option<StoreCommit>> {
        let count: usize = changes.iter().map(|(_, changes)| changes.len()).sum();
        if count == 0 {
            return Ok(None);
        }
        let changes = Bytes::from(encode(changes));
        self.young.add(decode(&changes)?, changes.len());
        self.last += 1;
        let full = self.young.bytes >= self.half;
        let begins = (full && self.old_is_written).then(|| {
            self.old = Arc::new(std::mem::take(&mut self.young));
            self.old_is_written = false;
            self.old.clone()
        });
        Ok(Some(StoreCommit { number: self.last, changes, count, finishes: full && begins.is_none(), begins }))
    }

    /// A commit is in the file; and so is all of the old table, or not yet.
    pub(super) fn committed(&mut self, old_is_written: bool) {
        self.old_is_written = old_is_written;
    }
}

/// The next change of the old table to be written to `entries`.
#[derive(Debug)]
struct Cursor {
    place: Place,
    key: Bytes,
}

/// How far the old table is written to `entries`.
#[derive(Debug, Default)]
pub(super) struct Behind {
    old: Arc<Table>,
    /// None: all of it is.
    cursor: Option<Cursor>,
    /// The journal's rows up to this one are those of the old table.
    old_until: i64,
}

impl Behind {
    /// Writes a commit's changes, and a slice of the old ones, inside the caller's transaction; about how many pages that takes. If the
    /// transaction fails, both this and the journal must be read anew.
    pub(super) fn write(&mut self, connection: &Connection, commit: &StoreCommit) -> rusqlite::Result<usize> {
        let StoreCommit { number, changes, count, begins, finishes } = commit;
        connection.prepare_cached("INSERT INTO journal (number, changes) VALUES (?, ?)")?.execute((number, &**changes))?;
        if let Some(table) = begins {
            *self = Behind { old: table.clone(), cursor: table.first(), old_until: *number };
        }
        let written = self.write_slice(connection, if *finishes { usize::MAX } else { count * PACE })?;
        Ok(changes.len() / 4096 + written / 2)
    }

    fn write_slice(&mut self, connection: &Connection, slice: usize) -> rusqlite::Result<usize> {
        let Some(Cursor { place, key }) = self.cursor.take() else { return Ok(0) };
        // OR REPLACE on a table whose only index is its primary key: one descent, no look for conflicts.
        let mut put = connection.prepare_cached("INSERT OR REPLACE INTO entries (store, partition, key, value) VALUES (?, ?, ?, ?)")?;
        let mut delete = connection.prepare_cached("DELETE FROM entries WHERE store = ? AND partition = ? AND key = ?")?;
        let mut written = 0;
        for (at, (key, value)) in self.old.from(place, &key) {
            if written == slice {
                self.cursor = Some(Cursor { place: at, key: key.clone() });
                return Ok(written);
            }
            match value {
                Some(value) => put.execute((at.0, at.1, &**key, &**value))?,
                None => delete.execute((at.0, at.1, &**key))?,
            };
            written += 1;
        }
        connection.prepare_cached("DELETE FROM journal WHERE number <= ?")?.execute([self.old_until])?;
        Ok(written)
    }

    /// Whether all of the old table is in `entries`.
    pub(super) fn is_done(&self) -> bool {
        self.cursor.is_none()
    }
}

fn hash(place: Place, key: &[u8]) -> u64 {
    FxBuildHasher.hash_one((place, key))
}

impl Table {
    fn get(&self, place: Place, key: &[u8], hash: u64) -> Option<Option<Bytes>> {
        if self.hashes.contains(&hash) { self.places.get(&place)?.get(key).cloned() } else { None }
    }

    /// Takes over the changes of a journal row; they go on lying in its bytes.
    fn add(&mut self, changes: Vec<Change>, bytes: usize) {
        self.bytes += bytes;
        for (place, key, value) in changes {
            self.hashes.insert(hash(place, &key));
            if self.places.entry(place).or_default().insert(key, value).is_none() {
                self.bytes += OVERHEAD;
            }
        }
    }

    fn first(&self) -> Option<Cursor> {
        let mut all = self.places.iter().flat_map(|(place, changes)| changes.keys().map(|key| (*place, key)));
        all.next().map(|(place, key)| Cursor { place, key: key.clone() })
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

    const MAX_BYTES: usize = 6_000;

    #[derive(Debug, Clone)]
    enum Action {
        /// Key → value; none deletes. All in one commit, of one of two stores.
        Commit(usize, Vec<(u8, Option<u8>)>),
        /// A transaction that is rolled back; what the journal holds is read anew.
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

    fn entries(backing: &dyn StateBacking, index: usize, limit: usize) -> Vec<(Bytes, Bytes)> {
        backing.range(&instance(index), Bound::Unbounded, Bound::Unbounded, limit).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is committed, given up, and lost in memory: the stores read as a plain map would, and so they do without us.
        #[test]
        fn stores_read_as_a_map(actions in actions()) {
            let folder = tempfile::tempdir().unwrap();
            let connection = database::open_writer(folder.path(), 1 << 20).unwrap();
            let ids = [0, 1].map(|index| crate::embedded::state_backing::id(&connection, "app", &instance(index).name).unwrap());
            let mut journal = Journal::open(&connection, MAX_BYTES).unwrap();
            let mut behind = Behind::default();
            let mut expected = MemoryBacking::default();
            for action in &actions {
                match action {
                    Action::Commit(store, changes) | Action::Fail(store, changes) => {
                        let overlay = overlay(*store, changes);
                        let commit = journal.add(&[((ids[*store], 3), overlay.changes())]).unwrap();
                        let transaction = topics::begin(&connection).unwrap();
                        if let Some(commit) = commit {
                            behind.write(&transaction, &commit).unwrap();
                        }
                        if matches!(action, Action::Commit(..)) {
                            expected.apply(&overlay.changes());
                            // The next round may read before the file knows.
                            let reads = crate::embedded::database::open_reader(folder.path()).unwrap();
                            let state = SqliteState { connection: &reads, ids: &ids, journal: &journal };
                            prop_assert_eq!(entries(&state, *store, 1_000), entries(&expected, *store, 1_000));
                            transaction.commit().unwrap();
                            journal.committed(behind.is_done());
                        } else {
                            transaction.rollback().unwrap();
                            journal = Journal::open(&connection, MAX_BYTES).unwrap();
                            behind = Behind::default();
                        }
                    }
                    Action::Crash => {
                        journal = Journal::open(&connection, MAX_BYTES).unwrap();
                        behind = Behind::default();
                    }
                }
                let rows: i64 = connection.query_row("SELECT coalesce(sum(length(changes)), 0) FROM journal", [], |row| row.get(0)).unwrap();
                prop_assert!(rows < 4 * MAX_BYTES as i64 + 20_000, "the journal stays short: {rows}");
                let state = SqliteState { connection: &connection, ids: &ids, journal: &journal };
                for index in 0..2 {
                    prop_assert_eq!(entries(&state, index, 1_000), entries(&expected, index, 1_000));
                    prop_assert_eq!(entries(&state, index, 7), entries(&expected, index, 7));
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
