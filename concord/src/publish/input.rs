//! The lines of a file or of standard input, read and understood in a thread of their own.

use super::line::Form;
use crate::topics::Published;
use anyhow::Context;
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    thread,
};
use tokio::sync::mpsc;

/// Lines that travel together, at most …
const LINES: usize = 5_000;
/// … and no more once they are this long: a request takes 4 MiB.
const BYTES: usize = 1 << 20;
/// What is read at once.
const READ: usize = 256 << 10;

/// A line that is not empty.
pub struct Line {
    /// From 1.
    pub number: u64,
    pub text: String,
    pub record: Result<Published, String>,
}

/// Lines as they come: those that are there, without a wait for more.
pub struct Lines(mpsc::Receiver<anyhow::Result<Vec<Line>>>);

impl Lines {
    pub fn open(path: &Path, form: Form) -> anyhow::Result<Lines> {
        let source: Box<dyn Read + Send> = match path == Path::new("-") {
            true => Box::new(std::io::stdin()),
            false => Box::new(File::open(path).with_context(|| format!("cannot open {}", path.display()))?),
        };
        let (lines, taken) = mpsc::channel(2);
        thread::Builder::new().name("lines".into()).spawn(move || read(BufReader::with_capacity(READ, source), &form, &lines))?;
        Ok(Lines(taken))
    }

    /// `None`: there are no more.
    pub async fn next(&mut self) -> anyhow::Result<Option<Vec<Line>>> {
        self.0.recv().await.transpose()
    }
}

fn read(mut source: BufReader<impl Read>, form: &Form, lines: &mpsc::Sender<anyhow::Result<Vec<Line>>>) {
    let (mut read, mut bytes, mut number) = (Vec::new(), 0, 0);
    loop {
        let mut text = String::new();
        let end = match source.read_line(&mut text) {
            Ok(length) => length == 0,
            Err(error) => {
                // What came before it is published; a receiver that is gone has a reason of its own to end.
                let _ = lines.blocking_send(Ok(read));
                let _ = lines.blocking_send(Err(error).with_context(|| format!("line {}: not text", number + 1)));
                return;
            }
        };
        number += 1;
        let line = text.trim_end_matches(['\n', '\r']);
        if !line.trim().is_empty() {
            let (length, record) = (line.len(), form.read(line));
            bytes += length + form.more();
            text.truncate(length);
            read.push(Line { number, text, record });
        }
        if !read.is_empty() && (end || read.len() >= LINES || bytes >= BYTES || !source.buffer().contains(&b'\n')) {
            bytes = 0;
            if lines.blocking_send(Ok(std::mem::take(&mut read))).is_err() {
                return;
            }
        }
        if end {
            return;
        }
    }
}
