//! A state directory that is lost, damaged or older than it was when the process comes back after kill -9.

use std::fs;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::counting::Counting;
use crate::kafka_support::GROUP_INSTANCE;
use crate::run::Run;

#[derive(Debug, Clone, Copy)]
enum Damage {
    /// With the process's id in it.
    Deleted,
    /// One bit here and there, in every file.
    Flipped,
    /// Each file ends somewhere.
    Shortened,
    /// One of the files of the stores is gone.
    FileGone,
    /// All of it as it was some time ago.
    OlderCopy,
    /// One store's folder as it was some time ago.
    OlderStore,
}
use Damage::*;

const ALL: [Damage; 6] = [Deleted, Flipped, Shortened, FileGone, OlderCopy, OlderStore];

pub fn damaged(run: &mut Run) {
    let counting = Counting::begin("state");
    let (state, copy) = (counting.state("a"), counting.state("older"));
    // Comes back to its old place at once.
    let start = || counting.start_with("a", &[(GROUP_INSTANCE, "a")]);
    let mut process = start();
    counting.await_news();
    let mut damages = Vec::new();
    while run.goes_on(ALL.len()) {
        if damages.is_empty() {
            damages = ALL.to_vec();
            damages.shuffle(&mut run.rng);
        }
        let Some(damage) = damages.pop() else { break };
        run.pause(300);
        process.kill();
        if !copy.exists() || run.rng.random_ratio(1, 4) {
            replace(&copy, &state);
            process = start();
            counting.await_news();
            process.kill();
        }
        apply(damage, &state, &copy, run);
        process = start();
        let recovery = counting.await_news();
        println!("state {damage:?}: recovery {recovery:?}");
        run.survived(recovery);
    }
    counting.finish([process], run);
}

fn apply(damage: Damage, state: &Path, copy: &Path, run: &mut Run) {
    let stores = store_folders(state);
    let files: Vec<PathBuf> = stores.iter().flat_map(|store| entries(store)).collect();
    assert!(!files.is_empty(), "no local store below {}", state.display());
    match damage {
        Deleted => fs::remove_dir_all(state).unwrap(),
        Flipped => files.iter().for_each(|file| {
            let mut bytes = fs::read(file).unwrap();
            for _ in 0..if bytes.is_empty() { 0 } else { 3 } {
                let at = run.rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << run.rng.random_range(0..8);
            }
            fs::write(file, bytes).unwrap();
        }),
        Shortened => files.iter().for_each(|file| {
            let length = fs::metadata(file).unwrap().len();
            fs::OpenOptions::new().write(true).open(file).unwrap().set_len(run.rng.random_range(0..=length)).unwrap();
        }),
        FileGone => fs::remove_file(files.choose(&mut run.rng).unwrap()).unwrap(),
        OlderCopy => replace(state, copy),
        OlderStore => {
            let store = store_folders(copy).choose(&mut run.rng).unwrap().clone();
            replace(&state.join(store.strip_prefix(copy).unwrap()), &store);
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// The folders of the stores: application, task, store.
fn store_folders(state: &Path) -> Vec<PathBuf> {
    let folders = |path: &Path| entries(path).into_iter().filter(|path| path.is_dir()).collect::<Vec<_>>();
    folders(state).iter().flat_map(|application| folders(application)).flat_map(|task| folders(&task)).collect()
}

/// Makes a folder what another one is.
fn replace(folder: &Path, source: &Path) {
    if folder.exists() {
        fs::remove_dir_all(folder).unwrap();
    }
    fs::create_dir_all(folder).unwrap();
    for path in entries(source) {
        let to = folder.join(path.file_name().unwrap());
        match path.is_dir() {
            true => replace(&to, &path),
            false => drop(fs::copy(&path, to).unwrap()),
        }
    }
}
