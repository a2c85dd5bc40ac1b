//! All stores of a task: apart from each other, each with its position.

use super::*;

const TASK: TaskId = TaskId { subtopology: 0, partition: 3 };

fn open(folder: &Path) -> LocalStore {
    LocalStore::open(folder.to_owned(), TASK, &[(1, "kept".into()), (4, "se/en".into())]).unwrap()
}

fn instance(index: usize) -> StoreInstance {
    StoreInstance { name: "any".into(), index, partition: 3 }
}

fn entry(key: &'static str, value: Option<&'static str>) -> (Bytes, Option<Bytes>) {
    (Bytes::from_static(key.as_bytes()), value.map(|value| Bytes::from_static(value.as_bytes())))
}

#[test]
fn entries_and_position_come_back_together_and_stores_are_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    assert_eq!(store.position(1), None);
    store.restore(1, &[entry("a", Some("1")), entry("b", Some("2")), entry("a", None)], at(12)).unwrap();
    drop(store);
    let mut store = open(folder.path());
    assert_eq!((store.position(1), store.position(4)), (Some(at(12)), None));
    assert_eq!(store.get(&instance(1), b"a").unwrap(), None);
    let all = store.range(&instance(1), Bound::Unbounded, Bound::Unbounded, 10).unwrap();
    assert_eq!(all, [(Bytes::from_static(b"b"), Bytes::from_static(b"2"))]);
    assert_eq!(store.get(&instance(4), b"b").unwrap(), None);
    store.clear(1).unwrap();
    assert_eq!((store.position(1), store.get(&instance(1), b"b").unwrap()), (None, None));
}

#[test]
fn a_damaged_store_is_replaced_by_an_empty_one_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    store.restore(1, &[entry("a", Some("1"))], at(12)).unwrap();
    store.restore(4, &[entry("a", Some("1"))], at(7)).unwrap();
    drop(store);
    let file = files(&folder.path().join(folder_name("kept"))).pop().unwrap();
    fs::write(file, vec![0x5a; 40_000]).unwrap();
    let store = open(folder.path());
    assert_eq!((store.position(1), store.position(4)), (None, Some(at(7))));
    store.destroy().unwrap();
    assert_eq!(open(folder.path()).position(4), None);
}
