//! Changes to a registry: what is answered, and which records make it so. Nothing is changed here; whoever owns the log appends the
//! records and then gives them to [`Registry::apply`](super::Registry::apply), one change after the other.

use super::{
    Registry,
    record::{SchemaRecord, SchemaValue},
    refusal::Refusal,
    state::{AVRO, Config, Mode, Reference, State, Stored, canonical, identity},
};
use crate::{
    compatibility::{Compatibility, Incompatibility},
    schema::Schema,
    text::{self, Node},
    wire::SchemaId,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// Versions have numbers of this size in the protocol.
const MOST: u32 = i32::MAX as u32;

/// The topic's records are a megabyte at the most, as Kafka's brokers have it.
const LARGEST: usize = 1 << 20;

/// A schema as a client sends it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Proposal {
    pub schema: Option<String>,
    pub schema_type: Option<String>,
    pub references: Option<Vec<Reference>>,
    /// Only where the mode is IMPORT.
    pub id: Option<i64>,
    pub version: Option<i64>,
    pub metadata: Option<Json>,
    pub rule_set: Option<Json>,
}

/// Whether a proposal may be registered under a subject: its place if it is there already, else how it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registered {
    pub id: SchemaId,
    pub version: i32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    pub schema: String,
}

/// A change that is decided and not made yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<T> {
    pub answer: T,
    /// To be appended together, in this order. None: everything is so already.
    pub records: Vec<SchemaRecord>,
}

/// A proposal that was understood.
pub(super) struct Understood {
    pub text: String,
    pub references: Vec<Reference>,
    pub schema: Arc<Schema>,
}

impl Understood {
    fn identity(&self) -> String {
        identity(AVRO, &canonical(AVRO, &self.text), &self.references, &Map::new())
    }
}

