//! The records of the `_schemas` topic, in Confluent's format: JSON keys and values.

use super::RegistryError;
use crate::{Compatibility, wire::SchemaId};
use serde::{Deserialize, Serialize};

/// A record to append to `_schemas` (one partition, compacted).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaRecord {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

// The order of the fields is that of a registry's own records, since the topic is compacted by the keys' bytes.
#[derive(Serialize, Deserialize)]
struct Key<'a> {
    keytype: &'a str,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    version: Option<i32>,
    magic: i32,
}

#[derive(Serialize, Deserialize)]
struct SchemaValue {
    subject: String,
    version: i32,
    id: SchemaId,
    #[serde(rename = "schemaType", skip_serializing_if = "Option::is_none", default)]
    schema_type: Option<String>,
    schema: String,
    #[serde(default)]
    deleted: bool,
}

#[derive(Serialize, Deserialize)]
struct ConfigValue {
    #[serde(rename = "compatibilityLevel")]
    level: String,
}

#[derive(Deserialize)]
struct SubjectDeletedValue {
    subject: String,
    version: i32,
}

/// What a record says.
pub(super) enum Entry {
    Schema {
        subject: String,
        version: i32,
        id: SchemaId,
        schema: String,
    },
    /// One version; its schema, where the record still has it.
    Deleted {
        subject: String,
        version: i32,
        id: Option<SchemaId>,
        schema: Option<String>,
    },
    /// All versions up to this one.
    SubjectDeleted {
        subject: String,
        version: i32,
    },
    Config {
        subject: Option<String>,
        level: Option<Compatibility>,
    },
    Other,
}

impl SchemaRecord {
    pub(super) fn schema(subject: &str, version: i32, id: SchemaId, schema: &str) -> Self {
        let key = Key { keytype: "SCHEMA", subject: Some(subject.to_owned()), version: Some(version), magic: 1 };
        let schema = schema.to_owned();
        SchemaRecord::of(&key, &SchemaValue { subject: subject.to_owned(), version, id, schema_type: None, schema, deleted: false })
    }

    pub(super) fn config(subject: Option<&str>, level: Compatibility) -> Self {
        let key = Key { keytype: "CONFIG", subject: subject.map(str::to_owned), version: None, magic: 0 };
        SchemaRecord::of(&key, &ConfigValue { level: level.to_string() })
    }

    fn of(key: &Key<'_>, value: &impl Serialize) -> Self {
        // Texts and numbers under texts: JSON always has a form for them.
        SchemaRecord { key: serde_json::to_vec(key).unwrap_or_default(), value: serde_json::to_vec(value).unwrap_or_default() }
    }
}

impl Entry {
    pub(super) fn read(key: &[u8], value: Option<&[u8]>) -> Result<Entry, RegistryError> {
        let bad = |e: serde_json::Error| RegistryError::Record(e.to_string());
        let lacks = |what: &str| RegistryError::Record(format!("the key lacks the {what}"));
        let key: Key<'_> = serde_json::from_slice(key).map_err(bad)?;
        match (key.keytype, value) {
            ("SCHEMA", None) => Ok(Entry::Deleted {
                subject: key.subject.ok_or_else(|| lacks("subject"))?,
                version: key.version.ok_or_else(|| lacks("version"))?,
                id: None,
                schema: None,
            }),
            ("SCHEMA", Some(value)) => {
                let v: SchemaValue = serde_json::from_slice(value).map_err(bad)?;
                Ok(match v.schema_type.as_deref() {
                    None | Some("AVRO") if v.deleted => {
                        Entry::Deleted { subject: v.subject, version: v.version, id: Some(v.id), schema: Some(v.schema) }
                    }
                    None | Some("AVRO") => Entry::Schema { subject: v.subject, version: v.version, id: v.id, schema: v.schema },
                    Some(_) => Entry::Other,
                })
            }
            ("CONFIG", None) => Ok(Entry::Config { subject: key.subject, level: None }),
            ("CONFIG", Some(value)) => {
                let v: ConfigValue = serde_json::from_slice(value).map_err(bad)?;
                let level = v.level.parse().map_err(|e: crate::compatibility::CompatibilityError| RegistryError::Record(e.to_string()))?;
                Ok(Entry::Config { subject: key.subject, level: Some(level) })
            }
            ("DELETE_SUBJECT", Some(value)) => {
                let v: SubjectDeletedValue = serde_json::from_slice(value).map_err(bad)?;
                Ok(Entry::SubjectDeleted { subject: v.subject, version: v.version })
            }
            _ => Ok(Entry::Other),
        }
    }
}
