//! The commands that operators type, with the log on a real Apache Kafka. A cluster has one customer topology, so this is one story.

#[allow(dead_code, reason = "the tests share it")]
#[path = "../on_kafka/beside.rs"]
mod beside;
#[allow(dead_code, reason = "the tests share it")]
#[path = "../../../streams/tests/kafka_support/broker.rs"]
mod broker;
mod reset;
#[allow(dead_code, reason = "the tests share it")]
#[path = "../end_to_end/world.rs"]
mod world;

use beside::Beside;
use serde_json::{Value as Json, json};
use std::{
    process::Stdio,
    time::{SystemTime, UNIX_EPOCH},
};
use streams::{Log, ProducerRecord, TopicPartition, embedded::Append, kafka::LogConfig};
use world::{Plan, World};

const CONFIG: &str = "partitions = 2\n[kafka]\nsession_timeout_ms = 3000\n[systems.product]\nkind = \"postgres\"\n[systems.stripe]\nkind = \"stripe\"\n[systems.crm]\nkind = \"topic\"\n";

fn json_of(world: &World, args: &[&str]) -> Json {
    let (ok, out, err) = world.run(args);
    assert!(ok, "{args:?}: {err}");
    serde_json::from_str(&out).unwrap()
}

fn lag(world: &World, group: &str) -> Json {
    json_of(world, &["lag", "--json", "--group", group])["groups"][0].clone()
}

/// How many records of a topic the topology has not processed.
fn waiting(world: &World, topic: &str) -> u64 {
    let of = lag(world, "concord");
    let partitions = of["partitions"].as_array().unwrap().iter().filter(|partition| partition["topic"] == topic);
    partitions.map(|partition| partition["lag"].as_u64().unwrap()).sum()
}

fn letters(world: &World, args: &[&str]) -> Vec<String> {
    let letters = json_of(world, &[["dlq", "list", "--json"].as_slice(), args].concat());
    letters.as_array().unwrap().iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
}

