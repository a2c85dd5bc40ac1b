//! The commands that operators type.

use crate::world::{Plan, World};
use serde_json::{Value as Json, json};

pub const WITH_CRM: &str = "[systems.product]\nkind = \"postgres\"\n[systems.stripe]\nkind = \"stripe\"\n[systems.crm]\nkind = \"topic\"\n";

fn lag(world: &World, args: &[&str]) -> Json {
    let (ok, out, err) = world.run(&[["lag", "--json"].as_slice(), args].concat());
    assert!(ok, "{err}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_lag_shows_who_is_behind_and_for_how_long() {
    let mut world = World::running(Plan { config: Some(WITH_CRM.into()), ..Plan::usual() }).await;
    world.add(json!({"id": "ada", "name": "Ada", "email": "ada@example.com"})).await;
    world.until("ada is in Stripe", async |w: &World| w.stripe_by_email("ada@example.com").len() == 1).await;
    world.until("nobody is behind", async |w: &World| lag(w, &[])["lag"] == 0).await;
    let all = lag(&world, &[]);
    let groups: Vec<&str> = all["groups"].as_array().unwrap().iter().map(|group| group["group"].as_str().unwrap()).collect();
    assert_eq!(groups, ["concord", "concord-runner-product", "concord-runner-stripe", "concord-sink-golden"]);
    assert_eq!((&all["oldest_age_seconds"], &all["groups"][0]["lag"]), (&Json::Null, &json!(0)));

    // Stripe is away: what it is asked for stays.
    world.stripe.take().unwrap().shutdown().await;
    world.sql("update public.customers set phone = '+44 1' where id = 'ada'").await;
    let runner = ["--group", "concord-runner-stripe"];
    world.until("the conversation with Stripe is behind", async |w: &World| lag(w, &runner)["lag"] == 1).await;
    let behind = lag(&world, &runner);
    let partitions = behind["groups"][0]["partitions"].as_array().unwrap();
    assert_eq!((behind["groups"].as_array().unwrap().len(), partitions.len()), (1, 4));
    let stuck = partitions.iter().find(|partition| partition["lag"] == 1).unwrap();
    assert_eq!(stuck["topic"], "requests.stripe");
    assert_eq!(stuck["committed"].as_i64().unwrap() + 1, stuck["end"].as_i64().unwrap());
    let age = stuck["oldest_age_seconds"].as_f64().unwrap();
    world.until("it ages", async |w: &World| lag(w, &runner)["oldest_age_seconds"].as_f64().unwrap() > age).await;

    let (ok, out, err) = world.run(&["lag", "--group", "concord-runner-stripe"]);
    let total = out.lines().find(|line| line.starts_with("all ")).unwrap();
    assert!(ok && out.starts_with("GROUP") && total.split_whitespace().nth(1) == Some("1"), "{out} {err}");
    let (ok, _, err) = world.run(&["lag", "--group", "nosuch"]);
    assert!(!ok && err.contains("concord-runner-product"), "{err}");

    // The log is read without a process, too, and again and again until nobody reads any more.
    world.kill();
    assert_eq!(lag(&world, &runner)["lag"], 1);
    let mut watch = world.command().args(["lag", "--json", "--watch", "1"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines: Vec<String> =
        std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap())).take(2).map(Result::unwrap).collect();
    let times: Vec<Json> = lines.iter().map(|line| serde_json::from_str::<Json>(line).unwrap()["at"].clone()).collect();
    assert!(times[0].as_str() < times[1].as_str(), "{times:?}");
    assert_eq!(watch.wait().unwrap().code(), Some(141), "nobody reads any more");
}
