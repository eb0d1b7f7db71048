//! [`RevocationList`]: what was revoked of late, so that a token is checked without asking the
//! store.
//!
//! A process hears of its own revocations at once and of all others by asking the store a few times
//! a second ([`RevocationList::follow`]). It vouches for what it knows only while its last successful
//! question was begun less than [`CURRENT_FOR`] ago; after that, and before the first, it says so,
//! and the store is asked for each request: a process that is cut off fails closed.
//!
//! Only what an access token could still be presented for is kept, so the list is short; if it ever
//! were not, the process says that it does not know, too.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use clinics::{Revocations, SessionUpkeep};
use kernel::{Clock, StoreError, SystemContext};
use uuid::Uuid;

use crate::tokens::LIFETIME;

/// For how long the answer of one question is vouched for, from when it was asked.
pub const CURRENT_FOR: Duration = Duration::from_secs(1);

/// How far the clocks of two nodes may differ.
const SKEW: Duration = Duration::from_mins(5);

/// Most revocations that are kept. Beyond it the store is asked instead.
const MOST: usize = 100_000;

/// What was revoked of late. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct RevocationList {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    revoked: RwLock<HashMap<Uuid, DateTime<Utc>>>,
    /// Goes up whenever something is revoked: what was checked at the present one needs no second
    /// look.
    epoch: AtomicU64,
    followed: Mutex<Followed>,
}

#[derive(Default)]
struct Followed {
    /// The store's own mark, to go on from.
    next: i64,
    /// When the last question was begun that was answered.
    asked: Option<Instant>,
    /// Something did not fit: nothing is known for certain until then.
    lost_until: Option<DateTime<Utc>>,
}

impl RevocationList {
    /// An empty one, which vouches for nothing until it was followed.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                revoked: RwLock::default(),
                epoch: AtomicU64::new(0),
                followed: Mutex::default(),
            }),
        }
    }

    /// Asks the store once what was revoked since the last time. One at a time: whoever runs the
    /// process calls it a few times a second.
    pub async fn follow(
        &self,
        store: &dyn SessionUpkeep,
        sys: &SystemContext,
    ) -> Result<(), StoreError> {
        let asked = Instant::now();
        let now = self.shared.clock.now();
        let oldest = now - kept();
        let since = self.followed(|followed| followed.next);
        let found = store.list_revocations(sys, since, oldest).await?;
        self.forget(oldest);
        self.note(&found.ids);
        self.followed(|followed| {
            // A store that was put back to an earlier state counts from there: read all of it.
            followed.next = if found.next < since { 0 } else { found.next };
            followed.asked = Some(asked);
            followed.lost_until = followed.lost_until.filter(|until| now < *until);
        });
        Ok(())
    }

    /// The number that goes up with each revocation.
    pub(crate) fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::Acquire)
    }

    /// Whether this was revoked, as far as this process knows.
    pub(crate) fn holds(&self, id: Uuid) -> bool {
        let revoked = self.shared.revoked.read();
        revoked
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(&id)
    }

    /// Drops what nobody can present a token of any more.
    fn forget(&self, oldest: DateTime<Utc>) {
        let revoked = self.shared.revoked.write();
        let mut revoked = revoked.unwrap_or_else(PoisonError::into_inner);
        revoked.retain(|_, at| oldest < *at);
    }

    fn followed<T>(&self, with: impl FnOnce(&mut Followed) -> T) -> T {
        let followed = self.shared.followed.lock();
        with(&mut followed.unwrap_or_else(PoisonError::into_inner))
    }
}

/// How long a revocation matters.
fn kept() -> TimeDelta {
    TimeDelta::from_std(LIFETIME + SKEW).unwrap_or_default()
}

impl Revocations for RevocationList {
    fn note(&self, ids: &[Uuid]) {
        let now = self.shared.clock.now();
        let revoked = self.shared.revoked.write();
        let mut revoked = revoked.unwrap_or_else(PoisonError::into_inner);
        let mut news = false;
        for id in ids {
            if revoked.len() >= MOST && !revoked.contains_key(id) {
                self.followed(|followed| followed.lost_until = Some(now + kept()));
                continue;
            }
            news |= revoked.insert(*id, now).is_none();
        }
        drop(revoked);
        if news {
            self.shared.epoch.fetch_add(1, Ordering::Release);
        }
    }

