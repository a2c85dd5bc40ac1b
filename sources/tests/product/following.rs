//! Every change is published, in its key's order, by what is there.

use crate::fixture::*;
use connect::Health;
use schemas::{Field, Value};
use sqlx::{Connection, Executor, PgConnection};
use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_is_published_with_what_it_was_and_soon() {
    let mut world = World::new(ACCOUNTS).await;
    world.run("INSERT INTO accounts (id, full_name, changed_at) VALUES (1, 'Ada', '2020-01-01T00:00:00Z')").await;
    let mut source = world.start().await;
    source.through().await;
    let first = world.await_news(1).await;
    assert_eq!(say(&first), ["1.0 Ada"]);
    assert_eq!((first[0].1.created, first[0].1.notices.len()), (1_577_836_800_000, 0), "a look, nobody's edit");

    let mut took = Vec::new();
    for n in 0..200 {
        let mut db = world.db.acquire().await.unwrap();
        db.execute(sqlx::AssertSqlSafe(format!("UPDATE accounts SET full_name = 'Ada {n}'"))).await.unwrap();
        let committed = Instant::now();
        let news = world.await_news(1).await;
        took.push(committed.elapsed());
        assert_eq!(news.len(), 1);
        let change = &news[0].1.notices[0].changes[0];
        assert_eq!((change.field.clone(), change.new.as_text().unwrap()), (Field::Name, format!("Ada {n}").as_str()));
    }
    took.sort();
    println!("from the commit to the log: p50 {:?}, p90 {:?}, p99 {:?}", took[100], took[180], took[198]);
    source.stop().await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM concord.outbox").fetch_one(&world.db).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_slow_transaction_is_neither_skipped_nor_does_it_hold_anybody_up() {
    let mut world = World::new(ACCOUNTS).await;
    let mut source = world.start().await;
    source.through().await;
    let mut slow = PgConnection::connect(&world.postgres.url()).await.unwrap();
    let mut open = slow.begin().await.unwrap();
    open.execute("INSERT INTO accounts (id, full_name) VALUES (1, 'slow')").await.unwrap();
    world.run("INSERT INTO accounts (id, full_name) VALUES (2, 'quick')").await;
    assert_eq!(say(&world.await_news(1).await), ["2.0 quick"]);
    open.execute("UPDATE accounts SET full_name = 'slower' WHERE id = 1").await.unwrap();
    world.run("UPDATE accounts SET full_name = 'quicker' WHERE id = 2").await;
    assert_eq!(say(&world.await_news(1).await), ["2.0 quicker"]);
    open.commit().await.unwrap();
    assert_eq!(say(&world.await_news(2).await), ["1.0 slow", "1.0 slower"]);
    source.stop().await;
}

#[tokio::test]
async fn what_commits_while_nobody_listens_is_published_later_and_nothing_twice() {
    let mut world = World::new(ACCOUNTS).await;
    let mut source = world.start().await;
    source.through().await;
    source.stop().await;
    world.run("INSERT INTO accounts (id, full_name) VALUES (1, 'a'), (2, 'b'); UPDATE accounts SET full_name = 'c' WHERE id = 1").await;
    let mut source = world.start().await;
    source.through().await;
    let news = world.await_news(3).await;
    let last = last_of_each(&news);
    assert_eq!(last["1"].fields.as_ref().unwrap().name.as_deref(), Some("c"));
    world.run("UPDATE accounts SET full_name = 'd' WHERE id = 2").await;
    assert_eq!(say(&world.await_news(1).await), ["2.0 d"]);
    source.stop().await;
}

