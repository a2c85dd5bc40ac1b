//! What can go wrong with a log on Kafka, and what librdkafka's errors mean for it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::embedded::{ErrorClass, LogError};

/// An error of the log on Kafka. [`code`](Self::code) is stable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaLogError {
    /// The brokers did not answer, or not in time. What an owner was appending is not there; what a plain log was appending may be.
    #[error("{action}: {reason}")]
    Away {
        /// What was being done.
        action: String,
        /// What librdkafka says.
        reason: String,
    },
    /// The brokers refuse, and will refuse the same again: a right is missing, say.
    #[error("{action}: the brokers refuse it: {reason}")]
    Refused {
        /// What was being done.
        action: String,
        /// What the brokers say.
        reason: String,
    },
    /// This process does not act for the name any longer. What was being appended may be there or not: the next owner will see.
    #[error("this process no longer acts for {name}: {reason}")]
    Lost {
        /// What was owned.
        name: String,
        /// Why.
        reason: String,
    },
    /// A setting is wrong.
    #[error("setting {key}: {reason}")]
    Config {
        /// The setting's name.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl KafkaLogError {
    /// A stable code for logs and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Away { .. } => "kafka-log-away",
            Self::Refused { .. } => "kafka-log-refused",
            Self::Lost { .. } => "kafka-log-lost",
            Self::Config { .. } => "kafka-log-config",
        }
    }

    /// What a caller should do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Away { .. } => ErrorClass::Retriable,
            // Whoever acted for the name must stop, not try again.
            Self::Lost { .. } => ErrorClass::Permanent,
            Self::Refused { .. } | Self::Config { .. } => ErrorClass::Fatal,
        }
    }
}

/// What an error of a call comes to, when it is not asked again.
pub(super) fn of_call(action: &str, error: &KafkaError) -> LogError {
    let (action, reason) = (action.to_owned(), error.to_string());
    match is_refusal(error) {
        true => KafkaLogError::Refused { action, reason },
        false => KafkaLogError::Away { action, reason },
    }
    .into()
}

/// The same for a bare code.
pub(super) fn of_code(action: &str, code: RDKafkaErrorCode) -> LogError {
    of_call(action, &KafkaError::AdminOp(code))
}

/// The wrapper knows no code of an answer to an administrator.
fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

/// Whether the brokers would say the same again, however long one waits.
pub(super) fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, GroupAuthorizationFailed, InvalidConfig, InvalidPartitions, InvalidReplicationFactor, NonEmptyGroup,
        PolicyViolation, SaslAuthenticationFailed, TopicAuthorizationFailed, TransactionalIdAuthorizationFailed,
    };
    matches!(
        code_of(error),
        Some(
            ClusterAuthorizationFailed
                | GroupAuthorizationFailed
                | InvalidConfig
                | InvalidPartitions
                | InvalidReplicationFactor
                | NonEmptyGroup
                | PolicyViolation
                | SaslAuthenticationFailed
                | TopicAuthorizationFailed
                | TransactionalIdAuthorizationFailed
        )
    )
}

/// What it means that this record was not written, if it is the record's fault: the same record would fail again.
pub(super) fn of_record(topic: &str, error: &KafkaError) -> Option<LogError> {
    use RDKafkaErrorCode::{InvalidArgument, InvalidRecord, MessageSizeTooLarge, UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    match code_of(error) {
        Some(MessageSizeTooLarge | InvalidRecord | InvalidArgument) => {
            Some(LogError::Invalid { what: format!("record for topic {topic:?}"), reason: error.to_string() })
        }
        Some(UnknownTopic | UnknownPartition | UnknownTopicOrPartition) => Some(LogError::UnknownTopic(topic.to_owned())),
        _ if is_refusal(error) => Some(of_call(&format!("writing to {topic}"), error)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_for_a_person_and_brokers_that_are_away_are_not() {
        let class = |code| of_code("asking", code).class();
        assert_eq!(class(RDKafkaErrorCode::TopicAuthorizationFailed), ErrorClass::Fatal);
        assert_eq!(class(RDKafkaErrorCode::BrokerTransportFailure), ErrorClass::Retriable);
        assert_eq!(class(RDKafkaErrorCode::NotEnoughReplicas), ErrorClass::Retriable);
    }

    #[test]
    fn a_record_that_is_too_large_fails_alone_and_one_that_was_not_written_in_time_is_tried_again() {
        let of = |code| of_record("t", &KafkaError::MessageProduction(code)).map(|error| error.class());
        assert_eq!(of(RDKafkaErrorCode::MessageSizeTooLarge), Some(ErrorClass::Permanent));
        assert_eq!(of(RDKafkaErrorCode::TopicAuthorizationFailed), Some(ErrorClass::Fatal));
        assert_eq!(of(RDKafkaErrorCode::MessageTimedOut), None);
    }
}
