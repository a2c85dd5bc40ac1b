//! `concord reset`: a new log, in which nobody is made twice, what was edited meanwhile arrives, and who was deleted stays so.

use crate::world::{Plan, World};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// A delete does not reach Stripe: whoever is deleted in the product lives on there, and must not come back.
const SYSTEMS: &str =
    "[systems.product]\nkind = \"postgres\"\n[systems.stripe]\nkind = \"stripe\"\ndeletes = \"keep\"\n[systems.crm]\nkind = \"topic\"\n";

fn reset(world: &World, args: &[&str]) -> (i32, String, String) {
    let done = world.command().arg("reset").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

fn configured(world: &World, partitions: i32) {
    std::fs::write(world.folder.path().join("concord.toml"), format!("partitions = {partitions}\n{SYSTEMS}")).unwrap();
}

async fn publish(world: &World, key: &str, fields: Json) {
    let records = json!({"records": [{"key": key, "value": {"fields": fields}}]});
    let (status, body) = world.ask(reqwest::Method::POST, "/api/v1/topics/customers.crm/records", Some(records)).await;
    assert!(status == 200 && body["accepted"] == 1, "{body}");
}

/// What the product shows of everybody, by name; and that Stripe shows the same of each, once.
async fn product(world: &World) -> BTreeMap<String, (Json, Json)> {
    let rows = world.rows("select name, email, phone from public.customers").await;
    rows.into_iter().map(|row| (row["name"].as_str().unwrap().to_owned(), (row["email"].clone(), row["phone"].clone()))).collect()
}

fn stripe(world: &World) -> BTreeMap<String, (Json, Json)> {
    let all = world.in_stripe();
    let by_name: BTreeMap<_, _> =
        all.iter().map(|it| (it["name"].as_str().unwrap().to_owned(), (it["email"].clone(), it["phone"].clone()))).collect();
    assert_eq!(by_name.len(), all.len(), "somebody is in Stripe twice: {all:#?}");
    by_name
}

fn one<'a>(people: &'a BTreeMap<String, (Json, Json)>, name: &str) -> Option<&'a (Json, Json)> {
    people.get(name)
}

