//! The producer of a stream thread: one transaction after the other, and what each error means for it.
//!
//! A request that was not answered may still be under way, and the broker would take it for one of a later transaction of the same
//! epoch. So nothing is asked for a second time with that epoch: a producer whose call was not answered in time is dropped, and its
//! successor begins by having the broker settle whatever is open, under a new epoch.
//!
//! At least once there are no transactions: what is written stays. A transaction is then no more than what was written since the last
//! commit, and all of it has to be acknowledged.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig};
use rdkafka::{ClientContext, Message, TopicPartitionList};
use rustc_hash::FxHashMap;

use super::refusal::{self, Refusals};
use super::{KafkaStreamsConfig, KafkaStreamsError, ProcessingGuarantee, clients, fail_point, watchdog};
use crate::{Headers, ProducerRecord};

/// The longest time that an answer may take.
const LONGEST_ANSWER: Duration = Duration::from_secs(5);
/// Reports of records, and calls that are out of time, come this much later at most.
const LATE: Duration = Duration::from_secs(1);
/// An abort that takes longer is left to the next producer, whose first call does the same.
const LONGEST_ABORT: Duration = Duration::from_secs(1);
/// As long as reports of records are to be taken.
const ABORT_CALL: Duration = Duration::from_millis(10);
const ABORT_CALL_ALONE: Duration = Duration::from_millis(200);
/// How often it is looked whether all records are written, and how seldom.
const SHORTEST_LOOK: Duration = Duration::from_micros(200);
const LONGEST_LOOK: Duration = Duration::from_millis(50);
/// How long a producer that is dropped is waited for.
const LONGEST_DROP: Duration = Duration::from_secs(1);
/// Reports of the broker are taken after so many records.
const POLL_EVERY: u32 = 256;

/// What became of a transaction, if not what was asked for.
#[derive(Debug)]
pub(super) enum TransactionError {
    /// It must be aborted; then the producer goes on.
    Abort(String),
    /// The producer is fenced or broken, or it is not known what became of the transaction: only a new one of the same id can tell.
    Renew(String),
    /// Nobody could write this record.
    Refused(String),
    /// Our principal lacks a right, or is not known.
    Denied(KafkaStreamsError),
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abort(reason) | Self::Renew(reason) | Self::Refused(reason) => f.write_str(reason),
            Self::Denied(error) => error.fmt(f),
        }
    }
}

/// What the last offset in the transaction is noted for: a changelog, or one record of a log's owner. 0 is none: an ordinary output.
pub(super) type Slot = usize;

/// Notes the offsets that records got, and which were not written.
#[derive(Debug, Default)]
struct Deliveries {
    /// Whether a record that is not written makes the commit fail by itself.
    in_transactions: bool,
    last: Mutex<FxHashMap<Slot, i64>>,
    failed: Mutex<Vec<(Slot, KafkaError)>>,
    refusals: Refusals,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        clients::log(level, facility, message);
        self.refusals.note_log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        clients::log_error(&error, reason);
        self.refusals.note(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Slot;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: Slot) {
        match result {
            Ok(_) if slot == 0 => {}
            Ok(message) => {
                let offset = message.offset();
                self.last.lock().entry(slot).and_modify(|last| *last = offset.max(*last)).or_insert(offset);
            }
            Err((error, message)) => {
                self.refusals.note_record(message.topic(), error);
                if slot != 0 || !self.in_transactions {
                    self.failed.lock().push((slot, error.clone()));
                }
            }
        }
    }
}

pub(super) struct Transactions {
    /// Shared with a call of its own that does not return.
    producer: Arc<BaseProducer<Deliveries>>,
    config: KafkaStreamsConfig,
    client_id: String,
    id: String,
    /// Whether the producer may write: what an earlier one of this id left open is settled, and that one is fenced.
    settled: bool,
    /// Whether the producer is to be replaced when nothing of it is under way any more.
    is_given_up: bool,
    open: bool,
    sent: u32,
    /// How long records that were handed over are waited for: librdkafka gives them up after `transaction.timeout.ms`, and when it does not
    /// (a broker that it takes off its list keeps what it had) they are in vain, since the brokers abort the transaction then.
    records: Duration,
    /// How long an answer may take. Before this is over librdkafka asks no second time with the same epoch.
    answer: Duration,
}

