//! `concord reset` on Kafka: refused while somebody works, killed in the middle, and with other partitions; nobody is made twice.

use crate::{letters, world::World};
use serde_json::json;
use std::process::Stdio;
use streams::Log;

/// Without `crm`, whose topic is as wide as its publishers made it.
const WIDER: &str =
    "partitions = 3\n[kafka]\nsession_timeout_ms = 3000\n[systems.product]\nkind = \"postgres\"\n[systems.stripe]\nkind = \"stripe\"\n";

fn reset(world: &World, args: &[&str]) -> (i32, String, String) {
    let done = world.command().arg("reset").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

async fn has(log: &Log, topic: &str) -> bool {
    log.find_topics().await.unwrap();
    log.partitions(topic).is_some()
}

/// Killed when topics have begun to go, and before it is done. One that was faster than the kill is tried again.
async fn killed(world: &World, log: &Log) {
    for _ in 0..5 {
        let mut run = world.command().args(["reset", "--execute", "--yes"]).stdout(Stdio::null()).spawn().unwrap();
        world.until("topics go", async |_: &World| !has(log, "links.stripe").await).await;
        run.kill().unwrap();
        run.wait().unwrap();
        if has(log, "_concord.reset").await {
            return;
        }
        eprintln!("the reset was faster than the kill");
    }
    panic!("no reset was killed before it was done");
}

/// `world` runs, with somebody called ada; ends with a process that runs.
pub async fn nobody_is_made_twice(world: &mut World, log: &Log) {
    let people = world.in_stripe().len();
    let made = world.stripe().requests("create");
    let id = world.stripe_by_email("ada@example.com")[0]["id"].as_str().unwrap().to_owned();
    let both_show = async |w: &World, name: &str, phone: &str| {
        let there = format!("select 1 from public.customers where id = 'ada' and name = '{name}' and phone = '{phone}'");
        let stripe = w.stripe().customer(&id).unwrap();
        w.rows(&there).await.len() == 1 && stripe["name"] == name && stripe["phone"] == phone
    };
    let (code, out, err) = reset(world, &[]);
    assert!(code == 2 && out.contains("goes  topic     requests.stripe\n") && out.contains("stays topic     customers.crm:"), "{out}{err}");
    let (code, _, err) = reset(world, &["--execute", "--yes"]);
    assert!(code == 1 && err.contains("has members"), "{err}");
    assert!(world.terminate().1);

    // Killed in the middle: no process starts, and the next reset goes on.
    world.sql("update public.customers set name = 'Ada King' where id = 'ada'").await;
    world.stripe().update(&id, json!({"phone": "+44 1"})).unwrap();
    killed(world, log).await;
    let (ok, _, err) = world.run(&["run"]);
    assert!(!ok && err.contains("concord reset --execute"), "{err}");
    let (code, _, err) = reset(world, &["--execute", "--yes", "--forget-links"]);
    assert!(code == 1 && err.contains("keeps the links"), "{err}");
    let (code, out, err) = reset(world, &["--execute", "--yes"]);
    assert!(code == 0 && out.contains("Reset."), "{out}{err}");
    assert!(!has(log, "_concord.reset").await);
    world.start().await;
    world.until("what was edited meanwhile is everywhere", async |w: &World| both_show(w, "Ada King", "+44 1").await).await;
    // What failed of what was published is read again, and failed again.
    world.until("it is a dead letter", async |w: &World| letters(w, &[]).len() == 2 && letters(w, &["--all"]).len() == 2).await;

    // Other partitions.
    world.terminate();
    world.stripe().update(&id, json!({"phone": "+44 2"})).unwrap();
    let config = world.folder.path().join("concord.toml");
    std::fs::write(&config, format!("{WIDER}[systems.crm]\nkind = \"topic\"\n")).unwrap();
    let (code, _, err) = reset(world, &["--execute", "--yes"]);
    assert!(code == 1 && err.contains("customers.crm has 2 partitions, and 3 are configured"), "{err}");
    std::fs::write(&config, WIDER).unwrap();
    let (code, out, err) = reset(world, &["--execute", "--yes"]);
    assert!(code == 0, "{out}{err}");
    world.start().await;
    world.until("the edit is everywhere", async |w: &World| both_show(w, "Ada King", "+44 2").await).await;
    world
        .until("everybody is published again", async |w: &World| {
            w.rows("select 1 from concord.customers where not deleted").await.len() == people
        })
        .await;
    assert_eq!((world.stripe().requests("create"), world.in_stripe().len()), (made, people), "nobody is made twice");
    assert_eq!(world.rows("select 1 from public.customers").await.len(), people);
    assert_eq!(world.get("/api/v1/conflicts").await, json!([]));
}
