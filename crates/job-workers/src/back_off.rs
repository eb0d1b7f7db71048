//! How long to wait before trying again: [`BackOff`].

use std::time::Duration;

use kernel::Toolkit;

/// Exponential back-off with jitter: the first wait, doubled each time, up to the longest. Up to
/// a quarter is added by chance, so that what failed together is not tried again together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait, before the jitter.
    pub longest: Duration,
}

impl Default for BackOff {
    /// 1 s, 2 s, 4 s, … up to five minutes.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_mins(5),
        }
    }
}

impl BackOff {
    /// The wait after `failures` failures in a row (1 is the first), with the chance of `tools`.
    pub fn wait(&self, failures: u32, tools: &Toolkit) -> Duration {
        self.wait_by(failures, u32::from_be_bytes(tools.random_bytes()))
    }

    /// The wait for a die of 0 (no jitter) to `u32::MAX` (all of it).
    fn wait_by(&self, failures: u32, die: u32) -> Duration {
        let doubled = 2_u32
            .checked_pow(failures.saturating_sub(1))
            .and_then(|factor| self.first.checked_mul(factor));
        let wait = doubled.unwrap_or(self.longest).min(self.longest);
        let share = f64::from(die) / f64::from(u32::MAX) / 4.0;
        wait.saturating_add(wait.mul_f64(share))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_from_a_second_to_five_minutes() {
        let back_off = BackOff::default();
        let waits: Vec<u64> = (1..=11)
            .map(|failures| back_off.wait_by(failures, 0).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    proptest! {
        #[test]
        fn jitter_adds_a_quarter_at_most_and_takes_nothing_away(failures: u32, die: u32) {
            let back_off = BackOff::default();
            let (plain, wait) = (back_off.wait_by(failures, 0), back_off.wait_by(failures, die));
            prop_assert!(wait >= plain);
            prop_assert!(wait <= plain + plain / 4);
        }

        #[test]
        fn a_later_failure_never_waits_less_than_an_earlier_one_did_at_least(failures in 1_u32..40, die: u32) {
            let back_off = BackOff::default();
            prop_assert!(back_off.wait_by(failures + 1, die) >= back_off.wait_by(failures, 0));
        }
    }
}
