//! The operators' operations.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, get, put, web};
use clinics::operators::Operators;
use kernel::job::{DeadJob, JobTally, Queue};
use kernel::metrics::{CacheView, JobState, ProcessView, QueueView, Snapshot, Window};
use kernel::{Origin, SystemContext, SystemPurpose, TypedId as _};

use super::answer::{
    ApiAnswer, CacheAnswer, CacheDomainAnswer, CacheState, ClinicAnswer, ClinicsAnswer,
    DatabaseAnswer, DeadJobAnswer, JobsAnswer, MetricsAnswer, ObservabilityAnswer, OperationAnswer,
    Part, Performance, PoolAnswer, ProcessAnswer, QueryAnswer, QueueAnswer, TenantAnswer,
    WholeHealth, millis, windows,
};
use super::{Caller, OperatorsParts, thresholds};
use crate::edge::RequestInfo;
use crate::problem::Problem;

/// Dead letters that are shown.
const DEAD_SHOWN: u16 = 200;
/// The content type of Prometheus' text.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Adds the handlers of this file.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(read_health)
        .service(read_observability)
        .service(read_metrics)
        .service(list_clinics)
        .service(list_jobs)
        .service(read_cache)
        .service(switch_cache);
}

async fn checked(parts: &OperatorsParts) -> (bool, BTreeMap<&'static str, &'static str>) {
    let mut well = true;
    let mut found = BTreeMap::new();
    for check in &parts.checks {
        let one = check.is_well().await;
        well &= one;
        found.insert(check.name(), if one { "ok" } else { "failing" });
    }
    (well, found)
}

/// Read the whole health of this process
///
/// Each check, and whatever is beyond its limit: the limits are those of the alerts.
#[utoipa::path(
    operation_id = "whole_health_read",
    path = "/api/health",
    tag = "operators",
    responses((status = 200, description = "How it is.", body = WholeHealth))
)]
#[get("/health")]
pub(super) async fn read_health(_: Caller, parts: web::Data<OperatorsParts>) -> HttpResponse {
    let (well, checks) = checked(&parts).await;
    let snapshot = parts.metrics.snapshot(parts.tools.now());
    let issues = thresholds::issues(&snapshot);
    let cache = cache_part(&checks, &snapshot, &issues);
    let status = if well && issues.is_empty() {
        "ok"
    } else {
        "degraded"
    };
    HttpResponse::Ok().json(WholeHealth {
        status,
        cache,
        performance: Performance {
            healthy: issues.is_empty(),
            issues,
        },
        checks,
        version: parts.version,
        uptime_seconds: snapshot.process.uptime.as_secs(),
    })
}

fn cache_part(
    checks: &BTreeMap<&'static str, &'static str>,
    snapshot: &Snapshot,
    issues: &[super::answer::Issue],
) -> Part {
    let redis = checks.get("redis").or_else(|| checks.get("cache"));
    let (healthy, message) = if redis == Some(&"failing") {
        (false, "Redis does not answer; requests go on without it")
    } else if issues.iter().any(|issue| issue.code == "cache_misses") {
        (false, "Fewer look-ups are hits than should be")
    } else if snapshot.cache.is_empty() {
        (true, "Nothing was looked up yet")
    } else {
        (true, "Cache operational")
    };
    Part { healthy, message }
}

/// Read how this process does, at a glance
///
/// The figures of the last five minutes, each check, and whatever is beyond its limit.
#[utoipa::path(
    operation_id = "observability_read",
    path = "/api/observability/health",
    tag = "operators",
    responses((status = 200, description = "How it does.", body = ObservabilityAnswer))
)]
#[get("/observability/health")]
pub(super) async fn read_observability(
    _: Caller,
    parts: web::Data<OperatorsParts>,
) -> HttpResponse {
    let (well, checks) = checked(&parts).await;
    let at = parts.tools.now();
    let snapshot = parts.metrics.snapshot(at);
    let issues = thresholds::issues(&snapshot);
    let requests = Snapshot::of(&snapshot.requests, Window::FiveMinutes);
    let database = Snapshot::of(&snapshot.database, Window::FiveMinutes);
    // A process that is younger has been there for so long only.
    let seconds = snapshot
        .process
        .uptime
        .as_secs_f64()
        .clamp(1.0, Duration::from_mins(5).as_secs_f64());
    HttpResponse::Ok().json(ObservabilityAnswer {
        status: if well && issues.is_empty() {
            "healthy"
        } else {
            "degraded"
        },
        at,
        window: Window::FiveMinutes.name(),
        average_response_time: millis(requests.mean),
        p95_response_time: millis(requests.p95),
        throughput: ratio(requests.count, 1) / seconds,
        error_rate: ratio(requests.failed, requests.count),
        cache_hit_rate: hit_share(&snapshot.cache),
        database_queries_per_second: ratio(database.count, 1) / seconds,
        average_query_time: millis(database.mean),
        checks,
        issues,
        process: process(&snapshot.process),
    })
}