impl State {
    /// Reads a proposal. A registry keeps it in one form, whatever its white space and the order of its members.
    pub(super) fn understand(&self, subject: &str, proposal: &Proposal, normalize: bool) -> Result<Understood, Refusal> {
        if let Some(other) = proposal.schema_type.as_deref().filter(|kind| !kind.is_empty() && *kind != AVRO) {
            return Err(Refusal::invalid_schema(format!("schemas of type {other} are not taken by this registry, only {AVRO}")));
        }
        if proposal.metadata.as_ref().or(proposal.rule_set.as_ref()).is_some_and(|value| !value.is_null()) {
            return Err(Refusal::invalid_schema("metadata and rule sets are not taken by this registry; register the schema without"));
        }
        let text = proposal.schema.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| Refusal::invalid_schema("it is empty"))?;
        if text.len() > LARGEST {
            return Err(Refusal::new(42209, format!("The schema has {} bytes; {LARGEST} is the most.", text.len())));
        }
        let references = proposal.references.clone().unwrap_or_default();
        // A bare name of a type, as some clients send it.
        let node = Node::read(text).unwrap_or_else(|_| Node::text(text));
        let form = if normalize || self.normalizes(subject) { text::normal(&node) } else { text::canonical(&node) };
        let text = form.to_string();
        let schema = self.parse(&text, &references).map_err(Refusal::invalid_schema)?;
        Ok(Understood { text, references, schema })
    }

    /// The version of a subject that has this schema, if any: the same text and references, else the same with all types in place.
    pub(super) fn find(&self, subject: &str, sought: &Understood, deleted_too: bool) -> Option<(i32, Arc<Stored>)> {
        let versions = || {
            let all = self.subjects.get(subject).into_iter().flat_map(|s| s.versions.iter().rev());
            all.filter(|(_, version)| deleted_too || !version.deleted)
        };
        let same = self.ids.get(&sought.identity());
        let by_text = versions().find(|(_, version)| Some(&version.schema.id) == same);
        let by_meaning = || {
            let (simple, form) = (sought.references.is_empty(), whole_text(&sought.schema));
            versions().filter(|(_, v)| !simple || !v.schema.references.is_empty()).find(|(_, version)| {
                version.schema.rest.get("ruleSet").is_none() && self.parsed(&version.schema).is_ok_and(|known| whole_text(&known) == form)
            })
        };
        by_text.or_else(by_meaning).map(|(number, version)| (*number, version.schema.clone()))
    }

    pub(super) fn live(&self, subject: &str) -> Vec<(i32, Arc<Stored>)> {
        self.subjects.get(subject).map(|s| s.live().map(|(number, v)| (number, v.schema.clone())).collect()).unwrap_or_default()
    }

    fn writable(&self, subject: &str) -> Result<Mode, Refusal> {
        match self.mode_of(subject) {
            Mode::ReadOnly | Mode::ReadOnlyOverride | Mode::Forward => {
                Err(Refusal::not_permitted(format!("Subject {subject} is in read-only mode; set its mode to READWRITE first.")))
            }
            mode => Ok(mode),
        }
    }

    /// What Concord writes with is not taken from under it: none of these versions is its own.
    fn deletable(&self, subject: &str, versions: impl Fn(i32) -> bool) -> Result<Mode, Refusal> {
        if self.is_concords(subject, versions) {
            return Err(Refusal::not_permitted(format!(
                "Concord itself writes with the schemas of subject {subject}; they cannot be deleted."
            )));
        }
        self.writable(subject)
    }

    pub(super) fn register(&self, subject: &str, proposal: &Proposal, normalize: bool) -> Result<Change<Registered>, Refusal> {
        check_subject(subject)?;
        let mode = self.writable(subject)?;
        let wanted_id = proposal.id.filter(|id| *id >= 0);
        match (mode, wanted_id) {
            (Mode::Import, None) => {
                return Err(Refusal::not_permitted(format!("Subject {subject} is in mode IMPORT: name the schema's id (and version).")));
            }
            (Mode::Import, _) | (_, None) => {}
            (_, Some(_)) => {
                return Err(Refusal::not_permitted(format!("Subject {subject} is not in mode IMPORT: leave the id to the registry.")));
            }
        }
        let understood = self.understand(subject, proposal, normalize)?;
        let wanted_version = number(proposal.version, "version")?;
        let wanted_id = number(wanted_id, "id")?;
        if wanted_version.is_none()
            && let Some((version, stored)) = self.find(subject, &understood, false)
            && wanted_id.is_none_or(|id| id == stored.id)
        {
            let answer = Registered { id: stored.id, version, references: stored.references.clone(), schema: stored.text.clone() };
            return Ok(Change { answer, records: Vec::new() });
        }
        if mode != Mode::Import {
            let level = self.level_of(subject);
            if let Some((version, found)) = self.misfit(level, &self.live(subject), &understood.schema) {
                return Err(Refusal::incompatible(subject, &messages(level, version, &found)));
            }
        }
        self.registered(subject, understood, mode, wanted_id, wanted_version)
    }

    /// The records of a new version.
    fn registered(
        &self,
        subject: &str,
        new: Understood,
        mode: Mode,
        id: Option<SchemaId>,
        version: Option<u32>,
    ) -> Result<Change<Registered>, Refusal> {
        let identity = new.identity();
        let Understood { text, references, .. } = new;
        let known = self.ids.get(&identity).copied();
        if let Some(id) = id
            && (known.is_some_and(|known| known != id) || self.schemas.get(&id).is_some_and(|other| other.identity() != identity))
        {
            let message = format!("Id {id} is another schema's, or the schema has another id here; an id never changes its meaning.");
            return Err(Refusal::not_permitted(message));
        }
        let id = id.or(known).unwrap_or(self.last_id + 1);
        let last = self.subjects.get(subject).and_then(|s| s.versions.keys().next_back().copied()).unwrap_or(0);
        let version = match version.map(|version| version as i32) {
            None => last + 1,
            Some(version) if mode == Mode::Import || version == last + 1 => version,
            Some(version) => return Err(Refusal::invalid_schema(format!("version {version} would not follow version {last}"))),
        };
        // A soft-deleted version of the same schema makes room for the new one.
        let old = self.subjects.get(subject).into_iter().flat_map(|s| &s.versions);
        let outlived = old.filter(|(number, old)| old.deleted && old.schema.id == id && **number < version);
        let mut records: Vec<_> = outlived
            .filter(|(number, _)| self.referring(subject, **number, true).is_empty())
            .map(|(number, _)| SchemaRecord::gone(subject, *number))
            .collect();
        let rest = Map::new();
        let value = SchemaValue { subject: subject.into(), version, id, schema_type: None, references, schema: text, deleted: false, rest };
        records.push(SchemaRecord::schema(&value));
        Ok(Change { answer: Registered { id, version, references: value.references, schema: value.schema }, records })
    }

    fn delete_subject(&self, subject: &str, permanent: bool) -> Result<Change<Vec<i32>>, Refusal> {
        self.deletable(subject, |_| true)?;
        let found = self.subject(subject, true).ok_or_else(|| Refusal::no_subject(subject))?;
        if !permanent && found.live().next().is_none() {
            return Err(Refusal::subject_soft_deleted(subject));
        }
        if permanent && found.live().next().is_some() {
            return Err(Refusal::subject_not_soft_deleted(subject));
        }
        let numbers: Vec<i32> = found.versions.iter().filter(|(_, v)| permanent || !v.deleted).map(|(number, _)| *number).collect();
        for version in &numbers {
            let others = self.referring(subject, *version, permanent);
            let elsewhere = |id: &SchemaId| self.places.get(id).into_iter().flatten().any(|(place, _)| place != subject);
            if others.iter().any(elsewhere) {
                return Err(Refusal::referenced(subject, *version));
            }
        }
        let records = if permanent {
            let mut records = self.last_id_kept();
            // The newest first: versions may refer to older ones of the same subject.
            records.extend(numbers.iter().rev().map(|version| SchemaRecord::gone(subject, *version)));
            records.extend(found.mode.map(|_| SchemaRecord::mode(Some(subject), None)));
            records.extend(found.config.as_ref().map(|_| SchemaRecord::config(Some(subject), None)));
            records
        } else {
            vec![SchemaRecord::subject_deleted(subject, numbers.last().copied().unwrap_or(0))]
        };
        Ok(Change { answer: numbers, records })
    }

    fn delete_version(&self, subject: &str, version: Option<i32>, permanent: bool) -> Result<Change<i32>, Refusal> {
        let found = self.subject(subject, true).ok_or_else(|| Refusal::no_subject(subject))?;
        let number = version.or_else(|| found.live().next_back().map(|(number, _)| number)).ok_or_else(|| Refusal::no_version(-1))?;
        let version = found.versions.get(&number).ok_or_else(|| Refusal::no_version(number))?;
        self.deletable(subject, |version| version == number)?;
        match (permanent, version.deleted) {
            (false, true) => return Err(Refusal::version_soft_deleted(subject, number)),
            (true, false) => return Err(Refusal::version_not_soft_deleted(subject, number)),
            _ => {}
        }
        if !self.referring(subject, number, permanent).is_empty() {
            return Err(Refusal::referenced(subject, number));
        }
        let records = if permanent {
            let mut records = self.last_id_kept();
            records.push(SchemaRecord::gone(subject, number));
            if found.versions.len() == 1 {
                records.extend(found.mode.map(|_| SchemaRecord::mode(Some(subject), None)));
                records.extend(found.config.as_ref().map(|_| SchemaRecord::config(Some(subject), None)));
            }
            records
        } else {
            vec![SchemaRecord::schema(&version.schema.value(subject, number, true))]
        };
        Ok(Change { answer: number, records })
    }

    /// What must be on record before schemas go for good, so that their ids are not given again.
    fn last_id_kept(&self) -> Vec<SchemaRecord> {
        vec![SchemaRecord::last_id(self.last_id)]
    }

    fn set_config(&self, subject: Option<&str>, wanted: &Map<String, Json>) -> Result<Change<Config>, Refusal> {
        subject.map_or(Ok(()), check_subject)?;
        self.writable(subject.unwrap_or_default())?;
        let old = subject.map_or(self.config.as_ref(), |subject| self.subjects.get(subject)?.config.as_ref());
        let mut config = old.cloned().unwrap_or_default();
        for (key, value) in wanted {
            match (key.as_str(), value) {
                ("compatibility" | "compatibilityLevel", Json::Null) => config.level = None,
                ("compatibility" | "compatibilityLevel", value) => {
                    let level = value.as_str().and_then(|level| level.to_ascii_uppercase().parse().ok());
                    config.level = Some(level.ok_or_else(Refusal::invalid_level)?);
                }
                ("normalize", Json::Null) => config.normalize = None,
                ("normalize", Json::Bool(normalize)) => config.normalize = Some(*normalize),
                (_, Json::Null | Json::Bool(false)) => {
                    config.rest.remove(key);
                }
                _ => {
                    return Err(Refusal::not_permitted(format!(
                        "This registry has no setting \"{key}\"; it has compatibility and normalize."
                    )));
                }
            }
        }
        Ok(Change { records: vec![SchemaRecord::config(subject, Some(&config))], answer: config })
    }

    fn delete_config(&self, subject: Option<&str>) -> Result<Change<Config>, Refusal> {
        self.writable(subject.unwrap_or_default())?;
        let old = subject.map_or(self.config.as_ref(), |subject| self.subjects.get(subject)?.config.as_ref()).cloned();
        let answer = match (subject, old) {
            (_, Some(old)) => old,
            (None, None) => Config { level: Some(Compatibility::default()), ..Config::default() },
            (Some(subject), None) => return Err(Refusal::no_subject(subject)),
        };
        Ok(Change { answer, records: vec![SchemaRecord::config(subject, None)] })
    }

    fn set_mode(&self, subject: Option<&str>, mode: Option<Mode>, force: bool) -> Result<Change<()>, Refusal> {
        subject.map_or(Ok(()), check_subject)?;
        let mut records = Vec::new();
        let import = mode == Some(Mode::Import) && self.mode_of(subject.unwrap_or_default()) != Mode::Import;
        if import && !force {
            let concerned = || self.subjects.iter().filter(|(name, _)| subject.is_none_or(|subject| subject == name.as_str()));
            if concerned().any(|(_, s)| s.live().next().is_some()) {
                let message =
                    "There are schemas already, which an import could contradict; delete them first, or set the mode with force=true.";
                return Err(Refusal::not_permitted(message));
            }
            records = self.last_id_kept();
            for (name, version) in concerned().flat_map(|(name, s)| s.versions.keys().map(move |version| (name, *version))) {
                if !self.referring(name, version, true).is_empty() {
                    return Err(Refusal::referenced(name, version));
                }
                records.push(SchemaRecord::gone(name, version));
            }
            records.push(SchemaRecord::cleared(subject));
        }
        records.push(SchemaRecord::mode(subject, mode));
        Ok(Change { answer: (), records })
    }

    fn delete_mode(&self, subject: Option<&str>) -> Result<Change<Mode>, Refusal> {
        let old = subject.map_or(self.mode, |subject| self.subjects.get(subject)?.mode);
        let answer = match (subject, old) {
            (Some(subject), None) => return Err(Refusal::no_subject(subject)),
            (_, old) => old.unwrap_or_default(),
        };
        Ok(Change { answer, records: vec![SchemaRecord::mode(subject, None)] })
    }
}

