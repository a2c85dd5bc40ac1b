//! What the stores and topics hold: each type with its Avro codec, as the engine's serde.

use super::{Config, Error, identify::Claimants, resolve::Record, state::Customer, walks::Walks};
use schemas::{AvroCodec, CodecError, Message, Registry, RegistryError, SourceCustomer, System};
use serde::{Serialize, de::DeserializeOwned};
use streams::{Serde, SerdeError};

/// unify's customers. Key: customer id (16 bytes).
pub const CUSTOMERS: &str = "customers";
/// unify's index of what was put off. Key: time (8 bytes, big-endian) and customer id (16 bytes); the value says nothing.
pub const DUE: &str = "customers-due";
/// unify's walks: one entry per partition.
pub const WALKS: &str = "customers-walks";
/// identify's claimants. Key: normalised e-mail.
pub const EMAILS: &str = "emails";

/// resolve's records of one system, `links-<system>`. Key: external id.
pub fn links_store(system: &System) -> String {
    format!("links-{system}")
}

/// A store's content: a type with an Avro schema of its own, so that it evolves. It stands as the schema does ([`schemas::in_order`]).
pub trait Stored: Serialize + DeserializeOwned {
    /// The text of its schema.
    fn schema() -> String;
}

impl Stored for Customer {
    fn schema() -> String {
        include_str!("../../../schemas/state/Customer.avsc").into()
    }
}

impl Stored for Record {
    /// What waits is a message: its schema is the message's own.
    fn schema() -> String {
        let schema = include_str!("../../../schemas/state/Record.avsc");
        schema.replacen("\"concord.SourceCustomer\"", SourceCustomer::SCHEMA, 1)
    }
}

impl Stored for Claimants {
    fn schema() -> String {
        include_str!("../../../schemas/state/Claimants.avsc").into()
    }
}

impl Stored for Walks {
    fn schema() -> String {
        include_str!("../../../schemas/state/Walks.avsc").into()
    }
}

/// The codec of a store, under the subject of the changelog that it has on Kafka.
pub fn codec<T: Stored>(config: &Config, registry: &Registry, store: &str) -> Result<AvroCodec<T>, RegistryError> {
    registry.codec_in_order(&format!("{}-{store}-changelog-value", config.application_id), &T::schema())
}

/// Reads what a store holds.
pub(super) fn read<T: Serialize + DeserializeOwned>(codec: &AvroCodec<T>, store: &str, bytes: &[u8]) -> Result<T, Error> {
    codec.decode(bytes).map_err(|e| Error::State { store: store.into(), error: e.to_string() })
}

/// Writes what a store is to hold.
pub(super) fn write<T: Serialize + DeserializeOwned>(codec: &AvroCodec<T>, store: &str, value: &T) -> Result<Vec<u8>, Error> {
    codec.encode(value).map_err(|e| Error::State { store: store.into(), error: e.to_string() })
}

/// The code of a record whose schema is being fetched: nothing is wrong with it, and it must wait.
pub const SCHEMA_AWAY: &str = "schema-away";

/// A topic's values.
#[derive(Clone)]
pub struct Avro<T>(pub AvroCodec<T>);

impl<T: Serialize + DeserializeOwned> Serde<T> for Avro<T> {
    fn serialize(&self, _topic: &str, value: &T) -> Result<Option<Vec<u8>>, SerdeError> {
        self.0.encode(value).map(Some).map_err(|e| SerdeError::caused("CONCORD-T004", e))
    }

