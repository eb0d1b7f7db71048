//! What is measured, and the port through which it is told: [`Metrics`].
//!
//! The catalogue is closed ([`CATALOGUE`]): a measurement is a variant of [`Measurement`], whose
//! labels are enums, so that nothing a caller sends can become a label. To measure something new,
//! add a line to the catalogue, a variant here and its arm in the adapter, and write
//! `docs/telemetry.md` anew (its check tells how).
//!
//! ```
//! use kernel::metrics::{CacheDomain, CacheOutcome, Measurement, Metrics, NoMetrics};
//!
//! let metrics: &dyn Metrics = &NoMetrics; // `tools.metrics()` in a service
//! metrics.record(Measurement::CacheLookup(CacheDomain::Contacts, CacheOutcome::HitL1));
//! ```

mod catalogue;
mod labels;
mod view;

use std::fmt;
use std::time::Duration;

use crate::ClinicId;
use crate::job::Queue;

pub use catalogue::{CATALOGUE, Instrument, Kind, Label, Spec, Values, queue_index};
pub use labels::{
    CacheDomain, CacheOutcome, CacheTier, ChangeOutcome, ConnectionState, CpuMode, JobOutcome,
    JobState, Lane, Method, Quantile, RateLimit, ShedReason, WebhookOutcome, Window,
};
pub use view::{
    CacheView, ClinicView, MetricsView, OperationView, PoolView, ProcessView, QueryView, QueueView,
    Snapshot, WindowView,
};

/// What `http.route` says of a path that is no route.
pub const UNMATCHED: &str = "unmatched";

/// Where measurements go. Telling one costs less than a tenth of a microsecond, never blocks and
/// never fails.
pub trait Metrics: Send + Sync + fmt::Debug {
    /// Takes a measurement.
    fn record(&self, measurement: Measurement<'_>);
}

/// Nobody measures.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMetrics;

impl Metrics for NoMetrics {
    fn record(&self, _: Measurement<'_>) {}
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub enum Measurement<'a> {
    /// A request came in; `secure` over TLS.
    RequestBegan {
        /// Its method.
        method: Method,
        /// Whether over TLS.
        secure: bool,
    },
    /// A request was answered, or its caller went away.
    RequestEnded(RequestEnded<'a>),
    /// A unit of work in the database ended.
    Query(Query<'a>),
    /// A unit of work waited so long for a database connection.
    ConnectionWait(Lane, Duration),
    /// A unit of work got no database connection in time.
    ConnectionTimeout(Lane),
    /// How the pool of database connections stands.
    Connections {
        /// Whose.
        lane: Lane,
        /// Connections that wait for work.
        idle: u64,
        /// Connections that somebody works with.
        used: u64,
        /// How many there may be.
        max: u64,
        /// Units of work that wait for one.
        pending: u64,
    },
    /// The cache was asked.
    CacheLookup(CacheDomain, CacheOutcome),
    /// A tier of the cache failed.
    CacheFault(CacheTier),
    /// A tier of the cache holds so many bytes.
    CacheSize(CacheTier, u64),
    /// An attempt of a job ended after so long.
    JobEnded(Queue, JobOutcome, Duration),
    /// So many jobs stand so.
    JobCount(Queue, JobState, u64),
    /// The oldest job that is due has been so for so long.
    JobAge(Queue, Duration),
    /// A delivery of a provider was answered after so long.
    Webhook(WebhookOutcome, Duration),
    /// So many changes came with a delivery.
    WebhookChanges(ChangeOutcome, u64),
    /// A rate limit refused a request.
    RateLimited(RateLimit),
    /// A request was turned away unserved.
    Shed(ShedReason),
    /// So many users were active within the last five minutes.
    ActiveUsers(u64),
    /// A worker's event loop was so late.
    EventLoopLag(u16, Duration),
}

/// A request that ended.
#[derive(Debug, Clone, Copy)]
pub struct RequestEnded<'a> {
    /// Its method, the same as when it began.
    pub method: Method,
    /// The pattern of its route, [`UNMATCHED`] when there is none. Never a path.
    pub route: &'a str,
    /// The answer's status; 499 when the caller went away.
    pub status: u16,
    /// Whether over TLS.
    pub secure: bool,
    /// From head to answer.
    pub took: Duration,
    /// Whose it was, for the operators' list of the busiest clinics. Never a label.
    pub clinic: Option<ClinicId>,
}

/// A unit of work in the database that ended.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// `db.<entity>.<verb>`.
    pub name: &'static str,
    /// The SQL verb.
    pub operation: &'static str,
    /// The table.
    pub collection: &'static str,
    /// Verb and table.
    pub summary: &'static str,
    /// From its first statement to its commit.
    pub took: Duration,
    /// `Some` when the database failed it: with the SQLSTATE, where it gave one.
    pub failed: Option<Option<&'a str>>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_catalogue_is_in_the_order_of_its_instruments() {
        for (at, spec) in CATALOGUE.iter().enumerate() {
            assert_eq!(spec.instrument as usize, at, "{}", spec.name);
            assert_eq!(spec.instrument.spec().name, spec.name);
        }
    }

    #[test]
    fn every_metric_has_a_name_of_its_own_a_unit_and_a_sentence() {
        let mut names = HashSet::new();
        for spec in CATALOGUE {
            assert!(names.insert(spec.name), "{} twice", spec.name);
            assert!(!spec.unit.is_empty(), "{}", spec.name);
            assert!(spec.description.ends_with('.'), "{}", spec.name);
            assert_eq!(spec.kind == Kind::Histogram, !spec.buckets.is_empty());
            assert!(spec.buckets.is_sorted(), "{}", spec.name);
        }
    }

    #[test]
    fn no_label_names_a_clinic_a_person_or_a_path() {
        for label in CATALOGUE.iter().flat_map(|spec| spec.labels) {
            for word in [
                "clinic",
                "user",
                "tenant",
                "contact",
                "path",
                "query.text",
                "address",
            ] {
                assert!(!label.name.contains(word), "{}", label.name);
            }
        }
    }

    #[test]
    fn a_method_that_a_caller_invents_is_other() {
        assert_eq!(Method::of("PATCH"), Method::Patch);
        for invented in ["patch", "MARIA", "", "GET "] {
            assert_eq!(Method::of(invented), Method::Other, "{invented}");
        }
    }
}
