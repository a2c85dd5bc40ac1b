//! Brokers of a cluster of three that are killed in turn, for what they are to the application at the moment.

use std::fs;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::counting::{Counting, WITHIN};
use crate::kafka_support::*;
use crate::run::Run;

const CALL: Duration = Duration::from_secs(5);

pub fn killed(run: &mut Run) {
    let counting = Counting::begin("brokers");
    let processes = ["a", "b"].map(|name| counting.start(name));
    counting.await_news();
    let prefix = counting.prefix.clone();
    assert_eq!(topic_setting(&format!("{prefix}-words"), "min.insync.replicas"), "2");
    let observer: BaseConsumer = client().create().unwrap();
    let process = fs::read_to_string(counting.state("a").join(&prefix).join("process")).unwrap();
    let transactional_id = format!("{prefix}-{}-1", process.trim());
    // The partitions whose leaders are the group's coordinator and that of the transactions of a process, and one of the changelog.
    let targets = [
        ("transaction coordinator", "__transaction_state".to_owned(), coordinator_partition(&transactional_id)),
        ("group coordinator", "__consumer_offsets".to_owned(), coordinator_partition(&prefix)),
        ("leader of a partition", format!("{prefix}-counts-changelog"), 0),
    ];
    let mut turn = targets.iter().cycle();
    while run.goes_on(targets.len()) {
        let Some((what, topic, partition)) = turn.next() else { break };
        await_in_sync(&observer);
        run.pause(300);
        let leader = leader(&observer, topic, *partition);
        let broker = own_cluster(3).brokers.iter().find(|broker| i32::from(broker.id) == leader).unwrap();
        broker.kill();
        let recovery = counting.await_news();
        println!("killed broker {leader}, {what}: recovery {recovery:?}");
        run.survived(recovery);
        broker.start();
    }
    await_in_sync(&observer);
    counting.finish(processes, run);
}

/// The partition of its topic in which a coordinator keeps what belongs to a group or to a transactional id: Java's hash of the name.
fn coordinator_partition(name: &str) -> i32 {
    let hash = name.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % COORDINATOR_PARTITIONS
}

fn leader(observer: &BaseConsumer, topic: &str, partition: i32) -> i32 {
    let metadata = observer.fetch_metadata(Some(topic), CALL).unwrap();
    metadata.topics()[0].partitions().iter().find(|of| of.id() == partition).unwrap().leader()
}

/// Waits until every broker has all that it is to keep: another one may be killed.
fn await_in_sync(observer: &BaseConsumer) {
    eventually("all copies are in sync", WITHIN, || {
        let Ok(metadata) = observer.fetch_metadata(None, CALL) else { return false };
        let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        partitions.all(|partition| partition.leader() >= 0 && partition.isr().len() == partition.replicas().len())
    });
}
