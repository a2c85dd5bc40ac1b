//! The loop: take requests, send calls, hand in answers, publish.

use super::{Runner, Shared, breaker::Breaker, breaker::May, pace::Pace, publish};
use crate::{
    call::{Call, Reply},
    catch_up::{CatchUp, Stage},
    contract::{Sink, Source, perform},
    conversation::Moment,
    error::ConnectError,
    events::Metrics,
    health::{Health, Progress},
    partition::{self, Batch, Output, Partition, Ticket, Urgency},
};
use futures_util::{FutureExt, future::BoxFuture};
use schemas::Millis;
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use streams::{
    Follow, ProducerRecord, TopicPartition,
    embedded::{Append, ErrorClass, LogError},
};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// So many requests are read from the log at once.
const READ: usize = 500;
const READ_BYTES: usize = 1 << 20;

pub(super) struct Drive {
    shared: Shared,
    source: Arc<dyn Source>,
    sink: Option<Arc<dyn Sink>>,
    health: watch::Sender<Health>,
    progress: watch::Sender<Progress>,
    metrics: Metrics,
    partitions: Vec<Place>,
    /// What comes into them, at the same places.
    follow: Follow,
    /// Whose turn it is first among equals.
    next: usize,
    calls: JoinSet<Answered>,
    backfill_calls: usize,
    pace: Pace,
    /// The rate limit lets no call out before this.
    limited_until: Millis,
    breaker: Breaker,
    /// The source's catch-up, until it is through.
    catch_up: Option<watch::Receiver<Stage>>,
    /// Dead letters of records that are no requests, to go with the next append.
    dead: Vec<ProducerRecord>,
    appending: Option<Appending>,
}

struct Place {
    tp: TopicPartition,
    partition: Partition,
}

struct Answered {
    place: usize,
    ticket: Ticket,
    urgency: Urgency,
    call: Call,
    reply: Reply,
    took: Duration,
}

/// The append under way. One at a time: batches are committed in order.
struct Appending {
    batches: Vec<(usize, Batch)>,
    append: Append,
    outcome: BoxFuture<'static, Result<Vec<i64>, LogError>>,
    failures: u32,
}

