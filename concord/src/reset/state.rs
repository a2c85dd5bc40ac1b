//! What a data folder and a cluster have in common: what is known of customers, and the cursors.

use super::{fate::Fate, plan::Line};
use crate::config::{Config, Kind};
use schemas::{ExternalId, System};
use std::collections::BTreeMap;
use streams::ConsumerRecord;
use topology::customers::{renewal::Orders, stored::CUSTOMERS};

/// How what is published to topics is numbered in the new log.
pub enum Numbered {
    /// The topics stay as they are.
    AsBefore,
    /// They were copied: the last result that was taken in of each record.
    Anew(BTreeMap<System, BTreeMap<ExternalId, i64>>),
}

/// How each system's results are numbered. The outbox numbers the product's; Stripe's are numbered by what is asked of it, from the
/// beginning of the new log.
pub fn orders(config: &Config, published: Numbered) -> BTreeMap<System, Orders> {
    let mut numbered = match published {
        Numbered::AsBefore => None,
        Numbered::Anew(orders) => Some(orders),
    };
    let orders = |(system, of): (&System, &crate::config::SystemConfig)| {
        let orders = match (&of.kind, &mut numbered) {
            (Kind::Stripe(_), _) => Orders::Anew,
            (Kind::Postgres(_), _) | (Kind::Topic, None) => Orders::Stay,
            (Kind::Topic, Some(numbered)) => Orders::Become(numbered.remove(system).unwrap_or_default()),
        };
        (system.clone(), orders)
    };
    config.systems.iter().map(orders).collect()
}

/// What is told of the customers.
pub fn line(forget_links: bool) -> Line {
    let fate = match forget_links {
        true => Fate::Goes,
        false => Fate::Anew("who is linked to whom, what each record last showed, what is true; nothing that is under way"),
    };
    Line::new("store", CUSTOMERS, fate)
}

pub fn learn_cursor(known: &mut BTreeMap<String, String>, record: &ConsumerRecord) {
    let text = |bytes: &Option<bytes::Bytes>| bytes.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::to_owned);
    let Some(name) = text(&record.key) else { return };
    match text(&record.value) {
        Some(value) => known.insert(name, value),
        None => known.remove(&name),
    };
}
