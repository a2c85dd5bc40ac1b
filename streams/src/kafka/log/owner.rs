//! Ownership of a name: at most one process acts for it at a time, and only that one can append in its name.
//!
//! Who may begin is what its [`Lease`] says. What keeps an older owner from writing is its producer's epoch: it ends when the new owner's
//! producer of the same id begins, which first has the brokers settle what was open.

use std::fmt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::super::transactions::Transactions;
use super::super::watchdog;
use super::brokers::Brokers;
use super::config::of_settings;
use super::lease::{Lease, Wanted};
use super::queue::{Ask, Queue};
use super::round::Round;
use super::{KafkaLogError, Log};
use crate::embedded::LogError;

/// How long the thread waits for one thing before it looks at the others.
const STEP: Duration = Duration::from_millis(50);
/// How long a producer that is dropped is waited for.
const LONGEST_DROP: Duration = Duration::from_secs(1);

/// This process acts for a name, until [`lost`](Self::lost) says otherwise.
///
/// Whoever hears of that stops all that acts for the name, drops this, and calls [`Log::own`] again. The name is left to others only
/// when this is dropped: a process that stops acting lets nobody begin before it has.
pub struct Owner {
    /// Its appends are transactions of the owner, with the offsets of groups.
    pub log: Log,
    /// Cancelled when this process does not own the name any longer: nothing is written in its name from then on.
    pub lost: CancellationToken,
    name: String,
    thread: Leave,
    why: Arc<OnceLock<String>>,
}

impl Owner {
    /// What is owned.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why it was lost; none: it was not.
    pub fn why_lost(&self) -> Option<&str> {
        self.why.get().map(String::as_str)
    }

    /// Finishes what was appended, and leaves the name to others; returns when it is left. A process that ends before would be waited
    /// for until its session ends.
    pub async fn release(mut self) {
        if let Some(left) = self.thread.tell() {
            // An error says that the thread is gone, too.
            let _ = left.await;
        }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("name", &self.name).field("lost", &self.lost.is_cancelled()).finish_non_exhaustive()
    }
}

/// Tells the thread to leave when nobody wants the name any more.
struct Leave {
    asks: Sender<Ask>,
    left: Option<oneshot::Receiver<()>>,
}

