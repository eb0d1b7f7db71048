//! What a query is called in traces and logs: [`QueryName`].

use std::time::Instant;

use futures_util::Future;
use kernel::{ClinicId, Measurement, StoreError, metrics};
use tokio::time::timeout;
use tracing::{Instrument, Span, field};

use crate::Database;
use crate::error::{StoreErrorExt, unavailable};
use crate::pool::Lease;

/// The name of one query, made by [`query_name!`](crate::query_name).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryName {
    /// `db.<entity>.<verb>`.
    pub span: &'static str,
    /// The SQL verb, such as `SELECT`.
    pub operation: &'static str,
    /// The table it is mainly about.
    pub collection: &'static str,
    /// Verb and table: what may be counted without end (OpenTelemetry's query summary).
    pub summary: &'static str,
}

/// Names a query: `query_name!("contact.list", "SELECT", "contacts")`.
#[macro_export]
macro_rules! query_name {
    ($name:literal, $operation:literal, $collection:literal) => {
        $crate::QueryName {
            span: concat!("db.", $name),
            operation: $operation,
            collection: $collection,
            summary: concat!($operation, " ", $collection),
        }
    };
}

impl QueryName {
    fn span(&self, clinic: Option<ClinicId>) -> Span {
        let span = tracing::info_span!(
            target: "acolhe::db",
            "db.query",
            otel.name = self.span,
            otel.kind = "client",
            otel.status_code = field::Empty,
            db.system.name = "postgresql",
            db.operation.name = self.operation,
            db.collection.name = self.collection,
            db.query.summary = self.summary,
            db.response.status_code = field::Empty,
            acolhe.clinic_id = field::Empty,
        );
        if let Some(clinic) = clinic
            && !span.is_disabled()
        {
            span.record("acolhe.clinic_id", field::display(clinic));
        }
        span
    }

    /// Leases a connection and runs `query` with it under the query's span; tells when it was
    /// slow. The wait for the connection is neither the span's nor the query's: it is told by
    /// [`Database::lease`]. Nothing but names, durations and SQLSTATE is ever recorded.
    pub(crate) async fn observe<T, E, F>(
        self,
        clinic: Option<ClinicId>,
        db: &Database,
        query: impl FnOnce(Lease) -> F,
    ) -> Result<T, E>
    where
        E: Failure + From<StoreError>,
        F: Future<Output = Result<T, E>>,
    {
        let lease = db.lease().await;
        let query = async {
            match lease {
                // Dropped half way, the lease throws its connection away.
                Ok(lease) => timeout(db.answer_timeout(), query(lease))
                    .await
                    .unwrap_or_else(|_| {
                        Err(unavailable("the database did not answer in time").into())
                    }),
                // Told by a span of the query as well: it is what failed for the caller.
                Err(error) => Err(error.into()),
            }
        };
        let span = self.span(clinic);
        let began = Instant::now();
        let result = if span.is_disabled() {
            query.await
        } else {
            query.instrument(span.clone()).await
        };
        let took = began.elapsed();
        let broke = result.as_ref().err().and_then(Failure::broke);
        if let Some(Broke(code)) = &broke {
            span.record("otel.status_code", "error");
            if let Some(code) = code.as_deref() {
                span.record("db.response.status_code", code);
            }
        }
        db.metrics().record(Measurement::Query(metrics::Query {
            name: self.span,
            operation: self.operation,
            collection: self.collection,
            summary: self.summary,
            took,
            failed: broke.as_ref().map(|Broke(code)| code.as_deref()),
        }));
        if took >= db.slow_query()
            && let Some(suppressed) = db.tell_slow(self.span)
        {
            tracing::warn!(
                target: "acolhe::db",
                suppressed,
                query = self.span,
                duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "slow query"
            );
        }
        result
    }
}

/// An error that may be the database's: what [`QueryName::observe`] looks into.
pub(crate) trait Failure {
    /// The store's own error, where it is one.
    fn of_store(&self) -> Option<&StoreError>;

    /// `Some` when the database failed.
    fn broke(&self) -> Option<Broke> {
        self.of_store().map(Broke::from)
    }
}

impl Failure for StoreError {
    fn of_store(&self) -> Option<&StoreError> {
        Some(self)
    }
}

/// How a unit ended without committing.
pub(crate) enum Ended<E> {
    /// The store failed.
    Store(StoreError),
    /// The domain refused, and the unit was rolled back; perhaps because a statement failed.
    Refused(E, Option<Broke>),
}

impl<E> From<StoreError> for Ended<E> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A statement failed, with this SQLSTATE where the server gave one.
#[derive(Debug, Clone)]
pub(crate) struct Broke(Option<String>);

impl From<&StoreError> for Broke {
    fn from(error: &StoreError) -> Self {
        Self(error.sqlstate().map(str::to_owned))
    }
}

impl<E> Failure for Ended<E> {
    fn of_store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Refused(..) => None,
        }
    }

    fn broke(&self) -> Option<Broke> {
        match self {
            Self::Store(error) => Some(error.into()),
            Self::Refused(_, broke) => broke.clone(),
        }
    }
}
