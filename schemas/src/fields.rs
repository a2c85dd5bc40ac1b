//! A customer's fields and their values.

use crate::SortedMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;
use std::{collections::BTreeMap, fmt, str::FromStr};

/// One field of a customer: what the merge decides about, one by one. `attributes.<key>`: each key is a field.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    Name,
    Email,
    Phone,
    /// The whole address is one field.
    Address,
    Attribute(SmolStr),
}

impl Field {
    pub fn attribute(key: impl AsRef<str>) -> Self {
        Field::Attribute(key.as_ref().into())
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Name => f.write_str("name"),
            Field::Email => f.write_str("email"),
            Field::Phone => f.write_str("phone"),
            Field::Address => f.write_str("address"),
            Field::Attribute(key) => write!(f, "attributes.{key}"),
        }
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that names no field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such field: {0:?} (name, email, phone, address or attributes.<key>)")]
pub struct FieldError(String);

impl FromStr for Field {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        match text {
            "name" => Ok(Field::Name),
            "email" => Ok(Field::Email),
            "phone" => Ok(Field::Phone),
            "address" => Ok(Field::Address),
            other => match other.strip_prefix("attributes.") {
                Some(key) if !key.is_empty() => Ok(Field::attribute(key)),
                _ => Err(FieldError(other.chars().take(200).collect())),
            },
        }
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Field::Name => s.serialize_str("name"),
            Field::Email => s.serialize_str("email"),
            Field::Phone => s.serialize_str("phone"),
            Field::Address => s.serialize_str("address"),
            Field::Attribute(_) => s.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Field;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Field, E> {
                text.parse().map_err(E::custom)
            }
        }
        d.deserialize_str(Text)
    }
}

/// A postal address: six lines, `""` for none. Merged as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Address {
    pub line1: String,
    pub line2: String,
    pub city: String,
    pub state: String,
    pub postal_code: String,
    /// Two-letter ISO 3166-1 code, where the system insists on one.
    pub country: String,
}

impl Address {
    /// Line by line, in the order of the fields.
    pub fn lines(&self) -> [&str; 6] {
        [&self.line1, &self.line2, &self.city, &self.state, &self.postal_code, &self.country]
    }

    pub fn is_empty(&self) -> bool {
        self.lines().iter().all(|line| line.is_empty())
    }
}

/// A field's value. `null`, `""` and an address of six empty lines are all [`Value::Empty`]: build with `From`.
///
/// The order is the last tie-break of a conflict (non-empty is greater), so it must never change.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    #[default]
    Empty,
    /// Short ones in place, long ones shared: golden, base, what is sent and what is published are mostly one text.
    Text(SmolStr),
    Address(Box<Address>),
}

impl Value {
    pub fn is_empty(&self) -> bool {
        matches!(self, Value::Empty)
    }

    /// The text, `""` for no value; an address has none.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Empty => Some(""),
            Value::Text(text) => Some(text),
            Value::Address(_) => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        if text.is_empty() { Value::Empty } else { Value::Text(text.into()) }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        if text.is_empty() { Value::Empty } else { Value::Text(text.into()) }
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        text.map_or(Value::Empty, Value::from)
    }
}

impl From<Address> for Value {
    fn from(address: Address) -> Self {
        if address.is_empty() { Value::Empty } else { Value::Address(Box::new(address)) }
    }
}

impl From<Option<Address>> for Value {
    fn from(address: Option<Address>) -> Self {
        address.map_or(Value::Empty, Value::from)
    }
}

/// The branches of a value in Avro.
const BRANCHES: &[&str] = &["null", "string", "Address"];

