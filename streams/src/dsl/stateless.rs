//! Processors of the operators that need no store.

use std::sync::Arc;

use super::{Data, SharedSerde};
use crate::error::ProcessorError;
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;

type Done = Result<(), ProcessorError>;

/// Passes every record on.
pub(super) struct PassThrough;

impl<K: Data, V: Data> Processor<K, V> for PassThrough {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Done {
        ctx.forward(record)
    }
}

/// Passes records on whose key is not null.
pub(super) struct NotNullKey<K> {
    pub(super) serde: SharedSerde<K>,
    /// Null keys too.
    pub(super) all: bool,
}

impl<K: Data, V: Data> Processor<K, V> for NotNullKey<K> {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Done {
        if self.all || !self.serde.is_null(&record.key) { ctx.forward(record) } else { Ok(()) }
    }
}

/// `filter`, and `filter_not` with `keep` false.
pub(super) struct Filter<F> {
    pub(super) predicate: Arc<F>,
    pub(super) keep: bool,
}

impl<K: Data, V: Data, F: Fn(&K, &V) -> bool + Send + Sync> Processor<K, V> for Filter<F> {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Done {
        if (self.predicate)(&record.key, &record.value) == self.keep { ctx.forward(record) } else { Ok(()) }
    }
}

/// `map`, and `select_key` in terms of it.
pub(super) struct Map<F>(pub(super) Arc<F>);

impl<K: Data, V: Data, K2: Data, V2: Data, F: Fn(K, V) -> (K2, V2) + Send + Sync> Processor<K, V> for Map<F> {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Done {
        let (key, value) = (self.0)(record.key, record.value);
        ctx.forward(Record { key, value, timestamp: record.timestamp, headers: record.headers })
    }
}

/// `map_values`.
pub(super) struct MapValues<F>(pub(super) Arc<F>);

impl<K: Data, V: Data, V2: Data, F: Fn(&K, V) -> V2 + Send + Sync> Processor<K, V> for MapValues<F> {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Done {
        let value = (self.0)(&record.key, record.value);
        ctx.forward(Record { key: record.key, value, timestamp: record.timestamp, headers: record.headers })
    }
}

/// `flat_map`.
pub(super) struct FlatMap<F>(pub(super) Arc<F>);

impl<K: Data, V: Data, K2: Data, V2: Data, I: IntoIterator<Item = (K2, V2)>, F: Fn(K, V) -> I + Send + Sync> Processor<K, V>
    for FlatMap<F>
{
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Done {
        for (key, value) in (self.0)(record.key, record.value) {
            ctx.forward(Record { key, value, timestamp: record.timestamp, headers: record.headers.clone() })?;
        }
        Ok(())
    }
}

/// `flat_map_values`.
pub(super) struct FlatMapValues<F>(pub(super) Arc<F>);

impl<K: Data, V: Data, V2: Data, I: IntoIterator<Item = V2>, F: Fn(&K, V) -> I + Send + Sync> Processor<K, V> for FlatMapValues<F> {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Done {
        for value in (self.0)(&record.key, record.value) {
            ctx.forward(Record { key: record.key.clone(), value, timestamp: record.timestamp, headers: record.headers.clone() })?;
        }
        Ok(())
    }
}

/// `peek`, and `foreach`, which has nobody to forward to.
pub(super) struct Peek<F>(pub(super) Arc<F>);

impl<K: Data, V: Data, F: Fn(&K, &V) + Send + Sync> Processor<K, V> for Peek<F> {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Done {
        (self.0)(&record.key, &record.value);
        ctx.forward(record)
    }
}
