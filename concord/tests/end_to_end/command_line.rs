//! The commands that people type.

use crate::world::{KEY, Plan, SECRET, World};
use reqwest::Method;
use serde_json::{Value as Json, json};
use std::{process::Stdio, time::Duration};

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

    // What a source of ours writes takes nothing from outside, and says where to edit instead.
    for (topic, instead) in [("customers.stripe", "in Stripe"), ("customers.product", "/api/v1/myproduct/customers/")] {
        let (ok, _, err) = world.run(&["publish", topic, file.to_str().unwrap(), "--key-field", "id"]);
        assert!(!ok && err.contains(instead) && !err.contains("published"), "{err}");
        assert!(!world.run(&["consume", topic]).1.contains(r#""key":"7""#), "{topic}");
    }
    let records = json!({"records": [{"key": "1", "value": {"fields": {"name": "Eve"}}}]});
    let (status, body) = world.ask(Method::POST, "/api/v1/topics/customers.stripe/records", Some(records)).await;
    assert_eq!(status, 409, "{body}");

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
    assert!(!ok && err.contains("crm:nobody"), "{err}");
    let (ok, out, err) = world.run(&["customers", "show", "crm:9"]);
    assert!(ok && out.contains("Alan"), "{out} {err}");
    for who in ["nobody", "alan@example.com", "0b0f6c2e-0000-5000-8000-000000000000"] {
        let (ok, _, err) = world.run(&["customers", "show", who]);
        assert!(!ok, "{who}");
        for part in [who, "SYSTEM:ID", "customer id", "concord customers list", "--email"] {
            assert!(err.contains(part), "{part} is not in {err}");
        }
    }

    // A filter that can match nothing is a mistake, and the answer names what there is.
    for (args, path, valid) in [
        (["customers", "list", "--system", "nosuch"].as_slice(), "/api/v1/customers?system=nosuch", "crm, product, stripe"),
        (&["customers", "show", "nosuch:1"], "/api/v1/customers?system=nosuch&external_id=1", "crm, product, stripe"),
        (&["conflicts", "--kind", "nosuch"], "/api/v1/conflicts?kind=nosuch", "edits, covered, duplicate_candidate"),
        (&["conflicts", "--after", "nosuch"], "/api/v1/conflicts?after=nosuch", "No conflict has this id"),
    ] {
        let (ok, out, err) = world.run(args);
        assert!(!ok && out.is_empty() && err.contains(valid), "{args:?}: {out} {err}");
        let (status, body) = world.ask(Method::GET, path, None).await;
        assert!(status == 400 && body.to_string().contains(valid), "{path}: {status} {body}");
    }

    // A table that leaves something out says how to go on; its next page is what comes after.
    assert!(!world.run(&["customers", "list", "--limit", "0"]).0);
    let (ok, first, err) = world.run(&["customers", "list", "--limit", "1"]);
    let after = err.split_whitespace().skip_while(|word| *word != "--after").nth(1).unwrap_or_default().trim_end_matches(';').to_string();
    assert!(ok && first.lines().count() == 2 && first.contains(&after) && after.len() == 36, "{first} {err}");
    let (ok, second, err) = world.run(&["customers", "list", "--limit", "1", "--after", &after]);
    assert!(ok && second.lines().count() == 2 && !second.contains(&after) && err.is_empty(), "{second} {err}");
    let (ok, out, err) = world.run(&["customers", "list", "--limit", "1", "--json"]);
    assert!(ok && out.contains(&after) && err.is_empty(), "{out} {err}");

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

    // A second record of one person in one system: both are named.
    world.stripe().create(json!({"name": "Al", "email": "alan@example.com"})).unwrap();
    world.until("both are a conflict", async |w: &World| w.get("/api/v1/conflicts").await.as_array().unwrap().len() == 1).await;
    let (ok, out, err) = world.run(&["conflicts", "--kind", "duplicate_candidate"]);
    let alans = world.stripe_by_email("alan@example.com");
    assert_eq!(alans.len(), 2);
    for record in alans.iter().map(|alan| format!("stripe:{}", alan["id"].as_str().unwrap())) {
        assert!(ok && out.contains(&record), "{record}: {out} {err}");
        assert!(world.run(&["customers", "show", &record]).0, "{record}");
    }

    // How it is doing.
    let (ok, out, err) = world.run(&["status", "--json"]);
    let status: Json = serde_json::from_str(&out).unwrap();
    assert!(ok && status["components"]["log"]["status"] == "ok", "{out} {err}");
    assert!(world.run(&["healthcheck"]).0);
    assert!(world.run(&["conflicts"]).0);
    let (ok, out, err) = world.run(&["validate"]);
    assert!(ok && out.contains("stripe (stripe)"), "{out} {err}");
    let nowhere = format!("{}nosuch", world.postgres.url().strip_suffix("concord").unwrap());
    let done = world.command().env("DATABASE_URL", nowhere).arg("validate").output().unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(!done.status.success() && out.contains("\"nosuch\" does not exist (3D000)") && !out.contains("at line"), "{out}");
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
    let (ok, _, err) = world.run(&["publish", "customers.stripe", file.to_str().unwrap(), "--key", "cus_7"]);
    assert!(!ok && err.contains("in Stripe"), "{err}");
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
async fn end_to_end_a_snapshot_may_say_when_its_edit_was_made() {
    let world = World::running(Plan { config: Some(WITH_CRM.into()), ..Plan::usual() }).await;
    let publish = async |name: &str, notices: Json| {
        let value = json!({"fields": {"name": name, "email": "grace@example.com"}, "notices": notices});
        let records = json!({"records": [{"key": "7", "value": value}]});
        let (status, body) = world.ask(Method::POST, "/api/v1/topics/customers.crm/records", Some(records)).await;
        assert_eq!((status, &body), (200, &json!({"accepted": 1, "errors": []})));
    };
    let golden = async |w: &World| w.get("/api/v1/customers").await[0]["fields"]["name"].clone();
    publish("Grace", json!([])).await;
    world.until("she is in the product", async |w: &World| w.rows("select 1 from public.customers").await.len() == 1).await;
    world.sql("update public.customers set name = 'Grace P.'").await;
    world.until("the product's edit is golden", async |w: &World| golden(w).await["value"] == "Grace P.").await;

    // Without a time it was edited at its last snapshot at the earliest: the product's edit is later.
    publish("Grace C.", json!([])).await;
    world
        .until("a conflict is on record", async |w: &World| !w.get("/api/v1/conflicts?kind=edits").await.as_array().unwrap().is_empty())
        .await;
    assert_eq!(golden(&world).await["value"], "Grace P.");

    // With a time that is later, it wins, and is shown with it.
    let time = 4_102_444_800_000_i64;
    publish("Grace D.", json!([{"event_id": "crm-1", "time": time, "changes": [{"field": "name", "new": "Grace D."}]}])).await;
    world.until("the snapshot's edit is golden", async |w: &World| golden(w).await["value"] == "Grace D.").await;
    let name = golden(&world).await;
    assert_eq!((&name["edited_at"], &name["event_id"]), (&json!("2100-01-01T00:00:00.000Z"), &json!("crm-1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_a_wrong_configuration_is_named_and_no_secret_is_shown() {
    let mut world =
        World::prepared(Plan { config: Some("[systems.product]\nkind = \"postgres\"\ntabel = \"x\"\n".into()), ..Plan::usual() }).await;
    let (ok, _, err) = world.run(&["validate"]);
    assert!(!ok && err.contains("tabel"), "{err}");
    assert!(!world.run(&["run"]).0);
    world.env.retain(|(name, _)| name != "CONCORD_CONFIG");
    std::fs::remove_file(world.folder.path().join("concord.toml")).unwrap();
    for (name, value) in [("STRIPE_WEBHOOK_SECRET", ""), ("CONCORD_LOG", "nonsense")] {
        let done = world.command().env(name, value).args(["validate", "--offline"]).output().unwrap();
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && err.contains(name), "{err}");
    }
    world.env.push(("STRIPE_API_KEY".into(), "sk_test_somebodyelse".into()));
    let (ok, out, err) = world.run(&["validate", "--json"]);
    assert!(!ok, "{out}");
    for text in [&out, &err] {
        assert!(!text.contains("sk_test_somebodyelse") && !text.contains(KEY) && !text.contains(SECRET), "{text}");
    }
}

#[test]
fn end_to_end_output_that_nobody_reads_ends_quietly_and_a_full_disk_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let describe = |out: std::process::Stdio| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_concord"));
        command.env_clear().current_dir(folder.path()).args(["topology", "describe"]).stdout(out).output().unwrap()
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let done = describe(writer.into());
    assert_eq!((done.status.code(), done.stderr.as_slice()), (Some(141), &b""[..]));

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let done = describe(full.into());
    let err = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1));
    assert!(err.starts_with("error: cannot write to standard output: No space left"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_publish_takes_headers_times_partitions_and_schemas() {
    let mut world = World::running(Plan { config: Some(WITH_CRM.into()), ..Plan::usual() }).await;
    let write = |name: &str, text: &str| {
        let path = world.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let hour = 3_600_000;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let ada = json!({"id": "7", "at": now - hour, "h": {"trace": "1"}, "fields": {"name": "Ada", "email": "ada@example.com"}});
    let ada = write("ada.jsonl", &ada.to_string());
    let plain = ["publish", "customers.crm", &ada, "--key-field", "id", "--timestamp-field", "at", "--headers-field", "h"];
    let publish = |world: &World, more: &[&str]| world.run(&[plain.as_slice(), more].concat());
    let consume = |world: &World, more: &[&str]| -> Vec<Json> {
        let (ok, out, err) = world.run(&[["consume", "customers.crm"].as_slice(), more].concat());
        assert!(ok, "{err}");
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };

    let (ok, _, err) = publish(&world, &["--header", "source=import", "--header", "trace=0", "--partition", "3"]);
    assert!(ok && err.contains("all go to partition 3") && err.contains("published 1 record "), "{err}");
    let seen = consume(&world, &["--key", "7"]);
    assert_eq!((seen.len(), &seen[0]["partition"], &seen[0]["timestamp"]), (1, &json!(3), &json!(now - hour)));
    assert_eq!(seen[0]["headers"], json!({"source": "import", "trace": "1"}));
    assert_eq!(seen[0]["value"]["fields"]["name"], "Ada");
    let latest = seen[0]["schema_id"].as_u64().unwrap();
    let id = latest.to_string();
    assert_eq!(
        (consume(&world, &["--key", "8"]).len(), consume(&world, &["--since", "30m"]).len(), consume(&world, &["--since", "2h"]).len()),
        (0, 0, 1)
    );
    for (wrong, what) in [(["--partition", "4"], "no partition 4; there are 0 to 3"), (["--header", "nothing"], "NAME=VALUE")] {
        let (ok, _, err) = publish(&world, &wrong);
        assert!(!ok && err.contains(what), "{err}");
    }

    // A schema by its version, its id, its text; one that nobody could read is refused before anything is published.
    let schemas = world.run(&["consume", "_schemas"]).1;
    let registered: Vec<Json> = schemas.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |subject: &str| registered.iter().map(|record| &record["value"]).find(|value| value["subject"] == subject).unwrap();
    let text = of("customers.crm-value")["schema"].as_str().unwrap();
    let known = write("known.avsc", text);
    let mut grown: Json = serde_json::from_str(text).unwrap();
    grown["fields"].as_array_mut().unwrap().push(json!({"name": "since", "type": ["null", "string"], "default": null}));
    let unknown = write("unknown.avsc", &grown.to_string());
    let other = of("customers.unified-value")["id"].to_string();
    for named in
        [["--schema", "customers.crm-value@1"], ["--schema", "customers.crm-value@latest"], ["--schema-id", &id], ["--schema", &known]]
    {
        let (ok, _, err) = publish(&world, &named);
        assert!(ok, "{named:?}: {err}");
    }
    let seen = consume(&world, &["--key", "7"]);
    assert!(seen.len() == 5 && seen.iter().all(|record| record["schema_id"] == latest), "{seen:#?}");
    for (named, what) in [
        (["--schema", "customers.crm-value@9"], "9"),
        (["--schema", "no-such-file"], "no file to read"),
        (["--schema-id", "9999"], "no schema has the id 9999"),
        (["--schema-id", &other], "cannot read what is written with this one"),
        (["--schema", &unknown], "concord schemas register"),
    ] {
        let (ok, _, err) = publish(&world, &named);
        assert!(!ok && err.contains(what), "{named:?}: {err}");
    }

    // Lines are checked without being published; those that are refused can be mended and published again.
    let lines = [r#"{"id":"8","fields":{"name":"Alan"}}"#, "not json", r#"{"id":"9","fields":{"nme":"typo"}}"#].join("\n");
    let (people, refused) = (write("people.jsonl", &lines), world.folder.path().join("refused.jsonl"));
    let check = ["publish", "customers.crm", &people, "--key-field", "id", "--errors", refused.to_str().unwrap()];
    let read =
        || -> Vec<Json> { std::fs::read_to_string(&refused).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let (ok, _, err) = world.run(&[check.as_slice(), &["--validate-only"]].concat());
    assert!(!ok && err.contains("1 record for customers.crm would be taken, 2 refused; nothing was published"), "{err}");
    assert_eq!((consume(&world, &["--key", "8"]).len(), read().len(), &read()[0]["text"]), (0, 2, &json!("not json")));

    // The same without a process.
    world.terminate();
    let (ok, _, err) = world.run(&[check.as_slice(), &["--validate-only"]].concat());
    assert!(!ok && err.contains("nothing was published") && !err.contains("line 2"), "{err}");
    let (ok, _, err) = world.run(&[check.as_slice(), &["--schema-id", &id, "--header", "a=b"]].concat());
    assert!(!ok && err.contains("published 1 record ") && err.contains("2 refused"), "{err}");
    let numbers: Vec<Json> = read().iter().map(|refused| refused["line"].clone()).collect();
    assert_eq!((numbers, &read()[1]["text"]), (vec![json!(2), json!(3)], &json!(lines.lines().last().unwrap())));
    assert_eq!(consume(&world, &["--key", "8"])[0]["headers"], json!({"a": "b"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_commands_say_that_no_broker_answers() {
    let mut world = World::prepared(Plan::usual()).await;
    // A port that nobody listens at.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    world.env.push(("KAFKA_BOOTSTRAP_SERVERS".into(), nobody.clone()));
    let commands = [&["validate"][..], &["lag"], &["deploy", "--dry-run"]];
    let run = |args: &&[&str]| {
        world.command().env("CONCORD_LOG", "info").args(*args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for (command, run) in commands.iter().zip(commands.iter().map(run).collect::<Vec<_>>()) {
        let ended = run.wait_with_output().unwrap();
        let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert_eq!(ended.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains(&format!("no broker answers at {nobody}")) && said.contains("waiting for them"), "{command:?}: {said}");
    }
}
