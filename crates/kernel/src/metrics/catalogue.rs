//! Every metric there is: name, unit, meaning, labels. What adapters create, what the documents
//! list and what the tests hold is this table.
//!
//! Names and units are those of semantic conventions 1.44.0 where they have one; ours begin with
//! `acolhe.`. No label names a clinic, a person or a path: what varies is a closed list, the
//! patterns of the server's own routes, or the names of its own queries.

use super::labels::{
    CacheDomain, CacheOutcome, CacheTier, ChangeOutcome, ConnectionState, CpuMode, JobOutcome,
    JobState, Lane, Method, Quantile, RateLimit, ShedReason, WebhookOutcome, Window,
};
use crate::job::Queue;

/// How a metric is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// The sum of what was added and taken away.
    UpDownCounter,
    /// A distribution.
    Histogram,
    /// The present value.
    Gauge,
}

impl Kind {
    /// Its name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDownCounter => "up-down counter",
            Self::Histogram => "histogram",
            Self::Gauge => "gauge",
        }
    }
}

/// Which values a label may have.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// These.
    Listed(&'static [&'static str]),
    /// Names of the source code, of this sort: patterns of routes, tables, queries.
    OfTheSource(&'static str),
}

/// A label of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: Values,
}

const fn listed(name: &'static str, values: &'static [&'static str]) -> Label {
    Label {
        name,
        values: Values::Listed(values),
    }
}

const fn of_the_source(name: &'static str, sort: &'static str) -> Label {
    Label {
        name,
        values: Values::OfTheSource(sort),
    }
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Which it is.
    pub instrument: Instrument,
    /// Its name.
    pub name: &'static str,
    /// How it is kept.
    pub kind: Kind,
    /// Its unit, in UCUM.
    pub unit: &'static str,
    /// What it says.
    pub description: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
    /// Upper bounds of a histogram's buckets, in its unit.
    pub buckets: &'static [f64],
}

/// Buckets of the semantic conventions for requests.
const REQUEST_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Buckets of the semantic conventions for database operations.
const DATABASE_BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// For delays of the event loop.
const LAG_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

const METHOD: Label = listed("http.request.method", Method::NAMES);
const SCHEME: Label = listed("url.scheme", &["http", "https"]);
const ROUTE: Label = of_the_source("http.route", "a route's pattern, or `unmatched`");
const LANE: Label = listed("db.client.connection.pool.name", Lane::NAMES);
const QUEUE: Label = of_the_source("messaging.destination.name", "a queue's name");
const POSTGRESQL: Label = listed("db.system.name", &["postgresql"]);

macro_rules! catalogue {
    ($($(#[doc = $doc:literal])* $id:ident: $name:literal, $kind:ident, $unit:literal, $labels:expr, $buckets:expr;)+) => {
        /// Which metric.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Instrument {
            $($(#[doc = $doc])* $id,)+
        }

        /// Every metric, in the order of [`Instrument`].
        pub const CATALOGUE: &[Spec] = &[
            $(Spec {
                instrument: Instrument::$id,
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                description: concat!($($doc),*).trim_ascii_start(),
                labels: $labels,
                buckets: $buckets,
            },)+
        ];
    };
}

catalogue! {
    /// How long requests took from their head to their answer.
    RequestDuration: "http.server.request.duration", Histogram, "s",
        &[METHOD, ROUTE, of_the_source("http.response.status_code", "the answer's status"), SCHEME,
          of_the_source("error.type", "the status, from 500 on")], REQUEST_BUCKETS;
    /// Requests in progress.
    ActiveRequests: "http.server.active_requests", UpDownCounter, "{request}", &[METHOD, SCHEME], &[];
    /// How long database operations took, without the wait for a connection.
    OperationDuration: "db.client.operation.duration", Histogram, "s",
        &[POSTGRESQL, of_the_source("db.operation.name", "the statement's verb"),
          of_the_source("db.collection.name", "the table"),
          of_the_source("db.query.summary", "verb and table"),
          of_the_source("db.response.status_code", "SQLSTATE of a failure"),
          of_the_source("error.type", "the same, or `unavailable`")], DATABASE_BUCKETS;
    /// Database connections of this process.
    ConnectionCount: "db.client.connection.count", UpDownCounter, "{connection}",
        &[LANE, listed("db.client.connection.state", ConnectionState::NAMES)], &[];
    /// Database connections that this process may have.
    ConnectionMax: "db.client.connection.max", UpDownCounter, "{connection}", &[LANE], &[];
    /// Units of work that wait for a database connection.
    ConnectionPending: "db.client.connection.pending_requests", UpDownCounter, "{request}", &[LANE], &[];
    /// How long units of work waited for a database connection.
    ConnectionWait: "db.client.connection.wait_time", Histogram, "s", &[LANE], DATABASE_BUCKETS;
    /// Units of work that got no database connection in time.
    ConnectionTimeouts: "db.client.connection.timeouts", Counter, "{timeout}", &[LANE], &[];
    /// Look-ups in the cache.
    CacheLookups: "acolhe.cache.lookups", Counter, "{lookup}",
        &[listed("acolhe.cache.domain", CacheDomain::NAMES),
          listed("acolhe.cache.outcome", CacheOutcome::NAMES)], &[];
    /// Failures of a cache's tier; none of them failed a request.
    CacheFaults: "acolhe.cache.faults", Counter, "{fault}",
        &[listed("acolhe.cache.tier", CacheTier::NAMES)], &[];
    /// Bytes that a cache's tier holds.
    CacheSize: "acolhe.cache.size", Gauge, "By",
        &[listed("acolhe.cache.tier", CacheTier::NAMES)], &[];
    /// How long attempts of jobs took.
    JobDuration: "messaging.process.duration", Histogram, "s",
        &[QUEUE, listed("acolhe.job.outcome", JobOutcome::NAMES)], REQUEST_BUCKETS;
    /// Jobs of each queue, of all processes.
    JobCount: "acolhe.job.count", Gauge, "{job}",
        &[QUEUE, listed("acolhe.job.state", JobState::NAMES)], &[];
    /// For how long the oldest job that is due has been.
    JobAge: "acolhe.job.oldest.age", Gauge, "s", &[QUEUE], &[];
    /// How long deliveries of providers took until they were answered.
    WebhookDuration: "acolhe.webhook.duration", Histogram, "s",
        &[listed("acolhe.webhook.outcome", WebhookOutcome::NAMES)], REQUEST_BUCKETS;
    /// Changes that deliveries brought.
    WebhookChanges: "acolhe.webhook.changes", Counter, "{change}",
        &[listed("acolhe.webhook.change", ChangeOutcome::NAMES)], &[];
    /// Requests that a rate limit refused.
    RateLimited: "acolhe.rate_limit.rejections", Counter, "{request}",
        &[listed("acolhe.rate_limit", RateLimit::NAMES)], &[];
    /// Requests that were turned away because the server had too much to do.
    Shed: "acolhe.request.shed", Counter, "{request}",
        &[listed("acolhe.shed.reason", ShedReason::NAMES)], &[];
    /// Users who were active within the last five minutes, as far as this process saw.
    ActiveUsers: "acolhe.user.active", Gauge, "{user}", &[], &[];
    /// How late a worker's event loop was for a timer.
    EventLoopLag: "acolhe.event_loop.lag", Histogram, "s",
        &[of_the_source("acolhe.worker", "the worker's number, from 0")], LAG_BUCKETS;
    /// Processor time of this process.
    CpuTime: "process.cpu.time", Counter, "s", &[listed("cpu.mode", CpuMode::NAMES)], &[];
    /// Memory of this process that is in use (resident).
    MemoryUsage: "process.memory.usage", UpDownCounter, "By", &[], &[];
    /// The memory that this process should not exceed; none where there is no limit.
    MemoryLimit: "acolhe.process.memory.limit", Gauge, "By", &[], &[];
    /// Threads of this process.
    Threads: "process.thread.count", UpDownCounter, "{thread}", &[], &[];
    /// Open file descriptors of this process.
    FileDescriptors: "process.unix.file_descriptor.count", UpDownCounter, "{file_descriptor}", &[], &[];
    /// For how long this process has run.
    Uptime: "process.uptime", Gauge, "s", &[], &[];
    /// Quantiles of an operation's duration over a window that ends with the present.
    RequestQuantile: "acolhe.request.duration.quantile", Gauge, "s",
        &[METHOD, ROUTE, listed("quantile", Quantile::NAMES), listed("window", Window::NAMES)], &[];
    /// Quantiles of a query's duration over a window that ends with the present.
    QueryQuantile: "acolhe.query.duration.quantile", Gauge, "s",
        &[of_the_source("db.query.name", "`db.<entity>.<verb>`"),
          listed("quantile", Quantile::NAMES), listed("window", Window::NAMES)], &[];
}

impl Instrument {
    /// What it is.
    pub const fn spec(self) -> &'static Spec {
        &CATALOGUE[self as usize]
    }
}

/// The place of a queue in [`Queue::ALL`].
pub fn queue_index(queue: Queue) -> usize {
    Queue::ALL
        .iter()
        .position(|known| *known == queue)
        .unwrap_or_default()
}
