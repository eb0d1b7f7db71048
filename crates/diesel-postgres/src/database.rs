//! [`Database`]: the one object that everything in this crate goes through.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use kernel::StoreError;
use tokio::runtime::{Handle, Id};

pub use crate::connect::AddressError;
use crate::connect::Connector;
use crate::error::failed;
use crate::pool::{Lane, Lease, Shard, keep_house};
use crate::sequencer::SequencerSignal;

/// How many connections there are and how long things may take.
#[derive(Clone)]
pub struct PoolSettings {
    /// Where PostgreSQL is: `postgres://user:password@host/database?sslmode=…`, or a host that
    /// is a folder (`?host=/run/postgresql`) for a unix socket.
    pub url: String,
    /// Connections of this process at most. Split among the shards, at least two each, so that
    /// many shards raise it.
    pub max_connections: usize,
    /// Idle connections that are kept however long they idle.
    pub keep: usize,
    /// How long to wait for a connection.
    pub acquire_timeout: Duration,
    /// How long a connection may idle.
    pub idle_timeout: Duration,
    /// From which duration on a query is told as slow.
    pub slow_query: Duration,
    /// How many runtimes will ask: the HTTP workers. Jobs have one shard beside these.
    pub shards: usize,
}

impl PoolSettings {
    /// 20 connections, of which 5 are kept, for one shard; 10 s to get one, 5 min idle, slow
    /// from 1 s on.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 20,
            keep: 5,
            acquire_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(5),
            slow_query: Duration::from_secs(1),
            shards: 1,
        }
    }
}

impl fmt::Debug for PoolSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address holds a password.
        f.debug_struct("PoolSettings")
            .field("max_connections", &self.max_connections)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

/// PostgreSQL, as everything in this crate reaches it. Cheap to clone; clones share the pool.
#[derive(Clone)]
pub struct Database {
    pool: Arc<Pool>,
    lane: Lane,
}

struct Pool {
    /// Distinguishes pools in the threads' memory of their shards.
    id: u64,
    settings: PoolSettings,
    connector: Arc<Connector>,
    shards: Mutex<Vec<Arc<Shard>>>,
    signal: SequencerSignal,
}

/// What a thread remembers of where it found its shard last.
struct Found {
    pool: u64,
    lane: Lane,
    runtime: Id,
    shard: Weak<Shard>,
}

thread_local! {
    static FOUND: RefCell<Vec<Found>> = const { RefCell::new(Vec::new()) };
}

static NEXT_POOL: AtomicU64 = AtomicU64::new(0);

impl Database {
    /// Reads the settings. Connects to nothing yet.
    pub fn new(settings: PoolSettings) -> Result<Self, AddressError> {
        let connector = Connector::new(&settings.url, settings.acquire_timeout)?;
        let pool = Pool {
            id: NEXT_POOL.fetch_add(1, Ordering::Relaxed),
            connector: Arc::new(connector),
            shards: Mutex::new(Vec::new()),
            signal: SequencerSignal::default(),
            settings,
        };
        let least = 2 * (pool.settings.shards.max(1) + 1);
        if least > pool.settings.max_connections {
            tracing::warn!(
                target: "acolhe::db",
                max_connections = pool.settings.max_connections,
                raised_to = least,
                "each worker and the jobs need two database connections"
            );
        }
        Ok(Self {
            pool: Arc::new(pool),
            lane: Lane::Requests,
        })
    }

    /// The same database through the jobs' own connections.
    #[must_use]
    pub fn for_jobs(&self) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            lane: Lane::Jobs,
        }
    }

    /// Given whenever events were committed through this database: wakes this node's sequencer.
    pub fn sequencer_signal(&self) -> SequencerSignal {
        self.pool.signal.clone()
    }

    /// Says that events were committed.
    pub(crate) fn committed_events(&self) {
        self.pool.signal.wake();
    }

    /// From which duration on a query is slow.
    pub(crate) fn slow_query(&self) -> Duration {
        self.pool.settings.slow_query
    }

    /// A connection of the present runtime's shard. Tells when that took long: it is the pool
    /// that is slow then, not the query that waits.
    pub(crate) async fn lease(&self) -> Result<Lease, StoreError> {
        let runtime = Handle::try_current()
            .map_err(|_| failed("the database was asked outside a runtime"))?
            .id();
        let began = Instant::now();
        let lease = self.shard(runtime).lease().await;
        let took = began.elapsed();
        if took >= self.slow_query() {
            tracing::warn!(
                target: "acolhe::db",
                lane = self.lane.name(),
                duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "slow to get a database connection"
            );
        }
        lease
    }

    fn shard(&self, runtime: Id) -> Arc<Shard> {
        FOUND.with_borrow_mut(|found| {
            let known = found.iter().find(|entry| {
                entry.pool == self.pool.id && entry.lane == self.lane && entry.runtime == runtime
            });
            if let Some(shard) = known.and_then(|entry| entry.shard.upgrade()) {
                return shard;
            }
            found.retain(|entry| entry.shard.strong_count() > 0);
            let shard = self.pool.shard(self.lane, runtime);
            found.push(Found {
                pool: self.pool.id,
                lane: self.lane,
                runtime,
                shard: Arc::downgrade(&shard),
            });
            shard
        })
    }
}

impl Pool {
    fn shards(&self) -> MutexGuard<'_, Vec<Arc<Shard>>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the shard of a runtime and lane, or makes it.
    fn shard(self: &Arc<Self>, lane: Lane, runtime: Id) -> Arc<Shard> {
        let mut shards = self.shards();
        if let Some(shard) = shards.iter().find(|shard| shard.serves(lane, runtime)) {
            return Arc::clone(shard);
        }
        let settings = &self.settings;
        let expected = settings.shards.max(1) + 1;
        if shards.len() >= expected {
            tracing::warn!(
                target: "acolhe::db",
                shards = shards.len() + 1,
                expected,
                "more runtimes ask for database connections than were expected"
            );
        }
        // What does not divide evenly goes to the requests' first shards.
        let extra = usize::from(
            lane == Lane::Requests && shards.len() < settings.max_connections % expected,
        );
        let most = (settings.max_connections / expected + extra).max(2);
        let shard = Arc::new(Shard::new(
            lane,
            runtime,
            Arc::clone(&self.connector),
            settings.acquire_timeout,
            most,
        ));
        shards.push(Arc::clone(&shard));
        drop(shards);
        let pool = Arc::downgrade(self);
        let keep = settings.keep.div_ceil(expected);
        keep_house(&shard, settings.idle_timeout, keep, move || {
            if let Some(pool) = pool.upgrade() {
                pool.shards().retain(|shard| !shard.serves(lane, runtime));
            }
        });
        shard
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}
