//! Identifiers. Each is a type of its own, so that one is never taken for another.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// Namespace of every customer id that Concord mints (itself a UUIDv5 of the DNS name `concord`).
const CUSTOMERS: Uuid = Uuid::from_u128(0x6f1d_9a52_3c0b_5d4e_9b8e_4d0c_11a7_c0de);

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("a system's name is 1 to 32 of a-z, 0-9, '-' and '_', a letter first; got {0:?}")]
    System(String),
    #[error("not a customer id (a UUID): {0:?}")]
    Customer(String),
    #[error("not a write id (<customer id>:<system>:<n>, or create<n>[.<m>] last): {0:?}")]
    Write(String),
}

/// The name of a configured system, e.g. `product` or `stripe`. An instance: two Stripe accounts are two systems.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct System(SmolStr);

impl System {
    /// A checked name: 1 to 32 of `a-z 0-9 - _`, a letter first (it becomes part of topic names).
    pub fn new(name: impl AsRef<str>) -> Result<Self, IdError> {
        let name = name.as_ref();
        let letters = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
        let first = name.bytes().next().is_some_and(|c| c.is_ascii_lowercase());
        if first && name.len() <= 32 && name.bytes().all(letters) { Ok(System(name.into())) } else { Err(IdError::System(name.into())) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A customer's id inside one system, as that system writes it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalId(SmolStr);

impl ExternalId {
    pub fn new(id: impl AsRef<str>) -> Self {
        ExternalId(id.as_ref().into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Concord's own id of a customer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomerId(Uuid);

impl CustomerId {
    /// The id that a record gets which nobody knows yet: made from what it is, so a replay mints the same one.
    pub fn minted(system: &System, external_id: &ExternalId, incarnation: i64) -> Self {
        let name = format!("{system}\0{external_id}\0{incarnation}");
        CustomerId(Uuid::new_v5(&CUSTOMERS, name.as_bytes()))
    }

    pub fn from_uuid(id: Uuid) -> Self {
        CustomerId(id)
    }

    pub fn uuid(&self) -> Uuid {
        self.0
    }
}

/// Which of our calls a [`WriteId`] names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Attempt {
    /// The n-th write or delete for this customer.
    Write(u64),
    /// `number` creates were refused before; this is its `body`-th different body (from 0).
    Create { number: u64, body: u64 },
}

/// The id of one call of ours. It travels to the vendor (idempotency key, mark) and back.
///
/// Text form: `<customer id>:<system>:<n>`, `<customer id>:<system>:create<n>` or `…:create<n>.<m>` (m from 1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId {
    pub customer: CustomerId,
    pub system: System,
    pub attempt: Attempt,
}

impl WriteId {
    pub fn write(customer: CustomerId, system: &System, n: u64) -> Self {
        WriteId { customer, system: system.clone(), attempt: Attempt::Write(n) }
    }

    pub fn create(customer: CustomerId, system: &System, number: u64, body: u64) -> Self {
        WriteId { customer, system: system.clone(), attempt: Attempt::Create { number, body } }
    }

    /// The idempotency key of this call: a create's is the same for all its bodies.
    pub fn key(&self) -> String {
        match self.attempt {
            Attempt::Write(_) => self.to_string(),
            Attempt::Create { number, .. } => format!("{}:{}:create{number}", self.customer, self.system),
        }
    }

    pub fn is_create(&self) -> bool {
        matches!(self.attempt, Attempt::Create { .. })
    }
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.customer, self.system)?;
        match self.attempt {
            Attempt::Write(n) => write!(f, "{n}"),
            Attempt::Create { number, body: 0 } => write!(f, "create{number}"),
            Attempt::Create { number, body } => write!(f, "create{number}.{body}"),
        }
    }
}

impl FromStr for WriteId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Write(text.chars().take(200).collect());
        let mut parts = text.splitn(3, ':');
        let (Some(customer), Some(system), Some(last)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        // One text per id: "create0.0", "+1" or an upper-case UUID is somebody else's text.
        let attempt = match last.strip_prefix("create") {
            None => Attempt::Write(number(last).ok_or_else(wrong)?),
            Some(rest) => {
                let (create, body) = match rest.split_once('.') {
                    Some((create, body)) => (create, number(body).filter(|body| *body > 0).ok_or_else(wrong)?),
                    None => (rest, 0),
                };
                Attempt::Create { number: number(create).ok_or_else(wrong)?, body }
            }
        };
        let id = WriteId { customer: customer.parse().map_err(|_| wrong())?, system: System::new(system).map_err(|_| wrong())?, attempt };
        let written = id.customer.0.hyphenated();
        if written.encode_lower(&mut Uuid::encode_buffer()) == customer { Ok(id) } else { Err(wrong()) }
    }
}

/// A number as it is written: digits, without a zero before them.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| digits)
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for CustomerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Uuid::try_parse(text).map(CustomerId).map_err(|_| IdError::Customer(text.chars().take(200).collect()))
    }
}

impl FromStr for System {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        System::new(text)
    }
}

/// Ids read better in a failing test as their text.
macro_rules! debug_as_text {
    ($($id:ty),*) => { $(impl fmt::Debug for $id {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self, f)
        }
    })* };
}
debug_as_text!(System, ExternalId, CustomerId, WriteId);

/// On the wire these are strings.
macro_rules! read_as_text {
    ($($id:ident: $read:expr),*) => { $(
        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $id;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(stringify!($id))
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$id, E> {
                        let read: Result<$id, IdError> = $read(text);
                        read.map_err(E::custom)
                    }
                }
                d.deserialize_str(Text)
            }
        }
    )* };
}
read_as_text!(System: System::new, ExternalId: |id| Ok(ExternalId::new(id)), CustomerId: str::parse, WriteId: str::parse);

impl Serialize for System {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl Serialize for ExternalId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl Serialize for CustomerId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl Serialize for WriteId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_id_reads_back_and_nothing_else_is_one() {
        let customer = CustomerId::minted(&System::new("stripe").unwrap(), &ExternalId::new("cus_1"), 0);
        let product = System::new("product").unwrap();
        for id in
            [WriteId::write(customer, &product, 7), WriteId::create(customer, &product, 0, 0), WriteId::create(customer, &product, 2, 3)]
        {
            assert_eq!(id.to_string().parse::<WriteId>().unwrap(), id);
        }
        for text in [
            "",
            "x",
            "a:b:c",
            &format!("{customer}:product:create0.0"),
            &format!("{customer}:Product:1"),
            &format!("{customer}:product:+1"),
            &format!("{customer}:product:01"),
            &format!("{customer}:product:"),
            &format!("{customer}:product:create1.0"),
            &format!("{customer}:product:create1."),
            &format!("{customer}:product:create01"),
            &format!("{}:product:1", customer.to_string().to_uppercase()),
            &format!("{}:product:1", customer.to_string().replace('-', "")),
        ] {
            assert!(text.parse::<WriteId>().is_err(), "{text}");
        }
        assert_eq!(WriteId::create(customer, &product, 2, 3).key(), format!("{customer}:product:create2"));
    }
}
