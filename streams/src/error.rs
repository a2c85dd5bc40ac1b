//! Errors of processors, and what becomes of the record that caused one.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::record::{ConsumerRecord, ProducerRecord};
use crate::serde::SerdeError;
use crate::store::StateError;
use crate::task::TaskId;

/// Why a processor could not process a record.
///
/// A plain error goes to the exception handler of the task, which may drop the record or send it to a dead letter queue.
/// A *fatal* one (a broken store, a broken invariant) always ends the task: no handler is asked.
#[derive(Debug)]
pub struct ProcessorError {
    code: Cow<'static, str>,
    message: String,
    fatal: bool,
    node: Option<Arc<str>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ProcessorError {
    /// An error with a stable code (which a dead letter record carries as its exception name) and a message without personal data.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), fatal: false, node: None, source: None }
    }

    /// An error that no handler may pass over.
    pub fn fatal(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { fatal: true, ..Self::new(code, message) }
    }

    /// The same error with its cause.
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The stable error code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What happened.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether it ends the task whatever the handler says.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }

    /// The node that failed, once it is known.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    pub(crate) fn at(mut self, node: &Arc<str>) -> Self {
        self.node.get_or_insert_with(|| node.clone());
        self
    }

    pub(crate) fn into_fatal(mut self) -> Self {
        self.fatal = true;
        self
    }
}

impl fmt::Display for ProcessorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{node}: {} [{}]", self.message, self.code),
            None => write!(f, "{} [{}]", self.message, self.code),
        }
    }
}

impl std::error::Error for ProcessorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<SerdeError> for ProcessorError {
    fn from(error: SerdeError) -> Self {
        Self::new(error.code(), error.to_string()).caused_by(error)
    }
}

impl From<StateError> for ProcessorError {
    fn from(error: StateError) -> Self {
        Self::fatal("state-store", error.to_string()).caused_by(error)
    }
}

/// A task that can go on no more: its driver aborts the transaction, and starts the task anew or stops.
#[derive(Debug, thiserror::Error)]
#[error("task {task}{}: {error}", place(.record))]
pub struct TaskError {
    /// The task.
    pub task: TaskId,
    /// Topic, partition and offset of the record that was being processed, if one was.
    pub record: Option<(Arc<str>, i32, i64)>,
    /// What failed.
    #[source]
    pub error: ProcessorError,
}

fn place(record: &Option<(Arc<str>, i32, i64)>) -> String {
    record.as_ref().map(|(topic, partition, offset)| format!(" at {topic}-{partition} offset {offset}")).unwrap_or_default()
}

/// Where in the life of a record an error happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A source could not deserialise it.
    Deserialization,
    /// A processor failed.
    Processing,
    /// A sink could not serialise what was to be produced.
    Production,
}

/// What a handler knows of the failure.
#[derive(Debug)]
pub struct ErrorHandlerContext<'a> {
    /// The task.
    pub task: TaskId,
    /// The node that failed.
    pub node: &'a str,
    /// Where in the life of the record.
    pub phase: Phase,
    /// The source record; none while a punctuator or a commit hook runs.
    pub record: Option<&'a ConsumerRecord>,
}

/// What becomes of a record that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// The task ends with the error.
    Fail,
    /// The record is dropped, counted and logged.
    Resume,
    /// The source record goes to this topic, with `__streams.errors.*` headers, and the task goes on.
    DeadLetterQueue(Arc<str>),
}

/// Decides what becomes of records that fail, like Kafka Streams' three exception handlers in one.
pub type ExceptionHandler = Arc<dyn Fn(&ErrorHandlerContext<'_>, &ProcessorError) -> Response + Send + Sync>;

/// Every failure ends the task (Kafka Streams' default).
pub fn log_and_fail() -> ExceptionHandler {
    Arc::new(|_, _| Response::Fail)
}

/// A record that fails is dropped.
pub fn log_and_continue() -> ExceptionHandler {
    Arc::new(|_, _| Response::Resume)
}

/// A record that fails goes to the dead letter queue that is named for its source topic; without a source record the task ends.
///
/// ```
/// let handler = streams::dead_letter_queue(|topic| format!("{topic}.dlq"));
/// # let _ = handler;
/// ```
pub fn dead_letter_queue(name: impl Fn(&str) -> String + Send + Sync + 'static) -> ExceptionHandler {
    Arc::new(move |context, _| context.record.map_or(Response::Fail, |record| Response::DeadLetterQueue(name(&record.topic).into())))
}

/// Header names of dead letter records, as KIP-1034 sets them.
pub mod dlq_headers {
    /// The error code (Kafka Streams: the exception's class).
    pub const EXCEPTION: &str = "__streams.errors.exception";
    /// Kafka Streams' stack trace; this engine writes the name of the node that failed.
    pub const STACKTRACE: &str = "__streams.errors.stacktrace";
    /// The error's message.
    pub const MESSAGE: &str = "__streams.errors.message";
    /// The topic of the source record.
    pub const TOPIC: &str = "__streams.errors.topic";
    /// Its partition.
    pub const PARTITION: &str = "__streams.errors.partition";
    /// Its offset.
    pub const OFFSET: &str = "__streams.errors.offset";
}

/// The dead letter record of a source record: key, value, headers and timestamp as they were, and headers that say what failed where.
pub(crate) fn dead_letter_record(topic: Arc<str>, record: &ConsumerRecord, error: &ProcessorError) -> ProducerRecord {
    let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let mut headers = record.headers.clone();
    headers
        .add(dlq_headers::EXCEPTION, text(error.code()))
        .add(dlq_headers::MESSAGE, text(error.message()))
        .add(dlq_headers::STACKTRACE, text(error.node().unwrap_or_default()))
        .add(dlq_headers::TOPIC, text(&record.topic))
        .add(dlq_headers::PARTITION, record.partition.to_string())
        .add(dlq_headers::OFFSET, record.offset.to_string());
    ProducerRecord { topic, partition: None, key: record.key.clone(), value: record.value.clone(), timestamp: record.timestamp, headers }
}
