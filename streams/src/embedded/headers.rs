//! Headers as bytes: for each, the name's length, the name, the value's length + 1 (0: null), the value; lengths as varints.

use bytes::Bytes;

use super::varint;
use crate::{Header, Headers};

/// Appends the headers.
pub(super) fn encode(headers: &Headers, blob: &mut Vec<u8>) {
    for header in headers {
        varint::put(blob, header.key.len() as u64);
        blob.extend_from_slice(header.key.as_bytes());
        match &header.value {
            None => varint::put(blob, 0),
            Some(value) => {
                varint::put(blob, value.len() as u64 + 1);
                blob.extend_from_slice(value);
            }
        }
    }
}

/// The headers of bytes that [`encode`] made; `None` if they are damaged.
pub(super) fn decode(mut rest: &[u8]) -> Option<Headers> {
    let mut headers = Headers::new();
    while !rest.is_empty() {
        let header = take_header(&mut rest)?;
        headers.add_nullable(header.key, header.value);
    }
    Some(headers)
}

fn take_header(rest: &mut &[u8]) -> Option<Header> {
    let name = varint::take(rest)?;
    let key = std::str::from_utf8(varint::take_bytes(rest, name)?).ok()?.to_owned();
    let value = match varint::take(rest)? {
        0 => None,
        length => Some(Bytes::copy_from_slice(varint::take_bytes(rest, length - 1)?)),
    };
    Some(Header { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_in_order_with_nulls_and_repeats() {
        let mut headers = Headers::new();
        headers.add("a", "1").add_nullable("b", None).add("a", "").add("long", vec![7u8; 300]);
        let mut blob = Vec::new();
        encode(&headers, &mut blob);
        assert_eq!(decode(&blob).unwrap(), headers);
        assert!(decode(&blob[..blob.len() - 1]).is_none(), "damaged");
        assert_eq!(decode(&[]).unwrap(), Headers::new());
    }
}
