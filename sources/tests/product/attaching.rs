//! Attaching to a table in use: 50,000 rows, other column names, a bigserial key, a unique e-mail, a trigger of its
//! owner's, and a transaction that stays open for long. Nobody is held up, nothing is skipped or doubled.

use crate::fixture::*;
use sqlx::{Connection, Executor, PgConnection};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

const ROWS: usize = 50_000;
/// How long the first transaction stays open, and the one that the backfill meets.
const OPEN: Duration = Duration::from_secs(15);
const OPEN_MEANWHILE: Duration = Duration::from_secs(5);
const HELD_UP: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_in_use_is_attached_to_without_holding_anybody_up() {
    let owners = format!(
        "{ACCOUNTS}
        CREATE TABLE bystander (id int PRIMARY KEY, note text);
        INSERT INTO bystander VALUES (1, '');
        CREATE TABLE audit (account bigint, at timestamptz DEFAULT now());
        CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            NEW.changed_at := now(); INSERT INTO audit (account) VALUES (NEW.id); RETURN NEW; END $$;
        CREATE TRIGGER audit BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION audit();
        INSERT INTO accounts (full_name, mail) SELECT 'P' || n, n || '@x' FROM generate_series(1, {ROWS}) n;"
    );
    let mut world = World::new(&owners).await;
    // Somebody has rows locked and a row inserted before anybody attaches, and commits much later.
    let mut slow = PgConnection::connect(&world.postgres.url()).await.unwrap();
    let mut open = slow.begin().await.unwrap();
    open.execute("UPDATE accounts SET full_name = 'slow' WHERE id IN (7, 40000); INSERT INTO accounts (full_name) VALUES ('slow new')")
        .await
        .unwrap();

    let done = AtomicBool::new(false);
    let writer = async |which: usize| {
        let mut db = PgConnection::connect(&world.postgres.url()).await.unwrap();
        let (mut longest, mut writes) = (Duration::ZERO, 0u32);
        while !done.load(Ordering::Relaxed) {
            // Of its own rows: writers do not wait for each other, nor for the slow one.
            let id = 10 + which + 4 * ((writes as usize * 997) % (ROWS / 4 - 10));
            let id = if id == 40_000 { 10 + which } else { id };
            let started = Instant::now();
            sqlx::query("UPDATE accounts SET full_name = $1 WHERE id = $2")
                .bind(format!("w{which} {writes}"))
                .bind(id as i64)
                .execute(&mut db)
                .await
                .unwrap();
            longest = longest.max(started.elapsed());
            writes += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        (longest, writes)
    };
    let mut source = world.start().await;
    let story = async {
        tokio::time::sleep(OPEN).await;
        assert!(*source.backfill.borrow() != sources::product::Backfill::Through, "it waits for the open transaction");
        open.commit().await.unwrap();
        let mut again = PgConnection::connect(&world.postgres.url()).await.unwrap();
        let mut open = again.begin().await.unwrap();
        // Now one that is open while the backfill goes by.
        open.execute("UPDATE accounts SET full_name = 'late' WHERE id = 8").await.unwrap();
        tokio::time::sleep(OPEN_MEANWHILE).await;
        open.commit().await.unwrap();
        tokio::time::timeout(Duration::from_secs(120), source.through()).await.expect("it comes to its end");
        done.store(true, Ordering::Relaxed);
    };
    // What a write to a table of nobody's takes meanwhile: so long does the machine itself hold people up.
    let bystander = async {
        let mut db = PgConnection::connect(&world.postgres.url()).await.unwrap();
        let mut longest = Duration::ZERO;
        while !done.load(Ordering::Relaxed) {
            let started = Instant::now();
            db.execute("UPDATE bystander SET note = md5(note) WHERE id = 1").await.unwrap();
            longest = longest.max(started.elapsed());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        longest
    };
    let ((), one, two, machine) = tokio::join!(story, writer(0), writer(1), bystander);
    let longest = one.0.max(two.0);
    println!("{} writes while attaching and reading {ROWS} rows; the longest took {longest:?}, of a bystander {machine:?}", one.1 + two.1);
    assert!(longest < HELD_UP + machine, "a writer was held up for {longest:?}, a bystander for {machine:?}");

    // A last edit, behind which everything is published.
    world.run("UPDATE accounts SET full_name = 'last' WHERE id = 1").await;
    let mut news = world.await_news(ROWS + 1).await;
    while !news.iter().any(|(id, r)| id == "1" && r.fields.as_ref().is_some_and(|f| f.name.as_deref() == Some("last"))) {
        news.extend(world.await_news(1).await);
    }
    let published = last_of_each(&news);
    let rows: Vec<(i64, String)> = sqlx::query_as("SELECT id, full_name FROM accounts").fetch_all(&world.db).await.unwrap();
    assert_eq!((rows.len(), published.len()), (ROWS + 1, ROWS + 1));
    for (id, name) in rows {
        assert_eq!(published[&id.to_string()].fields.as_ref().unwrap().name, Some(name), "{id}");
    }
    // Each row was read once; every other result is somebody's edit.
    let mut looks: HashMap<&str, usize> = HashMap::new();
    for (id, result) in &news {
        *looks.entry(id).or_default() += usize::from(result.notices.is_empty());
    }
    assert_eq!(looks.values().filter(|n| **n > 1).count(), 0, "no row is read twice");
    source.stop().await;
}