impl Transactions {
    /// A producer that is not yet [settled](Self::settle).
    pub(super) fn new(config: &KafkaStreamsConfig, client_id: String, id: String) -> Result<Transactions, KafkaStreamsError> {
        let producer = new_producer(config, &client_id, &id)?;
        let records = clients::records_timeout(config) + LATE;
        let answer = LONGEST_ANSWER.min(clients::request_timeout(config) / 2);
        Ok(Transactions {
            producer,
            config: config.clone(),
            client_id,
            id,
            settled: false,
            is_given_up: false,
            open: false,
            sent: 0,
            records,
            answer,
        })
    }

    /// Gives the producer up, and what it had open, for a new one of the same id that is not yet settled.
    pub(super) fn renew(&mut self) -> Result<(), KafkaStreamsError> {
        (self.settled, self.open) = (false, false);
        // Without transactions what it has under way is waited for first.
        self.is_given_up = !is_in_transactions(&self.config);
        if self.is_given_up { Ok(()) } else { self.replace_producer() }
    }

    fn replace_producer(&mut self) -> Result<(), KafkaStreamsError> {
        let producer = new_producer(&self.config, &self.client_id, &self.id)?;
        let old = std::mem::replace(&mut self.producer, producer);
        self.is_given_up = false;
        watchdog::within("dropping a producer", LONGEST_DROP, move || drop(old)).map(drop)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Goes on with settling for about this long; whether that is done. What an earlier producer of this id left open is aborted, or its
    /// commit completed, and that producer is fenced.
    pub(super) fn settle(&mut self, wait: Duration) -> Result<bool, KafkaStreamsError> {
        self.producer.context().refusals.hear_all(|| self.producer.poll(Duration::ZERO));
        if !is_in_transactions(&self.config) {
            return self.begin_anew(wait);
        }
        match self.producer.init_transactions(wait) {
            Ok(()) => {
                self.settled = true;
                self.producer.context().refusals.forget_identity();
            }
            Err(KafkaError::Transaction(error)) if error.is_retriable() && !error.is_fatal() => {
                self.producer.context().refusals.identity().map_or(Ok(()), Err)?;
            }
            Err(error) => {
                let other = || KafkaStreamsError::Producer(format!("settling the last transaction: {error}"));
                return Err(self.denied(&error, None).unwrap_or_else(other));
            }
        }
        Ok(self.settled)
    }

    /// The same where nothing is to be settled. What is under way must not come behind what is written next: of a changelog the last
    /// record counts. And without a broker nobody can say what is committed.
    fn begin_anew(&mut self, wait: Duration) -> Result<bool, KafkaStreamsError> {
        if !self.is_drained(wait) {
            return Ok(false);
        }
        if self.is_given_up {
            self.replace_producer()?;
        }
        let answer = self.producer.client().fetch_metadata(None, self.answer);
        self.settled = answer.is_ok();
        let refusals = &self.producer.context().refusals;
        match answer {
            Ok(_) => refusals.forget_identity(),
            Err(_) => refusals.identity().map_or(Ok(()), Err)?,
        }
        Ok(self.settled)
    }

    /// Forgets what was not sent yet, and waits for what was; whether nothing is under way any more.
    fn is_drained(&self, wait: Duration) -> bool {
        self.producer.purge(PurgeConfig::default().queue());
        let started = Instant::now();
        while self.producer.in_flight_count() > 0 && started.elapsed() < wait {
            self.look_again(started.elapsed());
        }
        self.producer.in_flight_count() == 0
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
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.records);
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) || Instant::now() > deadline {
                return Err(self.denied(&error, None).map_or_else(|| of_send(&record.topic, &error), TransactionError::Denied));
            }
            self.look_again(Duration::ZERO);
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

    /// Adds the offsets of any number of groups to the transaction. Best before anything is sent: while the markers of the transaction before
    /// are being written librdkafka tries this again after `retry.backoff.ms`, but the first record's partition only after 20 ms.
    pub(super) fn add_offsets(&mut self, groups: Vec<(TopicPartitionList, ConsumerGroupMetadata)>) -> Result<(), TransactionError> {
        self.begin()?;
        fail_point::reached("before adding offsets");
        groups.into_iter().try_for_each(|offsets_of_group| self.add(offsets_of_group))
    }

