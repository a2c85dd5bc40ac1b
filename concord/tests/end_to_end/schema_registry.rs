//! Another schema registry in place of Concord's own: ours in a process of its own, behind a gate that can be shut.

use crate::world::{PATIENCE, Plan, World, free_address};
use bytes::Bytes;
use serde_json::{Value as Json, json};
use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use streams::{
    ProducerRecord,
    embedded::{Append, Log, Options},
};
use warp::Filter;

const CONFIG: &str = "[systems.product]\nkind = \"postgres\"\n[systems.crm]\nkind = \"topic\"\n";
const USER: &str = "ada:s3cret";

struct Registry {
    at: SocketAddr,
    http: reqwest::Client,
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Registry {
    fn prepared() -> Registry {
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client");
        Registry { at: free_address(), http, folder: tempfile::tempdir().expect("a folder"), process: None }
    }

    async fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_concord"));
        command.env_clear().env("CONCORD_REGISTRY_BASIC_AUTH", USER).env("CONCORD_LOG", "warn").current_dir(self.folder.path());
        command.args(["registry", "--listen", &self.at.to_string(), "--data-dir", "data"]).stdin(Stdio::null()).stdout(Stdio::null());
        self.process = Some(command.spawn().expect("the registry starts"));
        let deadline = Instant::now() + PATIENCE;
        while self.http.get(format!("http://{}/", self.at)).send().await.is_err() {
            assert!(Instant::now() < deadline, "the registry does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    async fn ask(&self, method: reqwest::Method, path: &str, body: Option<Json>) -> Json {
        let mut request = self.http.request(method, format!("http://{}{path}", self.at)).basic_auth("ada", Some("s3cret"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.expect("an answer").json().await.expect("JSON")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Passes requests on, but for paths that it is told to refuse as a proxy does whose server is away.
#[derive(Clone, Default)]
struct Gate {
    shut_for: Arc<Mutex<Option<String>>>,
    refused: Arc<AtomicUsize>,
}

impl Gate {
    async fn stand_before(&self, registry: &Registry) -> SocketAddr {
        let (gate, http, to) = (self.clone(), registry.http.clone(), registry.at);
        let pass = warp::method().and(warp::path::full()).and(warp::header::headers_cloned()).and(warp::body::bytes()).then(
            move |method: http::Method, path: warp::path::FullPath, headers: http::HeaderMap, body: Bytes| {
                let (gate, http) = (gate.clone(), http.clone());
                async move {
                    let shut = gate.shut_for.lock().unwrap().as_deref().is_some_and(|shut| path.as_str().starts_with(shut));
                    let mut request = http.request(method, format!("http://{to}{}", path.as_str())).body(body);
                    for name in [http::header::AUTHORIZATION, http::header::CONTENT_TYPE] {
                        if let Some(value) = headers.get(&name) {
                            request = request.header(name, value);
                        }
                    }
                    let answer = if shut { None } else { request.send().await.ok() };
                    let Some(answer) = answer else {
                        gate.refused.fetch_add(1, Ordering::Relaxed);
                        return http::Response::builder().status(502).body("nobody there".to_string()).unwrap();
                    };
                    let status = answer.status();
                    http::Response::builder().status(status).body(answer.text().await.unwrap_or_default()).unwrap()
                }
            },
        );
        let at = free_address();
        let listener = tokio::net::TcpListener::bind(at).await.expect("the address is free");
        tokio::spawn(sources::webhook::serve(listener, warp::service(pass), sources::webhook::Limits::default(), Default::default()));
        at
    }

    fn shut(&self, path: Option<String>) {
        *self.shut_for.lock().unwrap() = path;
        self.refused.store(0, Ordering::Relaxed);
    }

    fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

async fn world(at: SocketAddr) -> World {
    let mut world = World::prepared(Plan { config: Some(CONFIG.into()), ..Plan::usual() }).await;
    world.env.push(("SCHEMA_REGISTRY_URL".into(), format!("http://{at}")));
    world.env.push(("SCHEMA_REGISTRY_BASIC_AUTH".into(), USER.into()));
    world
}

async fn is_there(world: &World, email: &str) -> bool {
    !world.rows(&format!("select 1 from public.customers where email = '{email}'")).await.is_empty()
}

fn dead_letters(world: &World) -> usize {
    let (ok, out, err) = world.run(&["consume", "customers.crm.dlq"]);
    // The first dead letter makes the topic.
    assert!(ok || err.contains("there is no topic customers.crm.dlq"), "{err}");
    out.lines().count()
}

/// Puts a record into the log of a world that does not run.
fn put(world: &World, key: &str, bytes: Vec<u8>) {
    let log = Log::open(&world.data, Options { min_free_bytes: 0, ..Options::default() }).unwrap();
    log.append_blocking(Append::of([ProducerRecord::new("customers.crm", key.to_owned(), bytes).with_timestamp(1_000)])).unwrap();
    log.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_a_registry_that_is_away_is_waited_for_and_no_record_is_a_dead_letter_for_it() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (mut registry, gate) = (Registry::prepared(), Gate::default());
    let mut world = world(gate.stand_before(&registry).await).await;

    // Away at the start: Concord waits, and does nothing meanwhile.
    world.launch();
    world.until("it has asked several times", async |_: &World| gate.refused() >= 3).await;
    assert!(world.alive());
    registry.start().await;
    world.until("it is ready", async |w: &World| w.status("/readyz").await == Some(200)).await;
    let subjects = registry.ask(reqwest::Method::GET, "/subjects", None).await;
    for subject in ["customers.crm-value", "customers.unified-value", "requests.product-value"] {
        assert!(subjects.as_array().unwrap().contains(&json!(subject)), "{subject} of {subjects}");
    }

    // Away in the middle: what is written with known schemas goes on.
    registry.kill();
    let mine = json!({"records": [{"key": "1", "value": {"fields": {"name": "Ada", "email": "ada@example.com"}}}]});
    let (status, body) = world.ask(reqwest::Method::POST, "/api/v1/topics/customers.crm/records", Some(mine)).await;
    assert_eq!((status, &body["accepted"]), (200, &json!(1)), "{body}");
    world.until("Ada is in the product", async |w: &World| is_there(w, "ada@example.com").await).await;
    registry.start().await;

    // A program of somebody else's writes with a later version of the schema, which Concord has never seen.
    let latest = registry.ask(reqwest::Method::GET, "/subjects/customers.crm-value/versions/latest", None).await;
    let mut schema: Json = serde_json::from_str(latest["schema"].as_str().unwrap()).unwrap();
    schema["fields"].as_array_mut().unwrap().push(json!({"name": "since", "type": ["null", "string"], "default": null}));
    let schema = schema.to_string();
    let registered = registry.ask(reqwest::Method::POST, "/subjects/customers.crm-value/versions", Some(json!({ "schema": schema }))).await;
    let id = registered["id"].as_u64().expect("an id") as u32;
    let theirs = schemas::Registry::new();
    theirs.learn("s", id, &schema).unwrap();
    let grace = theirs.encode_json("s", &json!({"fields": {"name": "Grace", "email": "grace@example.com"}, "since": "1906"})).unwrap();
    world.terminate();
    put(&world, "2", grace);

    // The registry answers all but that: the record waits, however long.
    gate.shut(Some(format!("/schemas/ids/{id}")));
    world.launch();
    world.until("it was asked for several times", async |_: &World| gate.refused() >= 4).await;
    assert_eq!(dead_letters(&world), 0);
    assert!(!is_there(&world, "grace@example.com").await);
    gate.shut(None);
    world.until("Grace is in the product", async |w: &World| is_there(w, "grace@example.com").await).await;
    world.until("it is ready again", async |w: &World| w.status("/readyz").await == Some(200)).await;
    assert_eq!(dead_letters(&world), 0);

    // An id that the registry says nobody has: that is a mistake, and is told.
    world.terminate();
    put(&world, "3", [&[0, 0, 0, 3, 231][..], b"whatever"].concat());
    world.start().await;
    world.until("it is a dead letter", async |w: &World| dead_letters(w) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_ids_of_one_registry_are_never_taken_for_those_of_another() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut world = World::prepared(Plan { config: Some(CONFIG.into()), ..Plan::usual() }).await;
    world.start().await;
    world.terminate();
    let mut registry = Registry::prepared();
    registry.start().await;
    registry.ask(reqwest::Method::POST, "/subjects/other/versions", Some(json!({"schema": "\"int\""}))).await;
    world.env.push(("SCHEMA_REGISTRY_URL".into(), format!("http://{}", registry.at)));
    let (ok, _, err) = world.run(&["run"]);
    assert!(!ok && err.contains("SCHEMA_REGISTRY_BASIC_AUTH") && !err.contains("s3cret"), "{err}");
    world.env.push(("SCHEMA_REGISTRY_BASIC_AUTH".into(), USER.into()));
    let (ok, _, err) = world.run(&["run"]);
    assert!(!ok && err.contains("SCHEMA_REGISTRY_URL") && err.contains("empty data folder"), "{err}");

    // A folder that began with it goes on with it, and without it keeps its ids.
    world.data = world.folder.path().join("other");
    world.start().await;
    world.terminate();
    let ids = |world: &World| {
        let (ok, out, err) = world.run(&["consume", "_schemas"]);
        assert!(ok, "{err}");
        let lines: Vec<Json> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ids: Vec<(String, u64)> =
            lines.iter().filter_map(|r| Some((r["value"]["subject"].as_str()?.to_string(), r["value"]["id"].as_u64()?))).collect();
        ids
    };
    let before = ids(&world);
    assert!(before.len() > 5 && before.iter().all(|(_, id)| *id > 1), "{before:?}");
    world.start().await;
    world.terminate();
    assert_eq!(ids(&world), before);
    world.env.retain(|(name, _)| !name.starts_with("SCHEMA_REGISTRY"));
    world.start().await;
    world.terminate();
    assert_eq!(ids(&world), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_the_running_process_serves_its_own_registry() {
    let mut world = World::prepared(Plan { config: Some(CONFIG.into()), ..Plan::usual() }).await;
    let at = free_address();
    world.env.push(("CONCORD_REGISTRY_LISTEN".into(), at.to_string()));
    world.start().await;
    let http = world.http.clone();
    let ask = async |method: reqwest::Method, path: &str, body: Option<Json>| {
        let mut request = http.request(method, format!("http://{at}{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.expect("an answer").json::<Json>().await.expect("JSON")
    };
    let subjects = ask(reqwest::Method::GET, "/subjects", None).await;
    assert!(subjects.as_array().unwrap().contains(&json!("customers.unified-value")), "{subjects}");
    // What it writes with is not taken from under it.
    assert_eq!(ask(reqwest::Method::DELETE, "/subjects/customers.unified-value", None).await["error_code"], 42205);

    // A later version of a topic's schema, with which records are then published, read and merged.
    let latest = ask(reqwest::Method::GET, "/subjects/customers.crm-value/versions/latest", None).await;
    let mut schema: Json = serde_json::from_str(latest["schema"].as_str().unwrap()).unwrap();
    schema["fields"].as_array_mut().unwrap().push(json!({"name": "since", "type": ["null", "string"], "default": null}));
    let registered =
        ask(reqwest::Method::POST, "/subjects/customers.crm-value/versions", Some(json!({"schema": schema.to_string()}))).await;
    assert_eq!(registered["version"], 2, "{registered}");
    let records = json!({"records": [{"key": "1", "value": {"fields": {"name": "Ada", "email": "ada@example.com"}, "since": "1815"}}]});
    let (status, body) = world.ask(reqwest::Method::POST, "/api/v1/topics/customers.crm/records", Some(records)).await;
    assert_eq!((status, &body["errors"]), (200, &json!([])), "{body}");
    world.until("Ada is in the product", async |w: &World| is_there(w, "ada@example.com").await).await;
    assert_eq!(dead_letters(&world), 0);

    let all = ask(reqwest::Method::GET, "/schemas", None).await;
    world.kill();
    world.start().await;
    assert_eq!(ask(reqwest::Method::GET, "/schemas", None).await, all);
    let (ok, _, err) = world.run(&["registry", "--listen", "127.0.0.1:0"]);
    assert!(!ok && err.contains("--data-dir"), "{err}");
}
