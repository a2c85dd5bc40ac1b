//! An edit made anywhere is everywhere; people known before the start are linked or made once.

use crate::world::{Plan, World};
use reqwest::Method;
use sandbox::{Fault, On, Rule};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_an_edit_made_anywhere_is_everywhere() {
    let world = World::running(Plan::usual()).await;

    // Added in the product, it is made in Stripe; once.
    world.add(json!({"id": "ada", "name": "Ada", "email": "ada@example.com", "address": {"line1": "1 Main St", "country": "GB"}, "attributes": {"plan": "pro"}})).await;
    world.until("ada is in Stripe", async |w: &World| w.stripe_by_email("ada@example.com").len() == 1).await;
    let made = world.stripe_by_email("ada@example.com").remove(0);
    assert_eq!((&made["name"], &made["address"]["line1"], &made["metadata"]["plan"]), (&json!("Ada"), &json!("1 Main St"), &json!("pro")));
    let id = made["id"].as_str().unwrap().to_string();

    // Edited in Stripe, by plain SQL, and through the API.
    world.stripe().update(&id, json!({"phone": "+44 1", "metadata": {"plan": "max"}})).unwrap();
    world
        .until("the phone is in the product", async |w: &World| {
            w.rows("select 1 from public.customers where id = 'ada' and phone = '+44 1' and attributes ->> 'plan' = 'max'").await.len() == 1
        })
        .await;
    world.sql("update public.customers set name = 'Ada King' where id = 'ada'").await;
    world.until("the name is in Stripe", async |w: &World| w.stripe().customer(&id).unwrap()["name"] == "Ada King").await;
    world.ask(Method::PATCH, "/api/v1/myproduct/customers/ada/", Some(json!({"phone": null, "address": {"line1": "2 High St"}}))).await;
    world
        .until("phone and address are in Stripe", async |w: &World| {
            let now = w.stripe().customer(&id).unwrap();
            now["phone"].is_null() && now["address"]["line1"] == "2 High St"
        })
        .await;

    // Added in Stripe, it is made in the product.
    let grace = world.stripe().create(json!({"name": "Grace", "email": "Grace@Example.com"})).unwrap();
    world
        .until("grace is in the product", async |w: &World| {
            w.rows("select 1 from public.customers where email = 'Grace@Example.com'").await.len() == 1
        })
        .await;

    // The unified customer says what each system shows, and where each value is from.
    world
        .until("grace is in step", async |w: &World| {
            let found = w.get("/api/v1/customers?email=grace@example.com").await;
            found.as_array().unwrap().len() == 1
                && found[0]["records"]["product"]["in_step"] == true
                && found[0]["records"]["stripe"]["in_step"] == true
        })
        .await;
    let found = world.get(&format!("/api/v1/customers?system=stripe&external_id={}", grace["id"].as_str().unwrap())).await;
    assert_eq!(found[0]["fields"]["name"]["system"], "stripe");
    let one = world.get(&format!("/api/v1/customers/{}", found[0]["customer_id"].as_str().unwrap())).await;
    assert_eq!(one, found[0]);

    // Deleted in the product, it is deleted in Stripe, and the other way round.
    world.ask(Method::DELETE, "/api/v1/myproduct/customers/ada/", None).await;
    world.until("ada is gone from Stripe", async |w: &World| w.stripe().customer(&id).unwrap()["deleted"] == true).await;
    world.stripe().delete(grace["id"].as_str().unwrap()).unwrap();
    world.until("grace is gone from the product", async |w: &World| w.rows("select 1 from public.customers").await.is_empty()).await;
    assert!(world.get("/api/v1/conflicts").await.as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_an_id_that_comes_back_in_one_transaction_is_somebody_new() {
    let world = World::running(Plan::usual()).await;
    world.sql("insert into public.customers (id, name, email) values ('bob', 'Bob Two', 'bob@example.com')").await;
    world.until("bob is in Stripe", async |w: &World| w.stripe_by_email("bob@example.com").len() == 1).await;
    world
        .sql(
            "begin; delete from public.customers where id = 'bob';
             insert into public.customers (id, name, email) values ('bob', 'Bob Three', 'bob@example.com'); commit",
        )
        .await;
    // The golden tables show whom the row is now, and go on.
    world
        .until("the id is linked to the new customer", async |w: &World| {
            let found = w.get("/api/v1/customers?system=product&external_id=bob").await;
            found
                .as_array()
                .is_some_and(|all| all.len() == 1 && all[0]["fields"]["name"]["value"] == "Bob Three" && all[0]["deleted"] == false)
        })
        .await;
    world.sql("insert into public.customers (id, name, email) values ('cleo', 'Cleo', 'cleo@example.com')").await;
    world
        .until("who comes after is there", async |w: &World| {
            w.get("/api/v1/customers?email=cleo@example.com").await.as_array().is_some_and(|all| all.len() == 1)
        })
        .await;
    assert_eq!(world.status("/readyz").await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_a_customer_that_the_golden_tables_refuse_holds_nobody_up() {
    let world = World::running(Plan::usual()).await;
    world.sql("alter table concord.customers add constraint nobody check (name <> 'Eve')").await;
    world
        .sql("insert into public.customers (id, name, email) values ('eve', 'Eve', 'eve@example.com'), ('flo', 'Flo', 'flo@example.com')")
        .await;
    world
        .until("flo is there", async |w: &World| {
            w.get("/api/v1/customers?email=flo@example.com").await.as_array().is_some_and(|all| all.len() == 1)
        })
        .await;
    world.until("eve is in Stripe", async |w: &World| w.stripe_by_email("eve@example.com").len() == 1).await;
    assert!(world.get("/api/v1/customers?email=eve@example.com").await.as_array().unwrap().is_empty());
    assert_eq!(world.status("/readyz").await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_people_known_before_the_start_are_linked_or_made_once() {
    for events_api in [true, false] {
        let product = "[systems.product]\nkind = \"postgres\"\n";
        let mut world = World::prepared(Plan { events_api, config: Some(product.into()), ..Plan::usual() }).await;
        // Concord has run before, so that its table is there, and has never met Stripe. Then it stands still while people work.
        world.start().await;
        world.terminate();
        let both = format!("{product}[systems.stripe]\nkind = \"stripe\"\n");
        std::fs::write(world.data.with_file_name("concord.toml"), both).unwrap();
        for n in 0..40 {
            world
                .sql(&format!("insert into public.customers (id, name, email) values ('p{n}', 'Person {n}', 'person{n}@example.com')"))
                .await;
        }
        for n in 20..60 {
            let phone = format!("+44 {n}");
            world
                .stripe()
                .create(json!({"name": format!("Person {n}"), "email": format!("Person{n}@example.com"), "phone": phone}))
                .unwrap();
        }
        world.start().await;
        world
            .until("all sixty are everywhere", async |w: &World| {
                let product = w.rows("select id from public.customers").await.len();
                product >= 60 && w.in_stripe().len() >= 60
            })
            .await;
        world
            .until("all are in step", async |w: &World| {
                let all = w.get("/api/v1/customers?limit=500").await;
                let all = all.as_array().unwrap();
                all.len() == 60
                    && all.iter().all(|c| c["records"]["product"]["in_step"] == true && c["records"]["stripe"]["in_step"] == true)
            })
            .await;
        assert_eq!(world.rows("select id from public.customers").await.len(), 60, "each is there once (events: {events_api})");
        assert_eq!(world.in_stripe().len(), 60, "each is there once (events: {events_api})");
        assert_eq!(world.rows("select 1 from public.customers where phone is not null").await.len(), 40, "phones came over from Stripe");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_somebody_added_on_both_sides_while_concord_is_stopped_is_one_customer() {
    for events_api in [true, false] {
        let mut world = World::running(Plan { events_api, ..Plan::usual() }).await;
        world.add(json!({"id": "ada", "name": "Ada", "email": "ada@example.com"})).await;
        world.until("ada is in Stripe", async |w: &World| w.stripe_by_email("ada@example.com").len() == 1).await;
        world.terminate();

        // Spelt otherwise, no webhook tells of her, and what tells of her is late: whoever asks by e-mail does not find her.
        world.stripe().fault(Rule::next(1, Fault::WebhookDrop));
        world.stripe().fault(Rule::next(3, Fault::SlowAfter { ms: 700 }).on(On::Retrieve));
        world.stripe().fault(Rule::next(2, Fault::SlowAfter { ms: 1_000 }).on(On::Events));
        world.sql("insert into public.customers (id, name, email) values ('ann', 'Ann', 'ann@example.com')").await;
        let hers = world.stripe().create(json!({"name": "Ann", "email": "Ann@Example.com"})).unwrap();
        world.start().await;
        world
            .until("ann is one customer, in step on both sides", async |w: &World| {
                let found = w.get("/api/v1/customers?email=ann@example.com").await;
                let all = found.as_array().unwrap();
                all.len() == 1
                    && all[0]["records"]["product"]["in_step"] == true
                    && all[0]["records"]["stripe"]["in_step"] == true
                    && all[0]["records"]["stripe"]["external_id"] == hers["id"]
            })
            .await;
        // Who comes after her is made, so that nothing is still to be done for her.
        world.add(json!({"id": "bob", "name": "Bob", "email": "bob@example.com"})).await;
        world.until("bob is in Stripe", async |w: &World| w.stripe_by_email("bob@example.com").len() == 1).await;
        assert_eq!(world.in_stripe().len(), 3, "each is there once (events: {events_api})");
        assert_eq!(world.stripe().requests("create"), 2, "ada and bob (events: {events_api})");
        assert!(world.get("/api/v1/conflicts").await.as_array().unwrap().is_empty());
        let ready = world.get("/readyz").await;
        assert_eq!(ready["components"]["stripe"], json!({"status": "ok", "detail": null}), "it has caught up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_while_the_catch_up_fails_it_says_that_creates_wait() {
    let mut world = World::running(Plan::usual()).await;
    world.until("it has caught up", async |w: &World| w.get("/readyz").await["components"]["stripe"]["detail"].is_null()).await;
    world.terminate();
    world.stripe().fault(Rule::always(Fault::StatusBefore { status: 503, code: None, stored: false, retry_after: None }).on(On::Events));
    world.start().await;
    world.add(json!({"id": "ann", "name": "Ann", "email": "ann@example.com"})).await;
    world
        .until("it says so", async |w: &World| {
            let stripe = &w.get("/readyz").await["components"]["stripe"];
            stripe["status"] == "degraded" && stripe["detail"].as_str().unwrap_or_default().contains("creates wait")
        })
        .await;
    assert_eq!(world.stripe().requests("create"), 0);
    world.stripe().clear_faults();
    world.until("ann is in Stripe", async |w: &World| w.stripe_by_email("ann@example.com").len() == 1).await;
    world.until("it has caught up", async |w: &World| w.get("/readyz").await["components"]["stripe"]["status"] == "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_with_mode_read_nothing_is_written_to_stripe() {
    let config = "[systems.product]\nkind = \"postgres\"\n[systems.stripe]\nkind = \"stripe\"\nmode = \"read\"\n";
    let world = World::running(Plan { config: Some(config.into()), ..Plan::usual() }).await;
    let grace = world.stripe().create(json!({"name": "Grace", "email": "grace@example.com"})).unwrap();
    world.until("grace is in the product", async |w: &World| w.rows("select 1 from public.customers").await.len() == 1).await;
    world.sql("update public.customers set name = 'Grace H'").await;
    world.add(json!({"id": "ada", "name": "Ada", "email": "ada@example.com"})).await;
    world
        .until("both are unified, and Grace's Stripe is known not to be in step", async |w: &World| {
            let all = w.get("/api/v1/customers").await;
            let all = all.as_array().unwrap();
            all.len() == 2 && all.iter().any(|c| c["fields"]["name"]["value"] == "Grace H" && c["records"]["stripe"]["in_step"] == false)
        })
        .await;
    assert_eq!(world.stripe().customer(grace["id"].as_str().unwrap()).unwrap()["name"], "Grace");
    for kind in ["create", "update", "delete"] {
        assert_eq!(world.stripe().requests(kind), 0, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_a_value_that_is_refused_is_shown_and_holds_nothing_else_up() {
    let world = World::running(Plan::usual()).await;
    let long = "x".repeat(600);
    world.add(json!({"id": "ada", "name": "Ada", "email": "ada@example.com", "attributes": {"note": long}})).await;
    world.until("ada is made without the note", async |w: &World| w.stripe_by_email("ada@example.com").len() == 1).await;
    world
        .until("the refusal is a conflict", async |w: &World| {
            let conflicts = w.get("/api/v1/conflicts?kind=refused").await;
            conflicts.as_array().unwrap().iter().any(|c| c["field"] == "attributes.note" && c["system"] == "stripe")
        })
        .await;
    world.sql("update public.customers set name = 'Ada King'").await;
    world.until("the name goes on", async |w: &World| w.stripe_by_email("ada@example.com")[0]["name"] == "Ada King").await;
    world.sql("update public.customers set attributes = '{\"note\": \"short\"}'").await;
    world
        .until("a note that fits goes over", async |w: &World| w.stripe_by_email("ada@example.com")[0]["metadata"]["note"] == "short")
        .await;
}
