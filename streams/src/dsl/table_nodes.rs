//! Processors of tables, and how others read a table's values.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::graph::known;
use super::timestamped::TimestampedStore;
use super::{Data, SharedSerde};
use crate::error::ProcessorError;
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;
use crate::store::StoreBuilder;
use crate::topology::TopologyError;

type Done = Result<(), ProcessorError>;

/// What flows between the operators of tables. `None` is no value: a tombstone, or nothing before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change<V> {
    pub(super) new: Option<V>,
    /// Only where somebody below asked for old values.
    pub(super) old: Option<V>,
}

/// Reads the present value of a key, and its timestamp.
pub(super) type Getter<K, V> = Arc<dyn Fn(&mut ProcessorContext<'_>, &K) -> Result<Option<(V, i64)>, ProcessorError> + Send + Sync>;

/// What a table can be asked for while the graph is built.
pub(super) trait TableNode<K, V> {
    /// Somebody will read its values: from now on it is stored, if it has to be. The stores to connect.
    fn require_values(&self) -> Vec<String>;
    /// How its values are read; asked when the topology is written.
    fn getter(&self) -> Result<Getter<K, V>, TopologyError>;
    /// Somebody wants old values; whether they will come.
    fn enable_old_values(&self, force: bool) -> bool;
}

/// A table that a topic is: stored only if somebody needs it.
pub(super) struct SourceTable<K, V> {
    store_name: String,
    logging: bool,
    key_serde: Option<SharedSerde<K>>,
    value_serde: Option<SharedSerde<V>>,
    materialized: Cell<bool>,
    old_values: Cell<bool>,
}

impl<K: Data, V: Data> SourceTable<K, V> {
    pub(super) fn new(
        store_name: &str,
        logging: bool,
        key_serde: Option<SharedSerde<K>>,
        value_serde: Option<SharedSerde<V>>,
        materialized: bool,
    ) -> Self {
        Self {
            store_name: store_name.to_owned(),
            logging,
            key_serde,
            value_serde,
            materialized: Cell::new(materialized),
            old_values: Cell::new(false),
        }
    }

    /// The store, if the table has one.
    pub(super) fn store(&self) -> Result<Option<TimestampedStore<K, V>>, TopologyError> {
        self.materialized.get().then(|| timestamped(&self.store_name, &self.key_serde, &self.value_serde)).transpose()
    }

    pub(super) fn builder(&self) -> StoreBuilder {
        store_builder(&self.store_name, self.logging)
    }

    pub(super) fn sends_old_values(&self) -> bool {
        self.old_values.get()
    }
}

impl<K: Data, V: Data> TableNode<K, V> for SourceTable<K, V> {
    fn require_values(&self) -> Vec<String> {
        self.materialized.set(true);
        vec![self.store_name.clone()]
    }

    fn getter(&self) -> Result<Getter<K, V>, TopologyError> {
        stored(timestamped(&self.store_name, &self.key_serde, &self.value_serde)?)
    }

    fn enable_old_values(&self, force: bool) -> bool {
        if !force && !self.materialized.get() {
            return false;
        }
        self.materialized.set(true);
        self.old_values.set(true);
        true
    }
}

/// A table that a stream is aggregated to: always stored.
pub(super) struct AggregateTable<K, V> {
    store_name: String,
    logging: bool,
    key_serde: Option<SharedSerde<K>>,
    value_serde: Option<SharedSerde<V>>,
    old_values: Cell<bool>,
}

impl<K: Data, V: Data> AggregateTable<K, V> {
    pub(super) fn new(store_name: &str, logging: bool, key_serde: Option<SharedSerde<K>>, value_serde: Option<SharedSerde<V>>) -> Self {
        Self { store_name: store_name.to_owned(), logging, key_serde, value_serde, old_values: Cell::new(false) }
    }

    pub(super) fn store(&self) -> Result<TimestampedStore<K, V>, TopologyError> {
        timestamped(&self.store_name, &self.key_serde, &self.value_serde)
    }

    pub(super) fn builder(&self) -> StoreBuilder {
        store_builder(&self.store_name, self.logging)
    }

    pub(super) fn sends_old_values(&self) -> bool {
        self.old_values.get()
    }
}

impl<K: Data, V: Data> TableNode<K, V> for AggregateTable<K, V> {
    fn require_values(&self) -> Vec<String> {
        vec![self.store_name.clone()]
    }

    fn getter(&self) -> Result<Getter<K, V>, TopologyError> {
        stored(self.store()?)
    }

    fn enable_old_values(&self, _force: bool) -> bool {
        self.old_values.set(true);
        true
    }
}

/// A value and its timestamp in terms of the parent's: none filters it out.
pub(super) type Derive<K, V, V2> = Arc<dyn Fn(&K, V) -> Option<V2> + Send + Sync>;

/// A table that `filter` or `map_values` makes of another: computed from it, or stored where a store was named.
pub(super) struct DerivedTable<K, V, V2> {
    pub(super) parent: Rc<dyn TableNode<K, V>>,
    pub(super) derive: Derive<K, V, V2>,
    pub(super) store_name: Option<String>,
    pub(super) logging: bool,
    pub(super) key_serde: Option<SharedSerde<K>>,
    pub(super) value_serde: Option<SharedSerde<V2>>,
    pub(super) old_values: Cell<bool>,
}

impl<K: Data, V: Data, V2: Data> DerivedTable<K, V, V2> {
    pub(super) fn store(&self) -> Result<Option<TimestampedStore<K, V2>>, TopologyError> {
        self.store_name.as_ref().map(|name| timestamped(name, &self.key_serde, &self.value_serde)).transpose()
    }

    pub(super) fn builder(&self) -> Option<StoreBuilder> {
        self.store_name.as_ref().map(|name| store_builder(name, self.logging))
    }
}

impl<K: Data, V: Data, V2: Data> TableNode<K, V2> for DerivedTable<K, V, V2> {
    fn require_values(&self) -> Vec<String> {
        match &self.store_name {
            Some(name) => vec![name.clone()],
            None => self.parent.require_values(),
        }
    }

    fn getter(&self) -> Result<Getter<K, V2>, TopologyError> {
        if let Some(store) = self.store()? {
            return stored(store);
        }
        let (parent, derive) = (self.parent.getter()?, self.derive.clone());
        Ok(Arc::new(move |ctx, key| Ok(parent(ctx, key)?.and_then(|(value, timestamp)| Some((derive(key, value)?, timestamp))))))
    }

    fn enable_old_values(&self, force: bool) -> bool {
        if self.store_name.is_some() || self.parent.enable_old_values(force) {
            self.old_values.set(true);
        }
        self.old_values.get()
    }
}

fn timestamped<K, V>(
    name: &str,
    key_serde: &Option<SharedSerde<K>>,
    value_serde: &Option<SharedSerde<V>>,
) -> Result<TimestampedStore<K, V>, TopologyError> {
    Ok(TimestampedStore { name: name.into(), key_serde: known(key_serde, "keys", name)?, value_serde: known(value_serde, "values", name)? })
}

fn stored<K: Data, V: Data>(store: TimestampedStore<K, V>) -> Result<Getter<K, V>, TopologyError> {
    Ok(Arc::new(move |ctx, key| store.get(ctx, key)))
}

fn store_builder(name: &str, logging: bool) -> StoreBuilder {
    let builder = StoreBuilder::key_value(name);
    if logging { builder } else { builder.with_logging_disabled() }
}

/// The processor of a [`SourceTable`].
pub(super) struct TableSource<K, V> {
    pub(super) key_serde: SharedSerde<K>,
    pub(super) store: Option<TimestampedStore<K, V>>,
    pub(super) old: bool,
}

impl<K: Data, V: Data> Processor<K, Option<V>> for TableSource<K, V> {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, Option<V>>) -> Done {
        if self.key_serde.is_null(&record.key) {
            ctx.drop_record();
            return Ok(());
        }
        let mut old = None;
        if let Some(store) = &self.store {
            if self.old {
                old = store.get(ctx, &record.key)?.map(|(value, _)| value);
            }
            store.put(ctx, &record.key, record.value.as_ref(), record.timestamp)?;
        }
        let Record { key, value, timestamp, headers } = record;
        ctx.forward(Record { key, value: Change { new: value, old }, timestamp, headers })
    }
}

