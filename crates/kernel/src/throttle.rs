//! Warnings that cannot flood a log: [`Throttle`].

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Different warnings that are told apart at most; further ones share one.
const MOST_KEYS: usize = 1024;
const SHARED: &str = "";

/// Lets each of several warnings through once in a window, and counts the others.
pub struct Throttle {
    window: Duration,
    told: Mutex<HashMap<String, Told>>,
}

struct Told {
    at: Instant,
    since: u64,
}

impl Throttle {
    /// One of each in so long a time.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            told: Mutex::default(),
        }
    }

    /// Whether to give the warning `key` now: with how many of it were kept back since the last.
    pub fn admit(&self, key: &str, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let key = if told.contains_key(key) || told.len() < MOST_KEYS {
            key
        } else {
            SHARED
        };
        match told.get_mut(key) {
            Some(last) if now.saturating_duration_since(last.at) < self.window => {
                last.since += 1;
                None
            }
            Some(last) => {
                last.at = now;
                Some(std::mem::take(&mut last.since))
            }
            None => {
                told.insert(key.to_owned(), Told { at: now, since: 0 });
                Some(0)
            }
        }
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_given_once_a_window_and_says_how_many_it_stands_for() {
        let throttle = Throttle::new(Duration::from_mins(1));
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(throttle.admit("slow", began), Some(0));
        assert_eq!(throttle.admit("slow", after(1)), None);
        assert_eq!(throttle.admit("lag", after(2)), Some(0));
        assert_eq!(throttle.admit("slow", after(59)), None);
        assert_eq!(throttle.admit("slow", after(60)), Some(2));
        assert_eq!(throttle.admit("slow", after(61)), None);
    }

    #[test]
    fn warnings_beyond_the_most_share_one() {
        let throttle = Throttle::new(Duration::from_mins(1));
        let now = Instant::now();
        for key in 0..MOST_KEYS {
            assert!(throttle.admit(&key.to_string(), now).is_some());
        }
        assert_eq!(throttle.admit("one more", now), Some(0));
        assert_eq!(throttle.admit("another", now), None);
    }
}
