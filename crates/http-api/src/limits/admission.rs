//! What is let in while there is too much to do, decided before anything is done for a request.
//!
//! Requests in progress are bounded, so that the queue before the database is, and with it the time
//! in it. The bound adapts: it shrinks by a tenth where requests take longer than the target in the
//! mean, or where the event loop is late, and grows where it was reached and they do not
//! (additive increase, multiplicative decrease). Whoever is beyond it gets 503 with `Retry-After`
//! at once, which costs microseconds, instead of late.
//!
//! The least important are turned away first: logins and exports at three quarters of the bound,
//! everything else at the bound, deliveries of providers at twice of it, health never.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::LimitSettings;

/// The bound never shrinks below this: what one pool of connections works on, and as many waiting.
const LEAST: u32 = 32;
/// How often the bound is set anew, in nanoseconds.
const EVERY: u64 = 100_000_000;
/// A loop that is later than this has more to do than it can.
const LATE: Duration = Duration::from_millis(100);
/// And later than this, it takes on nothing until it has caught up.
const TOO_LATE: Duration = Duration::from_millis(400);
/// How long pressure is felt after its last sign.
const PRESSED: u64 = 1_000_000_000;

/// Who is turned away when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// First: logins, exports.
    First,
    /// Everything else.
    Usual,
    /// Last: deliveries.
    Last,
    /// Never.
    Always,
}

/// How it stands, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Requests in progress.
    pub in_flight: u32,
    /// How many there may be now; `None` where there is no bound.
    pub bound: Option<u32>,
    /// Turned away since the start.
    pub shed: u64,
}

/// Lets requests in.
#[derive(Debug)]
pub struct Admission {
    began: Instant,
    /// 0: no bound.
    most: u32,
    target: u64,
    bound: AtomicU32,
    in_flight: AtomicU32,
    shed: AtomicU64,
    /// Of the present period.
    peak: AtomicU32,
    ended: AtomicU64,
    nanos: AtomicU64,
    set_at: AtomicU64,
    pressed_until: AtomicU64,
    too_late: AtomicBool,
}

impl Admission {
    pub(crate) fn new(settings: &LimitSettings) -> Self {
        let most = u32::try_from(settings.max_in_flight).unwrap_or(u32::MAX);
        Self {
            began: Instant::now(),
            most,
            target: u64::try_from(settings.latency_target.as_nanos()).unwrap_or(u64::MAX),
            // It grows within a second, and a start is when everything is slow.
            bound: AtomicU32::new(most.min(LEAST * 4)),
            in_flight: AtomicU32::new(0),
            shed: AtomicU64::new(0),
            peak: AtomicU32::new(0),
            ended: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            set_at: AtomicU64::new(0),
            pressed_until: AtomicU64::new(0),
            too_late: AtomicBool::new(false),
        }
    }

    /// How it stands.
    pub fn load(&self) -> Load {
        Load {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            bound: (self.most > 0).then(|| self.bound.load(Ordering::Relaxed)),
            shed: self.shed.load(Ordering::Relaxed),
        }
    }

    /// Whether there is more to do than there should be: limits are tightened then.
    pub(crate) fn is_pressed(&self) -> bool {
        self.most > 0 && self.now() < self.pressed_until.load(Ordering::Relaxed)
    }

    /// Lets a request in, or turns it away. [`Self::leave`] must follow where it is let in.
    pub(crate) fn enter(&self, priority: Priority) -> bool {
        let now_in = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        if self.most == 0 {
            return true;
        }
        let bound = self.bound.load(Ordering::Relaxed);
        let mine = match priority {
            Priority::First => bound - bound / 4,
            Priority::Usual => bound,
            Priority::Last => bound.saturating_mul(2),
            Priority::Always => u32::MAX,
        };
        let late = self.too_late.load(Ordering::Relaxed)
            && matches!(priority, Priority::First | Priority::Usual);
        if now_in > mine || late {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            self.shed.fetch_add(1, Ordering::Relaxed);
            self.press();
            // Who is turned away proves that the bound was reached.
            self.peak.fetch_max(now_in, Ordering::Relaxed);
            self.adapt();
            return false;
        }
        self.peak.fetch_max(now_in, Ordering::Relaxed);
        true
    }

