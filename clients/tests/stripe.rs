//! The Stripe client against the stand-in, well and misbehaving, and against what is not Stripe at all.

use clients::{
    Secret,
    stripe::{Class, Client, EventsQuery, Form, Found, Limits, ListQuery, Options, record::Record},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sandbox::{Fault, Handle, On, Rule, Sandbox};
use std::{collections::HashMap, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const KEY: &str = "sk_test_sandbox";

fn options(base: &str) -> Options {
    Options::new(Secret::new(KEY), base).unwrap().limits(Limits::of(10_000)).timeout(Duration::from_secs(5))
}

async fn start() -> (Handle, Client) {
    let sandbox = Sandbox::start(sandbox::Options::default()).await.unwrap();
    let client = Client::new(options(&sandbox.base())).unwrap();
    (sandbox, client)
}

fn named(name: &str) -> Form {
    let mut form = Form::default();
    form.set("name", name);
    form
}

#[tokio::test]
async fn customers_come_and_go() {
    let (sandbox, stripe) = start().await;
    let mut form = named("Ann & Bo = é");
    form.set("email", "ann+1@x.org").set_in("address", "city", "Oslo").set_in("metadata", "plan", "a[b]");
    let made = stripe.create(&form, "k1").await.unwrap();
    assert!((made.look - sandbox.now()).abs() < 3000 && made.look % 1000 == 0);
    assert!(made.request_id.as_deref().is_some_and(|id| id.starts_with("req_")));
    let record = Record::from(made.value.clone());
    assert_eq!(record.fields.name.as_deref(), Some("Ann & Bo = é"));
    assert_eq!(record.fields.attributes["plan"], "a[b]");
    let id = made.value.id;

    assert!(!made.replayed && stripe.create(&form, "k1").await.unwrap().replayed);
    let mut clear = Form::default();
    clear.clear("address").set_in("metadata", "plan", "");
    let changed = stripe.update(&id, &clear, "k2").await.unwrap().value;
    assert!(changed.address.is_none() && changed.metadata.is_empty());
    assert_eq!(stripe.retrieve(&id).await.unwrap().value, Found::Live(Box::new(changed)));

    let query = ListQuery { email: Some("ann+1@x.org".into()), limit: Some(100), ..ListQuery::default() };
    let page = stripe.bulk().list(&query).await.unwrap().value;
    assert_eq!((page.data.len(), page.has_more), (1, false));
    let types = vec!["customer.created".to_owned(), "customer.updated".to_owned()];
    let events = stripe.events(&EventsQuery { types, created_gte: Some(0), ..EventsQuery::default() }).await.unwrap().value;
    assert_eq!(events.data.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(), ["customer.updated", "customer.created"]);
    assert_eq!(events.data[0].request.idempotency_key.as_deref(), Some("k2"));

    assert_eq!(stripe.delete(&id).await.unwrap().value.id, id);
    assert!(matches!(stripe.retrieve(&id).await.unwrap().value, Found::Deleted(gone) if gone.id == id));
    for error in [
        stripe.delete(&id).await.unwrap_err(),
        stripe.update(&id, &named("x"), "k3").await.unwrap_err(),
        stripe.retrieve("cus_nobody").await.unwrap_err(),
        stripe.retrieve("../events").await.unwrap_err(),
        stripe.retrieve("").await.unwrap_err(),
    ] {
        assert_eq!(error.class, Class::Missing, "{error}");
    }
}

#[tokio::test]
async fn pages_join_without_gap_or_double() {
    let (sandbox, stripe) = start().await;
    for n in 0..25 {
        sandbox.create(serde_json::json!({ "name": n.to_string() })).unwrap();
    }
    let mut query = ListQuery { limit: Some(10), ..ListQuery::default() };
    let mut names = Vec::new();
    loop {
        let page = stripe.list(&query).await.unwrap().value;
        query.starting_after = page.data.last().map(|c| c.id.clone());
        names.extend(page.data.into_iter().filter_map(|c| c.name));
        if !page.has_more {
            break;
        }
    }
    assert_eq!(names, (0..25).rev().map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn each_misbehaviour_has_its_class() {
    let (sandbox, stripe) = start().await;
    let id = stripe.create(&named("Ann"), "make").await.unwrap().value.id;
    let before =
        |status, code: Option<&str>, stored| Fault::StatusBefore { status, code: code.map(Into::into), stored, retry_after: Some(7) };
    let cases = [
        (before(429, None, false), Class::Limited),
        (before(429, Some("lock_timeout"), false), Class::Busy),
        (before(409, None, false), Class::Busy),
        (before(400, None, false), Class::Refused),
        (before(401, None, false), Class::Credentials),
        (before(403, None, false), Class::Credentials),
        (before(500, None, false), Class::Unavailable),
        (before(500, None, true), Class::Stored),
        (Fault::StatusAfter { status: 500, stored: true }, Class::Stored),
        (Fault::StatusAfter { status: 502, stored: false }, Class::Unavailable),
        (Fault::ResetBefore, Class::Lost),
        (Fault::ResetAfter, Class::Lost),
    ];
    for (n, (fault, class)) in cases.into_iter().enumerate() {
        sandbox.fault(Rule::next(1, fault.clone()).on(On::Update));
        let error = stripe.update(&id, &named(&format!("Ann {n}")), &format!("key {n}")).await.unwrap_err();
        assert_eq!(error.class, class, "{fault:?}: {error}");
        if matches!(fault, Fault::StatusBefore { .. }) {
            assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
            assert!(error.request_id.is_some() && error.look.is_some());
        }
        let again = stripe.update(&id, &named(&format!("Ann {n}")), &format!("key {n}")).await;
        match class {
            Class::Stored => assert!(again.is_err_and(|e| e.class == Class::Stored && e.replayed)),
            _ => assert!(again.is_ok(), "{fault:?}"),
        }
    }
    let error = stripe.update(&id, &named("other"), "make").await.unwrap_err();
    assert_eq!(error.class, Class::KeyReused);
    let mut wrong = Form::default();
    wrong.set_in("address", "country", "Norway");
    let error = stripe.update(&id, &wrong, "country").await.unwrap_err();
    assert_eq!((error.class, error.param.as_deref()), (Class::Refused, Some("address[country]")));
}

#[tokio::test]
async fn a_call_ends_when_its_time_is_over_and_its_outcome_is_unknown() {
    let (sandbox, _) = start().await;
    let stripe = Client::new(options(&sandbox.base()).timeout(Duration::from_millis(200))).unwrap();
    sandbox.fault(Rule::next(1, Fault::SlowAfter { ms: 20_000 }));
    let error = stripe.create(&named("Ann"), "k").await.unwrap_err();
    assert_eq!(error.class, Class::Lost);
    assert!(!error.class.is_without_effect() && error.class.is_retriable());
    assert!(stripe.create(&named("Ann"), "k").await.unwrap().replayed, "it was done");
}

/// Answers every connection with these bytes, then closes it.
async fn answering(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(bytes).await;
            });
        }
    });
    base
}

