//! Whether calls go out at all: a system that does not know us any more, or does not answer, is probed and not stormed.

use crate::{backoff::Backoff, call::Reply, health::Health};
use schemas::Millis;
use std::collections::BTreeSet;

/// Calls about so many things failed, none worked in between, and the system counts as away. (One alone may be the trouble of
/// one record.)
const AWAY: usize = 3;

/// So many failures in a row, also about one thing, and health says so.
const WORTH_SAYING: u32 = 3;

/// A hint to wait is kept to for this long at most.
const LONGEST_HOLD: Millis = 300_000;

/// Pure: time and jitter come in.
#[derive(Debug)]
pub(super) struct Breaker {
    /// What the calls that failed were about, since one last worked; how many, and why.
    failed: BTreeSet<String>,
    failures: u32,
    why: String,
    stopped: Option<Stopped>,
    /// The system asked for a pause until then.
    hold: Millis,
    credentials: Backoff,
    away: Backoff,
}

#[derive(Debug)]
struct Stopped {
    cause: Cause,
    reason: String,
    times: u32,
    until: Millis,
    /// One call is out to see whether it works again.
    probing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Credentials,
    Away,
}

/// Whether a call may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    Call,
    Wait {
        until: Millis,
    },
    /// A probe is out; its answer decides.
    AwaitProbe,
}

impl Breaker {
    pub fn new(credentials: Backoff, away: Backoff) -> Self {
        Breaker { failed: BTreeSet::new(), failures: 0, why: String::new(), stopped: None, hold: 0, credentials, away }
    }

    pub fn may_call(&self, now: Millis) -> May {
        match &self.stopped {
            Some(stopped) if stopped.probing => May::AwaitProbe,
            Some(stopped) if now < stopped.until => May::Wait { until: stopped.until },
            _ if now < self.hold => May::Wait { until: self.hold },
            _ => May::Call,
        }
    }

    /// A call goes out.
    pub fn sent(&mut self) {
        if let Some(stopped) = &mut self.stopped {
            stopped.probing = true;
        }
    }

    /// A call about this was answered.
    pub fn on_reply(&mut self, subject: &str, reply: &Reply, now: Millis, jitter: f64) {
        if let Reply::Busy { retry_after: Some(hint), .. } = reply {
            self.hold = self.hold.max(now + (*hint).clamp(0, LONGEST_HOLD));
        }
        match reply {
            Reply::Unauthorized { reason } => {
                self.worked();
                self.stop(Cause::Credentials, reason, now, jitter);
            }
            // A busy system answers; but where nothing but that comes back (or nobody listens), it takes no more than probes.
            Reply::Unknown { reason, .. } | Reply::Busy { reason, .. } => {
                self.failed.insert(subject.to_owned());
                self.failures += 1;
                self.why.clone_from(reason);
                let probe_failed = self.stopped.as_ref().is_some_and(|stopped| stopped.probing);
                if self.failed.len() >= AWAY || probe_failed {
                    let cause = self.stopped.as_ref().map_or(Cause::Away, |stopped| stopped.cause);
                    self.stop(cause, reason, now, jitter);
                }
            }
            _ => {
                self.worked();
                self.stopped = None;
            }
        }
    }

    fn worked(&mut self) {
        self.failed.clear();
        self.failures = 0;
    }

    fn stop(&mut self, cause: Cause, reason: &str, now: Millis, jitter: f64) {
        let (times, waits) = match &self.stopped {
            // What was under way when it stopped says the same once more.
            Some(stopped) if !stopped.probing && stopped.cause == cause => return,
            Some(stopped) if stopped.cause == cause => (stopped.times + 1, true),
            _ => (1, false),
        };
        let backoff = if cause == Cause::Credentials { self.credentials } else { self.away };
        let until = now + backoff.pause(times, None, jitter);
        if !waits {
            tracing::warn!(reason, ?cause, "The system takes no calls; it is tried again now and then.");
        }
        self.stopped = Some(Stopped { cause, reason: reason.to_owned(), times, until, probing: false });
    }

