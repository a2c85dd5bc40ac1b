//! Asking Stripe until it answers: what a catch-up does while Stripe is away is wait.

use clients::stripe::{Class, Error};
use connect::CatchUp;
use schemas::System;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// Pauses that double, unless Stripe says how long.
pub(super) struct Patience<'a> {
    system: &'a System,
    catch_up: &'a CatchUp,
    next: Duration,
}

impl<'a> Patience<'a> {
    pub(super) fn new(system: &'a System, catch_up: &'a CatchUp) -> Self {
        Patience { system, catch_up, next: FIRST }
    }

    /// Stripe has answered.
    pub(super) fn answered(&self) {
        self.catch_up.going();
    }

    /// Waits before the next try, or gives the error back: another try would end the same way.
    pub(super) async fn after(&mut self, error: Error) -> Result<(), Error> {
        self.catch_up.failing(&error);
        if !error.class.is_retriable() && error.class != Class::Stored {
            return Err(error);
        }
        let pause = error.retry_after.unwrap_or(self.next).clamp(FIRST, LONGEST);
        self.next = (self.next * 2).min(LONGEST);
        tracing::warn!(system = %self.system, operation = error.operation, error_type = error.class.name(), %error, ?pause, "Stripe does not answer; trying again.");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
