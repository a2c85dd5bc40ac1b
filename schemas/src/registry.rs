//! The schema registry: subjects, versions and ids, in this process.
//!
//! Its semantics and its records are Confluent's (so the log's `_schemas` topic can be read by, and taken from, a registry of theirs).
//! It does no I/O: whoever owns the log replays the topic through [`Registry::apply`], and appends what [`Registry::take_unsaved`] and
//! [`Registry::register`] give before any value is written with the new ids.

mod record;

pub use record::SchemaRecord;

use crate::{
    AvroCodec, CodecError, Message,
    codec::datum_error,
    compatibility::{Compatibility, Incompatibility},
    generic::{self, JsonError},
    schema::{Schema, SchemaError},
    wire::{self, SchemaId},
};
use parking_lot::RwLock;
use record::Entry;
use rustc_hash::FxHashMap;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, sync::Arc};

/// Why a schema was not registered, or a record not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error("subject {subject}: {source}")]
    Schema { subject: String, source: SchemaError },
    /// Every place where the new schema and the old one do not fit.
    #[error("subject {subject}: the schema is not {level} compatible with version {version}: {}", join(.found))]
    Incompatible { subject: String, version: i32, level: Compatibility, found: Vec<Incompatibility> },
    #[error("schema {id} is already another one (subject {subject}, version {version})")]
    IdTaken { id: SchemaId, subject: String, version: i32 },
    #[error("not a record of a schema registry: {0}")]
    Record(String),
}