/// The text with all types in place, in the one form.
pub(super) fn whole_text(schema: &Schema) -> String {
    Node::read(schema.text()).map(|node| text::canonical(&node).to_string()).unwrap_or_default()
}

/// What does not fit, a line for each place, and then what it was held against.
pub(super) fn messages(level: Compatibility, version: i32, found: &[Incompatibility]) -> Vec<String> {
    let against = [format!("{{oldSchemaVersion: {version}}}"), format!("{{compatibility: '{level}'}}")];
    found.iter().map(ToString::to_string).chain(against).collect()
}

/// Every text is a subject, but for those of other contexts.
pub(super) fn check_subject(subject: &str) -> Result<(), Refusal> {
    let bad = subject.is_empty() || subject.starts_with(':') || subject.chars().any(char::is_control);
    if bad { Err(Refusal::invalid_subject(subject)) } else { Ok(()) }
}

fn number(wanted: Option<i64>, what: &str) -> Result<Option<u32>, Refusal> {
    match wanted {
        None | Some(-1 | 0) => Ok(None),
        Some(n) => match u32::try_from(n) {
            Ok(n) if n <= MOST => Ok(Some(n)),
            _ => Err(Refusal::invalid_schema(format!("{n} is no {what}"))),
        },
    }
}

impl Registry {
    /// `POST /subjects/{subject}/versions`.
    pub fn propose(&self, subject: &str, proposal: &Proposal, normalize: bool) -> Result<Change<Registered>, Refusal> {
        self.state.read().register(subject, proposal, normalize)
    }

