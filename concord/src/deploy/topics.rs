//! Topics: what the configuration wants, and what that means for those that are there. Pure.

use super::{
    Allow,
    plan::{State, Step},
};
use crate::{config::Config, shape, topics::SCHEMAS};
use std::time::Duration;
use streams::embedded::{Cleanup, TopicConfig};
use topology::customers;

/// Every topic that `concord run` makes before it starts.
pub fn wanted(config: &Config) -> Vec<TopicConfig> {
    let retention = Duration::from_secs(u64::from(config.retention_days) * 24 * 3600);
    let mut wanted = vec![TopicConfig::compact(SCHEMAS, 1), TopicConfig::compact(connect::cursors::CURSORS_TOPIC, 1)];
    wanted.extend(customers::topics(&shape::customers_config(config)).into_iter().map(|topic| match topic.cleanup {
        customers::Cleanup::Delete => TopicConfig::delete(topic.name, topic.partitions, retention),
        customers::Cleanup::Compact => TopicConfig::compact(topic.name, topic.partitions),
    }));
    wanted
}

/// A step for each topic that is wanted. Topics that are not wanted any more stay: they hold what was said.
pub fn steps(wanted: &[TopicConfig], there: &[TopicConfig], allow: &[Allow]) -> Vec<Step> {
    let step = |topic: &TopicConfig| {
        let state = match there.iter().find(|known| known.name == topic.name) {
            None => State::Create(format!("{}, {}", partitions(topic.partitions), cleanup(topic.cleanup))),
            Some(known) => state(known, topic, allow),
        };
        Step::new("topic", topic.name.clone(), state)
    };
    wanted.iter().map(step).collect()
}

fn state(there: &TopicConfig, wanted: &TopicConfig, allow: &[Allow]) -> State {
    if there.partitions != wanted.partitions {
        return State::Refused(format!(
            "it has {}, and {} are configured: records of one key would no longer meet in one task. Set `partitions` back, or start with an empty data folder",
            partitions(there.partitions),
            wanted.partitions
        ));
    }
    if there.cleanup == wanted.cleanup {
        return State::Same;
    }
    let what = format!("{} becomes {}", cleanup(there.cleanup), cleanup(wanted.cleanup));
    let shorter = match (there.cleanup, wanted.cleanup) {
        (Cleanup::Delete { retention_ms: old }, Cleanup::Delete { retention_ms: new }) => new < old,
        // The newest record of a key was kept for ever.
        (Cleanup::Compact, Cleanup::Delete { .. }) => true,
        (_, Cleanup::Compact) => false,
    };
    match shorter && !allow.contains(&Allow::ShorterRetention) {
        true => State::Refused(format!("{what}: older records go at once. --allow shorter-retention does it")),
        false => State::Change(what),
    }
}

fn partitions(n: i32) -> String {
    if n == 1 { "1 partition".into() } else { format!("{n} partitions") }
}

fn cleanup(cleanup: Cleanup) -> String {
    const DAY: i64 = 24 * 3600 * 1000;
    match cleanup {
        Cleanup::Compact => "compact".into(),
        Cleanup::Delete { retention_ms: DAY } => "delete after 1 day".into(),
        Cleanup::Delete { retention_ms } if retention_ms % DAY == 0 => format!("delete after {} days", retention_ms / DAY),
        Cleanup::Delete { retention_ms } => format!("delete after {retention_ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(there: TopicConfig, wanted: TopicConfig, allow: &[Allow]) -> State {
        steps(&[wanted], &[there], allow).remove(0).state
    }

    #[test]
    fn each_kind_of_drift_is_found_and_what_loses_data_is_refused() {
        let days = |n: u64| TopicConfig::delete("t", 4, Duration::from_secs(n * 24 * 3600));
        let compact = || TopicConfig::compact("t", 4);
        assert_eq!(judged(days(7), days(7), &[]), State::Same);
        assert_eq!(judged(days(7), days(9), &[]), State::Change("delete after 7 days becomes delete after 9 days".into()));
        assert!(matches!(judged(days(7), days(3), &[]), State::Refused(why) if why.contains("--allow shorter-retention")));
        assert!(matches!(judged(days(7), days(3), &[Allow::ShorterRetention]), State::Change(_)));
        assert!(matches!(judged(compact(), days(3), &[]), State::Refused(_)));
        assert!(matches!(judged(days(3), compact(), &[]), State::Change(_)));
        let wider = TopicConfig { partitions: 8, ..days(7) };
        assert!(matches!(judged(days(7), wider, &[Allow::ShorterRetention]), State::Refused(why) if why.contains("4 partitions, and 8")));
        assert_eq!(steps(&[compact()], &[], &[])[0].state, State::Create("4 partitions, compact".into()));
    }
}
