//! Several registries on one Kafka, and Concord beside them, which uses one of them.

use crate::{
    broker,
    crashes::{Told, note, schema},
    server::{PATIENCE, Server},
};
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const CLIENTS: usize = 8;
const EACH: usize = 15;
const KILLS: usize = 3;
const SUBJECTS: usize = 5;

fn on(kafka: &str) -> Server {
    let mut server = Server::prepared();
    server.env.push(("KAFKA_BOOTSTRAP_SERVERS".into(), kafka.into()));
    server
}

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `concord run` with a topic system alone, on the same Kafka and with the registry at `url`.
struct Run {
    folder: tempfile::TempDir,
    env: Vec<(&'static str, String)>,
    process: Child,
}

impl Run {
    fn start(kafka: &str, url: String) -> Run {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("concord.toml"), "partitions = 1\n[systems.crm]\nkind = \"topic\"\n").unwrap();
        let listen = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).unwrap();
        let env = vec![
            ("KAFKA_BOOTSTRAP_SERVERS", kafka.to_owned()),
            ("SCHEMA_REGISTRY_URL", url),
            ("CONCORD_LISTEN", listen.to_string()),
            ("CONCORD_LOG", "warn".into()),
        ];
        let process = command(&folder, &env).arg("run").stdout(Stdio::null()).spawn().unwrap();
        Run { folder, env, process }
    }

    fn run(&self, args: &[&str]) -> Output {
        command(&self.folder, &self.env).args(args).output().unwrap()
    }
}

fn command(folder: &tempfile::TempDir, env: &[(&'static str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_concord"));
    command.env_clear().current_dir(folder.path()).envs(env.iter().cloned()).stdin(Stdio::null());
    command
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_kafka_two_registries_are_one_while_one_of_them_is_killed() {
    let kafka = broker::own_broker().address();
    let (mut first, mut second) = (on(&kafka), on(&kafka));
    first.start().await;
    second.start().await;
    assert_eq!(first.ask("PUT", "/config", Some(&json!({"compatibility": "NONE"}))).await.0, 200);
    // What one of them wrote the other one learns.
    until("the second one follows", || async { second.ask("GET", "/config", None).await.1["compatibilityLevel"] == "NONE" }).await;

    let told: Arc<Mutex<Told>> = Arc::default();
    let (done, unanswered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let urls = [first.url(""), second.url("")];
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (http, urls, told, done, unanswered) = (first.http.clone(), urls.clone(), told.clone(), done.clone(), unanswered.clone());
        clients.spawn(async move {
            for n in 0..EACH {
                let (subject, schema) = (format!("s{}", (client * EACH + n) % SUBJECTS), schema(client, n));
                let mut at = client + n;
                let deadline = Instant::now() + PATIENCE;
                let answer: Json = loop {
                    assert!(Instant::now() < deadline, "no answer for {subject}");
                    let url = &urls[at % 2];
                    match http.post(format!("{url}/subjects/{subject}/versions")).json(&json!({ "schema": schema })).send().await {
                        Ok(answer) if answer.status() == 200 => match answer.json().await {
                            Ok(body) => break body,
                            Err(_) => unanswered.fetch_add(1, Ordering::Relaxed),
                        },
                        Ok(answer) => panic!("{}: {}", answer.status(), answer.text().await.unwrap_or_default()),
                        Err(_) => unanswered.fetch_add(1, Ordering::Relaxed),
                    };
                    // The other one is asked.
                    at += 1;
                };
                note(&told, subject, schema, &answer);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for kill in 1..=KILLS {
        let enough = CLIENTS * EACH * kill / (KILLS + 1);
        until("clients get on", || async { done.load(Ordering::Relaxed) >= enough }).await;
        first.kill();
        first.start().await;
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }

    assert!(unanswered.load(Ordering::Relaxed) > 0, "no request met a kill: the test shows nothing");
    let told = told.lock().unwrap().clone();
    let ids: BTreeSet<u64> = told.values().map(|(id, _)| *id).collect();
    let schemas: BTreeMap<u64, BTreeSet<&String>> = told.iter().fold(BTreeMap::new(), |mut all, ((_, schema), (id, _))| {
        all.entry(*id).or_insert_with(BTreeSet::new).insert(schema);
        all
    });
    assert!(schemas.values().all(|of| of.len() == 1), "an id means two schemas: {schemas:?}");
    assert_eq!(ids, (1..=ids.len() as u64).collect(), "ids have gaps");
    let last = ids.len() as u64;
    for server in [&first, &second] {
        until("it knows the last id", || async { server.ask("GET", &format!("/schemas/ids/{last}"), None).await.0 == 200 }).await;
        for ((subject, schema), (id, version)) in &told {
            let (status, body) = server.ask("GET", &format!("/subjects/{subject}/versions/{version}"), None).await;
            assert_eq!((status, &body["id"], &body["schema"]), (200, &json!(id), &json!(schema)), "{subject} {version}");
        }
    }
    eprintln!("{} registrations at two registries, {} ids, {KILLS} kills: nothing lost, no id twice", told.len(), ids.len());

    // Concord with one of them as its registry, which is that of its own cluster.
    assert_eq!(second.ask("PUT", "/config", Some(&json!({"compatibility": "BACKWARD"}))).await.0, 200);
    let run = Run::start(&kafka, second.url(""));
    let ready = || async { run.run(&["healthcheck"]).status.success() };
    until("Concord is ready", ready).await;
    let ada = r#"{"id":"1","fields":{"name":"Ada","email":"ada@example.com"}}"#;
    std::fs::write(run.folder.path().join("people.jsonl"), ada).unwrap();
    let published = run.run(&["publish", "customers.crm", "people.jsonl", "--key-field", "id"]);
    assert!(published.status.success(), "{published:?}");
    let unified = || async {
        let out = run.run(&["consume", "customers.unified"]);
        out.status.success() && String::from_utf8_lossy(&out.stdout).contains("ada@example.com")
    };
    until("she is in the unified topic", unified).await;
    let (_, subjects) = first.ask("GET", "/subjects", None).await;
    assert!(subjects.as_array().unwrap().contains(&json!("customers.unified-value")), "{subjects}");
    // Nor does a registry that writes with no schema itself take them from under Concord.
    assert_eq!(first.ask("DELETE", "/subjects/customers.unified-value", None).await.1["error_code"], 42205);
    // The registry alone writes its topic; what Concord learnt it keeps in one of its own.
    let records = |topic: &str| {
        let out = run.run(&["consume", topic]);
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap().matches("\"subject\":\"customers.unified-value\"").count()
    };
    // A record's key and its value.
    assert_eq!((records("_schemas"), records("_concord.schemas")), (1, 1));
}
