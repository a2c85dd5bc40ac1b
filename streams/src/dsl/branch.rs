//! A stream split into branches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::stateless::PassThrough;
use super::{Data, KStream, names};
use crate::error::ProcessorError;
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;

type Predicate<K, V> = Arc<dyn Fn(&K, &V) -> bool + Send + Sync>;
/// The branches in order; the default one has no predicate.
type Branches<K, V> = Arc<Mutex<Vec<(Option<Predicate<K, V>>, String)>>>;

/// Branches of a stream, each record in one at most. Made by [`KStream::split`].
pub struct BranchedKStream<K, V> {
    source: KStream<K, V>,
    splitter: KStream<K, V>,
    branches: Branches<K, V>,
    streams: BTreeMap<String, KStream<K, V>>,
}

impl<K: Data, V: Data> BranchedKStream<K, V> {
    pub(super) fn new(source: &KStream<K, V>, name: Option<&str>) -> Self {
        let name = source.graph.name(names::BRANCH, name);
        let branches: Branches<K, V> = Arc::default();
        let shared = branches.clone();
        let node = source.attach(&name, move || Split { branches: shared.lock().map(|list| list.clone()).unwrap_or_default() });
        let splitter = source.child(name, node, source.key_serde.clone(), source.value_serde.clone(), false);
        Self { source: source.clone(), splitter, branches, streams: BTreeMap::new() }
    }

    /// A branch for the records for which the predicate holds and no earlier one's did. It is called after the split, and its number.
    pub fn branch(mut self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.add(None, Some(Arc::new(predicate)));
        self
    }

    /// [`branch`](Self::branch), called after the split and this name.
    pub fn branch_named(mut self, name: &str, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.add(Some(name), Some(Arc::new(predicate)));
        self
    }

    /// A last branch for all other records; the streams by name.
    pub fn default_branch(mut self) -> BTreeMap<String, KStream<K, V>> {
        self.add(None, None);
        self.streams
    }

    /// [`default_branch`](Self::default_branch), called after the split and this name.
    pub fn default_branch_named(mut self, name: &str) -> BTreeMap<String, KStream<K, V>> {
        self.add(Some(name), None);
        self.streams
    }

    /// Records that are in no branch are dropped; the streams by name.
    pub fn no_default_branch(self) -> BTreeMap<String, KStream<K, V>> {
        self.streams
    }

    fn add(&mut self, name: Option<&str>, predicate: Option<Predicate<K, V>>) {
        let number = if predicate.is_some() { self.streams.len() + 1 } else { 0 };
        let name = name.map_or_else(|| number.to_string(), str::to_owned);
        let name = format!("{}{name}", self.splitter.name);
        if let Ok(mut branches) = self.branches.lock() {
            branches.push((predicate, name.clone()));
        }
        self.source.graph.name(&name, None);
        let node = self.splitter.attach(&name, || PassThrough);
        let stream = self.source.child(name.clone(), node, self.source.key_serde.clone(), self.source.value_serde.clone(), false);
        self.streams.insert(name, stream);
    }
}

struct Split<K, V> {
    branches: Vec<(Option<Predicate<K, V>>, String)>,
}

impl<K: Data, V: Data> Processor<K, V> for Split<K, V> {
    fn process(&mut self, ctx: &mut ProcessorContext<'_>, record: Record<K, V>) -> Result<(), ProcessorError> {
        let holds = |predicate: &Option<Predicate<K, V>>| predicate.as_ref().is_none_or(|predicate| predicate(&record.key, &record.value));
        match self.branches.iter().find(|(predicate, _)| holds(predicate)) {
            Some((_, child)) => ctx.forward_to(child, record),
            None => Ok(()),
        }
    }
}
