//! `kill -9` at random under load, with a vendor that misbehaves: at rest all three places agree, and every value is somebody's.

use crate::world::{Plan, World};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sandbox::{Fault, On, Rule};
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const PEOPLE: usize = 12;
const KILLS: usize = 20;

fn email(person: usize) -> String {
    format!("person{person}@example.com")
}

fn misbehaviour() -> Vec<Rule> {
    vec![
        Rule::chance(0.05, Fault::WebhookDrop),
        Rule::chance(0.10, Fault::WebhookDouble),
        Rule::chance(0.10, Fault::WebhookDelay { ms: 150 }),
        Rule::chance(0.10, Fault::WebhookReorder { ms: 100 }),
        Rule::chance(0.03, Fault::StatusBefore { status: 429, code: None, stored: false, retry_after: None }),
        Rule::chance(0.03, Fault::StatusBefore { status: 500, code: None, stored: false, retry_after: None }),
        Rule::chance(0.03, Fault::StatusAfter { status: 500, stored: true }).on(On::Writes),
        Rule::chance(0.03, Fault::ResetBefore),
        Rule::chance(0.03, Fault::ResetAfter).on(On::Writes),
        Rule::chance(0.03, Fault::SlowAfter { ms: 100 }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_killed_twenty_times_under_load_nothing_is_lost_and_all_agree() {
    let seed = std::env::var("CONCORD_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_124u64);
    eprintln!("seed {seed} (CONCORD_SEED runs it again)");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut world = World::running(Plan::usual()).await;
    for person in 0..PEOPLE {
        if person % 2 == 0 {
            world.sql(&format!("insert into public.customers (id, name, email) values ('p{person}', 'first', '{}')", email(person))).await;
        } else {
            world.stripe().create(json!({"name": "first", "email": email(person)})).unwrap();
        }
    }
    world
        .until("everybody is everywhere", async |w: &World| {
            w.in_stripe().len() == PEOPLE && w.rows("select 1 from public.customers").await.len() == PEOPLE
        })
        .await;
    let stripe_ids: BTreeMap<String, String> =
        world.in_stripe().iter().map(|c| (c["email"].as_str().unwrap().to_string(), c["id"].as_str().unwrap().to_string())).collect();

    world.stripe().faults(misbehaviour(), seed);
    // Every value that a person typed, per person and field.
    let mut typed: BTreeMap<(usize, &str), BTreeSet<String>> = BTreeMap::new();
    let mut count = 0;
    for kill in 0..KILLS {
        for _ in 0..dice.random_range(10..30) {
            let person = dice.random_range(0..PEOPLE);
            let field = ["name", "phone"][dice.random_range(0..2)];
            count += 1;
            let value = format!("{field} {count}");
            typed.entry((person, field)).or_default().insert(value.clone());
            if dice.random_bool(0.5) {
                world.sql(&format!("update public.customers set {field} = '{value}' where email = '{}'", email(person))).await;
            } else {
                world.stripe().update(&stripe_ids[&email(person)], json!({ field: value })).unwrap();
            }
            if dice.random_bool(0.3) {
                tokio::time::sleep(Duration::from_millis(dice.random_range(0..20))).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..150))).await;
        world.kill();
        world.launch();
        eprintln!("kill {} of {KILLS}, {count} edits so far", kill + 1);
        if dice.random_bool(0.5) {
            world.until("it is ready again", async |w: &World| w.status("/readyz").await == Some(200)).await;
        }
    }
    world.stripe().clear_faults();
    world.until("it is ready again", async |w: &World| w.status("/readyz").await == Some(200)).await;

    // At rest: the product, Stripe and the unified topic show the same, and a while later still do.
    let agreed = async |w: &World| -> Option<BTreeMap<String, (Json, Json)>> {
        let rows = w.rows("select email, name, phone from public.customers").await;
        let product: BTreeMap<String, (Json, Json)> = rows
            .into_iter()
            .map(|r| (r["email"].as_str().unwrap_or_default().to_string(), (r["name"].clone(), r["phone"].clone())))
            .collect();
        let stripe: BTreeMap<String, (Json, Json)> = w
            .in_stripe()
            .into_iter()
            .map(|c| (c["email"].as_str().unwrap_or_default().to_string(), (c["name"].clone(), c["phone"].clone())))
            .collect();
        let unified = w.get("/api/v1/customers?limit=500").await;
        let golden: BTreeMap<String, (Json, Json)> = unified
            .as_array()?
            .iter()
            .map(|c| {
                let value = |field: &str| c["fields"][field]["value"].clone();
                (value("email").as_str().unwrap_or_default().to_string(), (value("name"), value("phone")))
            })
            .collect();
        let in_step =
            unified.as_array()?.iter().all(|c| c["records"]["stripe"]["in_step"] == true && c["records"]["product"]["in_step"] == true);
        (product == stripe && product == golden && in_step && product.len() == PEOPLE).then_some(product)
    };
    world.until("all three agree", async |w: &World| w.stripe().pending_webhooks() == 0 && agreed(w).await.is_some()).await;
    let writes = |w: &World| w.stripe().requests("update") + w.stripe().requests("create") + w.stripe().requests("delete");
    let (before, rest) = (writes(&world), agreed(&world).await.expect("they agree"));
    tokio::time::sleep(Duration::from_secs(12)).await; // past the next look at Stripe's events
    assert_eq!(agreed(&world).await.as_ref(), Some(&rest), "at rest nothing changes");
    assert_eq!(writes(&world), before, "at rest nothing is written");

    // Each value is one that a person typed; and the values that lost to one that did not know of them are on record.
    let mut conflicts = Vec::new();
    let mut next = Some("/api/v1/conflicts?limit=500".to_string());
    while let Some(path) = next {
        let answer = world.http.get(world.url(&path)).send().await.unwrap();
        next = answer.headers().get("link").map(|link| link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_string());
        conflicts.extend(answer.json::<Vec<Json>>().await.unwrap());
    }
    for ((person, field), values) in &typed {
        let (name, phone) = &rest[&email(*person)];
        let now = if *field == "name" { name } else { phone };
        assert!(values.contains(now.as_str().unwrap_or_default()), "person {person}: {field} is {now}, which nobody typed");
    }
    assert_eq!(world.in_stripe().len(), PEOPLE, "nobody was made twice");
    eprintln!("{KILLS} kills, {count} edits, {} conflicts on record, lost 0, duplicates 0", conflicts.len());
}
