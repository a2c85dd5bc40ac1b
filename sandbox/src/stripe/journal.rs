//! The state file: one JSON line per call, with all that it changed, so that a line is taken whole or not at all.

use super::account::{Account, Entry};
use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

pub(crate) struct Journal {
    file: File,
}

impl Journal {
    /// Reads the file into the account, and writes it anew without what does not matter any more.
    pub(crate) fn open(path: &Path, account: &mut Account, now: i64) -> io::Result<Journal> {
        match File::open(path) {
            Ok(file) => read(BufReader::new(file), account)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let fresh = beside(path);
        let mut file = File::create(&fresh)?;
        for entry in account.entries(now) {
            write(&mut file, &[entry])?;
        }
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        Ok(Journal { file: OpenOptions::new().append(true).open(path)? })
    }

    /// One write call, so a killed process leaves the line whole or (when the machine dies) torn at the end.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        if entries.is_empty() { Ok(()) } else { write(&mut self.file, entries) }
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn write(file: &mut File, entries: &[Entry]) -> io::Result<()> {
    let mut line = serde_json::to_vec(entries)?;
    line.push(b'\n');
    file.write_all(&line)
}

fn read(mut file: impl BufRead, account: &mut Account) -> io::Result<()> {
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        file.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            // The end, or a torn last line: its call was never answered.
            return Ok(());
        }
        number += 1;
        let entries: Vec<Entry> = serde_json::from_slice(&line)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("line {number} is not of a state file: {e}")))?;
        entries.into_iter().for_each(|entry| account.apply(entry));
    }
}
