//! Which Rust type goes with which `.avsc`.

use serde::{Serialize, de::DeserializeOwned};

/// A message of the protocol: a Rust type with an Avro schema of its own.
pub trait Message: Serialize + DeserializeOwned {
    /// The Avro record's name, without its namespace.
    const NAME: &'static str;
    /// The text of its `.avsc`.
    const SCHEMA: &'static str;
}

macro_rules! messages {
    ($($message:ident),* $(,)?) => { $(
        impl Message for crate::$message {
            const NAME: &'static str = stringify!($message);
            const SCHEMA: &'static str = "\"null\"";
        }
    )* };
}

messages!(Request, SourceCustomer, CustomerLink, IdentifyMessage, UnifyMessage, UnifiedCustomer, CustomerConflict);
