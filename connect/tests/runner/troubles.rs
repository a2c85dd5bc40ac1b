//! The system misbehaves; each trouble stays where it is.

use super::*;
use connect::{Refusal, Reply};
use vendor::Trouble;

fn reset() -> Trouble {
    Trouble::Instead(Reply::Unknown { reason: "reset".into(), retry_after: None })
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_repeated_until_their_outcome_is_known_and_made_once() {
    let world = World::new();
    world.vendor.person_sets("cus_1", "Ada");
    let running = world.run().await;
    world.notice("cus_1", "evt_1").await;
    let order = world.until("cus_1", 1).await[0].order.unwrap();
    for trouble in [reset(), Trouble::Panics, Trouble::LostAnswer] {
        world.vendor.trouble("cus_1", trouble);
    }
    world.ask("cus_1", write(1, "Ada", "Ada L.", None, order)).await;
    let results = world.until("cus_1", 2).await;
    assert_eq!((name(&results[1]), outcome(&results[1])), (Some("Ada L."), Some(Outcome::Done)));
    assert_eq!(world.vendor.calls_of("update"), 4);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_is_given_up_and_repeated() {
    let world = World::new();
    world.vendor.trouble("cus_1", Trouble::Hangs);
    let running = world.run().await;
    world.notice("cus_1", "evt_1").await;
    world.until("cus_1", 1).await;
    assert_eq!(world.vendor.calls_of("get"), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_hint_holds_all_calls() {
    let world = World::new();
    world.vendor.trouble("cus_1", Trouble::Instead(Reply::Busy { reason: "429".into(), retry_after: Some(300) }));
    let mut running = world.run().await;
    world.notice("cus_1", "evt_1").await;
    running.until(|health| matches!(health, Health::Degraded(_))).await;
    let held = std::time::Instant::now();
    world.notice("cus_2", "evt_2").await;
    world.until("cus_2", 1).await;
    assert!(held.elapsed() >= Duration::from_millis(200), "{:?}", held.elapsed());
    world.until("cus_1", 1).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_records_trouble_is_nobody_elses() {
    let world = World::new();
    for _ in 0..1_000 {
        world.vendor.trouble("cus_bad", reset());
    }
    let running = world.run().await;
    world.notice("cus_bad", "evt_1").await;
    for n in 0..50 {
        let id = format!("cus_{n}");
        world.vendor.person_sets(&id, "Ada");
        world.notice(&id, "evt").await;
    }
    for n in 0..50 {
        world.until(&format!("cus_{n}"), 1).await;
    }
    assert!(world.results("cus_bad").is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_request_becomes_a_dead_letter_and_the_next_one_goes_on() {
    let world = World::new();
    for _ in 0..5 {
        let refusal = Refusal { reason: "malformed id".into(), ..Refusal::default() };
        world.vendor.trouble("cus_1", Trouble::Instead(Reply::Refused(refusal)));
    }
    let running = world.run().await;
    world.notice("cus_1", "evt_1").await;
    eventually("it is dead", || world.records("requests.stripe.dlq").len() == 1).await;
    let dead = &world.records("requests.stripe.dlq")[0];
    assert_eq!(dead.headers.text("__streams.errors.message"), Some("get: malformed id"));
    assert_eq!(dead.value, world.records("requests.stripe")[0].value);
    world.notice("cus_1", "evt_2").await;
    assert_eq!(events(&world.until("cus_1", 1).await[0]), ["evt_2"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_credentials_pause_the_system_and_it_recovers_by_itself() {
    let world = World::new();
    world.vendor.revoke(true);
    let mut running = world.run().await;
    for n in 0..20 {
        world.notice(&format!("cus_{n}"), "evt").await;
    }
    let paused = running.until(|health| matches!(health, Health::Paused(_))).await;
    assert_eq!(paused, Health::Paused("credentials are not accepted: no such key".into()));
    let before = world.vendor.calls().len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let probes = world.vendor.calls().len() - before;
    assert!(probes <= 20, "{probes} probes with pauses of 20 ms and more, not 20 records' retries");
    world.vendor.revoke(false);
    running.until(|health| *health == Health::Ok).await;
    eventually("everything is answered", || world.all_committed()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_away_is_probed_and_recovers_by_itself() {
    let world = World::new();
    for _ in 0..60 {
        world.vendor.trouble("", reset());
    }
    let mut running = world.run().await;
    for n in 0..20 {
        world.notice(&format!("cus_{n}"), "evt").await;
    }
    running.until(|health| matches!(health, Health::Degraded(reason) if reason.contains("no answers"))).await;
    eventually("everything is answered", || world.all_committed()).await;
    running.until(|health| *health == Health::Ok).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_takes_nothing_pauses_the_system_and_nothing_is_lost() {
    let world = World::new();
    world.run().await.stop().await;
    for n in 0..60 {
        world.notice(&format!("cus_{n}"), "evt").await;
    }
    let world = world.restart_on_a_full_disk();
    let options = Options { calls: 4, calls_per_second: std::num::NonZeroU32::new(100), ..world.options() };
    let mut running = world.run_with(options).await;
    running.until(|health| matches!(health, Health::Paused(reason) if reason.contains("the log takes nothing"))).await;
    let before = world.vendor.calls().len();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let more = world.vendor.calls().len() - before;
    assert!(more <= 4, "{more} calls: no more than were under way, since nobody could keep their answers");
    running.stop().await;
    let world = world.restart();
    let running = world.run().await;
    for n in 0..60 {
        world.until(&format!("cus_{n}"), 1).await;
    }
    running.stop().await;
}
