//! Connections that live with the worker that opened them.
//!
//! A connection is driven by a task on one runtime. Handed to a thread of another, each answer
//! would wake that thread across cores (measured: a p99 of 293 ms against 7 ms), so the pool is
//! split into [`Shard`]s, one for each runtime that asks (an actix worker is a runtime of its
//! own; the threads of a multi-thread runtime share one) and lane. A shard is a stack of idle
//! connections and a semaphore.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use kernel::{StoreError, metrics};
use tokio::runtime::{Handle, Id};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{timeout, timeout_at};

use crate::connect::{Conn, Connector};
use crate::error::unavailable;
use crate::name::Failure;

/// Who asks: jobs have connections of their own, so that neither starves the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Requests.
    Requests,
    /// Jobs and other background work.
    Jobs,
}

impl Lane {
    /// Its name in logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Jobs => "jobs",
        }
    }

    /// The same in metrics.
    pub(crate) const fn measured(self) -> metrics::Lane {
        match self {
            Self::Requests => metrics::Lane::Requests,
            Self::Jobs => metrics::Lane::Jobs,
        }
    }
}

/// The connections of one runtime and lane.
pub(crate) struct Shard {
    lane: Lane,
    runtime: Id,
    connector: Arc<Connector>,
    acquire_timeout: Duration,
    size: Size,
    idle: Mutex<Vec<Conn>>,
    permits: Semaphore,
    pending: AtomicU64,
}

/// How shards stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// Connections that wait for work.
    pub(crate) idle: u64,
    /// Connections that somebody works with, or is making.
    pub(crate) used: u64,
    /// Connections there may be.
    pub(crate) most: u64,
    /// Who waits for one.
    pub(crate) pending: u64,
}

impl std::ops::AddAssign for Standing {
    fn add_assign(&mut self, other: Self) {
        self.idle += other.idle;
        self.used += other.used;
        self.most += other.most;
        self.pending += other.pending;
    }
}

/// One who waits, counted for as long as this is kept.
struct Pending<'a>(&'a AtomicU64);

impl<'a> Pending<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many connections a shard has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// At most.
    pub(crate) most: usize,
    /// Kept, however long they idle.
    pub(crate) keep: usize,
}

/// A connection that somebody works with. Unless [`Lease::finish`] was called it is thrown
/// away: whatever it was doing may still be going on.
pub(crate) struct Lease {
    shard: Arc<Shard>,
    conn: Option<Conn>,
    finished: bool,
}

impl Shard {
    pub(crate) fn new(
        lane: Lane,
        runtime: Id,
        connector: Arc<Connector>,
        acquire_timeout: Duration,
        size: Size,
    ) -> Self {
        Self {
            lane,
            runtime,
            connector,
            acquire_timeout,
            size,
            idle: Mutex::new(Vec::with_capacity(size.most)),
            permits: Semaphore::new(size.most),
            pending: AtomicU64::new(0),
        }
    }

    /// Whether this shard serves that runtime and lane.
    pub(crate) fn serves(&self, lane: Lane, runtime: Id) -> bool {
        self.lane == lane && self.runtime == runtime
    }

    /// Whom it serves.
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    /// Its share of the pool's connections.
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// How it stands.
    pub(crate) fn standing(&self) -> Standing {
        let used = self
            .size
            .most
            .saturating_sub(self.permits.available_permits());
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Standing {
            idle: number(self.idle().len()),
            used: number(used),
            most: number(self.size.most),
            pending: self.pending.load(Ordering::Relaxed),
        }
    }