#[tokio::test]
async fn what_is_not_stripe_is_not_believed() {
    let cases: [(&[u8], Class); 7] = [
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/v1/customers/x\r\ncontent-length: 0\r\n\r\n", Class::Foreign),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\n<html>no<", Class::Foreign),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", Class::Foreign),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"id\": \"ch_1\", \"object\": \"charge\"}", Class::Foreign),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", Class::Unavailable),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"id\":", Class::Lost),
        (b"gibberish", Class::Lost),
    ];
    for (bytes, class) in cases {
        let stripe = Client::new(options(&answering(bytes).await)).unwrap();
        let error = stripe.retrieve("cus_1").await.unwrap_err();
        assert_eq!(error.class, class, "{}: {error}", String::from_utf8_lossy(bytes));
        assert!(!error.class.is_without_effect());
    }
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = Client::new(options(&format!("http://{free}"))).unwrap().retrieve("cus_1").await.unwrap_err();
    assert_eq!(error.class, Class::Unreachable, "{error}");
}

#[tokio::test]
async fn the_key_is_never_shown() {
    const HUSH: &str = "sk_test_hush51PqSecret";
    let shown = |stripe: &Client, error: &dyn std::fmt::Debug| format!("{stripe:?} {error:?}");
    let echo = b"HTTP/1.1 401 Unauthorized\r\nconnection: close\r\n\r\n{\"error\": {\"type\": \"invalid_request_error\", \"message\": \"Invalid API Key provided: sk_test_hush51PqSecret, sorry.\"}}";
    for base in [answering(echo).await, answering(b"x").await, "http://127.0.0.1:1".into()] {
        let options = Options::new(Secret::new(HUSH), &base).unwrap();
        assert!(!format!("{options:?}").contains("hush"));
        let stripe = Client::new(options).unwrap();
        let error = stripe.list(&ListQuery { email: Some("ann@x.org".into()), ..ListQuery::default() }).await.unwrap_err();
        let text = format!("{} {error}", shown(&stripe, &error));
        assert!(!text.contains("hush"), "{text}");
        assert!(!text.contains("ann@x.org") && !text.contains("ann%40"), "nor whom we asked for: {text}");
    }
    let (sandbox, _) = start().await;
    let wrong = Client::new(Options::new(Secret::new(HUSH), &sandbox.base()).unwrap()).unwrap();
    let error = wrong.retrieve("cus_1").await.unwrap_err();
    assert_eq!(error.class, Class::Credentials);
    assert!(!format!("{error} {error:?}").contains("hush"));
}

