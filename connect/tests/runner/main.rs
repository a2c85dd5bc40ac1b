//! The runner on a real log, against a small system that misbehaves as it is told.

mod backfills;
mod calls;
mod catching_up;
mod crashes;
mod troubles;
mod vendor;

use connect::{Health, Requests, Runner, Style, backoff::Backoff, runner::Options};
use schemas::{
    Action, AvroCodec, ExternalId, Field, Notice, Outcome, Registry, Request, SourceCustomer, System, Value, Write, WriteId, value_subject,
};
use std::{sync::Arc, time::Duration};
use streams::{
    ConsumerRecord, ProducerRecord, TopicPartition,
    embedded::{Append, Log, Options as LogOptions, TopicConfig},
};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use vendor::Vendor;

const PARTITIONS: i32 = 3;
const DAY: Duration = Duration::from_secs(24 * 3600);

fn system() -> System {
    System::new("stripe").unwrap()
}

/// A log with the system's topics, and the system.
struct World {
    log: Log,
    registry: Registry,
    request: AvroCodec<Request>,
    customer: AvroCodec<SourceCustomer>,
    vendor: Arc<Vendor>,
    folder: TempDir,
}

/// A runner at work.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
    health: watch::Receiver<Health>,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        World::at(folder, Arc::new(Vendor::default()))
    }

    fn at(folder: TempDir, vendor: Arc<Vendor>) -> World {
        World::with(folder, vendor, LogOptions { min_free_bytes: 0, ..LogOptions::default() })
    }

    fn with(folder: TempDir, vendor: Arc<Vendor>, options: LogOptions) -> World {
        let log = Log::open(folder.path(), options).unwrap();
        for topic in ["requests.stripe", "customers.stripe", "customers.identify", "customers.unify"] {
            log.create_topic(TopicConfig::delete(topic, PARTITIONS, DAY)).unwrap();
        }
        log.create_topic(TopicConfig::compact("links.stripe", PARTITIONS)).unwrap();
        let registry = Registry::new();
        let request = registry.codec(&value_subject("requests.stripe")).unwrap();
        let customer = registry.codec(&value_subject("customers.stripe")).unwrap();
        World { log, registry, request, customer, vendor, folder }
    }

    /// The process dies and starts again on the same folder.
    fn restart(self) -> World {
        let World { log, vendor, folder, .. } = self;
        log.close();
        World::at(folder, vendor)
    }

    /// The process starts again, and the disk is full.
    fn restart_on_a_full_disk(self) -> World {
        let World { log, vendor, folder, .. } = self;
        log.close();
        World::with(folder, vendor, LogOptions { min_free_bytes: u64::MAX, ..LogOptions::default() })
    }

    fn options(&self) -> Options {
        let quick = Backoff { first: 5, longest: 40 };
        Options {
            backoff: quick,
            credentials: quick,
            away: quick,
            timeout: Duration::from_millis(200),
            drain: Duration::from_secs(2),
            ..Options::new(system(), Style::Idempotent)
        }
    }

    async fn run(&self) -> Running {
        self.run_with(self.options()).await
    }

    async fn run_with(&self, options: Options) -> Running {
        let (source, sink) = (self.vendor.clone(), self.vendor.clone());
        let runner = Runner::new(self.log.clone().into(), &self.registry, options, source, Some(sink)).await.unwrap();
        let (stop, health) = (CancellationToken::new(), runner.health());
        let token = stop.clone();
        let task = tokio::spawn(async move { runner.run(token).await.unwrap() });
        Running { stop, task, health }
    }

    fn requests(&self) -> Requests {
        Requests::new(&self.log.clone().into(), &self.registry, &system()).unwrap()
    }

    async fn notice(&self, id: &str, event: &str) {
        let notice = Notice { event_id: event.into(), write_id: None, time: 1, changes: Vec::new() };
        self.requests().notices([(ExternalId::new(id), vec![notice])]).await.unwrap();
    }

    async fn ask(&self, key: &str, action: Action) {
        let value = self.request.encode(&Request { action }).unwrap();
        let record = ProducerRecord::new("requests.stripe", key.to_owned(), value).with_timestamp(now());
        self.log.append(Append::of([record])).await.unwrap();
    }

    fn records(&self, topic: &str) -> Vec<ConsumerRecord> {
        let partitions = (0..PARTITIONS).map(|p| TopicPartition::new(topic, p));
        partitions.flat_map(|tp| self.log.read(&tp, 0, usize::MAX, usize::MAX).unwrap()).collect()
    }

    /// All results of a record so far, in order.
    fn results(&self, id: &str) -> Vec<SourceCustomer> {
        let of = |record: ConsumerRecord| {
            let value = record.key.filter(|key| key == id.as_bytes()).and(record.value)?;
            Some(self.customer.decode(&value).unwrap())
        };
        self.records("customers.stripe").into_iter().filter_map(of).collect()
    }

    /// Waits for the record's results.
    async fn until(&self, id: &str, n: usize) -> Vec<SourceCustomer> {
        eventually(&format!("{n} results of {id}"), || self.results(id).len() >= n).await;
        self.results(id)
    }

    /// Whether every request is committed.
    fn all_committed(&self) -> bool {
        (0..PARTITIONS).map(|p| TopicPartition::new("requests.stripe", p)).all(|tp| {
            let end = self.log.end_offset(&tp).unwrap();
            self.log.committed("concord-runner-stripe", &tp).unwrap().unwrap_or(0) == end
        })
    }
}

impl Running {
    /// Shuts down in good order.
    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("it drains").unwrap();
    }

    /// Dies at once.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    async fn until(&mut self, what: impl FnMut(&Health) -> bool) -> Health {
        tokio::time::timeout(Duration::from_secs(10), self.health.wait_for(what)).await.expect("in time").unwrap().clone()
    }
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn now() -> i64 {
    use streams::embedded::{Clock, SystemClock};
    SystemClock.now_ms()
}

fn ada() -> schemas::CustomerId {
    schemas::CustomerId::minted(&System::new("product").unwrap(), &ExternalId::new("42"), 0)
}

fn write(n: u64, from: &str, to: &str, mark: Option<String>, after: i64) -> Action {
    let values = |text: &str| [(Field::Name, Value::from(text))].into_iter().collect();
    Action::Write(Write {
        id: WriteId::write(ada(), &system(), n),
        customer: ada(),
        incarnation: 0,
        set: values(to),
        expected: values(from),
        mark,
        after,
        stamp: None,
        settled: false,
    })
}

fn name(result: &SourceCustomer) -> Option<&str> {
    result.fields.as_ref()?.name.as_deref()
}

fn outcome(result: &SourceCustomer) -> Option<Outcome> {
    Some(result.answer.as_ref()?.outcome)
}

fn events(result: &SourceCustomer) -> Vec<&str> {
    result.notices.iter().map(|notice| notice.event_id.as_str()).collect()
}
