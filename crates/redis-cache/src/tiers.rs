//! Two tiers for values of one type: the process' memory, bounded by bytes, then Redis. One reader
//! of a key at a time goes further than memory; the others wait for it.
//!
//! What lies in Redis is sealed for its clinic and bound to its key: it can neither be read there,
//! nor changed, nor moved to another key.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kernel::cache::{Filling, Found, Generation, Look, Policy, RawKey, policy};
use kernel::metrics::{CacheDomain, CacheOutcome, CacheTier, Measurement, Metrics};
use kernel::{ClinicId, KeyOwner, KeyPurpose, Keys};
use moka::Expiry;
use moka::sync::Cache;
use tokio::sync::watch;

use crate::fill::{Filler, Value};
use crate::generations::Generations;
use crate::link::RedisLink;

/// What a value in Redis begins with: the version of this form.
const FORM: u8 = 1;
/// Longer values are kept in the process alone.
const MOST_SHARED: usize = 512 * 1024;
/// How long a reader waits for another that reads the same; then it reads by itself.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// How values become bytes for Redis.
pub(crate) trait Codec: Send + Sync + 'static {
    type Value: Send + Sync + 'static;

    fn encode(value: &Self::Value) -> Vec<u8>;

    /// `None` for bytes that are no such value.
    fn decode(clinic: ClinicId, bytes: &[u8]) -> Option<Self::Value>;

    /// Bytes of memory that it takes.
    fn weight(value: &Self::Value) -> usize;
}

/// What both kinds of caches share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) generations: Arc<Generations>,
    pub(crate) on: Arc<AtomicBool>,
    pub(crate) keys: Arc<dyn Keys>,
    pub(crate) metrics: Arc<dyn Metrics>,
    pub(crate) redis: Option<(RedisLink, Filler)>,
    /// Sets apart what another build has kept.
    pub(crate) release: [u8; 32],
}

/// Where a value lies in memory. Clinic and generation stand in it as they are: no accident of
/// hashing shows one clinic another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    clinic: ClinicId,
    generation: i64,
    hash: (u64, u64),
}

struct Slot<T> {
    value: Arc<T>,
    weight: u32,
    lives: Duration,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            ..*self
        }
    }
}

struct Lives;

impl<T> Expiry<Place, Slot<T>> for Lives {
    fn expire_after_create(&self, _: &Place, slot: &Slot<T>, _: Instant) -> Option<Duration> {
        Some(slot.lives)
    }
}

type Outcome<T> = Option<Arc<T>>;

/// How a read that others wait for ends: `None` while it goes on, `Some(None)` where it found nothing.
type Ending<T> = watch::Receiver<Option<Outcome<T>>>;

/// The reads that go on.
type Flights<T> = Mutex<HashMap<Place, Ending<T>>>;

/// Where a value goes in memory, and for how long.
type Near<C> = (Cache<Place, Slot<<C as Codec>::Value>>, Place, Duration);

/// See the module's text.
pub(crate) struct Tiers<C: Codec> {
    common: Common,
    hashers: (RandomState, RandomState),
    near: Cache<Place, Slot<C::Value>>,
    flights: Arc<Flights<C::Value>>,
}

impl<C: Codec> Tiers<C> {
    /// With so many bytes of memory.
    pub(crate) fn new(common: Common, bytes: u64) -> Self {
        Self {
            common,
            hashers: (RandomState::new(), RandomState::new()),
            near: Cache::builder()
                .max_capacity(bytes)
                .weigher(|_: &Place, slot: &Slot<C::Value>| slot.weight)
                .expire_after(Lives)
                .build(),
            flights: Arc::default(),
        }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.near.weighted_size()
    }

