//! Publishing JSON to topics as Avro, and showing their records as JSON: what `concord publish`, `concord consume` and the
//! HTTP API share.

use crate::config::{Config, Kind, SystemConfig};
use anyhow::Context;
use schemas::{Registry, SchemaRecord, System, registry::value_subject};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use streams::{
    ConsumerRecord, Log, ProducerRecord, TopicPartition,
    embedded::{Append, LogError, LogReader},
};
use topology::customers::topics::customers;

/// The registry's own topic.
pub const SCHEMAS: &str = "_schemas";
/// What was learnt from another registry, on Kafka: there `_schemas` may be that one's.
const LEARNT_SCHEMAS: &str = "_concord.schemas";

/// Where the schemas of this configuration are in the log.
pub fn schemas_topic(config: &Config) -> &'static str {
    if config.kafka.is_some() && config.schema_registry.is_some() { LEARNT_SCHEMAS } else { SCHEMAS }
}

/// Fields of a `SourceCustomer` that only a connector may give: they place a record in its conversation.
const OURS: [&str; 3] = ["order", "incarnation", "answer"];

/// What a record is published from.
#[derive(Debug, Serialize, Deserialize)]
pub struct Published {
    pub key: String,
    /// `null` deletes the key, in a compacted topic.
    pub value: Json,
}

/// What became of a batch: the records that were refused, by their place in it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub accepted: usize,
    pub errors: Vec<Refused>,
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

    /// Appends what can be encoded, in one durable append, and says what cannot be and why. `now`: the records' timestamp.
    pub async fn publish(&self, topic: &str, records: &[Published], now: i64) -> Result<Outcome, PublishError> {
        self.takes(topic)?;
        let subject = value_subject(topic);
        let mut outcome = Outcome::default();
        let mut append = Append::default();
        for (index, record) in records.iter().enumerate() {
            let encoded = match (record.key.is_empty(), &record.value) {
                (true, _) => Err("the key is empty".to_string()),
                (false, Json::Null) => Err("the value is null; a deleted customer is {\"fields\": null}".to_string()),
                (false, value) if OURS.iter().any(|field| !value[field].is_null()) => {
                    Err(format!("{} are Concord's to set", OURS.join(", ")))
                }
                (false, value) => self.registry.encode_json(&subject, value).map_err(|e| e.to_string()),
            };
            match encoded {
                Ok(bytes) => append.records.push(ProducerRecord::new(topic, record.key.clone(), bytes).with_timestamp(now)),
                Err(error) => outcome.errors.push(Refused { index, error }),
            }
        }
        outcome.accepted = append.records.len();
        if outcome.accepted > 0 {
            self.log.append(append).await?;
        }
        Ok(outcome)
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
    let headers: serde_json::Map<_, _> =
        record.headers.iter().map(|h| (h.key.clone(), h.value.as_deref().map_or(Json::Null, text))).collect();
    json!({
        "topic": topic, "partition": record.partition, "offset": record.offset, "timestamp": record.timestamp,
        "key": record.key.as_deref().map(text), "value": value, "headers": headers,
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
