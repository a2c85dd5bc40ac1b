//! A value as its datum.

use super::{Unfit, because, read::Reader, unfit};
use serde::{Serialize, Serializer, ser};
use std::{fmt, io::Write};

pub(super) struct Writer<'a> {
    pub(super) bytes: &'a mut Vec<u8>,
}

impl Writer<'_> {
    /// A number: the sign last, seven bits a byte.
    fn number(&mut self, number: i64) {
        let mut left = ((number << 1) ^ (number >> 63)) as u64;
        while left >= 0x80 {
            self.bytes.push(left as u8 | 0x80);
            left >>= 7;
        }
        self.bytes.push(left as u8);
    }

    fn again(&mut self) -> Writer<'_> {
        Writer { bytes: self.bytes }
    }
}

/// The elements of an array or the entries of a map, in one block if their number is known.
pub(super) struct Block<'a> {
    writer: Writer<'a>,
    is_counted: bool,
}

impl<'a> Block<'a> {
    fn begin(mut writer: Writer<'a>, len: Option<usize>) -> Self {
        match len {
            Some(0) | None => {}
            Some(len) => writer.number(len as i64),
        }
        Block { writer, is_counted: len.is_some() }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
        if !self.is_counted {
            self.writer.number(1);
        }
        value.serialize(self.writer.again())
    }

    fn finish(mut self) {
        self.writer.number(0);
    }
}

/// What is no wider than a long is written as one.
macro_rules! numbers {
    ($($method:ident: $number:ty),*) => { $(
        fn $method(self, v: $number) -> Result<(), Unfit> {
            self.serialize_i64(v.into())
        }
    )* };
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = Unfit;
    type SerializeSeq = Block<'a>;
    type SerializeTuple = Fixed<'a>;
    type SerializeTupleStruct = ser::Impossible<(), Unfit>;
    type SerializeTupleVariant = ser::Impossible<(), Unfit>;
    type SerializeMap = Block<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = ser::Impossible<(), Unfit>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, v: bool) -> Result<(), Unfit> {
        self.bytes.push(v.into());
        Ok(())
    }

    numbers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32);

    fn serialize_i64(mut self, v: i64) -> Result<(), Unfit> {
        self.number(v);
        Ok(())
    }

    fn serialize_u64(self, v: u64) -> Result<(), Unfit> {
        i64::try_from(v).map_or_else(|_| unfit("a number beyond a long"), |v| self.serialize_i64(v))
    }

    fn serialize_f32(self, v: f32) -> Result<(), Unfit> {
        self.bytes.extend_from_slice(&v.to_le_bytes());
        Ok(())
    }

    fn serialize_f64(self, v: f64) -> Result<(), Unfit> {
        self.bytes.extend_from_slice(&v.to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, v: char) -> Result<(), Unfit> {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, v: &str) -> Result<(), Unfit> {
        self.serialize_bytes(v.as_bytes())
    }

    fn serialize_bytes(mut self, v: &[u8]) -> Result<(), Unfit> {
        self.number(v.len() as i64);
        self.bytes.extend_from_slice(v);
        Ok(())
    }

    /// Without a copy: the text is written behind room for its length, which is one byte for most.
    fn collect_str<T: fmt::Display + ?Sized>(mut self, value: &T) -> Result<(), Unfit> {
        let start = self.bytes.len();
        self.bytes.push(0);
        write!(self.bytes, "{value}").map_err(because)?;
        let len = self.bytes.len() - start - 1;
        if len < 64 {
            self.bytes[start] = (len << 1) as u8;
            return Ok(());
        }
        let text = self.bytes.split_off(start + 1);
        self.bytes.truncate(start);
        self.number(len as i64);
        self.bytes.extend_from_slice(&text);
        Ok(())
    }

    fn serialize_none(mut self) -> Result<(), Unfit> {
        self.number(0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(mut self, value: &T) -> Result<(), Unfit> {
        self.number(1);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unfit> {
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Unfit> {
        Ok(())
    }

    fn serialize_unit_variant(mut self, _name: &'static str, index: u32, _variant: &'static str) -> Result<(), Unfit> {
        self.number(index.into());
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<(), Unfit> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<(), Unfit> {
        self.number(index.into());
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Block<'a>, Unfit> {
        Ok(Block::begin(self, len))
    }

    fn serialize_tuple(self, _len: usize) -> Result<Fixed<'a>, Unfit> {
        Ok(Fixed(self))
    }

    fn serialize_tuple_struct(self, name: &'static str, _len: usize) -> Result<Self::SerializeTupleStruct, Unfit> {
        unfit(name)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, Unfit> {
        unfit(variant)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Block<'a>, Unfit> {
        Ok(Block::begin(self, len))
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Fields<'a>, Unfit> {
        Ok(Fields(self))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant, Unfit> {
        unfit(variant)
    }
}

impl ser::SerializeSeq for Block<'_> {
    type Ok = ();
    type Error = Unfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
        self.element(value)
    }

    fn end(self) -> Result<(), Unfit> {
        self.finish();
        Ok(())
    }
}

impl ser::SerializeMap for Block<'_> {
    type Ok = ();
    type Error = Unfit;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unfit> {
        self.element(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
        value.serialize(self.writer.again())
    }

    fn end(self) -> Result<(), Unfit> {
        self.finish();
        Ok(())
    }
}

/// The fields of a record, which follow each other.
pub(super) struct Fields<'a>(Writer<'a>);

impl ser::SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Unfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, _key: &'static str, value: &T) -> Result<(), Unfit> {
        value.serialize(self.0.again())
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), Unfit> {
        unfit(key)
    }

    fn end(self) -> Result<(), Unfit> {
        Ok(())
    }
}

/// Bytes, as they are.
pub(super) struct Fixed<'a>(Writer<'a>);

impl ser::SerializeTuple for Fixed<'_> {
    type Ok = ();
    type Error = Unfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
        let at = self.0.bytes.len();
        value.serialize(self.0.again())?;
        // A byte above 63 was written as a number of two.
        let byte = Reader { rest: &self.0.bytes[at..] }.number()?;
        self.0.bytes.truncate(at);
        self.0.bytes.push(u8::try_from(byte).map_err(because)?);
        Ok(())
    }

    fn end(self) -> Result<(), Unfit> {
        Ok(())
    }
}