fn join(found: &[Incompatibility]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why a JSON line did not become a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeJsonError {
    #[error("nothing is registered under the subject {0}")]
    UnknownSubject(String),
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error(transparent)]
    Datum(#[from] generic::DatumError),
}

/// Subjects, versions and ids. A cheap handle: clones share everything.
///
/// - The same schema has the same id under every subject; versions count per subject, from 1.
/// - A schema that is registered under the subject already changes nothing.
/// - Else it must be compatible with what is there ([`Compatibility::Backward`], unless set otherwise).
#[derive(Clone, Default)]
pub struct Registry {
    state: Arc<RwLock<State>>,
}

#[derive(Default)]
struct State {
    schemas: FxHashMap<SchemaId, Arc<Schema>>,
    /// By [`Schema::identity`].
    ids: FxHashMap<String, SchemaId>,
    subjects: BTreeMap<String, Subject>,
    level: Compatibility,
    last_id: SchemaId,
    unsaved: Vec<SchemaRecord>,
}

#[derive(Default)]
struct Subject {
    /// `None`: this version was deleted; its number is never used again.
    versions: BTreeMap<i32, Option<SchemaId>>,
    level: Option<Compatibility>,
}

impl Subject {
    fn live(&self) -> impl DoubleEndedIterator<Item = (i32, SchemaId)> {
        self.versions.iter().filter_map(|(version, id)| Some((*version, (*id)?)))
    }
}

/// `TopicNameStrategy`: the subject of a topic's values.
pub fn value_subject(topic: &str) -> String {
    format!("{topic}-value")
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Registry::default()
    }

    /// Registers `T`'s schema under the subject (e.g. `customers.stripe-value`) and gives its codec.
    ///
    /// A record of a new registration waits in [`Registry::take_unsaved`].
    pub fn codec<T: Message>(&self, subject: &str) -> Result<AvroCodec<T>, RegistryError> {
        self.codec_with_schema(subject, T::SCHEMA)
    }

    /// The same for a type whose schema is given as text (a state store's, say).
    pub fn codec_with_schema<T: Serialize + DeserializeOwned>(&self, subject: &str, schema: &str) -> Result<AvroCodec<T>, RegistryError> {
        let parsed = parse(subject, schema)?;
        parsed.fast().map_err(|source| RegistryError::Schema { subject: subject.into(), source })?;
        let (id, record) = self.register(subject, schema)?;
        if let Some(record) = record {
            self.state.write().unsaved.push(record);
        }
        Ok(AvroCodec::new(self.clone(), id, parsed))
    }

    /// The schema's id, and the record to append to `_schemas` if it is new under this subject.
    pub fn register(&self, subject: &str, schema: &str) -> Result<(SchemaId, Option<SchemaRecord>), RegistryError> {
        let schema = parse(subject, schema)?;
        let mut state = self.state.write();
        let known = state.ids.get(schema.identity()).copied();
        let level = state.level_of(subject);
        let versions: Vec<(i32, SchemaId)> = state.subjects.get(subject).map(|s| s.live().collect()).unwrap_or_default();
        if let Some(id) = known
            && versions.iter().any(|(_, registered)| *registered == id)
        {
            return Ok((id, None));
        }
        let against = if level.transitive() { versions.len() } else { versions.len().min(1) };
        for (version, id) in versions.iter().rev().take(against) {
            let found = state.schemas.get(id).map(|old| level.check(old, &schema)).unwrap_or_default();
            if !found.is_empty() {
                return Err(RegistryError::Incompatible { subject: subject.into(), version: *version, level, found });
            }
        }
        let id = known.unwrap_or(state.last_id + 1);
        let last = state.subjects.get(subject).and_then(|s| s.versions.keys().next_back().copied());
        let version = last.unwrap_or(0) + 1;
        state.put(subject, version, id, &schema);
        Ok((id, Some(SchemaRecord::schema(subject, version, id, schema.text()))))
    }

    /// Sets what new versions must be able to do: of one subject, or (`None`) of all that have no level of their own.
    pub fn set_compatibility(&self, subject: Option<&str>, level: Compatibility) -> SchemaRecord {
        self.state.write().set_level(subject, Some(level));
        SchemaRecord::config(subject, level)
    }

    /// Takes in one record of the `_schemas` topic. Records of schema types other than Avro are passed over.
    pub fn apply(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), RegistryError> {
        let entry = Entry::read(key, value)?;
        let mut state = self.state.write();
        match entry {
            Entry::Schema { subject, version, id, schema } => {
                let schema = parse(&subject, &schema)?;
                if state.schemas.get(&id).is_some_and(|known| known.identity() != schema.identity()) {
                    return Err(RegistryError::IdTaken { id, subject, version });
                }
                state.put(&subject, version, id, &schema);
            }
            Entry::Deleted { subject, version, id, schema } => {
                // Data written with it may still be there.
                if let (Some(id), Some(schema)) = (id, schema) {
                    let schema = parse(&subject, &schema)?;
                    state.put(&subject, version, id, &schema);
                }
                state.subjects.entry(subject).or_default().versions.insert(version, None);
            }
            Entry::SubjectDeleted { subject, version } => {
                let versions = &mut state.subjects.entry(subject).or_default().versions;
                versions.iter_mut().filter(|(n, _)| **n <= version).for_each(|(_, id)| *id = None);
            }
            Entry::Config { subject, level } => state.set_level(subject.as_deref(), level),
            Entry::Other => {}
        }
        Ok(())
    }

    /// Records of registrations by [`Registry::codec`] that were not taken yet, oldest first: append them before writing values.
    pub fn take_unsaved(&self) -> Vec<SchemaRecord> {
        std::mem::take(&mut self.state.write().unsaved)
    }

    /// The schema with this id.
    pub fn schema(&self, id: SchemaId) -> Option<Arc<Schema>> {
        self.state.read().schemas.get(&id).cloned()
    }

    /// Every subject that has a schema.
    pub fn subjects(&self) -> Vec<String> {
        let state = self.state.read();
        state.subjects.iter().filter(|(_, subject)| subject.live().next().is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// The subject's versions, each with its schema's id.
    pub fn versions(&self, subject: &str) -> Vec<(i32, SchemaId)> {
        self.state.read().subjects.get(subject).map(|s| s.live().collect()).unwrap_or_default()
    }

    /// The subject's latest schema, with its id.
    pub fn latest(&self, subject: &str) -> Option<(SchemaId, Arc<Schema>)> {
        let state = self.state.read();
        let (_, id) = state.subjects.get(subject)?.live().next_back()?;
        Some((id, state.schemas.get(&id)?.clone()))
    }

    /// What new versions of the subject must be able to do.
    pub fn compatibility(&self, subject: &str) -> Compatibility {
        self.state.read().level_of(subject)
    }

    /// Plain JSON as bytes in the wire format, by the subject's latest schema (see [`generic`]).
    pub fn encode_json(&self, subject: &str, json: &serde_json::Value) -> Result<Vec<u8>, EncodeJsonError> {
        let (id, schema) = self.latest(subject).ok_or_else(|| EncodeJsonError::UnknownSubject(subject.to_owned()))?;
        let value = generic::from_json(json, &schema)?;
        let mut bytes = wire::header(id).to_vec();
        bytes.extend(generic::encode(&value, &schema)?);
        Ok(bytes)
    }

    /// Bytes in the wire format as plain JSON (see [`generic`]).
    pub fn decode_json(&self, bytes: &[u8]) -> Result<serde_json::Value, CodecError> {
        let (id, datum) = wire::split(bytes)?;
        let schema = self.schema(id).ok_or(CodecError::UnknownSchema(id))?;
        let value = generic::decode(datum, &schema).map_err(|e| datum_error(id, e))?;
        Ok(generic::to_json(&value, &schema))
    }
}

fn parse(subject: &str, schema: &str) -> Result<Arc<Schema>, RegistryError> {
    Schema::parse(schema).map_err(|source| RegistryError::Schema { subject: subject.to_owned(), source })
}

impl State {
    fn level_of(&self, subject: &str) -> Compatibility {
        self.subjects.get(subject).and_then(|s| s.level).unwrap_or(self.level)
    }

    fn set_level(&mut self, subject: Option<&str>, level: Option<Compatibility>) {
        match subject {
            Some(subject) => self.subjects.entry(subject.to_owned()).or_default().level = level,
            None => self.level = level.unwrap_or_default(),
        }
    }

    fn put(&mut self, subject: &str, version: i32, id: SchemaId, schema: &Arc<Schema>) {
        self.schemas.entry(id).or_insert_with(|| schema.clone());
        self.ids.entry(schema.identity().to_owned()).or_insert(id);
        self.last_id = self.last_id.max(id);
        self.subjects.entry(subject.to_owned()).or_default().versions.insert(version, Some(id));
    }
}
