//! `concord schemas` with a registry that answers.

use crate::server::Server;
use serde_json::{Value as Json, json};
use std::process::Command;

const USER: &str = "ada:s3cret";

/// Exit code, standard output and error of `concord schemas`.
fn schemas(server: &Server, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_concord"));
    command.env_clear().env("SCHEMA_REGISTRY_URL", server.url("")).env("SCHEMA_REGISTRY_BASIC_AUTH", USER);
    let out = command.current_dir(server.folder()).arg("schemas").args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(out.stdout), text(out.stderr));
    assert!(!stdout.contains("s3cret") && !stderr.contains("s3cret"), "{stdout}{stderr}");
    (out.status.code().unwrap(), stdout, stderr)
}

fn order(fields: Json) -> String {
    json!({"type": "record", "name": "Order", "namespace": "shop", "doc": "An order.", "fields": fields}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_registered_checked_and_shown() {
    let mut server = Server::prepared();
    server.env.push(("CONCORD_REGISTRY_BASIC_AUTH".into(), USER.into()));
    server.start().await;
    let said = |args: &[&str], code: i32| {
        let (came, stdout, stderr) = schemas(&server, args);
        assert_eq!(came, code, "{args:?}\n{stdout}{stderr}");
        stdout + &stderr
    };

    // All of this build's: said first, then done, then there.
    assert!(said(&["register", "--dry-run"], 0).contains("new         customers.unified-value"));
    assert_eq!(serde_json::from_str::<Json>(&said(&["list", "--json"], 0)).unwrap()["subjects"], json!([]));
    assert!(said(&["register"], 0).contains("registered  customers.unified-value: id "));
    assert!(said(&["register"], 0).contains("there       customers.unified-value: version 1"));

    // A team's own, under the level that it sets.
    let id = json!({"name": "id", "type": "string", "doc": "Whose."});
    let write = |name: &str, fields: Json| std::fs::write(server.folder().join(name), order(fields)).unwrap();
    write("first.avsc", json!([id]));
    write("optional.avsc", json!([id, {"name": "note", "type": ["null", "string"], "default": null, "doc": "A note."}]));
    write("needed.avsc", json!([id, {"name": "note", "type": "string", "doc": "A note."}]));
    write("retyped.avsc", json!([{"name": "id", "type": "long", "doc": "Whose."}]));
    said(&["register", "--subject", "orders-value", "first.avsc"], 0);
    said(&["config", "set", "FULL", "orders-value"], 0);
    assert_eq!(said(&["config", "get", "orders-value"], 0).trim(), "FULL");
    assert_eq!(said(&["config", "get"], 0).trim(), "BACKWARD");
    let refused = said(&["register", "--subject", "orders-value", "needed.avsc"], 1);
    assert!(refused.contains("note") && refused.contains("no default"), "{refused}");
    let refused = said(&["register", "--subject", "orders-value", "retyped.avsc"], 1);
    assert!(refused.contains("id") && refused.contains("Nothing was registered"), "{refused}");
    assert!(said(&["register", "--subject", "orders-value", "optional.avsc"], 0).contains("registered"));

    let listed: Json = serde_json::from_str(&said(&["list", "--json"], 0)).unwrap();
    let orders = listed["subjects"].as_array().unwrap().iter().find(|one| one["subject"] == "orders-value").unwrap();
    assert_eq!((&orders["level"], orders["versions"].as_array().unwrap().len()), (&json!("FULL"), 2), "{orders}");
    let shown: Json = serde_json::from_str(&said(&["get", "orders-value", "--version", "1"], 0)).unwrap();
    assert_eq!(shown["fields"].as_array().unwrap().len(), 1);
    let latest: Json = serde_json::from_str(&said(&["get", "orders-value"], 0)).unwrap();
    assert_eq!(latest["fields"].as_array().unwrap().len(), 2);
    assert!(said(&["evolve-test"], 0).contains("read by the present one"));
    assert!(said(&["get", "nobody-value"], 2).contains("nobody-value"));
}
