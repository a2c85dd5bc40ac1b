//! Several processes of Concord on a real Apache Kafka, beside a real Postgres and the stand-in Stripe. A cluster has one customer
//! topology, so this is one story.

mod beside;
#[allow(dead_code, reason = "the tests share it")]
#[path = "../../../streams/tests/kafka_support/broker.rs"]
mod broker;
#[allow(dead_code, reason = "the tests share it")]
#[path = "../end_to_end/world.rs"]
mod world;

use beside::Beside;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value as Json, json};
use world::{PATIENCE, Plan, World};

const CONFIG: &str = "partitions = 2\n[kafka]\nsession_timeout_ms = 3000\n[systems.product]\nkind = \"postgres\"\n[systems.stripe]\nkind = \"stripe\"\n\
                      [systems.crm]\nkind = \"topic\"\n";

/// A later version of a topic's schema at one process' registry; a record with it by the other process, which has never seen it.
async fn evolve(world: &World, second: &Beside) {
    let versions = format!("http://{}/subjects/customers.crm-value/versions", second.registry);
    let latest: Json = world.http.get(format!("{versions}/latest")).send().await.unwrap().json().await.unwrap();
    let mut schema: Json = serde_json::from_str(latest["schema"].as_str().unwrap()).unwrap();
    schema["fields"].as_array_mut().unwrap().push(json!({"name": "since", "type": ["null", "string"], "default": null}));
    let answer = world.http.post(versions).json(&json!({"schema": schema.to_string()})).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{}", answer.text().await.unwrap());
    world
        .until("a record with the new schema is taken", async |w: &World| {
            let fields = json!({"name": "Grace", "email": "grace@example.com"});
            let record = json!({"key": "grace", "value": {"fields": fields, "since": "1906"}});
            let (status, body) =
                w.ask(reqwest::Method::POST, "/api/v1/topics/customers.crm/records", Some(json!({"records": [record]}))).await;
            status == 200 && body["accepted"] == 1
        })
        .await;
    world.until("she is merged", async |w: &World| w.stripe_by_email("grace@example.com").len() == 1).await;
    let (_, letters, _) = world.run(&["consume", "customers.crm.dlq"]);
    assert_eq!(letters, "", "nothing of it is a dead letter");
}

/// Both places show the same people with the same values, each once.
async fn agree(world: &World, people: usize) -> bool {
    let rows = world.rows("select name, email, phone from public.customers order by email").await;
    let mut stripe: Vec<_> =
        world.in_stripe().iter().map(|c| json!({"name": c["name"], "email": c["email"], "phone": c["phone"]})).collect();
    stripe.sort_by_key(|c| c["email"].to_string());
    rows.len() == people && rows == stripe
}

#[tokio::test(flavor = "multi_thread")]
async fn on_kafka_processes_share_the_work_and_are_killed() {
    let kafka = broker::own_broker().address();
    let mut world = World::prepared(Plan { config: Some(CONFIG.into()), ..Plan::usual() }).await;
    world.env.push(("KAFKA_BOOTSTRAP_SERVERS".into(), kafka));
    world.start().await;

    // One process alone: both ways.
    world.add(json!({"id": "ada", "name": "Ada", "email": "ada@example.com"})).await;
    world.until("ada is in Stripe", async |w: &World| w.stripe_by_email("ada@example.com").len() == 1).await;
    let id = world.stripe_by_email("ada@example.com")[0]["id"].as_str().unwrap().to_string();
    world.stripe().update(&id, json!({"phone": "+44 1"})).unwrap();
    world
        .until("the phone is in the product", async |w: &World| {
            w.rows("select 1 from public.customers where id = 'ada' and phone = '+44 1'").await.len() == 1
        })
        .await;
    world
        .until("the golden table has her", async |w: &World| {
            let found = w.get("/api/v1/customers?email=ada@example.com").await;
            found[0]["records"]["stripe"]["in_step"] == true && found[0]["records"]["product"]["in_step"] == true
        })
        .await;

    // The commands reach the cluster, too.
    let (well, out, err) = world.run(&["consume", "customers.unified", "--max", "1"]);
    assert!(well && out.lines().count() == 1 && out.contains("ada@example.com"), "{out}{err}");

    // A second process for the connectors and the topology; then one of them dies, again and again, under people's edits.
    let mut second = Beside::new(&world, "second");
    second.launch(&world, "streams,connectors,http");
    second.ready(&world).await;
    evolve(&world, &second).await;
    let mut random = StdRng::seed_from_u64(7);
    let kills = std::env::var("CONCORD_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let mut people = 2;
    for round in 0..kills {
        for n in 0..5 {
            people += 1;
            let email = format!("p{people}@example.com");
            match n % 2 {
                0 => world.sql(&format!("insert into public.customers (id, name, email) values ('p{people}', 'P', '{email}')")).await,
                _ => drop(world.stripe().create(json!({"name": "P", "email": email})).unwrap()),
            }
            world.sql(&format!("update public.customers set phone = '{round}-{n}' where id = 'ada'")).await;
        }
        match random.random_bool(0.5) {
            true => {
                world.kill();
                world.launch();
            }
            false => {
                second.kill();
                second.launch(&world, "streams,connectors,http");
            }
        }
        if round % 2 == 1 {
            let all = people;
            world.until("both places agree", async |w: &World| agree(w, all).await).await;
        }
    }
    let all = people;
    world.until("both places agree in the end", async |w: &World| agree(w, all).await).await;
    world.until("the golden table agrees, too", async |w: &World| golden(w, all).await).await;
    eprintln!("kills {kills}, people {all}, made twice 0, lost 0 (patience {PATIENCE:?})");

    // Quiet: with nobody editing, nothing is written.
    let writes = |w: &World| w.stripe().requests("update") + w.stripe().requests("create");
    let before = writes(&world);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(writes(&world), before, "nobody edits, and something is written");

    // The first one ends in order; the other acts on alone.
    let (took, well) = world.terminate();
    assert!(well && took.as_secs() < 15, "{took:?}");
    world.sql("update public.customers set name = 'Ada King' where id = 'ada'").await;
    world.until("the other process acts", async |w: &World| w.stripe().customer(&id).unwrap()["name"] == "Ada King").await;
}

async fn golden(world: &World, people: usize) -> bool {
    world.rows("select 1 from concord.customers where not deleted").await.len() == people
}
