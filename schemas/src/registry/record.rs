//! The records of the `_schemas` topic, in Confluent's format: JSON keys and values.

use super::{
    RegistryError,
    state::{Config, Mode, Reference},
};
use crate::wire::SchemaId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// A record to append to `_schemas` (one partition, compacted).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaRecord {
    pub key: Vec<u8>,
    /// `None` deletes the key.
    pub value: Option<Vec<u8>>,
}

// The order of the fields is that of a registry's own records, since the topic is compacted by the keys' bytes.
#[derive(Serialize, Deserialize)]
struct Key {
    keytype: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    version: Option<i32>,
    magic: i32,
}

/// What a version's record holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SchemaValue {
    pub subject: String,
    pub version: i32,
    pub id: SchemaId,
    /// None: Avro.
    #[serde(rename = "schemaType", skip_serializing_if = "Option::is_none", default)]
    pub schema_type: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub references: Vec<Reference>,
    pub schema: String,
    #[serde(default)]
    pub deleted: bool,
    /// What else a registry of Confluent's keeps there; it is kept.
    #[serde(flatten)]
    pub rest: Map<String, Json>,
}

#[derive(Serialize, Deserialize)]
struct ModeValue {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    subject: Option<String>,
    mode: Mode,
}

#[derive(Serialize, Deserialize)]
struct SubjectValue {
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    version: Option<i32>,
}

/// Confluent's registries pass over a NOOP's value. Ours is the highest id that was ever given, which no longer follows from the other
/// records once a schema was deleted for good.
#[derive(Serialize, Deserialize)]
struct NoopValue {
    #[serde(rename = "lastId")]
    last_id: SchemaId,
}

/// What a record says.
pub(super) enum Entry {
    Schema(SchemaValue),
    /// One version, deleted for good.
    Gone {
        subject: String,
        version: i32,
    },
    /// All versions up to this one are soft-deleted.
    SubjectDeleted {
        subject: String,
        version: i32,
    },
    /// Everything soft-deleted is gone, of the subject or of all.
    Cleared {
        subject: Option<String>,
    },
    Config {
        subject: Option<String>,
        config: Option<Config>,
    },
    Mode {
        subject: Option<String>,
        mode: Option<Mode>,
    },
    LastId(SchemaId),
    Other,
}

impl SchemaRecord {
    pub(super) fn schema(value: &SchemaValue) -> Self {
        SchemaRecord::of("SCHEMA", Some(&value.subject), Some(value.version), Some(value))
    }

    pub(super) fn gone(subject: &str, version: i32) -> Self {
        SchemaRecord::of("SCHEMA", Some(subject), Some(version), None::<&()>)
    }

    pub(super) fn subject_deleted(subject: &str, version: i32) -> Self {
        let value = SubjectValue { subject: Some(subject.to_owned()), version: Some(version) };
        SchemaRecord::of("DELETE_SUBJECT", Some(subject), None, Some(&value))
    }

    pub(super) fn cleared(subject: Option<&str>) -> Self {
        let value = SubjectValue { subject: subject.map(str::to_owned), version: None };
        SchemaRecord::of("CLEAR_SUBJECT", subject, None, Some(&value))
    }

    pub(super) fn config(subject: Option<&str>, config: Option<&Config>) -> Self {
        SchemaRecord::of("CONFIG", subject, None, config)
    }

    pub(super) fn mode(subject: Option<&str>, mode: Option<Mode>) -> Self {
        let value = mode.map(|mode| ModeValue { subject: subject.map(str::to_owned), mode });
        SchemaRecord::of("MODE", subject, None, value.as_ref())
    }

    pub(super) fn last_id(last_id: SchemaId) -> Self {
        SchemaRecord::of("NOOP", None, None, Some(&NoopValue { last_id }))
    }

    fn of(keytype: &str, subject: Option<&str>, version: Option<i32>, value: Option<&impl Serialize>) -> Self {
        let magic = i32::from(keytype == "SCHEMA");
        let key = Key { keytype: keytype.into(), subject: subject.map(str::to_owned), version, magic };
        // Texts and numbers under texts: JSON always has a form for them.
        SchemaRecord {
            key: serde_json::to_vec(&key).unwrap_or_default(),
            value: value.map(|value| serde_json::to_vec(value).unwrap_or_default()),
        }
    }
}

impl Entry {
    pub(super) fn read(key: &[u8], value: Option<&[u8]>) -> Result<Entry, RegistryError> {
        fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, RegistryError> {
            serde_json::from_slice(bytes).map_err(|e| RegistryError::Record(e.to_string()))
        }
        let key: Key = read(key)?;
        let lacks = |what: &str| RegistryError::Record(format!("the key lacks the {what}"));
        Ok(match (key.keytype.as_str(), value) {
            ("SCHEMA", None) => {
                Entry::Gone { subject: key.subject.ok_or_else(|| lacks("subject"))?, version: key.version.ok_or_else(|| lacks("version"))? }
            }
            ("SCHEMA", Some(value)) => Entry::Schema(read(value)?),
            ("CONFIG", None) => Entry::Config { subject: key.subject, config: None },
            ("CONFIG", Some(value)) => Entry::Config { subject: key.subject, config: Some(read(value)?) },
            ("MODE", None) => Entry::Mode { subject: key.subject, mode: None },
            ("MODE", Some(value)) => Entry::Mode { subject: key.subject, mode: Some(read::<ModeValue>(value)?.mode) },
            ("DELETE_SUBJECT", Some(value)) => {
                let value: SubjectValue = read(value)?;
                let subject = value.subject.or(key.subject).ok_or_else(|| lacks("subject"))?;
                Entry::SubjectDeleted { subject, version: value.version.unwrap_or(0) }
            }
            ("CLEAR_SUBJECT", Some(_)) => Entry::Cleared { subject: key.subject },
            ("NOOP", Some(value)) => serde_json::from_slice::<NoopValue>(value).map_or(Entry::Other, |value| Entry::LastId(value.last_id)),
            _ => Entry::Other,
        })
    }
}
