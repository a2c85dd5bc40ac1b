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
//! It is not checked here: the tests compare the bytes with those that are made by the schema. What cannot be read is read again by the
//! schema, which knows why.

use serde::{
    Serialize, Serializer,
    de::{self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor},
    ser,
};
use std::{fmt, io::Write};

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

struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
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
struct Block<'a> {
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

    fn serialize_i8(self, v: i8) -> Result<(), Unfit> {
        self.serialize_i64(v.into())
    }

    fn serialize_i16(self, v: i16) -> Result<(), Unfit> {
        self.serialize_i64(v.into())
    }

    fn serialize_i32(self, v: i32) -> Result<(), Unfit> {
        self.serialize_i64(v.into())
    }

    fn serialize_i64(mut self, v: i64) -> Result<(), Unfit> {
        self.number(v);
        Ok(())
    }

    fn serialize_u8(self, v: u8) -> Result<(), Unfit> {
        self.serialize_i64(v.into())
    }

    fn serialize_u16(self, v: u16) -> Result<(), Unfit> {
        self.serialize_i64(v.into())
    }

    fn serialize_u32(self, v: u32) -> Result<(), Unfit> {
        self.serialize_i64(v.into())
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
struct Fields<'a>(Writer<'a>);

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
struct Fixed<'a>(Writer<'a>);

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

struct Reader<'de> {
    rest: &'de [u8],
}

impl<'de> Reader<'de> {
    fn number(&mut self) -> Result<i64, Unfit> {
        // Most are short.
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        let mut number = 0u64;
        for (place, byte) in self.rest.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * place);
            if *byte < 0x80 {
                // Ten bytes have room for 70 bits.
                if place == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[place + 1..];
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        unfit("no number")
    }

    fn take(&mut self, len: usize) -> Result<&'de [u8], Unfit> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else { return unfit("cut off") };
        self.rest = rest;
        Ok(taken)
    }

    fn bytes(&mut self) -> Result<&'de [u8], Unfit> {
        let len = usize::try_from(self.number()?).map_err(because)?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'de str, Unfit> {
        std::str::from_utf8(self.bytes()?).map_err(because)
    }

    fn index(&mut self) -> Result<u32, Unfit> {
        u32::try_from(self.number()?).map_err(because)
    }
}

/// What reads a number gets it as the widest.
macro_rules! numbers {
    ($($method:ident),*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
            visitor.visit_i64(self.number()?)
        }
    )* };
}

/// The type has to say what it is.
macro_rules! unknown {
    ($($method:ident),*) => { $(
        fn $method<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Unfit> {
            unfit(stringify!($method))
        }
    )* };
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = Unfit;

    numbers!(deserialize_i8, deserialize_i16, deserialize_i32, deserialize_i64);
    numbers!(deserialize_u8, deserialize_u16, deserialize_u32, deserialize_u64);
    unknown!(deserialize_any, deserialize_char, deserialize_identifier, deserialize_ignored_any);

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        match self.take(1)? {
            [0] => visitor.visit_bool(false),
            [1] => visitor.visit_bool(true),
            _ => unfit("no boolean"),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_f32(f32::from_le_bytes(self.take(4)?.try_into().map_err(because)?))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_f64(f64::from_le_bytes(self.take(8)?.try_into().map_err(because)?))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        match self.number()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            _ => unfit("no branch"),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_seq(Blocks::begin(self)?)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_seq(de::value::SeqDeserializer::new(self.take(len)?.iter().copied()))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, name: &'static str, _len: usize, _visitor: V) -> Result<V::Value, Unfit> {
        unfit(name)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_map(Blocks::begin(self)?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        visitor.visit_seq(Record { reader: self, left: fields.len() })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        visitor.visit_enum(self)
    }
}

/// The fields of a record.
struct Record<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Record<'_, 'de> {
    type Error = Unfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Unfit> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

/// The elements of an array, or the entries of a map.
struct Blocks<'a, 'de> {
    reader: &'a mut Reader<'de>,
    /// Of this block.
    left: u64,
    is_over: bool,
}

impl<'a, 'de> Blocks<'a, 'de> {
    fn begin(reader: &'a mut Reader<'de>) -> Result<Self, Unfit> {
        let mut blocks = Blocks { reader, left: 0, is_over: false };
        blocks.next_block()?;
        Ok(blocks)
    }

    fn next_block(&mut self) -> Result<(), Unfit> {
        // A block that begins with its size in bytes has a negative count: not one of ours.
        self.left = u64::try_from(self.reader.number()?).map_err(because)?;
        self.is_over = self.left == 0;
        Ok(())
    }

    /// Whether there is another one, which is read then.
    fn go_on(&mut self) -> Result<bool, Unfit> {
        if self.left == 0 && !self.is_over {
            self.next_block()?;
        }
        self.left = self.left.saturating_sub(1);
        Ok(!self.is_over)
    }

    fn at_least(&self) -> Option<usize> {
        usize::try_from(self.left).ok()
    }
}

impl<'de> SeqAccess<'de> for Blocks<'_, 'de> {
    type Error = Unfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Unfit> {
        if self.go_on()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn size_hint(&self) -> Option<usize> {
        self.at_least()
    }
}

impl<'de> MapAccess<'de> for Blocks<'_, 'de> {
    type Error = Unfit;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Unfit> {
        if self.go_on()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Unfit> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        self.at_least()
    }
}

/// A symbol, or a branch with its value.
impl<'de> EnumAccess<'de> for &mut Reader<'de> {
    type Error = Unfit;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Unfit> {
        let index = self.index()?;
        let variant = seed.deserialize(IntoDeserializer::<Unfit>::into_deserializer(index))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Reader<'de> {
    type Error = Unfit;

    fn unit_variant(self) -> Result<(), Unfit> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Unfit> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Unfit> {
        unfit("a tuple")
    }

    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], _visitor: V) -> Result<V::Value, Unfit> {
        unfit("a struct as a variant")
    }
}