/// The processor of an [`AggregateTable`].
pub(super) struct Aggregate<K, V, A, F> {
    pub(super) store: TimestampedStore<K, A>,
    pub(super) step: Arc<F>,
    /// What the aggregate of a key is before its first value; none for a reduction, which starts with that value.
    pub(super) initial: Arc<dyn Fn() -> Option<A> + Send + Sync>,
    pub(super) null_value: Option<SharedSerde<V>>,
    pub(super) old: bool,
}

impl<K: Data, V: Data, A: Data, F: Fn(&K, V, Option<A>) -> A + Send + Sync> Processor<K, V> for Aggregate<K, V, A, F> {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Done {
        let null_value = self.null_value.as_ref().is_some_and(|serde| serde.is_null(&record.value));
        if null_value || self.store.key_serde.is_null(&record.key) {
            ctx.drop_record();
            return Ok(());
        }
        let stored = self.store.get(ctx, &record.key)?;
        let timestamp = stored.as_ref().map_or(record.timestamp, |(_, stored)| record.timestamp.max(*stored));
        let before = stored.map(|(value, _)| value).or_else(|| (self.initial)());
        let old = if self.old { before.clone() } else { None };
        let after = (self.step)(&record.key, record.value, before);
        let new = (!self.store.value_serde.is_null(&after)).then_some(after);
        self.store.put(ctx, &record.key, new.as_ref(), timestamp)?;
        ctx.forward(Record { key: record.key, value: Change { new, old }, timestamp, headers: record.headers })
    }
}

