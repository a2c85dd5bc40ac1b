//! Calls per second, so that Stripe need not refuse any.

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::{InMemoryState, NotKeyed},
};
use std::{collections::HashMap, num::NonZeroU32, time::Duration};

/// Most calls per second. Stripe's own: 25 for test keys, 100 for live ones; and so for each endpoint of a test key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub total: NonZeroU32,
    pub endpoint: NonZeroU32,
}

const fn per_second(n: u32) -> NonZeroU32 {
    match NonZeroU32::new(n) {
        Some(n) => n,
        None => NonZeroU32::MIN,
    }
}

impl Limits {
    pub const fn test() -> Self {
        Limits { total: per_second(25), endpoint: per_second(25) }
    }

    pub const fn live() -> Self {
        Limits { total: per_second(100), endpoint: per_second(100) }
    }

    /// The same limit for each endpoint and in all; 0 counts as 1.
    pub const fn of(n: u32) -> Self {
        Limits { total: per_second(n), endpoint: per_second(n) }
    }
}

/// Who waits for whom: bulk calls (backfill, sweeps) get at most half of the limit, so live ones never queue behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lane {
    #[default]
    Live,
    Bulk,
}

/// One kind of call, as Stripe's limits and our metrics count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    Retrieve,
    Create,
    Update,
    Delete,
    List,
    Events,
}

impl Endpoint {
    pub(crate) const ALL: [Endpoint; 6] =
        [Endpoint::Retrieve, Endpoint::Create, Endpoint::Update, Endpoint::Delete, Endpoint::List, Endpoint::Events];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Endpoint::Retrieve => "retrieve",
            Endpoint::Create => "create",
            Endpoint::Update => "update",
            Endpoint::Delete => "delete",
            Endpoint::List => "list",
            Endpoint::Events => "events",
        }
    }
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, DefaultClock>;

pub(crate) struct Limiter {
    total: Bucket,
    bulk: Bucket,
    endpoints: HashMap<Endpoint, Bucket>,
    clock: DefaultClock,
}

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Self {
        // A burst of half the limit: bucket and refill together stay below what a counter per second would refuse.
        let bucket = |rate: NonZeroU32| Bucket::direct(Quota::per_second(rate).allow_burst(per_second(rate.get().div_ceil(2))));
        Limiter {
            total: bucket(limits.total),
            bulk: bucket(per_second(limits.total.get().div_ceil(2))),
            endpoints: Endpoint::ALL.into_iter().map(|e| (e, bucket(limits.endpoint))).collect(),
            clock: DefaultClock::default(),
        }
    }

    /// Waits for this call's turn, and says for how long.
    pub(crate) async fn turn(&self, endpoint: Endpoint, lane: Lane) -> Duration {
        let mut waited = Duration::ZERO;
        if lane == Lane::Bulk {
            waited += self.pass(&self.bulk).await;
        }
        if let Some(bucket) = self.endpoints.get(&endpoint) {
            waited += self.pass(bucket).await;
        }
        waited + self.pass(&self.total).await
    }

    async fn pass(&self, bucket: &Bucket) -> Duration {
        let mut waited = Duration::ZERO;
        while let Err(busy) = bucket.check() {
            let pause = busy.wait_time_from(self.clock.now()).max(Duration::from_millis(1));
            tokio::time::sleep(pause).await;
            waited += pause;
        }
        waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, time::Instant};

    #[tokio::test]
    async fn no_second_sees_more_than_the_limit_and_bulk_leaves_half() {
        let limiter = Arc::new(Limiter::new(Limits::of(40)));
        let started = Instant::now();
        let mut bulk = 0;
        let mut live = 0;
        tokio::join!(
            async {
                while started.elapsed() < Duration::from_millis(900) {
                    limiter.turn(Endpoint::List, Lane::Bulk).await;
                    bulk += 1;
                }
            },
            async {
                while started.elapsed() < Duration::from_millis(900) {
                    limiter.turn(Endpoint::Update, Lane::Live).await;
                    live += 1;
                }
            }
        );
        // Bucket of 20 + 40 a second over 0.9 s, and the one call each that was waiting at the end.
        assert!(bulk + live <= 20 + 40 + 2, "{bulk} + {live}");
        assert!(bulk <= 10 + 20 + 1, "{bulk}");
        assert!(live >= 15, "{live}");
    }
}
