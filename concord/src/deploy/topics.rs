//! Topics: what the configuration wants, and what that means for those that are there. Pure.

use super::{
    Allow,
    plan::{State, Step},
};
use crate::{
    config::{Config, Kafka},
    dlq::SUFFIX,
    shape,
    topics::schemas_topic,
};
use std::time::Duration;
use streams::{
    embedded::{Cleanup, TopicConfig},
    kafka::{OWNERS_TOPIC, TopicState},
};
use topology::customers;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// How long the topology keeps dead letters, and the connectors theirs.
const TOPOLOGY_KEEPS: Duration = Duration::from_secs(30 * 24 * 3600);
const CONNECTORS_KEEP: Duration = Duration::from_secs(90 * 24 * 3600);

/// A topic that has to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub topic: TopicConfig,
    pub purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It has to be as it is said.
    Records,
    /// For what the topology cannot process, or what connectors cannot. One that is there is left as it is.
    TopologysDeadLetters,
    ConnectorsDeadLetters,
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub partitions: i32,
    /// None: nobody lets us know.
    pub kept: Option<Kept>,
    /// Replicas of each partition, where there are any.
    pub replicas: Option<i32>,
}

/// What becomes of old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Of each key the newest one stays.
    compact: bool,
    /// They go by age, in milliseconds; the largest number is never.
    delete: Option<i64>,
}

impl From<Cleanup> for Kept {
    fn from(cleanup: Cleanup) -> Kept {
        match cleanup {
            Cleanup::Compact => Kept { compact: true, delete: None },
            Cleanup::Delete { retention_ms } => Kept { compact: false, delete: Some(retention_ms) },
        }
    }
}

impl From<TopicConfig> for Topic {
    fn from(TopicConfig { name, partitions, cleanup }: TopicConfig) -> Topic {
        Topic { name, partitions, kept: Some(cleanup.into()), replicas: None }
    }
}

impl From<TopicState> for Topic {
    fn from(TopicState { name, partitions, replication_factor, settings }: TopicState) -> Topic {
        let kept = settings.map(|settings| {
            let has = |policy| settings.policy.split(',').any(|one| one.trim() == policy);
            let retention = if settings.retention_ms < 0 { i64::MAX } else { settings.retention_ms };
            Kept { compact: has("compact"), delete: has("delete").then_some(retention) }
        });
        Topic { name, partitions, kept, replicas: Some(replication_factor) }
    }
}

/// Every topic that `concord run` makes when it starts.
pub fn wanted(config: &Config) -> Vec<Wanted> {
    let retention = Duration::from_secs(u64::from(config.retention_days) * 24 * 3600);
    let records = |topic| Wanted { topic, purpose: Purpose::Records };
    let mut wanted =
        vec![records(TopicConfig::compact(schemas_topic(config), 1)), records(TopicConfig::compact(connect::cursors::CURSORS_TOPIC, 1))];
    let topics = customers::topics(&shape::customers_config(config));
    wanted.extend(topics.iter().map(|topic| {
        records(match topic.cleanup {
            customers::Cleanup::Delete => TopicConfig::delete(topic.name.as_str(), topic.partitions, retention),
            customers::Cleanup::Compact => TopicConfig::compact(topic.name.as_str(), topic.partitions),
        })
    }));
    if config.kafka.is_some() {
        wanted.push(records(TopicConfig::compact(OWNERS_TOPIC, 1)));
        // What other programs read of them (ksqlDB) needs them before the first dead letter.
        wanted.extend(topics.iter().filter_map(dead_letters));
    }
    wanted
}

/// The topology has them of what it reads, connectors of what they are asked.
fn dead_letters(topic: &customers::TopicSpec) -> Option<Wanted> {
    let name = format!("{}{SUFFIX}", topic.name);
    match (topic.is_input, topic.name.starts_with("requests.")) {
        (true, _) => Some(Wanted { topic: TopicConfig::delete(name, 1, TOPOLOGY_KEEPS), purpose: Purpose::TopologysDeadLetters }),
        // They keep a request's partition.
        (false, true) => {
            Some(Wanted { topic: TopicConfig::delete(name, topic.partitions, CONNECTORS_KEEP), purpose: Purpose::ConnectorsDeadLetters })
        }
        (false, false) => None,
    }
}