/// Read all metrics of this process
///
/// As JSON, or, for `Accept: text/plain` or `application/openmetrics-text`, as text for
/// Prometheus (exposition format 0.0.4). Each number of a window says which.
#[utoipa::path(
    operation_id = "metrics_read",
    path = "/api/metrics",
    tag = "operators",
    responses((status = 200, description = "The metrics.", content(
        (MetricsAnswer = "application/json"),
        (String = "text/plain"),
    )))
)]
#[get("/metrics")]
pub(super) async fn read_metrics(
    _: Caller,
    request: HttpRequest,
    parts: web::Data<OperatorsParts>,
) -> HttpResponse {
    if wants_text(&request) {
        let metrics = web::Data::clone(&parts);
        return HttpResponse::Ok()
            .content_type(PROMETHEUS)
            .body(metrics.metrics.prometheus());
    }
    let snapshot = parts.metrics.snapshot(parts.tools.now());
    HttpResponse::Ok().json(metrics_answer(snapshot))
}

/// Whether the caller is Prometheus: it names its text before anything else.
fn wants_text(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT);
    let accept = accept.and_then(|it| it.to_str().ok()).unwrap_or_default();
    accept.split(',').map(str::trim).any(|range| {
        range.starts_with("text/plain") || range.starts_with("application/openmetrics-text")
    })
}

fn metrics_answer(snapshot: Snapshot) -> MetricsAnswer {
    let hour = Snapshot::of(&snapshot.requests, Window::Hour);
    MetricsAnswer {
        at: snapshot.at,
        api: ApiAnswer {
            window: Window::Hour.name(),
            total_calls: hour.count,
            avg_response_time: millis(hour.mean),
            error_rate: ratio(hour.failed, hour.count),
            since_start: snapshot.requests_total,
            active: snapshot.active_requests,
            active_users: snapshot.active_users,
            rate_limited: snapshot.rate_limited,
            shed: snapshot.shed,
            windows: windows(&snapshot.requests),
        },
        cache: cache(&snapshot.cache),
        tenants: snapshot
            .clinics
            .iter()
            .map(|clinic| TenantAnswer {
                clinic_id: clinic.clinic.to_string(),
                window: Window::Hour.name(),
                requests: Snapshot::of(&clinic.windows, Window::Hour).count,
                windows: windows(&clinic.windows),
            })
            .collect(),
        operations: snapshot
            .operations
            .into_iter()
            .map(|operation| OperationAnswer {
                method: operation.method.name(),
                route: operation.route,
                since_start: operation.total,
                windows: windows(&operation.windows),
            })
            .collect(),
        database: DatabaseAnswer {
            windows: windows(&snapshot.database),
            pools: snapshot
                .pools
                .iter()
                .map(|pool| PoolAnswer {
                    pool: pool.lane.name(),
                    idle: pool.idle,
                    used: pool.used,
                    max: pool.max,
                    pending: pool.pending,
                    timeouts: pool.timeouts,
                })
                .collect(),
            queries: snapshot
                .queries
                .into_iter()
                .map(|query| QueryAnswer {
                    name: query.name,
                    since_start: query.total,
                    windows: windows(&query.windows),
                })
                .collect(),
        },
        jobs: snapshot.queues.iter().map(queue_view).collect(),
        webhooks: snapshot.webhooks.into_iter().collect(),
        process: process(&snapshot.process),
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn hit_share(domains: &[CacheView]) -> Option<f64> {
    let hits: u64 = domains.iter().map(|it| it.hits_l1 + it.hits_l2).sum();
    let misses: u64 = domains.iter().map(|it| it.misses).sum();
    (hits + misses > 0).then(|| ratio(hits, hits + misses))
}

fn percent(share: Option<f64>) -> Option<String> {
    share.map(|share| format!("{:.0}%", share * 100.0))
}

fn cache(domains: &[CacheView]) -> CacheAnswer {
    CacheAnswer {
        window: "since start",
        hit_rate: percent(hit_share(domains)),
        total: domains
            .iter()
            .map(|it| it.hits_l1 + it.hits_l2 + it.misses + it.bypasses)
            .sum(),
        domains: domains
            .iter()
            .map(|it| CacheDomainAnswer {
                domain: it.domain.name(),
                hit_rate: percent(hit_share(std::slice::from_ref(it))),
                hits_l1: it.hits_l1,
                hits_l2: it.hits_l2,
                misses: it.misses,
                bypasses: it.bypasses,
            })
            .collect(),
    }
}

fn process(view: &ProcessView) -> ProcessAnswer {
    ProcessAnswer {
        uptime_seconds: view.uptime.as_secs(),
        cpu_seconds: (view.cpu_user + view.cpu_system).as_secs_f64(),
        memory_bytes: view.memory,
        memory_limit_bytes: view.memory_limit,
        threads: view.threads,
        file_descriptors: view.file_descriptors,
        event_loop_lag_ms: millis(view.event_loop_lag),
    }
}

fn queue_view(view: &QueueView) -> QueueAnswer {
    let of = |state| {
        let found = view.counts.iter().find(|(known, _)| *known == state);
        found.map_or(0, |(_, count)| *count)
    };
    QueueAnswer {
        queue: view.queue.name(),
        waiting: of(JobState::Waiting),
        delayed: of(JobState::Delayed),
        active: of(JobState::Active),
        dead: of(JobState::Dead),
        oldest_seconds: (!view.oldest.is_zero()).then_some(view.oldest.as_secs_f64()),
    }
}

/// List the clinics
///
/// Every clinic with its status and counts: nothing of its people.
#[utoipa::path(
    operation_id = "operators_clinic_list",
    path = "/api/clinics",
    tag = "operators",
    responses((status = 200, description = "Every clinic.", body = ClinicsAnswer))
)]
#[get("/clinics")]
pub(super) async fn list_clinics(
    _: Caller,
    info: RequestInfo,
    operators: web::Data<Operators>,
) -> Result<HttpResponse, Problem> {
    let clinics = operators.count_clinics(info.origin).await?;
    let data: Vec<ClinicAnswer> = clinics
        .into_iter()
        .map(|clinic| ClinicAnswer {
            id: clinic.id.as_uuid(),
            name: clinic.name.to_string(),
            status: clinic.status.name(),
            created_at: clinic.created_at,
            members: clinic.members,
            channels: clinic.channels,
            dead_jobs: clinic.dead_jobs,
        })
        .collect();
    Ok(HttpResponse::Ok().json(ClinicsAnswer {
        total: data.len(),
        data,
    }))
}

