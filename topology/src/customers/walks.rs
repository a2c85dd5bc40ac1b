//! (25) Walks: when a system is imported, or its configuration changed, every customer's writes are computed once.

use schemas::{System, Walk};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The reason that makes a system imported: its first backfill is through.
pub const IMPORT: &str = "import";

/// How far one partition is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Walks {
    /// Systems whose first backfill is through: from then on, records are made there.
    pub imported: BTreeSet<System>,
    /// The last reason of each system, other than its import.
    pub reasons: BTreeMap<System, String>,
    /// The walk goes on behind this customer; `""`: at the first. `None`: no walk.
    pub position: Option<String>,
}

impl Walks {
    /// A reason to walk. One that this partition has had is ignored; a new one starts again from the first customer.
    pub fn on_walk(&mut self, walk: Walk) -> bool {
        let Walk { system, reason } = walk;
        let new = match reason.as_str() {
            IMPORT => self.imported.insert(system),
            _ if self.reasons.get(&system) == Some(&reason) => false,
            _ => {
                self.reasons.insert(system, reason);
                true
            }
        };
        if new {
            self.position = Some(String::new());
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_was_had_is_ignored_and_a_new_one_starts_again() {
        let (stripe, mut walks) = (System::new("stripe").unwrap(), Walks::default());
        let walk = |reason: &str| Walk { system: stripe.clone(), reason: reason.into() };
        assert!(walks.on_walk(walk(IMPORT)) && walks.imported.contains(&stripe));
        walks.position = None;
        assert!(!walks.on_walk(walk(IMPORT)) && walks.position.is_none());
        assert!(walks.on_walk(walk("config-1")));
        walks.position = Some("half way".into());
        assert!(!walks.on_walk(walk("config-1")));
        assert!(walks.on_walk(walk("config-2")));
        assert_eq!(walks.position.as_deref(), Some(""));
    }
}
