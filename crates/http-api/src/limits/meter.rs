//! The counting itself: one bucket for each key, in bounded memory and without waiting for anybody.
//!
//! A bucket holds its quota and fills evenly (GCRA), so that nobody ever takes more of one node than
//! the quota and what flows in meanwhile. Where the nodes share counters, units are leased from them
//! in blocks, ahead and beside: a request takes from the block in hand, or on credit, and never waits.
//! Together n nodes exceed the quota by what is in hand and on credit at most, n × (block + credit):
//! a twentieth and a tenth of the quota each, and at least [`LEAST_CREDIT`].
//!
//! Time is given in nanoseconds since any beginning.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kernel::counter::{Lease, Quota};

const SHARDS: usize = 64;
/// Units on credit, however small the quota: a page that asks for much at once is not refused
/// because an answer is under way.
const LEAST_CREDIT: u32 = 10;
/// What was leased and not used by then is given up: it must not be spent in a later window.
const LEASE: u64 = 2_000_000_000;
/// An answer that took longer is no longer waited for.
const PATIENCE: u64 = 250_000_000;
/// How often a full shard is swept.
const SWEEP: u64 = 100_000_000;

/// A key: whatever 128 bits tell apart.
pub(crate) type Key = u128;

/// Who else counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Together {
    /// This node alone, with its part of the quota.
    Alone,
    /// All nodes, through shared counters.
    Shared,
}

/// What became of a request for units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// How long to wait where it is refused.
    pub(crate) wait: Option<Duration>,
    /// Units left.
    pub(crate) left: u32,
    /// Until the bucket is full again.
    pub(crate) full_in: Duration,
    /// What to ask the shared counters for now.
    pub(crate) ask: Option<Ask>,
}

/// A question to the shared counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Units taken on credit.
    pub(crate) owed: u32,
    /// Units wanted in hand.
    pub(crate) wanted: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// When it is full again.
    full_at: u64,
    /// Units in hand; below zero, on credit.
    credit: i64,
    /// Until when those in hand are good.
    good_until: u64,
    /// When the shared counters were asked; 0 when no answer is awaited.
    asked_at: u64,
    /// The shared counters have none until then.
    none_until: u64,
    /// What they had left, and when.
    left: u32,
    told_at: u64,
}

#[derive(Debug, Default)]
struct Shard {
    buckets: HashMap<Key, Bucket>,
    /// Of everybody for whom there was no room.
    crowd: Bucket,
    swept_at: u64,
}

/// The buckets of one limit.
#[derive(Debug)]
pub(crate) struct Meter {
    shards: Box<[Mutex<Shard>]>,
    /// Keys each shard holds at most.
    room: usize,
    hasher: RandomState,
}

impl Meter {
    /// For at most `keys` at a time. Those beyond share a bucket.
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            room: keys.div_ceil(SHARDS),
            hasher: RandomState::new(),
        }
    }

    /// Takes `units` of the key's bucket, all or none.
    pub(crate) fn take(
        &self,
        key: Key,
        units: u32,
        quota: Quota,
        together: Together,
        now: u64,
    ) -> Verdict {
        self.with(key, now, |bucket| bucket.take(units, quota, together, now))
    }

    /// The shared counters answered, or failed to.
    pub(crate) fn settle(&self, key: Key, ask: Ask, answer: Option<Lease>, now: u64) {
        self.with(key, now, |bucket| bucket.settle(ask, answer, now));
    }

    fn with<T>(&self, key: Key, now: u64, act: impl FnOnce(&mut Bucket) -> T) -> T {
        let hash = self.hasher.hash_one(key);
        let at = usize::try_from(hash >> 32).unwrap_or(0) % SHARDS;
        let Some(shard) = self.shards.get(at) else {
            return act(&mut Bucket::default());
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let shard = &mut *shard;
        if shard.buckets.len() >= self.room && !shard.buckets.contains_key(&key) {
            if now >= shard.swept_at + SWEEP {
                shard.swept_at = now;
                shard.buckets.retain(|_, bucket| !bucket.is_idle(now));
            }
            if shard.buckets.len() >= self.room {
                return act(&mut shard.crowd);
            }
        }
        act(shard.buckets.entry(key).or_default())
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let lens = self
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().buckets.len());
        lens.sum()
    }
}

