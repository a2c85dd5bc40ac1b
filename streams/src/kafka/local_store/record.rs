//! The format of a segment: a header, then records, each with a check of its own.
//!
//! An entry is a key with its value, or with none where it is deleted. What is between two marks is one transaction: it holds once its
//! mark is there. All numbers are little-endian.

use std::fmt;

/// Changes with the format. A segment that begins otherwise is none of ours.
pub(super) const HEADER: [u8; 8] = *b"concord\x03";
/// CRC-32 of the rest, length of the key, length of the value.
pub(super) const HEAD: usize = 12;
/// The value's length where there is none.
const DELETED: u32 = u32::MAX;
/// The key's length where the record is a mark.
const MARK: u32 = u32::MAX;
/// `number`, `next`, `oldest` and `as_of`.
const MARK_BODY: usize = 32;

/// The content of the file is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged(pub(super) &'static str);

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Ends a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// One more than the mark before it has, across segments: so nothing is missing in between.
    pub(super) number: u64,
    /// The offset in the changelog from which on it is not covered.
    pub(super) next: Option<i64>,
    /// Segments before this one are no longer needed.
    pub(super) oldest: u32,
    /// When everything from `next` on was still in the changelog, in milliseconds since 1970.
    pub(super) as_of: i64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Entry { key: &'a [u8], value: Option<&'a [u8]> },
    Mark(Mark),
}

/// Appends an entry. Lengths are below 4 GiB: Kafka's records are.
pub(super) fn write_entry(buffer: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let value_len = value.map_or(DELETED, |value| value.len() as u32);
    write(buffer, key.len() as u32, value_len, |buffer| {
        buffer.extend_from_slice(key);
        buffer.extend_from_slice(value.unwrap_or_default());
    });
}

/// Appends a mark.
pub(super) fn write_mark(buffer: &mut Vec<u8>, mark: Mark) {
    write(buffer, MARK, MARK_BODY as u32, |buffer| {
        buffer.extend_from_slice(&mark.number.to_le_bytes());
        buffer.extend_from_slice(&mark.next.unwrap_or(-1).to_le_bytes());
        buffer.extend_from_slice(&u64::from(mark.oldest).to_le_bytes());
        buffer.extend_from_slice(&mark.as_of.to_le_bytes());
    });
}

fn write(buffer: &mut Vec<u8>, key_len: u32, value_len: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&key_len.to_le_bytes());
    buffer.extend_from_slice(&value_len.to_le_bytes());
    body(buffer);
    let crc = crc32fast::hash(&buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// How long the record is that begins with this head.
pub(super) fn length(head: &[u8]) -> Option<usize> {
    let (key_len, value_len) = (number(head, 4)?, number(head, 8)?);
    let sized = |len, absent| if len == absent { 0 } else { len as usize };
    Some(HEAD + sized(key_len, MARK) + sized(value_len, DELETED))
}

/// Reads the record that these bytes are, or begin with.
pub(super) fn read(bytes: &[u8]) -> Result<Record<'_>, Damaged> {
    let torn = || Damaged("a record is cut off");
    let body = bytes.get(..length(bytes).ok_or_else(torn)?).ok_or_else(torn)?;
    if number(body, 0) != Some(crc32fast::hash(&body[4..])) {
        return Err(Damaged("a record's check does not fit"));
    }
    let (key_len, value_len) = (number(body, 4).ok_or_else(torn)?, number(body, 8).ok_or_else(torn)?);
    let body = &body[HEAD..];
    if key_len == MARK {
        let (Some(number), Some(next), Some(oldest), Some(as_of)) = (wide(body, 0), wide(body, 8), wide(body, 16), wide(body, 24)) else {
            return Err(Damaged("a mark is too short"));
        };
        let (next, as_of) = (next.cast_signed(), as_of.cast_signed());
        let oldest = u32::try_from(oldest).map_err(|_| Damaged("a mark's segment is out of range"))?;
        return Ok(Record::Mark(Mark { number, next: (next >= 0).then_some(next), oldest, as_of }));
    }
    let (key, value) = body.split_at(key_len as usize);
    Ok(Record::Entry { key, value: (value_len != DELETED).then_some(value) })
}

/// The mark that these bytes begin with, if they do.
pub(super) fn read_mark(bytes: &[u8]) -> Option<Mark> {
    // Most bytes are none: what tells is looked at before the check is computed.
    if number(bytes, 4) != Some(MARK) || number(bytes, 8) != Some(MARK_BODY as u32) {
        return None;
    }
    match read(bytes) {
        Ok(Record::Mark(mark)) => Some(mark),
        _ => None,
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn wide(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_every_flipped_bit_is_seen() {
        for (key, value) in [(&b"key"[..], Some(&b"value"[..])), (b"", Some(b"")), (b"gone", None)] {
            let mut bytes = Vec::new();
            write_entry(&mut bytes, key, value);
            assert_eq!(length(&bytes), Some(bytes.len()));
            assert_eq!(read(&bytes), Ok(Record::Entry { key, value }));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(read(&flipped).is_err(), "bit {bit}");
            }
        }
        for next in [None, Some(0), Some(i64::MAX)] {
            let (mark, mut bytes) = (Mark { number: 1 << 40, next, oldest: 7, as_of: 1_700_000_000_000 }, Vec::new());
            write_mark(&mut bytes, mark);
            assert_eq!((read(&bytes), bytes.len()), (Ok(Record::Mark(mark)), HEAD + MARK_BODY));
        }
    }
}
