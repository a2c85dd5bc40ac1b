//! What a registry knows: which versions a subject has, which schema an id stands for, and what new versions must be able to do.

use super::record::SchemaValue;
use crate::{
    compatibility::{Compatibility, Incompatibility, Kind},
    schema::{Schema, SchemaError},
    text::{self, Node},
    wire::SchemaId,
};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

/// The type of a schema that does not say its type.
pub(super) const AVRO: &str = "AVRO";

/// References of references are followed so far.
const DEPTH: usize = 32;

/// A version of a subject that a schema takes types from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The type's full name.
    pub name: String,
    pub subject: String,
    pub version: i32,
}

/// What may be done to a subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    #[default]
    ReadWrite,
    ReadOnly,
    /// Of all subjects, whatever their own mode.
    #[serde(rename = "READONLY_OVERRIDE")]
    ReadOnlyOverride,
    /// Schemas come with the ids and versions that they have elsewhere.
    Import,
    /// A registry of Confluent's may have set it; here it is like `ReadOnly`.
    Forward,
}

/// Settings of a subject, or of all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    #[serde(rename = "compatibilityLevel", with = "level", skip_serializing_if = "Option::is_none", default)]
    pub level: Option<Compatibility>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub normalize: Option<bool>,
    /// What else a registry of Confluent's keeps there; it is kept.
    #[serde(flatten)]
    pub rest: Map<String, Json>,
}

