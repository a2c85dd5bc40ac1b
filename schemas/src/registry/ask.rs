//! Questions to a registry, in the words of Confluent's REST API.

use super::{
    Registry,
    change::{Proposal, check_subject, messages},
    refusal::Refusal,
    state::{AVRO, Config, Mode, Reference, State, Stored},
};
use crate::wire::SchemaId;
use serde::Serialize;
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;

/// Which versions of a subject are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Which {
    #[default]
    Live,
    /// Soft-deleted ones, too.
    All,
    /// Soft-deleted ones alone.
    Deleted,
}

impl Which {
    fn takes(self, deleted: bool) -> bool {
        match self {
            Which::Live => !deleted,
            Which::All => true,
            Which::Deleted => deleted,
        }
    }
}

/// A schema by its id.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaView {
    /// `None`: Avro.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_type: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    pub schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_set: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_id: Option<SchemaId>,
}

/// One version of a subject.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    pub subject: String,
    pub version: i32,
    pub id: SchemaId,
    #[serde(flatten)]
    pub schema: SchemaView,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// A place where a schema stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    pub subject: String,
    pub version: i32,
}

/// Whether a schema may follow, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub compatible: bool,
    pub messages: Vec<String>,
}

fn view(stored: &Stored) -> SchemaView {
    let rest = |key: &str| stored.rest.get(key).filter(|value| !value.is_null()).cloned();
    SchemaView {
        schema_type: (stored.kind != AVRO).then(|| stored.kind.clone()),
        references: stored.references.clone(),
        schema: stored.text.clone(),
        metadata: rest("metadata"),
        rule_set: rest("ruleSet"),
        max_id: None,
    }
}

impl State {
    fn version(&self, subject: &str, version: Option<i32>, deleted_too: bool) -> Result<VersionView, Refusal> {
        let found = self.subject(subject, deleted_too).ok_or_else(|| Refusal::no_subject(subject))?;
        let (number, version) = match version {
            None => found.live().next_back().ok_or_else(|| Refusal::no_version(-1))?,
            Some(number) => {
                let version = found.versions.get(&number).filter(|version| deleted_too || !version.deleted);
                (number, version.ok_or_else(|| Refusal::no_version(number))?)
            }
        };
        let schema = view(&version.schema);
        Ok(VersionView { subject: subject.into(), version: number, id: version.schema.id, schema, deleted: version.deleted })
    }
}

impl Registry {
    /// `GET /schemas/ids/{id}`.
    pub fn by_id(&self, id: SchemaId, with_max_id: bool) -> Result<SchemaView, Refusal> {
        let state = self.state.read();
        let stored = state.schemas.get(&id).ok_or_else(|| Refusal::no_schema(Some(id)))?;
        Ok(SchemaView { max_id: with_max_id.then_some(state.last_id), ..view(stored) })
    }

    /// `GET /schemas/ids/{id}/versions`, by subject.
    pub fn places(&self, id: SchemaId, deleted_too: bool) -> Result<Vec<Place>, Refusal> {
        let state = self.state.read();
        let places = state.places.get(&id).ok_or_else(|| Refusal::no_schema(Some(id)))?;
        let there = |subject: &str, version: i32| {
            let version = state.subjects.get(subject).and_then(|s| s.versions.get(&version));
            version.is_some_and(|version| deleted_too || !version.deleted)
        };
        let place = |(subject, version): &(String, i32)| Place { subject: subject.clone(), version: *version };
        Ok(places.iter().filter(|(subject, version)| there(subject, *version)).map(place).collect())
    }

