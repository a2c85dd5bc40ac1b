//! The records with a call to send, in the order of their turns.

use std::{collections::BTreeSet, sync::Arc};

/// Live edits go before backfill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    Live,
    Backfill,
}

/// A record's turn: first by urgency, then by the offset of its oldest request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub urgency: Urgency,
    pub offset: i64,
    pub key: Arc<str>,
}

#[derive(Debug, Default)]
pub(super) struct Turns {
    ready: BTreeSet<Turn>,
}

impl Turns {
    pub fn add(&mut self, turn: Turn) {
        self.ready.insert(turn);
    }

    pub fn remove(&mut self, turn: &Turn) {
        self.ready.remove(turn);
    }

    /// Whose turn it is.
    pub fn first(&self) -> Option<&Turn> {
        self.ready.first()
    }
}