/// List the queues and the dead letters
///
/// Counted now, over all processes and clinics. A dead letter tells why it failed, by a code; its
/// payload is never shown.
#[utoipa::path(
    operation_id = "operators_job_list",
    path = "/api/jobs",
    tag = "operators",
    responses((status = 200, description = "The jobs.", body = JobsAnswer))
)]
#[get("/jobs")]
pub(super) async fn list_jobs(
    _: Caller,
    info: RequestInfo,
    parts: web::Data<OperatorsParts>,
) -> Result<HttpResponse, Problem> {
    let sys = |origin: Origin| SystemContext::new(SystemPurpose::OperatorCounts, origin);
    let sys = sys(info.origin);
    let tallies = parts.jobs.count(&sys).await?;
    let dead = parts.jobs.dead(&sys, DEAD_SHOWN).await?;
    let now = parts.tools.now();
    Ok(HttpResponse::Ok().json(JobsAnswer {
        queues: Queue::ALL
            .iter()
            .map(|queue| tallied(*queue, &tallies, now))
            .collect(),
        dead: dead.into_iter().map(dead_answer).collect(),
    }))
}

/// Read whether this process caches
#[utoipa::path(
    operation_id = "cache_read",
    path = "/api/cache",
    tag = "operators",
    responses((status = 200, description = "Whether it does.", body = CacheState))
)]
#[get("/cache")]
pub(super) async fn read_cache(_: Caller, parts: web::Data<OperatorsParts>) -> HttpResponse {
    let on = parts.cache.is_on();
    HttpResponse::Ok().json(CacheState { on })
}

/// Turn the cache of this process off or on
///
/// At once, and until the process ends; `cache.enabled` says how it begins. Off, every answer comes
/// from the database.
#[utoipa::path(
    operation_id = "cache_switch",
    path = "/api/cache",
    tag = "operators",
    request_body = CacheState,
    responses((status = 200, description = "How it is now.", body = CacheState))
)]
#[put("/cache")]
pub(super) async fn switch_cache(
    _: Caller,
    wanted: web::Json<CacheState>,
    parts: web::Data<OperatorsParts>,
) -> HttpResponse {
    parts.cache.switch(wanted.on);
    let on = parts.cache.is_on();
    let state = if on { "on" } else { "off" };
    tracing::warn!(state, "an operator switched the cache");
    HttpResponse::Ok().json(CacheState { on })
}

fn tallied(queue: Queue, tallies: &[JobTally], now: chrono::DateTime<chrono::Utc>) -> QueueAnswer {
    let of = |state| {
        tallies
            .iter()
            .find(|it| it.queue == queue && it.state == state)
    };
    let count = |state| of(state).map_or(0, |tally| tally.jobs);
    let oldest = of(JobState::Waiting).and_then(|tally| tally.oldest);
    QueueAnswer {
        queue: queue.name(),
        waiting: count(JobState::Waiting),
        delayed: count(JobState::Delayed),
        active: count(JobState::Active),
        dead: count(JobState::Dead),
        oldest_seconds: oldest.map(|oldest| {
            let age = (now - oldest).to_std().unwrap_or_default();
            age.as_secs_f64()
        }),
    }
}

fn dead_answer(job: DeadJob) -> DeadJobAnswer {
    DeadJobAnswer {
        id: job.id.as_uuid(),
        clinic_id: job.clinic.as_uuid(),
        queue: job.queue,
        kind: job.kind,
        code: job.failure,
        attempts: job.attempts,
        dead_since: job.dead_since,
    }
}