    /// `GET /schemas`: every version of the subjects that begin with `prefix`, in their order.
    pub fn all_versions(&self, prefix: &str, deleted_too: bool, latest_only: bool) -> Vec<VersionView> {
        let state = self.state.read();
        let mut all = Vec::new();
        for (name, subject) in state.subjects.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix)) {
            let versions = subject.versions.iter().filter(|(_, version)| deleted_too || !version.deleted);
            let skipped = if latest_only { versions.clone().count().saturating_sub(1) } else { 0 };
            all.extend(versions.skip(skipped).filter_map(|(number, _)| state.version(name, Some(*number), deleted_too).ok()));
        }
        all
    }

    /// `GET /subjects`: those that begin with `prefix`.
    pub fn subjects_of(&self, prefix: &str, which: Which) -> Vec<String> {
        let state = self.state.read();
        let starts = state.subjects.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        let has = |live: bool, any: bool| match which {
            Which::Live => live,
            Which::All => any,
            Which::Deleted => any && !live,
        };
        starts.filter(|(_, s)| has(s.live().next().is_some(), !s.versions.is_empty())).map(|(name, _)| name.clone()).collect()
    }

    /// `GET /subjects/{subject}/versions`.
    pub fn versions_of(&self, subject: &str, which: Which) -> Result<Vec<i32>, Refusal> {
        let state = self.state.read();
        let found = state.subject(subject, which != Which::Live).ok_or_else(|| Refusal::no_subject(subject))?;
        Ok(found.versions.iter().filter(|(_, version)| which.takes(version.deleted)).map(|(number, _)| *number).collect())
    }

    /// `GET /subjects/{subject}/versions/{version}`; `None` is the latest.
    pub fn version(&self, subject: &str, version: Option<i32>, deleted_too: bool) -> Result<VersionView, Refusal> {
        self.state.read().version(subject, version, deleted_too)
    }

    /// `GET /subjects/{subject}/versions/{version}/referencedby`: ids.
    pub fn referenced_by(&self, subject: &str, version: Option<i32>, deleted_too: bool) -> Result<BTreeSet<SchemaId>, Refusal> {
        let state = self.state.read();
        let version = state.version(subject, version, true)?.version;
        Ok(state.referring(subject, version, deleted_too))
    }

    /// `POST /subjects/{subject}`: where the schema is registered there.
    pub fn look_up(&self, subject: &str, proposal: &Proposal, normalize: bool, deleted_too: bool) -> Result<VersionView, Refusal> {
        let state = self.state.read();
        if state.subject(subject, deleted_too).is_none() {
            return Err(Refusal::no_subject(subject));
        }
        let sought = state.understand(subject, proposal, normalize)?;
        let (version, _) = state.find(subject, &sought, deleted_too).ok_or_else(|| Refusal::no_schema(None))?;
        state.version(subject, Some(version), deleted_too)
    }

    /// `POST /compatibility/subjects/{subject}/versions[/{version}]`: against all versions that the level asks about, or against one
    /// (`Some(None)` is the latest).
    pub fn would_fit(&self, subject: &str, version: Option<Option<i32>>, proposal: &Proposal, normalize: bool) -> Result<Verdict, Refusal> {
        check_subject(subject)?;
        let state = self.state.read();
        let mut against = state.live(subject);
        match version {
            None => {}
            Some(None) => drop(against.drain(..against.len().saturating_sub(1))),
            Some(Some(wanted)) => {
                against.retain(|(number, _)| *number == wanted);
                if against.is_empty() {
                    return Err(Refusal::no_version(wanted));
                }
            }
        }
        let new = state.understand(subject, proposal, normalize)?;
        let level = state.level_of(subject);
        let misfit = state.misfit(level, &against, &new.schema);
        let messages = misfit.map(|(version, found)| messages(level, version, &found)).unwrap_or_default();
        Ok(Verdict { compatible: messages.is_empty(), messages })
    }

    /// `GET /config[/{subject}]`.
    pub fn config(&self, subject: Option<&str>, default_to_global: bool) -> Result<Config, Refusal> {
        let state = self.state.read();
        let of_all = || Config { level: Some(state.level_of("")), ..state.config.clone().unwrap_or_default() };
        let Some(subject) = subject else { return Ok(of_all()) };
        match state.subjects.get(subject).and_then(|s| s.config.clone()) {
            Some(own) if default_to_global => Ok(Config { level: Some(state.level_of(subject)), ..own }),
            Some(own) => Ok(own),
            None if default_to_global => Ok(of_all()),
            None => Err(Refusal::no_level(subject)),
        }
    }

    /// `GET /mode[/{subject}]`.
    pub fn mode(&self, subject: Option<&str>, default_to_global: bool) -> Result<Mode, Refusal> {
        let state = self.state.read();
        let Some(subject) = subject else { return Ok(state.mode.unwrap_or_default()) };
        let own = state.subjects.get(subject).and_then(|s| s.mode);
        match own {
            _ if default_to_global => Ok(state.mode_of(subject)),
            Some(own) => Ok(own),
            None => Err(Refusal::no_mode(subject)),
        }
    }

    /// The highest id that was given.
    pub fn last_id(&self) -> SchemaId {
        self.state.read().last_id
    }
}

/// What clients send as `mode`.
pub fn mode_named(name: &str) -> Result<Mode, Refusal> {
    match name.to_ascii_uppercase().as_str() {
        "READWRITE" => Ok(Mode::ReadWrite),
        "READONLY" => Ok(Mode::ReadOnly),
        "READONLY_OVERRIDE" => Ok(Mode::ReadOnlyOverride),
        "IMPORT" => Ok(Mode::Import),
        _ => Err(Refusal::invalid_mode()),
    }
}

/// Settings as `PUT /config` answers them: what was asked for is called `compatibility` there.
pub fn config_answer(config: &Config) -> Json {
    let mut answer = Map::new();
    if let Some(level) = config.level {
        answer.insert("compatibility".into(), level.to_string().into());
    }
    if let Some(normalize) = config.normalize {
        answer.insert("normalize".into(), normalize.into());
    }
    answer.extend(config.rest.clone());
    Json::Object(answer)
}
