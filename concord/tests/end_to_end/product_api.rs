//! The product's own API.

use crate::world::{Plan, World};
use reqwest::Method;
use serde_json::{Value as Json, json};

const AT: &str = "/api/v1/myproduct/customers/";

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_the_products_api_does_what_it_says() {
    let world = World::running(Plan::usual()).await;
    let ask = async |method: &Method, path: &str, body: Json| world.ask(method.clone(), path, (!body.is_null()).then_some(body)).await;

    // Add: with an id, without one, twice, wrong.
    let ada = json!({"id": "ada", "name": "Ada", "email": "ada@example.com", "address": {"line1": "1 Main St", "city": "London"}, "attributes": {"plan": "pro"}});
    let (status, body) = ask(&Method::POST, AT, ada.clone()).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(
        (&body["id"], &body["address"]["city"], &body["attributes"]["plan"], &body["phone"]),
        (&json!("ada"), &json!("London"), &json!("pro"), &Json::Null)
    );
    assert!(body["created_at"].as_str().unwrap().ends_with('Z'), "{body}");
    assert_eq!(ask(&Method::POST, AT, ada).await.0, 409);
    let (status, body) = ask(&Method::POST, AT, json!({"name": "Bob"})).await;
    assert_eq!(status, 201);
    assert_eq!(body["id"].as_str().unwrap().len(), 36, "a UUID by default: {body}");
    for (wrong, field) in [
        (json!({"email": "nobody"}), "email"),
        (json!({"nme": "x"}), "nme"),
        (json!({"name": 7}), "name"),
        (json!({"address": "x"}), "address"),
        (json!({"address": {"street": "x"}}), "address"),
        (json!([]), "detail"),
    ] {
        let (status, body) = ask(&Method::POST, AT, wrong.clone()).await;
        assert_eq!(status, 400, "{wrong}");
        assert!(body[field].is_array(), "{wrong}: {body}");
    }

    // Change: PATCH a part, null clears, PUT clears what it omits.
    let at = format!("{AT}ada/");
    let (status, body) = ask(&Method::PATCH, &at, json!({"phone": "1", "attributes": {"seats": "3", "plan": null}})).await;
    assert_eq!((status, &body["phone"], &body["name"], &body["attributes"]), (200, &json!("1"), &json!("Ada"), &json!({"seats": "3"})));
    let (status, body) = ask(&Method::PATCH, &at, json!({"phone": null})).await;
    assert_eq!((status, &body["phone"]), (200, &Json::Null));
    let (status, body) = ask(&Method::PUT, &at, json!({"name": "Ada K"})).await;
    assert_eq!(
        (status, &body["name"], &body["email"], &body["address"], &body["attributes"]),
        (200, &json!("Ada K"), &Json::Null, &Json::Null, &json!({}))
    );
    assert_eq!(ask(&Method::PATCH, &at, json!({"id": "eve"})).await.0, 400);
    assert_eq!(ask(&Method::GET, &at, Json::Null).await.1["name"], "Ada K");

    // What is not there, and what is not done.
    for (method, status) in [(&Method::GET, 404), (&Method::PATCH, 404), (&Method::PUT, 404), (&Method::DELETE, 404)] {
        let body = if *method == Method::PATCH || *method == Method::PUT { json!({"name": "x"}) } else { Json::Null };
        let (got, body) = ask(method, &format!("{AT}nobody/"), body).await;
        assert_eq!(got, status, "{method}");
        assert_eq!(body["detail"], "Not found.");
    }
    assert_eq!(ask(&Method::DELETE, &at, Json::Null).await.0, 204);
    assert_eq!(ask(&Method::GET, &at, Json::Null).await.0, 404);

    // Lists page by id, with a link to the next page, and filter by e-mail.
    for n in 0..5 {
        world.add(json!({"id": format!("p{n}"), "email": format!("P{n}@Example.com")})).await;
    }
    let (mut next, mut seen) = (Some(format!("{AT}?limit=2")), Vec::new());
    while let Some(path) = next {
        let answer = world.http.get(world.url(&path)).send().await.unwrap();
        next = answer.headers().get("link").map(|link| link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_string());
        let page: Vec<Json> = answer.json().await.unwrap();
        assert!(page.len() <= 2);
        seen.extend(page.iter().map(|c| c["id"].as_str().unwrap().to_string()));
    }
    assert!(seen.is_sorted() && seen.len() == 6, "{seen:?}");
    let found = world.get(&format!("{AT}?email=p3@example.com")).await;
    assert_eq!(found.as_array().unwrap().len(), 1);
    for wrong in ["?limit=0", "?limit=501", "?limit=x", "?nme=x"] {
        assert_eq!(ask(&Method::GET, &format!("{AT}{wrong}"), Json::Null).await.0, 400, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_only_this_machine_by_its_own_name_is_served() {
    let world = World::running(Plan::usual()).await;
    let post = |host: &str, origin: &str| {
        let request = world.http.post(world.url(AT)).header("host", host).header("origin", origin);
        request.json(&json!({"name": "x"})).send()
    };
    let own = world.listen.to_string();
    assert_eq!(post(&own, &format!("http://{own}")).await.unwrap().status(), 201);
    assert_eq!(post(&own, "http://evil.example").await.unwrap().status(), 403);
    assert_eq!(post("evil.example", &format!("http://{own}")).await.unwrap().status(), 403);
    let metrics = world.http.get(world.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("# TYPE"), "{metrics}");
    for secret in [crate::world::KEY, crate::world::SECRET] {
        assert!(!metrics.contains(secret));
    }
}
