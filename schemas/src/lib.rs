//! What Concord's topics carry: the messages of the sync protocol, their Avro schemas, and the wire between them.
//!
//! - [`ids`], [`fields`]: identifiers and a customer's fields, the words of everything else
//! - [`sorted_map`]: a map of a few entries, as customers are made of
//! - [`messages`]: one Rust type per Avro record; [`catalog`]: which `.avsc` and which topic it goes with
//! - [`codec`]: a type to bytes and back, in Confluent's format ([`wire`]); data of another version of the schema are resolved ([`resolve`]), our own
//!   need no look at it ([`in_order`])
//! - [`text`]: a schema's text in one form
//! - [`registry`]: subjects, versions and ids; it refuses a schema that could not read what is there ([`compatibility`])
//! - [`generic`]: values without a type, and plain JSON; [`json`]: customers as the HTTP API shows them
//! - [`samples`]: values of any schema, to try a new version with
//! - [`rules`]: the protocol's rules by name, so that the simulation can break them

pub mod catalog;
pub mod codec;
pub mod compatibility;
pub mod fields;
pub mod generic;
pub mod ids;
pub mod in_order;
pub mod json;
pub mod messages;
pub mod registry;
pub mod resolve;
pub mod rules;
pub mod samples;
pub mod schema;
pub mod sorted_map;
pub mod text;
pub mod wire;

pub use catalog::{Message, all, schema_of_topic};
pub use codec::{AvroCodec, CodecError};
pub use compatibility::{Compatibility, Incompatibility};
pub use fields::{Address, CustomerFields, Field, FieldError, Value, Values, normalise_email};
pub use ids::{Attempt, CustomerId, ExternalId, IdError, System, WriteId};
pub use messages::*;
pub use registry::{EncodeJsonError, Registry, RegistryError, SchemaRecord, value_subject};
pub use rules::{Rule, holds};
pub use schema::{Schema, SchemaError};
pub use sorted_map::SortedMap;
pub use wire::{SchemaId, WireError};