    /// Hands out an idle connection, or opens one, within the acquire timeout.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, StoreError> {
        let deadline = tokio::time::Instant::now() + self.acquire_timeout;
        if let Ok(permit) = self.permits.try_acquire() {
            permit.forget();
        } else {
            let _pending = Pending::new(&self.pending);
            timeout_at(deadline, self.permits.acquire())
                .await
                .ok()
                .and_then(Result::ok)
                .ok_or_else(|| unavailable("no connection was free in time"))?
                .forget();
        }
        // From here on the permit is the lease's, and comes back when it is dropped.
        let mut lease = Lease {
            shard: Arc::clone(self),
            conn: None,
            finished: false,
        };
        loop {
            let Some(conn) = self.idle().pop() else {
                break;
            };
            if !conn.is_closed() {
                lease.conn = Some(conn);
                return Ok(lease);
            }
        }
        timeout_at(deadline, lease.connected())
            .await
            .unwrap_or_else(|_| Err(unavailable("no connection was made in time")))
    }

    /// Closes what the server closed, and what was idle too long, beyond those kept.
    fn prune(&self, idle_timeout: Duration) {
        let now = Instant::now();
        // The stack's bottom is what was idle longest.
        let mut idle = self.idle();
        idle.retain(|conn| !conn.is_closed());
        let spare = idle.len().saturating_sub(self.size.keep);
        let old = idle
            .iter()
            .take(spare)
            .take_while(|conn| now.duration_since(conn.idle_since) >= idle_timeout)
            .count();
        let dropped: Vec<Conn> = idle.drain(..old).collect();
        drop(idle);
        drop(dropped);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Conn>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Opens a connection for itself, in a task of its own: where the caller gives up meanwhile,
    /// or has waited for its turn too long already, the connection is made nevertheless and
    /// serves the next. Were it dropped with the caller, impatient callers could keep a busy
    /// server without a single connection for ever.
    async fn connected(mut self) -> Result<Self, StoreError> {
        let (give, made) = oneshot::channel();
        Handle::current().spawn(async move {
            let patience = self.shard.acquire_timeout;
            let conn = timeout(patience, self.shard.connector.connect())
                .await
                .unwrap_or_else(|_| Err(unavailable("no connection was made in time")));
            let lease = conn.map(|conn| {
                self.conn = Some(conn);
                // Dropped on the way to a caller that is gone, it goes to the idle ones.
                self.finished = true;
                self
            });
            let _ = give.send(lease);
        });
        let mut lease = made
            .await
            .unwrap_or_else(|_| Err(unavailable("the runtime is ending")))?;
        lease.finished = false;
        Ok(lease)
    }

    /// The connection.
    pub(crate) fn conn(&self) -> Result<&Conn, StoreError> {
        self.conn
            .as_ref()
            .ok_or_else(|| unavailable("the connection is closed"))
    }

    /// Every answer was read: the connection may be used by the next, unless an answer told
    /// that the server is going away.
    pub(crate) fn finish<T, E: Failure>(mut self, answer: &Result<T, E>) {
        self.finished = match answer {
            Ok(_) => true,
            Err(error) => !matches!(error.of_store(), Some(StoreError::Unavailable(_))),
        };
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(mut conn) = self.conn.take()
            && !conn.is_closed()
        {
            if self.finished {
                conn.idle_since = Instant::now();
                self.shard.idle().push(conn);
            } else {
                self.shard.connector.abandon(conn);
            }
        }
        self.shard.permits.add_permits(1);
    }
}

/// Prunes a shard from time to time, on its own runtime; ends with the shard or the runtime,
/// and then tells `ended`.
pub(crate) fn keep_house(
    shard: &Arc<Shard>,
    idle_timeout: Duration,
    ended: impl FnOnce() + Send + 'static,
) {
    struct Ending<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for Ending<F> {
        fn drop(&mut self) {
            if let Some(ended) = self.0.take() {
                ended();
            }
        }
    }
    let pause = (idle_timeout / 4).clamp(Duration::from_millis(50), Duration::from_secs(30));
    let shard: Weak<Shard> = Arc::downgrade(shard);
    let ending = Ending(Some(ended));
    Handle::current().spawn(async move {
        let _ending = ending;
        loop {
            tokio::time::sleep(pause).await;
            let Some(shard) = shard.upgrade() else {
                break;
            };
            shard.prune(idle_timeout);
        }
    });
}