impl Drive {
    pub async fn new(runner: Runner) -> Result<Self, ConnectError> {
        let Runner { shared, source, sink, health, progress } = runner;
        let failed = || ConnectError::log(format!("opening {}", shared.topics.requests));
        let catch_up = source.catch_up().map(CatchUp::watch);
        let (mut partitions, mut from) = (Vec::new(), Vec::new());
        for partition in 0..shared.topics.partitions {
            let tp = shared.topics.requests_at(partition);
            let committed = shared.log.next(&shared.group, &tp).await.map_err(failed())?;
            let options = partition::Options { catches_up: catch_up.is_some(), ..shared.options.partition() };
            from.push((tp.clone(), committed));
            partitions.push(Place { partition: Partition::new(options, committed), tp });
        }
        let follow = shared.log.follow(from).await.map_err(failed())?;
        Ok(Drive {
            metrics: Metrics::new(&shared.options.system),
            limited_until: 0,
            pace: Pace::new(shared.options.calls_per_second),
            breaker: Breaker::new(shared.options.credentials, shared.options.away),
            partitions,
            follow,
            next: 0,
            calls: JoinSet::new(),
            backfill_calls: 0,
            catch_up,
            dead: Vec::new(),
            appending: None,
            shared,
            source,
            sink,
            health,
            progress,
        })
    }

    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), ConnectError> {
        let mut deadline: Option<Instant> = None;
        loop {
            let mut wake = None;
            if deadline.is_none() {
                self.look_at_catch_up().await?;
                self.take_requests()?;
                wake = self.send();
            }
            self.publish().await?;
            self.report();
            if deadline.is_some() && self.calls.is_empty() && self.appending.is_none() {
                return Ok(());
            }
            let now = self.shared.now();
            let wake = wake.map(|at| Instant::now() + Duration::from_millis(u64::try_from(at - now).unwrap_or(0).max(1)));
            let sleep_until = match (wake, deadline) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let log_is_wanted = deadline.is_none();
            tokio::select! {
                Some(answered) = self.calls.join_next(), if !self.calls.is_empty() => {
                    self.on_answered(answered);
                    // What else has come meanwhile is published together.
                    while let Some(answered) = self.calls.try_join_next() {
                        self.on_answered(answered);
                    }
                }
                outcome = outcome_of(&mut self.appending), if self.appending.is_some() => self.on_appended(outcome)?,
                ready = self.follow.ready(|n| self.partitions[n].partition.room() > 0), if log_is_wanted => {
                    ready.map_err(ConnectError::log(format!("reading {}", self.shared.topics.requests)))?;
                }
                () = progress_of(&mut self.catch_up), if log_is_wanted && self.catch_up.is_some() => {}
                () = tokio::time::sleep_until(sleep_until.unwrap_or_else(Instant::now)), if sleep_until.is_some() => {
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        let (calls, system) = (self.calls.len(), &self.shared.options.system);
                        tracing::warn!(%system, calls, "Some calls were not answered in time; their requests run again at the next start.");
                        return Ok(());
                    }
                }
                () = shutdown.cancelled(), if deadline.is_none() => deadline = Some(Instant::now() + self.shared.options.drain),
            }
        }
    }

    /// Once the source has caught up, what is asked for from now on was decided with all that it noticed.
    async fn look_at_catch_up(&mut self) -> Result<(), ConnectError> {
        if self.catch_up.as_ref().is_some_and(|stage| *stage.borrow() == Stage::Through) {
            for Place { tp, partition, .. } in &mut self.partitions {
                let failed = ConnectError::log(format!("reading {}", self.shared.topics.requests));
                partition.caught_up(self.shared.log.end_offset(tp).await.map_err(failed)?);
            }
            self.catch_up = None;
        }
        Ok(())
    }

    /// Takes what is new in the topic, as far as there is room.
    fn take_requests(&mut self) -> Result<(), ConnectError> {
        let topics = &self.shared.topics;
        for (n, Place { tp, partition }) in self.partitions.iter_mut().enumerate() {
            while partition.room() > 0 {
                let failed = ConnectError::log(format!("reading {}", topics.requests));
                let records = self.follow.take(n, partition.room().min(READ), READ_BYTES).map_err(failed)?;
                if records.is_empty() {
                    break;
                }
                for record in records {
                    let (offset, timestamp) = (record.offset, record.timestamp);
                    let key = record.key.as_deref().map(std::str::from_utf8);
                    let request = record.value.as_deref().map(|value| topics.request.decode(value));
                    let reason = match (key, request) {
                        (Some(Ok(key)), Some(Ok(request))) => {
                            partition.offer(offset, key, request, timestamp);
                            continue;
                        }
                        (_, Some(Err(error))) => error.to_string(),
                        (_, None) => "it has no value".to_owned(),
                        (None, _) => "it has no key".to_owned(),
                        (Some(Err(error)), _) => format!("its key is no text: {error}"),
                    };
                    self.metrics.dead(&topics.requests, tp.partition, offset, &reason);
                    self.dead.push(publish::dead(topics, record, &reason));
                    partition.skip(offset);
                }
            }
        }
        Ok(())
    }

    /// Sends what may be sent now; returns when to look again.
    fn send(&mut self) -> Option<Millis> {
        // While the log takes nothing, what the system answers could not be kept.
        if self.appending.as_ref().is_some_and(|appending| appending.failures > 0) {
            return None;
        }
        loop {
            let moment = self.moment();
            let due = self.partitions.iter().filter_map(|place| place.partition.next_wake()).min();
            let Some((place, urgency)) = self.choose(moment) else { return due };
            let until = match self.breaker.may_call(moment.now) {
                May::Call if moment.now < self.limited_until => Some(self.limited_until),
                May::Call => self.limited(moment.now),
                May::Wait { until } => Some(until),
                May::AwaitProbe => return None,
            };
            if until.is_some() {
                return until;
            }
            if let Some((ticket, call)) = self.partitions[place].partition.next_call(moment) {
                self.spawn(place, ticket, urgency, call);
                self.next = (place + 1) % self.partitions.len();
            }
        }
    }

    /// Takes the right to a call, or says until when the rate limit keeps it back.
    fn limited(&mut self, now: Millis) -> Option<Millis> {
        let wait = self.pace.take().err()?;
        self.metrics.rate_limited(wait);
        self.limited_until = now + i64::try_from(wait.as_millis()).unwrap_or(1_000) + 1;
        Some(self.limited_until)
    }

    /// The partition with the most urgent call, in turn; a backfill leaves some room for live ones.
    fn choose(&mut self, moment: Moment) -> Option<(usize, Urgency)> {
        let limit = self.shared.options.calls.max(1);
        if self.calls.len() >= limit {
            return None;
        }
        let backfill_may = self.backfill_calls < (limit * 3).div_ceil(4);
        let n = self.partitions.len();
        let mut best = None;
        for place in (0..n).map(|i| (self.next + i) % n) {
            match self.partitions[place].partition.ready(moment) {
                Some(Urgency::Live) => return Some((place, Urgency::Live)),
                Some(Urgency::Backfill) if backfill_may && best.is_none() => best = Some((place, Urgency::Backfill)),
                _ => {}
            }
        }
        best
    }

    fn spawn(&mut self, place: usize, ticket: Ticket, urgency: Urgency, call: Call) {
        self.breaker.sent();
        self.backfill_calls += usize::from(urgency == Urgency::Backfill);
        let (source, sink, timeout) = (self.source.clone(), self.sink.clone(), self.shared.options.timeout);
        self.calls.spawn(async move {
            let started = Instant::now();
            let performed = AssertUnwindSafe(perform(&*source, sink.as_deref(), &call)).catch_unwind();
            let failed = |reason: String| Reply::Unknown { reason, retry_after: None };
            let reply = match tokio::time::timeout(timeout, performed).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(_)) => failed("the connector panicked".to_owned()),
                Err(_) => failed(format!("no answer for {} s", timeout.as_secs_f32())),
            };
            Answered { place, ticket, urgency, call, reply, took: started.elapsed() }
        });
    }

    fn on_answered(&mut self, answered: Result<Answered, tokio::task::JoinError>) {
        // A task neither panics (it catches) nor is aborted before the runner ends.
        let Ok(Answered { place, ticket, urgency, call, reply, took }) = answered else { return };
        let moment = self.moment();
        self.backfill_calls -= usize::from(urgency == Urgency::Backfill);
        self.metrics.answered(call.name(), &reply, took);
        self.breaker.on_reply(&call.subject(), &reply, moment.now, moment.jitter);
        self.partitions[place].partition.on_reply(ticket, reply, moment);
    }

    /// Starts an append of all that is finished, unless one is under way.
    async fn publish(&mut self) -> Result<(), ConnectError> {
        if self.appending.is_some() {
            return Ok(());
        }
        let mut append = Append { records: std::mem::take(&mut self.dead), offsets: Vec::new() };
        let mut batches = Vec::new();
        for (i, place) in self.partitions.iter_mut().enumerate() {
            let batch = place.partition.take_batch();
            if batch.is_empty() {
                continue;
            }
            for output in &batch.outputs {
                if let Output::Dead { offset, reason, .. } = output {
                    self.metrics.dead(&place.tp.topic, place.tp.partition, *offset, reason);
                }
            }
            publish::add(&mut append, &self.shared, &place.tp, &batch).await?;
            batches.push((i, batch));
        }
        if !append.records.is_empty() || !append.offsets.is_empty() {
            let outcome = start(&self.shared, append.clone(), Duration::ZERO);
            self.appending = Some(Appending { batches, append, outcome, failures: 0 });
        }
        Ok(())
    }

    fn on_appended(&mut self, outcome: Result<Vec<i64>, LogError>) -> Result<(), ConnectError> {
        let Some(mut appending) = self.appending.take() else { return Ok(()) };
        match outcome {
            Ok(_) => {
                for (place, batch) in &appending.batches {
                    self.partitions[*place].partition.committed(batch);
                }
                Ok(())
            }
            Err(error) if error.class() == ErrorClass::Retriable && !matches!(error, LogError::Closed) => {
                appending.failures += 1;
                let pause = self.shared.options.away.pause(appending.failures, None, self.moment().jitter);
                self.set_health(Health::Paused(format!("the log takes nothing: {error}")));
                let pause = Duration::from_millis(u64::try_from(pause).unwrap_or(0));
                appending.outcome = start(&self.shared, appending.append.clone(), pause);
                self.appending = Some(appending);
                Ok(())
            }
            Err(error) => Err(ConnectError::log(format!("publishing to {}", self.shared.topics.customers))(error)),
        }
    }

    fn report(&mut self) {
        let mut progress = Progress::default();
        let mut backlog = 0;
        for (n, place) in self.partitions.iter().enumerate() {
            progress += place.partition.progress();
            backlog += u64::try_from(self.follow.backlog(n)).unwrap_or(0);
        }
        let held = u64::try_from(progress.live + progress.backfill).unwrap_or(0);
        self.metrics.progress(progress.calls, backlog + held, progress.backfill);
        self.progress.send_if_modified(|known| std::mem::replace(known, progress) != progress);
        if self.appending.as_ref().is_none_or(|appending| appending.failures == 0) {
            self.set_health(self.breaker.health(self.shared.now()));
        }
    }

    fn set_health(&self, health: Health) {
        let changed = self.health.send_if_modified(|known| {
            let changed = *known != health;
            known.clone_from(&health);
            changed
        });
        if changed {
            self.metrics.health(&health);
        }
    }

    fn moment(&self) -> Moment {
        Moment { now: self.shared.now(), jitter: rand::random::<f64>() }
    }
}

/// An append that starts after a pause.
fn start(shared: &Shared, append: Append, pause: Duration) -> BoxFuture<'static, Result<Vec<i64>, LogError>> {
    let log = shared.log.clone();
    Box::pin(async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        log.append(append).await
    })
}

async fn outcome_of(appending: &mut Option<Appending>) -> Result<Vec<i64>, LogError> {
    match appending {
        Some(appending) => (&mut appending.outcome).await,
        None => std::future::pending().await,
    }
}

/// Waits until the catch-up is further.
async fn progress_of(catch_up: &mut Option<watch::Receiver<Stage>>) {
    let further = match catch_up {
        Some(stage) => stage.changed().await.is_ok(),
        None => false,
    };
    if !further {
        std::future::pending::<()>().await;
    }
}
