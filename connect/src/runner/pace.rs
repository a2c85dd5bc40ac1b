//! How many calls a second a system is sent.

use governor::{Quota, RateLimiter, clock::Clock, middleware::NoOpMiddleware, state::InMemoryState, state::NotKeyed};
use std::{num::NonZeroU32, time::Duration};

/// A rate limiter on the runtime's clock.
pub(super) struct Pace {
    limiter: Option<RateLimiter<NotKeyed, InMemoryState, Monotonic, NoOpMiddleware<Duration>>>,
    clock: Monotonic,
}

#[derive(Clone)]
struct Monotonic {
    start: tokio::time::Instant,
}

impl Clock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Pace {
    /// `None`: as many as there are.
    pub fn new(calls_per_second: Option<NonZeroU32>) -> Self {
        let clock = Monotonic { start: tokio::time::Instant::now() };
        let limiter = calls_per_second.map(|rate| {
            // A little at once after a pause: whoever counts by whole seconds must not count more than the rate and this.
            let burst = NonZeroU32::new(rate.get() / 10).unwrap_or(NonZeroU32::MIN);
            RateLimiter::direct_with_clock(Quota::per_second(rate).allow_burst(burst), clock.clone())
        });
        Pace { limiter, clock }
    }

    /// Takes the right to one call, or says how long to wait for it.
    pub fn take(&self) -> Result<(), Duration> {
        match &self.limiter {
            None => Ok(()),
            Some(limiter) => limiter.check().map_err(|not_until| not_until.wait_time_from(self.clock.now())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_than_the_rate() {
        let pace = Pace::new(NonZeroU32::new(50));
        let taken = (0..100).filter(|_| pace.take().is_ok()).count();
        assert!((5..=7).contains(&taken), "{taken}: a tenth at once");
        let wait = pace.take().expect_err("the burst is used up");
        assert!(wait <= Duration::from_millis(20), "{wait:?}");
        tokio::time::sleep(wait).await;
        assert!(pace.take().is_ok());
        assert!(Pace::new(None).take().is_ok());
    }
}
