//! Stripe as a source, against the stand-in: backfill, catch-up, sweeps.

mod requests_log;

use clients::{
    Secret,
    stripe::{Client, Limits, Options as ClientOptions},
};
use connect::{Cursors, Runner, Source, Style, catch_up::Stage, cursors::CURSORS_TOPIC, runner};
use requests_log::RequestsLog;
use sandbox::{Fault, Handle, On, Rule, Sandbox, Target};
use schemas::{Field, SourceCustomer, Value};
use serde_json::json;
use sources::{
    stripe::{Options, RecentEvents, Stripe, Webhook, webhook::routes},
    webhook::{Limits as ServerLimits, serve},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use streams::{ProducerRecord, TopicPartition, embedded::Append};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// The source and the runner of one account.
struct Running {
    source: Arc<Stripe>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

fn options() -> Options {
    Options { events_every: Duration::from_millis(50), sweep_every: Duration::from_millis(100), ..Options::default() }
}

async fn start(sandbox: &Handle, log: &RequestsLog, options: Options) -> Running {
    start_with(sandbox, log, options, RecentEvents::default()).await
}

async fn start_with(sandbox: &Handle, log: &RequestsLog, options: Options, recent: RecentEvents) -> Running {
    let client = ClientOptions::new(Secret::new("sk_test_sandbox"), &sandbox.base()).unwrap().limits(Limits::of(2_000));
    let client = Client::new(client).unwrap();
    let cursors = Cursors::open(&log.log.clone().into()).await.unwrap();
    let source = Arc::new(Stripe::new(client, log.log.clone().into(), log.requests.clone(), cursors, recent, options).await.unwrap());
    let conversation = runner::Options { lists: true, ..runner::Options::new(log.system.clone(), Style::Idempotent) };
    let runner = Runner::new(log.log.clone().into(), &log.registry, conversation, source.clone(), None).await.unwrap();
    let stop = CancellationToken::new();
    let (first, second) = (stop.clone(), stop.clone());
    let noticing = source.clone();
    let tasks = vec![
        tokio::spawn(async move { noticing.run(first).await.unwrap() }),
        tokio::spawn(async move { runner.run(second).await.unwrap() }),
    ];
    Running { source, stop, tasks }
}

impl Running {
    fn stage(&self) -> Stage {
        self.source.catch_up().unwrap().watch().borrow().clone()
    }

    async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !met() {
        assert!(tokio::time::Instant::now() < deadline, "in 20 seconds not: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn email(result: &SourceCustomer) -> Value {
    result.fields.as_ref().map_or(Value::Empty, |fields| fields.get(&Field::Email))
}

fn cursor(log: &RequestsLog, name: &str) -> Option<String> {
    let records = log.log.read(&TopicPartition::new(CURSORS_TOPIC, 0), 0, 10_000, 1 << 20).unwrap();
    let last = records.iter().rfind(|record| record.key.as_deref() == Some(name.as_bytes()))?;
    Some(String::from_utf8(last.value.as_ref()?.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_backfill_reads_every_customer_by_pages_and_only_once() {
    let sandbox = Sandbox::start(sandbox::Options::default()).await.unwrap();
    for n in 0..250 {
        sandbox.create(json!({"name": format!("Customer {n}"), "email": format!("c{n}@example.com")})).unwrap();
    }
    sandbox.fault(Rule::next(2, Fault::StatusBefore { status: 500, code: None, stored: false, retry_after: None }).on(On::List));
    // Some time ago: their events are not news.
    sandbox.set_skew(5_000);
    let log = RequestsLog::new("stripe");
    let running = start(&sandbox, &log, options()).await;
    until("the backfill is through", || cursor(&log, "stripe.backfill").is_some_and(|text| text.contains("through"))).await;
    let results = log.results();
    let emails: BTreeSet<String> = results.iter().filter_map(|(_, result)| email(result).as_text().map(str::to_owned)).collect();
    assert_eq!(emails.len(), 250);
    assert!(results.iter().all(|(_, result)| result.created > 0 && result.look > 0));
    assert!(sandbox.requests("retrieve") < 50, "{} single reads", sandbox.requests("retrieve"));
    running.stop().await;
    let before = sandbox.requests("list");
    let again = start(&sandbox, &log, options()).await;
    until("events are asked for", || sandbox.requests("events") > 3).await;
    assert!(sandbox.requests("list") <= before + 1, "it is not read again");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_webhook_told_of_is_caught_up_also_after_a_stop() {
    let sandbox = Sandbox::start(sandbox::Options::default()).await.unwrap();
    let ann = sandbox.create(json!({"name": "Ann", "email": "ann@example.com", "address": {"line1": "1 Old", "city": "Leeds"}})).unwrap();
    let ann = ann["id"].as_str().unwrap().to_owned();
    let log = RequestsLog::new("stripe");
    let running = start(&sandbox, &log, options()).await;
    until("Ann is read", || log.latest(&ann).is_some()).await;

    sandbox.update(&ann, json!({"email": "ann@new.example", "address": {"line1": "2 New"}})).unwrap();
    until("her edit is read", || log.latest(&ann).is_some_and(|result| email(&result) == "ann@new.example".into())).await;
    let told = |field: Field, new: Value| {
        log.results().into_iter().flat_map(|(_, r)| r.notices).flat_map(|n| n.changes).any(|c| c.field == field && c.new == new)
    };
    assert!(told(Field::Email, "ann@new.example".into()), "the result carries the event's notice");
    running.stop().await;

    // While nobody listens: an edit, a new customer, a delete.
    sandbox.update(&ann, json!({"phone": "1"})).unwrap();
    let bob = sandbox.create(json!({"name": "Bob"})).unwrap()["id"].as_str().unwrap().to_owned();
    sandbox.update(&ann, json!({"phone": "2"})).unwrap();
    sandbox.fault(Rule::next(2, Fault::ResetBefore).on(On::Events));
    let running = start(&sandbox, &log, options()).await;
    until("Bob is read", || log.latest(&bob).is_some()).await;
    until("Ann is read", || log.latest(&ann).is_some_and(|r| r.fields.is_some_and(|f| f.get(&Field::Phone) == "2".into()))).await;
    assert!(told(Field::Phone, "1".into()) && told(Field::Phone, "2".into()));
    sandbox.delete(&bob).unwrap();
    until("Bob is gone", || log.latest(&bob).is_some_and(|result| result.fields.is_none())).await;

    // Each event led to one notice, however often it was listed since.
    let seen = sandbox.requests("events");
    until("events are asked for again", || sandbox.requests("events") > seen + 3).await;
    running.stop().await;
    let ids: Vec<String> = log.reads().into_iter().flat_map(|(_, read)| read.notices).map(|notice| notice.event_id).collect();
    let after_restart: BTreeSet<&String> = ids.iter().collect();
    assert!(ids.len() <= after_restart.len() + 2, "only what the overlap repeats after a restart: {ids:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_events_api_it_sweeps_and_finds_deletes_by_the_links() {
    let sandbox = Sandbox::start(sandbox::Options { events_api: false, ..Default::default() }).await.unwrap();
    let log = RequestsLog::new("stripe");
    let [ann, bob] = ["Ann", "Bob"].map(|name| sandbox.create(json!({ "name": name })).unwrap()["id"].as_str().unwrap().to_owned());
    let links = [&ann, &bob].map(|id| ProducerRecord::new("links.stripe", id.clone(), "a link"));
    log.log.append(Append::of(links)).await.unwrap();
    let running = start(&sandbox, &log, options()).await;
    until("both are read", || log.latest(&ann).is_some() && log.latest(&bob).is_some()).await;
    sandbox.update(&ann, json!({"email": "ann@example.com"})).unwrap();
    sandbox.delete(&bob).unwrap();
    until("the edit is read", || log.latest(&ann).is_some_and(|result| email(&result) == "ann@example.com".into())).await;
    until("the delete is read", || log.latest(&bob).is_some_and(|result| result.fields.is_none())).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_stop_that_is_longer_than_events_are_kept_everything_is_looked_at() {
    let sandbox = Sandbox::start(sandbox::Options::default()).await.unwrap();
    let log = RequestsLog::new("stripe");
    let ann = sandbox.create(json!({"name": "Ann"})).unwrap()["id"].as_str().unwrap().to_owned();
    let cursors = Cursors::open(&log.log.clone().into()).await.unwrap();
    cursors.set("stripe.backfill", "\"through\"").await.unwrap();
    cursors.set("stripe.events", &(sandbox.now() - 40 * 24 * 3_600_000).to_string()).await.unwrap();
    let running = start(&sandbox, &log, options()).await;
    until("Ann is read", || log.latest(&ann).is_some()).await;
    until("the cursor is of today", || cursor(&log, "stripe.events").unwrap().parse::<i64>().unwrap() > sandbox.now() - 3_600_000).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_some_days_is_caught_up_step_by_step() {
    let sandbox = Sandbox::start(sandbox::Options::default()).await.unwrap();
    let log = RequestsLog::new("stripe");
    let ann = sandbox.create(json!({"name": "Ann"})).unwrap()["id"].as_str().unwrap().to_owned();
    let cursors = Cursors::open(&log.log.clone().into()).await.unwrap();
    cursors.set("stripe.backfill", "\"through\"").await.unwrap();
    cursors.set("stripe.events", &(sandbox.now() - 3 * 24 * 3_600_000).to_string()).await.unwrap();
    let running = start(&sandbox, &log, options()).await;
    until("Ann is read", || log.latest(&ann).is_some()).await;
    assert!(log.latest(&ann).unwrap().notices.iter().any(|notice| !notice.event_id.is_empty()), "by her event, not by a sweep");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_backfill_goes_on_where_it_was() {
    let sandbox = Sandbox::start(sandbox::Options::default()).await.unwrap();
    let log = RequestsLog::new("stripe");
    let ids: Vec<String> =
        (0..150).map(|n| sandbox.create(json!({"name": format!("{n}")})).unwrap()["id"].as_str().unwrap().to_owned()).collect();
    let cursors = Cursors::open(&log.log.clone().into()).await.unwrap();
    // Newest first: the first page was published, and 50 are left.
    let next = json!({"next": {"created_lte": sandbox.now() / 1000 + 1, "after": ids[50]}}).to_string();
    cursors.set("stripe.backfill", &next).await.unwrap();
    cursors.set("stripe.events", &(sandbox.now() + 600_000).to_string()).await.unwrap();
    let running = start(&sandbox, &log, options()).await;
    until("the backfill is through", || cursor(&log, "stripe.backfill").is_some_and(|text| text.contains("through"))).await;
    running.stop().await;
    let read: BTreeSet<String> = log.results().into_iter().map(|(id, _)| id).collect();
    assert_eq!(read, ids[..50].iter().cloned().collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_has_caught_up_once_what_changed_before_each_start_is_read() {
    for events_api in [true, false] {
        let sandbox = Sandbox::start(sandbox::Options { events_api, ..Default::default() }).await.unwrap();
        let log = RequestsLog::new("stripe");
        // A sweep comes at the start, or in this test never.
        let options = || Options { sweep_every: Duration::from_secs(3600), ..options() };
        let ann = sandbox.create(json!({"name": "Ann"})).unwrap()["id"].as_str().unwrap().to_owned();
        let running = start(&sandbox, &log, options()).await;
        until("the first start has caught up", || running.stage() == Stage::Through).await;
        assert!(log.latest(&ann).is_some(), "by the backfill");
        running.stop().await;

        let bob = sandbox.create(json!({"name": "Bob"})).unwrap()["id"].as_str().unwrap().to_owned();
        sandbox.fault(Rule::next(1, Fault::SlowAfter { ms: 300 }).on(On::Retrieve));
        let running = start(&sandbox, &log, options()).await;
        until("the second start has caught up", || running.stage() == Stage::Through).await;
        assert!(log.latest(&bob).is_some(), "events: {events_api}");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catch_up_that_cannot_be_made_says_why_until_it_is() {
    let sandbox = Sandbox::start(sandbox::Options::default()).await.unwrap();
    let log = RequestsLog::new("stripe");
    let running = start(&sandbox, &log, options()).await;
    until("the first start has caught up", || running.stage() == Stage::Through).await;
    running.stop().await;

    sandbox.fault(Rule::always(Fault::StatusBefore { status: 401, code: None, stored: false, retry_after: None }));
    let running = start(&sandbox, &log, options()).await;
    until("it fails", || matches!(running.stage(), Stage::Failing(why) if why.contains("401"))).await;
    sandbox.clear_faults();
    until("it has caught up", || running.stage() == Stage::Through).await;
    running.stop().await;
}

/// Webhooks doubled, late, out of order and lost: each event is noticed, and hardly one twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webhook_and_the_catch_up_share_the_work() {
    let log = RequestsLog::new("stripe");
    let recent = RecentEvents::default();
    let webhook = Webhook::new(log.requests.clone(), vec![Secret::new("whsec_test")], recent.clone()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1/myproduct/stripewebhook/", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, warp::service(routes(vec![Arc::new(webhook)])), ServerLimits::default(), stop.clone()));
    let sandbox = Sandbox::start(sandbox::Options { webhook: Some(Target::new(url, "whsec_test")), ..Default::default() }).await.unwrap();
    let running = start_with(&sandbox, &log, Options { events_every: Duration::from_millis(300), ..options() }, recent).await;
    until("the backfill is through", || cursor(&log, "stripe.backfill").is_some_and(|text| text.contains("through"))).await;

    let faults = [Fault::WebhookDrop, Fault::WebhookDouble, Fault::WebhookReorder { ms: 200 }, Fault::WebhookDelay { ms: 150 }];
    sandbox.faults(faults.map(|fault| Rule::chance(0.2, fault)), 7);
    let ids: Vec<String> =
        (0..5).map(|n| sandbox.create(json!({"name": format!("{n}")})).unwrap()["id"].as_str().unwrap().to_owned()).collect();
    for round in 0..8 {
        for id in &ids {
            sandbox.update(id, json!({"phone": format!("{round}")})).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let events = || -> Vec<String> { log.reads().into_iter().flat_map(|(_, read)| read.notices).map(|notice| notice.event_id).collect() };
    until("every event is noticed", || events().into_iter().collect::<BTreeSet<_>>().len() == 45).await;
    let shows = |id: &String| log.latest(id).and_then(|result| result.fields).map(|fields| fields.get(&Field::Phone));
    until("the last edit of each is read", || ids.iter().all(|id| shows(id) == Some("7".into()))).await;
    until("no webhook is on its way", || sandbox.pending_webhooks() == 0).await;
    assert!(events().len() < 60, "{} notices of 45 events", events().len());
    running.stop().await;
    stop.cancel();
    server.await.unwrap();
}
