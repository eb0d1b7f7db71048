//! How things stand: of each clinic and domain the position of its last event, in this process'
//! memory, and whether that may be believed.
//!
//! Told by whoever follows the stream ([`StreamSink`]). What is believed, and why it is right:
//!
//! 1. An answer of the stream holds for the instant its poll *began*: what was committed before that
//!    is either moved (and in it) or still pending (and in it as such). When the last such instant is
//!    [`BELIEVED_FOR`] ago, nothing is believed: no reader is shown what was overwritten longer ago.
//! 2. A topic with pending events is not believed: its position is about to change.
//! 3. A topic that this process changed is not believed until a poll that began afterwards was
//!    answered: who writes sees what they wrote at once.
//! 4. A clinic is known once a poll that asked for it was answered. Until then it is not believed.
//! 5. After a gap all is forgotten.
//!
//! Not to believe costs a read of the store, never a wrong answer.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use kernel::ClinicId;
use kernel::cache::{Generation, policy};
use kernel::metrics::CacheDomain;
use kernel::stream::{PollAnswer, PollStart, StreamSink, Topic, Topics};

/// How long an answer of the stream is believed, from the beginning of its poll. A second is
/// promised; the rest is for the answer's way.
pub const BELIEVED_FOR: Duration = Duration::from_millis(900);

const SHARDS: usize = 16;
const TOPICS: usize = Topic::ALL.len();

/// The positions, shared by all that caches.
pub struct Generations {
    began: Instant,
    shards: [RwLock<HashMap<ClinicId, Arc<Known>>>; SHARDS],
    hasher: RandomState,
    polls_begun: AtomicU64,
    polls_ended: AtomicU64,
    /// The number of the poll that began last, and when. Polls of one follower never overlap.
    asking: Mutex<(u64, u64)>,
    /// When the last poll with a live answer began, in milliseconds since `began` and one more; 0
    /// before the first.
    confirmed: AtomicU64,
    wanted: Mutex<Vec<ClinicId>>,
    /// Clinics that had pending events at the last poll.
    had_pending: Mutex<Vec<Arc<Known>>>,
    /// Since when polls count: those that began before the last gap do not.
    epoch_poll: AtomicU64,
    wake: Box<dyn Fn() + Send + Sync>,
    forget: Box<dyn Fn() + Send + Sync>,
}

/// What is known of a clinic.
#[derive(Default)]
struct Known {
    loaded: AtomicBool,
    positions: [AtomicI64; TOPICS],
    pending: AtomicU16,
    /// Not believed before the poll of this number has ended.
    changed: [AtomicU64; TOPICS],
}

