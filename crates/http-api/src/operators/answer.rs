//! The operators' answers. Durations are milliseconds, shares are of 1, and every number that is
//! of a window says which.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::metrics::{Snapshot, Window, WindowView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that is beyond its limit.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Issue {
    /// Its stable code.
    #[schema(example = "requests_slow")]
    pub(crate) code: &'static str,
    /// What it is of, where there are several: a queue, a pool, a domain, a clinic's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<String>,
    /// The present value, in `unit`.
    pub(crate) value: f64,
    /// The limit, that of the alert.
    pub(crate) limit: f64,
    /// `s`, `1` for a share, or what is counted.
    pub(crate) unit: &'static str,
    /// Over which time the value is taken.
    #[schema(example = "5m")]
    pub(crate) window: &'static str,
    /// What it means.
    pub(crate) message: &'static str,
}

/// Whether a part is well.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Part {
    /// Whether it is.
    pub(crate) healthy: bool,
    /// For people.
    pub(crate) message: &'static str,
}

/// Whether it is fast enough.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Performance {
    /// Whether nothing is beyond its limit.
    pub(crate) healthy: bool,
    /// What is.
    pub(crate) issues: Vec<Issue>,
}

/// The whole health of this process.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WholeHealth {
    /// `ok`, or `degraded` when a check fails or something is beyond its limit.
    #[schema(example = "ok")]
    pub(crate) status: &'static str,
    /// The cache.
    pub(crate) cache: Part,
    /// The rest.
    pub(crate) performance: Performance,
    /// Each check with `ok` or `failing`.
    pub(crate) checks: BTreeMap<&'static str, &'static str>,
    /// The server's version.
    pub(crate) version: &'static str,
    /// For how long this process has run.
    pub(crate) uptime_seconds: u64,
}

/// What happened within a window.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WindowAnswer {
    /// Which: `1m`, `5m` or `1h`. It ends with the present and began up to five seconds (of the
    /// hour: a minute) later than its length says.
    #[schema(example = "5m")]
    pub(crate) window: &'static str,
    /// How often.
    pub(crate) count: u64,
    /// How often it failed by our fault.
    pub(crate) failed: u64,
    /// Mean duration, in milliseconds.
    pub(crate) average_ms: f64,
    /// The median.
    pub(crate) p50_ms: f64,
    /// One in twenty takes longer.
    pub(crate) p95_ms: f64,
    /// One in a hundred takes longer.
    pub(crate) p99_ms: f64,
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub(crate) fn windows(views: &[WindowView; 3]) -> Vec<WindowAnswer> {
    Window::ALL
        .iter()
        .map(|window| {
            let view = Snapshot::of(views, *window);
            WindowAnswer {
                window: window.name(),
                count: view.count,
                failed: view.failed,
                average_ms: millis(view.mean),
                p50_ms: millis(view.p50),
                p95_ms: millis(view.p95),
                p99_ms: millis(view.p99),
            }
        })
        .collect()
}

/// All requests.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiAnswer {
    /// Over which time `totalCalls`, `avgResponseTime` and `errorRate` are taken.
    #[schema(example = "1h")]
    pub(crate) window: &'static str,
    /// Requests.
    pub(crate) total_calls: u64,
    /// Mean duration, in milliseconds.
    pub(crate) avg_response_time: f64,
    /// Share of requests that failed by our fault.
    pub(crate) error_rate: f64,
    /// Requests since the process began.
    pub(crate) since_start: u64,
    /// Requests in progress, this one among them.
    pub(crate) active: u64,
    /// Users who were active within the last five minutes.
    pub(crate) active_users: u64,
    /// Requests that a rate limit refused, since the process began.
    pub(crate) rate_limited: u64,
    /// Requests that were turned away, since the process began.
    pub(crate) shed: u64,
    /// Each window.
    pub(crate) windows: Vec<WindowAnswer>,
}

/// The cache.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CacheAnswer {
    /// Over which time it is counted.
    #[schema(example = "since start")]
    pub(crate) window: &'static str,
    /// Share of the look-ups that were hits, of those that could be; `null` without any.
    #[schema(example = "78%")]
    pub(crate) hit_rate: Option<String>,
    /// Look-ups.
    pub(crate) total: u64,
    /// Each domain.
    pub(crate) domains: Vec<CacheDomainAnswer>,
}

/// A domain of the cache.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CacheDomainAnswer {
    /// Which.
    pub(crate) domain: &'static str,
    /// Share of hits; `null` without any look-up that could be one.
    pub(crate) hit_rate: Option<String>,
    /// Found in the process.
    pub(crate) hits_l1: u64,
    /// Found in Redis.
    pub(crate) hits_l2: u64,
    /// Found nowhere.
    pub(crate) misses: u64,
    /// Not looked for.
    pub(crate) bypasses: u64,
}

/// One of the busiest clinics.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TenantAnswer {
    /// Which.
    pub(crate) clinic_id: String,
    /// Over which time `requests` is counted.
    pub(crate) window: &'static str,
    /// Its requests.
    pub(crate) requests: u64,
    /// Each window. They begin when the clinic became one of the busiest.
    pub(crate) windows: Vec<WindowAnswer>,
}

/// An operation of the API.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OperationAnswer {
    /// Its method.
    pub(crate) method: &'static str,
    /// The pattern of its route.
    pub(crate) route: String,
    /// Since the process began.
    pub(crate) since_start: u64,
    /// Each window.
    pub(crate) windows: Vec<WindowAnswer>,
}

/// A query.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueryAnswer {
    /// Its name.
    #[schema(example = "db.contact.find")]
    pub(crate) name: String,
    /// Since the process began.
    pub(crate) since_start: u64,
    /// Each window.
    pub(crate) windows: Vec<WindowAnswer>,
}

