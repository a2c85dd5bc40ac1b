//! Pieces of a log that do not fit together, each of them whole.

use std::collections::BTreeMap;

use super::super::record::{self, Record};
use super::*;

/// Where the transactions of a segment end, its header first.
fn ends(file: &Path) -> Vec<usize> {
    let bytes = fs::read(file).unwrap();
    let (mut at, mut ends) = (HEADER.len(), vec![HEADER.len()]);
    while at < bytes.len() {
        let is_mark = matches!(record::read(&bytes[at..]).unwrap(), Record::Mark(_));
        at += record::length(&bytes[at..]).unwrap();
        ends.extend(is_mark.then_some(at));
    }
    ends
}

#[test]
fn a_full_segment_without_its_last_transactions_is_damage() {
    let (folder, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let newest = history(folder.path(), 60);
    let mut cuts = 0;
    for file in files(folder.path()).split_last().unwrap().1 {
        for end in ends(file).split_last().unwrap().1 {
            copy(folder.path(), cut.path());
            let file = File::options().write(true).open(cut.path().join(file.file_name().unwrap())).unwrap();
            file.set_len(*end as u64).unwrap();
            assert_eq!(assert_true_or_damaged(cut.path(), newest), None, "{file:?} until {end}");
            cuts += 1;
        }
    }
    assert!(cuts > 5, "{cuts}");
}

#[test]
fn a_segment_as_it_was_before_it_was_full_is_damage() {
    let (folder, mixed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Every segment's content after each transaction.
    let mut former: BTreeMap<PathBuf, Vec<Vec<u8>>> = BTreeMap::new();
    let mut log = Log::open(folder.path(), SMALL).unwrap();
    for n in 1..=60 {
        write(&mut log, n).unwrap();
        let active = log.segments.back().unwrap().path.clone();
        former.entry(active.clone()).or_default().push(fs::read(active).unwrap());
    }
    let mut mixtures = 0;
    // The newest one's former self is an older log, and no damage.
    for segment in log.segments.iter().take(log.segments.len() - 1) {
        let former = &former[&segment.path];
        for bytes in &former[..former.len() - 1] {
            copy(folder.path(), mixed.path());
            fs::write(mixed.path().join(segment.path.file_name().unwrap()), bytes).unwrap();
            assert_eq!(assert_true_or_damaged(mixed.path(), 60), None, "{} bytes of {}", bytes.len(), segment.path.display());
            mixtures += 1;
        }
    }
    assert!(mixtures > 5, "{mixtures}");
}

#[test]
fn a_segment_that_is_written_to_again_is_not_taken_for_a_full_one() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path(), 60);
    let active = Log::open(folder.path(), SMALL).unwrap().segments.back().unwrap().id;
    // As after a crash in the middle of making the next one.
    fs::write(folder.path().join(format!("{:010}.log", active + 1)), b"con").unwrap();
    let log = Log::open(folder.path(), SMALL).unwrap();
    assert_eq!(log.segments.back().unwrap().id, active);
    let full: Vec<u32> = log.retired.unsynced.iter().map(|(id, _)| *id).collect();
    assert!(!full.is_empty() && !full.contains(&active), "{full:?} wait for the disk, and {active} is not full");
}
