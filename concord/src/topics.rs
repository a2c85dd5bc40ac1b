//! Publishing JSON to topics as Avro, and showing their records as JSON: what `concord publish`, `concord consume` and the
//! HTTP API share.

use crate::config::{Config, Kind, SystemConfig};
use anyhow::Context;
use schemas::{
    Registry, Schema, SchemaId, SchemaRecord, System,
    compatibility::unreadable,
    registry::{Proposal, encode_json, value_subject},
    wire,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, sync::Arc};
use streams::{
    ConsumerRecord, Headers, Log, ProducerRecord, TopicPartition,
    embedded::{Append, LogError, LogReader},
};
use topology::customers::topics::customers;

/// The registry's own topic.
pub const SCHEMAS: &str = "_schemas";
/// What was learnt from another registry, on Kafka: there `_schemas` may be that one's.
pub const LEARNT_SCHEMAS: &str = "_concord.schemas";

/// Where the schemas of this configuration are in the log.
pub fn schemas_topic(config: &Config) -> &'static str {
    if config.kafka.is_some() && config.schema_registry.is_some() { LEARNT_SCHEMAS } else { SCHEMAS }
}

/// What a record may have with its key and its headers, in bytes. Kafka's brokers take a million unless they are told otherwise
/// (`message.max.bytes`), and the topology adds something to what it passes on.
const LARGEST: usize = 900_000;

/// Fields of a `SourceCustomer` that only a connector may give: they place a record in its conversation.
const OURS: [&str; 3] = ["order", "incarnation", "answer"];

/// What a record is published from.
#[derive(Debug, Serialize, Deserialize)]
pub struct Published {
    pub key: String,
    pub value: Json,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// In milliseconds since the Unix epoch; `None`: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// `None`: that of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
}

/// A schema, as those who publish name it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Named {
    Id(SchemaId),
    /// A version of a subject; `None`: the latest.
    Version {
        subject: String,
        version: Option<i32>,
    },
    /// Its text.
    Text(String),
}

/// Records that are published together.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    pub records: Vec<Published>,
    /// What they are encoded with; `None`: the latest schema of the topic's subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Named>,
    /// They are checked only.
    #[serde(default)]
    pub validate_only: bool,
}

/// What became of a batch: the records that were refused, by their place in it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub accepted: usize,
    pub errors: Vec<Refused>,
    /// The schema that was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_id: Option<SchemaId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Refused {
    pub index: usize,
    pub error: String,
}