/// Connections of one lane.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct PoolAnswer {
    /// `requests` or `jobs`.
    pub(crate) pool: &'static str,
    /// Connections that wait for work.
    pub(crate) idle: u64,
    /// Connections that somebody works with.
    pub(crate) used: u64,
    /// How many there may be.
    pub(crate) max: u64,
    /// Units of work that wait for one.
    pub(crate) pending: u64,
    /// Units of work that got none in time, since the process began.
    pub(crate) timeouts: u64,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct DatabaseAnswer {
    /// Units of work in each window.
    pub(crate) windows: Vec<WindowAnswer>,
    /// Connections, as seen within the last five seconds.
    pub(crate) pools: Vec<PoolAnswer>,
    /// Each query, busiest first.
    pub(crate) queries: Vec<QueryAnswer>,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueAnswer {
    /// Which.
    #[schema(example = "message-worker")]
    pub(crate) queue: &'static str,
    /// Due.
    pub(crate) waiting: u64,
    /// Not due yet.
    pub(crate) delayed: u64,
    /// Being worked on.
    pub(crate) active: u64,
    /// Dead letters.
    pub(crate) dead: u64,
    /// For how many seconds the oldest has been due; `null` when none is.
    pub(crate) oldest_seconds: Option<f64>,
}

/// This process.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessAnswer {
    /// For how long it has run.
    pub(crate) uptime_seconds: u64,
    /// Processor time of its own and in the kernel, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Resident bytes.
    pub(crate) memory_bytes: u64,
    /// The bytes it should not exceed.
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Threads.
    pub(crate) threads: u64,
    /// Open file descriptors.
    pub(crate) file_descriptors: u64,
    /// The longest delay of any worker's event loop within the last minute, in milliseconds.
    pub(crate) event_loop_lag_ms: f64,
}

/// All metrics of this process.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct MetricsAnswer {
    /// When they were taken.
    pub(crate) at: chrono::DateTime<chrono::Utc>,
    /// All requests.
    pub(crate) api: ApiAnswer,
    /// The cache.
    pub(crate) cache: CacheAnswer,
    /// The busiest clinics, busiest first.
    pub(crate) tenants: Vec<TenantAnswer>,
    /// Each operation, busiest first.
    pub(crate) operations: Vec<OperationAnswer>,
    /// The database.
    pub(crate) database: DatabaseAnswer,
    /// Each queue, as last counted (every fifteen seconds, where jobs run).
    pub(crate) jobs: Vec<QueueAnswer>,
    /// Deliveries of providers by outcome, since the process began.
    pub(crate) webhooks: BTreeMap<&'static str, u64>,
    /// This process.
    pub(crate) process: ProcessAnswer,
}

/// What stands between users and a good answer, at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObservabilityAnswer {
    /// `healthy`, or `degraded`.
    #[schema(example = "healthy")]
    pub(crate) status: &'static str,
    /// When it was looked at.
    pub(crate) at: chrono::DateTime<chrono::Utc>,
    /// Over which time the shares and durations are taken.
    #[schema(example = "5m")]
    pub(crate) window: &'static str,
    /// Mean duration of a request, in milliseconds.
    pub(crate) average_response_time: f64,
    /// One request in twenty takes longer, in milliseconds.
    pub(crate) p95_response_time: f64,
    /// Requests a second.
    pub(crate) throughput: f64,
    /// Share of requests that failed by our fault.
    pub(crate) error_rate: f64,
    /// Share of look-ups that were hits, since the process began; `null` without any.
    pub(crate) cache_hit_rate: Option<f64>,
    /// Units of work in the database a second.
    pub(crate) database_queries_per_second: f64,
    /// Mean duration of one, in milliseconds.
    pub(crate) average_query_time: f64,
    /// Each check with `ok` or `failing`.
    pub(crate) checks: BTreeMap<&'static str, &'static str>,
    /// What is beyond its limit.
    pub(crate) issues: Vec<Issue>,
    /// This process.
    pub(crate) process: ProcessAnswer,
}

/// A clinic as operators see it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClinicAnswer {
    /// Its id.
    pub(crate) id: uuid::Uuid,
    /// Its name.
    pub(crate) name: String,
    /// `active` or `suspended`.
    pub(crate) status: &'static str,
    /// Since when it exists.
    pub(crate) created_at: chrono::DateTime<chrono::Utc>,
    /// Its active members.
    pub(crate) members: u64,
    /// Its WhatsApp numbers.
    pub(crate) channels: u64,
    /// Its dead letters.
    pub(crate) dead_jobs: u64,
}

/// Every clinic.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ClinicsAnswer {
    /// By name.
    pub(crate) data: Vec<ClinicAnswer>,
    /// How many.
    pub(crate) total: usize,
}

/// A dead letter: why, and never of what.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeadJobAnswer {
    /// Its id.
    pub(crate) id: uuid::Uuid,
    /// Whose it is.
    pub(crate) clinic_id: uuid::Uuid,
    /// Its queue.
    pub(crate) queue: String,
    /// What was to be done.
    #[schema(example = "webhook.process")]
    pub(crate) kind: String,
    /// Why it failed.
    #[schema(example = "timed_out")]
    pub(crate) code: Option<String>,
    /// How often it was tried.
    pub(crate) attempts: i16,
    /// When it was given up.
    pub(crate) dead_since: Option<chrono::DateTime<chrono::Utc>>,
}

/// The jobs of all clinics, of all processes, at this moment.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct JobsAnswer {
    /// Each queue.
    pub(crate) queues: Vec<QueueAnswer>,
    /// The newest dead letters, at most two hundred.
    pub(crate) dead: Vec<DeadJobAnswer>,
}

/// Whether this process caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheState {
    /// Whether it does.
    pub(crate) on: bool,
}
