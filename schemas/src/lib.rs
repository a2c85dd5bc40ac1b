//! What Concord's topics carry: the messages of the sync protocol, their Avro schemas, and the wire between them.
//!
//! - [`ids`], [`fields`]: identifiers and a customer's fields, the words of everything else
//! - [`messages`]: one Rust type per Avro record; [`catalog`]: which `.avsc` it goes with
//! - [`codec`]: a type to bytes and back, in Confluent's wire format
//! - [`registry`]: subjects, versions and ids; it refuses a schema that could not read what is there
//! - [`rules`]: the protocol's rules by name, so that the simulation can break them

pub mod catalog;
pub mod codec;
pub mod fields;
pub mod ids;
pub mod messages;
pub mod registry;
pub mod rules;

pub use catalog::Message;
pub use codec::{AvroCodec, CodecError};
pub use fields::{Address, CustomerFields, Field, FieldError, Value, Values, normalise_email};
pub use ids::{Attempt, CustomerId, ExternalId, IdError, System, WriteId};
pub use messages::*;
pub use registry::{Registry, RegistryError};
pub use rules::{Rule, holds};