    fn deserialize(&self, _topic: &str, bytes: Option<&[u8]>) -> Result<T, SerdeError> {
        let code = |error: &CodecError| if matches!(error, CodecError::SchemaAway(_)) { SCHEMA_AWAY } else { "CONCORD-T004" };
        self.0.decode(bytes.ok_or(SerdeError::Null)?).map_err(|error| SerdeError::caused(code(&error), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::customers::{
        SystemConfig,
        state::{Call, ChosenBy, Creates, Flip, Golden, InFlight, Noticed, Pause, Refusal, Rendering, Replica, Spare, Write},
    };
    use schemas::{Address, Attempt, CustomerFields, CustomerId, ExternalId, Field, SortedMap, Value, WriteId};
    use std::collections::BTreeSet;

    fn stored_and_read<T: Stored>(value: &T) -> T {
        let config = Config::new("test", vec![SystemConfig::connector(System::new("product").unwrap())]);
        let codec = codec::<T>(&config, &Registry::new(), "store").unwrap();
        let bytes = codec.encode(value).unwrap();
        // The type stands as its schema does.
        let by_schema = Registry::new().codec_with_schema::<T>("store", &T::schema()).unwrap();
        assert_eq!(by_schema.encode(value).unwrap(), bytes);
        assert_eq!(codec.encode(&by_schema.decode(&bytes).unwrap()).unwrap(), codec.encode(&codec.decode(&bytes).unwrap()).unwrap());
        codec.decode(&bytes).unwrap()
    }

    fn size<T: Stored>(value: &T) -> usize {
        let config = Config::new("test", vec![SystemConfig::connector(System::new("product").unwrap())]);
        codec::<T>(&config, &Registry::new(), "store").unwrap().encode(value).unwrap().len()
    }

    fn round_trip<T: Stored + PartialEq + std::fmt::Debug>(value: &T) {
        assert_eq!(&stored_and_read(value), value);
    }

    #[test]
    fn every_state_reads_back_as_it_was_written() {
        let system = System::new("stripe").unwrap();
        let id = CustomerId::minted(&system, &ExternalId::new("cus_1"), 0);
        round_trip(&Customer::new(id, 0));

        let address: Value = Address { line1: "1 Main St".into(), ..Default::default() }.into();
        let pause = Some(Pause { times: 2, due: 4_000 });
        let values =
            SortedMap::from([(Field::Address, address.clone()), (Field::attribute("plan"), "gold".into()), (Field::Phone, Value::Empty)]);
        let golden = Golden {
            value: address.clone(),
            time: 5,
            system: system.clone(),
            version: 3,
            external_id: ExternalId::new("cus_1"),
            event_id: Some("evt_1".into()),
            chosen_by: ChosenBy::SystemOfRecord,
        };
        let write = Write {
            id: Call(Attempt::Write(7)),
            set: values.clone(),
            expected: values.clone(),
            versions: SortedMap::from([(Field::Address, 3)]),
            look: 9,
            landed: true,
            told: BTreeSet::from([Field::Phone]),
        };
        let refusal = Refusal { value: "x".into(), reason: "taken".into(), pause };
        let noticed = Noticed { event_id: "evt_1".into(), ours: true, time: 1, new: Value::Empty };
        let mut replica = Replica::new(ExternalId::new("cus_1"), 1);
        replica.base = values.clone();
        replica.shows.extend([(Field::Address, 3), (Field::attribute("plan"), 5)]);
        replica.in_flight = Some(InFlight { id: write.id, delete: true });
        replica.ring = vec![write.clone()];
        replica.rendered.insert(Field::Address, Rendering { sent: address.clone(), shown: Value::Empty });
        replica.refused.insert(Field::Phone, refusal.clone());
        replica.notices.insert(Field::Phone, vec![noticed]);
        (replica.order, replica.look, replica.stamp, replica.settled) = (4, 5, Some(6), true);
        replica.bears(id, &system, Some("m".into()));
        replica.delete_pause = pause;
        let creates = Creates {
            number: 1,
            bodies: 2,
            attempts: vec![Write { id: Call(Attempt::Create { number: 1, body: 0 }), ..write }],
            out: Some(Call(Attempt::Create { number: 1, body: 1 })),
            refused: SortedMap::from([(Field::Phone, refusal)]),
            refused_body: Some(values),
            held: pause,
        };
        let mut customer = Customer::new(id, 0);
        // One field of base is golden, at golden's version; the other is not.
        customer.golden.insert(Field::attribute("plan"), Golden { value: "gold".into(), version: 9, ..golden.clone() });
        customer.golden.insert(Field::Address, golden);
        customer.replicas.insert(system.clone(), Box::new(replica));
        customer.spares.push(Spare { system: system.clone(), external_id: ExternalId::new("cus_2"), incarnation: 1, deleted: true });
        customer.claimed = Some("ada@example.com".into());
        customer.delete_wanted.insert(system.clone());
        customer.held.insert(Field::attribute("plan"));
        customer.flips.insert(Field::Name, vec![Flip { value: "Ada".into(), system: system.clone(), at: 1 }]);
        customer.creates.insert(system.clone(), creates);
        customer.due = Some(8);
        round_trip(&customer);
        let replica = customer.replicas.get_mut(&system).unwrap();
        let ours = WriteId::create(id, &system, 1, 2);
        replica.bears(id, &system, Some(ours.to_string()));
        assert_eq!((replica.our_mark, replica.mark(id, &system)), (Some(Call(ours.attempt)), Some(ours.to_string())));
        round_trip(&customer);
        // Its base is golden, which is stored once.
        let once = size(&customer);
        customer.golden.get_mut(&Field::Address).unwrap().version += 1;
        assert!(size(&customer) > once + 10, "{customer:?}");
        round_trip(&customer);

        let waiting = SourceCustomer { order: Some(3), fields: Some(CustomerFields::default()), ..Default::default() };
        round_trip(&Record { order: 4, incarnation: 1, deleted: true, link: Some(id), asked: true, waiting: vec![waiting] });
        round_trip(&Claimants { customers: vec![id] });
        let mut walks = Walks { imported: BTreeSet::from([system.clone()]), position: Some("x".into()), ..Walks::default() };
        walks.reasons.insert(system, "config-1".into());
        round_trip(&walks);
    }
}
