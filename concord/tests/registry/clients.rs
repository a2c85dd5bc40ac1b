//! Clients that others wrote: each registers, evolves, is refused what is incompatible, and reads by id.
//!
//! They are in `tests/registry/<language>`, with the versions that are meant, and installed into a temporary folder.

use crate::server::Server;
use serde_json::{Value as Json, json};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

const USER: &str = "ada:s3cret";

/// A copy of the client's folder, so that nothing is installed among the sources.
fn copied(language: &str) -> (tempfile::TempDir, PathBuf) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/registry").join(language);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in std::fs::read_dir(&from).expect("the client's folder") {
        let entry = entry.expect("a file").path();
        std::fs::copy(&entry, folder.path().join(entry.file_name().expect("its name"))).expect("copied");
    }
    let at = folder.path().to_owned();
    (folder, at)
}

/// Its output.
fn run(what: &str, command: &mut Command) -> String {
    let done =
        command.env("NO_PROXY", "127.0.0.1").output().unwrap_or_else(|error| panic!("{what}: {error}; ./test.sh installs what is missing"));
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{what}: {}\n{out}\n{err}", done.status);
    out.into_owned()
}

async fn server() -> Server {
    let mut server = Server::prepared();
    server.env.push(("CONCORD_REGISTRY_BASIC_AUTH".into(), USER.into()));
    server.http = reqwest::Client::builder()
        .no_proxy()
        .default_headers([(http::header::AUTHORIZATION, "Basic YWRhOnMzY3JldA==".parse().expect("a header"))].into_iter().collect())
        .build()
        .expect("a client");
    server.start().await;
    server
}

/// What the client printed last; and whether the bytes that it wrote are ours to read.
async fn saw(server: &Server, output: &str) -> Json {
    let saw: Json = serde_json::from_str(output.trim().lines().next_back().unwrap_or_default()).expect(output);
    let hex = saw["written"].as_str().expect("bytes");
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
    let registry = schemas::Registry::new();
    let (id, _) = schemas::wire::split(&bytes).expect("the wire format");
    let (status, schema) = server.ask("GET", &format!("/schemas/ids/{id}"), None).await;
    assert_eq!(status, 200, "{schema}");
    let value = json!({"subject": "s", "version": 1, "id": id, "schema": schema["schema"]}).to_string();
    registry.apply(br#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}"#, Some(value.as_bytes())).expect("a record");
    assert_eq!(registry.decode_json(&bytes).expect("a value"), json!({"name": "Ada"}));
    saw
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_confluents_python_client() {
    let server = server().await;
    let (_folder, at) = copied("python");
    run("python3 -m venv", Command::new("python3").args(["-m", "venv", "venv"]).current_dir(&at));
    let pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "-r", "requirements.txt"];
    run("pip install", Command::new(at.join("venv/bin/python")).args(pip).current_dir(&at));
    let out =
        run("the client", Command::new(at.join("venv/bin/python")).args(["client.py", &server.url(""), USER, "people"]).current_dir(&at));
    let saw = saw(&server, &out).await;
    assert_eq!(
        (&saw["first"], &saw["compatible"], &saw["second"], &saw["versions"]),
        (&json!([1, 1]), &json!(true), &json!([2, 2]), &json!([1, 2]))
    );
    assert_eq!((&saw["incompatible"], &saw["refused"]), (&json!(false), &json!([409, 40901])));
    assert_eq!((&saw["read"], &saw["level"]), (&json!({"name": "Ada", "email": "unknown"}), &json!("FULL")));
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_kafkajs_client() {
    let server = server().await;
    let (_folder, at) = copied("javascript");
    run("npm ci", Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]).current_dir(&at));
    let out = run("the client", Command::new("node").args(["client.js", &server.url(""), USER, "people"]).current_dir(&at));
    let saw = saw(&server, &out).await;
    assert_eq!((&saw["first"], &saw["again"], &saw["second"], &saw["latest"]), (&json!(1), &json!(1), &json!(2), &json!(2)));
    assert_eq!((&saw["refused"], &saw["read"]), (&json!(409), &json!({"name": "Ada"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_franz_go_client() {
    let server = server().await;
    let (_folder, at) = copied("go");
    let out = run("go run", Command::new("go").args(["run", "-mod=readonly", ".", &server.url(""), USER, "people"]).current_dir(&at));
    let saw = saw(&server, &out).await;
    assert_eq!(
        (&saw["first"], &saw["compatible"], &saw["second"], &saw["versions"]),
        (&json!([1, 1]), &json!(true), &json!([2, 2]), &json!([1, 2]))
    );
    assert_eq!((&saw["refused"], &saw["read"]), (&json!([409, 40901]), &json!({"name": "Ada", "email": "unknown"})));
    assert_eq!((&saw["level"], &saw["usages"], &saw["deleted"]), (&json!("FULL"), &json!(1), &json!([1, 2])));
}
