//! A datum as its value.

use super::{Unfit, because, unfit};
use serde::de::{self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor};

pub(super) struct Reader<'de> {
    pub(super) rest: &'de [u8],
}

impl<'de> Reader<'de> {
    pub(super) fn number(&mut self) -> Result<i64, Unfit> {
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
