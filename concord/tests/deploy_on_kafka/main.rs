//! `concord deploy` on a real Apache Kafka: all of it, then nothing; beside a process that runs; every kind of drift; and the way back. A
//! cluster has one customer topology, so this is one story.

#[allow(dead_code, reason = "the tests share it")]
#[path = "../../../streams/tests/kafka_support/broker.rs"]
mod broker;
mod brokers;
mod ksqldb;
#[allow(dead_code, reason = "the tests share it")]
#[path = "../end_to_end/world.rs"]
mod world;

use brokers::Brokers;
use ksqldb::KsqlDb;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use world::{Plan, World};

const USUAL: &str = "[systems.product]\nkind = \"postgres\"\n[systems.stripe]\nkind = \"stripe\"\n";
/// What another build registered for links: it lacks a field that has a default.
const OLDER: &str = r#"{"type":"record","name":"CustomerLink","namespace":"concord","fields":[{"name":"customer","type":"string"}]}"#;

fn run(world: &World, args: &[&str]) -> (i32, String, String) {
    let done = world.command().arg("deploy").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// The steps of a dry run that are not as they must be, as `state part name: says`.
fn drift(world: &World) -> Vec<String> {
    let (_, out, err) = run(world, &["--dry-run", "--json"]);
    let told: Json = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out} {err}"));
    let word = |step: &Json, key: &str| step[key].as_str().unwrap().to_owned();
    let steps = told["steps"].as_array().unwrap().iter().filter(|step| step["state"] != "same");
    steps.map(|step| format!("{} {} {}: {}", word(step, "state"), word(step, "part"), word(step, "name"), word(step, "says"))).collect()
}

fn configured(world: &World, top: &str) {
    let kafka = "[kafka]\nsession_timeout_ms = 3000\n";
    std::fs::write(world.folder.path().join("concord.toml"), format!("{top}\n{USUAL}{kafka}")).unwrap();
}

fn replicated(world: &World, factor: u32) {
    let text = format!("{USUAL}[kafka]\nreplication_factor = {factor}\n");
    std::fs::write(world.folder.path().join("concord.toml"), text).unwrap();
}

