//! Confluent's wire format: `0x00`, the schema's id in four bytes, big end first, then the Avro datum.

/// The number of a schema in a registry.
pub type SchemaId = u32;

/// The first byte of every value.
pub const MAGIC: u8 = 0;

/// Bytes before the datum.
pub const HEADER: usize = 5;

/// Why bytes are not in the wire format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("truncated: {length} bytes, and a header alone has 5 (0x00 and the schema's id)")]
    Truncated { length: usize },
    #[error("wrong magic byte {found:#04x}, expected 0x00: not written with a schema registry's serializer")]
    Magic { found: u8 },
}

/// The header of a value with this schema.
pub fn header(id: SchemaId) -> [u8; HEADER] {
    let [a, b, c, d] = id.to_be_bytes();
    [MAGIC, a, b, c, d]
}

/// The schema's id and the datum.
pub fn split(bytes: &[u8]) -> Result<(SchemaId, &[u8]), WireError> {
    match bytes {
        [MAGIC, a, b, c, d, datum @ ..] => Ok((SchemaId::from_be_bytes([*a, *b, *c, *d]), datum)),
        [found, ..] if *found != MAGIC => Err(WireError::Magic { found: *found }),
        _ => Err(WireError::Truncated { length: bytes.len() }),
    }
}