/// How often a key is in `customers.crm`.
async fn published(log: &Log, key: &str) -> usize {
    let mut times = 0;
    for partition in 0..2 {
        let tp = TopicPartition::new("customers.crm", partition);
        let end = log.end_offset(&tp).await.unwrap();
        log.scan(&tp, 0, end, |record| times += usize::from(record.key.as_deref() == Some(key.as_bytes()))).await.unwrap();
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn on_kafka_operators_see_who_is_behind_deal_with_dead_letters_and_begin_anew() {
    let kafka = broker::own_broker().address();
    let mut world = World::prepared(Plan { config: Some(CONFIG.into()), ..Plan::usual() }).await;
    world.env.push(("KAFKA_BOOTSTRAP_SERVERS".into(), kafka.clone()));
    world.start().await;

    // Nobody is behind, though every partition ends with the end of a transaction, which nobody processes.
    world.add(json!({"id": "ada", "name": "Ada", "email": "ada@example.com"})).await;
    world.until("ada is in Stripe", async |w: &World| w.stripe_by_email("ada@example.com").len() == 1).await;
    world.until("nobody is behind", async |w: &World| json_of(w, &["lag", "--json"])["lag"] == 0).await;
    let all = json_of(&world, &["lag", "--json"]);
    let groups: Vec<&str> = all["groups"].as_array().unwrap().iter().map(|group| group["group"].as_str().unwrap()).collect();
    assert_eq!(groups, ["concord", "concord-runner-product", "concord-runner-stripe", "concord-sink-golden"]);
    let partitions = all["groups"][0]["partitions"].as_array().unwrap();
    let ended = |partition: &&Json| partition["committed"].as_i64() < partition["end"].as_i64() && !partition["committed"].is_null();
    assert!(partitions.iter().any(|partition| ended(&partition)), "{all:#}");
    assert!(!world.run(&["lag", "--group", "nosuch"]).0);

    // Without the role `streams` what is published stays, and ages.
    world.terminate();
    let mut second = Beside::new(&world, "second");
    second.launch(&world, "connectors,http");
    second.ready(&world).await;
    let url = format!("http://{}", second.listen);
    let people = ["7", "8", "9"].map(|id| json!({"id": id, "fields": {"name": "P", "email": format!("p{id}@example.com")}}).to_string());
    let file = world.folder.path().join("people.jsonl");
    std::fs::write(&file, people.join("\n")).unwrap();
    let publish = ["publish", "customers.crm", file.to_str().unwrap(), "--key-field", "id"];
    let (ok, _, err) = world.run(&[publish.as_slice(), &["--url", &url]].concat());
    assert!(ok && err.contains("published 3 records"), "{err}");
    assert_eq!(waiting(&world, "customers.crm"), 3);
    let age = lag(&world, "concord")["oldest_age_seconds"].as_f64().unwrap();
    world.until("it ages", async |w: &World| lag(w, "concord")["oldest_age_seconds"].as_f64().unwrap() > age).await;
    second.kill();
    // No process at all: the brokers are written to directly.
    // One that is too large for them is refused like any bad line, and hinders no other.
    let large = json!({"id": "large", "fields": {"name": "x".repeat(1_000_000)}}).to_string();
    std::fs::write(&file, [people[0].as_str(), &large, &people[1], &people[2]].join("\n")).unwrap();
    let (ok, _, err) = world.run(&publish);
    assert!(!ok && err.contains("published 3 records") && err.contains("line 2: the record has 1000"), "{err}");
    assert_eq!(waiting(&world, "customers.crm"), 6);
    let (ok, _, err) = world.run(&["publish", "customers.nosuch", "/dev/null", "--key-field", "id"]);
    assert!(!ok && err.contains("customers.crm"), "no line at all, and no such topic: {err}");
    world.start().await;
    world.until("nobody is behind again", async |w: &World| json_of(w, &["lag", "--json"])["lag"] == 0).await;
    world.until("they are in Stripe", async |w: &World| w.in_stripe().len() == 4).await;

    // What cannot be processed is told of.
    assert_eq!(letters(&world, &["--all"]), [""; 0]);
    let log = Log::connect(LogConfig::new("test", &kafka)).await.unwrap();
    // Of now: the brokers keep records by the age of their timestamps.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let poison = ProducerRecord::new("customers.crm", "10", &b"\xff\xfe"[..]).with_partition(1).with_timestamp(now);
    log.append(Append::of([poison])).await.unwrap();
    world.until("it is a dead letter", async |w: &World| letters(w, &[]).len() == 1).await;
    let first = letters(&world, &[]).remove(0);
    assert!(first.starts_with("customers.crm.dlq/"), "{first}");
    let (ok, out, err) = world.run(&["dlq", "show", &first]);
    assert!(ok && out.contains("fffe") && out.contains("customers.crm/1/"), "{out}{err}");
    let (ok, _, err) = world.run(&["dlq", "show", "customers.crm.dlq/0/99"]);
    assert!(!ok && err.contains("dlq list"), "{err}");
    world.until("it is counted", async |w: &World| w.run(&["status"]).1.contains("1 in customers.crm.dlq")).await;
    let metrics = world.http.get(world.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains(r#"concord_dead_letters_open{topic="customers.crm.dlq"} 1"#), "{metrics}");
    let (ok, out, err) = world.run(&["dlq", "retry", "--all", "--dry-run"]);
    assert!(ok && out.contains("publish to customers.crm/1") && published(&log, "10").await == 1, "{out}{err}");

    // Two processes are asked for the same at once: it is published once more, not twice. It fails again, and is a new dead letter.
    second.launch(&world, "streams,connectors,http");
    second.ready(&world).await;
    let retry = |url: &str| {
        let retry = ["dlq", "retry", &first, "customers.crm.dlq/0/99", "--json", "--url", url];
        world.command().args(retry).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let runs = [retry(&world.url("")), retry(&url)].map(|run| run.wait_with_output().unwrap());
    let done: Vec<Json> = runs.iter().map(|run| serde_json::from_slice(&run.stdout).unwrap()).collect();
    let once: usize = done.iter().map(|dealt| dealt["done"].as_array().unwrap().len()).sum();
    assert_eq!((once, published(&log, "10").await), (1, 2), "{done:#?}");
    let refused = json!(done).to_string();
    assert!(refused.contains("retried at") && refused.matches("no such dead letter").count() == 2, "{refused}");
    world.until("it failed again", async |w: &World| letters(w, &[]).iter().any(|id| *id != first)).await;
    assert_eq!((letters(&world, &[]).len(), letters(&world, &["--all"]).len()), (1, 2));

    // Discarded without a process, in the same turns.
    second.kill();
    world.terminate();
    let again = letters(&world, &[]).remove(0);
    let (ok, out, err) = world.run(&["dlq", "discard", &again, "--reason", "a test of theirs"]);
    assert!(ok && out.contains("discarded"), "{out}{err}");
    assert_eq!(letters(&world, &[]), [""; 0]);
    let (ok, out, err) = world.run(&["dlq", "retry", &again]);
    assert!(!ok && err.contains("discarded at"), "{out}{err}");
    let (ok, out, err) = world.run(&["dlq", "list", "--all"]);
    assert!(ok && out.matches("discarded  a test of theirs").count() == 1 && out.matches("retried").count() == 1, "{out}{err}");
    world.start().await;
    world.until("none is counted", async |w: &World| !w.run(&["status"]).1.contains("not dealt with")).await;
    reset::nobody_is_made_twice(&mut world, &log).await;
}
