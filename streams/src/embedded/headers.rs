//! Headers as one blob: for each, the name's length, the name, the value's length + 1 (0: null), the value; lengths as varints.

use bytes::Bytes;

use crate::record::Header;
use crate::{Headers, embedded::LogError};

/// The blob; `None` for no headers.
pub(super) fn encode(headers: &Headers) -> Option<Vec<u8>> {
    if headers.is_empty() {
        return None;
    }
    let mut blob = Vec::with_capacity(32 * headers.len());
    for header in headers {
        put_varint(&mut blob, header.key.len() as u64);
        blob.extend_from_slice(header.key.as_bytes());
        match &header.value {
            None => put_varint(&mut blob, 0),
            Some(value) => {
                put_varint(&mut blob, value.len() as u64 + 1);
                blob.extend_from_slice(value);
            }
        }
    }
    Some(blob)
}

/// The headers of a blob that [`encode`] made.
pub(super) fn decode(blob: Option<&[u8]>) -> Result<Headers, LogError> {
    let Some(blob) = blob else { return Ok(Headers::new()) };
    let mut rest = blob;
    let mut headers = Headers::new();
    while !rest.is_empty() {
        let header = take_header(&mut rest).ok_or_else(|| LogError::invalid("headers", "the stored bytes are damaged"))?;
        headers.add_nullable(header.key, header.value);
    }
    Ok(headers)
}

fn take_header(rest: &mut &[u8]) -> Option<Header> {
    let name = take_varint(rest)?;
    let key = std::str::from_utf8(take(rest, name)?).ok()?.to_owned();
    let value = match take_varint(rest)? {
        0 => None,
        length => Some(Bytes::copy_from_slice(take(rest, length - 1)?)),
    };
    Some(Header { key, value })
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = tail;
    Some(head)
}

fn put_varint(blob: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        blob.push(value as u8 | 0x80);
        value >>= 7;
    }
    blob.push(value as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_in_order_with_nulls_and_repeats() {
        let mut headers = Headers::new();
        headers.add("a", "1").add_nullable("b", None).add("a", "").add("long", vec![7u8; 300]);
        assert_eq!(decode(encode(&headers).as_deref()).unwrap(), headers);
    }

    #[test]
    fn no_headers_are_no_blob() {
        assert_eq!(encode(&Headers::new()), None);
        assert_eq!(decode(None).unwrap(), Headers::new());
    }

    #[test]
    fn damaged_headers_are_an_error() {
        let mut headers = Headers::new();
        headers.add("name", "value");
        let blob = encode(&headers).unwrap();
        assert!(decode(Some(&blob[..blob.len() - 1])).is_err());
    }
}
