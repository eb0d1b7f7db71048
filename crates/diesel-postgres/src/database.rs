//! [`Database`]: the one object that everything in this crate goes through.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use kernel::metrics::{self, Measurement};
use kernel::stream::{StreamSink, Topics};
use kernel::{ClinicId, Metrics, NoMetrics, StoreError, Throttle};
use tokio::runtime::{Handle, Id};

pub use crate::connect::AddressError;
use crate::connect::Connector;
use crate::error::failed;
use crate::pool::{Lane, Lease, Shard, Size, Standing, keep_house};
use crate::sequencer::SequencerSignal;

/// How many connections there are and how long things may take.
#[derive(Clone)]
pub struct PoolSettings {
    /// Where PostgreSQL is: `postgres://user:password@host/database?sslmode=…`, or a host that
    /// is a folder (`?host=/run/postgresql`) for a unix socket.
    pub url: String,
    /// Connections of this process at most, with those beside the pool. Split among the shards,
    /// at least two each, so that many shards raise it.
    pub max_connections: usize,
    /// Connections that this process has beside the pool: the sequencer's.
    pub beside: usize,
    /// Idle connections that are kept however long they idle, in all. Fewer than there are
    /// shards leave some shards without one.
    pub keep: usize,
    /// How long to wait for a connection.
    pub acquire_timeout: Duration,
    /// How long a unit of work may take from its first statement to its commit. Longer, and it
    /// is given up with its connection: a database that hangs must not hang its callers. Jobs
    /// may take four times as long.
    pub answer_timeout: Duration,
    /// How long a connection may idle.
    pub idle_timeout: Duration,
    /// From which duration on a query is told as slow.
    pub slow_query: Duration,
    /// How many runtimes will ask: the HTTP workers. Jobs have one shard beside these.
    pub shards: usize,
    /// A query that is slow again and again is told once in so long a time.
    pub warning_window: Duration,
    /// Where measurements go.
    pub metrics: Arc<dyn Metrics>,
}

