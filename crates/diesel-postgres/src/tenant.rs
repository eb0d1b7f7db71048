//! The shapes in which one clinic's data is read and written. See the crate's text for which to
//! take when.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use diesel::QueryResult;
use diesel::deserialize::FromSqlRow;
use diesel::expression::QueryMetadata;
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, QueryFragment, QueryId};
use diesel::query_dsl::CompatibleType;
use diesel_async::RunQueryDsl;
use futures_util::future::{join3, join4};
use kernel::job::NewJob;
use kernel::once::Claim;
use kernel::stream::Topics;
use kernel::{AuditEntry, ClinicId, Event, StoreError, SystemContext, TenantContext};

use crate::batch::{Batch, sent};
use crate::connection::PgConn;
use crate::error::{failed, from_diesel};
use crate::name::{Broke, Ended};
use crate::once::Refused;
use crate::statement::{Begin, Commit, InTenant, Rollback, SetTenant, TenantSelect};
use crate::{Database, QueryName};

impl Database {
    /// The hot read: one statement that sets the tenant and reads only through it.
    pub async fn read<U, S, ST>(
        &self,
        cx: &TenantContext,
        name: QueryName,
        select: S,
    ) -> Result<Vec<U>, StoreError>
    where
        S: TenantSelect + Send,
        S::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        Pg: QueryMetadata<S::SqlType>,
        ST: 'static,
    {
        self.read_in(cx.clinic(), name, select).await
    }

    /// The hot read for what a context is made from: the membership in the clinic that a caller
    /// named. Tenantless by its caller, yet under that clinic's row security.
    pub(crate) async fn read_before_context<U, S, ST>(
        &self,
        _sys: &SystemContext,
        clinic: ClinicId,
        name: QueryName,
        select: S,
    ) -> Result<Vec<U>, StoreError>
    where
        S: TenantSelect + Send,
        S::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        Pg: QueryMetadata<S::SqlType>,
        ST: 'static,
    {
        self.read_in(clinic, name, select).await
    }

    async fn read_in<U, S, ST>(
        &self,
        clinic: ClinicId,
        name: QueryName,
        select: S,
    ) -> Result<Vec<U>, StoreError>
    where
        S: TenantSelect + Send,
        S::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        Pg: QueryMetadata<S::SqlType>,
        ST: 'static,
    {
        check_text(&select);
        let query = InTenant {
            clinic: clinic.into(),
            select,
        };
        name.observe(Some(clinic), self, |lease| async move {
            let mut pg = &lease.conn()?.pg;
            let rows = query.load::<U>(&mut pg).await.map_err(from_diesel);
            lease.finish(&rows);
            rows
        })
        .await
    }

    /// [`Database::read`] where at most one row is expected.
    pub async fn read_one<U, S, ST>(
        &self,
        cx: &TenantContext,
        name: QueryName,
        select: S,
    ) -> Result<Option<U>, StoreError>
    where
        S: TenantSelect + Send,
        S::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        Pg: QueryMetadata<S::SqlType>,
        ST: 'static,
    {
        Ok(self.read(cx, name, select).await?.into_iter().next())
    }

    /// One statement in a transaction of its own, in one round trip: what is not a hot read
    /// (Diesel's DSL, `INSERT … RETURNING`).
    pub async fn once<U, S, ST>(
        &self,
        cx: &TenantContext,
        name: QueryName,
        statement: S,
    ) -> Result<Vec<U>, StoreError>
    where
        S: AsQuery + Send,
        S::Query: QueryFragment<Pg> + QueryId + Send,
        S::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        Pg: QueryMetadata<S::SqlType>,
        ST: 'static,
    {
        let clinic = cx.clinic();
        name.observe(Some(clinic), self, |lease| async move {
            let mut pg = &lease.conn()?.pg;
            let set = SetTenant {
                clinic: clinic.into(),
            };
            // In this order; every answer is read, because COMMIT of a failed transaction
            // answers without an error.
            let (begun, set, rows, committed) = join4(
                sent(pg, Begin {}),
                sent(pg, set),
                statement.load::<U>(&mut pg),
                sent(pg, Commit {}),
            )
            .await;
            let rows = begun
                .and(set)
                .and(rows)
                .and_then(|rows| committed.map(|_| rows))
                .map_err(from_diesel);
            lease.finish(&rows);
            rows
        })
        .await
    }