    /// Commits what was sent, with the offsets that were added; the last offset of each changelog that was written.
    pub(super) fn commit(&mut self) -> Result<FxHashMap<Slot, i64>, TransactionError> {
        self.write()?;
        fail_point::reached("before committing");
        // Once it is asked for, nobody but the broker knows what it came to: never is a commit that failed taken for an abort.
        self.ask("committing", None, |producer, wait| producer.commit_transaction(wait)).map_err(|error| match error {
            TransactionError::Abort(reason) => TransactionError::Renew(reason),
            error => error,
        })?;
        self.open = false;
        Ok(std::mem::take(&mut *self.producer.context().last.lock()))
    }

    /// Without transactions: waits until all that was sent is acknowledged; the last offset of each changelog that was written.
    pub(super) fn acknowledge(&mut self) -> Result<FxHashMap<Slot, i64>, TransactionError> {
        self.write()?;
        self.open = false;
        Ok(std::mem::take(&mut *self.producer.context().last.lock()))
    }

    /// Waits until all records are written; each of them, or nothing is committed.
    fn write(&mut self) -> Result<(), TransactionError> {
        self.begin()?;
        fail_point::reached("before the flush");
        self.flush()?;
        let Some((_, error)) = self.producer.context().failed.lock().first().cloned() else { return Ok(()) };
        let abort = || TransactionError::Abort(format!("a record was not written: {error}"));
        Err(self.producer.context().refusals.topic().map_or_else(abort, TransactionError::Denied))
    }

    /// Adds a group's offsets to the transaction. This call heeds no timeout where the group's coordinator is taken off the list of brokers
    /// meanwhile: it waits until any broker comes or goes (librdkafka 2.12.1; its issues 5456 and 5511).
    fn add(&self, offsets_of_group: (TopicPartitionList, ConsumerGroupMetadata)) -> Result<(), TransactionError> {
        const ADDING: &str = "adding offsets";
        let offsets_of_group = Arc::new(offsets_of_group);
        self.ask(ADDING, Some(&offsets_of_group.0), |producer, wait| {
            let (producer, offsets_of_group) = (producer.clone(), offsets_of_group.clone());
            let call = move || producer.send_offsets_to_transaction(&offsets_of_group.0, &offsets_of_group.1, wait);
            match watchdog::within(ADDING, wait + LATE, call) {
                Ok(Some(answer)) => answer,
                Ok(None) | Err(_) => Err(KafkaError::Global(RDKafkaErrorCode::OperationTimedOut)),
            }
        })
    }

    /// Aborts what was sent, if anything. `abort_transaction` alone would wait for records whose reports nobody takes.
    pub(super) fn abort(&mut self) -> Result<(), TransactionError> {
        if !self.open {
            return Ok(());
        }
        if !is_in_transactions(&self.config) {
            self.is_drained(LONGEST_ABORT);
            return Err(TransactionError::Renew("what is written stays".to_owned()));
        }
        let deadline = Instant::now() + self.answer.min(LONGEST_ABORT);
        loop {
            let call = if self.producer.in_flight_count() > 0 { ABORT_CALL } else { ABORT_CALL_ALONE };
            match self.producer.abort_transaction(call) {
                Ok(()) => break,
                Err(KafkaError::Transaction(error)) if error.is_fatal() => return Err(TransactionError::Renew(error.string())),
                Err(error) if Instant::now() > deadline => return Err(TransactionError::Renew(format!("aborting: {error}"))),
                Err(_) => self.look_again(Duration::ZERO),
            }
        }
        self.open = false;
        self.producer.context().last.lock().clear();
        Ok(())
    }

    /// The records of the last transaction that were not written, and why.
    pub(super) fn failed(&self) -> Vec<(Slot, KafkaError)> {
        std::mem::take(&mut *self.producer.context().failed.lock())
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        if !self.open {
            let context = self.producer.context();
            context.failed.lock().clear();
            context.refusals.forget_topic();
            fail_point::reached("before beginning");
            if is_in_transactions(&self.config) {
                self.ask("beginning a transaction", None, |producer, _| producer.begin_transaction())?;
            }
            self.open = true;
            fail_point::reached("after beginning");
        }
        Ok(())
    }