#[tokio::test]
async fn a_bulk_update_is_published_row_by_row_each_once() {
    let rows = 5_000;
    let mut world =
        World::new(&format!("{ACCOUNTS} INSERT INTO accounts (full_name) SELECT 'P' || n FROM generate_series(1, {rows}) n")).await;
    let mut source = world.start().await;
    source.through().await;
    let mut orders: HashMap<String, Option<i64>> = world.await_news(rows).await.into_iter().map(|(id, r)| (id, r.order)).collect();
    let mut events = BTreeSet::new();
    // The second comes on top of the first before anything is published.
    world
        .run("BEGIN; UPDATE accounts SET full_name = full_name || '!', changed_at = '2021-01-01T00:00:00Z'; UPDATE accounts SET plan = 'p' || id; COMMIT")
        .await;
    let news = world.await_news(2 * rows).await;
    assert_eq!(news.len(), 2 * rows);
    for (n, (id, result)) in news.into_iter().enumerate() {
        let change = &result.notices[0].changes[0];
        let told = (change.field.to_string(), change.previous.as_ref().map(|p| p.value.clone()), change.new.clone());
        let name = |mark: &str| Value::from(format!("P{id}{mark}"));
        let plan = result.fields.as_ref().unwrap().attributes.get("plan").cloned();
        if plan.is_none() {
            assert_eq!(told, ("name".into(), Some(name("")), name("!")));
        } else {
            assert_eq!(told, ("attributes.plan".into(), Some(Value::Empty), Value::from(format!("p{id}"))));
        }
        assert_eq!(result.fields.as_ref().unwrap().name, Some(format!("P{id}!")));
        assert_eq!((result.created, result.notices.len(), result.notices[0].changes.len()), (1_609_459_200_000, 1, 1));
        assert!(orders.insert(id.clone(), result.order) < Some(result.order), "{n}: {id}");
        assert!(events.insert(result.notices[0].event_id.clone()), "{n}: {id}");
    }
    source.stop().await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM concord.outbox").fetch_one(&world.db).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn what_is_published_again_after_a_failed_removal_is_the_same() {
    let mut world =
        World::new(&format!("{ACCOUNTS} INSERT INTO accounts (full_name) SELECT 'P' || n FROM generate_series(1, 100) n")).await;
    let mut source = world.start().await;
    source.through().await;
    world.await_news(100).await;
    world
        .run(
            "CREATE FUNCTION concord.stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stay'; END $$;
             CREATE TRIGGER stay BEFORE DELETE ON concord.outbox EXECUTE FUNCTION concord.stay();
             UPDATE accounts SET full_name = full_name || '!'",
        )
        .await;
    let news = world.await_news(200).await;
    let told: BTreeSet<_> = news.iter().map(|(id, r)| (&r.notices[0].event_id, id, r.order)).collect();
    let events: BTreeSet<_> = told.iter().map(|(event, ..)| event).collect();
    assert_eq!((told.len(), events.len()), (100, 100), "an event id for each row, whenever it is published");
    world.run("DROP TRIGGER stay ON concord.outbox").await;
    source.health.wait_for(|h| *h == Health::Ok).await.unwrap();
    world.run("UPDATE accounts SET full_name = 'last' WHERE id = 1").await;
    let mut last = world.await_news(1).await;
    while last.last().unwrap().1.fields.as_ref().unwrap().name.as_deref() != Some("last") {
        last.extend(world.await_news(1).await);
    }
    source.stop().await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM concord.outbox").fetch_one(&world.db).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_truncated_table_is_swept_also_for_what_was_never_inserted_before_our_eyes() {
    let mut world = World::new(&format!("{ACCOUNTS} INSERT INTO accounts (id, full_name) VALUES (1, 'old'), (2, 'older')")).await;
    let mut source = world.start().await;
    source.through().await;
    world.run("INSERT INTO accounts (id, full_name) VALUES (3, 'new')").await;
    world.run("INSERT INTO concord.crosswalk (system, external_id, customer_id, version) SELECT 'product', n::text, gen_random_uuid(), 1 FROM generate_series(1, 2) n").await;
    world.await_news(3).await;
    world.run("TRUNCATE accounts; INSERT INTO accounts (id, full_name) VALUES (2, 'again')").await;
    let last = last_of_each(&world.await_news(4).await);
    let name = |id: &str| last[id].fields.as_ref().map(|f| f.name.clone().unwrap());
    assert_eq!((name("1"), name("2"), name("3")), (None, Some("again".into()), None));
    source.stop().await;
}

#[tokio::test]
async fn a_restored_backup_pauses_the_product_and_says_how_to_go_on() {
    let mut world = World::new(ACCOUNTS).await;
    let mut source = world.start().await;
    source.through().await;
    world.run("INSERT INTO accounts (id, full_name) SELECT n, 'x' FROM generate_series(1, 20) n").await;
    world.await_news(20).await;
    source.stop().await;
    world.run("SELECT setval('concord.outbox_number', 5)").await;
    world.run("UPDATE accounts SET full_name = 'from the backup' WHERE id = 1").await;
    let mut source = world.start().await;
    let health = source.health.wait_for(|h| *h != Health::Ok).await.unwrap().to_string();
    assert!(health.contains("restored from a backup") && health.contains("setval"), "{health}");
    assert_eq!(world.news().len(), 0);
    world.run("SELECT setval('concord.outbox_number', 100)").await;
    source.health.wait_for(|h| *h == Health::Ok).await.unwrap();
    source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_nothing() {
    let mut world = World::new(ACCOUNTS).await;
    let mut source = world.start().await;
    source.through().await;
    let mut committed = 0;
    for round in 0..3 {
        for n in 0..20 {
            world.run(&format!("INSERT INTO accounts (full_name) VALUES ('{round} {n}')")).await;
            committed += 1;
        }
        world.postgres.kill().unwrap();
        source.health.wait_for(|h| *h != Health::Ok).await.unwrap();
        world.postgres.launch().unwrap();
        source.health.wait_for(|h| *h == Health::Ok).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while world.db.execute("SELECT 1").await.is_err() {
            assert!(Instant::now() < deadline);
        }
    }
    // Some may be published twice, with the same number.
    let mut orders = std::collections::BTreeSet::new();
    while orders.len() < committed {
        orders.extend(world.await_news(1).await.into_iter().map(|(id, r)| (id, r.order)));
    }
    assert_eq!(orders.len(), committed);
    source.stop().await;
}
