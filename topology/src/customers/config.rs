//! What the topology is told: the systems, what of a customer each holds, and how conflicts are decided.

use schemas::{Field, System};
use std::collections::{BTreeMap, BTreeSet};

/// The customer topology's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Kafka Streams' `application.id`: the consumer group, and the first part of internal topics' names.
    pub application_id: String,
    pub systems: Vec<SystemConfig>,
    /// Breaks ties of time: the first is greatest; a system that is not listed comes last.
    pub priority: Vec<System>,
    /// How a field's conflicts are decided; last-writer-wins where nothing is said.
    pub rules: BTreeMap<FieldPattern, MergeRule>,
    /// Partitions of every topic that the topology reads. It never changes, since `order` counts offsets.
    pub partitions: i32,
    /// Numbers of writes and creates begin here, in a customer that is new. The systems remember them (marks, idempotency keys, the
    /// product's fence): a log that begins anew must not use those of the one before it.
    pub first_number: i64,
}

/// One system that holds customers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemConfig {
    pub name: System,
    pub kind: Kind,
    pub mapping: Mapping,
    /// `mode = "sync"`; a system that is only read, and one of kind `topic`, is never written to.
    pub writable: bool,
    pub deletes: Deletes,
}

/// How a system is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A source, a conversation and a sink.
    Connector,
    /// Whoever publishes snapshots to its topic is its source; nobody writes to it.
    Topic,
}

/// What happens in a system when the customer is deleted elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    Propagate,
    Keep,
}

/// Which fields a system maps. One that it does not map is never compared with it or written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub name: bool,
    pub email: bool,
    pub phone: bool,
    pub address: bool,
    pub attributes: Attributes,
}

/// Which attributes a system maps, each key a field of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attributes {
    All,
    Keys(BTreeSet<String>),
}

/// A field, or every attribute that has no rule of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldPattern {
    Field(Field),
    /// `attributes.*`
    AnyAttribute,
}

/// How a field's conflicts are decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeRule {
    /// The later edit, by the systems' own clocks; then priority, a value before none, the greater value.
    LastWriterWins,
    /// The system that comes first here; then as above. One that is not listed comes last.
    SystemOfRecord(Vec<System>),
}

/// Why a configuration cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("systems: {0} is configured twice")]
    Twice(System),
    #[error("{at}: there is no system {system}")]
    Unknown { at: String, system: System },
    #[error("partitions: at least 1, got {0}")]
    Partitions(i32),
    #[error("application_id: must not be empty")]
    ApplicationId,
}

impl Mapping {
    /// Every field.
    pub fn all() -> Self {
        Mapping { name: true, email: true, phone: true, address: true, attributes: Attributes::All }
    }

    /// Whether the system maps the field.
    pub fn maps(&self, field: &Field) -> bool {
        match field {
            Field::Name => self.name,
            Field::Email => self.email,
            Field::Phone => self.phone,
            Field::Address => self.address,
            Field::Attribute(key) => match &self.attributes {
                Attributes::All => true,
                Attributes::Keys(keys) => keys.contains(&**key),
            },
        }
    }
}

impl SystemConfig {
    /// A system with a connector that maps every field, is written to, and takes part in deletes.
    pub fn connector(name: System) -> Self {
        SystemConfig { name, kind: Kind::Connector, mapping: Mapping::all(), writable: true, deletes: Deletes::Propagate }
    }

    /// A system of kind `topic` that maps every field.
    pub fn topic(name: System) -> Self {
        SystemConfig { name, kind: Kind::Topic, mapping: Mapping::all(), writable: false, deletes: Deletes::Keep }
    }

    /// (21) Whether it gets writes, creates and deletes at all.
    pub fn is_writable(&self) -> bool {
        self.writable && self.kind == Kind::Connector
    }

    /// (24) Whether a customer's delete reaches its records here.
    pub fn is_reached_by_deletes(&self) -> bool {
        self.is_writable() && self.deletes == Deletes::Propagate
    }
}

impl Config {
    /// The given systems, one partition, last-writer-wins for every field, priority in the order given.
    pub fn new(application_id: impl Into<String>, systems: Vec<SystemConfig>) -> Self {
        Config {
            application_id: application_id.into(),
            priority: systems.iter().map(|s| s.name.clone()).collect(),
            systems,
            rules: BTreeMap::new(),
            partitions: 1,
            first_number: 0,
        }
    }

    pub fn system(&self, name: &System) -> Option<&SystemConfig> {
        self.systems.iter().find(|s| s.name == *name)
    }

