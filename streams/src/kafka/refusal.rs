//! What the brokers refuse: a right that our principal lacks, or the principal itself. Either is told with what is to be done, and only
//! a person can do that; so a thread that meets it starts anew, after pauses that grow.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::clients::{self, Plain};
use super::life::Life;
use super::{KafkaStreamsConfig, KafkaStreamsError};

/// A connection that is refused may be a broker's that is just starting. librdkafka tells of it once, not again and again.
const BELIEVED: Duration = Duration::from_secs(3);
/// How long a topic is tried to be read; one that may be read says so at once.
const PROBE: Duration = Duration::from_secs(5);

/// What a client was refused that belongs to none of its calls.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Since when it cannot make itself known, and why.
    identity: Mutex<Option<(Instant, String)>>,
    /// A topic that it may not write.
    topic: Mutex<Option<String>>,
    /// How much it has told.
    told: AtomicU64,
}

impl Refusals {
    /// Takes all that a client wants to tell. A poll takes one thing, and does not say whether there was one. librdkafka tells lines of its
    /// log before errors, however old those are: with a limit the error could wait behind them for ever.
    pub(super) fn hear_all(&self, mut poll: impl FnMut()) {
        let told = || self.told.load(Ordering::Relaxed);
        let mut before = None;
        while before != Some(told()) {
            before = Some(told());
            poll();
        }
    }

    /// An error of a connection.
    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        self.told.fetch_add(1, Ordering::Relaxed);
        let is_refused = matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL));
        // A broker that misses our certificate says so once all seems well.
        if is_refused || reason.contains("certificate") {
            let mut identity = self.identity.lock();
            let since = identity.as_ref().map_or_else(Instant::now, |(since, _)| *since);
            *identity = Some((since, reason.to_owned()));
        }
    }

    /// What was written to it is given up.
    pub(super) fn forget_topic(&self) {
        *self.topic.lock() = None;
    }

    /// A call was answered.
    pub(super) fn forget_identity(&self) {
        *self.identity.lock() = None;
    }

    /// A record could not be written.
    pub(super) fn note_record(&self, topic: &str, error: &KafkaError) {
        if is_of_topic(error) {
            *self.topic.lock() = Some(topic.to_owned());
        }
    }

    /// A line of librdkafka's log: only there it says which topic a transaction may not write.
    pub(super) fn note_log(&self, facility: &str, message: &str) {
        self.told.fetch_add(1, Ordering::Relaxed);
        if facility == "ADDPARTS" && message.contains("Topic authorization failed") {
            *self.topic.lock() = message.split('"').nth(1).map(str::to_owned);
        }
    }

    /// The client makes itself known, and nobody believes it; or it believes nobody.
    pub(super) fn identity(&self) -> Option<KafkaStreamsError> {
        let identity = self.identity.lock();
        let (_, reason) = identity.as_ref().filter(|(since, _)| since.elapsed() > BELIEVED)?;
        Some(KafkaStreamsError::Authentication { reason: reason.clone() })
    }

    /// A topic that may not be written.
    pub(super) fn topic(&self) -> Option<KafkaStreamsError> {
        self.topic.lock().as_ref().map(|topic| unauthorized("WRITE", topic_named(topic)))
    }
}

/// A right that our principal lacks, in the words of Kafka's access control lists.
pub(super) fn unauthorized(operation: &'static str, resource: String) -> KafkaStreamsError {
    KafkaStreamsError::Unauthorized { operation, resource }
}

pub(super) fn topic_named(topic: &str) -> String {
    format!("topic {topic}")
}

/// An error of a call that needs a right on a topic.
pub(super) fn of_topic(operation: &'static str, topic: &str, error: &KafkaError) -> Option<KafkaStreamsError> {
    is_of_topic(error).then(|| unauthorized(operation, topic_named(topic)))
}

pub(super) fn is_of_topic(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
}

