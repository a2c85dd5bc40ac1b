//! One life of a stream thread: a member of the group with a producer and tasks, until it is told to end or something fails.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::error::{Failure, Halt};
use super::output::Output;
use super::progress::Start;
use super::rebalance::{self, Event, Rebalances};
use super::receive::{Readers, offer};
use super::restore::{Restorer, Step};
use super::running::{Running, now_ms};
use super::streams::{Shared, ThreadState, client_id};
use super::transactions::{Slot, Transactions};
use super::{KafkaStreamsError, clients, fail_point, input, receive};
use crate::{Task, TaskError, TopicPartition};

/// Records that are taken from the consumer before they are processed.
const POLL_RECORDS: usize = 1_000;
/// Records of a task in one go.
const TURN_RECORDS: usize = 256;
/// The longest wait for records, so that being told to end is noticed.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// After a commit that took so long comes a pause as long; a commit of half of it has a pause of half of itself, one of twice that a pause of
/// twice itself: the more it takes, the more there is to do, here or for the brokers, and larger transactions are less work.
const EVEN: Duration = Duration::from_millis(20);
/// The shortest pause, in which the brokers end the transaction.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const RESTORE_WAIT: Duration = Duration::from_millis(5);
const SEEK: Duration = Duration::from_secs(10);
/// A life without work that lasts so long has overcome what ended the one before.
const TRUSTED: Duration = Duration::from_secs(10);

pub(super) struct Life<'a> {
    pub(super) shared: &'a Shared,
    pub(super) number: usize,
    pub(super) client_id: String,
    pub(super) consumer: BaseConsumer<Rebalances>,
    pub(super) output: Output<'a>,
    /// While stores are restored.
    pub(super) restorer: Option<Restorer>,
    pub(super) tasks: Vec<Running>,
    readers: Readers,
    /// Partitions that wait for the others of their task; only where partitions come one by one.
    pub(super) waiting: BTreeMap<TopicPartition, Start>,
    pub(super) waiting_since: Option<Instant>,
    /// What the group said and was not yet answered.
    pub(super) events: VecDeque<Event>,
    /// Whether the thread has asked for a place in the group.
    pub(super) is_subscribed: bool,
    /// Whether the group has said what is ours.
    pub(super) is_member: bool,
    last_slot: Slot,
    pub(super) last_commit: Instant,
    /// How long the last commit took.
    commit_cost: Duration,
    /// How long after the last commit the next one comes at the earliest.
    pub(super) commit_pause: Duration,
    /// Commits of this life.
    pub(super) commits: u64,
    /// Transactions in a row that came to nothing.
    pub(super) aborts: u32,
    pub(super) purged: Instant,
}

