//! What becomes of a life whose transaction comes to nothing. It keeps its place in the group: who leaves while the coordinator is away
//! is waited for until the session ends.
//!
//! A transaction that the broker refuses is aborted, and the tasks go back. Where that cannot be done in time, or where nobody knows what
//! became of a commit, the producer is given up, and the tasks with it. Nothing is processed until the next producer of the same id is
//! settled, which only the broker can do; then the tasks are opened anew, from the offsets and changelogs as they are committed then.

use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::consumer::Consumer;

use super::error::{Failure, Halt};
use super::life::Life;
use super::progress::Start;
use super::{KafkaStreamsError, fail_point, rebalance};
use crate::TopicPartition;

/// How long the thread waits for the broker in one go.
const WAIT: Duration = Duration::from_millis(100);
/// After so many transactions in a row that came to nothing the life ends, and the pause before the next one grows.
const MOST_ABORTS: u32 = 5;

impl Life<'_> {
    /// Gives up the transaction; tasks and consumer go back to what is committed.
    pub(super) fn rewind(&mut self, reason: &str) -> Result<(), Failure> {
        tracing::warn!(thread = self.number + 1, reason, "What was not committed is given up.");
        self.count_abort(reason)?;
        self.give_up(reason)?;
        self.go_back()
    }

    /// Gives up the producer, and closes the tasks until there is another one.
    pub(super) fn renew(&mut self, reason: &str) -> Result<(), Failure> {
        self.count_abort(reason)?;
        self.replace_producer(reason)?;
        self.go_back()
    }

    fn count_abort(&mut self, reason: &str) -> Result<(), KafkaStreamsError> {
        self.aborts += 1;
        match self.aborts > MOST_ABORTS {
            true => {
                Err(KafkaStreamsError::Producer(format!("{MOST_ABORTS} transactions in a row came to nothing, the last one for: {reason}")))
            }
            false => Ok(()),
        }
    }

    /// Aborts the transaction that is open, or leaves it to the next producer.
    pub(super) fn give_up(&mut self, reason: &str) -> Result<(), Failure> {
        metrics::counter!("kafka_stream_thread_aborted_total").increment(1);
        self.output.forget();
        match self.output.transactions.abort() {
            Ok(()) => Ok(()),
            Err(error) => Ok(self.replace_producer(&format!("{error}, after {reason}"))?),
        }
    }

    pub(super) fn replace_producer(&mut self, reason: &str) -> Result<(), KafkaStreamsError> {
        tracing::warn!(thread = self.number + 1, reason, "The producer is given up; the next one settles what it left open.");
        metrics::counter!("kafka_stream_thread_renewed_total").increment(1);
        self.output.forget();
        self.output.transactions.renew()
    }

    /// Back to what is committed. Without a settled producer that is not known yet.
    pub(super) fn go_back(&mut self) -> Result<(), Failure> {
        if !self.output.transactions.is_settled() {
            return self.close_all_tasks();
        }
        for running in &mut self.tasks {
            running.rewind(&|topic| self.output.partitions(topic))?;
        }
        let inputs = self.tasks.iter().flat_map(|running| &running.inputs);
        Ok(self.seek(inputs.map(|input| (&input.partition, input.committed())))?)
    }

    /// Closes the tasks; their partitions wait for the next producer.
    fn close_all_tasks(&mut self) -> Result<(), Failure> {
        self.restorer = None;
        for running in self.tasks.drain(..) {
            let stream_time = running.stream_time();
            for input in &running.inputs {
                let start = Start { partition: input.partition.clone(), next: input.committed(), stream_time };
                self.waiting.insert(start.partition.clone(), start);
            }
            running.close();
        }
        self.index();
        self.waiting_since = None;
        if !self.waiting.is_empty() {
            let failed = |error| KafkaStreamsError::broker("pausing partitions", error);
            self.consumer.pause(&rebalance::list(self.waiting.keys())).map_err(failed)?;
        }
        Ok(())
    }

    /// A turn without a producer that may write: nothing is read but what the group says, and it gets back what it asks for.
    pub(super) fn settle(&mut self) -> Result<(), Halt> {
        if let Some(polled) = self.consumer.poll(Duration::ZERO) {
            match polled {
                Ok(message) => {
                    let place = format!("{}-{} offset {}", message.topic(), message.partition(), message.offset());
                    return Err(KafkaStreamsError::invariant(format!("nothing is to be read here, and there came {place}")).into());
                }
                // librdkafka says only once what it is refused.
                Err(error) => self.check_consumer(error)?,
            }
        }
        self.serve_group()?;
        if self.output.transactions.settle(WAIT)? {
            fail_point::reached("after settling");
            self.resume()?;
        }
        Ok(self.publish()?)
    }

    /// There is a producer: the group is joined, and the tasks are opened from what is committed now.
    fn resume(&mut self) -> Result<(), Failure> {
        if !self.is_subscribed {
            let topics: Vec<&str> = self.shared.topology.source_topics().map(|topic| &**topic).collect();
            self.consumer.subscribe(&topics).map_err(|error| KafkaStreamsError::broker("subscribing", error))?;
            self.is_subscribed = true;
        }
        let partitions: Vec<TopicPartition> = self.waiting.keys().cloned().collect();
        if partitions.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let starts = self.starts(&partitions)?;
        self.seek(starts.iter().map(|start| (&start.partition, start.next)))?;
        self.waiting = starts.into_iter().map(|start| (start.partition.clone(), start)).collect();
        self.open_complete_tasks()?;
        tracing::info!(thread = self.number + 1, millis = started.elapsed().as_millis() as u64, "The tasks are opened anew.");
        Ok(())
    }
}
