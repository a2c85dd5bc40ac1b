//! `concord deploy`: all of it, then nothing; every kind of drift; and the way back.

use crate::world::{Plan, World};
use schemas::{Registry, SchemaRecord};
use serde_json::Value as Json;
use std::{net::TcpListener, process::Stdio, time::Duration};
use streams::{
    ProducerRecord,
    embedded::{Append, Log, Options, TopicConfig},
};

const USUAL: &str = "[systems.product]\nkind = \"postgres\"\n[systems.stripe]\nkind = \"stripe\"\n";

fn run(world: &World, args: &[&str]) -> (i32, String, String) {
    let done = world.command().arg("deploy").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// The steps of a dry run that are not as they must be: part, name, state, what it says.
fn drift(world: &World) -> Vec<(String, String, String, String)> {
    let (_, out, err) = run(world, &["--dry-run", "--json"]);
    let told: Json = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out} {err}"));
    let word = |step: &Json, key: &str| step[key].as_str().unwrap().to_owned();
    let steps = told["steps"].as_array().unwrap().iter().filter(|step| step["state"] != "same");
    steps.map(|step| (word(step, "part"), word(step, "name"), word(step, "state"), word(step, "says"))).collect()
}

/// What nobody runs.
fn log(world: &World) -> Log {
    Log::open(&world.data, Options { min_free_bytes: 0, ..Options::default() }).unwrap()
}

/// Puts a schema into the log's registry, as another build would have.
fn registered(world: &World, subject: &str, schema: &str) {
    let log = log(world);
    let (_, records) = Registry::new().register(subject, schema).unwrap();
    log.create_topic(TopicConfig::compact("_schemas", 1)).unwrap();
    let record = |SchemaRecord { key, value }| ProducerRecord::new("_schemas", key, value.unwrap()).with_partition(0);
    log.append_blocking(Append::of(records.into_iter().map(record))).unwrap();
    log.close();
}

