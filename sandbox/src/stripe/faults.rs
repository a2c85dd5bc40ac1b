//! Misbehaviour on request.

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// What a rule strikes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Every API call.
    #[default]
    Any,
    Create,
    Retrieve,
    Update,
    Delete,
    List,
    Events,
    /// Creates, updates and deletes.
    Writes,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// This status instead of doing anything.
    StatusBefore {
        status: u16,
        #[serde(default)]
        code: Option<String>,
        /// Remember this answer for the idempotency key.
        #[serde(default)]
        stored: bool,
        /// Seconds of a `Retry-After` header.
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// This status although it was done; remembered for the key, unless told otherwise.
    StatusAfter {
        status: u16,
        #[serde(default = "yes")]
        stored: bool,
    },
    /// The connection breaks before anything is done.
    ResetBefore,
    /// It is done, and the connection breaks.
    ResetAfter,
    /// It is done this many milliseconds late, even if nobody waits any more.
    SlowBefore { ms: u64 },
    /// It is done at once, and answered this late.
    SlowAfter { ms: u64 },
    /// A webhook is never sent.
    WebhookDrop,
    /// A webhook is sent twice.
    WebhookDouble,
    /// A webhook is sent this late.
    WebhookDelay { ms: u64 },
    /// A webhook is sent after the next one, or this late.
    WebhookReorder {
        #[serde(default = "a_second")]
        ms: u64,
    },
}

fn yes() -> bool {
    true
}

fn a_second() -> u64 {
    1000
}

impl Fault {
    fn is_of_webhooks(&self) -> bool {
        matches!(self, Fault::WebhookDrop | Fault::WebhookDouble | Fault::WebhookDelay { .. } | Fault::WebhookReorder { .. })
    }
}

/// A fault and when it strikes: the next `next` times, or with a `probability`, or (with both) by chance until it has
/// struck so often; with neither, always.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    #[serde(flatten)]
    pub fault: Fault,
    #[serde(default)]
    pub on: On,
    #[serde(default)]
    pub next: Option<u32>,
    #[serde(default)]
    pub probability: Option<f64>,
}

impl Rule {
    pub fn always(fault: Fault) -> Self {
        Rule { fault, on: On::Any, next: None, probability: None }
    }

    pub fn next(n: u32, fault: Fault) -> Self {
        Rule { next: Some(n), ..Self::always(fault) }
    }

    pub fn chance(probability: f64, fault: Fault) -> Self {
        Rule { probability: Some(probability), ..Self::always(fault) }
    }

    pub fn on(mut self, on: On) -> Self {
        self.on = on;
        self
    }
}

/// The rules in force and their chance.
pub(crate) struct Faults {
    rules: Vec<Rule>,
    rng: StdRng,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Faults { rules: Vec::new(), rng: StdRng::seed_from_u64(seed) }
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(crate) fn add(&mut self, rules: impl IntoIterator<Item = Rule>, seed: Option<u64>) {
        if let Some(seed) = seed {
            self.rng = StdRng::seed_from_u64(seed);
        }
        self.rules.extend(rules);
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// What strikes this call.
    pub(crate) fn of_call(&mut self, on: On) -> Vec<Fault> {
        self.strike(|rule| {
            let hit = match rule.on {
                On::Any => true,
                On::Writes => matches!(on, On::Create | On::Update | On::Delete),
                other => other == on,
            };
            hit && !rule.fault.is_of_webhooks()
        })
    }

    /// What strikes this webhook.
    pub(crate) fn of_webhook(&mut self) -> Vec<Fault> {
        self.strike(|rule| rule.fault.is_of_webhooks())
    }

    fn strike(&mut self, hits: impl Fn(&Rule) -> bool) -> Vec<Fault> {
        let mut struck = Vec::new();
        for rule in &mut self.rules {
            if !hits(rule) || rule.probability.is_some_and(|p| !self.rng.random_bool(p.clamp(0.0, 1.0))) {
                continue;
            }
            if let Some(left) = &mut rule.next {
                *left = left.saturating_sub(1);
            }
            struck.push(rule.fault.clone());
        }
        self.rules.retain(|rule| rule.next != Some(0));
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_strike_what_they_name_and_end() {
        let mut faults = Faults::new(1);
        let rules = r#"[{"fault": "status_before", "status": 429, "on": "update", "next": 2},
                        {"fault": "webhook_drop", "next": 1}, {"fault": "reset_after", "on": "writes", "next": 1}]"#;
        faults.add(serde_json::from_str::<Vec<Rule>>(rules).unwrap(), None);
        assert!(faults.of_call(On::List).is_empty());
        assert_eq!(faults.of_call(On::Update).len(), 2);
        assert_eq!(faults.of_call(On::Update).len(), 1);
        assert!(faults.of_call(On::Update).is_empty());
        assert_eq!(faults.of_webhook(), vec![Fault::WebhookDrop]);
        assert!(faults.of_webhook().is_empty() && faults.rules().is_empty());
    }

    #[test]
    fn a_seed_strikes_the_same_way_again() {
        let run = |seed| {
            let mut faults = Faults::new(0);
            faults.add([Rule::chance(0.3, Fault::ResetBefore)], Some(seed));
            (0..200).map(|_| faults.of_call(On::Create).len()).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        assert!((30..90).contains(&run(7).iter().sum::<usize>()));
    }
}