/// The processor of a [`DerivedTable`].
pub(super) struct DeriveChanges<K, V, V2> {
    pub(super) derive: Derive<K, V, V2>,
    pub(super) store: Option<TimestampedStore<K, V2>>,
    pub(super) old: bool,
    /// A filter does not pass on that nothing became nothing, where it can tell.
    pub(super) quiet: bool,
}

impl<K: Data, V: Data, V2: Data> Processor<K, Change<V>> for DeriveChanges<K, V, V2> {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, Change<V>>) -> Done {
        let Record { key, value: change, timestamp, headers } = record;
        let new = change.new.and_then(|value| (self.derive)(&key, value));
        let old = match (&self.store, self.old) {
            (_, false) => None,
            (Some(store), true) => store.get(ctx, &key)?.map(|(value, _)| value),
            (None, true) => change.old.and_then(|value| (self.derive)(&key, value)),
        };
        if self.quiet && self.old && old.is_none() && new.is_none() {
            return Ok(());
        }
        if let Some(store) = &self.store {
            store.put(ctx, &key, new.as_ref(), timestamp)?;
        }
        ctx.forward(Record { key, value: Change { new, old }, timestamp, headers })
    }
}

/// The processor of a stream that is taken as a table: a value whose serde says null is a tombstone.
pub(super) struct FromStream<K, V> {
    pub(super) source: TableSource<K, V>,
    pub(super) value_serde: SharedSerde<V>,
}

impl<K: Data, V: Data> Processor<K, V> for FromStream<K, V> {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Done {
        let Record { key, value, timestamp, headers } = record;
        let value = (!self.value_serde.is_null(&value)).then_some(value);
        self.source.process(ctx, Record { key, value, timestamp, headers })
    }
}