fn configured(world: &World, top: &str) {
    std::fs::write(world.folder.path().join("concord.toml"), format!("{top}\n{USUAL}")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_a_deployment_does_all_then_nothing_and_finds_every_drift() {
    let mut world = World::prepared(Plan { config: Some(USUAL.into()), ..Plan::usual() }).await;
    let schema_is_there = async |w: &World| w.rows("select 1 from pg_namespace where nspname = 'concord'").await.len() == 1;

    // A dry run tells everything, and does nothing.
    let (code, out, err) = run(&world, &["--dry-run"]);
    assert!(code == 2 && err.is_empty(), "{code} {out} {err}");
    for line in [
        "create  topic     customers.unified: 4 partitions, compact",
        "create  topic     customers.stripe: 4 partitions, delete after 7 days",
        "create  schema    customers.unified-value: its first version",
        "create  postgres  schema concord: migrations 0001 concord, 0002 chunks, 0003 json, 0004 golden",
        "create  postgres  public.customers: the table, with its triggers",
    ] {
        assert!(out.lines().any(|l| l == line), "{line} is not in {out}");
    }
    assert!(!world.data.exists() && !schema_is_there(&world).await);

    // The first does it all, the second finds nothing to do; and neither does the process that then runs.
    let (code, out, err) = run(&world, &[]);
    assert!(code == 0 && out.contains(" done\n"), "{out} {err}");
    for args in [&[][..], &["--dry-run"]] {
        let (code, out, err) = run(&world, args);
        assert!(code == 0 && out.ends_with("nothing to do\n") && out.lines().count() == 1, "{out} {err}");
    }
    world.start().await;
    let (code, out, err) = run(&world, &["--dry-run"]);
    assert!(code == 0 && out.ends_with("nothing to do\n"), "{out} {err}");
    let (code, _, err) = run(&world, &["--destroy", "--yes"]);
    assert!(code == 1 && err.contains("Concord is running"), "{err}");
    // Nor by way of another data folder, or of none at all.
    let elsewhere = world.data.with_file_name("elsewhere");
    let from = |allow: &[&str]| {
        let elsewhere = elsewhere.to_str().unwrap();
        run(&world, &[["--destroy", "--yes", "--data-dir", elsewhere].as_slice(), allow].concat())
    };
    let (code, _, err) = from(&[]);
    assert!(code == 1 && err.contains("was made for the log") && err.contains("there is none here"), "{err}");
    let (code, _, err) = from(&["--allow", "other-log"]);
    assert!(code == 1 && err.contains("running with this database (Postgres' backend "), "{err}");
    assert!(schema_is_there(&world).await);
    world.sql("insert into public.customers (id, name) values ('ada', 'Ada')").await;
    let golden = async |w: &World| w.rows("select 1 from concord.customers where name = 'Ada'").await.len() == 1;
    world.until("ada is golden", async |w: &World| golden(w).await).await;
    // A second Concord, with a log of its own, leaves the database alone.
    let folder = elsewhere.to_str().unwrap();
    let (code, out, err) = run(&world, &["--dry-run", "--data-dir", folder]);
    assert!(code == 1 && out.contains("REFUSED postgres  database: another Concord, with another log"), "{out} {err}");
    let at = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).unwrap().to_string();
    let mut second = world.command();
    second.args(["run", "--data-dir", folder, "--listen", &at]).env("CONCORD_REGISTRY_LISTEN", "off");
    let mut second = second.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let url = format!("http://{at}");
    let paused = async |w: &World| w.run(&["status", "--url", &url]).1.matches("another Concord").count() == 3;
    world.until("its source, its sink and its golden tables say so", async |w: &World| paused(w).await).await;
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(golden(&world).await && world.run(&["status"]).0, "the first one goes on");
    assert!(world.terminate().1);
    assert_eq!(drift(&world), []);

    // Retention: longer is done, shorter only when it is allowed.
    configured(&world, "retention_days = 9");
    let (code, out, _) = run(&world, &["--dry-run"]);
    assert!(code == 2 && out.contains("change  topic     customers.stripe: delete after 7 days becomes delete after 9 days"), "{out}");
    assert_eq!((run(&world, &[]).0, drift(&world)), (0, vec![]));
    configured(&world, "retention_days = 3");
    let (code, out, _) = run(&world, &[]);
    assert!(code == 1 && out.contains("REFUSED topic     requests.stripe: delete after 9 days becomes delete after 3 days"), "{out}");
    assert!(out.contains("so nothing was done"), "{out}");
    assert_eq!((run(&world, &["--allow", "shorter-retention"]).0, drift(&world)), (0, vec![]));

    // Partitions never change.
    configured(&world, "retention_days = 3\npartitions = 8");
    let (code, out, _) = run(&world, &["--allow", "shorter-retention"]);
    assert!(code == 1 && out.contains("REFUSED topic     customers.unify: it has 4 partitions, and 8 are configured"), "{out}");
    configured(&world, "retention_days = 3");

    // Another policy, a topic that is gone, a trigger that is gone.
    let opened = log(&world);
    opened.create_topic(TopicConfig::delete("customers.unified", 4, Duration::from_secs(24 * 3600))).unwrap();
    opened.close();
    world.sql("drop trigger concord_product_deleted on public.customers").await;
    let found = drift(&world);
    let told: Vec<[&str; 4]> = found.iter().map(|(part, name, state, says)| [part, name, state, says].map(|it| it.as_str())).collect();
    let expected = [
        ["topic", "customers.unified", "change", "delete after 1 day becomes compact"],
        ["postgres", "triggers on public.customers", "create", "concord_product_deleted"],
    ];
    assert_eq!(told, expected);
    assert_eq!((run(&world, &[]).0, drift(&world)), (0, vec![]));

    // The way back asks, and leaves the customers.
    let (code, _, err) = run(&world, &["--destroy"]);
    assert!(code == 1 && err.contains("--yes") && err.contains("It keeps public.customers") && schema_is_there(&world).await, "{err}");
    let (code, _, err) = run(&world, &["--destroy", "--yes", "--data-dir", elsewhere.to_str().unwrap()]);
    assert!(code == 1 && err.contains("--allow other-log") && schema_is_there(&world).await, "also when nobody runs: {err}");
    let (code, out, err) = run(&world, &["--destroy", "--yes"]);
    assert!(code == 0 && out == "Taken away.\n", "{out} {err}");
    assert!(!world.data.join("log.sqlite").exists() && !schema_is_there(&world).await);
    assert_eq!(world.rows("select 1 from public.customers where name = 'Ada'").await.len(), 1);
    assert_eq!(world.rows("select 1 from pg_trigger where tgname like 'concord%'").await.len(), 0);
    let (code, out, err) = run(&world, &[]);
    assert!(code == 0 && out.contains("triggers on public.customers: concord_product_updated"), "{out} {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_a_deployment_checks_schemas_against_those_that_are_there() {
    let world = World::prepared(Plan { config: Some(USUAL.into()), ..Plan::usual() }).await;
    // Another build's: it lacks a field that has a default, which is a new version.
    let older = r#"{"type":"record","name":"CustomerLink","namespace":"concord","fields":[{"name":"customer","type":"string"}]}"#;
    registered(&world, "links.stripe-value", older);
    let found = drift(&world);
    let link = found.iter().find(|(_, name, ..)| name == "links.stripe-value").unwrap();
    assert_eq!((link.2.as_str(), link.3.as_str()), ("change", "a new version, after 1"));
    assert_eq!((run(&world, &[]).0, drift(&world)), (0, vec![]));

    // One that ours cannot read: nothing at all is done.
    let world = World::prepared(Plan { config: Some(USUAL.into()), ..Plan::usual() }).await;
    registered(&world, "links.stripe-value", &older.replace("\"string\"", "\"long\""));
    let (code, out, err) = run(&world, &[]);
    let told = "REFUSED schema    links.stripe-value: not BACKWARD compatible with version 1: customer: the writer's long cannot be read as string";
    assert!(code == 1 && out.lines().any(|line| line == told), "{out} {err}");
    assert_eq!(world.rows("select 1 from pg_namespace where nspname = 'concord'").await.len(), 0);
}
