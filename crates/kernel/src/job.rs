//! Durable jobs: enqueued in the transaction of their cause, leased by workers, finished in the
//! transaction of their effect.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::metrics::JobState;
use crate::{ClinicId, JobId, StoreError, SystemContext, TenantContext, Toolkit};

/// A queue of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Inbound webhook changes, and later outbound messages.
    Message,
}

impl Queue {
    /// Every queue.
    pub const ALL: &'static [Self] = &[Self::Message];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message-worker",
        }
    }
}

/// A job to enqueue. Its clinic is the context's.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// Where it waits.
    pub queue: Queue,
    /// What to do, such as `webhook.process`.
    pub kind: &'static str,
    /// Version of the payload's shape.
    pub version: i16,
    /// Ids only, never personal data.
    pub payload: Value,
    /// Higher goes first; 0 by default.
    pub priority: i16,
    /// Not before this instant.
    pub run_at: DateTime<Utc>,
    /// Dead after so many attempts.
    pub max_attempts: i16,
    /// While a job of the same clinic and key waits or runs, no second one is enqueued.
    pub unique_key: Option<String>,
}

impl NewJob {
    /// A job due now, with payload version 1, ordinary priority and eight attempts.
    pub fn due_now(tools: &Toolkit, queue: Queue, kind: &'static str, payload: Value) -> Self {
        Self {
            id: tools.id(),
            queue,
            kind,
            version: 1,
            payload,
            priority: 0,
            run_at: tools.now(),
            max_attempts: 8,
            unique_key: None,
        }
    }
}

/// Proof of a lease: a job may be finished only by who holds the newest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Whose job it is.
    pub clinic: ClinicId,
    /// The job.
    pub job: JobId,
    /// Drawn at each lease; a recovered job has another.
    pub token: uuid::Uuid,
}

/// The lease was lost meanwhile: the job is somebody else's, or done. Its effect must not stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease of the job was lost")]
pub struct LeaseLost;

/// A leased job.
#[derive(Debug, Clone, PartialEq)]
pub struct LeasedJob {
    /// Whose and which it is, and the proof needed to finish it.
    pub lease: Lease,
    /// What to do.
    pub kind: String,
    /// Version of the payload's shape.
    pub version: i16,
    /// Which attempt this is, from 1.
    pub attempt: i16,
    /// Dead after so many.
    pub max_attempts: i16,
}

/// Why an attempt failed, as kept in the row: a stable code, never an error's own text, which
/// may repeat personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureCode(pub &'static str);

/// What becomes of a job whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// Waits and is tried again at this instant.
    RetryAt(DateTime<Utc>),
    /// Stays as a dead letter until a person decides.
    Dead,
}

/// Taking jobs, before any tenant is known. Ids come out, never payloads.
#[async_trait]
pub trait JobLeases: Send + Sync {
    /// Leases up to `most` due jobs of `queue` for `ttl`, highest priority first, taking turns
    /// between clinics. Jobs whose lease ran out are due again.
    async fn lease(
        &self,
        sys: &SystemContext,
        queue: Queue,
        most: u16,
        ttl: Duration,
    ) -> Result<Vec<LeasedJob>, StoreError>;

    /// Prolongs leases; answers those that still hold. One whose job is being ended this moment
    /// counts as held, and is not prolonged.
    async fn renew(
        &self,
        sys: &SystemContext,
        leases: &[Lease],
        ttl: Duration,
    ) -> Result<Vec<Lease>, StoreError>;
}

/// How many jobs of a queue stand so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobTally {
    /// Which queue.
    pub queue: Queue,
    /// How they stand.
    pub state: JobState,
    /// How many.
    pub jobs: u64,
    /// Since when the oldest is due.
    pub oldest: Option<DateTime<Utc>>,
}

/// A dead letter as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadJob {
    /// Whose it is.
    pub clinic: ClinicId,
    /// Its id.
    pub id: JobId,
    /// Its queue, which may be another version's.
    pub queue: String,
    /// What was to be done.
    pub kind: String,
    /// Why it failed last.
    pub failure: Option<String>,
    /// How often it was tried.
    pub attempts: i16,
    /// When it was given up.
    pub dead_since: Option<DateTime<Utc>>,
}

/// What operators see of the jobs of all clinics: never a payload.
#[async_trait]
pub trait JobCensus: Send + Sync {
    /// How many there are. What has none is left out.
    async fn count(&self, sys: &SystemContext) -> Result<Vec<JobTally>, StoreError>;

    /// The newest dead letters, `most` at most.
    async fn dead(&self, sys: &SystemContext, most: u16) -> Result<Vec<DeadJob>, StoreError>;
}

/// Tells the workers of this process that a job may be due, so that none waits for a poll. Never
/// the only way a job is found: workers of other processes poll.
pub trait JobSignal: Send + Sync {
    /// A job of `queue` was committed.
    fn job_enqueued(&self, queue: Queue);
}

/// Ending an attempt inside the job's clinic. A success is recorded by the store of the effect,
/// in the effect's own transaction.
#[async_trait]
pub trait JobOutcomes: Send + Sync {
    /// Records a failed attempt; `false` when the lease was lost meanwhile, and nothing was
    /// written.
    async fn fail(
        &self,
        cx: &TenantContext,
        lease: Lease,
        code: FailureCode,
        after: AfterFailure,
    ) -> Result<bool, StoreError>;
}