impl Generations {
    /// Nothing is known yet. `wake` is called when the stream should be asked soon, `forget` when
    /// what was kept under earlier positions must not be found again.
    pub fn new(
        wake: impl Fn() + Send + Sync + 'static,
        forget: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            began: Instant::now(),
            shards: Default::default(),
            hasher: RandomState::new(),
            polls_begun: AtomicU64::new(0),
            polls_ended: AtomicU64::new(0),
            asking: Mutex::default(),
            confirmed: AtomicU64::new(0),
            wanted: Mutex::default(),
            had_pending: Mutex::default(),
            epoch_poll: AtomicU64::new(0),
            wake: Box::new(wake),
            forget: Box::new(forget),
        }
    }

    /// How `domain` stands in `clinic`; `None` where nothing may be believed.
    pub fn generation(&self, clinic: ClinicId, domain: CacheDomain) -> Option<Generation> {
        self.generation_at(self.now(), clinic, domain)
    }

    /// Whether the stream was heard of within [`BELIEVED_FOR`].
    pub fn is_following(&self) -> bool {
        self.believes(self.now())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn believes(&self, now: u64) -> bool {
        let confirmed = self.confirmed.load(Ordering::Acquire);
        let most = u64::try_from(BELIEVED_FOR.as_millis()).unwrap_or(u64::MAX);
        confirmed != 0 && now.saturating_sub(confirmed) <= most
    }

    /// The same at an instant that the caller tells.
    pub(crate) fn generation_at(
        &self,
        now: u64,
        clinic: ClinicId,
        domain: CacheDomain,
    ) -> Option<Generation> {
        if !self.believes(now) {
            return None;
        }
        let Some(known) = self.known(clinic) else {
            self.want(clinic);
            return None;
        };
        if !known.loaded.load(Ordering::Acquire) {
            return None;
        }
        let topics = policy(domain).dropped_by;
        // Read before the positions: whoever sees that a poll has ended sees what it brought.
        let ended = self.polls_ended.load(Ordering::Acquire);
        if known.pending.load(Ordering::Acquire) & topics.bits() != 0 {
            return None;
        }
        let mut position = 0;
        for topic in topics.iter() {
            let at = topic as usize;
            if known.changed[at].load(Ordering::Acquire) > ended {
                return None;
            }
            position = position.max(known.positions[at].load(Ordering::Acquire));
        }
        Some(Generation::at(position))
    }

    fn shard(&self, clinic: ClinicId) -> &RwLock<HashMap<ClinicId, Arc<Known>>> {
        let hash = self.hasher.hash_one(clinic);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    fn known(&self, clinic: ClinicId) -> Option<Arc<Known>> {
        let shard = self
            .shard(clinic)
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        shard.get(&clinic).cloned()
    }

    fn want(&self, clinic: ClinicId) {
        let mut shard = self
            .shard(clinic)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if shard.contains_key(&clinic) {
            return;
        }
        shard.insert(clinic, Arc::default());
        drop(shard);
        self.wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(clinic);
        (self.wake)();
    }

    pub(crate) fn poll_begins_at(&self, now: u64) -> PollStart {
        let number = self.polls_begun.fetch_add(1, Ordering::AcqRel) + 1;
        *self.asking.lock().unwrap_or_else(PoisonError::into_inner) = (number, now);
        let wanted =
            std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        PollStart { number, wanted }
    }

    fn take_answer(&self, answer: &PollAnswer) {
        let (asked, began) = *self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if answer.number != asked || answer.number <= self.epoch_poll.load(Ordering::Acquire) {
            return;
        }
        for (clinic, topic, position) in &answer.moved {
            if let Some(known) = self.known(*clinic) {
                known.positions[*topic as usize].fetch_max(*position, Ordering::AcqRel);
            }
        }
        if !answer.live {
            // It may not be whole: what it does not tell as pending may be so. Ask again.
            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.extend(&answer.wanted);
            return;
        }
        self.note_pending(answer);
        for clinic in &answer.wanted {
            if let Some(known) = self.known(*clinic) {
                known.loaded.store(true, Ordering::Release);
            }
        }
        self.polls_ended.fetch_max(answer.number, Ordering::AcqRel);
        self.confirmed.fetch_max(began, Ordering::AcqRel);
    }

    fn note_pending(&self, answer: &PollAnswer) {
        let mut masks: HashMap<ClinicId, Topics> = HashMap::new();
        for (clinic, topic) in &answer.pending {
            let mask = masks.entry(*clinic).or_default();
            *mask = mask.with(*topic);
        }
        let mut had = self
            .had_pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *had);
        let mut now = Vec::new();
        for (clinic, mask) in masks {
            if let Some(known) = self.known(clinic) {
                known.pending.store(mask.bits(), Ordering::Release);
                now.push(known);
            }
        }
        for known in before {
            if !now.iter().any(|still| Arc::ptr_eq(still, &known)) {
                known.pending.store(0, Ordering::Release);
            }
        }
        *had = now;
    }
}

impl StreamSink for Generations {
    fn committed(&self, clinic: ClinicId, topics: Topics) {
        let Some(known) = self.known(clinic) else {
            // Whoever asks for it first makes a poll begin after this.
            return;
        };
        let next = self.polls_begun.load(Ordering::Acquire) + 1;
        for topic in topics.iter() {
            known.changed[topic as usize].fetch_max(next, Ordering::AcqRel);
        }
        (self.wake)();
    }

    fn reset(&self) {
        self.confirmed.store(0, Ordering::Release);
        self.epoch_poll
            .store(self.polls_begun.load(Ordering::Acquire), Ordering::Release);
        for shard in &self.shards {
            shard
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
        }
        self.wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.had_pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        (self.forget)();
    }

    fn poll_begins(&self) -> PollStart {
        self.poll_begins_at(self.now())
    }

    fn poll_ended(&self, answer: PollAnswer) {
        self.take_answer(&answer);
    }
}

impl fmt::Debug for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generations")
            .field("following", &self.is_following())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
