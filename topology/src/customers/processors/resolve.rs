//! resolve, for one system: `customers.<system>` and `links.<system>` in, store `links-<system>`.

use super::Outlets;
use crate::customers::{
    Config, Error, Kind, resolve,
    stored::{Avro, links_store, read, write},
};
use schemas::{AvroCodec, CustomerLink, ExternalId, SourceCustomer, System};
use std::sync::Arc;
use streams::{Processor, ProcessorContext, ProcessorError, Record, Serde, SerdeError};

/// A record of one of the two topics.
#[derive(Clone, Debug)]
pub enum Incoming {
    Result(Box<SourceCustomer>),
    Link(CustomerLink),
}

/// Reads `customers.<system>`. In a system of kind `topic`, null says deleted: its publishers may compact.
#[derive(Clone)]
pub struct Results {
    pub codec: Avro<SourceCustomer>,
    pub kind: Kind,
}

impl Serde<Incoming> for Results {
    fn serialize(&self, topic: &str, value: &Incoming) -> Result<Option<Vec<u8>>, SerdeError> {
        match value {
            Incoming::Result(result) => self.codec.serialize(topic, result),
            Incoming::Link(_) => Err(SerdeError::Null),
        }
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Incoming, SerdeError> {
        match (bytes, self.kind) {
            (None, Kind::Topic) => Ok(Incoming::Result(Box::default())),
            _ => Ok(Incoming::Result(Box::new(self.codec.deserialize(topic, bytes)?))),
        }
    }
}

/// Reads `links.<system>`.
impl Serde<Incoming> for Avro<CustomerLink> {
    fn serialize(&self, topic: &str, value: &Incoming) -> Result<Option<Vec<u8>>, SerdeError> {
        match value {
            Incoming::Link(link) => Serde::<CustomerLink>::serialize(self, topic, link),
            Incoming::Result(_) => Err(SerdeError::Null),
        }
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Incoming, SerdeError> {
        Serde::<CustomerLink>::deserialize(self, topic, bytes).map(Incoming::Link)
    }
}

pub struct Resolve {
    config: Arc<Config>,
    system: System,
    store: String,
    codec: AvroCodec<resolve::Record>,
    outlets: Outlets,
}

impl Resolve {
    pub fn new(config: Arc<Config>, system: &System, name: &str, codec: AvroCodec<resolve::Record>) -> Self {
        let outlets = Outlets::of(name, &config);
        Resolve { store: links_store(system), system: system.clone(), config, codec, outlets }
    }
}

impl Processor<String, Incoming> for Resolve {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<String, Incoming>) -> Result<(), ProcessorError> {
        let Some(system) = self.config.system(&self.system) else { return Ok(()) };
        let key = ExternalId::new(&record.key);
        let offset = ctx.record_metadata().map_or(0, |m| m.offset);
        let at = resolve::At { system, key: &key, offset, timestamp: record.timestamp };
        let effects = match record.value {
            Incoming::Result(result) => match resolve::pass_by(at, result) {
                Ok(effects) => effects,
                Err(result) => self.with_record(ctx, at, |state| Ok::<_, Error>(state.on_result(at, *result)))?,
            },
            Incoming::Link(link) => self.with_record(ctx, at, |state| state.on_link(at, link))?,
        };
        self.outlets.send(ctx, effects, record.timestamp)
    }
}

impl Resolve {
    fn with_record<R>(
        &self,
        ctx: &mut ProcessorContext<'_>,
        at: resolve::At<'_>,
        decide: impl FnOnce(&mut resolve::Record) -> Result<R, Error>,
    ) -> Result<R, ProcessorError> {
        let key = at.key.as_str().as_bytes();
        let stored = ctx.store(&self.store)?.get(key)?;
        let mut state = match &stored {
            Some(bytes) => read(&self.codec, &self.store, bytes)?,
            None => resolve::Record::default(),
        };
        let decided = decide(&mut state)?;
        let bytes = write(&self.codec, &self.store, &state)?;
        if stored.as_deref() != Some(&bytes) {
            ctx.store(&self.store)?.put(key.to_vec(), bytes);
        }
        Ok(decided)
    }
}