/// A step for each topic that is wanted. Topics that are not wanted any more stay: they hold what was said.
pub fn steps(wanted: &[Wanted], there: &[Topic], kafka: Option<&Kafka>, allow: &[Allow]) -> Vec<Step> {
    let step = |Wanted { topic, purpose }: &Wanted| {
        let state = match (there.iter().find(|known| known.name == topic.name), purpose) {
            (None, _) => State::Create(format!("{}, {}", partitions(topic.partitions), words(topic.cleanup.into()))),
            (Some(known), Purpose::Records) => state(known, topic, kafka, allow),
            (Some(_), Purpose::TopologysDeadLetters | Purpose::ConnectorsDeadLetters) => State::Same,
        };
        Step::new("topic", topic.name.clone(), state)
    };
    wanted.iter().map(step).collect()
}

fn state(there: &Topic, wanted: &TopicConfig, kafka: Option<&Kafka>, allow: &[Allow]) -> State {
    let mut refused = Vec::new();
    if there.partitions != wanted.partitions {
        refused.push(format!(
            "it has {}, and {} are configured: records of one key would no longer meet in one task. Set `partitions` back, or begin anew with `concord reset`",
            partitions(there.partitions),
            wanted.partitions
        ));
    }
    // -1: as the brokers have it.
    if let (Some(has), Some(factor)) = (there.replicas, kafka.map(|kafka| kafka.replication_factor).filter(|factor| *factor > 0))
        && has != factor
    {
        refused.push(format!(
            "it has {}, and {factor} are configured: no setting changes that. Have `kafka-reassign-partitions.sh` do it, or set `kafka.replication_factor` to {has}",
            replicas(has)
        ));
    }
    let wanted = Kept::from(wanted.cleanup);
    let mut change = None;
    match there.kept {
        None => refused.push("its settings may not be read: the right DESCRIBE_CONFIGS on it is missing".into()),
        Some(kept) if kept == wanted => {}
        Some(kept) => {
            let what = format!("{} becomes {}", words(kept), words(wanted));
            match keeps(wanted) < keeps(kept) && !allow.contains(&Allow::ShorterRetention) {
                true => refused.push(format!("{what}: older records go at once. --allow shorter-retention does it")),
                false => change = Some(what),
            }
        }
    }
    match (refused.is_empty(), change) {
        (false, _) => State::Refused(refused.join("; ")),
        (true, Some(what)) => State::Change(what),
        (true, None) => State::Same,
    }
}

/// How long the newest record of a key stays.
fn keeps(kept: Kept) -> i64 {
    kept.delete.unwrap_or(i64::MAX)
}

fn partitions(n: i32) -> String {
    if n == 1 { "1 partition".into() } else { format!("{n} partitions") }
}

fn replicas(n: i32) -> String {
    if n == 1 { "1 replica".into() } else { format!("{n} replicas") }
}