    /// Statements that are known beforehand, in one transaction and one round trip. `fill` only
    /// collects them. Answers the row count of each [`Batch::execute`].
    pub async fn write(
        &self,
        cx: &TenantContext,
        name: QueryName,
        fill: impl FnOnce(&mut Batch<'_>),
    ) -> Result<Vec<usize>, StoreError> {
        let clinic = cx.clinic();
        let mut claimed = None;
        let claim = &mut claimed;
        let written = name.observe(Some(clinic), self, |lease| async move {
            let pg = &lease.conn()?.pg;
            let (topics, answers) = {
                let mut batch = Batch::new(pg, cx);
                fill(&mut batch);
                let set = SetTenant {
                    clinic: clinic.into(),
                };
                *claim = batch.claimed();
                let topics = batch.topics();
                let answers = batch.send(
                    vec![sent(pg, Begin {}), sent(pg, set)],
                    Some(sent(pg, Commit {})),
                );
                (topics, answers)
            };
            let answers = answers.await;
            lease.finish(&answers);
            if answers.is_ok() {
                self.committed_events(clinic, topics);
            }
            answers
        });
        match (written.await, claimed) {
            (Err(error), Some(claim)) => Err(self.unless_repeated(cx, &claim, error).await),
            (written, _) => written,
        }
    }

    /// Several statements that depend on each other, in one transaction.
    ///
    /// `BEGIN` and the tenant ride with the first statement. What was handed to
    /// [`Tx::audit`], [`Tx::enqueue`] and [`Tx::emit`] is written at the end together with
    /// `COMMIT`. An error of `work`, the store's or the domain's own, rolls everything back; so
    /// does a failed statement whose error `work` passes over. Dropped half way, the connection
    /// is thrown away with whatever was going on.
    pub async fn unit<T, E, F>(&self, cx: &TenantContext, name: QueryName, work: F) -> Result<T, E>
    where
        E: From<StoreError>,
        F: AsyncFnOnce(&Tx<'_>) -> Result<T, E>,
    {
        let clinic = cx.clinic();
        let mut refused_claim = None;
        let refused = &mut refused_claim;
        let ended = name
            .observe(Some(clinic), self, |lease| async move {
                let pg = &lease.conn().map_err(Ended::Store)?.pg;
                let tx = Tx::new(pg, cx);
                let set = SetTenant {
                    clinic: clinic.into(),
                };
                let (begun, set, result) =
                    join3(sent(pg, Begin {}), sent(pg, set), work(&tx)).await;
                *refused = tx.refused.get().cloned();
                let started = begun.and(set).map_err(from_diesel);
                let Closed {
                    clean,
                    emitted,
                    result,
                } = tx.close(started, result).await;
                if clean {
                    lease.finish(&result);
                }
                self.committed_events(clinic, emitted);
                result
            })
            .await;
        if let (Err(_), Some(Refused { claim, constraint })) = (&ended, refused_claim) {
            return Err(self.repeat(cx, &claim, constraint).await.into());
        }
        ended.map_err(|ended| match ended {
            Ended::Store(error) => E::from(error),
            Ended::Refused(error, _) => error,
        })
    }

    /// A `sec.*` function, before or across tenants: one statement, no tenant.
    pub async fn system<U, S, ST>(
        &self,
        _sys: &SystemContext,
        name: QueryName,
        statement: S,
    ) -> Result<Vec<U>, StoreError>
    where
        S: AsQuery + Send,
        S::Query: QueryFragment<Pg> + QueryId + Send,
        S::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        Pg: QueryMetadata<S::SqlType>,
        ST: 'static,
    {
        name.observe(None, self, |lease| async move {
            let mut pg = &lease.conn()?.pg;
            let rows = statement.load::<U>(&mut pg).await.map_err(from_diesel);
            lease.finish(&rows);
            rows
        })
        .await
    }

    /// [`Database::system`] for a function that answers nothing.
    pub async fn system_execute<S>(
        &self,
        _sys: &SystemContext,
        name: QueryName,
        statement: S,
    ) -> Result<usize, StoreError>
    where
        S: QueryFragment<Pg> + QueryId + Send,
    {
        name.observe(None, self, |lease| async move {
            let answer = sent(&lease.conn()?.pg, statement)
                .await
                .map_err(from_diesel);
            lease.finish(&answer);
            answer
        })
        .await
    }
}

/// A hot read written by hand has no text at compile time: its text is checked when it is run.
fn check_text<S: QueryFragment<Pg>>(select: &S) {
    #[cfg(debug_assertions)]
    {
        use diesel::query_builder::QueryBuilder;
        let mut builder = diesel::pg::PgQueryBuilder::default();
        let text = select.to_sql(&mut builder, &Pg).map(|()| builder.finish());
        debug_assert!(
            text.is_ok_and(|text| crate::statement::uses_tenant(&text)),
            "every table of a hot read is reached through `= s.t`, and none by OFFSET"
        );
    }
    #[cfg(not(debug_assertions))]
    let _ = select;
}

/// The transaction of a unit. Futures of its methods that are polled together (by
/// `futures_util::join!`, which keeps their order) are sent together.
pub struct Tx<'c> {
    pg: &'c PgConn,
    cx: &'c TenantContext,
    /// Statements without their answer. One that was dropped stays counted.
    open: AtomicUsize,
    /// The first failure.
    failed: OnceLock<Broke>,
    /// The claim that was refused, where one was.
    refused: OnceLock<Refused>,
    last: Mutex<Batch<'c>>,
}

/// How a unit ended, and whether its connection may be used again.
struct Closed<T, E> {
    clean: bool,
    /// What the events that it committed are about.
    emitted: Topics,
    result: Result<T, Ended<E>>,
}

impl<'c> Tx<'c> {
    fn new(pg: &'c PgConn, cx: &'c TenantContext) -> Self {
        Self {
            pg,
            cx,
            open: AtomicUsize::new(0),
            failed: OnceLock::new(),
            refused: OnceLock::new(),
            last: Mutex::new(Batch::new(pg, cx)),
        }
    }

