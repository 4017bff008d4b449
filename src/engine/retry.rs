//! When a step is run again.

use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Capped exponential back-off with a spread, as a definition's `retry` table has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// The delay before the first repetition, milliseconds.
    pub first_ms: u64,
    /// What each further delay is multiplied by.
    pub factor: u32,
    /// The longest delay before the spread, milliseconds.
    pub cap_ms: u64,
    /// How much shorter than that a delay may be, in percent of it.
    pub jitter_pct: u8,
    /// How many repetitions there are before the run pauses for a person; none: forever.
    pub max_attempts: Option<u32>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first_ms: 1_000, factor: 2, cap_ms: 300_000, jitter_pct: 20, max_attempts: None }
    }
}

impl RetryPolicy {
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.first_ms == 0 || self.factor == 0 {
            return Some("`retry` needs `first_ms` and `factor` above zero");
        }
        if self.cap_ms < self.first_ms {
            return Some("`retry.cap_ms` is below `retry.first_ms`");
        }
        (self.jitter_pct > 100).then_some("`retry.jitter_pct` is above 100")
    }

    /// The delay before repetition number `attempt` (from 1).
    ///
    /// The spread is drawn from `seed` and not from chance, so that a run's next wake-up is a
    /// function of the run, and runs that failed together still come back apart.
    pub fn delay(&self, attempt: u32, seed: &str) -> Duration {
        let mut delay = self.first_ms;
        for _ in 1..attempt.min(64) {
            delay = delay.saturating_mul(u64::from(self.factor)).min(self.cap_ms);
        }
        let delay = delay.min(self.cap_ms);
        let spread = u128::from(delay) * u128::from(self.jitter_pct) / 100;
        let digest = Sha256::digest(format!("{seed}/{attempt}").as_bytes());
        let drawn = u64::from_be_bytes([
            digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
        ]);
        let less = spread * u128::from(drawn) / u128::from(u64::MAX);
        Duration::from_millis(delay - u64::try_from(less).unwrap_or(0))
    }

    /// Whether `attempt` repetitions are all that there may be.
    pub fn exhausted(&self, attempt: u32) -> bool {
        self.max_attempts.is_some_and(|max| attempt >= max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_cap_and_stay_within_the_spread() {
        let policy = RetryPolicy { first_ms: 100, factor: 3, cap_ms: 1_000, jitter_pct: 20, max_attempts: None };
        for (attempt, full) in [(1, 100), (2, 300), (3, 900), (4, 1_000), (u32::MAX, 1_000)] {
            let delay = u64::try_from(policy.delay(attempt, "a run").as_millis()).unwrap();
            assert!((full * 8 / 10..=full).contains(&delay), "attempt {attempt}: {delay} ms");
        }
        assert_ne!(policy.delay(4, "one"), policy.delay(4, "another"));
        assert_eq!(policy.delay(4, "one"), policy.delay(4, "one"));
    }
}
