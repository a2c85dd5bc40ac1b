//! The files of a log: `<number>.log`, numbered without gaps, read and written at offsets.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{self, HEADER, Record};

/// What is read at once while a segment is gone through.
const CHUNK: usize = 256 << 10;
/// What is read at once for one record, at least and at most: as much as the last one had, and some more.
const LEAST: usize = 512;
const MOST: usize = 8 << 10;

#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) id: u32,
    pub(super) path: PathBuf,
    /// Shared with the thread that has it written to the disk.
    pub(super) file: Arc<File>,
    pub(super) len: u64,
    /// Entries in it, whether they are the newest of their keys or not.
    pub(super) entries: u64,
}

/// An error that says that the content is not what was written.
pub(super) fn damage(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Segment {
    /// A new one. What a failed attempt left of it is overwritten.
    pub(super) fn create(folder: &Path, id: u32) -> io::Result<Segment> {
        let path = path(folder, id);
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path)?;
        file.write_all_at(&HEADER, 0)?;
        Ok(Segment { id, path, file: Arc::new(file), len: HEADER.len() as u64, entries: 0 })
    }

    pub(super) fn open(folder: &Path, id: u32) -> io::Result<Segment> {
        let path = path(folder, id);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let len = file.metadata()?.len();
        Ok(Segment { id, path, file: Arc::new(file), len, entries: 0 })
    }

    /// Appends whole transactions. After a failure the segment is as it was.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(bytes, self.len) {
            // If this fails too, the next opening finds a transaction without its end, and cuts it off.
            let _ = self.file.set_len(self.len);
            return Err(error);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Reads the record at an offset in place of the last one that was read; the bytes are exactly its own.
    pub(super) fn load(&self, offset: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.resize((bytes.len() * 5 / 4).clamp(LEAST, MOST), 0);
        let mut have = self.file.read_at(bytes, offset)?;
        let len = record::length(&bytes[..have]).ok_or_else(|| self.damaged(offset, "a record is cut off"))?;
        if offset + len as u64 > self.len {
            return Err(self.damaged(offset, "a record reaches beyond the end"));
        }
        bytes.resize(len, 0);
        while have < len {
            match self.file.read_at(&mut bytes[have..], offset + have as u64)? {
                0 => return Err(self.damaged(offset, "a record is cut off")),
                more => have += more,
            }
        }
        Ok(())
    }

    /// Goes through the records from an offset on, for about so many bytes; where it ended. Stops at what is no record.
    pub(super) fn scan(
        &self,
        from: u64,
        about: u64,
        mut each: impl FnMut(u64, &[u8], Record<'_>) -> io::Result<()>,
    ) -> io::Result<Result<u64, NoRecord>> {
        let (mut at, until) = (from, self.len.min(from.saturating_add(about)));
        let mut chunk = Vec::new();
        while at < until {
            let wanted = usize::try_from(self.len - at).unwrap_or(CHUNK).min(CHUNK);
            chunk.resize(wanted, 0);
            self.file.read_exact_at(&mut chunk, at)?;
            if record::length(&chunk).is_some_and(|len| len > chunk.len() && at + len as u64 <= self.len) {
                self.load(at, &mut chunk)?;
            }
            let mut done = 0;
            while at + (done as u64) < until {
                let rest = &chunk[done..];
                // The next chunk has the whole of it.
                if record::length(rest).is_none_or(|len| len > rest.len()) && done > 0 {
                    break;
                }
                let offset = at + done as u64;
                match record::read(rest) {
                    Ok(read) => {
                        let len = record::length(rest).unwrap_or(rest.len());
                        each(offset, &rest[..len], read)?;
                        done += len;
                    }
                    Err(what) => return Ok(Err(NoRecord { offset, what: what.0 })),
                }
            }
            at += done as u64;
        }
        Ok(Ok(at))
    }

    /// Whether a transaction ends anywhere after an offset.
    pub(super) fn has_mark_after(&self, offset: u64) -> io::Result<bool> {
        let mut rest = vec![0; usize::try_from(self.len.saturating_sub(offset)).map_err(|_| damage("a segment is too long"))?];
        self.file.read_exact_at(&mut rest, offset)?;
        Ok((1..rest.len()).any(|start| record::read_mark(&rest[start..]).is_some()))
    }

    pub(super) fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len = len;
        Ok(())
    }

    pub(super) fn has_header(&self) -> io::Result<bool> {
        let mut header = [0; HEADER.len()];
        Ok(self.len >= HEADER.len() as u64 && self.file.read_exact_at(&mut header, 0).map(|()| header == HEADER)?)
    }

    fn damaged(&self, offset: u64, what: &str) -> io::Error {
        damage(format!("{what} at {offset} of {}", self.path.display()))
    }
}

/// Where a scan met what is no record.
#[derive(Debug)]
pub(super) struct NoRecord {
    pub(super) offset: u64,
    pub(super) what: &'static str,
}

/// The numbers of the segments in a folder, in ascending order.
pub(super) fn list(folder: &Path) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        ids.extend(name.to_str().and_then(|name| name.strip_suffix(".log")?.parse::<u32>().ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Removes a log. From the oldest segment on: what a crash leaves of it lacks its beginning, and is known to.
pub(super) fn remove_all(folder: &Path) -> io::Result<()> {
    for id in list(folder)? {
        fs::remove_file(path(folder, id))?;
    }
    fs::remove_dir_all(folder)
}

fn path(folder: &Path, id: u32) -> PathBuf {
    folder.join(format!("{id:010}.log"))
}
