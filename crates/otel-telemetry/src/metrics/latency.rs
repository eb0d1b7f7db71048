//! Durations, counted in place and looked back at over windows.
//!
//! Recording is three additions to counters. Buckets are linear below 16 µs, then sixteen to each
//! doubling, so that a quantile is exact to a sixteenth of its value, up to four minutes. Every
//! [`TICK`] what was added since is kept apart: a window is the sum of its ticks, and of what came
//! after the last.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kernel::metrics::{Quantile, Window, WindowView};

/// How often [`Latency::tick`] is called.
pub(crate) const TICK: Duration = Duration::from_secs(5);
const TICKS_A_MINUTE: usize = 12;
/// Ticks that are kept: five minutes.
const RECENT: usize = 5 * TICKS_A_MINUTE;
/// Minutes that are kept: with the one that runs, an hour.
const MINUTES: usize = 59;

const LINEAR: u64 = 16;
const DOUBLINGS: usize = 24;
const BUCKETS: usize = 16 + 16 * DOUBLINGS;

/// The bucket of so many microseconds.
fn bucket(micros: u64) -> usize {
    if micros < LINEAR {
        return usize::try_from(micros).unwrap_or_default();
    }
    let doubling = micros.ilog2() - 4;
    let within = (micros >> doubling) & 15;
    let place = u64::from(doubling) * 16 + 16 + within;
    usize::try_from(place).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The most microseconds of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    if bucket < LINEAR {
        return bucket;
    }
    let (doubling, within) = ((bucket - 16) / 16, (bucket - 16) % 16);
    ((17 + within) << doubling) - 1
}

/// What happened between two ticks: the buckets that were touched.
#[derive(Default)]
struct Delta {
    buckets: Box<[(u16, u32)]>,
    failed: u64,
    micros: u64,
}

/// What is known of the past.
struct Past {
    counts: Box<[u32]>,
    failed: u64,
    micros: u64,
    recent: VecDeque<Delta>,
    minutes: VecDeque<Delta>,
    /// Ticks of the minute that runs.
    ticks: usize,
}

/// The durations of one thing that happens again and again.
pub(crate) struct Latency {
    counts: Box<[AtomicU32]>,
    failed: AtomicU64,
    micros: AtomicU64,
    total: AtomicU64,
    past: Mutex<Past>,
}

impl Latency {
    pub(crate) fn new() -> Self {
        Self {
            counts: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            failed: AtomicU64::new(0),
            micros: AtomicU64::new(0),
            total: AtomicU64::new(0),
            past: Mutex::new(Past {
                counts: vec![0; BUCKETS].into_boxed_slice(),
                failed: 0,
                micros: 0,
                recent: VecDeque::new(),
                minutes: VecDeque::new(),
                ticks: 0,
            }),
        }
    }

    /// It happened, took so long, and failed or not.
    pub(crate) fn record(&self, took: Duration, failed: bool) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get(bucket(micros)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often it happened since the beginning.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn since(&self, past: &Past) -> Delta {
        let mut buckets = Vec::new();
        for (at, (count, before)) in (0u16..).zip(self.counts.iter().zip(&past.counts)) {
            let more = count.load(Ordering::Relaxed).wrapping_sub(*before);
            if more > 0 {
                buckets.push((at, more));
            }
        }
        Delta {
            buckets: buckets.into_boxed_slice(),
            failed: self
                .failed
                .load(Ordering::Relaxed)
                .wrapping_sub(past.failed),
            micros: self
                .micros
                .load(Ordering::Relaxed)
                .wrapping_sub(past.micros),
        }
    }

    /// Ends a tick.
    pub(crate) fn tick(&self) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let delta = self.since(&past);
        for (at, more) in &delta.buckets {
            if let Some(count) = past.counts.get_mut(usize::from(*at)) {
                *count = count.wrapping_add(*more);
            }
        }
        past.failed = past.failed.wrapping_add(delta.failed);
        past.micros = past.micros.wrapping_add(delta.micros);
        past.recent.push_back(delta);
        past.ticks += 1;
        if past.ticks == TICKS_A_MINUTE {
            past.ticks = 0;
            let mut sum = Sum::default();
            let from = past.recent.len().saturating_sub(TICKS_A_MINUTE);
            past.recent.range(from..).for_each(|delta| sum.add(delta));
            past.minutes.push_back(sum.into_delta());
        }
        while past.recent.len() > RECENT {
            past.recent.pop_front();
        }
        while past.minutes.len() > MINUTES {
            past.minutes.pop_front();
        }
    }