impl Leave {
    fn tell(&mut self) -> Option<oneshot::Receiver<()>> {
        let left = self.left.take()?;
        // A thread that is gone has left.
        let _ = self.asks.send(Ask::Leave);
        Some(left)
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Waits until this process owns `name`.
pub(super) async fn own(log: &Log, brokers: Arc<Brokers>, name: &str, wanted: Wanted) -> Result<Owner, LogError> {
    let (asks, asked) = mpsc::channel();
    let (left, is_left) = oneshot::channel();
    let (owned, outcome) = oneshot::channel();
    let (lost, why) = (CancellationToken::new(), Arc::new(OnceLock::new()));
    let acting = Acting { brokers, name: name.to_owned(), wanted, asked, lost: lost.clone(), why: why.clone() };
    let work = move || {
        acting.run(owned);
        // Nobody may be waiting.
        let _ = left.send(());
    };
    thread::Builder::new()
        .name(format!("owner-{name}"))
        .spawn(work)
        .map_err(|error| LogError::Io { action: format!("starting the thread that acts for {name}"), source: Arc::new(error) })?;
    // If the caller gives up, the thread is told.
    let thread = Leave { asks: asks.clone(), left: Some(is_left) };
    outcome.await.unwrap_or(Err(LogError::Closed))?;
    let log = log.of_owner(Queue::new(name, asks, why.clone()));
    Ok(Owner { log, lost, name: name.to_owned(), thread, why })
}

/// The thread of an ownership, from the wish for it to its end.
struct Acting {
    brokers: Arc<Brokers>,
    name: String,
    wanted: Wanted,
    asked: Receiver<Ask>,
    lost: CancellationToken,
    why: Arc<OnceLock<String>>,
}

/// However the thread ends, everybody hears of it.
struct End {
    lost: CancellationToken,
    why: Arc<OnceLock<String>>,
}

impl End {
    fn because(&self, reason: &str) {
        // The first reason counts.
        let _ = self.why.set(reason.to_owned());
        self.lost.cancel();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if thread::panicking() {
            self.because("its thread panicked");
        }
    }
}

impl Acting {
    fn run(self, owned: oneshot::Sender<Result<(), LogError>>) {
        let end = End { lost: self.lost.clone(), why: self.why.clone() };
        let lease = match Lease::ask(self.wanted, &self.brokers, &self.name) {
            Ok(lease) => lease,
            Err(error) => return drop(owned.send(Err(error))),
        };
        match self.begin(&lease) {
            Ok(Some((turn, transactions))) => {
                match self.wanted {
                    Wanted::InTurn => tracing::info!(name = self.name, "This process acts for the name now."),
                    Wanted::AtOnce => tracing::debug!(name = self.name, "This process took the name over."),
                }
                metrics::counter!("kafka_log_owner_begun_total", "name" => self.name.clone()).increment(1);
                if owned.send(Ok(())).is_ok() {
                    self.act(&lease, turn, transactions, &end);
                }
            }
            Ok(None) => {}
            Err(error) => drop(owned.send(Err(error))),
        }
        lease.leave();
    }

    /// Waits for this process' turn, and then for a producer before which everything is settled. None: told to leave.
    fn begin(&self, lease: &Lease) -> Result<Option<(u64, Transactions)>, LogError> {
        let mut failing_since: Option<Instant> = None;
        loop {
            lease.serve(STEP)?;
            if self.is_told_to_leave() {
                return Ok(None);
            }
            let Some(turn) = lease.turn() else { continue };
            match self.settled(lease, turn)? {
                Ok(Some(transactions)) => return Ok(Some((turn, transactions))),
                // Another member's turn, or told to leave.
                Ok(None) => {}
                Err(reason) => {
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    tracing::warn!(name = self.name, reason, "The owner's producer could not begin; trying again.");
                    if since.elapsed() > self.brokers.config.api_timeout {
                        return Err(KafkaLogError::Away { action: format!("beginning to act for {}", self.name), reason }.into());
                    }
                }
            }
        }
    }

    /// A producer that may write, if it is still this process' turn then; or why there is none.
    fn settled(&self, lease: &Lease, turn: u64) -> Result<Result<Option<Transactions>, String>, LogError> {
        let config = &self.brokers.for_clients;
        let id = format!("{}-owner-{}", config.application_id, self.name);
        let client_id = format!("{}-log-{}-owner", config.application_id, std::process::id());
        let mut transactions = Transactions::new(config, client_id, id).map_err(of_settings)?;
        let outcome = loop {
            match transactions.settle(STEP) {
                Ok(is_settled) => {
                    lease.serve(Duration::ZERO)?;
                    if lease.turn() != Some(turn) || (!is_settled && self.is_told_to_leave()) {
                        break Ok(None);
                    }
                    if is_settled {
                        return Ok(Ok(Some(transactions)));
                    }
                }
                Err(error) => break Err(error.to_string()),
            }
        };
        give_up(transactions);
        Ok(outcome)
    }

    /// Appends what comes until told to leave, or until the ownership is lost; then waits to be told.
    fn act(self, lease: &Lease, turn: u64, mut transactions: Transactions, end: &End) {
        let reason = loop {
            let first = match self.asked.recv_timeout(STEP) {
                Ok(Ask::Append(pending)) => Some(pending),
                Ok(Ask::Leave) | Err(RecvTimeoutError::Disconnected) => {
                    end.because("it was given back");
                    return give_up(transactions);
                }
                Err(RecvTimeoutError::Timeout) => None,
            };
            let held = || match lease.serve(Duration::ZERO) {
                Err(error) => Err(error.to_string()),
                Ok(()) if lease.turn() != Some(turn) => Err("its group gave it to another process, or did not hear of this one".to_owned()),
                Ok(()) => Ok(()),
            };
            if let Err(reason) = held() {
                break reason;
            }
            let Some(first) = first else {
                transactions.poll();
                continue;
            };
            let (mut round, told_to_leave) = self.gather(first);
            if let Err(reason) = round.write(&self.brokers, &mut transactions, held) {
                // Before those that wait in it hear that they wait in vain.
                end.because(&reason);
                break reason;
            }
            if told_to_leave {
                end.because("it was given back");
                return give_up(transactions);
            }
        };
        match self.wanted {
            Wanted::InTurn => tracing::warn!(name = self.name, reason, "This process does not act for the name any longer."),
            Wanted::AtOnce => tracing::debug!(name = self.name, reason, "Another process took the name over."),
        }
        metrics::counter!("kafka_log_owner_lost_total", "name" => self.name.clone()).increment(1);
        end.because(&reason);
        give_up(transactions);
        self.wait_for_the_end(lease, turn);
    }

    /// What waits already, up to a transaction's size; whether to leave after it.
    fn gather(&self, first: super::queue::Pending) -> (Round, bool) {
        let mut round = Round::default();
        round.push(first);
        while !round.is_full() {
            match self.asked.try_recv() {
                Ok(Ask::Append(pending)) => round.push(pending),
                Ok(Ask::Leave) | Err(TryRecvError::Disconnected) => return (round, true),
                Err(TryRecvError::Empty) => break,
            }
        }
        (round, false)
    }

    /// Keeps the place in the group until nobody here acts any more: what waits, and what still comes, is answered by being dropped.
    fn wait_for_the_end(&self, lease: &Lease, turn: u64) {
        while lease.turn() == Some(turn) {
            match self.asked.recv_timeout(STEP) {
                Ok(Ask::Append(pending)) => drop(pending),
                Ok(Ask::Leave) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Err(error) = lease.serve(Duration::ZERO) {
                tracing::debug!(%error, "The group of owners is left.");
                return;
            }
        }
    }

    fn is_told_to_leave(&self) -> bool {
        // Nobody can append yet.
        !matches!(self.asked.try_recv(), Err(TryRecvError::Empty))
    }
}

/// Without a wait for what it still has to do.
fn give_up(transactions: Transactions) {
    if let Err(error) = watchdog::within("dropping an owner's producer", LONGEST_DROP, move || drop(transactions)) {
        tracing::warn!(%error, "An owner's producer is dropped late.");
    }
}
