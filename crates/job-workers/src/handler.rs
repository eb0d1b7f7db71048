//! What a kind of job needs in order to be run: a [`JobHandler`].

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::job::{FailureCode, LeaseLost, LeasedJob};
use kernel::{StoreError, TenantContext};

/// Runs the jobs of one kind.
#[async_trait]
pub trait JobHandler: Send + Sync {
    /// The kind, as it was enqueued.
    fn kind(&self) -> &'static str;

    /// The versions of the payload that it understands.
    fn versions(&self) -> RangeInclusive<i16> {
        1..=1
    }

    /// One attempt. `Ok` means that the job's success is recorded already: the store of the
    /// effect did it in the effect's own transaction, with `job.lease` as the proof. The future
    /// may be dropped at any await, and the attempt may be the second of a job whose first one
    /// was interrupted anywhere.
    async fn run(&self, cx: &TenantContext, job: &LeasedJob) -> Result<(), JobError>;
}

/// Why an attempt failed. Carries a stable code and nothing else: an error's own text may
/// repeat personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// Trying again later may help.
    #[error("{}", .0.0)]
    Transient(FailureCode),
    /// Another transaction stood in the way: trying again at once helps.
    #[error("{}", .0.0)]
    Contended(FailureCode),
    /// Trying again never helps: a dead letter.
    #[error("{}", .0.0)]
    Permanent(FailureCode),
    /// The lease was lost, so the effect was rolled back. The job is somebody else's now.
    #[error("lease_lost")]
    LeaseLost,
}

impl JobError {
    /// The stable code, as logged and kept in the row.
    pub const fn code(self) -> FailureCode {
        match self {
            Self::Transient(code) | Self::Contended(code) | Self::Permanent(code) => code,
            Self::LeaseLost => FailureCode("lease_lost"),
        }
    }
}

impl From<StoreError> for JobError {
    /// A value that cannot be read stays unreadable; all else may pass, a defect of ours with
    /// the next version.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Transient(FailureCode("store_unavailable")),
            StoreError::Contention(_) => Self::Contended(FailureCode("store_contention")),
            StoreError::Corrupt(_) => Self::Permanent(FailureCode("store_corrupt")),
            // Jobs bring no key: the same defect as any other.
            StoreError::Failed(_) | StoreError::Repeat(_) => {
                Self::Transient(FailureCode("store_failed"))
            }
        }
    }
}

impl From<LeaseLost> for JobError {
    fn from(_: LeaseLost) -> Self {
        Self::LeaseLost
    }
}

/// The handlers of a process, by kind.
#[derive(Clone, Default)]
pub struct Handlers(HashMap<&'static str, Arc<dyn JobHandler>>);

impl Handlers {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one. A second one of the same kind takes the place of the first.
    #[must_use]
    pub fn with(mut self, handler: impl JobHandler + 'static) -> Self {
        self.0.insert(handler.kind(), Arc::new(handler));
        self
    }

    /// The handler of a kind.
    pub(crate) fn of(&self, kind: &str) -> Option<&dyn JobHandler> {
        self.0.get(kind).map(AsRef::as_ref)
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}
