//! A backfill's reads in slices, cursors, and the walks that follow.

use super::*;
use connect::{Cursors, Slices, Walks};
use schemas::{UnifyBody, UnifyMessage};

fn ids(range: std::ops::Range<usize>) -> Vec<ExternalId> {
    range.map(|n| ExternalId::new(format!("cus_{n}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_read_by_one_list_call() {
    let world = World::new();
    for id in ids(0..30) {
        world.vendor.person_sets(id.as_str(), "Ada");
    }
    let mut slices = Slices::new(world.requests()).await.unwrap();
    slices.publish(Some("page 1"), &ids(0..30), Vec::new()).await.unwrap();
    assert_eq!(slices.unanswered(), 30);
    let running = world.run_with(Options { lists: true, ..world.options() }).await;
    slices.answered().await.unwrap();
    let calls = world.vendor.calls();
    assert_eq!(calls, ["list page 1"; PARTITIONS as usize], "one for each partition");
    eventually("all results are there", || world.records("customers.stripe").len() == 30).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_more_than_a_slice_is_unanswered_and_live_ones_go_first() {
    let world = World::new();
    let mut slices = Slices::with_limit(world.requests(), 5).await.unwrap();
    world.vendor.close_gate();
    let running = world.run_with(Options { calls: 1, timeout: Duration::from_secs(30), ..world.options() }).await;
    let all = ids(0..100);
    let publishing = tokio::spawn(async move {
        for page in all.chunks(10) {
            slices.publish(None, page, Vec::new()).await.unwrap();
        }
        slices.answered().await.unwrap();
    });
    eventually("a call is out", || world.vendor.calls().len() == 1).await;
    world.vendor.person_sets("cus_live", "Ada");
    world.notice("cus_live", "evt_1").await;
    let unanswered = world.records("requests.stripe").len();
    assert!(unanswered <= 5 * PARTITIONS as usize + 1, "{unanswered}");
    world.vendor.open_gate();
    tokio::time::timeout(Duration::from_secs(20), publishing).await.expect("in time").unwrap();
    let place = world.vendor.calls().iter().position(|call| call == "get cus_live").unwrap();
    assert!(place <= 3, "live ones go first: {place}");
    assert_eq!(world.vendor.calls_of("get"), 101);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_request_does_not_hold_up_a_backfill() {
    let world = World::new();
    for _ in 0..10_000 {
        let reply = connect::Reply::Unknown { reason: "reset".into(), retry_after: None };
        world.vendor.trouble("cus_stuck", vendor::Trouble::Instead(reply));
    }
    let running = world.run().await;
    world.notice("cus_stuck", "evt_1").await;
    let mut slices = Slices::with_limit(world.requests(), 5).await.unwrap();
    let work = async {
        slices.publish(None, &ids(0..60), Vec::new()).await.unwrap();
        slices.answered().await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("in time");
    running.stop().await;
}

#[tokio::test]
async fn a_cursor_survives_a_restart_and_goes_with_its_notices() {
    let world = World::new();
    let cursors = Cursors::open(&world.log.clone().into()).await.unwrap();
    assert_eq!(cursors.get("stripe.events"), None);
    cursors.set("stripe.events", "evt_1").await.unwrap();
    let record = cursors.record("stripe.events", "evt_2");
    world.requests().notices_and([(ExternalId::new("cus_1"), Vec::new())], [record]).await.unwrap();
    cursors.appended("stripe.events", "evt_2");
    assert_eq!(cursors.get("stripe.events").as_deref(), Some("evt_2"));
    drop(cursors);
    let world = world.restart();
    assert_eq!(Cursors::open(&world.log.clone().into()).await.unwrap().get("stripe.events").as_deref(), Some("evt_2"));
}

fn walks(world: &World) -> Vec<(i32, String)> {
    let codec = world.registry.codec::<UnifyMessage>(&value_subject("customers.unify")).unwrap();
    let walk = |record: ConsumerRecord| match codec.decode(&record.value?).unwrap().body {
        UnifyBody::Walk(walk) => Some((record.partition, walk.reason)),
        _ => None,
    };
    world.records("customers.unify").into_iter().filter_map(walk).collect()
}

/// The topology has processed a topic up to its end.
async fn process(world: &World, topic: &str) {
    for partition in 0..PARTITIONS {
        let tp = TopicPartition::new(topic, partition);
        let end = world.log.end_offset(&tp).unwrap();
        world.log.append(Append::default().with_offset("app", tp, end)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_waits_for_the_topology_and_is_announced_once() {
    let world = World::new();
    for topic in ["customers.stripe", "customers.identify"] {
        world.log.append(Append::of([ProducerRecord::new(topic, "a", "1")])).await.unwrap();
    }
    let walk = async || {
        let log = world.log.clone().into();
        Walks::new(&log, &world.registry, &Cursors::open(&log).await.unwrap(), "app").unwrap()
    };
    let importing = tokio::spawn({
        let walks = walk().await;
        async move { walks.import(&system()).await }
    });
    process(&world, "customers.identify").await;
    process(&world, "customers.stripe").await;
    // A link that the last result brought: written before its input was committed.
    world.log.append(Append::of([ProducerRecord::new("links.stripe", "a", "1")])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(!importing.is_finished() && walks(&world).is_empty(), "the link is not processed");
    process(&world, "links.stripe").await;
    tokio::time::timeout(Duration::from_secs(10), importing).await.expect("in time").unwrap().unwrap();
    let import = |partition| (partition, "import".to_owned());
    assert_eq!(walks(&world), [import(0), import(1), import(2)]);
    walk().await.import(&system()).await.unwrap();
    assert_eq!(walks(&world).len(), 3, "the flag is stored with them");
    assert!(walk().await.imported(&system()));
}

#[tokio::test]
async fn a_changed_configuration_is_a_walk_also_when_it_comes_back() {
    let world = World::new();
    for hash in ["a", "a", "b", "b", "a"] {
        let cursors = Cursors::open(&world.log.clone().into()).await.unwrap();
        let walks = Walks::new(&world.log.clone().into(), &world.registry, &cursors, "app").unwrap();
        walks.configured(&system(), hash).await.unwrap();
    }
    let reasons: Vec<String> = walks(&world).into_iter().filter(|(partition, _)| *partition == 0).map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["b#1", "a#2"], "a reason that a partition has had would be ignored");
}