fn words(kept: Kept) -> String {
    let deleted = kept.delete.map(|ms| match ms {
        i64::MAX => "delete never".into(),
        DAY_MS => "delete after 1 day".into(),
        ms if ms % DAY_MS == 0 => format!("delete after {} days", ms / DAY_MS),
        ms => format!("delete after {ms} ms"),
    });
    match (kept.compact, deleted) {
        (true, None) => "compact".into(),
        (true, Some(deleted)) => format!("compact and {deleted}"),
        (false, Some(deleted)) => deleted,
        (false, None) => "no clean-up".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streams::kafka::{GroupProtocol, TopicSettings};

    fn step(there: Topic, wanted: TopicConfig, kafka: Option<&Kafka>, allow: &[Allow]) -> State {
        steps(&[Wanted { topic: wanted, purpose: Purpose::Records }], &[there], kafka, allow).remove(0).state
    }

    fn judged(there: TopicConfig, wanted: TopicConfig, allow: &[Allow]) -> State {
        step(there.into(), wanted, None, allow)
    }

    fn days(n: u64) -> TopicConfig {
        TopicConfig::delete("t", 4, Duration::from_secs(n * 24 * 3600))
    }

    fn compact() -> TopicConfig {
        TopicConfig::compact("t", 4)
    }

    #[test]
    fn each_kind_of_drift_is_found_and_what_loses_data_is_refused() {
        assert_eq!(judged(days(7), days(7), &[]), State::Same);
        assert_eq!(judged(days(7), days(9), &[]), State::Change("delete after 7 days becomes delete after 9 days".into()));
        assert!(matches!(judged(days(7), days(3), &[]), State::Refused(why) if why.contains("--allow shorter-retention")));
        assert!(matches!(judged(days(7), days(3), &[Allow::ShorterRetention]), State::Change(_)));
        assert!(matches!(judged(compact(), days(3), &[]), State::Refused(_)));
        assert!(matches!(judged(days(3), compact(), &[]), State::Change(_)));
        let wider = TopicConfig { partitions: 8, ..days(7) };
        assert!(matches!(judged(days(7), wider, &[Allow::ShorterRetention]), State::Refused(why) if why.contains("4 partitions, and 8")));
        let wanted = Wanted { topic: compact(), purpose: Purpose::Records };
        assert_eq!(steps(&[wanted], &[], None, &[])[0].state, State::Create("4 partitions, compact".into()));
    }

    fn on_brokers(policy: &str, retention_ms: i64, replication_factor: i32) -> Topic {
        let settings = Some(TopicSettings { policy: policy.into(), retention_ms });
        TopicState { name: "t".into(), partitions: 4, replication_factor, settings }.into()
    }

    fn kafka(replication_factor: i32) -> Kafka {
        Kafka {
            bootstrap_servers: "k:9092".into(),
            replication_factor,
            group_protocol: GroupProtocol::Classic,
            session_timeout: Duration::from_secs(10),
            group_instance_id: None,
            client: Default::default(),
        }
    }

    #[test]
    fn what_somebody_set_on_the_brokers_is_told_in_their_words() {
        let of = |policy, retention, wanted| step(on_brokers(policy, retention, 3), wanted, Some(&kafka(-1)), &[]);
        assert_eq!(of("delete", 7 * DAY_MS, days(7)), State::Same);
        assert_eq!(of("compact", 7 * DAY_MS, compact()), State::Same, "what is compacted has no age");
        let both = "compact and delete after 7 days becomes ";
        assert_eq!(of("compact,delete", 7 * DAY_MS, days(7)), State::Change(format!("{both}delete after 7 days")));
        assert_eq!(of("delete,compact", 7 * DAY_MS, compact()), State::Change(format!("{both}compact")));
        assert!(matches!(of("delete", -1, days(7)), State::Refused(why) if why.starts_with("delete never becomes delete after 7 days")));
        assert!(matches!(of("", DAY_MS, days(7)), State::Refused(why) if why.starts_with("no clean-up becomes")));
        let hidden = Topic { kept: None, ..on_brokers("", 0, 3) };
        assert!(matches!(step(hidden, days(7), Some(&kafka(-1)), &[]), State::Refused(why) if why.contains("DESCRIBE_CONFIGS")));
    }

    #[test]
    fn replicas_are_not_changed_by_a_setting() {
        let of = |has, wanted| step(on_brokers("compact", 0, has), compact(), Some(&kafka(wanted)), &[Allow::ShorterRetention]);
        assert_eq!((of(1, -1), of(3, 3)), (State::Same, State::Same));
        assert!(
            matches!(of(1, 3), State::Refused(why) if why.contains("1 replica, and 3") && why.contains("kafka-reassign-partitions.sh"))
        );
        assert!(matches!(of(3, 2), State::Refused(why) if why.contains("3 replicas, and 2")));
    }
}