/// As what it is: nothing, a text or an address (in Avro the union `["null", "string", "Address"]`). Where no schema tells them apart
/// ([`in_order`](crate::in_order)), as a variant.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match (self, s.is_human_readable()) {
            (Value::Empty, true) => s.serialize_none(),
            (Value::Text(text), true) => s.serialize_str(text),
            (Value::Address(address), true) => address.serialize(s),
            (Value::Empty, false) => s.serialize_unit_variant("Value", 0, BRANCHES[0]),
            (Value::Text(text), false) => s.serialize_newtype_variant("Value", 1, BRANCHES[1], &**text),
            (Value::Address(address), false) => s.serialize_newtype_variant("Value", 2, BRANCHES[2], &**address),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> serde::de::Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("nothing, a text or an address")
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
                Ok(Value::Empty)
            }
            fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
                Ok(Value::Empty)
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
                d.deserialize_any(self)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::from(text))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                Address::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Value::from)
            }
        }
        if d.is_human_readable() { d.deserialize_any(Any) } else { d.deserialize_enum("Value", BRANCHES, Branches) }
    }
}

struct Branches;

impl<'de> serde::de::Visitor<'de> for Branches {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing, a text or an address")
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        struct Text;
        impl<'de> serde::de::DeserializeSeed<'de> for Text {
            type Value = Value;
            fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
                d.deserialize_str(self)
            }
        }
        impl serde::de::Visitor<'_> for Text {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::from(text))
            }
        }
        use serde::de::VariantAccess;
        match data.variant::<u32>()? {
            (0, value) => value.unit_variant().map(|()| Value::Empty),
            (1, value) => value.newtype_variant_seed(Text),
            (2, value) => value.newtype_variant::<Address>().map(Value::from),
            (other, _) => Err(serde::de::Error::custom(format_args!("no branch {other}"))),
        }
    }
}

/// Some fields with their values, e.g. what a write sets. `Empty` clears.
pub type Values = SortedMap<Field, Value>;

/// A snapshot of a record: all mapped fields as its system shows them. What is absent has no value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomerFields {
    pub name: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub address: Option<Address>,
    pub attributes: BTreeMap<String, String>,
}

impl CustomerFields {
    /// The field's value; [`Value::Empty`] where there is none.
    pub fn get(&self, field: &Field) -> Value {
        let text = match field {
            Field::Name => &self.name,
            Field::Email => &self.email,
            Field::Phone => &self.phone,
            Field::Address => return self.address.clone().into(),
            Field::Attribute(key) => return self.attributes.get(&**key).map_or(Value::Empty, |text| text.as_str().into()),
        };
        text.as_deref().map_or(Value::Empty, Value::from)
    }

    /// Sets a field, or clears it with [`Value::Empty`]. A value of the wrong shape (a text for the address) clears it.
    pub fn set(&mut self, field: &Field, value: Value) {
        let text = |value: Value| match value {
            Value::Text(text) => Some(text.to_string()),
            _ => None,
        };
        match field {
            Field::Name => self.name = text(value),
            Field::Email => self.email = text(value),
            Field::Phone => self.phone = text(value),
            Field::Address => {
                self.address = match value {
                    Value::Address(address) => Some(*address),
                    _ => None,
                }
            }
            Field::Attribute(key) => {
                match text(value) {
                    Some(text) => self.attributes.insert(key.to_string(), text),
                    None => self.attributes.remove(&**key),
                };
            }
        }
    }

    /// The fields that have a value, with it.
    pub fn values(&self) -> Values {
        let own = [Field::Name, Field::Email, Field::Phone, Field::Address].into_iter();
        let fields = own.chain(self.attributes.keys().map(Field::attribute));
        fields.map(|field| (field.clone(), self.get(&field))).filter(|(_, value)| !value.is_empty()).collect()
    }
}

impl From<&Values> for CustomerFields {
    fn from(values: &Values) -> Self {
        let mut fields = CustomerFields::default();
        for (field, value) in values {
            fields.set(field, value.clone());
        }
        fields
    }
}

/// `norm(e-mail)` of the protocol: trimmed and lower-cased, nothing cleverer. `None` where nothing is left.
pub fn normalise_email(email: &str) -> Option<String> {
    let email = email.trim().to_lowercase();
    (!email.is_empty()).then_some(email)
}