/// The records of one customer, by system; who it is was found by the e-mail.
async fn records(world: &World, email: &str) -> BTreeMap<String, String> {
    let found = world.get(&format!("/api/v1/customers?email={email}")).await;
    let all = found.as_array().unwrap();
    assert!(all.len() <= 1, "{found:#}");
    let records = all.first().and_then(|it| it["records"].as_object());
    let id = |(system, record): (&String, &Json)| (system.clone(), record["external_id"].as_str().unwrap().to_owned());
    records.into_iter().flatten().map(id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_a_reset_makes_nobody_twice_and_loses_no_edit() {
    let mut world = World::prepared(Plan { config: Some(format!("partitions = 2\n{SYSTEMS}")), ..Plan::usual() }).await;
    assert_eq!(reset(&world, &["--execute", "--yes"]).0, 0, "there is nothing to reset");
    world.start().await;
    world.add(json!({"id": "ada", "name": "Ada", "email": "ada@example.com"})).await;
    world.add(json!({"id": "dave", "name": "Dave", "email": "dave@example.com"})).await;
    world.add(json!({"id": "erin", "name": "Erin", "email": "erin@example.com"})).await;
    // Nothing but the link tells that he is one.
    let bob = world.stripe().create(json!({"name": "Bob"})).unwrap()["id"].as_str().unwrap().to_owned();
    publish(&world, "7", json!({"name": "Carol", "email": "old@example.com"})).await;
    let everywhere = async |w: &World| product(w).await.len() == 5 && product(w).await == stripe(w);
    world.until("everybody is everywhere", everywhere).await;
    // The topic goes on to show an address that she has no longer, and an older name before the one that she has.
    world.sql("update public.customers set email = 'carol@example.com' where name = 'Carol'").await;
    world.until("Stripe has her address", async |w: &World| w.stripe_by_email("carol@example.com").len() == 1).await;
    publish(&world, "7", json!({"name": "Caroline", "email": "old@example.com"})).await;
    world.until("her name is Caroline", async |w: &World| one(&stripe(w), "Caroline").is_some()).await;
    world.sql("delete from public.customers where id = 'dave'").await;
    world
        .until("his record is gone", async |w: &World| records(w, "dave@example.com").await.len() == 2 && product(w).await.len() == 4)
        .await;
    world
        .until("they are in step", async |w: &World| product(w).await == stripe(w).into_iter().filter(|(name, _)| name != "Dave").collect())
        .await;
    let carol = records(&world, "carol@example.com").await;
    assert_eq!(carol.len(), 3);

    // Beside the process it is told what would be done, and nothing is.
    let (code, out, err) = reset(&world, &[]);
    assert!(code == 2 && out.contains("stays topic     customers.crm (2)") && out.contains("anew  store     customers (5)"), "{out}{err}");
    assert!(out.contains("goes  topic     requests.stripe"), "{out}");
    let (code, _, err) = reset(&world, &["--execute", "--yes"]);
    assert!(code == 1 && err.contains("Concord is running"), "{err}");
    assert!(world.terminate().1);
    let (code, _, err) = reset(&world, &["--execute"]);
    assert!(code == 1 && err.contains("give --yes"), "{err}");

    // People go on meanwhile; and the log gets other partitions.
    let id = |name: &str, world: &World| world.in_stripe().iter().find(|it| it["name"] == name).unwrap()["id"].as_str().unwrap().to_owned();
    world.stripe().update(&id("Ada", &world), json!({"phone": "+44 1"})).unwrap();
    world.sql("update public.customers set name = 'Ada King' where id = 'ada'").await;
    world.stripe().update(&bob, json!({"phone": "+44 2"})).unwrap();
    world.sql("delete from public.customers where id = 'erin'").await;
    world.stripe().create(json!({"name": "Frank", "email": "frank@example.com"})).unwrap();
    configured(&world, 3);
    let (code, out, err) = reset(&world, &["--execute", "--yes", "--json"]);
    assert_eq!(code, 0, "{out}{err}");
    let told: Json = serde_json::from_str(&out).unwrap();
    let backup = world.data.join(told["backup"].as_str().unwrap());
    assert!(backup.exists() && told["done"] == true, "{told:#}");

    let made = world.stripe().requests("create");
    world.start().await;
    let in_step = async |w: &World| {
        let (ours, theirs) = (product(w).await, stripe(w));
        let lives_on = |name: &str| name == "Dave" || name == "Erin";
        one(&ours, "Ada King") == Some(&(json!("ada@example.com"), json!("+44 1")))
            && one(&ours, "Bob") == Some(&(Json::Null, json!("+44 2")))
            && ours.contains_key("Frank")
            && ours == theirs.into_iter().filter(|(name, _)| !lives_on(name)).collect()
    };
    world.until("what was edited meanwhile is everywhere", in_step).await;
    world.until("the golden tables have everybody", async |w: &World| w.rows("select 1 from concord.customers").await.len() == 6).await;
    assert_eq!(records(&world, "carol@example.com").await, carol);
    publish(&world, "7", json!({"name": "Caro", "email": "old@example.com"})).await;
    world.until("the topic goes on", async |w: &World| one(&stripe(w), "Caro").is_some() && one(&product(w).await, "Caro").is_some()).await;

    // Once more, after kill -9, with the partitions that there are.
    world.kill();
    world.stripe().update(&id("Caro", &world), json!({"name": "Carol"})).unwrap();
    let (code, out, err) = reset(&world, &["--execute", "--yes"]);
    assert!(code == 0 && out.contains("log.sqlite.before-"), "{out}{err}");
    world.start().await;
    world.until("her name is Carol again", async |w: &World| one(&product(w).await, "Carol").is_some()).await;
    world.until("nothing else changed", in_step).await;
    assert_eq!(world.get("/api/v1/conflicts").await, json!([]), "each edit was one on top of what everybody knew");
    publish(&world, "7", json!({"name": "Caroline", "email": "old@example.com"})).await;
    world.until("the topic goes on", async |w: &World| one(&stripe(w), "Caroline").is_some()).await;
    world.until("and they are in step", in_step).await;
    assert_eq!(records(&world, "carol@example.com").await, carol);
    let people: Vec<String> = product(&world).await.into_keys().collect();
    assert_eq!(people, ["Ada King", "Bob", "Caroline", "Frank"], "who was deleted stays so");
    assert_eq!((world.stripe().requests("create"), stripe(&world).len()), (made, 6), "nobody is made twice");

    // What is known of customers goes, too: they find each other by e-mail.
    world.terminate();
    let (code, out, err) = reset(&world, &["--execute", "--yes", "--forget-links"]);
    assert!(code == 0 && out.contains("goes  store     customers") && out.contains("stays topic     customers.crm"), "{out}{err}");
    world.start().await;
    world
        .until("ada is one customer", async |w: &World| {
            let ada = records(w, "ada@example.com").await;
            ada.len() == 2 && ada["product"] == "ada"
        })
        .await;
}
