//! What can go wrong around the tasks, and what ends a life of a stream thread.

use std::path::PathBuf;

use rdkafka::error::KafkaError;

use crate::{TaskError, TaskId, TopologyError};

/// An error of the driver. [`code`](Self::code) is stable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaStreamsError {
    /// The topology itself, or its co-partitioning, is wrong.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A setting is wrong.
    #[error("setting {key}: {reason}")]
    Config {
        /// The setting's name.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Topics that the topology reads or writes do not exist.
    #[error("these topics do not exist: {}", .0.join(", "))]
    TopicsMissing(Vec<String>),
    /// An internal topic exists with another number of partitions than the topology needs.
    #[error(
        "internal topic {topic} has {found} partitions, and the topology needs {wanted}: reset the application, or give its inputs the old number of partitions"
    )]
    PartitionsDiffer {
        /// The topic.
        topic: String,
        /// Partitions that it has.
        found: i32,
        /// Partitions that it needs.
        wanted: i32,
    },
    /// The topics that one sub-topology reads have different numbers of partitions, so no assignor keeps its tasks together.
    #[error("the topics of sub-topology {subtopology} must have equally many partitions: {counts}")]
    NotCopartitioned {
        /// The number of the sub-topology.
        subtopology: usize,
        /// The topics with their numbers of partitions.
        counts: String,
    },
    /// The topology must not process a record twice, and `processing.guarantee` allows that.
    #[error("this topology needs processing.guarantee = exactly_once_v2: its stores would be wrong after a record that is processed twice")]
    NeedsExactlyOnce,
    /// The group gave this thread some, but not all, of a task's partitions.
    #[error(
        "the group gave this thread {given} without the other partitions of task {task}: does every member of the group run the same topology?"
    )]
    NotColocated {
        /// The task.
        task: TaskId,
        /// The partitions that it has.
        given: String,
    },
    /// Another process runs the application on this state directory.
    #[error("the state directory {} is in use by another process{}", folder.display(), holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    StateDirLocked {
        /// The directory.
        folder: PathBuf,
        /// Who wrote itself into the lock file.
        holder: Option<u32>,
    },
    /// The state directory cannot be read or written.
    #[error("{action}: {source}")]
    StateDir {
        /// What was being done.
        action: String,
        /// The system's own error.
        #[source]
        source: std::io::Error,
    },
    /// A local store cannot be read or written.
    #[error("the local store of task {task}: {action}: {source}")]
    LocalStore {
        /// The task.
        task: TaskId,
        /// What was being done.
        action: &'static str,
        /// The system's own error; of the kind `InvalidData` where the content is to blame.
        #[source]
        source: std::io::Error,
    },
    /// The brokers could not be reached, or refused.
    #[error("{action}: {reason}")]
    Broker {
        /// What was being done.
        action: String,
        /// What librdkafka says.
        reason: String,
    },
    /// The principal lacks a right.
    #[error("the brokers refuse {operation} on {resource}: the principal of this application needs that right")]
    Unauthorized {
        /// The operation, as Kafka's access control lists name it.
        operation: &'static str,
        /// The kind of the resource, and its name.
        resource: String,
    },
    /// A broker does not take us for who we say we are, or we do not take it for the one it says it is.
    #[error("no broker can be talked to: {reason}: check the settings security.protocol, sasl.* and ssl.*")]
    Authentication {
        /// What librdkafka says.
        reason: String,
    },
    /// There can be no transactional producer, or its transactions fail again and again.
    #[error("the transactional producer is given up: {0}")]
    Producer(String),
    /// Something that cannot be.
    #[error("broken invariant: {0}")]
    Invariant(String),
}

impl KafkaStreamsError {
    /// A stable code for logs and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Topology(_) => "kafka-topology",
            Self::Config { .. } => "kafka-config",
            Self::TopicsMissing(_) => "kafka-topics-missing",
            Self::PartitionsDiffer { .. } => "kafka-partitions-differ",
            Self::NotCopartitioned { .. } => "kafka-not-copartitioned",
            Self::NeedsExactlyOnce => "kafka-needs-exactly-once",
            Self::NotColocated { .. } => "kafka-not-colocated",
            Self::StateDirLocked { .. } => "kafka-state-dir-locked",
            Self::StateDir { .. } => "kafka-state-dir",
            Self::LocalStore { .. } => "kafka-local-store",
            Self::Broker { .. } => "kafka-broker",
            Self::Unauthorized { .. } => "kafka-unauthorized",
            Self::Authentication { .. } => "kafka-authentication",
            Self::Producer(_) => "kafka-producer",
            Self::Invariant(_) => "kafka-invariant",
        }
    }

    pub(super) fn config(key: &str, reason: impl Into<String>) -> Self {
        Self::Config { key: key.to_owned(), reason: reason.into() }
    }

    pub(super) fn broker(action: impl Into<String>, source: KafkaError) -> Self {
        Self::Broker { action: action.into(), reason: source.to_string() }
    }

    pub(super) fn io(action: impl Into<String>, source: std::io::Error) -> Self {
        Self::StateDir { action: action.into(), source }
    }

    pub(super) fn invariant(message: impl Into<String>) -> Self {
        Self::Invariant(message.into())
    }
}

/// What ends a life of a stream thread.
#[derive(Debug)]
pub(super) enum Failure {
    /// A task failed in a way that no exception handler passed over.
    Task(TaskError),
    /// Something around the tasks failed.
    Client(KafkaStreamsError),
}

impl From<KafkaStreamsError> for Failure {
    fn from(error: KafkaStreamsError) -> Failure {
        Failure::Client(error)
    }
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Failure {
        Failure::Task(error)
    }
}

/// Why a thread stops what it is doing.
#[derive(Debug)]
pub(super) enum Halt {
    /// The transaction cannot be committed; from what is committed, the same life goes on.
    Abort(String),
    /// The producer is of no more use, or the brokers are away; with a new producer, and with what is committed then, the same life goes
    /// on.
    Renew(String),
    /// The life ends.
    End(Failure),
}

impl<E: Into<Failure>> From<E> for Halt {
    fn from(error: E) -> Halt {
        Halt::End(error.into())
    }
}