    /// Whether the system maps the field; one that is no longer configured maps nothing.
    pub fn maps(&self, system: &System, field: &Field) -> bool {
        self.system(system).is_some_and(|s| s.mapping.maps(field))
    }

    /// How the field's conflicts are decided.
    pub fn rule(&self, field: &Field) -> &MergeRule {
        static DEFAULT: MergeRule = MergeRule::LastWriterWins;
        let own = self.rules.get(&FieldPattern::Field(field.clone()));
        let any = || matches!(field, Field::Attribute(_)).then(|| self.rules.get(&FieldPattern::AnyAttribute)).flatten();
        own.or_else(any).unwrap_or(&DEFAULT)
    }

    /// Place in the priority list: 0 is greatest, unlisted systems come last.
    pub fn priority_of(&self, system: &System) -> usize {
        place(&self.priority, system)
    }

    /// (25) The reason of the walk that this configuration of the system asks for: it changes when a customer's writes could.
    pub fn walk_reason(&self, system: &System) -> String {
        let text = format!("{:?} {:?} {:?}", self.system(system), self.priority, self.rules);
        format!("config-{}", uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()).simple())
    }

    /// Whether the configuration makes sense by itself.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.application_id.is_empty() {
            return Err(ConfigError::ApplicationId);
        }
        if self.partitions < 1 {
            return Err(ConfigError::Partitions(self.partitions));
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = self.systems.iter().find(|s| !names.insert(&s.name)) {
            return Err(ConfigError::Twice(twice.name.clone()));
        }
        let known = |at: String, systems: &[System]| match systems.iter().find(|s| !names.contains(s)) {
            Some(system) => Err(ConfigError::Unknown { at, system: system.clone() }),
            None => Ok(()),
        };
        known("merge.priority".into(), &self.priority)?;
        for (field, rule) in &self.rules {
            if let MergeRule::SystemOfRecord(systems) = rule {
                known(format!("merge.fields.{field}.systems"), systems)?;
            }
        }
        Ok(())
    }
}

impl MergeRule {
    pub fn name(&self) -> &'static str {
        match self {
            MergeRule::LastWriterWins => "last-writer-wins",
            MergeRule::SystemOfRecord(_) => "system-of-record",
        }
    }
}

impl std::fmt::Display for FieldPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FieldPattern::Field(field) => field.fmt(f),
            FieldPattern::AnyAttribute => f.write_str("attributes.*"),
        }
    }
}

/// Index in an ordered list; behind its end where it is not in it.
pub(super) fn place(list: &[System], system: &System) -> usize {
    list.iter().position(|s| s == system).unwrap_or(list.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(name: &str) -> System {
        System::new(name).unwrap()
    }

    #[test]
    fn a_field_has_its_own_rule_else_the_attributes_rule_else_last_writer_wins() {
        let mut config = Config::new("c", vec![SystemConfig::connector(system("product"))]);
        let record = MergeRule::SystemOfRecord(vec![system("product")]);
        config.rules.insert(FieldPattern::AnyAttribute, record.clone());
        config.rules.insert(FieldPattern::Field(Field::attribute("plan")), MergeRule::LastWriterWins);
        assert_eq!(config.rule(&Field::Email), &MergeRule::LastWriterWins);
        assert_eq!(config.rule(&Field::attribute("tier")), &record);
        assert_eq!(config.rule(&Field::attribute("plan")), &MergeRule::LastWriterWins);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let product = || SystemConfig::connector(system("product"));
        assert_eq!(Config::new("c", vec![product(), product()]).check(), Err(ConfigError::Twice(system("product"))));
        let mut config = Config::new("c", vec![product()]);
        config.priority.push(system("stripe"));
        assert_eq!(config.check().unwrap_err().to_string(), "merge.priority: there is no system stripe");
        config.priority.pop();
        config.rules.insert(FieldPattern::Field(Field::Email), MergeRule::SystemOfRecord(vec![system("crm")]));
        assert_eq!(config.check().unwrap_err().to_string(), "merge.fields.email.systems: there is no system crm");
    }

    #[test]
    fn a_topic_is_never_written_to() {
        let mut crm = SystemConfig::topic(system("crm"));
        crm.writable = true;
        crm.deletes = Deletes::Propagate;
        assert!(!crm.is_writable() && !crm.is_reached_by_deletes());
    }

    #[test]
    fn the_walk_reason_follows_what_writes_depend_on() {
        let mut config = Config::new("c", vec![SystemConfig::connector(system("product"))]);
        let before = config.walk_reason(&system("product"));
        assert_eq!(before, config.walk_reason(&system("product")));
        config.systems[0].mapping.phone = false;
        assert_ne!(before, config.walk_reason(&system("product")));
    }
}
