//! What was measured, read back by the operators' views: [`MetricsView`].

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::labels::{CacheDomain, JobOutcome, JobState, Lane, Method, Window};
use crate::ClinicId;
use crate::job::Queue;

/// Reads what this process has measured.
pub trait MetricsView: Send + Sync {
    /// All of it, as it stands. Windows end at `at`, less at most five seconds.
    fn snapshot(&self, at: DateTime<Utc>) -> Snapshot;

    /// All metrics as text for Prometheus (exposition format 0.0.4).
    fn prometheus(&self) -> String;
}

/// What happened within a window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WindowView {
    /// How often.
    pub count: u64,
    /// How many of these failed by our fault (5xx; a failed query).
    pub failed: u64,
    /// Mean duration.
    pub mean: Duration,
    /// Half took no longer. Quantiles are exact to a sixteenth of their value.
    pub p50: Duration,
    /// All but one in twenty took no longer.
    pub p95: Duration,
    /// All but one in a hundred took no longer.
    pub p99: Duration,
}

/// One operation of the API.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationView {
    /// Its method.
    pub method: Method,
    /// The pattern of its route.
    pub route: String,
    /// Since the process began.
    pub total: u64,
    /// One for each of [`Window::ALL`].
    pub windows: [WindowView; 3],
}

/// One query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryView {
    /// `db.<entity>.<verb>`.
    pub name: String,
    /// Since the process began.
    pub total: u64,
    /// One for each of [`Window::ALL`].
    pub windows: [WindowView; 3],
}

/// One domain of the cache, since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheView {
    /// Which.
    pub domain: CacheDomain,
    /// Found in the process.
    pub hits_l1: u64,
    /// Found in Redis.
    pub hits_l2: u64,
    /// Found nowhere.
    pub misses: u64,
    /// Not looked for.
    pub bypasses: u64,
}

/// One lane of the database's pool, as last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolView {
    /// Which.
    pub lane: Lane,
    /// Connections that wait for work.
    pub idle: u64,
    /// Connections that somebody works with.
    pub used: u64,
    /// How many there may be.
    pub max: u64,
    /// Units of work that wait for one.
    pub pending: u64,
    /// Units of work that got none in time, since the process began.
    pub timeouts: u64,
}

/// One queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueView {
    /// Which.
    pub queue: Queue,
    /// Jobs in each of [`JobState::ALL`], of all processes, as last counted.
    pub counts: [(JobState, u64); 4],
    /// For how long the oldest has been due.
    pub oldest: Duration,
    /// Attempts of this process by outcome, since it began.
    pub outcomes: [(JobOutcome, u64); 4],
}

/// One of the busiest clinics, within the last hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClinicView {
    /// Which.
    pub clinic: ClinicId,
    /// One for each of [`Window::ALL`].
    pub windows: [WindowView; 3],
}

/// This process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessView {
    /// For how long it has run.
    pub uptime: Duration,
    /// Processor time of its own.
    pub cpu_user: Duration,
    /// Processor time in the kernel.
    pub cpu_system: Duration,
    /// Resident bytes.
    pub memory: u64,
    /// The bytes it should not exceed.
    pub memory_limit: Option<u64>,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub file_descriptors: u64,
    /// The longest delay of any worker's event loop within the last minute.
    pub event_loop_lag: Duration,
}

/// Everything.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// When it was taken.
    pub at: DateTime<Utc>,
    /// All requests together: one for each of [`Window::ALL`].
    pub requests: [WindowView; 3],
    /// All requests since the process began.
    pub requests_total: u64,
    /// Requests in progress.
    pub active_requests: u64,
    /// Users who were active within the last five minutes.
    pub active_users: u64,
    /// Requests that a rate limit refused, since the process began.
    pub rate_limited: u64,
    /// Requests that were turned away, since the process began.
    pub shed: u64,
    /// Each operation that was asked for, busiest first.
    pub operations: Vec<OperationView>,
    /// All queries together: one for each of [`Window::ALL`].
    pub database: [WindowView; 3],
    /// Each query that was run, busiest first.
    pub queries: Vec<QueryView>,
    /// Each domain that was asked for.
    pub cache: Vec<CacheView>,
    /// Faults of the process's tier and of Redis, since the process began.
    pub cache_faults: [u64; 2],
    /// Each lane of the pool.
    pub pools: Vec<PoolView>,
    /// Each queue.
    pub queues: Vec<QueueView>,
    /// Deliveries by outcome, since the process began.
    pub webhooks: Vec<(&'static str, u64)>,
    /// The busiest clinics, busiest first.
    pub clinics: Vec<ClinicView>,
    /// This process.
    pub process: ProcessView,
}

impl Snapshot {
    /// The part of `windows` that is `window`'s.
    pub fn of(windows: &[WindowView; 3], window: Window) -> WindowView {
        windows.get(window.index()).copied().unwrap_or_default()
    }
}
