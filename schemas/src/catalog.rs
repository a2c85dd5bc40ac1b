//! Which Rust type goes with which `.avsc`, and which topic carries it.

use serde::{Serialize, de::DeserializeOwned};

/// A message of the protocol: a Rust type with an Avro schema of its own.
pub trait Message: Serialize + DeserializeOwned {
    /// The Avro record's name, without its namespace.
    const NAME: &'static str;
    /// The text of its `.avsc`.
    const SCHEMA: &'static str;
}

macro_rules! messages {
    ($($message:ident),* $(,)?) => {
        $(
            impl Message for crate::$message {
                const NAME: &'static str = stringify!($message);
                const SCHEMA: &'static str = include_str!(concat!("../", stringify!($message), ".avsc"));
            }
        )*

        /// Every message: the record's name, and the text of its `.avsc`.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($message), <crate::$message as Message>::SCHEMA),)*];
    };
}

messages!(Request, SourceCustomer, CustomerLink, IdentifyMessage, UnifyMessage, UnifiedCustomer, CustomerConflict);

/// Every message: the record's name, and the text of its `.avsc`.
pub fn all() -> &'static [(&'static str, &'static str)] {
    ALL
}

/// The record and the schema of a topic's values, if it is one of Concord's.
///
/// ```
/// assert_eq!(schemas::schema_of_topic("requests.stripe").unwrap().0, "Request");
/// ```
pub fn schema_of_topic(topic: &str) -> Option<(&'static str, &'static str)> {
    let name = match topic {
        "customers.identify" => "IdentifyMessage",
        "customers.unify" => "UnifyMessage",
        "customers.unified" => "UnifiedCustomer",
        "customers.conflicts" => "CustomerConflict",
        _ if topic.ends_with(".dlq") => return None,
        _ => match topic.split_once('.')? {
            ("requests", _) => "Request",
            ("customers", _) => "SourceCustomer",
            ("links", _) => "CustomerLink",
            _ => return None,
        },
    };
    ALL.iter().copied().find(|(known, _)| *known == name)
}
