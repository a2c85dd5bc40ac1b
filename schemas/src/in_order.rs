//! Avro for types that stand as their schema does: bytes without looking at the schema.
//!
//! What a schema says of a datum's bytes is the order of fields, of branches and of symbols. Where a type has them in the same order, the
//! type says it all, and the compiler makes straight code of it. So it is with all of Concord's own types:
//!
//! - a record is a struct with the same fields, all of them written;
//! - an `Option` is a union of null and one other, null first;
//! - an enum is an Avro enum, or a union of records, in the order of its variants;
//! - an array of bytes (`[u8; 16]`) is a fixed;
//! - what is written as it is where a format has names for types is written as a variant where it has none: formats like this one say
//!   that nobody reads them (`is_human_readable`).
//!
//! [`write`](mod@write) and [`read`](mod@read) are the two ways. It is not checked here: the tests compare the bytes with those that are made by the schema. What cannot be read is read again by the
//! schema, which knows why.

mod read;
mod write;

use read::Reader;
use serde::{
    Serialize,
    de::{self, DeserializeOwned},
    ser,
};
use std::fmt;
use write::Writer;

/// A value that has no such bytes, or bytes that are no such value.
#[derive(Debug)]
pub(crate) struct Unfit(String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

impl ser::Error for Unfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        because(message)
    }
}

impl de::Error for Unfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        because(message)
    }
}

fn because(why: impl fmt::Display) -> Unfit {
    Unfit(why.to_string())
}

fn unfit<T>(what: &str) -> Result<T, Unfit> {
    Err(Unfit(what.to_owned()))
}

/// Appends the datum of a value.
pub(crate) fn encode<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<(), Unfit> {
    value.serialize(Writer { bytes })
}

/// The value that these bytes are, all of them.
pub(crate) fn decode<T: DeserializeOwned>(datum: &[u8]) -> Result<T, Unfit> {
    let mut reader = Reader { rest: datum };
    let value = T::deserialize(&mut reader)?;
    if reader.rest.is_empty() { Ok(value) } else { unfit("bytes follow") }
}