    /// A request that was let in has ended after so long.
    pub(crate) fn leave(&self, priority: Priority, took: Duration) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        // Only the usual ones tell of the load: a password takes its time however idle we are.
        if self.most > 0 && priority == Priority::Usual {
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            self.nanos.fetch_add(nanos, Ordering::Relaxed);
            self.ended.fetch_add(1, Ordering::Relaxed);
            self.adapt();
        }
    }

    /// A worker's event loop was so late.
    pub(crate) fn note_lag(&self, worker: u16, lag: Duration) {
        if self.most == 0 {
            return;
        }
        if lag > LATE {
            self.press();
            self.shrink();
        }
        // One worker speaks for all: they share the processor.
        if worker == 0 {
            self.too_late.store(lag > TOO_LATE, Ordering::Relaxed);
        }
    }

    fn press(&self) {
        let until = self.now().saturating_add(PRESSED);
        self.pressed_until.fetch_max(until, Ordering::Relaxed);
    }

    fn shrink(&self) {
        let bound = self.bound.load(Ordering::Relaxed);
        let less = (bound - bound / 10).max(LEAST.min(self.most));
        self.bound.store(less, Ordering::Relaxed);
    }

    /// Sets the bound anew, once each period.
    fn adapt(&self) {
        let now = self.now();
        let set_at = self.set_at.load(Ordering::Relaxed);
        if now < set_at.saturating_add(EVERY)
            || self
                .set_at
                .compare_exchange(set_at, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let ended = self.ended.swap(0, Ordering::Relaxed);
        let nanos = self.nanos.swap(0, Ordering::Relaxed);
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let peak = self.peak.swap(in_flight, Ordering::Relaxed);
        self.set_after(peak, nanos.checked_div(ended));
    }

    /// The rule itself: after a period with this `peak` and this mean time, in nanoseconds.
    fn set_after(&self, peak: u32, mean: Option<u64>) {
        let bound = self.bound.load(Ordering::Relaxed);
        if mean.is_some_and(|mean| mean > self.target) {
            // A few slow requests on an idle server are slow by themselves.
            if peak >= bound / 2 {
                self.press();
                self.shrink();
            }
        } else if peak >= bound && mean.is_some() {
            let more = bound.saturating_add((bound / 20).max(1)).min(self.most);
            self.bound.store(more, Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admission(most: usize) -> Admission {
        Admission::new(&LimitSettings {
            max_in_flight: most,
            ..LimitSettings::off()
        })
    }

    const TARGET: u64 = 250_000_000;

    #[test]
    fn the_least_important_are_turned_away_first_and_health_never() {
        let admission = admission(100);
        let let_in = |priority: Priority| {
            let mut count = 0;
            while count < 1000 && admission.enter(priority) {
                count += 1;
            }
            count
        };
        assert_eq!(let_in(Priority::First), 75);
        assert_eq!(let_in(Priority::Usual), 25);
        assert_eq!(let_in(Priority::Last), 100);
        assert_eq!(let_in(Priority::Always), 1000);
        assert_eq!(admission.load().shed, 3);
        assert!(admission.is_pressed());
        admission.leave(Priority::Always, Duration::ZERO);
        assert_eq!(admission.load().in_flight, 1199);
    }

    #[test]
    fn without_a_bound_all_are_let_in() {
        let admission = admission(0);
        assert!((0..10_000).all(|_| admission.enter(Priority::First)));
        assert_eq!(admission.load().bound, None);
        admission.note_lag(0, Duration::from_secs(9));
        assert!(!admission.is_pressed() && admission.enter(Priority::First));
    }

    #[test]
    fn the_bound_follows_the_time_requests_take() {
        let admission = admission(1000);
        let bound = || admission.load().bound;
        assert_eq!(bound(), Some(128));
        // It was reached, and they were quick.
        admission.set_after(128, Some(TARGET / 2));
        assert_eq!(bound(), Some(134));
        // It was not: there is nothing to learn.
        admission.set_after(50, Some(TARGET / 2));
        assert_eq!(bound(), Some(134));
        admission.set_after(134, Some(TARGET * 2));
        assert_eq!(bound(), Some(121));
        // A slow request on an idle server.
        admission.set_after(3, Some(TARGET * 9));
        assert_eq!(bound(), Some(121));
        for _ in 0..100 {
            admission.set_after(200, Some(TARGET * 2));
        }
        assert_eq!(bound(), Some(LEAST));
    }

    #[test]
    fn a_late_event_loop_lets_in_less_and_then_nothing_until_it_has_caught_up() {
        let admission = admission(1000);
        admission.note_lag(0, Duration::from_millis(150));
        assert_eq!(admission.load().bound, Some(116));
        assert!(admission.is_pressed() && admission.enter(Priority::Usual));
        admission.note_lag(0, Duration::from_millis(500));
        assert!(!admission.enter(Priority::Usual));
        assert!(admission.enter(Priority::Last) && admission.enter(Priority::Always));
        admission.note_lag(0, Duration::from_millis(1));
        assert!(admission.enter(Priority::Usual));
    }

    proptest! {
        #[test]
        fn the_bound_stays_within_its_own(
            periods in proptest::collection::vec((0_u32..5000, proptest::option::of(0..2 * TARGET)), 0..300),
            most in 1_usize..5000,
        ) {
            let admission = admission(most);
            for (peak, mean) in periods {
                admission.set_after(peak, mean);
                let bound = admission.load().bound.unwrap_or(0) as usize;
                prop_assert!(bound <= most && bound >= most.min(LEAST as usize));
            }
        }
    }
}
