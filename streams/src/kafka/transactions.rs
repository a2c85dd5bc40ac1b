//! The transactional producer of a stream thread: one transaction after the other, and what each error means for it.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Message, TopicPartitionList};
use rustc_hash::FxHashMap;

use super::{KafkaStreamsConfig, KafkaStreamsError, clients};
use crate::{Headers, ProducerRecord};

/// How long one call of librdkafka may wait; it is repeated within the patience of the configuration.
const CALL: Duration = Duration::from_secs(5);
const ABORT_CALL: Duration = Duration::from_millis(10);
/// Reports of the broker are taken after so many records.
const POLL_EVERY: u32 = 256;

/// What became of a transaction, if not what was asked for.
#[derive(Debug)]
pub(super) enum TransactionError {
    /// It must be aborted; then the producer goes on.
    Abort(String),
    /// The producer is fenced or broken, or it is not known what became of the transaction: only a new one of the same id can tell.
    Fatal(String),
    /// Nobody could write this record.
    Refused(String),
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abort(reason) | Self::Fatal(reason) | Self::Refused(reason) => f.write_str(reason),
        }
    }
}

/// A place of a changelog, whose last offset in the transaction is noted. 0 is none: an ordinary output.
pub(super) type Slot = usize;

/// Notes the offsets that changelog records got.
#[derive(Debug, Default)]
struct Deliveries {
    last: Mutex<FxHashMap<Slot, i64>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        clients::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        clients::log_error(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Slot;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: Slot) {
        // A record that could not be written makes the commit fail; nothing to do here.
        if slot != 0
            && let Ok(message) = result
        {
            let offset = message.offset();
            self.last.lock().entry(slot).and_modify(|last| *last = offset.max(*last)).or_insert(offset);
        }
    }
}

pub(super) struct Transactions {
    producer: BaseProducer<Deliveries>,
    open: bool,
    sent: u32,
    patience: Duration,
}

impl Transactions {
    /// A producer that may write: whatever an earlier one of this id left open is settled, and that one is fenced.
    pub(super) fn new(config: &KafkaStreamsConfig, client_id: &str, transactional_id: &str) -> Result<Transactions, KafkaStreamsError> {
        let producer = clients::producer(config, client_id, transactional_id, Deliveries::default())?;
        let transactions = Transactions { producer, open: false, sent: 0, patience: config.api_timeout };
        transactions
            .settle("settling the last transaction", |producer| producer.init_transactions(CALL))
            .map_err(|error| KafkaStreamsError::Producer(error.to_string()))?;
        Ok(transactions)
    }

    /// Whether something was written since the last commit.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Hands a record over to the transaction.
    pub(super) fn send(&mut self, record: &ProducerRecord, partition: i32, slot: Slot) -> Result<(), TransactionError> {
        self.begin()?;
        let mut message: BaseRecord<'_, [u8], [u8], Slot> =
            BaseRecord::with_opaque_to(&record.topic, slot).partition(partition).timestamp(record.timestamp);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        message.headers = (!record.headers.is_empty()).then(|| owned(&record.headers));
        let mut deadline = None;
        while let Err((error, again)) = self.producer.send(message) {
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.patience);
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) || Instant::now() > deadline {
                return Err(of_send(&record.topic, &error));
            }
            self.producer.poll(Duration::from_millis(1));
            message = again;
        }
        self.sent += 1;
        if self.sent.is_multiple_of(POLL_EVERY) {
            self.poll();
        }
        Ok(())
    }

    /// Takes reports of the broker that are there.
    pub(super) fn poll(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Commits what was sent, with the offsets of the group; the last offset of each changelog that was written.
    pub(super) fn commit(
        &mut self,
        offsets: &TopicPartitionList,
        group: &ConsumerGroupMetadata,
    ) -> Result<FxHashMap<Slot, i64>, TransactionError> {
        self.begin()?;
        self.flush()?;
        self.settle("adding offsets", |producer| producer.send_offsets_to_transaction(offsets, group, CALL))?;
        self.settle("committing", |producer| producer.commit_transaction(CALL))?;
        self.open = false;
        Ok(std::mem::take(&mut *self.producer.context().last.lock()))
    }

    /// Aborts what was sent, if anything. `abort_transaction` alone would wait for records whose reports nobody takes.
    pub(super) fn abort(&mut self) -> Result<(), TransactionError> {
        if !self.open {
            return Ok(());
        }
        let deadline = Instant::now() + self.patience;
        loop {
            match self.producer.abort_transaction(ABORT_CALL) {
                Ok(()) => break,
                Err(KafkaError::Transaction(error)) if error.is_fatal() => return Err(TransactionError::Fatal(error.string())),
                Err(error) if Instant::now() > deadline => return Err(TransactionError::Fatal(format!("aborting: {error}"))),
                Err(_) => self.producer.poll(Duration::from_millis(1)),
            }
        }
        self.open = false;
        self.producer.context().last.lock().clear();
        Ok(())
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        if !self.open {
            self.settle("beginning a transaction", |producer| producer.begin_transaction())?;
            self.open = true;
        }
        Ok(())
    }

    /// Waits until all records are written: the commit of rust-rdkafka would do so too, but in steps of 100 ms.
    fn flush(&self) -> Result<(), TransactionError> {
        let deadline = Instant::now() + self.patience;
        while self.producer.flush(Duration::ZERO).is_err() {
            if Instant::now() > deadline {
                return Err(TransactionError::Fatal("the records were not written in time".to_owned()));
            }
            self.producer.poll(Duration::from_micros(500));
        }
        Ok(())
    }

    /// Repeats a call while its error says that it may be repeated and patience lasts.
    fn settle(&self, action: &str, mut call: impl FnMut(&BaseProducer<Deliveries>) -> KafkaResult<()>) -> Result<(), TransactionError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let error = match call(&self.producer) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let reason = format!("{action}: {error}");
            let KafkaError::Transaction(error) = error else { return Err(TransactionError::Fatal(reason)) };
            if error.is_fatal() {
                return Err(TransactionError::Fatal(reason));
            }
            if error.txn_requires_abort() {
                return Err(TransactionError::Abort(reason));
            }
            if !error.is_retriable() || Instant::now() > deadline {
                return Err(TransactionError::Fatal(reason));
            }
            tracing::debug!(reason, "Trying again.");
            self.producer.poll(Duration::from_millis(1));
        }
    }
}

fn of_send(topic: &str, error: &KafkaError) -> TransactionError {
    use RDKafkaErrorCode::{Fatal, Fenced, InvalidArgument, MessageSizeTooLarge, UnknownPartition, UnknownTopic};
    let reason = format!("writing to {topic}: {error}");
    match error.rdkafka_error_code() {
        Some(MessageSizeTooLarge | UnknownPartition | UnknownTopic | InvalidArgument) | None => TransactionError::Refused(reason),
        Some(Fatal | Fenced) => TransactionError::Fatal(reason),
        Some(_) => TransactionError::Abort(reason),
    }
}

fn owned(headers: &Headers) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    headers.iter().fold(empty, |owned, header| owned.insert(Header { key: &header.key, value: header.value.as_deref() }))
}
