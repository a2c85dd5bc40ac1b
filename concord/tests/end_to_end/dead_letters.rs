//! `concord dlq`: what could not be processed is listed, shown, retried once, and discarded.

use crate::{
    operators::WITH_CRM,
    world::{Plan, World},
};
use reqwest::Method;
use schemas::{Registry, value_subject};
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, process::Stdio, time::Duration};
use streams::{
    Headers, ProducerRecord, TopicPartition, dlq_headers,
    embedded::{Append, Log, LogReader, Options, TopicConfig},
};

const PARTITIONS: i32 = 4;
/// More than one request deals with.
const MANY: usize = 1_200;

/// A record for `customers.crm` and the dead letter that it once became.
fn dead(key: &str, value: impl Into<Vec<u8>>, class: &str) -> ProducerRecord {
    let mut headers = Headers::new();
    headers.add("trace", "7").add(dlq_headers::EXCEPTION, class.to_owned()).add(dlq_headers::MESSAGE, "not as it should be");
    headers.add(dlq_headers::TOPIC, "customers.crm").add(dlq_headers::PARTITION, "2").add(dlq_headers::OFFSET, "0");
    ProducerRecord::new("customers.crm.dlq", key.to_owned(), value.into())
        .with_partition(2)
        .with_timestamp(1_767_312_000_000)
        .with_headers(headers)
}

/// The log of a process that does not run.
fn log(world: &World) -> Log {
    Log::open(&world.data, Options { min_free_bytes: 0, lock_timeout: Duration::from_secs(5), ..Options::default() }).unwrap()
}

/// A customer as bytes of `customers.crm`.
fn customer(log: &Log, fields: Json) -> Vec<u8> {
    let registry = Registry::new();
    for record in log.read(&TopicPartition::new("_schemas", 0), 0, 1_000, 1 << 20).unwrap() {
        registry.apply(record.key.as_deref().unwrap(), record.value.as_deref()).unwrap();
    }
    registry.encode_json(&value_subject("customers.crm"), &json!({ "fields": fields })).unwrap()
}

fn listed(world: &World, args: &[&str]) -> Vec<Json> {
    let (ok, out, err) = world.run(&[["dlq", "list", "--json", "--limit", "5000"].as_slice(), args].concat());
    assert!(ok, "{err}");
    serde_json::from_str(&out).unwrap()
}

fn ids(letters: &[Json]) -> Vec<&str> {
    letters.iter().map(|letter| letter["id"].as_str().unwrap()).collect()
}

