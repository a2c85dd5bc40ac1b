//! What the dashboard and the alerts ask for is really told.

use crate::world::{Plan, World};
use reqwest::Method;
use serde_json::{Value as Json, json};
use std::{collections::BTreeSet, path::Path};

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../observability").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Concord's own metrics that an expression names: `up` is Prometheus' own.
fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("concord_") || word.starts_with("kafka_")).map(str::to_string).collect()
}

/// The metrics that an answer of `/metrics` has.
fn told(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next());
    names.map(str::to_string).filter(|name| !name.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_every_metric_of_the_dashboard_and_the_alerts_is_told() {
    let dashboard: Json = serde_json::from_str(&file("grafana/dashboards/concord.json")).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut wanted: BTreeSet<String> = targets.flat_map(|target| named(target["expr"].as_str().unwrap())).collect();
    let panels = wanted.len();
    let alerts: Json = serde_saphyr::from_str(&file("alerts.yml")).unwrap();
    let rules = alerts["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    wanted.extend(rules.flat_map(|rule| named(rule["expr"].as_str().unwrap())));
    assert!(panels > 10 && wanted.len() >= panels, "{wanted:?}");

    // Traffic in both directions, and one conflict: two people of one e-mail address in the product.
    let world = World::running(Plan::usual()).await;
    let id = world.add(json!({"name": "Ada", "email": "ada@example.com"})).await;
    world.until("she is in Stripe", async |w: &World| w.stripe_by_email("ada@example.com").len() == 1).await;
    let customer = world.stripe_by_email("ada@example.com")[0]["id"].as_str().unwrap().to_string();
    world.stripe().update(&customer, json!({"name": "Ada King"})).unwrap();
    world
        .until("the product shows it", async |w: &World| {
            let path = format!("/api/v1/myproduct/customers/{id}/");
            w.ask(Method::GET, &path, None).await.1["name"] == "Ada King"
        })
        .await;
    world.add(json!({"name": "Ada", "email": "ada@example.com"})).await;
    world.until("the conflict is told", async |w: &World| w.get("/api/v1/conflicts").await != json!([])).await;

    let scraped = async |w: &World| w.http.get(w.url("/metrics")).send().await.unwrap().text().await.unwrap();
    world
        .until("every metric is told", async |w: &World| {
            let told = told(&scraped(w).await);
            let missing: Vec<_> = wanted.difference(&told).collect();
            if !missing.is_empty() {
                eprintln!("not told yet: {missing:?}");
            }
            missing.is_empty()
        })
        .await;

    let text = scraped(&world).await;
    let names = |about: &str| -> BTreeSet<String> {
        text.lines().filter_map(|line| line.strip_prefix(about)?.split(' ').next().map(str::to_string)).collect()
    };
    assert_eq!(names("# TYPE ").difference(&names("# HELP ")).collect::<Vec<_>>(), Vec::<&String>::new(), "each says what it means");
    let well = text.lines().filter(|line| line.starts_with("concord_system_health{")).collect::<Vec<_>>();
    assert!(!well.is_empty() && well.iter().all(|line| line.ends_with(" 1")), "{well:?}");
    // The product shows a write before its answer is heard.
    world
        .until("edits of both were measured", async |w: &World| {
            let text = scraped(w).await;
            ["product", "stripe"].iter().all(|system| text.contains(&format!("concord_propagation_seconds_count{{system=\"{system}\"}}")))
        })
        .await;
}
