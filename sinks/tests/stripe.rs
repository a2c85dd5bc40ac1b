//! The Stripe sink against the stand-in: one call each, and what Stripe's answers become.

use clients::{
    Secret,
    stripe::{Client, Limits, Options},
};
use connect::{Create, Cursors, Delete, Refusal, Reply, Requests, Seen, Sink, Style, Update, conformance::Subject};
use sandbox::{Fault, Handle, On, Rule, Sandbox};
use schemas::{Address, CustomerId, ExternalId, Field, Registry, System, Value, Values, WriteId};
use serde_json::json;
use sinks::stripe::Stripe;
use sources::stripe;
use std::time::Duration;
use streams::embedded::{Log, TopicConfig};

fn system() -> System {
    System::new("stripe").unwrap()
}

fn customer(n: u8) -> CustomerId {
    CustomerId::minted(&System::new("product").unwrap(), &ExternalId::new(n.to_string()), 0)
}

async fn start() -> (Handle, Stripe) {
    let sandbox = Sandbox::start(sandbox::Options::default()).await.unwrap();
    let sink = Stripe::new(client(&sandbox.base()));
    (sandbox, sink)
}

fn client(base: &str) -> Client {
    Client::new(Options::new(Secret::new("sk_test_sandbox"), base).unwrap().limits(Limits::of(10_000))).unwrap()
}

fn create(n: u8, set: Values) -> Create {
    let id = WriteId::create(customer(n), &system(), 0, 0);
    Create { key: id.key(), id, set }
}

fn update(seen: &Seen, n: u64, set: Values) -> Update {
    let write = WriteId::write(customer(1), &system(), n);
    Update { id: seen.id.clone(), key: write.to_string(), write, set, unmodified_since: None }
}

fn ann() -> Values {
    Values::from([
        (Field::Name, "Ann".into()),
        (Field::Email, "Ann@X.org".into()),
        (Field::Address, Address { line1: "1 Main St".into(), city: "Oslo".into(), ..Address::default() }.into()),
        (Field::attribute("plan"), "pro".into()),
    ])
}