/// How often each key is in a partition of `customers.crm`.
fn published(world: &World) -> BTreeMap<String, usize> {
    let reader = LogReader::open(&world.data).unwrap();
    let mut count = BTreeMap::new();
    for partition in 0..PARTITIONS {
        for record in reader.read(&TopicPartition::new("customers.crm", partition), 0, usize::MAX, usize::MAX).unwrap() {
            *count.entry(String::from_utf8(record.key.unwrap().to_vec()).unwrap()).or_default() += 1;
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_dead_letters_are_listed_shown_retried_once_and_discarded() {
    let mut world = World::running(Plan { config: Some(WITH_CRM.into()), ..Plan::usual() }).await;
    assert_eq!(listed(&world, &["--all"]), [Json::Null; 0]);
    world.terminate();

    // One that would be processed by now, and one that never will; the topology finds a third by itself.
    let log = log(&world);
    log.create_topic(TopicConfig::delete("customers.crm.dlq", PARTITIONS, Duration::from_secs(30 * 24 * 3600))).unwrap();
    let good = customer(&log, json!({"name": "Alan", "email": "alan@example.com"}));
    log.append_blocking(Append::of([dead("8", good, "CONCORD-T004"), dead("9", "junk of Grace", "CONCORD-T001")])).unwrap();
    let poison = ProducerRecord::new("customers.crm", "10", &b"\xff\xfe"[..]).with_partition(1).with_timestamp(1_767_312_000_000);
    log.append_blocking(Append::of([poison])).unwrap();
    log.close();

    world.start().await;
    world.until("three are there", async |w: &World| listed(w, &[]).len() == 3).await;
    let all = listed(&world, &[]);
    let (alan, grace) = ("customers.crm.dlq/2/0", "customers.crm.dlq/2/1");
    let poison = ids(&all).into_iter().find(|id| ![alan, grace].contains(id)).unwrap().to_string();
    let of = |id: &str| all.iter().find(|letter| letter["id"] == id).unwrap();
    assert_eq!(of(alan)["from"], json!({"topic": "customers.crm", "partition": 2, "offset": 0}));
    assert_eq!((&of(&poison)["from"]["partition"], &of(&poison)["key"], &of(&poison)["state"]), (&json!(1), &json!("10"), &json!("open")));

    // Filters, pages, and nothing of customers but in `show`.
    assert_eq!(ids(&listed(&world, &["--error", "concord-t001"])), [grace]);
    assert_eq!(listed(&world, &["--topic", "customers.crm", "--since", "2026-01-02"]).len(), 3);
    assert_eq!(listed(&world, &["--since", "1h"]).len() + listed(&world, &["--topic", "customers.stripe"]).len(), 0);
    let (ok, first, err) = world.run(&["dlq", "list", "--limit", "2"]);
    let after = err.split_whitespace().skip_while(|word| *word != "--after").nth(1).unwrap_or_default().trim_end_matches(';');
    assert!(ok && first.lines().count() == 3 && first.contains(after), "{first} {err}");
    assert_eq!(listed(&world, &["--after", after]).len(), 1);
    assert!(!json!(all).to_string().contains("junk") && !first.contains("junk"), "{first}");
    let (ok, out, err) = world.run(&["dlq", "show", grace]);
    assert!(ok && out.contains("junk of Grace") && out.contains("customers.crm/2/0") && out.contains("trace: 7"), "{out} {err}");
    let (ok, out, err) = world.run(&["dlq", "show", alan, "--json"]);
    let shown: Json = serde_json::from_str(&out).unwrap();
    assert!(ok && shown["value"]["fields"]["email"] == "alan@example.com", "{out} {err}");
    assert!(world.run(&["dlq", "show", &poison]).1.contains("fffe"));
    let (ok, _, err) = world.run(&["dlq", "show", "customers.crm.dlq/0/99"]);
    assert!(!ok && err.contains("dlq list"), "{err}");
    let status = world.run(&["status"]).1;
    assert!(status.contains("3 in customers.crm.dlq"), "{status}");
    let metrics = world.http.get(world.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains(r#"concord_dead_letters_open{topic="customers.crm.dlq"} 3"#), "{metrics}");

    // A dry run changes nothing; a retry publishes the record as it was, once.
    let (ok, out, err) = world.run(&["dlq", "retry", "--all", "--error", "T004", "--dry-run"]);
    assert!(ok && out.contains("publish to customers.crm/2") && err.contains("nothing was done"), "{out} {err}");
    assert_eq!(published(&world), BTreeMap::from([("10".to_string(), 1)]));
    let (ok, out, err) = world.run(&["dlq", "retry", alan]);
    assert!(ok && out.contains("customers.crm.dlq/2/0 retried: customers.crm/2/0"), "{out} {err}");
    world.until("Alan is in Stripe", async |w: &World| w.stripe_by_email("alan@example.com").len() == 1).await;
    let again = LogReader::open(&world.data).unwrap().read(&TopicPartition::new("customers.crm", 2), 0, 1, 1).unwrap().remove(0);
    assert_eq!((again.headers.len(), again.headers.text("trace"), again.timestamp), (1, Some("7"), 1_767_312_000_000));
    let (ok, out, err) = world.run(&["dlq", "retry", alan, "customers.crm.dlq/3/7", "--json"]);
    assert!(!ok && err.contains("retried at") && err.contains("no such dead letter") && out.contains("\"done\": []"), "{out} {err}");

    // One that fails again is a new dead letter.
    assert!(world.run(&["dlq", "retry", &poison]).0);
    world.until("it is back", async |w: &World| ids(&listed(w, &[])).len() == 2).await;
    let (ok, out, err) = world.run(&["dlq", "discard", "--all", "--reason", "a test of theirs"]);
    assert!(ok && out.lines().count() == 2, "{out} {err}");
    assert_eq!(listed(&world, &[]), [Json::Null; 0]);
    let (ok, out, err) = world.run(&["dlq", "list", "--all"]);
    assert!(ok && out.matches("discarded  a test of theirs").count() == 2 && out.matches("retried").count() == 2, "{out} {err}");
    assert!(!world.run(&["status"]).1.contains("not dealt with"));

    // The routes are guarded as all that change something, and check what they are given.
    let foreign = world.http.post(world.url("/api/v1/dlq/retry")).header("origin", "http://evil.example").json(&json!({"ids": [alan]}));
    assert_eq!(foreign.send().await.unwrap().status().as_u16(), 403);
    let (status, body) = world.ask(Method::POST, "/api/v1/dlq/retry", Some(json!({"ids": ["nonsense"]}))).await;
    assert!(status == 200 && body["refused"][0]["id"] == "nonsense", "{body}");
    assert_eq!(world.ask(Method::POST, "/api/v1/dlq/discard", Some(json!({"ids": [grace]}))).await.0, 400, "a reason is needed");
    assert_eq!(world.ask(Method::GET, "/api/v1/dlq/retry", None).await.0, 405);

    // Without a process the log is written directly.
    world.terminate();
    let (ok, _, err) = world.run(&["dlq", "retry", grace]);
    assert!(!ok && err.contains("discarded at"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_no_dead_letter_is_retried_twice_by_two_runs_or_over_a_kill() {
    let mut world = World::running(Plan { config: Some(WITH_CRM.into()), ..Plan::usual() }).await;
    world.terminate();
    let log = log(&world);
    log.create_topic(TopicConfig::delete("customers.crm.dlq", PARTITIONS, Duration::from_secs(30 * 24 * 3600))).unwrap();
    log.append_blocking(Append::of((0..MANY).map(|n| dead(&format!("k{n}"), "junk", "of-a-test")))).unwrap();
    log.close();
    world.start().await;

    // Two runs at once, and the process is killed in the midst of them.
    let retry = ["dlq", "retry", "--all", "--error", "of-a-test"];
    let start = || world.command().args(retry).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut runs = [start(), start()];
    let marks = TopicPartition::new("_concord.dlq", 0);
    let reader = LogReader::open(&world.data).unwrap();
    world.until("some are retried", async |_: &World| reader.end_offset(&marks).unwrap_or(0) > 0).await;
    world.kill();
    for run in &mut runs {
        run.wait().unwrap();
    }
    let before = published(&world);
    assert!(!before.is_empty() && before.values().all(|times| *times == 1), "{}", before.len());

    // The rest goes on from there, by whom ever.
    world.start().await;
    let mut runs: Vec<_> =
        (0..2).map(|_| world.command().args(retry).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()).collect();
    for run in &mut runs {
        run.wait().unwrap();
    }
    let all = published(&world);
    assert_eq!((all.len(), all.values().max()), (MANY, Some(&1)), "each once, and none is left out");
    assert_eq!(listed(&world, &["--error", "of-a-test"]).len(), 0);
    // Each fails again, and is a new dead letter.
    world.until("all are back", async |w: &World| listed(w, &[]).len() == MANY).await;
    // A run is over those that are there when it begins, whatever comes back meanwhile.
    let (ok, out, err) = world.run(&["dlq", "retry", "--all", "--json"]);
    let dealt: Json = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {err}"));
    assert!(ok && dealt["done"].as_array().unwrap().len() == MANY, "{err}");
}