    /// Adds what happened within `window` to `sum`.
    pub(crate) fn add_to(&self, window: Window, sum: &mut Sum) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        sum.add(&self.since(&past));
        // What came after the last tick is one more.
        let ticks = match window {
            Window::Minute => TICKS_A_MINUTE - 1,
            Window::FiveMinutes => RECENT - 1,
            Window::Hour => {
                past.minutes.iter().for_each(|delta| sum.add(delta));
                past.ticks
            }
        };
        let from = past.recent.len().saturating_sub(ticks);
        past.recent.range(from..).for_each(|delta| sum.add(delta));
    }

    /// What happened within each window.
    pub(crate) fn windows(&self) -> [WindowView; 3] {
        windows(|window, sum| self.add_to(window, sum))
    }
}

/// The view of each window, as `add` sums it up.
pub(crate) fn windows(add: impl Fn(Window, &mut Sum)) -> [WindowView; 3] {
    [Window::Minute, Window::FiveMinutes, Window::Hour].map(|window| {
        let mut sum = Sum::default();
        add(window, &mut sum);
        sum.view()
    })
}

/// A sum of what happened.
pub(crate) struct Sum {
    counts: Vec<u64>,
    failed: u64,
    micros: u64,
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            failed: 0,
            micros: 0,
        }
    }
}

impl Sum {
    fn add(&mut self, delta: &Delta) {
        for (at, more) in &delta.buckets {
            if let Some(count) = self.counts.get_mut(usize::from(*at)) {
                *count += u64::from(*more);
            }
        }
        self.failed += delta.failed;
        self.micros = self.micros.wrapping_add(delta.micros);
    }

    fn into_delta(self) -> Delta {
        let buckets = (0u16..)
            .zip(&self.counts)
            .filter(|(_, count)| **count > 0)
            .map(|(at, count)| (at, u32::try_from(*count).unwrap_or(u32::MAX)))
            .collect();
        Delta {
            buckets,
            failed: self.failed,
            micros: self.micros,
        }
    }

    /// No longer than this took the part `quantile` of all.
    fn quantile(&self, count: u64, quantile: Quantile) -> Duration {
        let (part, of) = match quantile {
            Quantile::P50 => (1, 2),
            Quantile::P95 => (19, 20),
            Quantile::P99 => (99, 100),
        };
        let rank = (count * part).div_ceil(of).max(1);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(upper(at));
            }
        }
        Duration::ZERO
    }

    fn view(&self) -> WindowView {
        let count: u64 = self.counts.iter().sum();
        if count == 0 {
            return WindowView::default();
        }
        WindowView {
            count,
            failed: self.failed,
            mean: Duration::from_micros(self.micros / count),
            p50: self.quantile(count, Quantile::P50),
            p95: self.quantile(count, Quantile::P95),
            p99: self.quantile(count, Quantile::P99),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_holds_its_value_to_a_sixteenth(micros in 0u64..250_000_000) {
            let top = upper(bucket(micros));
            prop_assert!(top >= micros);
            prop_assert!(top - micros <= micros / 16, "{micros} {top}");
        }

        #[test]
        fn a_quantile_is_that_of_the_sorted_values_to_a_sixteenth(
            values in proptest::collection::vec(0u64..5_000_000, 1..300)
        ) {
            let latency = Latency::new();
            for micros in &values {
                latency.record(Duration::from_micros(*micros), false);
            }
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let view = latency.windows()[0];
            prop_assert_eq!(view.count, values.len() as u64);
            for (part, told) in [(50, view.p50), (95, view.p95), (99, view.p99)] {
                let rank = (values.len() * part).div_ceil(100).max(1);
                let exact = sorted[rank - 1];
                let told = u64::try_from(told.as_micros()).unwrap();
                prop_assert!(told >= exact && told - exact <= exact / 16, "{part}: {exact} {told}");
            }
        }
    }

    #[test]
    fn the_longest_duration_stays_within_the_last_bucket() {
        let latency = Latency::new();
        latency.record(Duration::from_hours(24), true);
        assert_eq!(latency.windows()[0].failed, 1);
        assert!(latency.windows()[0].p99 > Duration::from_secs(200));
    }

    #[test]
    fn a_window_forgets_what_is_older() {
        let latency = Latency::new();
        latency.record(Duration::from_millis(1), false);
        let counts = |latency: &Latency| latency.windows().map(|window| window.count);
        assert_eq!(counts(&latency), [1, 1, 1]);
        for _ in 0..12 {
            latency.tick();
        }
        assert_eq!(counts(&latency), [0, 1, 1]);
        latency.record(Duration::from_millis(1), false);
        for _ in 12..60 {
            latency.tick();
        }
        assert_eq!(counts(&latency), [0, 1, 2]);
        latency.tick();
        latency.tick();
        for _ in 62..720 {
            latency.tick();
        }
        assert_eq!(counts(&latency), [0, 0, 1], "the first is an hour old");
        for _ in 0..24 {
            latency.tick();
        }
        assert_eq!(counts(&latency), [0, 0, 0]);
        assert_eq!(latency.total(), 2);
    }
}