async fn made(stripe: &Stripe, n: u8, set: Values) -> Seen {
    match stripe.create(&create(n, set)).await {
        Reply::Done { seen, exact: true } => seen,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_create_carries_both_marks_and_repeats_its_first_answer() {
    let (sandbox, stripe) = start().await;
    let seen = made(&stripe, 1, ann()).await;
    assert!(seen.shows(&ann()));
    assert_eq!(seen.concord_id, Some(customer(1).to_string()));
    assert_eq!(seen.mark, Some(format!("{}:stripe:create0", customer(1))));
    assert!(seen.look > 0 && seen.created > 0);
    sandbox.update(seen.id.as_str(), json!({"name": "Bo"})).unwrap();
    match stripe.create(&create(1, ann())).await {
        Reply::Replayed { seen: first } => assert!(first.shows(&ann()) && first.id == seen.id),
        other => panic!("{other:?}"),
    }
    let mut other = ann();
    other.insert(Field::Phone, "1".into());
    assert_eq!(stripe.create(&create(1, other)).await, Reply::KeyReused);
}

#[tokio::test]
async fn an_update_sets_its_fields_and_its_mark_and_nothing_else() {
    let (sandbox, stripe) = start().await;
    let seen = made(&stripe, 1, ann()).await;
    sandbox.update(seen.id.as_str(), json!({"phone": "7", "metadata": {"theirs": "x"}})).unwrap();
    let set = Values::from([
        (Field::Name, Value::Empty),
        (Field::Address, Address { city: "Bergen".into(), ..Address::default() }.into()),
        (Field::attribute("plan"), Value::Empty),
        (Field::attribute("tier"), "2".into()),
    ]);
    let write = update(&seen, 3, set.clone());
    let Reply::Done { seen: after, exact: true } = stripe.update(&write).await else { panic!() };
    assert!(after.shows(&set), "{after:?}");
    assert!(after.shows(&Values::from([
        (Field::Phone, "7".into()),
        (Field::attribute("theirs"), "x".into()),
        (Field::Email, "Ann@X.org".into())
    ])));
    assert_eq!(after.mark, Some(format!("{}:stripe:3", customer(1))));
    assert_eq!(after.concord_id, seen.concord_id);
    assert!(matches!(stripe.update(&write).await, Reply::Replayed { .. }));
    let event = sandbox.history().pop().unwrap().1.pop().unwrap();
    assert_eq!(event.by.idempotency_key, Some(write.key.clone()), "the echo carries the write's id");
    let clear = update(&after, 4, Values::from([(Field::Address, Value::Empty)]));
    let Reply::Done { seen: after, .. } = stripe.update(&clear).await else { panic!() };
    assert!(after.shows(&clear.set));
}

#[tokio::test]
async fn a_refusal_names_the_field() {
    let (_sandbox, stripe) = start().await;
    let seen = made(&stripe, 1, ann()).await;
    let long = "k".repeat(41);
    let cases = [
        (Field::Email, Value::from("ann")),
        (Field::Name, "n".repeat(257).into()),
        (Field::Phone, "1".repeat(21).into()),
        (Field::Address, Address { country: "Norway".into(), ..Address::default() }.into()),
        (Field::attribute(&long), "v".into()),
        (Field::attribute("k"), "v".repeat(501).into()),
        (Field::attribute("a[b]"), "v".into()),
        (Field::attribute("concord_id"), "v".into()),
    ];
    for (n, (field, value)) in cases.into_iter().enumerate() {
        let set = Values::from([(Field::attribute("fine"), "1".into()), (field.clone(), value)]);
        match stripe.update(&update(&seen, n as u64, set.clone())).await {
            Reply::Refused(Refusal { field: Some(named), reason, taken: false }) => {
                assert!(named == field && !reason.is_empty(), "{named}")
            }
            other => panic!("{field}: {other:?}"),
        }
        assert!(
            matches!(stripe.create(&create(n as u8 + 10, set)).await, Reply::Refused(Refusal { field: Some(named), .. }) if named == field)
        );
    }
    // More keys than a customer may have: Stripe names none, so one of ours is left out at a time.
    let many: Values = (0..49).map(|n| (Field::attribute(format!("k{n:02}")), "v".into())).collect();
    let refused = stripe.update(&update(&seen, 99, many)).await;
    assert!(matches!(refused, Reply::Refused(Refusal { field: Some(named), .. }) if named == Field::attribute("k48")));
}

#[tokio::test]
async fn deleted_records_are_missing() {
    let (_sandbox, stripe) = start().await;
    let seen = made(&stripe, 1, ann()).await;
    let write = WriteId::write(customer(1), &system(), 9);
    let delete = Delete { id: seen.id.clone(), key: write.to_string(), write };
    assert_eq!(stripe.delete(&delete).await, Reply::Accepted);
    assert_eq!(stripe.delete(&delete).await, Reply::Missing);
    assert_eq!(stripe.update(&update(&seen, 2, ann())).await, Reply::Missing);
}

#[tokio::test]
async fn records_are_found_by_mark_and_by_email_whatever_its_case() {
    let (sandbox, stripe) = start().await;
    let ours = made(&stripe, 1, ann()).await;
    let lower = sandbox.create(json!({"email": "ann@x.org"})).unwrap()["id"].clone();
    for n in 0..120 {
        sandbox.create(json!({"email": format!("{n}@x.org")})).unwrap();
    }
    let ids = |reply: Reply| match reply {
        Reply::Found(seen) => seen.into_iter().map(|s| s.id.to_string()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(ids(stripe.find_ours(customer(1), 0).await), [ours.id.to_string()], "on the second page");
    assert!(ids(stripe.find_ours(customer(2), 0).await).is_empty());
    assert!(ids(stripe.find_ours(customer(1), ours.created + 3_600_000).await).is_empty());
    assert_eq!(ids(stripe.find_by_email("Ann@X.org").await), [ours.id.to_string(), lower.as_str().unwrap().into()]);
    assert_eq!(ids(stripe.find_by_email("ann@x.org").await), [lower.as_str().unwrap()]);
    assert!(ids(stripe.find_by_email("nobody@x.org").await).is_empty());
    assert!(ids(stripe.find_by_email("  ").await).is_empty());
}

#[tokio::test]
async fn what_goes_wrong_is_told_apart() {
    let (sandbox, stripe) = start().await;
    let seen = made(&stripe, 1, ann()).await;
    let before =
        |status, code: Option<&str>, stored| Fault::StatusBefore { status, code: code.map(Into::into), stored, retry_after: Some(4) };
    type Is = fn(&Reply) -> bool;
    let cases: [(Fault, Is); 9] = [
        (before(429, None, false), |r| matches!(r, Reply::Busy { retry_after: Some(4000), .. })),
        (before(429, Some("lock_timeout"), false), |r| matches!(r, Reply::Busy { .. })),
        (before(409, None, false), |r| matches!(r, Reply::Unknown { .. })),
        (before(401, None, false), |r| matches!(r, Reply::Unauthorized { .. })),
        (before(500, None, false), |r| matches!(r, Reply::Unknown { .. })),
        (before(500, None, true), |r| matches!(r, Reply::Stored { status: 500 })),
        (Fault::StatusAfter { status: 500, stored: true }, |r| matches!(r, Reply::Stored { status: 500 })),
        (Fault::ResetBefore, |r| matches!(r, Reply::Unknown { .. })),
        (Fault::ResetAfter, |r| matches!(r, Reply::Unknown { .. })),
    ];
    for (n, (fault, is)) in cases.into_iter().enumerate() {
        sandbox.fault(Rule::next(1, fault.clone()).on(On::Update));
        let reply = stripe.update(&update(&seen, n as u64, Values::from([(Field::Name, n.to_string().into())]))).await;
        assert!(is(&reply), "{fault:?}: {reply:?}");
    }
    let base = sandbox.base();
    sandbox.shutdown().await;
    let away = Stripe::new(Client::new(Options::new(Secret::new("sk_test_sandbox"), &base).unwrap()).unwrap());
    assert!(matches!(away.update(&update(&seen, 1, ann())).await, Reply::Busy { .. }));
}

#[tokio::test]
async fn stripe_conforms() {
    let (sandbox, sink) = start().await;
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), streams::embedded::Options { min_free_bytes: 0, ..Default::default() }).unwrap();
    for topic in ["requests.stripe", "customers.stripe"] {
        log.create_topic(TopicConfig::delete(topic, 1, Duration::from_secs(3600))).unwrap();
    }
    let requests = Requests::new(&log.clone().into(), &Registry::new(), &system()).unwrap();
    let cursors = Cursors::open(&log.clone().into()).await.unwrap();
    let source = stripe::Stripe::new(
        client(&sandbox.base()),
        log.into(),
        requests,
        cursors,
        stripe::RecentEvents::default(),
        stripe::Options::default(),
    )
    .await
    .unwrap();
    let mut subject = Subject::new(&source, &sink, system(), Style::Idempotent, "Run-7");
    subject.refused = Some((Field::Phone, "0".repeat(30).into()));
    subject.page = Some("9999999999".into());
    subject.assert_conforms().await;
}
