//! What a deployment looks at and takes away, on a real broker: topics as they are, and groups with their members.

mod kafka_support;

mod on_kafka {
    use std::time::Duration;

    use rdkafka::consumer::{BaseConsumer, Consumer};
    use streams::embedded::{Cleanup, ErrorClass, TopicConfig};
    use streams::kafka::{Log, TopicSettings, TopicState};

    use super::kafka_support::*;

    const WITHIN: Duration = Duration::from_secs(30);

    async fn connect(name: &str) -> (Log, String) {
        let application = unique(name);
        (Log::connect(log_config(&application)).await.unwrap(), application)
    }

    async fn state(log: &Log, topic: &str) -> Option<TopicState> {
        log.topic_states().await.unwrap().into_iter().find(|state| state.name == topic)
    }

    async fn members(log: &Log, group: &str) -> Option<usize> {
        log.group_states().await.unwrap().into_iter().find(|state| state.name == group).map(|state| state.members)
    }

    #[tokio::test]
    async fn topics_are_told_as_somebody_else_made_them_and_set_as_they_must_be() {
        let (log, name) = connect("both").await;
        assert_eq!(state(&log, &name).await, None);
        let made = name.clone();
        let settings = [("cleanup.policy", "compact,delete"), ("retention.ms", "60000"), ("segment.ms", "50000")];
        tokio::task::spawn_blocking(move || create_topics_with(&[(&made, 3)], &settings)).await.unwrap();
        let found = state(&log, &name).await.unwrap();
        let both = TopicSettings { policy: "compact,delete".into(), retention_ms: 60_000 };
        assert_eq!(found, TopicState { name: name.clone(), partitions: 3, replication_factor: 1, settings: Some(both) });

        // The same retention, and not the same: both policies are not one of them.
        log.create_topic(TopicConfig::delete(name.as_str(), 3, Duration::from_secs(60))).await.unwrap();
        let delete = TopicSettings { policy: "delete".into(), retention_ms: 60_000 };
        tokio::time::timeout(WITHIN, async { while state(&log, &name).await.unwrap().settings.as_ref() != Some(&delete) {} })
            .await
            .expect("the policy is changed");
        let topic = name.clone();
        let kept = tokio::task::spawn_blocking(move || topic_setting(&topic, "segment.ms")).await.unwrap();
        assert_eq!(kept, "50000", "what else somebody set stays");

        let dead = format!("{name}.dlq");
        for _ in 0..2 {
            log.create_dead_letter_topic(&dead).await.unwrap();
        }
        let found = state(&log, &dead).await.unwrap();
        let days = 30 * 24 * 3600 * 1000;
        assert_eq!((found.partitions, found.settings), (1, Some(TopicSettings { policy: "delete".into(), retention_ms: days })));
        let topic = dead.clone();
        let largest = tokio::task::spawn_blocking(move || topic_setting(&topic, "max.message.bytes")).await.unwrap();
        assert_eq!(largest, (1_000_000 + (1 << 20)).to_string(), "a dead letter may be larger than what failed");

        log.delete_topics(&[name.clone(), dead.clone(), "no-such-topic".into()]).await.unwrap();
        assert!(state(&log, &name).await.is_none() && state(&log, &dead).await.is_none());
        assert!(!log.topics().iter().any(|topic| topic.name == name));
        // It can be made anew at once.
        let again = TopicConfig { name: name.clone(), partitions: 1, cleanup: Cleanup::Compact };
        log.create_topic(again).await.unwrap();
        assert_eq!(state(&log, &name).await.unwrap().partitions, 1);
    }

    #[tokio::test]
    async fn a_group_goes_when_its_members_have_gone() {
        let (log, name) = connect("groups").await;
        log.create_topic(TopicConfig::compact(name.as_str(), 1)).await.unwrap();
        log.delete_group(&name).await.unwrap();
        for protocol in ["classic", "consumer"] {
            let (topic, group) = (name.clone(), format!("{name}-{protocol}"));
            let joined = group.clone();
            let consumer = tokio::task::spawn_blocking(move || {
                let consumer: BaseConsumer =
                    client().set("group.id", &joined).set("group.protocol", protocol).set("enable.auto.commit", "false").create().unwrap();
                consumer.subscribe(&[&topic]).unwrap();
                while consumer.assignment().unwrap().count() == 0 {
                    drop(consumer.poll(Duration::from_millis(50)));
                }
                consumer
            })
            .await
            .unwrap();
            // The brokers do not tell members of the newer protocol to who asks in the older way.
            assert_eq!(members(&log, &group).await, Some(usize::from(protocol == "classic")), "{protocol}");
            let refused = log.delete_group(&group).await.unwrap_err();
            assert!(refused.class() == ErrorClass::Fatal && refused.to_string().contains(&group), "{refused}");
            tokio::task::spawn_blocking(move || drop(consumer)).await.unwrap();
            let gone = async {
                while log.delete_group(&group).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(WITHIN, gone).await.expect("it has no members");
            assert_eq!(members(&log, &group).await, None);
        }
    }
}
