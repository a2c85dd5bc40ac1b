//! Where a stage's effects go: a sink each.

use crate::customers::{Config, Effect, Effects};
use schemas::{Action, IdentifyMessage, Request, System, UnifyMessage};
use std::collections::BTreeMap;
use streams::{ProcessorContext, ProcessorError, Record};

/// The name of the sink that takes one kind of effect from a processor.
pub fn child(processor: &str, what: &str) -> String {
    format!("{processor}-to-{what}")
}

/// The names of one processor's sinks.
pub struct Outlets {
    identify: String,
    unify: String,
    unified: String,
    conflicts: String,
    /// By system: its links, its requests.
    systems: BTreeMap<System, (String, String)>,
}

impl Outlets {
    pub fn of(processor: &str, config: &Config) -> Self {
        let system = |name: &System| (child(processor, &format!("links-{name}")), child(processor, &format!("requests-{name}")));
        Outlets {
            identify: child(processor, "identify"),
            unify: child(processor, "unify"),
            unified: child(processor, "unified"),
            conflicts: child(processor, "conflicts"),
            systems: config.systems.iter().map(|s| (s.name.clone(), system(&s.name))).collect(),
        }
    }

    /// Sends each effect to its topic, in order.
    pub fn send(&self, ctx: &mut ProcessorContext<'_>, effects: Effects, timestamp: i64) -> Result<(), ProcessorError> {
        effects.into_iter().try_for_each(|effect| self.send_one(ctx, effect, timestamp))
    }

    fn send_one(&self, ctx: &mut ProcessorContext<'_>, effect: Effect, timestamp: i64) -> Result<(), ProcessorError> {
        match effect {
            Effect::Identify { email, body } => ctx.forward_to(&self.identify, Record::new(email, IdentifyMessage { body }, timestamp)),
            Effect::Unify { customer, body } => {
                ctx.forward_to(&self.unify, Record::new(customer.to_string(), UnifyMessage { body }, timestamp))
            }
            Effect::Unified(unified) => ctx.forward_to(&self.unified, Record::new(unified.customer_id.to_string(), *unified, timestamp)),
            Effect::Conflict(conflict) => {
                metrics::counter!("concord_conflicts_total", "kind" => conflict.kind.name()).increment(1);
                ctx.forward_to(&self.conflicts, Record::new(conflict.customer_id.to_string(), *conflict, timestamp))
            }
            // A system that is no longer configured has no topics to send to, and nobody who listens.
            Effect::Link { system, external_id, link } => match self.systems.get(&system) {
                Some((links, _)) => ctx.forward_to(links, Record::new(external_id.as_str().to_owned(), link, timestamp)),
                None => Ok(()),
            },
            Effect::Request { system, key, action } => match self.systems.get(&system) {
                Some((_, requests)) => {
                    metrics::counter!("concord_requests_total", "system" => system.to_string(), "action" => name(&action)).increment(1);
                    ctx.forward_to(requests, Record::new(key, Request { action }, timestamp))
                }
                None => Ok(()),
            },
        }
    }
}

fn name(action: &Action) -> &'static str {
    match action {
        Action::Read(_) => "read",
        Action::Write(_) => "write",
        Action::Delete(_) => "delete",
        Action::Create(_) => "create",
    }
}
