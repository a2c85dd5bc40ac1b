//! Chance, from one seed: a splitmix64 generator. Each source of chance has dice of its own, so that leaving an action out
//! of a history (to shrink it) changes as little as possible of the rest.

/// A stream of chance.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The stream `name` of a seed.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut state = seed ^ 0x51_7c_c1_b7_27_22_0a_95;
        for byte in name.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3).rotate_left(23);
        }
        let mut dice = Dice(state);
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..n`; 0 for an empty range.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { ((u128::from(self.next()) * n as u128) >> 64) as usize }
    }

    /// One of `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as usize) as i64
    }

    /// True in `per_mille` of a thousand throws.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < per_mille as usize
    }

    /// One of the choices.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// An index, as likely as its weight says.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let total: u32 = weights.iter().sum();
        let mut at = self.below(total as usize) as u32;
        for (index, weight) in weights.iter().enumerate() {
            if at < *weight {
                return index;
            }
            at -= weight;
        }
        0
    }
}
