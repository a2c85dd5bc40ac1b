//! Requests in, results out.

use super::*;
use schemas::{Create, Delete};

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_leads_to_a_look() {
    let world = World::new();
    world.vendor.person_sets("cus_1", "Ada");
    let running = world.run().await;
    world.notice("cus_1", "evt_1").await;
    let results = world.until("cus_1", 1).await;
    assert_eq!((name(&results[0]), events(&results[0]), results[0].order), (Some("Ada"), vec!["evt_1"], Some(1)));
    eventually("the request is committed", || world.all_committed()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_upon_the_last_result_is_one_call() {
    let world = World::new();
    world.vendor.person_sets("cus_1", "Ada");
    let running = world.run().await;
    world.notice("cus_1", "evt_1").await;
    let order = world.until("cus_1", 1).await[0].order.unwrap();
    world.ask("cus_1", write(1, "Ada", "Ada L.", None, order)).await;
    let results = world.until("cus_1", 2).await;
    assert_eq!((name(&results[1]), outcome(&results[1])), (Some("Ada L."), Some(Outcome::Done)));
    assert_eq!(world.vendor.calls(), ["get cus_1", "update cus_1"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_is_published_and_read_at_once() {
    let world = World::new();
    let running = world.run().await;
    let id = WriteId::create(ada(), &system(), 0, 0);
    let set = [(Field::Name, Value::from("Ada"))].into_iter().collect();
    world.ask(&ada().to_string(), Action::Create(Create { key: id.key(), id, customer: ada(), set })).await;
    let results = world.until("new_1", 2).await;
    assert_eq!((results[0].order, outcome(&results[0])), (Some(0), Some(Outcome::Done)));
    assert!(results[1].order > Some(0) && results[1].answer.is_none(), "the look that it asked for");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_is_looked_at() {
    let world = World::new();
    world.vendor.person_sets("cus_1", "Ada");
    let running = world.run().await;
    let delete = Delete { id: WriteId::write(ada(), &system(), 1), customer: ada(), incarnation: 0 };
    world.ask("cus_1", Action::Delete(delete)).await;
    let results = world.until("cus_1", 1).await;
    assert_eq!((results[0].fields.clone(), outcome(&results[0])), (None, Some(Outcome::Done)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_only_read_refuses_what_would_change_it() {
    let world = World::new();
    world.vendor.person_sets("cus_1", "Ada");
    let runner = Runner::new(world.log.clone().into(), &world.registry, world.options(), world.vendor.clone(), None).await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(runner.run(stop.clone()));
    world.ask("cus_1", write(1, "Ada", "Ada L.", None, 0)).await;
    let results = world.until("cus_1", 1).await;
    assert_eq!((outcome(&results[0]), name(&results[0])), (Some(Outcome::Refused), Some("Ada")));
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_calls_a_second_than_allowed() {
    let world = World::new();
    let options = Options { calls_per_second: std::num::NonZeroU32::new(100), ..world.options() };
    for n in 0..40 {
        world.notice(&format!("cus_{n}"), "evt").await;
    }
    let started = std::time::Instant::now();
    let running = world.run_with(options).await;
    eventually("all are read", || world.all_committed()).await;
    assert!(started.elapsed() >= Duration::from_millis(280), "{:?}: 10 at once, the rest at 100/s", started.elapsed());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_goes_to_the_dead_letters_as_it_was() {
    let world = World::new();
    world.vendor.person_sets("cus_1", "Ada");
    let running = world.run().await;
    let garbage = ProducerRecord::new("requests.stripe", "cus_1", "garbage").with_timestamp(77);
    world.log.append(Append::of([garbage, ProducerRecord::tombstone("requests.stripe", "cus_1")])).await.unwrap();
    world.notice("cus_1", "evt_1").await;
    assert_eq!(world.until("cus_1", 1).await[0].order, Some(3));
    let dead = world.records("requests.stripe.dlq");
    assert_eq!(dead.len(), 2);
    assert_eq!((dead[0].value.as_deref(), dead[0].timestamp), (Some(&b"garbage"[..]), 77));
    assert_eq!(dead[0].headers.text("__streams.errors.offset"), Some("0"));
    assert_eq!(dead[0].headers.text("__streams.errors.topic"), Some("requests.stripe"));
    assert_eq!(dead[1].headers.text("__streams.errors.message"), Some("it has no value"));
    eventually("they are committed", || world.all_committed()).await;
    running.stop().await;
}