/// Why a whole batch is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("no topic {topic:?} takes records from outside; {open}")]
    NoSuchTopic { topic: String, open: String },
    #[error("{topic} is written by the source of the system {system} alone: Concord would not notice who is put there. {instead}")]
    Owned { topic: String, system: String, instead: &'static str },
    #[error("{0}")]
    Schema(String),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Publishes to the topics of a log, with the schemas of a registry.
pub struct Publisher {
    log: Log,
    registry: Registry,
    /// `customers.<system>` of every configured system.
    topics: BTreeMap<String, Owner>,
}

/// Who writes the topic of a system.
struct Owner {
    system: System,
    /// Where to edit customers instead, if a source of ours writes it.
    instead: Option<&'static str>,
}

impl Publisher {
    pub fn new(log: Log, registry: Registry, systems: &BTreeMap<System, SystemConfig>) -> Self {
        let owner = |(name, config): (&System, &SystemConfig)| {
            let instead = match config.kind {
                Kind::Postgres(_) => Some("Edit the row in the product's table, by SQL or at /api/v1/myproduct/customers/."),
                Kind::Stripe(_) => Some("Edit the customer in Stripe."),
                Kind::Topic => None,
            };
            (customers(name), Owner { system: name.clone(), instead })
        };
        Publisher { log, registry, topics: systems.iter().map(owner).collect() }
    }

    /// Whether records from outside are merged there: those of a system of kind `topic` are.
    fn takes(&self, topic: &str) -> Result<(), PublishError> {
        match self.topics.get(topic) {
            Some(Owner { instead: None, .. }) => Ok(()),
            Some(Owner { system, instead: Some(instead) }) => {
                Err(PublishError::Owned { topic: topic.into(), system: system.to_string(), instead })
            }
            None => {
                let open = self.topics.iter().filter(|(_, owner)| owner.instead.is_none()).map(|(topic, _)| topic.as_str());
                let open = match open.collect::<Vec<_>>() {
                    none if none.is_empty() => "none does: configure a system of kind \"topic\"".to_string(),
                    open => format!("these do: {}", open.join(", ")),
                };
                Err(PublishError::NoSuchTopic { topic: topic.into(), open })
            }
        }
    }

    /// Appends what can be encoded, in one durable append, and says what cannot be and why. `now`: the time of records that say none.
    pub async fn publish(&self, topic: &str, batch: &Batch, now: i64) -> Result<Outcome, PublishError> {
        let (append, outcome) = self.encode(topic, batch, now)?;
        self.append(append).await?;
        Ok(outcome)
    }

    pub async fn append(&self, append: Append) -> Result<(), LogError> {
        if append.records.is_empty() { Ok(()) } else { self.log.append(append).await.map(drop) }
    }

    /// What is to be appended, and what became of each record if it is.
    pub fn encode(&self, topic: &str, batch: &Batch, now: i64) -> Result<(Append, Outcome), PublishError> {
        self.takes(topic)?;
        let partitions = self.log.partitions(topic).ok_or_else(|| LogError::UnknownTopic(topic.to_owned()))?;
        let (id, schema) = self.schema(&value_subject(topic), batch.schema.as_ref())?;
        let topic: Arc<str> = topic.into();
        let mut outcome = Outcome { schema_id: batch.schema.as_ref().map(|_| id), ..Outcome::default() };
        let mut append = Append::default();
        for (index, record) in batch.records.iter().enumerate() {
            match encode(record, partitions, id, &schema).and_then(|value| fits(record, value)) {
                Ok(value) => append.records.push(ProducerRecord {
                    topic: topic.clone(),
                    partition: record.partition,
                    key: Some(record.key.clone().into()),
                    value: Some(value.into()),
                    timestamp: record.timestamp.unwrap_or(now),
                    headers: headers(&record.headers),
                }),
                Err(error) => outcome.errors.push(Refused { index, error }),
            }
        }
        outcome.accepted = append.records.len();
        Ok((if batch.validate_only { Append::default() } else { append }, outcome))
    }

    /// What a topic's records are encoded with. One that is not of the topic's subject must be such that those who read with its latest
    /// can read it.
    fn schema(&self, subject: &str, named: Option<&Named>) -> Result<(SchemaId, Arc<Schema>), PublishError> {
        let latest = self.registry.latest(subject);
        let latest = latest.ok_or_else(|| PublishError::Schema(format!("nothing is registered under the subject {subject}")))?;
        let id = match named {
            None => return Ok(latest),
            Some(Named::Id(id)) => *id,
            Some(Named::Version { subject, version }) => {
                let view = self.registry.version(subject, *version, false);
                view.map_err(|refusal| PublishError::Schema(format!("{subject}: {}", refusal.message)))?.id
            }
            Some(Named::Text(text)) => self.id_of(subject, text)?,
        };
        let schema = self.registry.schema(id).ok_or_else(|| PublishError::Schema(format!("no schema has the id {id}")))?;
        if self.registry.versions(subject).iter().any(|(_, known)| *known == id) {
            return Ok((id, schema));
        }
        let found: Vec<String> = unreadable(&schema, &latest.1).iter().map(ToString::to_string).collect();
        match found.is_empty() {
            true => Ok((id, schema)),
            false => Err(PublishError::Schema(format!(
                "schema {id} is not of the subject {subject}, and who reads with the latest of it cannot read what is written with this one: {}",
                found.join("; ")
            ))),
        }
    }

    fn id_of(&self, subject: &str, text: &str) -> Result<SchemaId, PublishError> {
        let proposal = Proposal { schema: Some(text.to_owned()), ..Proposal::default() };
        if let Ok(found) = self.registry.look_up(subject, &proposal, false, false) {
            return Ok(found.id);
        }
        Schema::parse(text).map_err(|error| PublishError::Schema(format!("the schema cannot be read: {error}")))?;
        let known = self.registry.known().into_iter().map(|(id, _)| id).find(|id| self.registry.is(*id, text));
        known.ok_or_else(|| {
            PublishError::Schema(format!("the schema is not registered: a record names it by its id. `concord schemas register` gives it one, under {subject} if it fits"))
        })
    }
}

fn headers(wanted: &BTreeMap<String, String>) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in wanted {
        headers.add(name.clone(), value.clone());
    }
    headers
}

