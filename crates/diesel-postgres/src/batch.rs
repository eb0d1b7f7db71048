//! Statements that are sent together and answered together: [`Batch`].

use std::future::poll_fn;
use std::task::Poll;

use diesel::pg::Pg;
use diesel::query_builder::{QueryFragment, QueryId};
use diesel_async::RunQueryDsl;
use futures_util::future::BoxFuture;
use kernel::job::NewJob;
use kernel::once::Claim;
use kernel::stream::{Topic, Topics};
use kernel::{AuditEntry, Event, StoreError, TenantContext};

use crate::connection::PgConn;
use crate::error::from_diesel;

/// A statement on its way: sent when it is first polled.
pub(crate) type Sent<'c> = BoxFuture<'c, diesel::QueryResult<usize>>;

/// The statements of a write, sent together. Whatever the order of the calls, they go out as
/// statements, audit entries, jobs, events: events last, so that an outbox row is invisible for
/// as short as can be.
pub struct Batch<'c> {
    pg: &'c PgConn,
    cx: &'c TenantContext,
    claim: Option<(Claim, Sent<'c>)>,
    statements: Vec<Sent<'c>>,
    audit: Vec<Sent<'c>>,
    jobs: Vec<Sent<'c>>,
    events: Vec<Sent<'c>>,
    topics: Topics,
}

impl<'c> Batch<'c> {
    pub(crate) const fn new(pg: &'c PgConn, cx: &'c TenantContext) -> Self {
        Self {
            pg,
            cx,
            claim: None,
            statements: Vec::new(),
            audit: Vec::new(),
            jobs: Vec::new(),
            events: Vec::new(),
            topics: Topics::NONE,
        }
    }

    /// Claims the caller's key, before anything else is done. Where it was claimed before, the
    /// whole write fails with [`StoreError::Repeat`]. `None`: the caller sent none.
    pub fn claim(&mut self, claim: Option<Claim>) {
        self.claim = claim.map(|claim| {
            let statement = sent(self.pg, crate::once::claim(&claim));
            (claim, statement)
        });
    }

    /// The claim of this write.
    pub(crate) fn claimed(&self) -> Option<Claim> {
        self.claim.as_ref().map(|(claim, _)| claim.clone())
    }

    /// Adds a statement. Its binds are taken over now; its row count is answered at the end, in
    /// the order of the calls.
    pub fn execute<S>(&mut self, statement: S)
    where
        S: QueryFragment<Pg> + QueryId + Send,
    {
        self.statements.push(sent(self.pg, statement));
    }

    /// Adds an audit entry of the context's actor.
    pub fn audit(&mut self, entry: &AuditEntry) {
        self.audit
            .push(sent(self.pg, crate::audit::insert(self.cx, entry)));
    }

    /// Adds a job. While one with its unique key waits or runs, nothing is added.
    pub fn enqueue(&mut self, job: &NewJob) {
        self.jobs
            .push(sent(self.pg, crate::jobs::insert(self.cx, job)));
    }

    /// Adds an event.
    pub fn emit(&mut self, event: &Event) {
        self.topics = self.topics.with(Topic::of(event.name));
        self.events
            .push(sent(self.pg, crate::outbox::insert(self.cx, event)));
    }

    /// What its events are about; none where there is nothing for the sequencer to move once this
    /// has committed.
    pub(crate) const fn topics(&self) -> Topics {
        self.topics
    }

    /// Sends everything behind `before` and before `after`, reads every answer, and gives the
    /// statements' row counts; the first failure otherwise.
    pub(crate) async fn send(
        self,
        before: Vec<Sent<'c>>,
        after: Option<Sent<'c>>,
    ) -> Result<Vec<usize>, StoreError> {
        let mut line = before;
        line.extend(self.claim.map(|(_, statement)| statement));
        let (first, counted) = (line.len(), self.statements.len());
        line.extend(self.statements);
        line.extend(self.audit);
        line.extend(self.jobs);
        line.extend(self.events);
        line.extend(after);
        let mut counts = all_in_order(line)
            .await
            .into_iter()
            .collect::<Result<Vec<usize>, _>>()
            .map_err(from_diesel)?;
        counts.truncate(first + counted);
        counts.drain(..first);
        Ok(counts)
    }
}

impl std::fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("statements", &self.statements.len())
            .finish_non_exhaustive()
    }
}

/// Takes over a statement's binds; nothing is sent yet.
pub(crate) fn sent<S>(pg: &PgConn, statement: S) -> Sent<'_>
where
    S: QueryFragment<Pg> + QueryId + Send,
{
    let mut pg = pg;
    statement.execute(&mut pg)
}

/// Polls all in the given order, which is the order in which they are sent, until each has its
/// answer. (`join_all` keeps that order for few futures only, and says so nowhere.)
async fn all_in_order(line: Vec<Sent<'_>>) -> Vec<diesel::QueryResult<usize>> {
    let mut answers: Vec<Option<_>> = line.iter().map(|_| None).collect();
    let mut line = line;
    poll_fn(|cx| {
        let mut open = false;
        for (future, answer) in line.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(ready) => *answer = Some(ready),
                    Poll::Pending => open = true,
                }
            }
        }
        if open { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    answers.into_iter().flatten().collect()
}