/// An error of a call that a member of the group makes.
pub(super) fn of_group(config: &KafkaStreamsConfig, error: &KafkaError) -> Option<KafkaStreamsError> {
    let is_of_group = error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed);
    is_of_group.then(|| unauthorized("READ", format!("group {}", config.application_id)))
}

/// Which of these topics may not be read: an answer to a fetch does not say it, so each is asked for by itself.
pub(super) fn unreadable<'a>(config: &KafkaStreamsConfig, client_id: &str, topics: impl Iterator<Item = &'a str>) -> KafkaStreamsError {
    let topics: BTreeSet<&str> = topics.collect();
    let refused = topics.iter().copied().find(|topic| is_unreadable(config, client_id, topic));
    let named = refused.map_or_else(|| format!("one of the topics {}", topics.into_iter().collect::<Vec<_>>().join(", ")), topic_named);
    unauthorized("READ", named)
}

fn is_unreadable(config: &KafkaStreamsConfig, client_id: &str, topic: &str) -> bool {
    let begin = || {
        let consumer: BaseConsumer<Plain> = clients::restore_consumer(config, client_id).ok()?;
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, 0, Offset::End).ok()?;
        consumer.assign(&list).ok().map(|()| consumer)
    };
    let Some(consumer) = begin() else { return false };
    let deadline = Instant::now() + PROBE;
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Err(error)) if is_of_topic(&error) => return true,
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return false,
            // Nothing yet, or a connection that comes to nothing.
            None | Some(Err(_)) => {}
        }
    }
    false
}

impl Life<'_> {
    /// What a consumer's error means. Most are those of brokers that are away, which it bears by itself.
    pub(super) fn check_consumer(&self, error: KafkaError) -> Result<(), KafkaStreamsError> {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return Err(KafkaStreamsError::broker("reading", error));
        }
        if let Some(refused) = of_group(&self.shared.config, &error) {
            return Err(refused);
        }
        if is_of_topic(&error) {
            let topics = self.shared.topology.source_topics().map(|topic| &**topic);
            return Err(unreadable(&self.shared.config, &self.probe_id(), topics));
        }
        tracing::warn!(%error, "The consumer reports an error.");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_may_not_be_written_is_named() {
        let refusals = Refusals::default();
        refusals.note_log("ADDPARTS", "[thrd:b]: b: Failed to add partition \"a\" [0] to transaction: Broker: Operation not attempted");
        assert!(refusals.topic().is_none());
        refusals
            .note_log("ADDPARTS", "[thrd:b]: b: Failed to add partition \"a-b\" [0] to transaction: Broker: Topic authorization failed");
        assert!(refusals.topic().unwrap().to_string().contains("WRITE on topic a-b"));
    }

    #[test]
    fn an_error_behind_many_lines_of_the_log_is_heard() {
        let (refusals, lines) = (Refusals::default(), std::cell::Cell::new(100));
        refusals.hear_all(|| match lines.replace(lines.get() - 1) {
            1.. => refusals.note_log("SSL", "kafka: something"),
            0 => refusals.note(&KafkaError::Global(RDKafkaErrorCode::SSL), "certificate verify failed"),
            _ => {}
        });
        assert!(refusals.identity.lock().is_some());
    }

    #[test]
    fn a_connection_that_was_just_refused_says_nothing_yet() {
        let refusals = Refusals::default();
        refusals.note(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "all away");
        assert!(refusals.identity.lock().is_none());
        refusals.note(&KafkaError::Global(RDKafkaErrorCode::Authentication), "SASL authentication error");
        assert!(refusals.identity().is_none());
        let since = Instant::now().checked_sub(BELIEVED * 2).unwrap();
        refusals.identity.lock().as_mut().unwrap().0 = since;
        assert_eq!(refusals.identity().unwrap().code(), "kafka-authentication");
        refusals.forget_identity();
        assert!(refusals.identity().is_none());
    }
}