/// A record's value, or why it is refused.
fn encode(record: &Published, partitions: i32, id: SchemaId, schema: &Schema) -> Result<Vec<u8>, String> {
    let Published { key, value, timestamp, partition, .. } = record;
    if key.is_empty() {
        return Err("the key is empty".into());
    }
    if value.is_null() {
        return Err("the value is null; a deleted customer is {\"fields\": null}".into());
    }
    // Avro's default would make a deletion of it.
    if value.as_object().is_some_and(|value| !value.contains_key("fields")) {
        return Err("there is no \"fields\": what the customer is, or null if it was deleted".into());
    }
    if OURS.iter().any(|field| !value[field].is_null()) {
        return Err(format!("{} are Concord's to set", OURS.join(", ")));
    }
    if timestamp.is_some_and(|timestamp| timestamp < 0) {
        return Err("the timestamp is negative".into());
    }
    if let Some(partition) = partition.filter(|partition| !(0..partitions).contains(partition)) {
        return Err(format!("there is no partition {partition}; there are 0 to {}", partitions - 1));
    }
    encode_json(id, schema, value).map_err(|error| error.to_string())
}

/// The value, if the record is not too large to be taken.
fn fits(record: &Published, value: Vec<u8>) -> Result<Vec<u8>, String> {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    match record.key.len() + value.len() + headers {
        bytes if bytes > LARGEST => Err(format!("the record has {bytes} bytes; {LARGEST} is the most")),
        _ => Ok(value),
    }
}

/// Takes in one of the registry's records.
pub fn replay(registry: &Registry, record: &ConsumerRecord) -> anyhow::Result<()> {
    let key = record.key.as_deref().unwrap_or_default();
    registry
        .apply(key, record.value.as_deref())
        .with_context(|| format!("{}, offset {}: the registry's records are damaged", record.topic, record.offset))
}

/// One of the registry's records, for its topic.
pub fn registry_record(tp: &TopicPartition, SchemaRecord { key, value }: SchemaRecord) -> ProducerRecord {
    ProducerRecord { value: value.map(Into::into), ..ProducerRecord::tombstone(&*tp.topic, key) }.with_partition(tp.partition)
}

/// Bytes as text, or in hex where they are none.
pub fn text(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => Json::String(text.into()),
        Err(_) => Json::String(bytes.iter().map(|b| format!("{b:02x}")).collect()),
    }
}

/// One record, for people and scripts. Bytes that are no text and no Avro of a known schema are shown in hex.
pub fn shown(registry: &Registry, topic: &str, record: &ConsumerRecord) -> Json {
    let value = match record.value.as_deref() {
        None => Json::Null,
        Some(bytes) if [SCHEMAS, LEARNT_SCHEMAS].contains(&topic) => serde_json::from_slice(bytes).unwrap_or_else(|_| text(bytes)),
        Some(bytes) => registry.decode_json(bytes).unwrap_or_else(|_| text(bytes)),
    };
    let schema = record.value.as_deref().filter(|_| ![SCHEMAS, LEARNT_SCHEMAS].contains(&topic)).and_then(|bytes| wire::split(bytes).ok());
    let headers: serde_json::Map<_, _> =
        record.headers.iter().map(|h| (h.key.clone(), h.value.as_deref().map_or(Json::Null, text))).collect();
    json!({
        "topic": topic, "partition": record.partition, "offset": record.offset, "timestamp": record.timestamp,
        "key": record.key.as_deref().map(text), "value": value, "headers": headers, "schema_id": schema.map(|(id, _)| id),
    })
}

/// The registry of a folder's log that another process may run.
pub fn registry_of(reader: &LogReader) -> anyhow::Result<Registry> {
    let registry = Registry::new();
    let tp = TopicPartition::new(SCHEMAS, 0);
    let mut from = 0;
    loop {
        let records = reader.read(&tp, from, 1_000, 1 << 20)?;
        let Some(last) = records.last() else { return Ok(registry) };
        from = last.offset + 1;
        records.iter().try_for_each(|record| replay(&registry, record))?;
    }
}
