//! The commands that people type.

use crate::world::{KEY, Plan, SECRET, World};
use serde_json::{Value as Json, json};
use std::time::Duration;

const WITH_CRM: &str = "[systems.product]\nkind = \"postgres\"\n[systems.stripe]\nkind = \"stripe\"\n[systems.crm]\nkind = \"topic\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_the_command_line_publishes_shows_and_follows() {
    let mut world = World::running(Plan { config: Some(WITH_CRM.into()), ..Plan::usual() }).await;

    // Publish: good lines are taken, bad ones named.
    let lines = [
        r#"{"id":"7","fields":{"name":"Grace","email":"grace@example.com"}}"#,
        "not json",
        r#"{"fields":{"name":"No key"}}"#,
        r#"{"id":"8","fields":{"nme":"typo"}}"#,
        r#"{"id":"9","fields":{"name":"Alan","email":"alan@example.com","attributes":{"plan":"pro"}}}"#,
        r#"{"id":"10","order":5,"fields":{"name":"Mallory"}}"#,
    ];
    let file = world.folder.path().join("people.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let (ok, _, err) = world.run(&["publish", "customers.crm", file.to_str().unwrap(), "--key-field", "id"]);
    assert!(!ok, "bad lines are an error");
    for (line, what) in [("line 2:", "not JSON"), ("line 3:", "id"), ("line 4:", "nme"), ("line 6:", "order")] {
        let said = err.lines().find(|l| l.starts_with(line)).unwrap_or_else(|| panic!("{line} is not named in {err}"));
        assert!(said.contains(what), "{said}");
    }
    assert!(err.contains("published 2 records"), "{err}");
    let (ok, _, err) = world.run(&["publish", "customers.nowhere", file.to_str().unwrap(), "--key-field", "id"]);
    assert!(!ok && err.contains("customers.crm"), "{err}");

    // They are merged into the unified customers, and pushed to the other systems.
    world
        .until("both are in Stripe and in the product", async |w: &World| {
            w.in_stripe().len() == 2 && w.rows("select 1 from public.customers").await.len() == 2
        })
        .await;
    let (ok, out, err) = world.run(&["customers", "list", "--system", "crm", "--json"]);
    let listed: Vec<Json> = serde_json::from_str(&out).unwrap();
    assert!(ok && listed.len() == 2, "{out} {err}");
    let (ok, out, err) = world.run(&["customers", "show", "crm", "9"]);
    assert!(ok && out.contains("Alan") && out.contains("attributes.plan") && out.contains("stripe cus_"), "{out} {err}");
    let (ok, _, err) = world.run(&["customers", "show", "crm", "nobody"]);
    assert!(!ok && err.contains("nobody"), "{err}");

    // Consume: Avro as JSON lines, with or without the process.
    let (ok, out, err) = world.run(&["consume", "customers.crm"]);
    let consumed: Vec<Json> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(ok, "{err}");
    assert_eq!(consumed.len(), 2);
    let alan = consumed.iter().find(|r| r["key"] == "9").unwrap();
    assert_eq!(alan["value"]["fields"]["attributes"], json!({"plan": "pro"}));
    assert!(world.run(&["consume", "customers.unified", "--max", "1"]).1.lines().count() == 1);
    let (ok, _, err) = world.run(&["consume", "customers.typo"]);
    assert!(!ok && err.contains("customers.unified"), "{err}");

    // How it is doing.
    let (ok, out, err) = world.run(&["status", "--json"]);
    let status: Json = serde_json::from_str(&out).unwrap();
    assert!(ok && status["components"]["log"]["status"] == "ok", "{out} {err}");
    assert!(world.run(&["healthcheck"]).0);
    assert!(world.run(&["conflicts"]).0);
    let (ok, out, err) = world.run(&["validate"]);
    assert!(ok && out.contains("stripe (stripe)"), "{out} {err}");
    let (ok, out, err) = world.run(&["topology", "describe"]);
    assert!(ok && out.starts_with("Topologies:") && out.contains("customers.crm"), "{out} {err}");
    assert!(world.run(&["topology", "graph"]).1.starts_with("flowchart LR"));

    // A second process on the same folder is refused; a stop is quick; the log can be written without a process, too.
    let second = crate::world::free_address().to_string();
    let (ok, _, err) = world.run(&["run", "--listen", &second]);
    assert!(!ok && err.contains(&world.data.display().to_string()), "{err}");
    let (took, well) = world.terminate();
    assert!(well && took < Duration::from_secs(10), "{took:?}");
    assert!(!world.run(&["healthcheck"]).0);
    let (ok, _, err) = world.run(&["customers", "list"]);
    assert!(!ok && err.contains("is Concord running"), "{err}");
    std::fs::write(&file, r#"{"fields":{"name":"Grace Hopper","email":"grace@example.com"}}"#).unwrap();
    let (ok, _, err) = world.run(&["publish", "customers.crm", file.to_str().unwrap(), "--key", "7"]);
    assert!(ok, "{err}");
    world.start().await;
    world
        .until("what was published while nothing ran is in Stripe", async |w: &World| {
            w.stripe_by_email("grace@example.com")[0]["name"] == "Grace Hopper"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_a_wrong_configuration_is_named_and_no_secret_is_shown() {
    let mut world =
        World::prepared(Plan { config: Some("[systems.product]\nkind = \"postgres\"\ntabel = \"x\"\n".into()), ..Plan::usual() }).await;
    let (ok, _, err) = world.run(&["validate"]);
    assert!(!ok && err.contains("tabel"), "{err}");
    assert!(!world.run(&["run"]).0);
    world.env.retain(|(name, _)| name != "CONCORD_CONFIG");
    world.env.push(("STRIPE_API_KEY".into(), "sk_test_somebodyelse".into()));
    let (ok, out, err) = world.run(&["validate", "--json"]);
    assert!(!ok, "{out}");
    for text in [&out, &err] {
        assert!(!text.contains("sk_test_somebodyelse") && !text.contains(KEY) && !text.contains(SECRET), "{text}");
    }
}
