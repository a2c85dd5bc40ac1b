//! What Concord's topics carry: the messages of the sync protocol, their Avro schemas, and the wire between them.
//!
//! - [`ids`], [`fields`]: identifiers and a customer's fields, the words of everything else
//! - [`messages`]: one type per Avro record

pub mod fields;
pub mod ids;
pub mod messages;

pub use fields::{Address, CustomerFields, Field, FieldError, Value, Values, normalise_email};
pub use ids::{Attempt, CustomerId, ExternalId, IdError, System, WriteId};
pub use messages::*;