    /// Waits until all records are written, or given up by librdkafka after `transaction.timeout.ms`. The commit of rust-rdkafka would do
    /// so too, but in steps of 100 ms.
    fn flush(&self) -> Result<(), TransactionError> {
        let started = Instant::now();
        while self.producer.flush(Duration::ZERO).is_err() {
            // They would wait in vain.
            self.producer.context().refusals.topic().map_or(Ok(()), |denied| Err(TransactionError::Denied(denied)))?;
            let waited = started.elapsed();
            if waited > self.records {
                return Err(TransactionError::Renew("the records were not written in time".to_owned()));
            }
            self.look_again(waited);
        }
        Ok(())
    }

    /// Takes reports after a pause: a short one at first, longer ones while the broker is away. (A poll of rust-rdkafka that waits less than
    /// a millisecond takes a whole core meanwhile.)
    fn look_again(&self, waited: Duration) {
        thread::sleep((waited / 8).clamp(SHORTEST_LOOK, LONGEST_LOOK));
        self.poll();
    }

    /// What right the principal lacks, if that is what a call's error comes from. `read`: offsets that it was about.
    fn denied(&self, error: &KafkaError, read: Option<&TopicPartitionList>) -> Option<KafkaStreamsError> {
        match (error.rdkafka_error_code()?, read) {
            (RDKafkaErrorCode::TransactionalIdAuthorizationFailed, _) => {
                Some(refusal::unauthorized("WRITE", format!("transactional id {}", self.id)))
            }
            (RDKafkaErrorCode::TopicAuthorizationFailed, Some(read)) if self.producer.context().refusals.topic().is_none() => {
                let topics = read.elements().iter().map(|element| element.topic().to_owned()).collect::<Vec<_>>();
                Some(refusal::unreadable(&self.config, &format!("{}-probe", self.client_id), topics.iter().map(String::as_str)))
            }
            _ => refusal::of_group(&self.config, error).or_else(|| self.producer.context().refusals.topic()),
        }
    }

    /// Makes a call with the time that is left to it, again as long as its error says that it may be repeated. `read`: offsets that it is
    /// about.
    fn ask(
        &self,
        action: &str,
        read: Option<&TopicPartitionList>,
        mut call: impl FnMut(&Arc<BaseProducer<Deliveries>>, Duration) -> KafkaResult<()>,
    ) -> Result<(), TransactionError> {
        let deadline = Instant::now() + self.answer;
        loop {
            let error = match call(&self.producer, deadline.saturating_duration_since(Instant::now())) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // Reports of records may tell what it comes from.
            self.poll();
            let reason = format!("{action}: {error}");
            if let Some(denied) = self.denied(&error, read) {
                return Err(TransactionError::Denied(denied));
            }
            let KafkaError::Transaction(error) = error else { return Err(TransactionError::Renew(reason)) };
            if error.txn_requires_abort() && !error.is_fatal() {
                return Err(TransactionError::Abort(reason));
            }
            if error.is_fatal() || !error.is_retriable() || Instant::now() > deadline {
                return Err(TransactionError::Renew(reason));
            }
            tracing::debug!(reason, "Trying again.");
            self.look_again(Duration::ZERO);
        }
    }
}

fn is_in_transactions(config: &KafkaStreamsConfig) -> bool {
    config.processing_guarantee == ProcessingGuarantee::ExactlyOnceV2
}

fn new_producer(config: &KafkaStreamsConfig, client_id: &str, id: &str) -> Result<Arc<BaseProducer<Deliveries>>, KafkaStreamsError> {
    let deliveries = Deliveries { in_transactions: is_in_transactions(config), ..Deliveries::default() };
    clients::producer(config, client_id, id, deliveries).map(Arc::new)
}

fn of_send(topic: &str, error: &KafkaError) -> TransactionError {
    use RDKafkaErrorCode::{Fatal, Fenced, InvalidArgument, MessageSizeTooLarge, UnknownPartition, UnknownTopic};
    let reason = format!("writing to {topic}: {error}");
    match error.rdkafka_error_code() {
        Some(MessageSizeTooLarge | UnknownPartition | UnknownTopic | InvalidArgument) | None => TransactionError::Refused(reason),
        Some(Fatal | Fenced) => TransactionError::Renew(reason),
        Some(_) => TransactionError::Abort(reason),
    }
}

pub(super) fn owned(headers: &Headers) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    headers.iter().fold(empty, |owned, header| owned.insert(Header { key: &header.key, value: header.value.as_deref() }))
}
