//! From when on something is an issue: one table for the operators' answers and for the alerts,
//! whose rules (`deploy/prometheus/rules`) a test holds equal to it.

use kernel::metrics::{JobState, Method, Snapshot, Window, WindowView};

use super::answer::Issue;

/// Values beyond a limit, each with what it is of.
type Found = Vec<(Option<String>, f64)>;

/// From when on something is an issue.
#[derive(Clone, Copy)]
pub struct Threshold {
    /// The issue's stable code.
    pub code: &'static str,
    /// The alert of the same limit, with the comparison as its rule writes it; `None` where no
    /// metric has what is looked at (there is no clinic on metrics).
    pub alert: Option<(&'static str, &'static str)>,
    /// The limit, in `unit`.
    pub limit: f64,
    /// `s`, `1` for a share, or what is counted.
    pub unit: &'static str,
    /// Over which time the answer's value is taken: a window, `now`, or `since start`.
    pub window: &'static str,
    /// What it means, and what to do.
    pub meaning: &'static str,
    /// The values that are beyond the limit, each with what it is of.
    found: fn(&Snapshot, f64) -> Found,
}

impl std::fmt::Debug for Threshold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threshold")
            .field("code", &self.code)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Fewer requests than this within a window say nothing.
const ENOUGH: u64 = 20;

fn over(value: f64, limit: f64) -> Found {
    if value > limit {
        vec![(None, value)]
    } else {
        Vec::new()
    }
}

#[allow(clippy::cast_precision_loss, reason = "a share of counts below 2^53")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn count(number: u64) -> f64 {
    number as f64
}

fn enough(window: WindowView) -> Option<WindowView> {
    (window.count >= ENOUGH).then_some(window)
}

fn five_minutes(windows: &[WindowView; 3]) -> Option<WindowView> {
    enough(Snapshot::of(windows, Window::FiveMinutes))
}

