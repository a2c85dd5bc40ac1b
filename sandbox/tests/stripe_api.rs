//! The stand-in for Stripe, asked over HTTP as Stripe is.

use reqwest::{Client, Method, Response};
use sandbox::{Fault, Handle, On, Options, Rule, Sandbox};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Once, time::Duration};

struct Stripe {
    sandbox: Handle,
    http: Client,
}

/// Status, headers that matter, body.
struct Told {
    status: u16,
    replayed: bool,
    should_retry: Option<String>,
    request_id: String,
    original: Option<String>,
    body: Value,
}

impl Told {
    async fn of(answer: Response) -> Told {
        let header = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let (status, replayed) = (answer.status().as_u16(), header("idempotent-replayed").as_deref() == Some("true"));
        let (should_retry, original) = (header("stripe-should-retry"), header("original-request"));
        let request_id = header("request-id").expect("each answer names its request");
        assert!(header("date").is_some() && header("stripe-version").is_some());
        Told { status, replayed, should_retry, request_id, original, body: answer.json().await.unwrap() }
    }

    fn error(&self) -> (u16, &str, &str, &str) {
        let of = |name: &str| self.body["error"][name].as_str().unwrap_or("");
        (self.status, of("type"), of("code"), of("param"))
    }

    fn id(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body["id"].as_str().unwrap().to_owned()
    }

    fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body["data"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap().to_owned()).collect()
    }
}