    fn are_current(&self) -> bool {
        self.followed(|followed| {
            let recent = followed
                .asked
                .is_some_and(|asked| asked.elapsed() < CURRENT_FOR);
            recent && followed.lost_until.is_none()
        })
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RevocationList")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use async_trait::async_trait;
    use clinics::ports::Revoked;
    use kernel::{Origin, RequestId, SystemPurpose};

    use super::*;
    use crate::SystemClock;

    /// Answers what it was told to, or fails.
    #[derive(Default)]
    struct Told {
        revoked: Mutex<Vec<Uuid>>,
        next: Mutex<i64>,
        asked_since: Mutex<Vec<i64>>,
        away: bool,
    }

    #[async_trait]
    impl SessionUpkeep for Told {
        async fn list_revocations(
            &self,
            _: &SystemContext,
            since: i64,
            _: DateTime<Utc>,
        ) -> Result<Revoked, StoreError> {
            self.asked_since.lock().unwrap().push(since);
            if self.away {
                return Err(StoreError::Corrupt("sessions.id"));
            }
            Ok(Revoked {
                ids: self.revoked.lock().unwrap().clone(),
                next: *self.next.lock().unwrap(),
            })
        }

        async fn prune(
            &self,
            _: &SystemContext,
            _: DateTime<Utc>,
            _: i32,
        ) -> Result<u64, StoreError> {
            Ok(0)
        }
    }

    fn list() -> RevocationList {
        RevocationList::new(Arc::new(SystemClock))
    }

    fn sys() -> SystemContext {
        let origin = Origin::internal(RequestId::from(Uuid::nil()));
        SystemContext::new(SystemPurpose::Login, origin)
    }

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[tokio::test]
    async fn a_list_vouches_for_a_second_after_it_asked_and_for_nothing_before_or_after() {
        let list = list();
        assert!(!list.are_current(), "nothing was asked yet");
        let away = Told {
            away: true,
            ..Told::default()
        };
        assert!(list.follow(&away, &sys()).await.is_err());
        assert!(!list.are_current(), "nothing was answered");
        list.follow(&Told::default(), &sys()).await.unwrap();
        assert!(list.are_current());
        list.followed(|followed| followed.asked = Instant::now().checked_sub(CURRENT_FOR));
        assert!(!list.are_current(), "a second ago");
        assert!(list.follow(&away, &sys()).await.is_err());
        assert!(!list.are_current(), "a failure confirms nothing");
    }

    #[tokio::test]
    async fn what_was_revoked_is_held_and_raises_the_epoch_once() {
        let (list, told) = (list(), Told::default());
        *told.revoked.lock().unwrap() = vec![id(1), id(2)];
        let before = list.epoch();
        list.follow(&told, &sys()).await.unwrap();
        assert!(list.holds(id(1)) && list.holds(id(2)) && !list.holds(id(3)));
        let after = list.epoch();
        assert!(after > before);
        list.follow(&told, &sys()).await.unwrap();
        assert_eq!(list.epoch(), after, "told again is no news");
        list.note(&[id(3)]);
        assert!(list.holds(id(3)) && list.epoch() > after);
    }

    #[tokio::test]
    async fn it_goes_on_where_the_store_said_and_begins_anew_when_that_went_back() {
        let (list, told) = (list(), Told::default());
        for (next, _) in [(10, 0), (25, 10), (7, 25), (8, 0)] {
            *told.next.lock().unwrap() = next;
            list.follow(&told, &sys()).await.unwrap();
        }
        list.follow(&told, &sys()).await.unwrap();
        assert_eq!(*told.asked_since.lock().unwrap(), [0, 10, 25, 0, 8]);
    }

    #[tokio::test]
    async fn a_list_that_is_full_says_that_it_does_not_know() {
        let list = list();
        list.follow(&Told::default(), &sys()).await.unwrap();
        let ids: Vec<Uuid> = (0..MOST).map(|number| id(number as u128)).collect();
        list.note(&ids);
        assert!(list.are_current());
        list.note(&[id(u128::MAX)]);
        assert!(!list.are_current());
        list.follow(&Told::default(), &sys()).await.unwrap();
        assert!(!list.are_current(), "it still does not");
    }
}