/// The table.
pub const THRESHOLDS: &[Threshold] = &[
    Threshold {
        code: "requests_slow",
        alert: Some(("RequestsAreSlow", "> 0.2")),
        limit: 0.2,
        unit: "s",
        window: "5m",
        meaning: "One request in twenty takes longer. The operations say which.",
        found: |it, limit| {
            five_minutes(&it.requests).map_or_else(Vec::new, |w| over(w.p95.as_secs_f64(), limit))
        },
    },
    Threshold {
        code: "requests_very_slow",
        alert: Some(("SomeRequestsAreVerySlow", "> 0.5")),
        limit: 0.5,
        unit: "s",
        window: "5m",
        meaning: "One request in a hundred takes longer. The operations say which.",
        found: |it, limit| {
            five_minutes(&it.requests).map_or_else(Vec::new, |w| over(w.p99.as_secs_f64(), limit))
        },
    },
    Threshold {
        code: "requests_fail",
        alert: Some(("ErrorBudgetBurnsFast", "> (14.4 * 0.001)")),
        limit: 0.0144,
        unit: "1",
        window: "1h and 5m",
        meaning: "So many requests fail by our fault that the month's share is used up in two days.",
        found: |it, limit| {
            let hour = Snapshot::of(&it.requests, Window::Hour);
            let now = Snapshot::of(&it.requests, Window::FiveMinutes);
            let (hour, now) = (share(hour.failed, hour.count), share(now.failed, now.count));
            if now > limit {
                over(hour, limit)
            } else {
                Vec::new()
            }
        },
    },
    Threshold {
        code: "clinic_fails",
        alert: None,
        limit: 0.05,
        unit: "1",
        window: "5m",
        meaning: "One of the busiest clinics gets failures of ours while others do not.",
        found: |it, limit| {
            let clinics = it.clinics.iter().filter_map(|clinic| {
                let window = five_minutes(&clinic.windows)?;
                let failed = share(window.failed, window.count);
                (failed > limit).then(|| (Some(clinic.clinic.to_string()), failed))
            });
            clinics.collect()
        },
    },
    Threshold {
        code: "database_slow",
        alert: Some(("DatabaseIsSlow", "> 0.025")),
        limit: 0.025,
        unit: "s",
        window: "5m",
        meaning: "A unit of work in the database takes longer on average. The queries say which.",
        found: |it, limit| {
            five_minutes(&it.database).map_or_else(Vec::new, |w| over(w.mean.as_secs_f64(), limit))
        },
    },
    Threshold {
        code: "pool_full",
        alert: Some(("PoolIsFull", "> 0.9")),
        limit: 0.9,
        unit: "1",
        window: "now",
        meaning: "Almost every database connection is busy: raise database.max_connections.",
        found: |it, limit| {
            let pools = it
                .pools
                .iter()
                .map(|pool| (pool.lane, share(pool.used, pool.max)));
            pools
                .filter(|(_, used)| *used > limit)
                .map(|(lane, used)| (Some(lane.name().to_owned()), used))
                .collect()
        },
    },
    Threshold {
        code: "cache_misses",
        alert: Some(("CacheMissesMuch", "< 0.7")),
        limit: 0.7,
        unit: "1",
        window: "since start",
        meaning: "Fewer look-ups of the domain are hits than should be.",
        found: |it, limit| {
            let rates = it.cache.iter().filter_map(|domain| {
                let hits = domain.hits_l1 + domain.hits_l2;
                let asked = hits + domain.misses;
                let rate = share(hits, asked);
                (asked >= 1000 && rate < limit)
                    .then(|| (Some(domain.domain.name().to_owned()), rate))
            });
            rates.collect()
        },
    },
    Threshold {
        code: "jobs_pile_up",
        alert: Some(("JobsPileUp", "> 100")),
        limit: 100.0,
        unit: "{job}",
        window: "now",
        meaning: "More jobs are due than are done: does a process run them, and in time?",
        found: |it, limit| jobs(it, JobState::Waiting, limit),
    },
    Threshold {
        code: "jobs_wait_long",
        alert: Some(("JobsWaitLong", "> 60")),
        limit: 60.0,
        unit: "s",
        window: "now",
        meaning: "The oldest job that is due has been so for long.",
        found: |it, limit| {
            let queues = it
                .queues
                .iter()
                .map(|it| (it.queue, it.oldest.as_secs_f64()));
            queues
                .filter(|(_, age)| *age > limit)
                .map(|(queue, age)| (Some(queue.name().to_owned()), age))
                .collect()
        },
    },
    Threshold {
        code: "jobs_dead",
        alert: Some(("JobsFailForGood", "> 0")),
        limit: 0.0,
        unit: "{job}",
        window: "now",
        meaning: "Dead letters wait for a person's decision.",
        found: |it, limit| jobs(it, JobState::Dead, limit),
    },
    Threshold {
        code: "webhooks_slow",
        alert: Some(("WebhooksAreSlow", "> 0.2")),
        limit: 0.2,
        unit: "s",
        window: "5m",
        meaning: "One delivery in twenty is answered later than was promised to the provider.",
        found: |it, limit| {
            let webhooks = it.operations.iter().filter(|operation| {
                operation.method == Method::Post && operation.route.starts_with("/api/v1/webhooks/")
            });
            webhooks
                .filter_map(|operation| five_minutes(&operation.windows))
                .flat_map(|window| over(window.p95.as_secs_f64(), limit))
                .collect()
        },
    },
    Threshold {
        code: "event_loop_lags",
        alert: Some(("EventLoopLags", "> 0.1")),
        limit: 0.1,
        unit: "s",
        window: "1m",
        meaning: "Something blocks a worker, or the processor has too much to do.",
        found: |it, limit| over(it.process.event_loop_lag.as_secs_f64(), limit),
    },
    Threshold {
        code: "memory_over_limit",
        alert: Some(("MemoryRunsOut", "> 0.9")),
        limit: 0.9,
        unit: "1",
        window: "now",
        meaning: "More memory than the process should hold, as a share of its limit.",
        found: |it, limit| {
            let most = it.process.memory_limit.unwrap_or(u64::MAX);
            over(share(it.process.memory, most), limit)
        },
    },
];

fn jobs(snapshot: &Snapshot, state: JobState, limit: f64) -> Found {
    let counts = snapshot.queues.iter().filter_map(|queue| {
        let (_, jobs) = queue.counts.iter().find(|(of, _)| *of == state)?;
        let jobs = count(*jobs);
        (jobs > limit).then(|| (Some(queue.queue.name().to_owned()), jobs))
    });
    counts.collect()
}

/// Everything that is beyond its limit.
pub(crate) fn issues(snapshot: &Snapshot) -> Vec<Issue> {
    THRESHOLDS
        .iter()
        .flat_map(|threshold| {
            let found = (threshold.found)(snapshot, threshold.limit);
            found.into_iter().map(|(of, value)| Issue {
                code: threshold.code,
                of,
                value,
                limit: threshold.limit,
                unit: threshold.unit,
                window: threshold.window,
                message: threshold.meaning,
            })
        })
        .collect()
}
