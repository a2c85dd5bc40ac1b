//! Appends of a log that owns nothing: each record is written once, and an append of several may be written in part if it fails.

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message};
use tokio::sync::oneshot;

use super::super::KafkaStreamsConfig;
use super::super::clients as base;
use super::super::transactions::owned;
use super::aside::Aside;
use super::queue::{Placed, Room};
use super::{KafkaLogError, clients, error};
use crate::embedded::{Append, LogError};

/// An append whose records are on their way.
struct Waiting(Mutex<Progress>);

struct Progress {
    offsets: Vec<i64>,
    left: usize,
    error: Option<LogError>,
    done: Option<oneshot::Sender<Result<Vec<i64>, LogError>>>,
}

/// Whose record it is, and which of its records.
struct Report {
    append: Arc<Waiting>,
    place: usize,
}

/// Takes what becomes of each record.
struct Reports;

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        base::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        base::log_error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Report>;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Box<Report>) {
        let outcome = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, message)) => Err(failed(message.topic(), error)),
        };
        report.append.note(report.place, outcome);
    }
}

impl Waiting {
    fn note(&self, place: usize, outcome: Result<i64, LogError>) {
        let mut progress = self.0.lock();
        match outcome {
            Ok(offset) => progress.offsets[place] = offset,
            Err(error) => drop(progress.error.get_or_insert(error)),
        }
        progress.left -= 1;
        if progress.left == 0
            && let Some(done) = progress.done.take()
        {
            let outcome = progress.error.take().map_or_else(|| Ok(std::mem::take(&mut progress.offsets)), Err);
            // Whoever gave up waiting does not hear of it.
            let _ = done.send(outcome);
        }
    }
}

/// The producer, which is made anew when it breaks.
pub(super) struct Plain {
    config: KafkaStreamsConfig,
    producer: Mutex<Arc<Aside<ThreadedProducer<Reports>>>>,
    room: Room,
}

impl Plain {
    pub(super) fn new(config: &KafkaStreamsConfig) -> Result<Plain, LogError> {
        let producer = Mutex::new(Arc::new(Aside::new(clients::producer(config, Reports)?)));
        Ok(Plain { config: config.clone(), producer, room: Room::new() })
    }

    pub(super) async fn append(&self, append: Append, placed: Placed) -> Result<Vec<i64>, LogError> {
        if !append.offsets.is_empty() {
            let reason = "only who owns a name sets them, together with what it appends".to_owned();
            return Err(LogError::Invalid { what: "group offsets of an append".to_owned(), reason });
        }
        if append.records.is_empty() {
            return Ok(Vec::new());
        }
        let _room = self.room.take(append.size()).await?;
        let (done, outcome) = oneshot::channel();
        let count = append.records.len();
        let progress = Progress { offsets: vec![-1; count], left: count, error: None, done: Some(done) };
        self.send(&append, &placed, &Arc::new(Waiting(Mutex::new(progress))))?;
        outcome.await.unwrap_or(Err(LogError::Closed))
    }

    fn send(&self, append: &Append, placed: &Placed, waiting: &Arc<Waiting>) -> Result<(), LogError> {
        let producer = self.usable()?;
        for (place, (record, partition)) in append.records.iter().zip(&placed.0).enumerate() {
            let report = Box::new(Report { append: waiting.clone(), place });
            let mut message: BaseRecord<'_, [u8], [u8], Box<Report>> =
                BaseRecord::with_opaque_to(&record.topic, report).partition(*partition).timestamp(record.timestamp);
            message.key = record.key.as_deref();
            message.payload = record.value.as_deref();
            message.headers = (!record.headers.is_empty()).then(|| owned(&record.headers));
            if let Err((error, message)) = producer.send(message) {
                message.delivery_opaque.append.note(place, Err(failed(&record.topic, &error)));
            }
        }
        Ok(())
    }

    /// A producer that is not broken: one that lost count of its records writes nothing any more.
    fn usable(&self) -> Result<Arc<Aside<ThreadedProducer<Reports>>>, LogError> {
        let mut producer = self.producer.lock();
        if let Some((code, reason)) = producer.client().fatal_error() {
            tracing::warn!(%code, reason, "The log's producer is given up for a new one.");
            *producer = Arc::new(Aside::new(clients::producer(&self.config, Reports)?));
        }
        Ok(producer.clone())
    }
}

fn failed(topic: &str, error: &KafkaError) -> LogError {
    let away = || KafkaLogError::Away { action: format!("writing to {topic}"), reason: reason(error) };
    error::of_record(topic, error).unwrap_or_else(|| away().into())
}

fn reason(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageTimedOut) => "no broker took it in time".to_owned(),
        _ => error.to_string(),
    }
}
