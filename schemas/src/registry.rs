//! The schema registry: subjects, versions and ids, in this process.
//!
//! Its semantics and its records are Confluent's (so the log's `_schemas` topic can be read by, and taken from, a registry of theirs).
//! It does no I/O: whoever owns the log replays the topic through [`Registry::apply`], and appends what [`Registry::take_unsaved`] and
//! [`Registry::register`] give before any value is written with the new ids.
//!
//! What its REST API asks is in [`ask`], what that changes in [`change`], why it says no in [`refusal`]; the records are in `record`,
//! and what follows from them in `state`.

pub mod ask;
pub mod change;
mod record;
pub mod refusal;
mod state;

pub use ask::{Place, SchemaView, Verdict, VersionView, Which};
pub use change::{Change, Proposal, Registered};
pub use record::SchemaRecord;
pub use refusal::Refusal;
pub use state::{Config, Mode, Reference};

use crate::{
    AvroCodec, CodecError, Message,
    codec::datum_error,
    compatibility::{Compatibility, Incompatibility},
    generic::{self, JsonError},
    schema::{Schema, SchemaError},
    wire::{self, SchemaId},
};
use change::Understood;
use parking_lot::{Mutex, RwLock};
use record::{Entry, SchemaValue};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Map;
use state::{AVRO, State, canonical, identity};
use std::sync::Arc;

