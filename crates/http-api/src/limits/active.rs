//! How many users may be active at once: a ceiling that keeps those who are working from being
//! slowed down by more than the installation was made for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A user is active for five minutes after a request. In nanoseconds.
pub(crate) const ACTIVE: u64 = 300_000_000_000;
/// How often those who are not any more are forgotten, where there is no other reason to.
const SWEEP: u64 = 1_000_000_000;
/// Users that are remembered where there is no ceiling.
const MOST: usize = 1_000_000;

/// The users of the last five minutes, in this process.
#[derive(Debug)]
pub struct ActiveUsers {
    ceiling: usize,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    last: HashMap<u128, u64>,
    swept_at: u64,
}

impl Seen {
    fn sweep(&mut self, now: u64) {
        if now >= self.swept_at.saturating_add(SWEEP) {
            self.swept_at = now;
            self.last.retain(|_, last| *last + ACTIVE > now);
        }
    }
}

impl ActiveUsers {
    /// `ceiling` users at once; 0 is any number.
    pub(crate) fn new(ceiling: usize) -> Self {
        Self {
            ceiling,
            seen: Mutex::default(),
        }
    }

    /// Whether the user may act: they are active already, or there is room for one more.
    pub(crate) fn admit(&self, user: u128, now: u64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = seen.last.get_mut(&user)
            && *last + ACTIVE > now
        {
            *last = now;
            return true;
        }
        let most = if self.ceiling == 0 {
            MOST
        } else {
            self.ceiling
        };
        if seen.last.len() >= most {
            seen.sweep(now);
        }
        if seen.last.len() >= most {
            // Without a ceiling only the count suffers.
            return self.ceiling == 0;
        }
        seen.last.insert(user, now);
        true
    }

    /// How many are active.
    pub(crate) fn count(&self, now: u64) -> u64 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.sweep(now);
        seen.last.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_ceiling_refuses_who_is_new_and_never_who_is_active() {
        let users = ActiveUsers::new(2);
        assert!(users.admit(1, SECOND) && users.admit(2, SECOND));
        assert!(!users.admit(3, 2 * SECOND));
        assert!(users.admit(1, 200 * SECOND));
        assert_eq!(users.count(200 * SECOND), 2);
        // The second one has been away for five minutes: there is room.
        assert!(users.admit(3, 302 * SECOND));
        assert!(!users.admit(2, 303 * SECOND));
        assert_eq!(users.count(303 * SECOND), 2);
    }

    #[test]
    fn without_a_ceiling_all_are_counted() {
        let users = ActiveUsers::new(0);
        for user in 0..1000 {
            assert!(users.admit(user, SECOND));
        }
        assert_eq!(users.count(SECOND), 1000);
        assert_eq!(users.count(2 * ACTIVE), 0);
    }
}