    /// Whose transaction it is.
    pub const fn context(&self) -> &'c TenantContext {
        self.cx
    }

    /// Claims the caller's key; to be awaited before anything else is done. Where it was claimed
    /// before, the unit fails with [`StoreError::Repeat`], whatever `work` makes of the error.
    /// `None`: the caller sent none.
    pub async fn claim(&self, claim: Option<&Claim>) -> Result<(), StoreError> {
        let Some(claim) = claim else { return Ok(()) };
        let claimed = self.execute(crate::once::claim(claim)).await;
        if let Err(error) = &claimed
            && let Some(constraint) = crate::once::refusal(error)
        {
            let _ = self.refused.set(Refused {
                claim: claim.clone(),
                constraint,
            });
        }
        claimed.map(drop)
    }

    /// Runs a statement; answers how many rows it touched.
    pub fn execute<'t, S>(
        &'t self,
        statement: S,
    ) -> impl Future<Output = Result<usize, StoreError>> + Send + use<'t, 'c, S>
    where
        S: QueryFragment<Pg> + QueryId + Send,
    {
        let answer = sent(self.pg, statement);
        self.answered(answer)
    }

    /// Runs a query; answers its rows.
    pub fn load<'t, U, S, ST>(
        &'t self,
        statement: S,
    ) -> impl Future<Output = Result<Vec<U>, StoreError>> + Send
    where
        S: AsQuery + Send + 't,
        S::Query: QueryFragment<Pg> + QueryId + Send + 't,
        S::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        Pg: QueryMetadata<S::SqlType>,
        ST: 'static,
    {
        let pg = self.pg;
        self.answered(async move {
            let mut pg = pg;
            statement.load::<U>(&mut pg).await
        })
    }

    /// Runs a query; answers its first row, if there is one.
    pub fn optional<'t, U, S, ST>(
        &'t self,
        statement: S,
    ) -> impl Future<Output = Result<Option<U>, StoreError>> + Send
    where
        S: AsQuery + Send + 't,
        S::Query: QueryFragment<Pg> + QueryId + Send + 't,
        S::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        Pg: QueryMetadata<S::SqlType>,
        ST: 'static,
    {
        let rows = self.load::<U, S, ST>(statement);
        async move { Ok(rows.await?.into_iter().next()) }
    }

    /// Runs a query that always has a row; none is a failure.
    pub fn first<'t, U, S, ST>(
        &'t self,
        statement: S,
    ) -> impl Future<Output = Result<U, StoreError>> + Send
    where
        S: AsQuery + Send + 't,
        S::Query: QueryFragment<Pg> + QueryId + Send + 't,
        S::SqlType: CompatibleType<U, Pg, SqlType = ST>,
        U: FromSqlRow<ST, Pg> + Send + 'static,
        Pg: QueryMetadata<S::SqlType>,
        ST: 'static,
    {
        let row = self.optional::<U, S, ST>(statement);
        async move {
            row.await?
                .ok_or_else(|| failed("no row where one was expected"))
        }
    }

    /// Sends statements together and answers the row count of each [`Batch::execute`].
    pub fn pipeline<'t>(
        &'t self,
        fill: impl FnOnce(&mut Batch<'c>),
    ) -> impl Future<Output = Result<Vec<usize>, StoreError>> + Send {
        let mut batch = Batch::new(self.pg, self.cx);
        fill(&mut batch);
        self.counted(batch.send(Vec::new(), None))
    }

    /// Statements that nothing depends on any more: they are sent at the end, together with
    /// `COMMIT`.
    pub fn at_commit(&self, fill: impl FnOnce(&mut Batch<'c>)) {
        fill(&mut self.last());
    }

    /// An audit entry of the context's actor, written at the end.
    pub fn audit(&self, entry: &AuditEntry) {
        self.last().audit(entry);
    }

    /// A job, written at the end. While one with its unique key waits or runs, nothing is.
    pub fn enqueue(&self, job: &NewJob) {
        self.last().enqueue(job);
    }

    /// An event, written at the very end.
    pub fn emit(&self, event: &Event) {
        self.last().emit(event);
    }

    fn last(&self) -> MutexGuard<'_, Batch<'c>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answered<T>(
        &self,
        answer: impl Future<Output = QueryResult<T>>,
    ) -> Result<T, StoreError> {
        self.counted(async { answer.await.map_err(from_diesel) })
            .await
    }

    async fn counted<T>(
        &self,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.open.fetch_add(1, Ordering::Relaxed);
        let answer = answer.await;
        self.open.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = &answer {
            let _ = self.failed.set(error.into());
        }
        answer
    }

    /// Commits where everything went well, else rolls back.
    async fn close<T, E>(
        self,
        started: Result<usize, StoreError>,
        result: Result<T, E>,
    ) -> Closed<T, E> {
        let idle = self.open.into_inner() == 0;
        let result = match (started, result) {
            (Err(error), _) => Err(Ended::Store(error)),
            (Ok(_), Err(refused)) => Err(Ended::Refused(refused, self.failed.into_inner())),
            (Ok(_), Ok(_)) if !idle => {
                Err(Ended::Store(failed("a statement of the unit was dropped")))
            }
            (Ok(_), Ok(_)) if self.failed.get().is_some() => Err(Ended::Store(failed(
                "a failed statement of the unit was passed over",
            ))),
            (Ok(_), Ok(value)) => Ok(value),
        };
        match result {
            Ok(value) => {
                let last = self
                    .last
                    .into_inner()
                    .unwrap_or_else(PoisonError::into_inner);
                let topics = last.topics();
                let committed = last.send(Vec::new(), Some(sent(self.pg, Commit {}))).await;
                Closed {
                    // A failed transaction was ended by COMMIT all the same.
                    clean: true,
                    emitted: if committed.is_ok() {
                        topics
                    } else {
                        Topics::NONE
                    },
                    result: committed.map(|_| value).map_err(Ended::Store),
                }
            }
            Err(ended) => Closed {
                clean: idle && sent(self.pg, Rollback {}).await.is_ok(),
                emitted: Topics::NONE,
                result: Err(ended),
            },
        }
    }
}

impl std::fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tx")
    }
}