/// Why a schema was not registered, or a record not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error("subject {subject}: {source}")]
    Schema { subject: String, source: SchemaError },
    /// Every place where the new schema and the old one do not fit.
    #[error("subject {subject}: the schema is not {level} compatible with version {version}: {}", join(.found))]
    Incompatible { subject: String, version: i32, level: Compatibility, found: Vec<Incompatibility> },
    #[error("subject {subject}: {refusal}")]
    Refused { subject: String, refusal: Refusal },
    #[error("subject {0}: its schema is not registered in the registry that is used")]
    NotThere(String),
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
    unsaved: Arc<Mutex<Vec<SchemaRecord>>>,
    /// Told of ids that are met and not known.
    ask: Option<Arc<dyn Fn(SchemaId) + Send + Sync>>,
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
        self.codec_in_order(subject, T::SCHEMA)
    }

    /// The same for a type whose schema is given as text.
    pub fn codec_with_schema<T: Serialize + DeserializeOwned>(&self, subject: &str, schema: &str) -> Result<AvroCodec<T>, RegistryError> {
        self.make_codec(subject, schema, false)
    }

    /// The same for a type that stands as its schema does: fields, branches and symbols in the same order, as [`in_order`](crate::in_order)
    /// says. It is several times faster.
    pub fn codec_in_order<T: Serialize + DeserializeOwned>(&self, subject: &str, schema: &str) -> Result<AvroCodec<T>, RegistryError> {
        self.make_codec(subject, schema, true)
    }

    fn make_codec<T: Serialize + DeserializeOwned>(
        &self,
        subject: &str,
        schema: &str,
        in_order: bool,
    ) -> Result<AvroCodec<T>, RegistryError> {
        let parsed = parse(subject, schema)?;
        parsed.fast().map_err(|source| RegistryError::Schema { subject: subject.into(), source })?;
        let (id, records) = self.register(subject, schema)?;
        self.unsaved.lock().extend(records);
        Ok(AvroCodec::new(self.clone(), id, parsed, in_order))
    }

    /// The schema's id, and the records to append to `_schemas` if it is new under this subject.
    pub fn register(&self, subject: &str, schema: &str) -> Result<(SchemaId, Vec<SchemaRecord>), RegistryError> {
        let parsed = parse(subject, schema)?;
        let sought = Understood { text: canonical(AVRO, schema), references: Vec::new(), schema: parsed };
        let mut state = self.state.write();
        if let Some((_, known)) = state.find(subject, &sought, false) {
            return Ok((known.id, Vec::new()));
        }
        // Ids are not ours to give.
        if self.ask.is_some() {
            return Err(RegistryError::NotThere(subject.to_owned()));
        }
        let level = state.level_of(subject);
        if let Some((version, found)) = state.misfit(level, &state.live(subject), &sought.schema) {
            return Err(RegistryError::Incompatible { subject: subject.into(), version, level, found });
        }
        let proposal = Proposal { schema: Some(sought.text), ..Proposal::default() };
        let change = state.register(subject, &proposal, false);
        let change = change.map_err(|refusal| RegistryError::Refused { subject: subject.into(), refusal })?;
        for record in &change.records {
            state.apply(Entry::read(&record.key, record.value.as_deref())?)?;
        }
        Ok((change.answer.id, change.records))
    }

    /// Sets what new versions must be able to do: of one subject, or (`None`) of all that have no level of their own.
    pub fn set_compatibility(&self, subject: Option<&str>, level: Compatibility) -> SchemaRecord {
        let mut state = self.state.write();
        let slot = match subject {
            Some(subject) => &mut state.subjects.entry(subject.to_owned()).or_default().config,
            None => &mut state.config,
        };
        let config = slot.get_or_insert_default();
        config.level = Some(level);
        SchemaRecord::config(subject, Some(config))
    }

    /// Takes in one record of the `_schemas` topic. Schemas of other types than Avro are kept as they are.
    pub fn apply(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), RegistryError> {
        self.state.write().apply(Entry::read(key, value)?)
    }

    /// A copy that changes by itself: what a change would come to is tried there.
    pub fn fork(&self) -> Registry {
        Registry { state: Arc::new(RwLock::new(self.state.read().clone())), unsaved: Arc::default(), ask: None }
    }

    /// Records of registrations by [`Registry::codec`] that were not taken yet, oldest first: append them before writing values.
    pub fn take_unsaved(&self) -> Vec<SchemaRecord> {
        std::mem::take(&mut *self.unsaved.lock())
    }

    /// The schema with this id, if it is of type Avro.
    pub fn schema(&self, id: SchemaId) -> Option<Arc<Schema>> {
        let state = self.state.read();
        state.parsed(state.schemas.get(&id)?).ok()
    }

    /// The schema with this id. One that is not known is asked for, if there is anybody to ask ([`Registry::fetching`]).
    pub fn find(&self, id: SchemaId) -> Result<Arc<Schema>, CodecError> {
        if let Some(schema) = self.schema(id) {
            return Ok(schema);
        }
        match &self.ask {
            Some(ask) if !self.state.read().nowhere.contains(&id) => {
                ask(id);
                Err(CodecError::SchemaAway(id))
            }
            _ => Err(CodecError::UnknownSchema(id)),
        }
    }

    /// This registry as a part of one elsewhere, which gives the ids: `ask` is told of each id that is met and not known, as often as it is
    /// met, and sees to it that [`Registry::learn_id`] or [`Registry::nowhere`] follows.
    pub fn fetching(&self, ask: impl Fn(SchemaId) + Send + Sync + 'static) -> Registry {
        Registry { ask: Some(Arc::new(ask)), ..self.clone() }
    }

    /// A schema of a subject as a registry elsewhere has it; its record waits in [`Registry::take_unsaved`].
    pub fn learn(&self, subject: &str, id: SchemaId, schema: &str) -> Result<(), RegistryError> {
        let mut state = self.state.write();
        if state.live(subject).iter().any(|(_, known)| known.id == id) {
            return Ok(());
        }
        let last = state.subjects.get(subject).and_then(|s| s.versions.keys().next_back().copied()).unwrap_or(0);
        let (subject, schema) = (subject.to_owned(), canonical(AVRO, schema));
        let value = SchemaValue {
            subject,
            version: last + 1,
            id,
            schema_type: None,
            references: Vec::new(),
            schema,
            deleted: false,
            rest: Map::new(),
        };
        let record = SchemaRecord::schema(&value);
        state.apply(Entry::Schema(value))?;
        self.unsaved.lock().push(record);
        Ok(())
    }

    /// A schema by its id alone, as a registry elsewhere has it.
    pub fn learn_id(&self, id: SchemaId, schema: &str) -> Result<(), RegistryError> {
        Schema::parse(schema).map_err(|source| RegistryError::Schema { subject: format!("of schema {id}"), source })?;
        self.state.write().learn(id, canonical(AVRO, schema));
        Ok(())
    }

    /// Whether an id is known to be nobody's: what names it is then refused instead of waiting.
    pub fn nowhere(&self, id: SchemaId, nowhere: bool) {
        let mut state = self.state.write();
        if nowhere {
            state.nowhere.insert(id)
        } else {
            state.nowhere.remove(&id)
        };
    }

    /// Whether the id stands for this schema, which needs no other.
    pub fn is(&self, id: SchemaId, schema: &str) -> bool {
        let known = self.schema(id).map(|known| change::whole_text(&known));
        let given = Schema::parse(schema).map(|given| change::whole_text(&given));
        given.is_ok_and(|given| known == Some(given))
    }

    /// Every schema that is known, by id.
    pub fn known(&self) -> Vec<(SchemaId, Arc<Schema>)> {
        let state = self.state.read();
        let mut known: Vec<_> = state.schemas.values().filter_map(|stored| Some((stored.id, state.parsed(stored).ok()?))).collect();
        known.sort_by_key(|(id, _)| *id);
        known
    }

    /// Every subject that has a schema.
    pub fn subjects(&self) -> Vec<String> {
        self.subjects_of("", Which::Live)
    }

    /// The subject's versions, each with its schema's id.
    pub fn versions(&self, subject: &str) -> Vec<(i32, SchemaId)> {
        self.state.read().live(subject).into_iter().map(|(version, schema)| (version, schema.id)).collect()
    }

    /// The subject's latest schema, with its id.
    pub fn latest(&self, subject: &str) -> Option<(SchemaId, Arc<Schema>)> {
        let state = self.state.read();
        let (_, latest) = state.subjects.get(subject)?.live().next_back()?;
        Some((latest.schema.id, state.parsed(&latest.schema).ok()?))
    }

    /// What new versions of the subject must be able to do.
    pub fn compatibility(&self, subject: &str) -> Compatibility {
        self.state.read().level_of(subject)
    }

    /// Plain JSON as bytes in the wire format, by the subject's latest schema (see [`generic`]).
    pub fn encode_json(&self, subject: &str, json: &serde_json::Value) -> Result<Vec<u8>, EncodeJsonError> {
        let (id, schema) = self.latest(subject).ok_or_else(|| EncodeJsonError::UnknownSubject(subject.to_owned()))?;
        encode_json(id, &schema, json)
    }

    /// Bytes in the wire format as plain JSON (see [`generic`]).
    pub fn decode_json(&self, bytes: &[u8]) -> Result<serde_json::Value, CodecError> {
        let (id, datum) = wire::split(bytes)?;
        let schema = self.find(id)?;
        let value = generic::decode(datum, &schema).map_err(|e| datum_error(id, e))?;
        Ok(generic::to_json(&value, &schema))
    }
}