impl Stripe {
    async fn start() -> Stripe {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Stripe {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        Stripe { sandbox: Sandbox::start(options).await.unwrap(), http: Client::builder().no_proxy().build().unwrap() }
    }

    async fn try_ask(&self, method: Method, path: &str, body: Option<&str>, key: Option<&str>) -> reqwest::Result<Response> {
        let mut request = self.http.request(method, format!("{}{path}", self.sandbox.base())).bearer_auth("sk_test_sandbox");
        if let Some(body) = body {
            request = request.header("content-type", "application/x-www-form-urlencoded").body(body.to_owned());
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.send().await
    }

    async fn get(&self, path: &str) -> Told {
        Told::of(self.try_ask(Method::GET, path, None, None).await.unwrap()).await
    }

    async fn post(&self, path: &str, body: &str) -> Told {
        Told::of(self.try_ask(Method::POST, path, Some(body), None).await.unwrap()).await
    }

    async fn keyed(&self, path: &str, body: &str, key: &str) -> Told {
        Told::of(self.try_ask(Method::POST, path, Some(body), Some(key)).await.unwrap()).await
    }

    async fn delete(&self, path: &str) -> Told {
        Told::of(self.try_ask(Method::DELETE, path, None, None).await.unwrap()).await
    }

    async fn events(&self) -> Vec<Value> {
        self.get("/v1/events?limit=100").await.body["data"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn a_customer_lives_and_leaves_a_tombstone() {
    let stripe = Stripe::start().await;
    let made = stripe.post("/v1/customers", "name=Ann&email=Ann%40x.org&address[city]=Oslo&metadata[plan]=pro&phone=").await;
    let id = made.id();
    assert!(id.starts_with("cus_"));
    assert_eq!(made.body["address"]["city"], "Oslo");
    assert_eq!(made.body["address"]["line1"], Value::Null);
    assert_eq!(made.body["phone"], Value::Null);
    assert_eq!((made.body["livemode"].clone(), made.body["object"].clone()), (json!(false), json!("customer")));
    let path = format!("/v1/customers/{id}");
    let body = "name=&metadata[plan]=&metadata[tier]=2&address[line1]=1";
    let changed = stripe.post(&path, body).await;
    assert_eq!(changed.body["name"], Value::Null);
    assert_eq!(changed.body["metadata"], json!({"tier": "2"}));
    assert_eq!((changed.body["address"]["city"].clone(), changed.body["address"]["line1"].clone()), (json!("Oslo"), json!("1")));
    assert_eq!(stripe.post(&path, "address=").await.body["address"], Value::Null);
    assert_eq!(stripe.get(&path).await.body["email"], "Ann@x.org");

    assert_eq!(stripe.delete(&path).await.body, json!({"id": id, "object": "customer", "deleted": true}));
    assert_eq!(stripe.get(&path).await.body, json!({"id": id, "object": "customer", "deleted": true}));
    assert_eq!(stripe.post(&path, "name=x").await.error(), (404, "invalid_request_error", "resource_missing", "id"));
    assert_eq!(stripe.delete(&path).await.error(), (404, "invalid_request_error", "resource_missing", "id"));
    assert_eq!(stripe.get("/v1/customers/cus_nobody").await.error(), (404, "invalid_request_error", "resource_missing", "id"));
    assert!(stripe.get("/v1/customers").await.ids().is_empty());
}

#[tokio::test]
async fn what_stripe_refuses_is_refused() {
    let stripe = Stripe::start().await;
    let id = stripe.post("/v1/customers", "name=Ann").await.id();
    let long = "k".repeat(41);
    let many: String = (0..51).map(|n| format!("metadata[k{n}]=1&")).collect();
    let cases = [
        ("colour=red".to_owned(), "parameter_unknown", "colour"),
        ("address[planet]=x".into(), "parameter_unknown", "address[planet]"),
        ("shipping[x]=1".into(), "parameter_unknown", "shipping[x]"),
        ("email=ann".into(), "email_invalid", "email"),
        ("email=ann%40x".into(), "email_invalid", "email"),
        ("email=a+b%40x.org".into(), "email_invalid", "email"),
        ("email=ann%40x..org".into(), "email_invalid", "email"),
        (format!("email={}%40x.org", "a".repeat(510)), "", "email"),
        (format!("name={}", "n".repeat(257)), "", "name"),
        (format!("phone={}", "1".repeat(21)), "", "phone"),
        ("address[country]=Norway".into(), "", "address[country]"),
        (format!("metadata[{long}]=1"), "", "metadata"),
        (format!("metadata[k]={}", "v".repeat(501)), "", "metadata"),
        (many, "", "metadata"),
        ("metadata[a][b]=1".into(), "", "metadata"),
        ("name[x]=1".into(), "", "name"),
        ("balance=lots".into(), "parameter_invalid_integer", "balance"),
        ("tax_exempt=maybe".into(), "", "tax_exempt"),
        ("preferred_locales=en".into(), "", "preferred_locales"),
    ];
    for (body, code, param) in &cases {
        for path in ["/v1/customers", &format!("/v1/customers/{id}")] {
            let told = stripe.post(path, body).await;
            assert_eq!(told.error(), (400, "invalid_request_error", *code, *param), "{body}");
            assert!(told.body["error"]["message"].is_string());
        }
    }
    assert_eq!(stripe.get("/v1/customers").await.ids().len(), 1, "nothing was made");
    assert_eq!(stripe.events().await.len(), 1, "nothing happened");

    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "created[since]=1",
        "created[gte]=x",
        "colour=red",
        "starting_after=cus_x",
        "ending_before=cus_x",
    ] {
        assert_eq!(stripe.get(&format!("/v1/customers?{query}")).await.status, 400, "{query}");
    }
    for query in ["types=x", "type=a&types[]=b", "delivery_success=maybe", "starting_after=evt_x"] {
        assert_eq!(stripe.get(&format!("/v1/events?{query}")).await.status, 400, "{query}");
    }
    assert_eq!(stripe.get("/v1/invoices").await.status, 404);
    assert_eq!(stripe.get("/v1/customers/a/b").await.status, 404);
    let json =
        stripe.http.post(format!("{}/v1/customers", stripe.sandbox.base())).bearer_auth("sk_test_sandbox").json(&json!({"name": "x"}));
    assert_eq!(json.send().await.unwrap().status(), 400);
    let odd =
        stripe.http.get(format!("{}/v1/customers", stripe.sandbox.base())).bearer_auth("sk_test_sandbox").header("stripe-version", "new");
    assert_eq!(odd.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn only_the_key_opens() {
    let stripe = Stripe::start().await;
    let url = format!("{}/v1/customers", stripe.sandbox.base());
    assert_eq!(stripe.http.get(&url).send().await.unwrap().status(), 401);
    for key in ["sk_test_other", "sk_test_sandbox2", ""] {
        let told = stripe.http.get(&url).bearer_auth(key).send().await.unwrap();
        assert_eq!(told.status(), 401);
        assert!(!told.text().await.unwrap().contains("sk_test_other"));
    }
    assert_eq!(stripe.http.get(&url).basic_auth("sk_test_sandbox", Some("")).send().await.unwrap().status(), 200);
    let closed = Stripe::with(Options { events_api: false, ..Options::default() }).await;
    assert_eq!(closed.get("/v1/events").await.status, 403);
    assert_eq!(closed.get("/v1/customers").await.status, 200);
}

#[tokio::test]
async fn lists_are_newest_first_page_by_page_and_filtered() {
    let stripe = Stripe::start().await;
    let mut ids = Vec::new();
    for n in 0..7 {
        stripe.sandbox.set_skew(n * 10_000);
        ids.push(stripe.post("/v1/customers", &format!("email={}%40x.org", if n % 2 == 0 { "Even" } else { "odd" })).await.id());
    }
    let newest: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(stripe.get("/v1/customers").await.ids(), newest);
    let mut walked = Vec::new();
    let mut path = "/v1/customers?limit=3".to_owned();
    loop {
        let page = stripe.get(&path).await;
        walked.extend(page.ids());
        if page.body["has_more"] == json!(false) {
            break;
        }
        path = format!("/v1/customers?limit=3&starting_after={}", walked.last().unwrap());
    }
    assert_eq!(walked, newest);
    let before = stripe.get(&format!("/v1/customers?limit=2&ending_before={}", ids[2])).await;
    assert_eq!(before.ids(), [ids[4].clone(), ids[3].clone()], "the page next to the cursor");
    assert_eq!(before.body["has_more"], true);
    assert_eq!(stripe.get("/v1/customers?email=Even%40x.org").await.ids().len(), 4);
    assert_eq!(stripe.get("/v1/customers?email=even%40x.org").await.ids().len(), 0, "case matters");
    let at = stripe.get(&format!("/v1/customers/{}", ids[4])).await.body["created"].as_i64().unwrap();
    assert_eq!(stripe.get(&format!("/v1/customers?created[gte]={at}")).await.ids(), newest[..3]);
    assert_eq!(stripe.get(&format!("/v1/customers?created[gt]={at}")).await.ids(), newest[..2]);
    assert_eq!(stripe.get(&format!("/v1/customers?created[lt]={at}")).await.ids(), newest[3..]);
    assert_eq!(stripe.get(&format!("/v1/customers?created={at}")).await.ids(), newest[2..3]);
    stripe.sandbox.delete(&ids[4]).unwrap();
    assert_eq!(
        stripe.get(&format!("/v1/customers?starting_after={}", ids[4])).await.ids(),
        newest[3..],
        "a deleted cursor still has its place"
    );
    assert_eq!(stripe.get("/v1/customers?email=Even%40x.org").await.ids().len(), 3);
}

#[tokio::test]
async fn events_say_what_changed_who_asked_and_in_what_order() {
    let stripe = Stripe::start().await;
    let made = stripe.keyed("/v1/customers", "name=Ann&address[city]=Oslo&address[line1]=1&metadata[a]=1", "make").await;
    let id = made.id();
    let changed = stripe.keyed(&format!("/v1/customers/{id}"), "name=Bo&address[city]=Bergen&metadata[a]=&metadata[b]=2", "change").await;
    stripe.post(&format!("/v1/customers/{id}"), "name=Bo").await;
    stripe.sandbox.update(&id, json!({"address": ""})).unwrap();
    stripe.delete(&format!("/v1/customers/{id}")).await;
    let events = stripe.events().await;
    let kinds: Vec<_> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["customer.deleted", "customer.updated", "customer.updated", "customer.created"],
        "setting what is there is no event"
    );
    assert_eq!(events[3]["request"], json!({"id": made.request_id, "idempotency_key": "make"}));
    assert_eq!(events[2]["request"], json!({"id": changed.request_id, "idempotency_key": "change"}));
    assert_eq!(events[1]["request"], json!({"id": null, "idempotency_key": null}), "a person in Stripe's pages");
    let previous = json!({"name": "Ann", "address": {"city": "Oslo"}, "metadata": {"a": "1", "b": null}});
    assert_eq!(events[2]["data"]["previous_attributes"], previous);
    assert_eq!(events[2]["data"]["object"]["address"]["city"], "Bergen");
    let whole = json!({"city": "Bergen", "country": null, "line1": "1", "line2": null, "postal_code": null, "state": null});
    assert_eq!(events[1]["data"]["previous_attributes"], json!({"address": whole}));
    assert_eq!(events[0]["data"].get("previous_attributes"), None);
    assert_eq!(events[0]["data"]["object"]["name"], "Bo", "a deleted customer is shown as it was");

    assert_eq!(stripe.get("/v1/events?type=customer.deleted").await.ids().len(), 1);
    assert_eq!(stripe.get("/v1/events?types[]=customer.deleted&types[]=customer.created").await.ids().len(), 2);
    let last = events[3]["id"].as_str().unwrap();
    assert_eq!(stripe.get(&format!("/v1/events?ending_before={last}&limit=1")).await.ids()[0], events[2]["id"].as_str().unwrap());
    assert_eq!(stripe.get(&format!("/v1/events/{last}")).await.body["type"], "customer.created");
    stripe.sandbox.set_skew(31 * 24 * 3_600_000);
    assert!(stripe.events().await.is_empty(), "events are shown for 30 days");
}

#[tokio::test]
async fn a_key_answers_once_and_repeats_itself() {
    let stripe = Stripe::start().await;
    let first = stripe.keyed("/v1/customers", "name=Ann&phone=1", "k").await;
    let again = stripe.keyed("/v1/customers", "phone=1&name=Ann", "k").await;
    assert_eq!((again.status, again.replayed, &again.body), (200, true, &first.body));
    assert_eq!(again.original.as_deref(), Some(first.request_id.as_str()));
    assert!(!first.replayed && first.request_id != again.request_id);
    stripe.sandbox.update(&first.id(), json!({"name": "Bo"})).unwrap();
    assert_eq!(stripe.keyed("/v1/customers", "name=Ann&phone=1", "k").await.body["name"], "Ann", "the answer as it was");

    for (path, body) in [("/v1/customers", "name=Bo"), (&*format!("/v1/customers/{}", first.id()), "name=Ann&phone=1")] {
        assert_eq!(stripe.keyed(path, body, "k").await.error(), (400, "idempotency_error", "", ""));
    }
    // An error is an answer, too, unless the request could not even be read.
    let path = format!("/v1/customers/{}", first.id());
    let refused = stripe.keyed(&path, "email=wrong", "bad").await;
    let again = stripe.keyed(&path, "email=wrong", "bad").await;
    assert_eq!((again.status, again.replayed, again.body), (400, true, refused.body));
    assert_eq!(stripe.keyed(&path, "colour=red", "unread").await.status, 400);
    assert!(!stripe.keyed(&path, "colour=red", "unread").await.replayed);
    assert_eq!(stripe.keyed(&path, "name=Cy", "unread").await.status, 200, "the key is still free");

    let day = 24 * 3_600_000;
    stripe.sandbox.set_skew(day - 60_000);
    assert!(stripe.keyed("/v1/customers", "name=Ann&phone=1", "k").await.replayed);
    stripe.sandbox.set_skew(day + 60_000);
    let new = stripe.keyed("/v1/customers", "name=Dee", "k").await;
    assert!(!new.replayed && new.id() != first.id(), "a key lives for a day");
}

#[tokio::test]
async fn one_key_used_at_once_runs_once() {
    let stripe = Stripe::start().await;
    stripe.sandbox.fault(Rule::next(1, Fault::SlowBefore { ms: 300 }).on(On::Create));
    let ask = || stripe.keyed("/v1/customers", "name=Ann", "k");
    let (first, second) = tokio::join!(ask(), async {
        // Struck, so the first is under way.
        while stripe.sandbox.faults_left() > 0 {
            tokio::task::yield_now().await;
        }
        ask().await
    });
    assert_eq!(second.error(), (409, "idempotency_error", "idempotency_key_in_use", ""));
    assert_eq!(first.status, 200);
    assert!(ask().await.replayed);
    assert_eq!(stripe.get("/v1/customers").await.ids().len(), 1);
}

#[tokio::test]
async fn faults_strike_before_or_after_the_effect() {
    let stripe = Stripe::start().await;
    let count = async || stripe.get("/v1/customers").await.ids().len();
    let create = async |key: &str| stripe.try_ask(Method::POST, "/v1/customers", Some("name=Ann"), Some(key)).await;
    let next = |fault| stripe.sandbox.fault(Rule::next(1, fault).on(On::Create));

    let before = |status| Fault::StatusBefore { status, code: None, stored: false, retry_after: Some(3) };
    for status in [429, 409, 500, 503] {
        next(before(status));
        let told = create(&format!("before{status}")).await.unwrap();
        assert_eq!((told.status().as_u16(), told.headers()["retry-after"].to_str().unwrap()), (status, "3"));
        assert_eq!(count().await, 0);
    }
    next(Fault::ResetBefore);
    assert!(create("reset").await.is_err());
    assert_eq!(count().await, 0);
    next(Fault::ResetAfter);
    assert!(create("reset").await.is_err());
    assert_eq!(count().await, 1);
    assert!(Told::of(create("reset").await.unwrap()).await.replayed);

    next(Fault::StatusAfter { status: 500, stored: true });
    let told = Told::of(create("stored").await.unwrap()).await;
    assert_eq!((told.status, told.should_retry.as_deref()), (500, Some("false")));
    assert_eq!(count().await, 2);
    let again = Told::of(create("stored").await.unwrap()).await;
    assert_eq!((again.status, again.replayed), (500, true), "an error replays");
    next(Fault::StatusAfter { status: 502, stored: false });
    assert_eq!(create("lost").await.unwrap().status(), 502);
    assert_eq!(count().await, 3);
    let again = Told::of(create("lost").await.unwrap()).await;
    assert_eq!((again.status, again.replayed), (200, true), "the true answer was kept");

    // Late, and nobody waits: it lands all the same.
    next(Fault::SlowBefore { ms: 200 });
    let short = stripe.http.post(format!("{}/v1/customers", stripe.sandbox.base())).bearer_auth("sk_test_sandbox");
    let short = short.timeout(Duration::from_millis(50)).header("content-type", "application/x-www-form-urlencoded").body("name=Late");
    assert!(short.send().await.unwrap_err().is_timeout());
    assert_eq!(count().await, 3);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while count().await < 4 {
        assert!(tokio::time::Instant::now() < deadline);
    }
}

#[tokio::test]
async fn more_than_the_limit_is_refused_without_effect() {
    let stripe = Stripe::with(Options { rate_limit: Some(20), ..Options::default() }).await;
    let mut refused = 0;
    for n in 0..60 {
        let told = stripe.keyed("/v1/customers", "name=Ann", &n.to_string()).await;
        match told.status {
            200 => {}
            429 => {
                assert_eq!(told.error().2, "rate_limit");
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(refused > 0);
    assert_eq!(stripe.sandbox.history().len(), 60 - refused);
}

#[tokio::test]
async fn the_clock_is_the_accounts_own() {
    let stripe = Stripe::start().await;
    stripe.sandbox.set_skew(-90_000);
    let url = format!("{}/v1/customers", stripe.sandbox.base());
    let answer = stripe.http.get(&url).bearer_auth("sk_test_sandbox").send().await.unwrap();
    let date = answer.headers()["date"].to_str().unwrap().to_owned();
    let made = stripe.post("/v1/customers", "name=Ann").await.body["created"].as_i64().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((made - (now - 90)).abs() <= 2, "{made} {now}");
    assert!(date.ends_with(" GMT"));
}

#[tokio::test]
async fn a_restart_remembers_everything() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { state: Some(folder.path().join("stripe.jsonl")), ..Options::default() };
    let stripe = Stripe::with(options.clone()).await;
    let first = stripe.keyed("/v1/customers", "name=Ann&email=a%40x.org", "k").await;
    let gone = stripe.post("/v1/customers", "name=Bo").await.id();
    stripe.delete(&format!("/v1/customers/{gone}")).await;
    let events = stripe.events().await;
    let history = serde_json::to_value(stripe.sandbox.history()).unwrap();
    // Dropped, not shut down: as if it were killed. A torn line is what a power cut leaves.
    drop(stripe);
    let torn = std::fs::read(options.state.as_ref().unwrap()).unwrap();
    std::fs::write(options.state.as_ref().unwrap(), [torn.as_slice(), b"[{\"Changed\":{"].concat()).unwrap();
    for _ in 0..2 {
        let stripe = Stripe::with(options.clone()).await;
        assert_eq!(stripe.events().await, events);
        assert_eq!(serde_json::to_value(stripe.sandbox.history()).unwrap(), history);
        assert!(stripe.keyed("/v1/customers", "name=Ann&email=a%40x.org", "k").await.replayed);
        assert_eq!(stripe.get("/v1/customers?email=a%40x.org").await.ids(), [first.id()]);
        assert_eq!(stripe.get(&format!("/v1/customers/{gone}")).await.body["deleted"], true);
        stripe.sandbox.shutdown().await;
    }
}

#[tokio::test]
async fn off_loopback_it_listens_in_a_container_only_and_serves_names_of_this_machine() {
    let anywhere = Options { listen: ([0, 0, 0, 0], 0).into(), ..Options::default() };
    assert!(Sandbox::start(anywhere.clone()).await.err().unwrap().to_string().contains("--in-container"));
    let stripe = Stripe::with(Options { in_container: true, ..anywhere }).await;
    let published = format!("http://127.0.0.1:{}/", stripe.sandbox.addr().port());
    assert_eq!(stripe.http.get(&published).send().await.unwrap().status().as_u16(), 200);
    let foreign = stripe.http.get(&published).header("host", "sandbox.example:8010").send().await.unwrap();
    assert_eq!(foreign.status().as_u16(), 403);
}

#[tokio::test]
async fn the_controls_serve_this_machine_only_and_take_json_only() {
    let stripe = Stripe::start().await;
    let at = |path: &str| format!("{}/{path}", stripe.sandbox.base());
    let page = stripe.http.get(at("")).send().await.unwrap();
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(page.text().await.unwrap().contains("Add customer"));
    let made: Value = stripe
        .http
        .post(at("_sandbox/customers"))
        .json(&json!({"name": "Ann", "metadata": {"a": "1"}}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let id = made["id"].as_str().unwrap();
    let edit = stripe.http.post(at(&format!("_sandbox/customers/{id}"))).json(&json!({"name": null, "email": "x"})).send().await.unwrap();
    assert_eq!(edit.status(), 400);
    stripe.http.post(at(&format!("_sandbox/customers/{id}"))).json(&json!({"name": null})).send().await.unwrap();
    stripe.http.delete(at(&format!("_sandbox/customers/{id}"))).send().await.unwrap();
    let past: Value = stripe.http.get(at(&format!("_sandbox/history/{id}"))).send().await.unwrap().json().await.unwrap();
    let names: Vec<_> = past["entries"].as_array().unwrap().iter().map(|e| e["customer"].get("name").cloned()).collect();
    assert_eq!(names, [Some(json!("Ann")), Some(Value::Null), None]);
    assert!(past["entries"].as_array().unwrap().iter().all(|e| e["by"]["request_id"].is_null()));

    let rule = json!({"seed": 3, "rules": [{"fault": "webhook_reorder"}, {"fault": "slow_after", "ms": 5, "on": "list", "next": 2}]});
    let told: Value = stripe.http.post(at("_sandbox/faults")).json(&rule).send().await.unwrap().json().await.unwrap();
    assert_eq!(told["rules"].as_array().unwrap().len(), 2);
    let wrong = json!({"fault": "explode"});
    assert_eq!(stripe.http.post(at("_sandbox/faults")).json(&wrong).send().await.unwrap().status(), 400);
    let elsewhere = json!({"webhook": {"url": "http://example.com/", "secret": "x"}});
    assert_eq!(stripe.http.post(at("_sandbox/settings")).json(&elsewhere).send().await.unwrap().status(), 400);
    assert_eq!(stripe.http.post(at("_sandbox/customers")).body("{}").send().await.unwrap().status(), 400, "a form of another site");
    assert_eq!(stripe.http.get(at("")).header("host", "evil.example").send().await.unwrap().status(), 403);
    assert_eq!(stripe.http.get(at("")).header("origin", "http://evil.example").send().await.unwrap().status(), 403);
    assert!(Sandbox::start(Options { listen: "0.0.0.0:0".parse().unwrap(), ..Options::default() }).await.is_err());
}

#[tokio::test]
async fn ids_are_never_given_twice() {
    let stripe = Stripe::start().await;
    let ids: BTreeSet<String> = (0..200).map(|_| stripe.sandbox.create(json!({})).unwrap()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 200);
}
