//! How a customer is stored: without what the rest of it tells. A record in step shows golden, field by field, and carries the id of
//! our last write: a third of all that would be written.

use super::state::{Call, Customer};
use schemas::{CustomerId, System, WriteId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

impl Customer {
    /// To be stored: until [`unpack`](Self::unpack), what the rest tells is missing.
    pub(super) fn pack(&mut self) {
        let (id, golden) = (self.id, &self.golden);
        for (system, r) in self.replicas.iter_mut() {
            for (field, golden) in golden {
                if r.base.get(field) == Some(&golden.value) && r.shows.get(field) == Some(&golden.version) {
                    r.base.remove(field);
                    r.shows.remove(field);
                    r.as_golden.push(field.clone());
                }
            }
            r.our_mark = r.mark.as_deref().and_then(|mark| our_mark(id, system, mark));
            if r.our_mark.is_some() {
                r.mark = None;
            }
        }
    }

    pub(super) fn unpack(&mut self) {
        let (id, golden) = (self.id, &self.golden);
        for (system, r) in self.replicas.iter_mut() {
            for field in std::mem::take(&mut r.as_golden) {
                if let Some(golden) = golden.get(&field) {
                    r.base.insert(field.clone(), golden.value.clone());
                    r.shows.insert(field, golden.version);
                }
            }
            if let Some(Call(attempt)) = r.our_mark.take() {
                r.mark = Some(WriteId { customer: id, system: system.clone(), attempt }.to_string());
            }
        }
    }
}

/// The call that a mark names, if it is one about this customer in this system.
fn our_mark(customer: CustomerId, system: &System, mark: &str) -> Option<Call> {
    let id: WriteId = mark.parse().ok()?;
    (id.customer == customer && id.system == *system).then_some(Call(id.attempt))
}

impl Serialize for Customer {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Customer::serialize(self, s)
    }
}

impl<'de> Deserialize<'de> for Customer {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut customer = Customer::deserialize(d)?;
        customer.unpack();
        Ok(customer)
    }
}

/// A customer id as its sixteen bytes.
pub(super) mod id_bytes {
    use super::CustomerId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};
    use std::fmt;
    use uuid::Uuid;

    pub fn serialize<S: Serializer>(id: &CustomerId, s: S) -> Result<S::Ok, S::Error> {
        let bytes = id.uuid().into_bytes();
        // Where no schema says how many they are, they say it.
        if s.is_human_readable() { s.serialize_bytes(&bytes) } else { bytes.serialize(s) }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<CustomerId, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = CustomerId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sixteen bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<CustomerId, E> {
                Uuid::from_slice(bytes).map(CustomerId::from_uuid).map_err(E::custom)
            }
        }
        match d.is_human_readable() {
            true => d.deserialize_bytes(Bytes),
            false => <[u8; 16]>::deserialize(d).map(|bytes| CustomerId::from_uuid(Uuid::from_bytes(bytes))),
        }
    }
}
