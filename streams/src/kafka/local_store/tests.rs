//! What must be true of a store's log whatever happens to it: it is the store as it was after some transaction, with that transaction's
//! position, or it says that it is damaged.

mod pieces;
mod stores;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::ops::Bound;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::log::Log;
use super::record::HEADER;
use super::*;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Small, so that a short history has many.
const SMALL: u64 = 600;
const KEYS: u32 = 40;

/// What transaction `n` changes: always the same.
fn changes(n: i64) -> Changes {
    let mut random = StdRng::seed_from_u64(n as u64);
    (0..random.random_range(1..6))
        .map(|_| {
            let key = format!("key-{}", random.random_range(0..KEYS)).into_bytes();
            let value = random.random_bool(0.8).then(|| vec![random.random(); random.random_range(0..40)]);
            (key, value)
        })
        .collect()
}

fn apply(model: &mut Model, changes: &Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

/// The store after transactions 1 to `n`.
fn model_after(n: i64) -> Model {
    let mut model = Model::new();
    (1..=n).for_each(|n| apply(&mut model, &changes(n)));
    model
}

/// A position, and a time of its own.
fn at(next: i64) -> Position {
    Position { next, as_of: 1_700_000_000_000 + next }
}

fn next(log: &Log) -> Option<i64> {
    log.position().map(|position| position.next)
}

fn write(log: &mut Log, n: i64) -> io::Result<()> {
    let changes = changes(n);
    log.write(changes.iter().map(|(key, value)| (&key[..], value.as_deref())), Some(at(n)))
}

fn entries(log: &Log) -> Model {
    let mut all = Model::new();
    let mut from = Bound::Unbounded;
    loop {
        let page = log.range(from.as_ref().map(|key: &Bytes| &key[..]), Bound::Unbounded, 7).unwrap();
        let Some((last, _)) = page.last() else { return all };
        from = Bound::Excluded(last.clone());
        assert!(page.is_sorted());
        all.extend(page.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
    }
}

fn assert_is(log: &Log, model: &Model) {
    for key in (0..KEYS).map(|key| format!("key-{key}").into_bytes()) {
        assert_eq!(log.get(&key).unwrap().as_deref(), model.get(&key).map(|value| &value[..]));
    }
    assert_eq!(&entries(log), model);
}

/// Opens what a crash or a fault left: it is as it was after the transaction that its position names, or damaged.
fn assert_true_or_damaged(folder: &Path, newest: i64) -> Option<i64> {
    match Log::open(folder, SMALL) {
        Ok(log) => {
            let at = next(&log).unwrap_or(0);
            assert!(at <= newest);
            assert_is(&log, &model_after(at));
            Some(at)
        }
        Err(error) => {
            assert!(is_damage(&error), "{error}");
            None
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for file in files(from) {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A log with several segments, of which the oldest ones are gone already. It has at least so many transactions, of which the last two
/// need the same segments; how many it has.
fn history(folder: &Path, transactions: i64) -> i64 {
    let mut log = Log::open(folder, SMALL).unwrap();
    (1..=transactions).for_each(|n| write(&mut log, n).unwrap());
    let mut newest = transactions;
    while {
        let oldest = log.segments[0].id;
        newest += 1;
        write(&mut log, newest).unwrap();
        log.segments[0].id != oldest
    } {}
    drop(log);
    let log = Log::open(folder, SMALL).unwrap();
    // What was emptied and waits for the disk goes, as it would with more transactions.
    for file in files(folder).iter().filter(|file| **file < log.segments[0].path) {
        fs::remove_file(file).unwrap();
    }
    assert!(log.segments.len() > 2 && log.segments[0].id > 1, "{:?}", files(folder));
    newest
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(u8, Option<u8>)>),
    Reopen,
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let changes = prop::collection::vec((any::<u8>(), prop::option::weighted(0.8, any::<u8>())), 0..20);
    prop::collection::vec(prop_oneof![20 => changes.prop_map(Step::Write), 3 => Just(Step::Reopen), 1 => Just(Step::Clear)], 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn it_is_a_map_over_reopenings(steps in steps(), segment in 64u64..3_000, ask in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, mut model, mut next) = (Log::open(folder.path(), segment).unwrap(), Model::new(), None);
        for (n, step) in steps.iter().enumerate() {
            match step {
                Step::Write(changes) => {
                    let changes: Changes =
                        changes.iter().map(|(key, value)| (vec![*key % 50; *key as usize % 3], value.map(|len| vec![*key; len as usize * 4]))).collect();
                    next = Some(n as i64);
                    log.write(changes.iter().map(|(key, value)| (&key[..], value.as_deref())), next.map(at)).unwrap();
                    apply(&mut model, &changes);
                }
                Step::Reopen => {
                    drop(log);
                    log = Log::open(folder.path(), segment).unwrap();
                }
                Step::Clear => {
                    log.clear().unwrap();
                    (model, next) = (Model::new(), None);
                }
            }
            prop_assert_eq!(log.position(), next.map(at));
            for (key, value) in &model {
                let found = log.get(key).unwrap();
                prop_assert_eq!(found.as_deref(), Some(&value[..]));
            }
            prop_assert_eq!(log.get(b"not there").unwrap(), None);
            // With the keys in order from some time on, and without them before.
            if ask || n > 30 {
                prop_assert_eq!(&entries(&log), &model);
            }
        }
    }
}

#[test]
fn room_is_won_while_the_keys_stay_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path(), 4_096).unwrap();
    let mut largest = 0;
    for n in 0..4_000u32 {
        let key = (n * 7_919 % 500).to_be_bytes();
        log.write(std::iter::once((&key[..], Some(&[n as u8; 40][..]))), Some(at(i64::from(n)))).unwrap();
        if n > 1_000 {
            largest = largest.max(log.segments.iter().map(|segment| segment.len).sum::<u64>());
        }
    }
    let entry = 12 + 4 + 40 + 28;
    assert!(largest < 500 * entry * 3, "{largest} bytes");
    drop(log);
    assert_eq!(Log::open(folder.path(), 4_096).unwrap().index.len(), 500);
}

#[test]
fn cut_off_anywhere_it_is_as_after_the_last_whole_transaction() {
    let (folder, torn) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let newest = history(folder.path(), 60);
    let last = files(folder.path()).pop().unwrap();
    let mut seen = 0;
    for len in 0..=fs::metadata(&last).unwrap().len() {
        copy(folder.path(), torn.path());
        let file = File::options().write(true).open(torn.path().join(last.file_name().unwrap())).unwrap();
        file.set_len(len).unwrap();
        let Some(at) = assert_true_or_damaged(torn.path(), newest) else { continue };
        assert!(at >= seen, "a longer file has more");
        seen = at;
        // It goes on from there.
        let mut log = Log::open(torn.path(), SMALL).unwrap();
        write(&mut log, at + 1).unwrap();
        drop(log);
        assert_eq!(assert_true_or_damaged(torn.path(), at + 1), Some(at + 1));
    }
    assert_eq!(seen, newest);
}

#[test]
fn no_flipped_bit_is_believed() {
    let (folder, flipped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let newest = history(folder.path(), 64);
    let (mut damaged, mut shorter) = (0, 0);
    for file in files(folder.path()) {
        let bytes = fs::read(&file).unwrap();
        for at in 0..bytes.len() {
            copy(folder.path(), flipped.path());
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(flipped.path().join(file.file_name().unwrap()), bytes).unwrap();
            match assert_true_or_damaged(flipped.path(), newest) {
                None => damaged += 1,
                // In the last transaction it looks like one that was not written to its end.
                Some(at) => {
                    assert_eq!(at, newest - 1);
                    shorter += 1;
                }
            }
        }
    }
    println!("{damaged} flipped bits make it damaged, {shorter} cost it its last transaction");
    assert!(damaged > 0 && shorter > 0);
}

#[test]
fn a_bit_that_flips_while_it_is_open_is_found_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path(), SMALL).unwrap();
    log.write([(&b"key"[..], Some(&b"value"[..]))].into_iter(), Some(at(1))).unwrap();
    let file = files(folder.path()).pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[HEADER.len() + 16] ^= 1;
    fs::write(file, bytes).unwrap();
    assert!(is_damage(&log.get(b"key").unwrap_err()));
}

#[test]
fn a_missing_file_is_noticed_and_one_too_many_is_removed() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let newest = history(folder.path(), 60);
    let all = files(folder.path());
    for (place, file) in all.iter().enumerate() {
        copy(folder.path(), other.path());
        fs::remove_file(other.path().join(file.file_name().unwrap())).unwrap();
        let opened = assert_true_or_damaged(other.path(), newest);
        assert!(opened.is_none() || place + 1 == all.len(), "without {}", file.display());
    }
    // As after a crash in the middle of removing a log: it is never taken for a shorter one.
    copy(folder.path(), other.path());
    for file in &all[..all.len() - 1] {
        fs::remove_file(other.path().join(file.file_name().unwrap())).unwrap();
        assert_eq!(assert_true_or_damaged(other.path(), newest), None);
    }
    // As after a crash before a segment that was emptied is removed.
    let mut log = Log::open(folder.path(), SMALL).unwrap();
    let mut n = newest;
    while log.segments[0].path == all[0] {
        copy(folder.path(), other.path());
        n += 1;
        write(&mut log, n).unwrap();
    }
    drop(log);
    fs::copy(other.path().join(all[0].file_name().unwrap()), &all[0]).unwrap();
    assert_eq!(assert_true_or_damaged(folder.path(), n), Some(n));
    // It goes when what comes after it is on the disk.
    let mut log = Log::open(folder.path(), SMALL).unwrap();
    assert!(all[0].exists(), "nobody knows whether its content is on the disk elsewhere");
    let deadline = Instant::now() + Duration::from_secs(60);
    while all[0].exists() {
        assert!(Instant::now() < deadline, "it stays");
        n += 1;
        write(&mut log, n).unwrap();
    }
    drop(log);
    Log::open(folder.path(), SMALL).unwrap();
}

const CHILD: &str = "STREAMS_LOCAL_STORE_TEST";

/// Run by the next test in a process of its own: writes transactions, and tells of each that is written.
#[test]
fn writing_child() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let mut log = Log::open(Path::new(&folder), SMALL).unwrap();
    let first = next(&log).unwrap_or(0) + 1;
    for n in first.. {
        write(&mut log, n).unwrap();
        // The parent may be gone.
        if writeln!(io::stdout(), "wrote {n}").is_err() {
            return;
        }
    }
}

