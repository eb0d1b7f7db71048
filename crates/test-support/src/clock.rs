//! A clock that stands still until it is told to go on.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use kernel::Clock;

/// Stands at one instant.
#[derive(Debug)]
pub struct FixedClock(AtomicI64);

impl FixedClock {
    /// Stands at `at`, cut to whole microseconds.
    pub const fn at(at: DateTime<Utc>) -> Self {
        Self(AtomicI64::new(at.timestamp_micros()))
    }

    /// Goes on by `by`.
    pub fn advance(&self, by: TimeDelta) {
        self.0
            .fetch_add(by.num_microseconds().unwrap_or(0), Ordering::SeqCst);
    }
}

impl Default for FixedClock {
    /// A Tuesday morning in São Paulo, and in the database's past, so that what is due now is
    /// due there too: 2026-03-03T12:00:00Z.
    fn default() -> Self {
        Self(AtomicI64::new(1_772_539_200_000_000))
    }
}

impl Clock for FixedClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.load(Ordering::SeqCst)).unwrap_or_default()
    }
}