/// Nothing is left to do, and nothing is done.
fn settled(world: &World) {
    for args in [&[][..], &["--dry-run"]] {
        let (code, out, err) = run(world, args);
        assert!(code == 0 && out.ends_with("nothing to do\n") && out.lines().count() == 1, "{code} {out} {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_kafka_a_deployment_does_all_then_nothing_and_finds_every_drift() {
    let address = broker::own_broker().address();
    let brokers = Brokers::at(&address);
    let mut world = World::prepared(Plan { config: Some(USUAL.into()), ..Plan::usual() }).await;
    world.env.push(("KAFKA_BOOTSTRAP_SERVERS".into(), address));
    configured(&world, "");
    let schema_is_there = async |w: &World| w.rows("select 1 from pg_namespace where nspname = 'concord'").await.len() == 1;
    let none = BTreeSet::new();

    // A dry run tells everything, and does nothing.
    let (code, out, err) = run(&world, &["--dry-run"]);
    assert!(code == 2 && err.is_empty(), "{code} {out} {err}");
    for line in [
        "create  topic     _schemas: 1 partition, compact",
        "create  topic     customers.unified: 4 partitions, compact",
        "create  topic     customers.stripe: 4 partitions, delete after 7 days",
        "create  topic     customers.stripe.dlq: 1 partition, delete after 30 days",
        "create  topic     requests.stripe.dlq: 4 partitions, delete after 90 days",
        "create  schema    customers.unified-value: its first version",
        "create  postgres  public.customers: the table, with its triggers",
    ] {
        assert!(out.lines().any(|l| l == line), "{line} is not in {out}");
    }
    assert!(brokers.topics() == none && !schema_is_there(&world).await && !world.data.exists());

    // Schemas are judged by what is registered: one that ours may follow, and one that it may not.
    brokers.make("_schemas", 1, &[("cleanup.policy", "compact")]).await;
    brokers.registered("links.stripe-value", 1, OLDER);
    assert!(drift(&world).contains(&"change schema links.stripe-value: a new version, after 1".into()));
    brokers.registered("links.product-value", 2, &OLDER.replace("\"string\"", "\"long\""));
    let (code, out, err) = run(&world, &[]);
    let told = "REFUSED schema    links.product-value: not BACKWARD compatible with version 1: customer: the writer's long cannot be read as string";
    assert!(code == 1 && out.lines().any(|line| line == told), "{out} {err}");
    assert!(brokers.topics() == BTreeSet::from(["_schemas".into()]) && !schema_is_there(&world).await, "nothing is done");
    brokers.delete("_schemas").await;

    // The first does it all, the second finds nothing to do; and so it is beside the process that then runs.
    let (code, out, err) = run(&world, &[]);
    assert!(code == 0 && out.contains(" done\n"), "{out} {err}");
    settled(&world);
    let largest = brokers.setting("customers.stripe.dlq", "max.message.bytes").await;
    assert_eq!(largest.as_deref(), Some("2048576"), "as the topology would have made it");
    world.start().await;
    settled(&world);
    let (code, _, err) = run(&world, &["--destroy", "--yes"]);
    assert!(
        code == 1 && err.contains("the consumer group concord") && err.contains("Concord is running") && err.contains("Nothing"),
        "{err}"
    );
    world.sql("insert into public.customers (id, name) values ('ada', 'Ada')").await;
    world.until("ada is in Stripe", async |w: &World| w.in_stripe().len() == 1).await;
    brokers.delete("customers.conflicts").await;
    assert_eq!(
        drift(&world),
        ["create topic customers.conflicts: 4 partitions, compact"].map(|line| line.replace("compact", "delete after 7 days"))
    );
    let (code, out, err) = run(&world, &[]);
    assert!(code == 0 && out.contains("1 done"), "also while it runs: {out} {err}");
    assert!(world.terminate().1);
    settled(&world);

    // Retention: longer is done, shorter only when it is allowed.
    configured(&world, "retention_days = 9");
    let (code, out, _) = run(&world, &["--dry-run"]);
    assert!(code == 2 && out.contains("change  topic     customers.stripe: delete after 7 days becomes delete after 9 days"), "{out}");
    assert_eq!(run(&world, &[]).0, 0);
    settled(&world);
    configured(&world, "retention_days = 3");
    let (code, out, _) = run(&world, &[]);
    assert!(code == 1 && out.contains("REFUSED topic     requests.stripe: delete after 9 days becomes delete after 3 days"), "{out}");
    assert!(out.contains("so nothing was done"), "{out}");
    assert_eq!(run(&world, &["--allow", "shorter-retention"]).0, 0);
    settled(&world);
    configured(&world, "");
    assert_eq!(run(&world, &[]).0, 0);

    // What somebody else set is told as it is; what is none of ours stays.
    let week = (7 * 24 * 3600 * 1000).to_string();
    brokers.set("customers.unified", &[("cleanup.policy", "compact,delete"), ("retention.ms", &week)]).await;
    brokers.set("links.stripe", &[("cleanup.policy", "delete"), ("retention.ms", "-1")]).await;
    brokers.set("customers.unify", &[("retention.ms", &week), ("cleanup.policy", "delete,compact"), ("segment.ms", "3600000")]).await;
    brokers.set("requests.stripe", &[("retention.ms", "3600000"), ("cleanup.policy", "delete")]).await;
    world.sql("drop trigger concord_product_deleted on public.customers").await;
    let expected = [
        "change topic links.stripe: delete never becomes compact",
        "change topic requests.stripe: delete after 3600000 ms becomes delete after 7 days",
        "change topic customers.unify: compact and delete after 7 days becomes delete after 7 days",
        "change topic customers.unified: compact and delete after 7 days becomes compact",
        "create postgres triggers on public.customers: concord_product_deleted",
    ];
    assert_eq!(drift(&world), expected);
    let (code, out, err) = run(&world, &[]);
    assert!(code == 0 && out.contains("5 done"), "{out} {err}");
    settled(&world);
    assert_eq!(brokers.setting("customers.unify", "segment.ms").await.as_deref(), Some("3600000"));

    migrates_ksqldb(&mut world).await;

    // Neither partitions nor replicas are changed by a deployment.
    replicated(&world, 2);
    let found = drift(&world);
    let topics = "refused topic customers.unified: it has 1 replica, and 2 are configured: no setting changes that. Have \
                  `kafka-reassign-partitions.sh` do it, or set `kafka.replication_factor` to 1";
    assert!(
        found.len() > 10 && found.iter().any(|line| line == topics) && found.iter().all(|line| line.starts_with("refused topic")),
        "{found:?}"
    );
    replicated(&world, 1);
    assert_eq!(drift(&world), [""; 0]);
    configured(&world, "");
    brokers.widen("customers.unify", 8).await;
    let (code, out, _) = run(&world, &["--allow", "shorter-retention"]);
    assert!(code == 1 && out.contains("REFUSED topic     customers.unify: it has 8 partitions, and 4 are configured"), "{out}");
    brokers.delete("customers.unify").await;
    assert_eq!(run(&world, &[]).0, 0);
    settled(&world);

    // The way back asks, leaves the customers, and what is somebody else's.
    brokers.make("somebody.elses", 1, &[]).await;
    let before = brokers.topics();
    assert!(before.iter().any(|topic| topic.starts_with("concord-") && topic.ends_with("-changelog")), "{before:?}");
    let (code, _, err) = run(&world, &["--destroy"]);
    assert!(code == 1 && err.contains("--yes") && brokers.topics() == before && schema_is_there(&world).await, "{err}");
    for line in [
        "the topic customers.unified,",
        "the topic _concord.owners,",
        "the consumer group concord-runner-stripe",
        "the topic _schemas with all schemas",
    ] {
        assert!(err.contains(line), "{line} is not in {err}");
    }
    assert!(!err.contains("somebody"), "{err}");
    let (code, out, err) = run(&world, &["--destroy", "--yes"]);
    assert!(code == 0 && out == "Taken away.\n", "{out} {err}");
    assert_eq!(brokers.topics(), BTreeSet::from(["_schemas".into(), "somebody.elses".into()]));
    assert_eq!(brokers.groups(), none);
    assert!(!schema_is_there(&world).await && !world.data.join("streams/concord").exists());
    assert_eq!(world.rows("select 1 from public.customers where name = 'Ada'").await.len(), 1);
    assert_eq!(world.rows("select 1 from pg_trigger where tgname like 'concord%'").await.len(), 0);

    // And forth again: the schemas are still there.
    assert!(!drift(&world).iter().any(|line| line.contains(" schema ") && !line.contains("postgres")));
    let (code, out, err) = run(&world, &[]);
    assert!(code == 0 && out.contains("triggers on public.customers: concord_product_updated"), "{out} {err}");
    settled(&world);
    registers_elsewhere(&mut world, &brokers).await;
}

/// With another schema registry: here Concord's own, on a folder.
async fn registers_elsewhere(world: &mut World, brokers: &Brokers) {
    let at = world::free_address();
    let mut registry = world.command();
    registry.env_remove("KAFKA_BOOTSTRAP_SERVERS").args(["registry", "--listen", &at.to_string(), "--data-dir", "registry"]);
    let _registry = Running(registry.spawn().unwrap());
    let subjects = format!("http://{at}/subjects");
    world.until("the registry answers", async |w: &World| w.http.get(&subjects).send().await.is_ok()).await;
    world.env.push(("SCHEMA_REGISTRY_URL".into(), format!("http://{at}")));

    let ours = drift(world);
    assert_eq!(ours[0], "create topic _concord.schemas: 1 partition, compact");
    assert!(ours[1..].iter().all(|line| line.starts_with("create schema ")) && ours.len() > 8, "{ours:?}");
    let versions = format!("{subjects}/links.product-value/versions");
    let post = async |schema: &str| world.http.post(&versions).json(&serde_json::json!({"schema": schema})).send().await.unwrap().status();
    // Somebody else's, since Concord's own could not be deleted again.
    assert_eq!(post(&OLDER.replace("\"string\"", "\"long\"").replace("\"concord\"", "\"elsewhere\"")).await, 200);
    let told = "refused schema links.product-value: not BACKWARD compatible with version 1: ";
    let found = drift(world);
    assert!(found.iter().any(|line| line.starts_with(told)), "{found:?}");
    assert_eq!((run(world, &[]).0, brokers.topics().contains("_concord.schemas")), (1, false));
    for permanent in ["", "?permanent=true"] {
        let gone = format!("{subjects}/links.product-value{permanent}");
        assert_eq!(world.http.delete(gone).send().await.unwrap().status(), 200);
    }
    let (code, out, err) = run(world, &[]);
    assert!(code == 0 && out.contains(&format!("{} done", ours.len())), "{out} {err}");
    settled(world);
    let registered: Vec<String> = world.http.get(&subjects).send().await.unwrap().json().await.unwrap();
    assert_eq!(registered.len(), ours.len() - 1);
}

/// Ends with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The conversation with ksqlDB, beside topics that are there.
async fn migrates_ksqldb(world: &mut World) {
    let files = ["V000001__customers.sql", "V000002__dead_letters.sql"];
    let md5 = |file: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../ksql/migrations").join(file);
        let done = std::process::Command::new("md5sum").arg(path).output().unwrap();
        String::from_utf8(done.stdout).unwrap()[..32].to_owned()
    };
    let server = KsqlDb::start("ada", "s3cret").await;
    let before = world.env.len();
    world.env.push(("KSQLDB_URL".into(), format!("http://{}", server.at)));
    let (code, _, err) = run(world, &["--dry-run"]);
    assert!(code == 1 && err.contains("KSQLDB_BASIC_AUTH"), "{err}");
    world.env.push(("KSQLDB_BASIC_AUTH".into(), "ada:wr0ng".into()));
    let (code, _, err) = run(world, &["--dry-run"]);
    assert!(code == 1 && err.contains("KSQLDB_BASIC_AUTH") && !err.contains("wr0ng"), "{err}");
    world.env.pop();
    world.env.push(("KSQLDB_BASIC_AUTH".into(), "ada:s3cret".into()));

    // A dry run changes nothing.
    let (code, out, err) = run(world, &["--dry-run"]);
    let told = [
        "create  ksqldb    which migrations are applied: MIGRATION_EVENTS, MIGRATION_SCHEMA_VERSIONS",
        "create  ksqldb    V000001 customers: 28 statements",
        "create  ksqldb    V000002 dead letters: 27 statements",
    ];
    assert!(code == 2 && told.iter().all(|line| out.lines().any(|l| l == *line)), "{out} {err}");
    assert_eq!(server.asked(), [Json::Null; 0]);

    // One fails: what was before it is applied, the rest is not, and it is told why, until a person has looked.
    server.fails(Some("ASSERT TOPIC 'links.product.dlq'"));
    let (code, _, err) = run(world, &[]);
    assert!(code == 1 && err.contains("V000002 dead letters failed") && err.contains("Topic doesn't exist"), "{err}");
    let asked = server.asked();
    let sql: Vec<&str> = asked.iter().map(|body| body["ksql"].as_str().unwrap()).collect();
    assert!(
        sql[0].starts_with("CREATE STREAM MIGRATION_EVENTS (version_key STRING KEY, ")
            && sql[0].contains("KAFKA_TOPIC='concord_ksql_MIGRATION_EVENTS'")
    );
    assert!(sql[1].starts_with(
        "CREATE TABLE MIGRATION_SCHEMA_VERSIONS WITH (KAFKA_TOPIC='concord_ksql_MIGRATION_SCHEMA_VERSIONS') AS SELECT version_key, "
    ));
    assert!(
        sql[2].contains("'CURRENT', '1', 'customers', 'RUNNING'") && sql[3].contains("VALUES ('1', '1', 'customers', 'RUNNING'"),
        "{sql:?}"
    );
    assert_eq!(sql[4], "ASSERT TOPIC 'customers.product' WITH (PARTITIONS = 4) TIMEOUT 30 SECONDS;");
    // What SET said goes with each statement, and no statement is run before the last one that was taken.
    assert_eq!(asked[4]["streamsProperties"]["processing.guarantee"], "exactly_once_v2");
    assert_eq!((&asked[1]["commandSequenceNumber"], &asked[4]["commandSequenceNumber"]), (&1.into(), &2.into()));
    let columns = |key: &str| ["version", "name", "state", "checksum", "previous", "error_reason"].map(|column| server.column(key, column));
    assert_eq!(columns("1"), ["1", "customers", "MIGRATED", &md5(files[0]), "<none>", "N/A"]);
    let reason = "Failed to execute sql: ASSERT TOPIC 'links.product.dlq' TIMEOUT 30 SECONDS;: ";
    let reason = format!("{reason}http://{} refused it (41700): Topic doesn't exist", server.at);
    for key in ["CURRENT", "2"] {
        assert_eq!(columns(key), ["2", "dead letters", "ERROR", &md5(files[1]), "1", &reason]);
        assert!(server.column(key, "started_on") <= server.column(key, "completed_on"));
    }
    let refused = format!(
        "refused ksqldb V000002 dead letters: it was begun, and is ERROR, {reason}: drop what it made, then --allow unfinished-migration applies it again"
    );
    assert_eq!(drift(world), [refused]);
    assert_eq!((run(world, &[]).0, server.asked()), (1, vec![]));

    server.fails(None);
    let (code, out, err) = run(world, &["--allow", "unfinished-migration"]);
    assert!(code == 0 && out.contains("1 done"), "{out} {err}");
    for key in ["CURRENT", "2"] {
        assert_eq!(columns(key), ["2", "dead letters", "MIGRATED", &md5(files[1]), "1", "N/A"]);
    }
    server.asked();
    settled(world);
    assert_eq!(server.asked(), [Json::Null; 0]);

    // What is applied is not changed afterwards.
    server.set("1", "checksum", "0123");
    let found = drift(world);
    assert!(
        found.len() == 1 && found[0].starts_with("refused ksqldb V000001 customers: another file of this version was applied"),
        "{found:?}"
    );

    world.env.truncate(before);
    world.env.push(("KSQLDB_URL".into(), format!("http://{}", world::free_address())));
    let (code, _, err) = run(world, &["--dry-run"]);
    assert!(code == 1 && err.contains("no ksqlDB answers at http://127.0.0.1"), "{err}");
    world.env.truncate(before);
}