#[test]
fn killed_between_any_two_steps_it_is_as_after_a_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = rand::rng();
    let mut newest = 0;
    for _ in 0..25 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kafka::local_store::tests::writing_child", "--exact", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("wrote ")?.parse().ok());
        newest = told.next().expect("it writes");
        // Anywhere in what follows.
        std::thread::sleep(Duration::from_micros(random.random_range(0..20_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        newest = told.last().unwrap_or(newest);
        let log = Log::open(folder.path(), SMALL).expect("a killed process damages nothing");
        let at = next(&log).unwrap();
        assert!(at == newest || at == newest + 1, "{newest} was written, and it is at {at}");
        if at < 3_000 {
            assert_is(&log, &model_after(at));
        } else {
            drop(log);
            fs::remove_dir_all(folder.path()).unwrap();
        }
    }
    println!("killed 25 times, {newest} transactions in the end");
}

/// A file system of 1 MiB, which only root can mount.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_a_transaction_whole_and_takes_it_later() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: no right to mount a tmpfs (root is needed)");
        return;
    };
    let (folder, ballast) = (disk.0.path().join("log"), disk.0.path().join("ballast"));
    fs::write(&ballast, vec![1; 300 << 10]).unwrap();
    let mut log = Log::open(&folder, SMALL).unwrap();
    let big = vec![7; 30 << 10];
    let put = |log: &mut Log, n: i64| log.write([(&n.to_be_bytes()[..], Some(&big[..]))].into_iter(), Some(at(n)));
    let refused = (1..).find(|n| put(&mut log, *n).is_err()).unwrap();
    let error = put(&mut log, refused).unwrap_err();
    assert!(error.kind() == ErrorKind::StorageFull && !is_damage(&error), "{error}");
    assert_eq!(next(&log), Some(refused - 1));
    drop(log);
    let mut log = Log::open(&folder, SMALL).unwrap();
    assert_eq!((next(&log), log.get(&refused.to_be_bytes()).unwrap()), (Some(refused - 1), None));
    fs::remove_file(ballast).unwrap();
    put(&mut log, refused).unwrap();
    assert_eq!((next(&log), log.index.len() as i64), (Some(refused), refused));
}
