//! [`AvroCodec`]: a Rust type to bytes and back, in Confluent's wire format.

use crate::{
    generic, in_order,
    registry::Registry,
    resolve::resolve,
    schema::Schema,
    wire::{self, SchemaId, WireError},
};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use serde::{Serialize, de::DeserializeOwned};
use serde_avro_fast::{
    de::{DeserializerState, read::SliceRead},
    ser::SerializerConfig,
};
use std::{
    io::Read,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Why bytes could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("no schema has the id {0}")]
    UnknownSchema(SchemaId),
    #[error("schema {0} is not here yet: the registry is being asked for it")]
    SchemaAway(SchemaId),
    #[error("the datum does not match schema {id}: {reason}")]
    Datum { id: SchemaId, reason: String },
    #[error("{bytes} bytes follow the datum of schema {id}")]
    Trailing { id: SchemaId, bytes: usize },
    #[error("written with schema {id}, which schema {reader} cannot read: {reason}")]
    Unresolvable { id: SchemaId, reader: SchemaId, reason: String },
    #[error("the value does not match its schema: {0}")]
    Value(String),
}

/// Encodes and decodes `T` under one subject. Cheap to clone; made by [`Registry::codec`].
///
/// ```
/// # use schemas::*;
/// let registry = Registry::new();
/// let codec = registry.codec::<SourceCustomer>("customers.crm-value").unwrap();
/// let bytes = codec.encode(&SourceCustomer { settled: true, ..Default::default() }).unwrap();
/// assert!(codec.decode(&bytes).unwrap().settled);
/// ```
pub struct AvroCodec<T> {
    inner: Arc<Inner>,
    _type: PhantomData<fn() -> T>,
}

struct Inner {
    registry: Registry,
    id: SchemaId,
    schema: Arc<Schema>,
    /// The type stands as the schema does.
    in_order: bool,
    /// Schemas that were met in data, other than ours.
    writers: RwLock<FxHashMap<SchemaId, Writer>>,
    /// The size of the value encoded last, for the next one's buffer.
    size: AtomicUsize,
}

#[derive(Clone)]
enum Writer {
    /// Its data have the same bytes as ours.
    Alike,
    Other(Arc<Schema>),
}

impl<T> Clone for AvroCodec<T> {
    fn clone(&self) -> Self {
        AvroCodec { inner: self.inner.clone(), _type: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> AvroCodec<T> {
    pub(crate) fn new(registry: Registry, id: SchemaId, schema: Arc<Schema>, in_order: bool) -> Self {
        let inner = Inner { registry, id, schema, in_order, writers: RwLock::default(), size: AtomicUsize::new(128) };
        AvroCodec { inner: Arc::new(inner), _type: PhantomData }
    }

    /// The id that values are written with.
    pub fn id(&self) -> SchemaId {
        self.inner.id
    }

    /// The value's bytes: `0x00`, the schema's id, the Avro datum.
    pub fn encode(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        let mut bytes = Vec::with_capacity(self.inner.size.load(Ordering::Relaxed) + 32);
        self.encode_into(value, &mut bytes)?;
        self.inner.size.store(bytes.len(), Ordering::Relaxed);
        Ok(bytes)
    }

    /// Appends what [`AvroCodec::encode`] returns. After an error the buffer holds a part of it.
    pub fn encode_into(&self, value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        bytes.extend_from_slice(&wire::header(self.inner.id));
        if self.inner.in_order {
            return in_order::encode(value, bytes).map_err(|e| CodecError::Value(e.to_string()));
        }
        let schema = self.inner.schema.fast().map_err(|e| CodecError::Value(e.to_string()))?;
        // Costs nothing: its buffers are for fields in another order than the schema's, which ours never are.
        let mut config = SerializerConfig::new(schema);
        serde_avro_fast::to_datum(value, bytes, &mut config).map_err(|e| CodecError::Value(e.to_string()))?;
        Ok(())
    }

    /// The value, whichever version of the schema it was written with.
    pub fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let (id, datum) = wire::split(bytes)?;
        if id == self.inner.id {
            return self.datum(id, datum);
        }
        match self.writer(id)? {
            Writer::Alike => self.datum(id, datum),
            Writer::Other(writer) => {
                let unresolvable = |reason: String| CodecError::Unresolvable { id, reader: self.inner.id, reason };
                let value = generic::decode(datum, &writer).map_err(|e| datum_error(id, e))?;
                let value = resolve(value, &writer, &self.inner.schema).map_err(|e| unresolvable(e.to_string()))?;
                let datum = generic::encode(&value, &self.inner.schema).map_err(|e| unresolvable(e.to_string()))?;
                self.datum(self.inner.id, &datum)
            }
        }
    }

    fn writer(&self, id: SchemaId) -> Result<Writer, CodecError> {
        if let Some(writer) = self.inner.writers.read().get(&id) {
            return Ok(writer.clone());
        }
        let schema = self.inner.registry.find(id)?;
        let writer = if schema.canonical() == self.inner.schema.canonical() { Writer::Alike } else { Writer::Other(schema) };
        self.inner.writers.write().insert(id, writer.clone());
        Ok(writer)
    }

    /// Reads a datum that was written with our schema.
    fn datum(&self, id: SchemaId, datum: &[u8]) -> Result<T, CodecError> {
        if self.inner.in_order
            && let Ok(value) = in_order::decode(datum)
        {
            return Ok(value);
        }
        let schema = self.inner.schema.fast().map_err(|e| CodecError::Datum { id, reason: e.to_string() })?;
        let mut state = DeserializerState::new(SliceRead::new(datum), schema);
        let value = T::deserialize(state.deserializer()).map_err(|e| CodecError::Datum { id, reason: e.to_string() })?;
        let mut rest = [0; 1];
        let mut reader = state.into_reader();
        match reader.read(&mut rest) {
            Ok(0) => Ok(value),
            _ => {
                let more = std::io::copy(&mut reader, &mut std::io::sink()).unwrap_or(0);
                Err(CodecError::Trailing { id, bytes: 1 + more as usize })
            }
        }
    }
}

pub(crate) fn datum_error(id: SchemaId, error: generic::DatumError) -> CodecError {
    match error {
        generic::DatumError::Datum(reason) => CodecError::Datum { id, reason },
        generic::DatumError::Trailing(bytes) => CodecError::Trailing { id, bytes },
    }
}