/// What a runner does: the same call with the same key until the outcome is known.
async fn until_known<T>(call: impl AsyncFn() -> Result<T, clients::stripe::Error>) -> Result<T, Class> {
    for _ in 0..1000 {
        match call().await {
            Ok(value) => return Ok(value),
            Err(error) if error.class.is_retriable() => {}
            Err(error) => return Err(error.class),
        }
    }
    panic!("no known outcome in 1000 calls");
}

#[tokio::test]
async fn whatever_goes_wrong_a_key_takes_effect_once() {
    for seed in 0..8 {
        let (sandbox, stripe) = start().await;
        let chance = |p, fault| Rule::chance(p, fault).on(On::Writes);
        let faults = [
            chance(0.1, Fault::ResetBefore),
            chance(0.1, Fault::ResetAfter),
            chance(0.1, Fault::StatusBefore { status: 429, code: None, stored: false, retry_after: None }),
            chance(0.05, Fault::StatusBefore { status: 500, code: None, stored: false, retry_after: None }),
            chance(0.05, Fault::StatusBefore { status: 500, code: None, stored: true, retry_after: None }),
            chance(0.05, Fault::StatusAfter { status: 500, stored: true }),
            chance(0.05, Fault::StatusAfter { status: 502, stored: false }),
        ];
        sandbox.faults(faults, seed);
        let mut rng = StdRng::seed_from_u64(seed);
        let mut outcomes = HashMap::new();
        let mut ids = Vec::new();
        for n in 0..60 {
            let key = format!("key-{n}");
            let form = named(&format!("name {n}"));
            let outcome = if ids.is_empty() || rng.random_bool(0.3) {
                until_known(async || stripe.create(&form, &key).await).await
            } else {
                let id: &String = &ids[rng.random_range(0..ids.len())];
                until_known(async || stripe.update(id, &form, &key).await).await
            };
            if let Ok(reply) = &outcome {
                assert_eq!(reply.value.name.as_deref(), Some(form.pairs()[0].1.as_str()));
                if !ids.contains(&reply.value.id) {
                    ids.push(reply.value.id.clone());
                }
            }
            outcomes.insert(key, outcome.map(|_| ()));
        }
        let mut effects: HashMap<String, u32> = HashMap::new();
        for past in sandbox.history().into_iter().flat_map(|(_, past)| past) {
            *effects.entry(past.by.idempotency_key.unwrap()).or_default() += 1;
        }
        for (key, outcome) in outcomes {
            let times = effects.get(&key).copied().unwrap_or(0);
            match outcome {
                Ok(()) => assert_eq!(times, 1, "seed {seed}, {key}"),
                Err(Class::Stored) => assert!(times <= 1, "seed {seed}, {key}"),
                Err(other) => panic!("seed {seed}, {key}: {other:?}"),
            }
        }
    }
}