mod level {
    use super::Compatibility;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(level: &Option<Compatibility>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&level.unwrap_or_default())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Compatibility>, D::Error> {
        let text: Option<String> = Option::deserialize(d)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

#[derive(Clone, Default)]
pub(super) struct State {
    pub schemas: FxHashMap<SchemaId, Arc<Stored>>,
    /// Where each stands: its (subject, version)s.
    pub places: FxHashMap<SchemaId, BTreeSet<(String, i32)>>,
    /// By [`Stored::identity`].
    pub ids: FxHashMap<String, SchemaId>,
    pub subjects: BTreeMap<String, Subject>,
    pub config: Option<Config>,
    pub mode: Option<Mode>,
    pub last_id: SchemaId,
    /// Ids that a registry elsewhere does not have.
    pub nowhere: BTreeSet<SchemaId>,
}

#[derive(Clone, Default)]
pub(super) struct Subject {
    pub versions: BTreeMap<i32, Version>,
    pub config: Option<Config>,
    pub mode: Option<Mode>,
}

#[derive(Clone)]
pub(super) struct Version {
    pub deleted: bool,
    pub schema: Arc<Stored>,
}

/// A schema of some type under its id.
pub(super) struct Stored {
    pub id: SchemaId,
    /// `AVRO`, or what only a registry of Confluent's understands.
    pub kind: String,
    pub text: String,
    pub references: Vec<Reference>,
    pub rest: Map<String, Json>,
    avro: OnceLock<Arc<Schema>>,
}

/// Equal for schemas that are one to a registry. `text` is canonical.
pub(super) fn identity(kind: &str, text: &str, references: &[Reference], rest: &Map<String, Json>) -> String {
    let mut identity = format!("{kind}\n{text}");
    for Reference { name, subject, version } in references {
        identity.push_str(&format!("\n{name}\n{subject}\n{version}"));
    }
    for key in ["metadata", "ruleSet"] {
        if let Some(value) = rest.get(key).filter(|value| !value.is_null()) {
            identity.push_str(&format!("\n{value}"));
        }
    }
    identity
}

/// The form of the text that decides whether two Avro schemas are one; what is none stays as it is.
pub(super) fn canonical(kind: &str, text: &str) -> String {
    let node = (kind == AVRO).then(|| Node::read(text).ok()).flatten();
    node.map_or_else(|| text.to_owned(), |node| text::canonical(&node).to_string())
}

impl Stored {
    pub fn identity(&self) -> String {
        identity(&self.kind, &canonical(&self.kind, &self.text), &self.references, &self.rest)
    }

    /// The record of a version with this schema.
    pub fn value(&self, subject: &str, version: i32, deleted: bool) -> SchemaValue {
        SchemaValue {
            subject: subject.to_owned(),
            version,
            id: self.id,
            schema_type: (self.kind != AVRO).then(|| self.kind.clone()),
            references: self.references.clone(),
            schema: self.text.clone(),
            deleted,
            rest: self.rest.clone(),
        }
    }
}

impl Subject {
    pub fn live(&self) -> impl DoubleEndedIterator<Item = (i32, &Version)> {
        self.versions.iter().filter(|(_, version)| !version.deleted).map(|(number, version)| (*number, version))
    }
}

impl State {
    pub fn level_of(&self, subject: &str) -> Compatibility {
        let own = self.subjects.get(subject).and_then(|s| s.config.as_ref()?.level);
        match own.or_else(|| self.config.as_ref()?.level).unwrap_or_default() {
            // A schema of something else there would make other things of Concord's records.
            Compatibility::None if self.is_concords(subject, |_| true) => Compatibility::Full,
            level => level,
        }
    }

    /// Whether Concord writes with one of these versions, whichever process is asked.
    pub fn is_concords(&self, subject: &str, among: impl Fn(i32) -> bool) -> bool {
        let mut versions = self.subjects.get(subject).into_iter().flat_map(|s| &s.versions).filter(|(number, _)| among(**number));
        is_named_as_concords(subject) && versions.any(|(_, version)| self.parsed(&version.schema).is_ok_and(|it| is_in_its_namespace(&it)))
    }

    pub fn normalizes(&self, subject: &str) -> bool {
        let own = self.subjects.get(subject).and_then(|s| s.config.as_ref()?.normalize);
        own.or_else(|| self.config.as_ref()?.normalize).unwrap_or_default()
    }

    pub fn mode_of(&self, subject: &str) -> Mode {
        match self.mode {
            Some(Mode::ReadOnlyOverride) => Mode::ReadOnlyOverride,
            of_all => self.subjects.get(subject).and_then(|s| s.mode).or(of_all).unwrap_or_default(),
        }
    }

    /// The subject, if it has a version: a live one, or any.
    pub fn subject(&self, subject: &str, deleted_too: bool) -> Option<&Subject> {
        self.subjects.get(subject).filter(|s| if deleted_too { !s.versions.is_empty() } else { s.live().next().is_some() })
    }

    /// Takes in a version; if its id is known, its schema is that one.
    pub fn put(&mut self, value: SchemaValue) {
        let SchemaValue { subject, version, id, schema_type, references, schema, deleted, rest } = value;
        if self.subjects.get(&subject).and_then(|s| s.versions.get(&version)).is_some_and(|known| known.schema.id != id) {
            self.remove(&subject, version);
        }
        let kind = schema_type.unwrap_or_else(|| AVRO.into());
        let new = || Arc::new(Stored { id, kind, text: schema, references, rest, avro: OnceLock::new() });
        let schema = self.schemas.entry(id).or_insert_with(new).clone();
        self.places.entry(id).or_default().insert((subject.clone(), version));
        self.ids.entry(schema.identity()).or_insert(id);
        self.last_id = self.last_id.max(id);
        self.subjects.entry(subject).or_default().versions.insert(version, Version { deleted, schema });
    }

    /// Takes in a schema that stands nowhere.
    pub fn learn(&mut self, id: SchemaId, text: String) {
        let stored = Stored { id, kind: AVRO.into(), text, references: Vec::new(), rest: Map::new(), avro: OnceLock::new() };
        self.schemas.entry(id).or_insert_with(|| Arc::new(stored));
        self.nowhere.remove(&id);
        self.last_id = self.last_id.max(id);
    }

    /// Forgets a version, and its schema if it stands nowhere else.
    pub fn remove(&mut self, subject: &str, version: i32) {
        let Some(gone) = self.subjects.get_mut(subject).and_then(|s| s.versions.remove(&version)) else { return };
        let id = gone.schema.id;
        let places = self.places.entry(id).or_default();
        places.remove(&(subject.to_owned(), version));
        if places.is_empty() {
            self.places.remove(&id);
            self.schemas.remove(&id);
            let identity = gone.schema.identity();
            if self.ids.get(&identity) == Some(&id) {
                self.ids.remove(&identity);
            }
        }
    }

    /// A schema with everything that it refers to.
    pub fn parsed(&self, stored: &Stored) -> Result<Arc<Schema>, SchemaError> {
        if let Some(schema) = stored.avro.get() {
            return Ok(schema.clone());
        }
        if stored.kind != AVRO {
            return Err(SchemaError(format!("it is of type {}", stored.kind)));
        }
        let schema = self.parse(&stored.text, &stored.references)?;
        Ok(stored.avro.get_or_init(|| schema).clone())
    }

    /// A text with the versions that it refers to, as one schema.
    pub fn parse(&self, text: &str, references: &[Reference]) -> Result<Arc<Schema>, SchemaError> {
        if references.is_empty() {
            return Schema::parse(text);
        }
        Schema::parse(&self.whole(text, references, DEPTH)?.to_string())
    }

    fn whole(&self, text: &str, references: &[Reference], depth: usize) -> Result<Node, SchemaError> {
        let depth = depth.checked_sub(1).ok_or_else(|| SchemaError("its references go in a circle, or too deep".into()))?;
        let node = Node::read(text).map_err(|e| SchemaError(e.to_string()))?;
        let other = |reference: &Reference| {
            let Reference { name, subject, version } = reference;
            let found = self.subjects.get(subject).and_then(|s| s.versions.get(version));
            let found = found.ok_or_else(|| {
                SchemaError(format!("it refers to {name} in version {version} of subject '{subject}', which is not there"))
            })?;
            self.whole(&found.schema.text, &found.schema.references, depth)
        };
        let others = references.iter().map(other).collect::<Result<Vec<_>, _>>()?;
        Ok(text::whole(&node, &others))
    }

    /// Why `new` may not follow these versions of a subject (oldest first): the first one that it does not fit, from the newest on.
    pub fn misfit(&self, level: Compatibility, versions: &[(i32, Arc<Stored>)], new: &Schema) -> Option<(i32, Vec<Incompatibility>)> {
        let against = match level {
            Compatibility::None => 0,
            _ if level.transitive() => versions.len(),
            _ => 1,
        };
        versions.iter().rev().take(against).find_map(|(version, stored)| {
            let found = match self.parsed(stored) {
                Ok(old) => level.check(&old, new),
                Err(error) => {
                    let reason = format!("version {version} cannot be compared: {error}");
                    vec![Incompatibility { kind: Kind::TypeMismatch, pointer: "/".into(), path: String::new(), reason }]
                }
            };
            (!found.is_empty()).then_some((*version, found))
        })
    }

    /// The ids of schemas that refer to a version; those that are soft-deleted everywhere only if asked for.
    pub fn referring(&self, subject: &str, version: i32, deleted_too: bool) -> BTreeSet<SchemaId> {
        let refers = |stored: &Arc<Stored>| stored.references.iter().any(|r| r.subject == subject && r.version == version);
        let alive = |id: &SchemaId| {
            let mut places = self.places.get(id).into_iter().flatten();
            deleted_too || places.any(|(s, v)| self.subjects.get(s).and_then(|s| s.versions.get(v)).is_some_and(|v| !v.deleted))
        };
        self.schemas.values().filter(|stored| refers(stored)).map(|stored| stored.id).filter(alive).collect()
    }
}

/// The topics of the protocol, and the changelogs of its stores, whose name an application chooses.
fn is_named_as_concords(subject: &str) -> bool {
    let Some(topic) = subject.strip_suffix("-value") else { return false };
    ["customers.", "requests.", "links."].iter().any(|first| topic.starts_with(first)) || topic.ends_with("-changelog")
}

/// That of this project's folder `schemas`: nobody else's schemas are in it.
fn is_in_its_namespace(schema: &Schema) -> bool {
    let namespace = schema.avro().namespace();
    namespace.is_some_and(|namespace| namespace == "concord" || namespace.starts_with("concord."))
}
