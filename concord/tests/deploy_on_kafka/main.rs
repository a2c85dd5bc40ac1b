//! `concord deploy` on a real Apache Kafka: all of it, then nothing; beside a process that runs; every kind of drift; and the way back. A
//! cluster has one customer topology, so this is one story.

#[allow(dead_code, reason = "the tests share it")]
#[path = "../../../streams/tests/kafka_support/broker.rs"]
mod broker;
mod brokers;
#[allow(dead_code, reason = "the tests share it")]
#[path = "../end_to_end/world.rs"]
mod world;

use brokers::Brokers;
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
}