impl PoolSettings {
    /// 20 connections, none of them beside the pool, of which 5 are kept, for one shard; 10 s to get one, 15 s for a unit of work, 5 min idle, slow
    /// from 1 s on.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 20,
            beside: 0,
            keep: 5,
            acquire_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_mins(5),
            slow_query: Duration::from_secs(1),
            shards: 1,
            warning_window: Duration::from_mins(1),
            metrics: Arc::new(NoMetrics),
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
    /// What is slow, by name.
    slow: Throttle,
    /// Who else is told of what was committed.
    sink: OnceLock<Arc<dyn StreamSink>>,
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
            slow: Throttle::new(settings.warning_window),
            sink: OnceLock::new(),
            settings,
        };
        let least = 2 * pool.expected() + pool.settings.beside;
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

    /// Tells `sink` from now on of the events that are committed through this database, before
    /// whoever committed them has the answer. The first one stays.
    pub fn tell(&self, sink: Arc<dyn StreamSink>) {
        // An error means that there is one already.
        let _ = self.pool.sink.set(sink);
    }

    /// Says that events of `clinic` were committed, where `topics` are not none.
    pub(crate) fn committed_events(&self, clinic: ClinicId, topics: Topics) {
        if topics == Topics::NONE {
            return;
        }
        if let Some(sink) = self.pool.sink.get() {
            sink.committed(clinic, topics);
        }
        self.pool.signal.wake();
    }

    /// How long a unit of work may take.
    pub(crate) fn answer_timeout(&self) -> Duration {
        let timeout = self.pool.settings.answer_timeout;
        match self.lane {
            Lane::Requests => timeout,
            Lane::Jobs => timeout.saturating_mul(4),
        }
    }

    /// From which duration on a query is slow.
    pub(crate) fn slow_query(&self) -> Duration {
        self.pool.settings.slow_query
    }

    /// Where measurements go.
    pub(crate) fn metrics(&self) -> &dyn Metrics {
        self.pool.settings.metrics.as_ref()
    }

    /// Whether to tell that `what` was slow: with how often it was so untold.
    pub(crate) fn tell_slow(&self, what: &str) -> Option<u64> {
        self.pool.slow.admit(what, Instant::now())
    }

    /// Measures how the pool stands: connections and those who wait for one, by lane.
    pub fn measure_pool(&self) {
        for (lane, measured) in [
            (Lane::Requests, metrics::Lane::Requests),
            (Lane::Jobs, metrics::Lane::Jobs),
        ] {
            let mut sum = Standing::default();
            for shard in self.pool.shards().iter().filter(|it| it.lane() == lane) {
                sum += shard.standing();
            }
            self.metrics().record(Measurement::Connections {
                lane: measured,
                idle: sum.idle,
                used: sum.used,
                max: sum.most,
                pending: sum.pending,
            });
        }
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
        let lane = self.lane.measured();
        match &lease {
            Ok(_) => self
                .metrics()
                .record(Measurement::ConnectionWait(lane, took)),
            Err(_) if took >= self.pool.settings.acquire_timeout => {
                self.metrics().record(Measurement::ConnectionTimeout(lane));
            }
            // PostgreSQL refused: no connection was waited for.
            Err(_) => {}
        }
        if took >= self.slow_query()
            && let Some(suppressed) = self.tell_slow(self.lane.name())
        {
            tracing::warn!(
                target: "acolhe::db",
                suppressed,
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
    /// How many shards there should be: one for each runtime that asks, and the jobs'.
    fn expected(&self) -> usize {
        self.settings.shards.max(1) + 1
    }

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
        let expected = self.expected();
        if shards.len() >= expected {
            tracing::warn!(
                target: "acolhe::db",
                shards = shards.len() + 1,
                expected,
                "more runtimes ask for database connections than were expected"
            );
        }
        let pooled = settings.max_connections.saturating_sub(settings.beside);
        let size = Size {
            most: share(pooled, expected, lane, &shards, |size| size.most).max(2),
            keep: share(settings.keep, expected, lane, &shards, |size| size.keep),
        };
        let shard = Arc::new(Shard::new(
            lane,
            runtime,
            Arc::clone(&self.connector),
            settings.acquire_timeout,
            size,
        ));
        shards.push(Arc::clone(&shard));
        drop(shards);
        let pool = Arc::downgrade(self);
        keep_house(&shard, settings.idle_timeout, move || {
            if let Some(pool) = pool.upgrade() {
                pool.shards().retain(|shard| !shard.serves(lane, runtime));
            }
        });
        shard
    }
}

/// What a new shard gets of `total`, which is split evenly among the `expected`. What does not
/// divide goes to requests, one to each of their shards until none is left.
fn share(
    total: usize,
    expected: usize,
    lane: Lane,
    present: &[Arc<Shard>],
    of: impl Fn(Size) -> usize,
) -> usize {
    let (even, left) = (total / expected, total % expected);
    let given = present
        .iter()
        .filter(|shard| shard.lane() == Lane::Requests && of(shard.size()) > even)
        .count();
    even + usize::from(lane == Lane::Requests && given < left)
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// The sizes of all shards of a process with so many workers; the jobs' is made at `jobs_at`.
    fn sizes(workers: usize, jobs_at: usize, change: impl FnOnce(&mut PoolSettings)) -> Vec<Size> {
        let mut settings = PoolSettings::new("postgres://acolhe_app@127.0.0.1:1/none");
        settings.shards = workers;
        change(&mut settings);
        let db = Database::new(settings).unwrap();
        let runtimes: Vec<Runtime> = (0..=workers).map(|_| runtime()).collect();
        let sizes = runtimes.iter().enumerate().map(|(at, runtime)| {
            let db = if at == jobs_at {
                db.for_jobs()
            } else {
                db.clone()
            };
            runtime.block_on(async { db.shard(Handle::current().id()).size() })
        });
        sizes.collect()
    }

    #[test]
    fn shards_have_together_what_was_agreed() {
        for workers in [1, 2, 3, 4, 7, 8, 16, 32] {
            for jobs_at in [0, workers] {
                let sizes = sizes(workers, jobs_at, |settings| settings.beside = 1);
                let kept: usize = sizes.iter().map(|size| size.keep).sum();
                assert_eq!(kept, 5, "{workers}: {sizes:?}");
                let most: usize = sizes.iter().map(|size| size.most).sum();
                assert_eq!(most, 19.max(2 * (workers + 1)), "{workers}: {sizes:?}");
                assert!(sizes.iter().all(|size| size.most >= 2));
            }
        }
    }

    #[test]
    fn a_shard_that_comes_in_the_place_of_another_gets_its_share() {
        let mut settings = PoolSettings::new("postgres://acolhe_app@127.0.0.1:1/none");
        settings.shards = 2;
        let db = Database::new(settings).unwrap();
        let shard =
            |runtime: &Runtime| runtime.block_on(async { db.shard(Handle::current().id()).size() });
        let (one, other) = (runtime(), runtime());
        let (first, second) = (shard(&one), shard(&other));
        assert_eq!((first.most, second.most), (7, 7));
        drop(one);
        assert_eq!(shard(&runtime()), first);
    }
}