    /// Nothing that was kept in memory is found again.
    pub(crate) fn forgetter(&self) -> impl Fn() + Send + Sync + 'static {
        let near = self.near.clone();
        move || near.invalidate_all()
    }

    /// Looks into memory. Never waits, and counts what it finds.
    pub(crate) fn look(&self, key: &RawKey<'_>) -> Look<C::Value> {
        let generation = if self.common.on.load(Ordering::Relaxed) {
            let generations = &self.common.generations;
            generations.generation(key.clinic(), key.domain())
        } else {
            None
        };
        let Some(generation) = generation else {
            self.count(key.domain(), CacheOutcome::Bypass);
            return Look::Bypass;
        };
        if let Some(slot) = self.near.get(&self.place(key, generation)) {
            self.count(key.domain(), CacheOutcome::HitL1);
            return Look::Hit(slot.value);
        }
        Look::Absent(generation)
    }

    /// Looks further, and counts what it finds.
    pub(crate) async fn find(&self, key: &RawKey<'_>, generation: Generation) -> Found<C::Value> {
        let found = self.search(key, generation).await;
        let outcome = match &found {
            Found::Hit(_, outcome) => *outcome,
            Found::Lead(_) | Found::Miss => CacheOutcome::Miss,
        };
        self.count(key.domain(), outcome);
        found
    }

    async fn search(&self, key: &RawKey<'_>, generation: Generation) -> Found<C::Value> {
        let place = self.place(key, generation);
        let lead = match self.join(place) {
            Ok(lead) => lead,
            Err(mut other) => {
                let ended = other.wait_for(Option::is_some);
                let ended = tokio::time::timeout(WAIT_FOR_OTHERS, ended).await;
                // It was given up, or takes long: no reason to wait longer, nor to make others.
                let value = ended
                    .ok()
                    .and_then(Result::ok)
                    .and_then(|value| value.clone());
                return value
                    .flatten()
                    .map_or(Found::Miss, |value| Found::Hit(value, CacheOutcome::HitL1));
            }
        };
        let text = self.common.redis.as_ref().map(|_| {
            let keys = self.common.keys.as_ref();
            key.text(keys, generation.position(), &self.common.release)
        });
        if let Some(text) = &text
            && let Some(value) = self.read_redis(key, text).await
        {
            lead.end(Some(Arc::clone(&value)));
            self.keep(place, key.domain(), Arc::clone(&value));
            return Found::Hit(value, CacheOutcome::HitL2);
        }
        Found::Lead(Box::new(Leading::<C> {
            lead,
            near: policy(key.domain()).l1.map(|lives| {
                (
                    self.near.clone(),
                    place,
                    Policy::jittered(lives, place.hash.0),
                )
            }),
            far: text.map(|text| Far {
                common: self.common.clone(),
                clinic: key.clinic(),
                lives: Policy::jittered(policy(key.domain()).l2, place.hash.1),
                text,
            }),
        }))
    }

    fn place(&self, key: &RawKey<'_>, generation: Generation) -> Place {
        Place {
            clinic: key.clinic(),
            generation: generation.position(),
            hash: (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key)),
        }
    }

    fn keep(&self, place: Place, domain: CacheDomain, value: Arc<C::Value>) {
        if let Some(lives) = policy(domain).l1 {
            let lives = Policy::jittered(lives, place.hash.0);
            self.near.insert(place, slot::<C>(value, lives));
        }
    }

    fn join(&self, place: Place) -> Result<Lead<C::Value>, Ending<C::Value>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = flights.get(&place) {
            return Err(other.clone());
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(place, receiver);
        Ok(Lead {
            place,
            sender,
            flights: Arc::clone(&self.flights),
        })
    }

    async fn read_redis(&self, key: &RawKey<'_>, text: &str) -> Option<Arc<C::Value>> {
        let (link, _) = self.common.redis.as_ref()?;
        if !link.is_up() {
            return None;
        }
        let answer: Result<Option<Vec<u8>>, _> = link.run(redis::cmd("GET").arg(text)).await;
        let Ok(sealed) = answer else {
            self.common.fault();
            return None;
        };
        let sealed = sealed?;
        let owner = KeyOwner::Clinic(key.clinic());
        let purpose = KeyPurpose::CacheValue;
        let opened = self
            .common
            .keys
            .open(owner, purpose, text.as_bytes(), &sealed);
        let value = opened.ok().and_then(|plain| match plain.split_first() {
            Some((&FORM, bytes)) => C::decode(key.clinic(), bytes),
            _ => None,
        });
        if value.is_none() {
            // Damaged, forged, or of keys that are gone.
            self.common.fault();
        }
        value.map(Arc::new)
    }

    fn count(&self, domain: CacheDomain, outcome: CacheOutcome) {
        let lookup = Measurement::CacheLookup(domain, outcome);
        self.common.metrics.record(lookup);
    }
}

impl<C: Codec> fmt::Debug for Tiers<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiers")
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

fn slot<C: Codec>(value: Arc<C::Value>, lives: Duration) -> Slot<C::Value> {
    let weight = size_of::<Place>() + size_of::<Slot<C::Value>>() + C::weight(&value);
    Slot {
        weight: u32::try_from(weight).unwrap_or(u32::MAX),
        value,
        lives,
    }
}

/// The read that others wait for. Dropped, it tells them that there is nothing.
struct Lead<T> {
    place: Place,
    sender: watch::Sender<Option<Outcome<T>>>,
    flights: Arc<Flights<T>>,
}

impl<T> Lead<T> {
    fn end(self, value: Outcome<T>) {
        self.sender.send_replace(Some(value));
    }
}

impl<T> Drop for Lead<T> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(&self.place);
        drop(flights);
        self.sender.send_if_modified(|state| {
            let going_on = state.is_none();
            if going_on {
                *state = Some(None);
            }
            going_on
        });
    }
}

struct Leading<C: Codec> {
    lead: Lead<C::Value>,
    near: Option<Near<C>>,
    far: Option<Far>,
}

/// Where a value goes in Redis.
struct Far {
    common: Common,
    clinic: ClinicId,
    text: String,
    lives: Duration,
}

impl<C: Codec> Filling<C::Value> for Leading<C> {
    fn fill(self: Box<Self>, value: Arc<C::Value>) {
        if let Some((near, place, lives)) = self.near {
            near.insert(place, slot::<C>(Arc::clone(&value), lives));
        }
        if let Some(far) = self.far {
            far.fill(|| C::encode(&value));
        }
        self.lead.end(Some(value));
    }
}

impl Far {
    fn fill(self, encode: impl FnOnce() -> Vec<u8>) {
        let Some((link, filler)) = &self.common.redis else {
            return;
        };
        if !link.is_up() || filler.is_full() {
            return;
        }
        let mut plain = vec![FORM];
        plain.extend_from_slice(&encode());
        if plain.len() > MOST_SHARED {
            return;
        }
        let owner = KeyOwner::Clinic(self.clinic);
        let keys = &self.common.keys;
        let sealed = keys.seal(owner, KeyPurpose::CacheValue, self.text.as_bytes(), &plain);
        filler.put(Value {
            key: self.text,
            sealed,
            lives: self.lives,
        });
    }
}

impl Common {
    fn fault(&self) {
        self.metrics.record(Measurement::CacheFault(CacheTier::L2));
    }
}
