//! `kill -9` while many register: what was acknowledged is there, an id means one schema, and numbers have no gaps.

use crate::server::{PATIENCE, Server};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const CLIENTS: usize = 8;
const EACH: usize = 125;
const KILLS: usize = 8;
const SUBJECTS: usize = 20;

/// What a client was told of a subject and a schema: id and version.
pub type Told = BTreeMap<(String, String), (u64, u64)>;

/// Notes an answer. Whoever asks again must be told the same.
pub fn note(told: &Mutex<Told>, subject: String, schema: String, answer: &Json) {
    let place = (answer["id"].as_u64().unwrap(), answer["version"].as_u64().unwrap());
    let before = told.lock().unwrap().insert((subject, schema), place);
    assert!(before.is_none_or(|before| before == place), "told {before:?}, then {place:?}");
}

/// The `n`-th schema of a client. Every fifth is also another client's: two of them register it at once, under two subjects.
pub fn schema(client: usize, n: usize) -> String {
    let name = if n.is_multiple_of(5) { format!("Shared{}_{n}", client / 2) } else { format!("Own{client}_{n}") };
    format!(r#"{{"type":"record","name":"{name}","fields":[]}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_killed_while_eight_clients_register_a_thousand_schemas() {
    let seed = std::env::var("CONCORD_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_129u64);
    eprintln!("seed {seed} (CONCORD_SEED runs it again)");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut server = Server::running().await;
    assert_eq!(server.ask("PUT", "/config", Some(&json!({"compatibility": "NONE"}))).await.0, 200);

    let told: Arc<Mutex<Told>> = Arc::default();
    let (done, unanswered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (http, url, told, done, unanswered) = (server.http.clone(), server.url(""), told.clone(), done.clone(), unanswered.clone());
        clients.spawn(async move {
            for n in 0..EACH {
                let (subject, schema) = (format!("s{}", (client * EACH + n) % SUBJECTS), schema(client, n));
                let deadline = Instant::now() + PATIENCE;
                let answer: Json = loop {
                    assert!(Instant::now() < deadline, "no answer for {subject}");
                    let sent = http.post(format!("{url}/subjects/{subject}/versions")).json(&json!({ "schema": schema })).send().await;
                    match sent {
                        Ok(answer) if answer.status() == 200 => match answer.json().await {
                            Ok(body) => break body,
                            Err(_) => unanswered.fetch_add(1, Ordering::Relaxed),
                        },
                        Ok(answer) => panic!("{}: {}", answer.status(), answer.text().await.unwrap_or_default()),
                        Err(_) => unanswered.fetch_add(1, Ordering::Relaxed),
                    };
                    tokio::time::sleep(Duration::from_millis(20)).await;
                };
                note(&told, subject, schema, &answer);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for kill in 1..=KILLS {
        // Not before this much is done, and some moments later.
        let enough = CLIENTS * EACH * kill / (KILLS + 1);
        let deadline = Instant::now() + PATIENCE;
        while done.load(Ordering::Relaxed) < enough {
            assert!(Instant::now() < deadline, "clients do not get on: {} of {enough}", done.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(dice.random_range(0..5_000))).await;
        server.kill();
        server.start().await;
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    server.kill();
    server.start().await;

    let told = told.lock().unwrap().clone();
    let distinct: BTreeSet<&String> = told.keys().map(|(_, schema)| schema).collect();
    let ids: BTreeMap<&String, BTreeSet<u64>> = told.iter().fold(BTreeMap::new(), |mut ids, ((_, schema), (id, _))| {
        ids.entry(schema).or_insert_with(BTreeSet::new).insert(*id);
        ids
    });
    assert!(ids.values().all(|ids| ids.len() == 1), "a schema has two ids: {ids:?}");
    let all: BTreeSet<u64> = ids.values().flatten().copied().collect();
    assert_eq!(all, (1..=distinct.len() as u64).collect(), "ids have gaps, or mean two schemas");
    for ((subject, schema), (id, version)) in &told {
        let (status, body) = server.ask("GET", &format!("/subjects/{subject}/versions/{version}"), None).await;
        assert_eq!((status, &body["id"], &body["schema"]), (200, &json!(id), &json!(schema)), "{subject} {version}");
    }
    for subject in 0..SUBJECTS {
        let (_, versions) = server.ask("GET", &format!("/subjects/s{subject}/versions"), None).await;
        let known = told.keys().filter(|(name, _)| *name == format!("s{subject}")).count();
        assert_eq!(versions, json!((1..=known).collect::<Vec<_>>()), "versions of s{subject}");
    }
    let unanswered = unanswered.load(Ordering::Relaxed);
    assert!(unanswered > 0, "no request met a kill: the test shows nothing");
    eprintln!("{} schemas, {} ids, {KILLS} kills, {unanswered} requests that were not answered: nothing lost", told.len(), all.len());
}

/// Prints how many look-ups a second one process answers (a debug build, on whatever else the machine does).
#[tokio::test(flavor = "multi_thread")]
async fn look_ups_a_second() {
    let server = Server::running().await;
    for n in 0..50 {
        let schema = json!({"schema": format!(r#"{{"type":"record","name":"R{n}","fields":[{{"name":"a","type":"int"}}]}}"#)});
        assert_eq!(server.ask("POST", &format!("/subjects/s{n}/versions"), Some(&schema)).await.0, 200);
    }
    let (clients, each) = (8, 2_000);
    let started = Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    for client in 0..clients {
        let (http, url) = (server.http.clone(), server.url("/schemas/ids/"));
        asking.spawn(async move {
            for n in 0..each {
                let answer = http.get(format!("{url}{}", 1 + (client + n) % 50)).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                answer.bytes().await.unwrap();
            }
        });
    }
    while let Some(ended) = asking.join_next().await {
        ended.unwrap();
    }
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("{:.0} look-ups a second by id ({clients} clients beside it, {each} each)", f64::from(clients * each) / seconds);
}
