//! What is counted in place: one number for each metric and label.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use kernel::job::Queue;
use kernel::metrics::{
    CacheDomain, CacheOutcome, CacheTier, CacheView, ChangeOutcome, ClinicView, JobOutcome,
    JobState, Lane, Method, OperationView, PoolView, ProcessView, QueryView, QueueView, RateLimit,
    ShedReason, Snapshot, WebhookOutcome,
};

use super::latency::windows;
use super::process::Process;
use super::series::{Clinics, Operations, Queries};

pub(crate) const QUEUES: usize = Queue::ALL.len();
/// A gauge that nobody has set yet.
const UNSET: u64 = u64::MAX;
/// Ticks that the longest delay of the event loop is remembered: a minute.
const LAGS: usize = 12;

/// Some counters.
pub(crate) type Counters<const N: usize> = [AtomicU64; N];

fn zeros<const N: usize>() -> Counters<N> {
    std::array::from_fn(|_| AtomicU64::new(0))
}

fn unset<const N: usize>() -> Counters<N> {
    std::array::from_fn(|_| AtomicU64::new(UNSET))
}

/// Adds to a counter.
pub(crate) fn add(counters: &[AtomicU64], at: usize, more: u64) {
    if let Some(counter) = counters.get(at) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

/// Sets a gauge.
pub(crate) fn set(gauges: &[AtomicU64], at: usize, value: u64) {
    if let Some(gauge) = gauges.get(at) {
        gauge.store(value.min(UNSET - 1), Ordering::Relaxed);
    }
}

/// The value of a counter, or of a gauge that was set.
pub(crate) fn get(values: &[AtomicU64], at: usize) -> Option<u64> {
    let value = values.get(at)?.load(Ordering::Relaxed);
    (value != UNSET).then_some(value)
}

/// Everything that is counted.
pub(crate) struct State {
    pub(crate) started: Instant,
    pub(crate) memory_limit: Option<u64>,
    /// By method and scheme.
    pub(crate) active: [[AtomicI64; 2]; Method::ALL.len()],
    pub(crate) operations: Operations,
    pub(crate) queries: Queries,
    pub(crate) clinics: Clinics,
    /// By lane: idle, used, most, pending.
    pub(crate) pools: [Counters<4>; Lane::ALL.len()],
    pub(crate) pool_timeouts: Counters<{ Lane::ALL.len() }>,
    pub(crate) cache: [Counters<{ CacheOutcome::ALL.len() }>; CacheDomain::ALL.len()],
    pub(crate) cache_faults: Counters<{ CacheTier::ALL.len() }>,
    pub(crate) cache_size: Counters<{ CacheTier::ALL.len() }>,
    pub(crate) jobs: [Counters<{ JobState::ALL.len() }>; QUEUES],
    /// In microseconds.
    pub(crate) job_age: Counters<QUEUES>,
    pub(crate) job_outcomes: [Counters<{ JobOutcome::ALL.len() }>; QUEUES],
    pub(crate) webhooks: Counters<{ WebhookOutcome::ALL.len() }>,
    pub(crate) changes: Counters<{ ChangeOutcome::ALL.len() }>,
    pub(crate) rate_limited: Counters<{ RateLimit::ALL.len() }>,
    pub(crate) shed: Counters<{ ShedReason::ALL.len() }>,
    pub(crate) active_users: Counters<1>,
    /// The longest delay of an event loop since the last tick, in microseconds.
    pub(crate) lag: AtomicU64,
    lags: Mutex<VecDeque<u64>>,
    process: Mutex<Process>,
}

impl State {
    pub(crate) fn new(memory_limit: Option<u64>) -> Self {
        Self {
            started: Instant::now(),
            memory_limit,
            active: std::array::from_fn(|_| std::array::from_fn(|_| AtomicI64::new(0))),
            operations: Operations::new(),
            queries: Queries::default(),
            clinics: Clinics::default(),
            pools: std::array::from_fn(|_| unset()),
            pool_timeouts: zeros(),
            cache: std::array::from_fn(|_| zeros()),
            cache_faults: zeros(),
            cache_size: unset(),
            jobs: std::array::from_fn(|_| unset()),
            job_age: unset(),
            job_outcomes: std::array::from_fn(|_| zeros()),
            webhooks: zeros(),
            changes: zeros(),
            rate_limited: zeros(),
            shed: zeros(),
            active_users: unset(),
            lag: AtomicU64::new(0),
            lags: Mutex::default(),
            process: Mutex::new(Process::read()),
        }
    }

    /// Ends a tick; answers what the process uses.
    pub(crate) fn tick(&self) -> Process {
        self.operations.each(|operation| operation.latency.tick());
        self.queries.each(|query| query.latency.tick());
        self.clinics.tick();
        {
            let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
            lags.push_back(self.lag.swap(0, Ordering::Relaxed));
            if lags.len() >= LAGS {
                lags.pop_front();
            }
        }
        self.read_process()
    }

    /// Reads anew what the process uses.
    pub(crate) fn read_process(&self) -> Process {
        let read = Process::read();
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = read;
        read
    }

    fn longest_lag(&self) -> Duration {
        let lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.lag.load(Ordering::Relaxed);
        Duration::from_micros(lags.iter().copied().chain([now]).max().unwrap_or_default())
    }

    /// Requests in progress.
    fn active_requests(&self) -> u64 {
        let all = self.active.iter().flatten();
        let sum: i64 = all.map(|count| count.load(Ordering::Relaxed)).sum();
        u64::try_from(sum).unwrap_or_default()
    }

    pub(crate) fn snapshot(&self, at: DateTime<Utc>) -> Snapshot {
        let mut operations = Vec::new();
        self.operations.each(|it| {
            operations.push(OperationView {
                method: it.method,
                route: it.route.to_string(),
                total: it.latency.total(),
                windows: it.latency.windows(),
            });
        });
        operations.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.route.cmp(&b.route)));
        let mut queries = Vec::new();
        self.queries.each(|it| {
            queries.push(QueryView {
                name: it.name.to_owned(),
                total: it.latency.total(),
                windows: it.latency.windows(),
            });
        });
        queries.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.name.cmp(&b.name)));
        let sum = |counters: &[AtomicU64]| -> u64 {
            counters.iter().map(|it| it.load(Ordering::Relaxed)).sum()
        };
        Snapshot {
            at,
            requests: windows(|window, sum| {
                self.operations.each(|it| it.latency.add_to(window, sum));
            }),
            requests_total: operations.iter().map(|it| it.total).sum(),
            active_requests: self.active_requests(),
            active_users: get(&self.active_users, 0).unwrap_or_default(),
            rate_limited: sum(&self.rate_limited),
            shed: sum(&self.shed),
            database: windows(|window, sum| {
                self.queries.each(|it| it.latency.add_to(window, sum));
            }),
            operations,
            queries,
            cache: self.cache_views(),
            cache_faults: std::array::from_fn(|at| get(&self.cache_faults, at).unwrap_or(0)),
            pools: self.pool_views(),
            queues: self.queue_views(),
            webhooks: WebhookOutcome::ALL
                .iter()
                .map(|it| (it.name(), get(&self.webhooks, it.index()).unwrap_or(0)))
                .collect(),
            clinics: self
                .clinics
                .busiest()
                .into_iter()
                .map(|(clinic, latency)| ClinicView {
                    clinic,
                    windows: latency.windows(),
                })
                .collect(),
            process: self.process_view(),
        }
    }

    pub(crate) fn cache_views(&self) -> Vec<CacheView> {
        let views = CacheDomain::ALL
            .iter()
            .zip(&self.cache)
            .map(|(domain, counts)| {
                let of = |outcome: CacheOutcome| get(counts, outcome.index()).unwrap_or(0);
                CacheView {
                    domain: *domain,
                    hits_l1: of(CacheOutcome::HitL1),
                    hits_l2: of(CacheOutcome::HitL2),
                    misses: of(CacheOutcome::Miss),
                    bypasses: of(CacheOutcome::Bypass),
                }
            });
        views
            .filter(|it| it.hits_l1 + it.hits_l2 + it.misses + it.bypasses > 0)
            .collect()
    }

    fn pool_views(&self) -> Vec<PoolView> {
        let lanes = Lane::ALL.iter().zip(&self.pools);
        lanes
            .filter_map(|(lane, pool)| {
                Some(PoolView {
                    lane: *lane,
                    idle: get(pool, 0)?,
                    used: get(pool, 1)?,
                    max: get(pool, 2)?,
                    pending: get(pool, 3)?,
                    timeouts: get(&self.pool_timeouts, lane.index())?,
                })
            })
            .collect()
    }

    fn queue_views(&self) -> Vec<QueueView> {
        use JobOutcome as O;
        use JobState as S;
        let queues = Queue::ALL.iter().enumerate();
        queues
            .filter_map(|(at, queue)| {
                let (counts, outcomes) = (self.jobs.get(at)?, self.job_outcomes.get(at)?);
                let of = |counts: &[AtomicU64], at| get(counts, at).unwrap_or_default();
                let state = |it: JobState| (it, of(counts, it.index()));
                let outcome = |it: JobOutcome| (it, of(outcomes, it.index()));
                Some(QueueView {
                    queue: *queue,
                    counts: [S::Waiting, S::Delayed, S::Active, S::Dead].map(state),
                    oldest: Duration::from_micros(of(&self.job_age, at)),
                    outcomes: [O::Done, O::Retried, O::Dead, O::Lost].map(outcome),
                })
            })
            .collect()
    }

    fn process_view(&self) -> ProcessView {
        let process = *self.process.lock().unwrap_or_else(PoisonError::into_inner);
        ProcessView {
            uptime: self.started.elapsed(),
            cpu_user: process.cpu_user,
            cpu_system: process.cpu_system,
            memory: process.memory,
            memory_limit: self.memory_limit,
            threads: process.threads,
            file_descriptors: process.file_descriptors,
            event_loop_lag: self.longest_lag(),
        }
    }

    pub(crate) fn process(&self) -> Process {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
