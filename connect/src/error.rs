//! What can go wrong between a connector and the log.

use schemas::{CodecError, RegistryError};
use streams::embedded::{ErrorClass, LogError};

/// An error of the shell around the conversation. What a *system* answers is never one: that is a [`Reply`](crate::Reply).
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{action}")]
    Log {
        /// What was being done, with its topic.
        action: String,
        #[source]
        source: LogError,
    },
    #[error("topic {topic}: its schema cannot be registered")]
    Schema {
        topic: String,
        #[source]
        source: RegistryError,
    },
    #[error("topic {topic}: a message cannot be encoded")]
    Encode {
        topic: String,
        #[source]
        source: CodecError,
    },
    #[error("topic {topic} has {found} partitions, and {other} has {expected}: they must be the same")]
    Partitions { topic: String, found: i32, other: String, expected: i32 },
    #[error("topic {0} does not exist")]
    NoTopic(String),
}

impl ConnectError {
    /// Whether to try again, to give up on this call, or to stop.
    pub fn class(&self) -> ErrorClass {
        match self {
            ConnectError::Log { source, .. } => source.class(),
            ConnectError::Encode { .. } => ErrorClass::Permanent,
            ConnectError::Schema { .. } | ConnectError::Partitions { .. } | ConnectError::NoTopic(_) => ErrorClass::Fatal,
        }
    }

    pub(crate) fn log(action: impl Into<String>) -> impl FnOnce(LogError) -> ConnectError {
        let action = action.into();
        move |source| ConnectError::Log { action, source }
    }
}