fn block(quota: Quota) -> u32 {
    (quota.units() / 20).max(1)
}

fn most_credit(quota: Quota) -> u32 {
    (quota.units() / 10).max(LEAST_CREDIT)
}

impl Bucket {
    /// Whether forgetting it changes nothing.
    fn is_idle(&self, now: u64) -> bool {
        self.full_at <= now
            && self.none_until <= now
            && self.credit >= 0
            && (self.credit == 0 || self.good_until <= now)
    }

    fn take(&mut self, units: u32, quota: Quota, together: Together, now: u64) -> Verdict {
        let (interval, whole) = (quota.interval(), quota.nanos());
        let full_at = self
            .full_at
            .max(now)
            .saturating_add(interval.saturating_mul(u64::from(units)));
        let over = (full_at - now).saturating_sub(whole);
        if over > 0 {
            return self.refuse(over, quota, now);
        }
        let mut ask = None;
        if together == Together::Shared {
            if self.none_until > now {
                return self.refuse(self.none_until - now, quota, now);
            }
            if self.credit > 0 && self.good_until <= now {
                self.credit = 0;
            }
            if self.asked_at > 0 && now > self.asked_at + PATIENCE {
                self.asked_at = 0;
            }
            let credit = self.credit - i64::from(units);
            if credit < -i64::from(most_credit(quota)) {
                return self.refuse(interval, quota, now);
            }
            self.credit = credit;
            let block = block(quota);
            if self.asked_at == 0 && credit < i64::from(block.div_ceil(2)) {
                self.asked_at = now.max(1);
                ask = Some(Ask {
                    owed: u32::try_from(-credit).unwrap_or(0),
                    wanted: block,
                });
            }
        }
        self.full_at = full_at;
        Verdict {
            wait: None,
            ask,
            ..self.look(quota, now)
        }
    }

    fn refuse(&self, nanos: u64, quota: Quota, now: u64) -> Verdict {
        Verdict {
            wait: Some(Duration::from_nanos(nanos)),
            left: 0,
            ..self.look(quota, now)
        }
    }

    fn look(&self, quota: Quota, now: u64) -> Verdict {
        let (interval, whole) = (quota.interval(), quota.nanos());
        let ahead = self.full_at.saturating_sub(now);
        let room = whole.saturating_sub(ahead);
        let mut left = u32::try_from(room / interval).unwrap_or(u32::MAX);
        if self.told_at > 0 {
            let since = now.saturating_sub(self.told_at) / interval;
            let everybody = i64::from(self.left)
                .saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
                .saturating_add(self.credit)
                .max(0);
            left = left.min(u32::try_from(everybody).unwrap_or(u32::MAX));
        }
        let wait = (ahead + interval)
            .saturating_sub(whole)
            .max(self.none_until.saturating_sub(now));
        Verdict {
            wait: (wait > 0).then_some(Duration::from_nanos(wait)),
            left,
            full_in: Duration::from_nanos(ahead),
            ask: None,
        }
    }

    fn settle(&mut self, ask: Ask, answer: Option<Lease>, now: u64) {
        self.asked_at = 0;
        // Counted there, or forgotten with counters that are gone: this node's own bucket counted it.
        self.credit += i64::from(ask.owed);
        let Some(lease) = answer else { return };
        self.credit += i64::from(lease.granted);
        self.good_until = now.saturating_add(LEASE);
        self.left = lease.left;
        self.told_at = now.max(1);
        if lease.granted == 0 && self.credit <= 0 {
            let wait = u64::try_from(lease.retry_after.as_nanos()).unwrap_or(u64::MAX);
            self.none_until = now.saturating_add(wait);
        }
    }
}

#[cfg(test)]
#[path = "meter_tests.rs"]
mod tests;