/// Plain JSON as bytes in the wire format, by the schema of this id (see [`generic`]).
pub fn encode_json(id: SchemaId, schema: &Schema, json: &serde_json::Value) -> Result<Vec<u8>, EncodeJsonError> {
    let value = generic::from_json(json, schema)?;
    let mut bytes = wire::header(id).to_vec();
    bytes.extend(generic::encode(&value, schema)?);
    Ok(bytes)
}

fn parse(subject: &str, schema: &str) -> Result<Arc<Schema>, RegistryError> {
    Schema::parse(schema).map_err(|source| RegistryError::Schema { subject: subject.to_owned(), source })
}

impl State {
    fn apply(&mut self, entry: Entry) -> Result<(), RegistryError> {
        match entry {
            Entry::Schema(value) => {
                let SchemaValue { subject, version, id, schema_type, references, schema, rest, .. } = &value;
                let kind = schema_type.as_deref().unwrap_or(AVRO);
                let known = self.schemas.get(id).map(|known| known.identity());
                if known.is_some_and(|known| known != identity(kind, &canonical(kind, schema), references, rest)) {
                    return Err(RegistryError::IdTaken { id: *id, subject: subject.clone(), version: *version });
                }
                self.put(value);
            }
            Entry::Gone { subject, version } => self.remove(&subject, version),
            Entry::SubjectDeleted { subject, version } => {
                let versions = self.subjects.get_mut(&subject).into_iter().flat_map(|s| &mut s.versions);
                versions.filter(|(number, _)| **number <= version).for_each(|(_, version)| version.deleted = true);
            }
            Entry::Cleared { subject } => {
                let concerned = self.subjects.iter().filter(|(name, _)| subject.as_ref().is_none_or(|subject| subject == *name));
                let deleted = |(name, s): (&String, &state::Subject)| {
                    s.versions.iter().filter(|(_, v)| v.deleted).map(|(number, _)| (name.clone(), *number)).collect::<Vec<_>>()
                };
                let gone: Vec<_> = concerned.flat_map(deleted).collect();
                gone.into_iter().for_each(|(name, version)| self.remove(&name, version));
            }
            Entry::Config { subject: Some(subject), config } => self.subjects.entry(subject).or_default().config = config,
            Entry::Config { subject: None, config } => self.config = config,
            Entry::Mode { subject: Some(subject), mode } => self.subjects.entry(subject).or_default().mode = mode,
            Entry::Mode { subject: None, mode } => self.mode = mode,
            Entry::LastId(id) => self.last_id = self.last_id.max(id),
            Entry::Other => {}
        }
        Ok(())
    }
}
