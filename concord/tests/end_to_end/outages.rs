//! Postgres away, Stripe away, the disk full, during load: nothing is lost, health says so, and it recovers by itself.

use crate::world::{Plan, World};
use sandbox::{Options as SandboxOptions, Sandbox, Target};
use serde_json::json;
use std::{process::Command, time::Duration};

/// User and system time of a process, in seconds.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks: f64 =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// CPU seconds that it uses in a while of outage: a spin would use all of it.
async fn cpu_in_a_while(world: &World) -> f64 {
    let before = cpu_seconds(world.pid());
    tokio::time::sleep(Duration::from_secs(3)).await;
    cpu_seconds(world.pid()) - before
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_postgres_goes_away_and_comes_back() {
    let world = World::running(Plan { postgres: sandbox::postgres::Options { fsync: true, ..Default::default() }, ..Plan::usual() }).await;
    world.add(json!({"id": "ada", "name": "Ada", "email": "ada@example.com"})).await;
    world.until("ada is in Stripe", async |w: &World| w.stripe_by_email("ada@example.com").len() == 1).await;
    let id = world.stripe_by_email("ada@example.com")[0]["id"].as_str().unwrap().to_string();

    world.postgres.kill().unwrap();
    world.until("/readyz says so", async |w: &World| w.status("/readyz").await == Some(503)).await;
    assert_eq!(world.status("/healthz").await, Some(200));
    // Edits in Stripe go on meanwhile; their webhooks are taken.
    for n in 0..20 {
        world.stripe().update(&id, json!({"phone": format!("+44 {n}")})).unwrap();
        world.stripe().create(json!({"name": format!("New {n}"), "email": format!("new{n}@example.com")})).unwrap();
    }
    world.until("every webhook is taken", async |w: &World| w.stripe().pending_webhooks() == 0).await;
    let spent = cpu_in_a_while(&world).await;
    assert!(spent < 1.5, "it spins: {spent} CPU seconds in three");

    world.postgres.launch().unwrap();
    world.until("it recovers by itself", async |w: &World| w.status("/readyz").await == Some(200)).await;
    world
        .until("everything is in the product", async |w: &World| {
            w.rows("select 1 from public.customers where phone = '+44 19'").await.len() == 1
                && w.rows("select 1 from public.customers").await.len() == 21
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_stripe_goes_away_and_comes_back() {
    let mut world = World::running(Plan::usual()).await;
    world.add(json!({"id": "ada", "name": "Ada", "email": "ada@example.com"})).await;
    world.until("ada is in Stripe", async |w: &World| w.stripe_by_email("ada@example.com").len() == 1).await;

    let at = world.stripe_at;
    world.stripe.take().unwrap().shutdown().await;
    for n in 0..20 {
        world.sql(&format!("update public.customers set phone = '+44 {n}' where id = 'ada'")).await;
        world.sql(&format!("insert into public.customers (id, name, email) values ('n{n}', 'New {n}', 'new{n}@example.com')")).await;
    }
    world
        .until("status says degraded, with 200", async |w: &World| {
            let (status, body) = w.ask(reqwest::Method::GET, "/readyz", None).await;
            status == 200 && body["components"]["stripe"]["status"] == "degraded"
        })
        .await;
    let spent = cpu_in_a_while(&world).await;
    assert!(spent < 1.5, "it spins: {spent} CPU seconds in three");

    let webhook = format!("http://{}/api/v1/myproduct/stripewebhook/", world.listen);
    let options = SandboxOptions {
        listen: at,
        key: crate::world::KEY.into(),
        webhook: Some(Target::new(webhook, crate::world::SECRET)),
        state: Some(world.folder.path().join("stripe.json")),
        ..SandboxOptions::default()
    };
    world.stripe = Some(Sandbox::start(options).await.unwrap());
    world
        .until("everything is in Stripe", async |w: &World| {
            w.in_stripe().len() == 21 && w.stripe_by_email("ada@example.com")[0]["phone"] == "+44 19"
        })
        .await;
    world.until("and well again", async |w: &World| w.get("/readyz").await["status"] == "ok").await;
}

/// A small file system, unmounted when dropped.
struct SmallDisk(std::path::PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_the_disk_fills_and_is_freed() {
    let mut world = World::prepared(Plan::usual()).await;
    std::fs::create_dir_all(&world.data).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(&world.data).output();
    if !mounted.as_ref().is_ok_and(|done| done.status.success()) {
        eprintln!("not run: mounting a small tmpfs needs root ({mounted:?})");
        return;
    }
    let disk = SmallDisk(world.data.clone());
    world.start().await;
    world.add(json!({"id": "ada", "name": "Ada", "email": "ada@example.com"})).await;
    world.until("ada is in Stripe", async |w: &World| w.stripe_by_email("ada@example.com").len() == 1).await;
    let id = world.stripe_by_email("ada@example.com")[0]["id"].as_str().unwrap().to_string();

    // Somebody else fills the disk.
    let filler = world.data.join("filler");
    let filled = Command::new("dd").args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", filler.display())).output().unwrap();
    assert!(!filled.status.success(), "dd stops where the disk is full");
    for n in 0..30 {
        world.stripe().update(&id, json!({"phone": format!("+44 {n}")})).unwrap();
        world.sql(&format!("insert into public.customers (id, name, email) values ('n{n}', 'New {n}', 'new{n}@example.com')")).await;
    }
    world
        .until("/readyz says so", async |w: &World| {
            let (status, body) = w.ask(reqwest::Method::GET, "/readyz", None).await;
            status == 503 && body["components"]["log"]["status"] == "unavailable"
        })
        .await;
    assert!(world.stripe().pending_webhooks() > 0, "webhooks are answered 503, and wait at Stripe");
    let spent = cpu_in_a_while(&world).await;
    assert!(spent < 1.5, "it spins: {spent} CPU seconds in three");
    assert!(world.alive());

    std::fs::remove_file(&filler).unwrap();
    world.until("it recovers by itself", async |w: &World| w.status("/readyz").await == Some(200)).await;
    world
        .until("nothing is lost", async |w: &World| {
            w.in_stripe().len() == 31 && w.rows("select 1 from public.customers where id = 'ada' and phone = '+44 29'").await.len() == 1
        })
        .await;
    world.kill();
    drop(disk);
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_an_empty_data_folder_beside_the_same_database_is_filled_anew() {
    let mut world = World::running(Plan::usual()).await;
    world.add(json!({"id": "ada", "name": "Ada", "email": "ada@example.com"})).await;
    for n in 0..5 {
        world.sql(&format!("update public.customers set name = 'Ada {n}' where id = 'ada'")).await;
        let name = format!("Ada {n}");
        world.until("Stripe has it", async |w: &World| w.stripe_by_email("ada@example.com").iter().any(|c| c["name"] == *name)).await;
    }
    let version = async |w: &World| {
        let rows = w.rows("select version from concord.customers where email = 'ada@example.com'").await;
        rows.first().and_then(|row| row["version"].as_i64())
    };
    world.until("the golden tables have it", async |w: &World| version(w).await.is_some_and(|v| v > 5)).await;
    let before = version(&world).await;
    world.terminate();
    // Of the former life, and of nobody who is in any system.
    world.sql("insert into concord.crosswalk (system, external_id, customer_id, version) select 'crm', '7', customer_id, 99 from concord.customers").await;
    std::fs::remove_dir_all(&world.data).unwrap();

    world.start().await;
    world
        .until("ada is in step, as in a new log", async |w: &World| {
            let found = w.get("/api/v1/customers?email=ada@example.com").await;
            let all = found.as_array().unwrap();
            let in_step = |system: &str| all[0]["records"][system]["in_step"] == true;
            all.len() == 1 && in_step("product") && in_step("stripe") && version(w).await < before
        })
        .await;
    assert!(world.rows("select 1 from concord.crosswalk where system = 'crm'").await.is_empty());
    assert_eq!(world.in_stripe().len(), 1, "she is there once");

    // Stripe and the product's fence remember the writes of the former log; those of this one are others.
    let id = world.in_stripe()[0]["id"].as_str().unwrap().to_string();
    for n in 0..3 {
        let (name, phone) = (format!("Countess {n}"), format!("+44 {n}"));
        world.sql(&format!("update public.customers set name = '{name}' where email = 'ada@example.com'")).await;
        world.until("Stripe has the name", async |w: &World| w.stripe().customer(&id).unwrap()["name"] == *name).await;
        world.stripe().update(&id, json!({ "phone": phone })).unwrap();
        let there = format!("select 1 from public.customers where phone = '{phone}'");
        world.until("the product has the phone", async |w: &World| w.rows(&there).await.len() == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_golden_tables_that_a_backup_put_back_are_filled_from_there_on() {
    const TABLES: [&str; 4] = ["customers", "crosswalk", "conflicts", "golden"];
    let mut world = World::running(Plan::usual()).await;
    let golden = async |w: &World, name: &str| w.rows(&format!("select 1 from concord.customers where name = '{name}'")).await.len() == 1;
    world.add(json!({"id": "ada", "name": "Ada", "email": "ada@example.com"})).await;
    world.until("ada is golden", async |w: &World| golden(w, "Ada").await).await;
    world.terminate();
    for table in TABLES {
        world.sql(&format!("create table public.saved_{table} as select * from concord.{table}")).await;
    }
    world.start().await;
    world.add(json!({"id": "bob", "name": "Bob", "email": "bob@example.com"})).await;
    world.sql("update public.customers set name = 'Ada L.' where id = 'ada'").await;
    world.until("so are bob, and her new name", async |w: &World| golden(w, "Bob").await && golden(w, "Ada L.").await).await;
    world.until("both are in Stripe", async |w: &World| w.in_stripe().len() == 2).await;

    // The database as it was before, while nobody edits anything.
    let restore = async |w: &World| {
        w.sql("alter table concord.conflicts alter column seq set generated by default").await;
        for table in TABLES {
            w.sql(&format!("delete from concord.{table}")).await;
            w.sql(&format!("insert into concord.{table} select * from public.saved_{table}")).await;
        }
        assert!(golden(w, "Ada").await && !golden(w, "Bob").await);
    };
    world.terminate();
    restore(&world).await;
    world.start().await;
    world.until("all is there again", async |w: &World| golden(w, "Bob").await && golden(w, "Ada L.").await).await;
}