impl<'a> Life<'a> {
    pub(super) fn begin(shared: &'a Shared, number: usize) -> Result<Life<'a>, Failure> {
        let id = client_id(&shared.config.application_id, shared.state_dir.process_id());
        let client_id = format!("{id}-StreamThread-{}", number + 1);
        let transactional_id = format!("{id}-{}", number + 1);
        let transactions = Transactions::new(&shared.config, format!("{client_id}-producer"), transactional_id)?;
        let consumer: BaseConsumer<Rebalances> =
            clients::consumer(&shared.config, number + 1, &format!("{client_id}-consumer"), Rebalances::default())?;
        Ok(Life {
            shared,
            number,
            client_id,
            consumer,
            output: Output::new(shared, transactions),
            restorer: None,
            tasks: Vec::new(),
            readers: Readers::default(),
            waiting: BTreeMap::new(),
            waiting_since: None,
            events: VecDeque::new(),
            is_subscribed: false,
            is_member: false,
            last_slot: 0,
            last_commit: Instant::now(),
            commit_cost: Duration::ZERO,
            commit_pause: Duration::ZERO,
            commits: 0,
            aborts: 0,
            purged: Instant::now(),
        })
    }

    /// Works until the client is told to end.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        while !self.shared.is_stopping() {
            match self.turn() {
                Ok(()) => {}
                Err(Halt::Abort(reason)) => self.rewind(&reason)?,
                Err(Halt::Renew(reason)) => self.renew(&reason)?,
                Err(Halt::End(failure)) => return Err(failure),
            }
        }
        match self.commit() {
            // What cannot be committed is done again by whoever comes next.
            Err(Halt::Abort(reason)) => self.give_up(&reason),
            Err(Halt::Renew(reason)) => {
                tracing::warn!(reason, "The last commit is left to the next producer.");
                Ok(())
            }
            Err(Halt::End(failure)) => Err(failure),
            Ok(()) => Ok(()),
        }
    }

    pub(super) fn has_committed(&self) -> bool {
        self.commits > 0
    }

    fn turn(&mut self) -> Result<(), Halt> {
        if !self.output.transactions.is_settled() {
            return self.settle();
        }
        let drained = self.poll()?;
        self.restore()?;
        self.process()?;
        self.punctuate()?;
        if self.must_commit(drained) {
            self.commit()?;
        }
        self.balance()?;
        self.output.transactions.poll();
        self.purge();
        self.publish()?;
        Ok(())
    }

    /// Takes records from the consumer; whether there were no more.
    fn poll(&mut self) -> Result<bool, Halt> {
        let mut wait = self.wait();
        for _ in 0..POLL_RECORDS {
            let Some(polled) = self.consumer.poll(std::mem::take(&mut wait)) else {
                return self.serve_group();
            };
            match polled {
                Ok(message) => offer(&mut self.tasks, &self.readers, &message)?,
                Err(error) => self.check_consumer(error)?,
            }
        }
        Ok(false)
    }

    /// Does what the group says; whether it said nothing. What is given to us is taken only with a settled producer: before, it is not
    /// known what is committed.
    pub(super) fn serve_group(&mut self) -> Result<bool, Halt> {
        self.events.extend(self.consumer.context().take());
        let none = self.events.is_empty();
        while let Some(event) = self.events.front().cloned() {
            if matches!(event, Event::Assigned(_)) && !self.output.transactions.is_settled() {
                break;
            }
            self.rebalance(&event)?;
            self.events.pop_front();
        }
        Ok(none)
    }

    /// How long there is nothing to do but to wait for records.
    fn wait(&self) -> Duration {
        if self.restorer.is_some() || self.has_queued() {
            return Duration::ZERO;
        }
        let mut wait = LONGEST_WAIT;
        if self.has_uncommitted() {
            wait = wait.min((self.last_commit + self.commit_pause).saturating_duration_since(Instant::now()));
        }
        let due = self.tasks.iter().filter_map(|running| running.task.as_ref()?.next_wall_clock_punctuation()).min();
        match due {
            Some(due) => wait.min(Duration::from_millis(u64::try_from(due - now_ms()).unwrap_or(0))),
            None => wait,
        }
    }

    fn has_queued(&self) -> bool {
        self.tasks.iter().any(|running| running.task.is_some() && input::has_queued(&running.inputs))
    }

    /// Goes on with restoring; a task whose stores are complete starts.
    fn restore(&mut self) -> Result<(), Halt> {
        let wait = if self.has_queued() { Duration::ZERO } else { RESTORE_WAIT };
        let Some(restorer) = &mut self.restorer else { return Ok(()) };
        let step = match restorer.step(wait) {
            // Not for this is the group left.
            Err(error @ KafkaStreamsError::Broker { .. }) => return Err(Halt::Renew(error.to_string())),
            step => step?,
        };
        match step {
            Step::Waiting => {}
            Step::Records { task, store, records, position, complete } => {
                let Some(place) = self.tasks.iter().position(|running| running.id == task) else {
                    return Err(KafkaStreamsError::invariant(format!("task {task} is restored, and is not here")).into());
                };
                let running = &mut self.tasks[place];
                running.local.restore(store, &records, position)?;
                fail_point::reached("after restoring");
                if complete {
                    running.missing.remove(&store);
                    if running.missing.is_empty() {
                        self.start_task(place)?;
                    }
                }
            }
            Step::TooOld { task, store } => self.restore_anew(task, store)?,
        }
        if self.restorer.as_ref().is_some_and(Restorer::is_idle) {
            self.restorer = None;
        }
        Ok(())
    }

    /// Lets the tasks process what is queued, but not for longer than a commit interval.
    fn process(&mut self) -> Result<(), Halt> {
        let until = Instant::now() + self.shared.config.commit_interval;
        loop {
            let mut any = false;
            for index in 0..self.tasks.len() {
                any |= self.process_some(index)?;
                if Instant::now() > until || self.shared.is_stopping() {
                    return Ok(());
                }
            }
            if !any {
                return Ok(());
            }
        }
    }

    fn process_some(&mut self, index: usize) -> Result<bool, Halt> {
        if self.tasks[index].task.is_none() {
            return Ok(false);
        }
        let started = Instant::now();
        let mut processed = 0;
        while processed < TURN_RECORDS
            && let Some(record) = input::take_next(&mut self.tasks[index].inputs)
        {
            self.call(index, |task, env| task.process(record, env))?;
            processed += 1;
        }
        if let Some(task) = self.tasks[index].task.as_ref().filter(|_| processed > 0) {
            task.record_process_latency(processed as u64, started.elapsed());
        }
        Ok(processed > 0)
    }

    fn punctuate(&mut self) -> Result<(), Halt> {
        let now = now_ms();
        for index in 0..self.tasks.len() {
            let due = self.tasks[index].task.as_ref().and_then(Task::next_wall_clock_punctuation);
            if due.is_some_and(|due| due <= now) {
                self.call(index, |task, env| task.punctuate(env).map(drop))?;
            }
        }
        Ok(())
    }

    /// Calls a task, and writes what it produced.
    pub(super) fn call(&mut self, index: usize, work: impl FnOnce(&mut Task, crate::Env<'_>) -> Result<(), TaskError>) -> Result<(), Halt> {
        let running = &mut self.tasks[index];
        running.call(&|topic| self.output.partitions(topic), work)?;
        if let Some(task) = running.task.as_mut().filter(|task| task.has_outputs()) {
            for record in task.drain_outputs() {
                self.output.write(running.id, record)?;
            }
        }
        Ok(())
    }

    /// Pauses partitions with long queues, and resumes them when those are short.
    fn balance(&mut self) -> Result<(), KafkaStreamsError> {
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for running in self.tasks.iter_mut().filter(|running| running.task.is_some()) {
            for input in running.inputs.iter_mut().filter(|input| input.wants_pause() != input.paused) {
                input.paused = !input.paused;
                let list = if input.paused { &mut pause } else { &mut resume };
                list.push(input.partition.clone());
            }
        }
        let failed = |error| KafkaStreamsError::broker("pausing and resuming partitions", error);
        if !pause.is_empty() {
            self.consumer.pause(&rebalance::list(&pause)).map_err(failed)?;
        }
        if !resume.is_empty() {
            self.consumer.resume(&rebalance::list(&resume)).map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn publish(&self) -> Result<(), KafkaStreamsError> {
        self.shared.cluster.serve();
        self.check_waiting()?;
        let runs = self.is_member && self.waiting.is_empty() && self.tasks.iter().all(|running| running.task.is_some());
        if runs && self.commits == 0 && self.last_commit.elapsed() > TRUSTED {
            self.shared.note_trouble(self.number, None);
        }
        self.shared.publish(self.number, if runs { ThreadState::Running } else { ThreadState::Busy });
        Ok(())
    }

    /// Sends the consumer back.
    pub(super) fn seek<'p>(&self, places: impl IntoIterator<Item = (&'p TopicPartition, i64)>) -> Result<(), KafkaStreamsError> {
        let failed = |error| KafkaStreamsError::broker("going back to the committed offsets", error);
        let mut list = TopicPartitionList::new();
        for (TopicPartition { topic, partition }, next) in places {
            list.add_partition_offset(topic, *partition, Offset::Offset(next)).map_err(failed)?;
        }
        if list.count() > 0 {
            let sought = self.consumer.seek_partitions(list, SEEK).map_err(failed)?;
            sought.elements().iter().try_for_each(|element| element.error()).map_err(failed)?;
        }
        Ok(())
    }

    /// A transaction was committed.
    pub(super) fn note_commit(&mut self, started: Instant) {
        self.last_commit = Instant::now();
        let last = std::mem::replace(&mut self.commit_cost, started.elapsed());
        // One that met a pause of a broker says nothing of the load.
        self.commit_pause = pause_after(last.min(self.commit_cost)).min(self.shared.config.commit_interval);
        self.commits += 1;
        self.aborts = 0;
        if self.commits == 1 {
            self.shared.note_trouble(self.number, None);
        }
    }

    /// A place for the offsets of one changelog.
    pub(super) fn next_slot(&mut self) -> Slot {
        self.last_slot += 1;
        self.last_slot
    }

    /// Finds the tasks by their partitions again, after they changed.
    pub(super) fn index(&mut self) {
        self.readers = receive::readers(&self.tasks);
    }

    /// The name of a client that finds out what may not be read.
    pub(super) fn probe_id(&self) -> String {
        format!("{}-probe", self.client_id)
    }

    pub(super) fn restorer(&mut self) -> Result<&mut Restorer, KafkaStreamsError> {
        if self.restorer.is_none() {
            self.restorer = Some(Restorer::new(&self.shared.config, &format!("{}-restore-consumer", self.client_id))?);
        }
        self.restorer.as_mut().ok_or_else(|| KafkaStreamsError::invariant("no restorer"))
    }
}

/// How long the next commit waits after one that took so long.
fn pause_after(cost: Duration) -> Duration {
    cost.mul_f64(cost.as_secs_f64() / EVEN.as_secs_f64()).max(SHORTEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_a_commit_takes_the_longer_is_its_share_of_pause() {
        let ms = Duration::from_millis;
        let pauses = [ms(0), ms(5), ms(10), ms(20), ms(40)].map(pause_after);
        assert_eq!(pauses, [ms(2), ms(2), ms(5), ms(20), ms(80)]);
    }
}
