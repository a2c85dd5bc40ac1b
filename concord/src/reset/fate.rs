//! What becomes of each thing, pure. What others put in or read stays, and so does what cannot be found out again; the rest is made anew.

use crate::{
    config::{Config, Kind},
    dlq::{MARKS, SUFFIX},
    topics::{LEARNT_SCHEMAS, SCHEMAS},
};
use connect::cursors::CURSORS_TOPIC;
use schemas::System;
use std::collections::BTreeMap;
use streams::kafka::OWNERS_TOPIC;
use topology::customers::topics::{CONFLICTS, IDENTIFY, UNIFIED, UNIFY, customers, links, requests};

/// What becomes of a thing, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Stays(&'static str),
    /// It is filled with what stays true.
    Anew(&'static str),
    Goes,
}

impl Fate {
    pub fn word(self) -> &'static str {
        match self {
            Fate::Stays(_) => "stays",
            Fate::Anew(_) => "anew",
            Fate::Goes => "goes",
        }
    }

    pub fn why(self) -> &'static str {
        match self {
            Fate::Stays(why) | Fate::Anew(why) => why,
            Fate::Goes => "",
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    pub forget_links: bool,
    /// The log has other partitions from now on.
    pub other_partitions: bool,
    /// What stays is where it was, and was not copied to where it belongs by then.
    pub in_place: bool,
}

const PUBLISHED: &str = "what was published; it is read again";

/// Of a topic that is no store's.
pub fn of_topic(config: &Config, name: &str, terms: Terms) -> Fate {
    let Terms { forget_links, other_partitions, in_place } = terms;
    if let Some(of) = name.strip_suffix(SUFFIX).filter(|_| name != MARKS) {
        return match of_topic(config, of, terms) {
            // What failed is read again, and fails again.
            Fate::Stays(PUBLISHED) => Fate::Goes,
            Fate::Stays(_) => Fate::Stays("what nobody has dealt with yet"),
            Fate::Anew(_) | Fate::Goes => Fate::Goes,
        };
    }
    match name {
        SCHEMAS | LEARNT_SCHEMAS => return Fate::Stays("the schemas, by which records are read"),
        OWNERS_TOPIC => return Fate::Stays("it holds nothing"),
        CURSORS_TOPIC if forget_links => return Fate::Goes,
        CURSORS_TOPIC => return Fate::Anew("how far events and the outbox are read"),
        MARKS => return Fate::Anew("of the dead letters that stay"),
        IDENTIFY | UNIFY => return Fate::Goes,
        UNIFIED | CONFLICTS if forget_links || (other_partitions && in_place) => return Fate::Goes,
        UNIFIED | CONFLICTS => return Fate::Stays("others read it"),
        _ => {}
    }
    for (system, of) in &config.systems {
        let published = matches!(of.kind, Kind::Topic);
        match name {
            _ if name == customers(system) && published => return Fate::Stays(PUBLISHED),
            _ if name == customers(system) || name == requests(system) => return Fate::Goes,
            _ if name == links(system) && forget_links => return Fate::Goes,
            _ if name == links(system) => return Fate::Anew("who is linked to whom"),
            _ => {}
        }
    }
    Fate::Stays("not of this configuration")
}

/// The cursors that stay: what is numbered elsewhere goes on, and everything is read once more.
pub fn cursors(systems: &BTreeMap<System, crate::config::SystemConfig>, known: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut names = vec![crate::run::began::BEGAN.to_owned()];
    for (system, of) in systems {
        let stay: &[&str] = match of.kind {
            // Without `table` the whole of it is swept; a backfill that was not through begins anew.
            Kind::Postgres(_) => &["outbox", "place", "truncated", "swept", "log"],
            Kind::Stripe(_) => &["events"],
            Kind::Topic => &[],
        };
        names.extend(stay.iter().map(|what| format!("{system}.{what}")));
        let backfill = format!("{system}.backfill");
        if matches!(of.kind, Kind::Postgres(_)) && known.get(&backfill).is_some_and(|far| far == sources::product::THROUGH) {
            names.push(backfill);
        }
    }
    names.into_iter().filter_map(|name| known.get(&name).map(|value| (name, value.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Env, Need, Overrides};

    fn config() -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("concord.toml");
        let text = "[systems.product]\nkind = \"postgres\"\n[systems.stripe]\nkind = \"stripe\"\n[systems.crm]\nkind = \"topic\"\n";
        std::fs::write(&file, text).unwrap();
        let overrides = Overrides { config: Some(file), ..Overrides::default() };
        Config::load(&overrides, &Env::default(), Need::Shape).unwrap()
    }

    #[test]
    fn what_others_put_in_or_read_stays_and_what_is_in_motion_goes() {
        let config = &config();
        let fates = |forget_links, other_partitions| {
            let terms = Terms { forget_links, other_partitions, in_place: other_partitions };
            let all = [
                "_schemas",
                "_concord.cursors",
                "_concord.dlq",
                "customers.crm",
                "customers.crm.dlq",
                "customers.stripe",
                "customers.stripe.dlq",
                "customers.product",
                "requests.stripe",
                "requests.stripe.dlq",
                "links.stripe",
                "links.crm",
                "links.crm.dlq",
                "customers.identify",
                "customers.unify",
                "customers.unified",
                "customers.conflicts",
                "customers.old",
                "customers.old.dlq",
                "orders",
            ];
            let word = |fate: &'static str| all.into_iter().filter(move |name| of_topic(config, name, terms).word() == fate);
            ["stays", "anew", "goes"].map(|fate| word(fate).collect::<Vec<_>>().join(" "))
        };
        let [stays, anew, goes] = fates(false, false);
        assert_eq!(stays, "_schemas customers.crm customers.unified customers.conflicts customers.old customers.old.dlq orders");
        assert_eq!(anew, "_concord.cursors _concord.dlq links.stripe links.crm");
        assert!(goes.contains("customers.crm.dlq customers.stripe customers.stripe.dlq customers.product requests.stripe"), "{goes}");
        let [stays, anew, _] = fates(true, false);
        assert_eq!((stays.as_str(), anew.as_str()), ("_schemas customers.crm customers.old customers.old.dlq orders", "_concord.dlq"));
        let goes = &fates(false, true)[2];
        assert!(goes.contains("customers.unified"), "each record is in a partition of its own: {goes}");
    }

    #[test]
    fn what_is_numbered_elsewhere_goes_on_and_everything_is_read_once_more() {
        let stay = |far: &str| {
            let known = [
                "log.began",
                "product.outbox",
                "product.place",
                "product.table",
                "product.backfill",
                "product.imported",
                "product.log",
                "stripe.events",
                "stripe.backfill",
                "stripe.imported",
                "stripe.configuration",
            ];
            let known = known.into_iter().map(|name| (name.to_owned(), if name == "product.backfill" { far } else { "x" }.to_owned()));
            cursors(&config().systems, &known.collect()).into_keys().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(stay("through"), "log.began product.backfill product.log product.outbox product.place stripe.events");
        assert_eq!(stay("after 7"), "log.began product.log product.outbox product.place stripe.events");
    }
}
