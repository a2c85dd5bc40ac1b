//! The process stops in good order, or dies: nothing is lost, and each record's order is kept.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_calls_under_way_finish_and_publishes_them() {
    let world = World::new();
    world.vendor.person_sets("cus_1", "Ada");
    world.vendor.close_gate();
    let running = world.run_with(Options { timeout: Duration::from_secs(30), ..world.options() }).await;
    world.notice("cus_1", "evt_1").await;
    eventually("the call is out", || world.vendor.calls_of("get") == 1).await;
    running.stop.cancel();
    world.notice("cus_2", "evt_2").await;
    world.vendor.open_gate();
    running.stop().await;
    assert_eq!((world.results("cus_1").len(), world.vendor.calls_of("get")), (1, 1), "and nothing new is begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_ever() {
    let world = World::new();
    world.vendor.trouble("cus_1", vendor::Trouble::Hangs);
    let options = Options { timeout: Duration::from_secs(3600), drain: Duration::from_millis(100), ..world.options() };
    let running = world.run_with(options).await;
    world.notice("cus_1", "evt_1").await;
    eventually("the call is out", || world.vendor.calls_of("get") == 1).await;
    running.stop().await;
    let again = world.run().await;
    assert_eq!(events(&world.until("cus_1", 1).await[0]), ["evt_1"], "its request runs again");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_dies_with_the_process_is_found_done() {
    let world = World::new();
    world.vendor.person_sets("cus_1", "Ada");
    let running = world.run().await;
    world.notice("cus_1", "evt_1").await;
    let order = world.until("cus_1", 1).await[0].order.unwrap();
    world.vendor.trouble("cus_1", vendor::Trouble::LostAnswer);
    for _ in 0..100 {
        world.vendor.trouble("cus_1", vendor::Trouble::Hangs);
    }
    world.ask("cus_1", write(1, "Ada", "Ada L.", None, order)).await;
    eventually("it has landed", || world.vendor.name("cus_1").as_deref() == Some("Ada L.")).await;
    running.kill().await;
    let world = world.restart();
    world.vendor.clear_troubles();
    let again = world.run().await;
    let results = world.until("cus_1", 2).await;
    assert_eq!((name(&results[1]), outcome(&results[1])), (Some("Ada L."), Some(Outcome::Done)));
    assert_eq!(results[1].answer.as_ref().unwrap().left, None, "a look found it");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deaths_at_random_lose_no_request_and_keep_each_records_order() {
    let mut world = World::new();
    let ids: Vec<String> = (0..12).map(|n| format!("cus_{n}")).collect();
    for round in 0..8 {
        let running = world.run().await;
        for n in 0..6 {
            for id in &ids {
                if (round + n) % 3 == 0 {
                    world.vendor.trouble(id, vendor::Trouble::LostAnswer);
                }
                world.vendor.person_sets(id, &format!("{round}.{n}"));
                world.notice(id, &format!("{round}.{n}")).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        running.kill().await;
        world = world.restart();
    }
    let running = world.run().await;
    eventually("everything is answered", || world.all_committed()).await;
    running.stop().await;
    for id in &ids {
        let results = world.results(id);
        let told: std::collections::BTreeSet<&str> = results.iter().flat_map(events).collect();
        assert_eq!(told.len(), 48, "every notice came with a result of {id}");
        assert_eq!(results.last().and_then(name), Some("7.5"));
        // After a death some come again; what is published is never overtaken by what was there before it.
        let mut newest = 0;
        for result in &results {
            let order = result.order.unwrap();
            newest = newest.max(order);
            assert!(result.look > 0);
        }
        let ends = world.records("requests.stripe").into_iter().filter(|r| r.key.as_deref() == Some(id.as_bytes()));
        assert_eq!(ends.map(|r| r.offset + 1).max(), Some(newest));
    }
}