    pub fn health(&self, now: Millis) -> Health {
        match &self.stopped {
            Some(Stopped { cause: Cause::Credentials, reason, .. }) => Health::Paused(format!("credentials are not accepted: {reason}")),
            Some(Stopped { reason, .. }) => Health::Degraded(format!("no answers: {reason}")),
            None if now < self.hold => Health::Degraded("it asked for a pause".to_owned()),
            None if self.failures >= WORTH_SAYING => Health::Degraded(format!("calls fail: {}", self.why)),
            None => Health::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        let backoff = Backoff { first: 1_000, longest: 4_000 };
        Breaker::new(backoff, backoff)
    }

    fn unknown() -> Reply {
        Reply::Unknown { reason: "timed out".into(), retry_after: None }
    }

    fn unauthorized() -> Reply {
        Reply::Unauthorized { reason: "401".into() }
    }

    #[test]
    fn bad_credentials_pause_and_a_probe_that_works_ends_it() {
        let mut b = breaker();
        b.on_reply("a", &unauthorized(), 0, 1.0);
        b.on_reply("a", &unauthorized(), 10, 1.0);
        assert_eq!((b.may_call(999), b.may_call(1_000)), (May::Wait { until: 1_000 }, May::Call), "what was under way changes nothing");
        assert_eq!(b.health(0), Health::Paused("credentials are not accepted: 401".into()));
        b.sent();
        assert_eq!(b.may_call(1_001), May::AwaitProbe);
        b.on_reply("a", &unauthorized(), 1_100, 1.0);
        assert_eq!(b.may_call(2_000), May::Wait { until: 3_100 }, "the pauses double");
        b.sent();
        b.on_reply("a", &Reply::Accepted, 3_200, 1.0);
        assert_eq!((b.may_call(3_200), b.health(3_200)), (May::Call, Health::Ok));
    }

    #[test]
    fn a_probe_without_an_answer_does_not_make_credentials_good() {
        let mut b = breaker();
        b.on_reply("a", &unauthorized(), 0, 1.0);
        b.sent();
        b.on_reply("a", &unknown(), 2_000, 1.0);
        assert!(matches!(b.health(2_000), Health::Paused(_)));
        assert_eq!(b.may_call(2_000), May::Wait { until: 4_000 });
    }

    #[test]
    fn a_system_that_does_not_answer_is_probed() {
        let mut b = breaker();
        for subject in ["a", "b"] {
            b.on_reply(subject, &unknown(), 0, 1.0);
        }
        assert_eq!((b.may_call(0), b.health(0)), (May::Call, Health::Ok), "two records may have their own troubles");
        b.on_reply("a", &Reply::Busy { reason: "refused".into(), retry_after: None }, 0, 1.0);
        assert_eq!((b.may_call(0), b.health(0)), (May::Call, Health::Degraded("calls fail: refused".into())));
        b.on_reply("c", &unknown(), 0, 1.0);
        assert_eq!(b.health(0), Health::Degraded("no answers: timed out".into()));
        assert_eq!((b.may_call(999), b.may_call(1_000)), (May::Wait { until: 1_000 }, May::Call));
        b.sent();
        b.on_reply("a", &Reply::Missing, 1_100, 1.0);
        assert_eq!(b.may_call(1_100), May::Call);
    }

    #[test]
    fn a_hint_holds_every_call() {
        let mut b = breaker();
        b.on_reply("a", &Reply::Busy { reason: "429".into(), retry_after: Some(2_000) }, 0, 1.0);
        assert_eq!((b.may_call(1_999), b.may_call(2_000)), (May::Wait { until: 2_000 }, May::Call));
        b.on_reply("a", &Reply::Busy { reason: "lock".into(), retry_after: None }, 2_000, 1.0);
        assert_eq!(b.may_call(2_000), May::Call);
    }
}
