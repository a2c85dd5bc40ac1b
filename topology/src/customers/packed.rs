//! How a customer is stored: without what the rest of it tells. A record in step shows golden, field by field, and golden is
//! stored.

use super::state::{Call, Creates, Customer, Flip, Golden, InFlight, Noticed, Pause, Refusal, Rendering, Replica, Spare, Write};
use schemas::{CustomerId, ExternalId, Field, Millis, SortedMap, System, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};
use std::collections::BTreeSet;

/// [`Customer`] as it is stored, field by field.
#[derive(Serialize)]
#[serde(rename = "Customer")]
struct Stored<'a> {
    #[serde(serialize_with = "id_bytes::serialize")]
    id: CustomerId,
    version: i64,
    published: i64,
    deleted: bool,
    golden: &'a SortedMap<Field, Golden>,
    choices: i64,
    n: i64,
    replicas: StoredReplicas<'a>,
    spares: &'a [Spare],
    claimed: &'a Option<String>,
    contested: bool,
    delete_wanted: &'a BTreeSet<System>,
    held: &'a BTreeSet<Field>,
    flips: &'a SortedMap<Field, Vec<Flip>>,
    creates: &'a SortedMap<System, Creates>,
    conflicts: i64,
    due: Option<Millis>,
}

struct StoredReplicas<'a> {
    replicas: &'a SortedMap<System, Box<Replica>>,
    golden: &'a SortedMap<Field, Golden>,
}

/// [`Replica`] as it is stored, field by field.
#[derive(Serialize)]
#[serde(rename = "Replica")]
struct StoredReplica<'a> {
    external_id: &'a ExternalId,
    incarnation: i64,
    deleted: bool,
    base: Without<'a, Value>,
    shows: Without<'a, i64>,
    as_golden: &'a [&'a Field],
    in_flight: &'a Option<InFlight>,
    ring: &'a [Write],
    rendered: &'a SortedMap<Field, Rendering>,
    refused: &'a SortedMap<Field, Refusal>,
    notices: &'a SortedMap<Field, Vec<Noticed>>,
    order: i64,
    look: Millis,
    #[serde(rename = "mark")]
    foreign_mark: &'a Option<String>,
    our_mark: Option<Call>,
    stamp: Option<Millis>,
    settled: bool,
    delete_pause: Option<Pause>,
}

/// A map without some of its fields, which are in order.
struct Without<'a, V> {
    map: &'a SortedMap<Field, V>,
    fields: &'a [&'a Field],
}

impl Serialize for Customer {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Customer {
            id,
            version,
            published,
            deleted,
            golden,
            choices,
            n,
            replicas,
            spares,
            claimed,
            contested,
            delete_wanted,
            held,
            flips,
            creates,
            conflicts,
            due,
        } = self;
        let stored = Stored {
            id: *id,
            version: *version,
            published: *published,
            deleted: *deleted,
            golden,
            choices: *choices,
            n: *n,
            replicas: StoredReplicas { replicas, golden },
            spares,
            claimed,
            contested: *contested,
            delete_wanted,
            held,
            flips,
            creates,
            conflicts: *conflicts,
            due: *due,
        };
        stored.serialize(s)
    }
}

impl Serialize for StoredReplicas<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.replicas.len()))?;
        for (system, replica) in self.replicas {
            let as_golden = as_golden(replica, self.golden);
            map.serialize_entry(system, &stored(replica, &as_golden))?;
        }
        map.end()
    }
}

/// Fields whose base is golden, at golden's version.
fn as_golden<'a>(replica: &Replica, golden: &'a SortedMap<Field, Golden>) -> Vec<&'a Field> {
    let is_golden = |(field, golden): &(&Field, &Golden)| {
        replica.shows.get(field) == Some(&golden.version) && replica.base.get(field) == Some(&golden.value)
    };
    golden.iter().filter(is_golden).map(|(field, _)| field).collect()
}

fn stored<'a>(replica: &'a Replica, as_golden: &'a [&'a Field]) -> StoredReplica<'a> {
    // What is only as stored is made anew.
    let Replica {
        external_id,
        incarnation,
        deleted,
        base,
        shows,
        as_golden: _,
        in_flight,
        ring,
        rendered,
        refused,
        notices,
        order,
        look,
        foreign_mark,
        our_mark,
        stamp,
        settled,
        delete_pause,
    } = replica;
    StoredReplica {
        external_id,
        incarnation: *incarnation,
        deleted: *deleted,
        base: Without { map: base, fields: as_golden },
        shows: Without { map: shows, fields: as_golden },
        as_golden,
        in_flight,
        ring,
        rendered,
        refused,
        notices,
        order: *order,
        look: *look,
        foreign_mark,
        our_mark: *our_mark,
        stamp: *stamp,
        settled: *settled,
        delete_pause: *delete_pause,
    }
}

impl<V: Serialize> Serialize for Without<'_, V> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.map.len() - self.fields.len()))?;
        for (field, value) in self.map {
            if self.fields.binary_search(&field).is_err() {
                map.serialize_entry(field, value)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Customer {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut customer = Customer::deserialize(d)?;
        let golden = &customer.golden;
        for r in customer.replicas.values_mut() {
            for field in std::mem::take(&mut r.as_golden) {
                if let Some(golden) = golden.get(&field) {
                    r.base.insert(field.clone(), golden.value.clone());
                    r.shows.insert(field, golden.version);
                }
            }
        }
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