    /// `DELETE /subjects/{subject}`: the versions that go.
    pub fn delete_subject(&self, subject: &str, permanent: bool) -> Result<Change<Vec<i32>>, Refusal> {
        self.state.read().delete_subject(subject, permanent)
    }

    /// `DELETE /subjects/{subject}/versions/{version}`; `None` is the latest.
    pub fn delete_version(&self, subject: &str, version: Option<i32>, permanent: bool) -> Result<Change<i32>, Refusal> {
        self.state.read().delete_version(subject, version, permanent)
    }

    /// `PUT /config[/{subject}]`: the settings that are named change.
    pub fn set_config(&self, subject: Option<&str>, wanted: &Map<String, Json>) -> Result<Change<Config>, Refusal> {
        self.state.read().set_config(subject, wanted)
    }

    /// `DELETE /config[/{subject}]`: what it was.
    pub fn delete_config(&self, subject: Option<&str>) -> Result<Change<Config>, Refusal> {
        self.state.read().delete_config(subject)
    }

    /// `PUT /mode[/{subject}]`.
    pub fn set_mode(&self, subject: Option<&str>, mode: Option<Mode>, force: bool) -> Result<Change<()>, Refusal> {
        self.state.read().set_mode(subject, mode, force)
    }

    /// `DELETE /mode[/{subject}]`: what it was.
    pub fn delete_mode(&self, subject: Option<&str>) -> Result<Change<Mode>, Refusal> {
        self.state.read().delete_mode(subject)
    }
}
