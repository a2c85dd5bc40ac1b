//! How long to wait before a call is repeated.

use schemas::Millis;

/// Doubling pauses with jitter; a vendor's hint wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub first: Millis,
    /// No pause is longer.
    pub longest: Millis,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: 500, longest: 60_000 }
    }
}

impl Backoff {
    /// The pause after the `failures`-th failure in a row (from 1). `jitter` is in `0.0..1.0`: half of the pause is spread by it,
    /// so that what failed together does not come back together. A hint is kept to, a little of the spread on top.
    pub fn pause(&self, failures: u32, hint: Option<Millis>, jitter: f64) -> Millis {
        let jitter = jitter.clamp(0.0, 1.0);
        match hint {
            Some(hint) => hint.clamp(0, 3_600_000) + (jitter * self.first as f64 / 2.0) as Millis,
            None => {
                let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.longest);
                doubled / 2 + (jitter * doubled as f64 / 2.0) as Millis
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_half_of_each_is_spread() {
        let backoff = Backoff { first: 100, longest: 1_000 };
        let pauses: Vec<_> = (1..7).map(|n| (backoff.pause(n, None, 0.0), backoff.pause(n, None, 1.0))).collect();
        assert_eq!(pauses, [(50, 100), (100, 200), (200, 400), (400, 800), (500, 1000), (500, 1000)]);
        assert_eq!(backoff.pause(u32::MAX, None, 1.0), 1_000);
    }

    #[test]
    fn the_vendors_hint_wins() {
        let backoff = Backoff { first: 100, longest: 1_000 };
        assert_eq!(backoff.pause(9, Some(30_000), 0.0), 30_000);
        assert_eq!(backoff.pause(9, Some(0), 1.0), 50);
    }
}
