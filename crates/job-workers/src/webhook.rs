//! `webhook.process`: a stored change of a provider takes effect in its clinic.

use async_trait::async_trait;
use conversations::ChangeProcessing;
use conversations::error::ProcessError;
use conversations::service::PROCESS_JOB;
use kernel::TenantContext;
use kernel::job::{FailureCode, LeasedJob};

use crate::{JobError, JobHandler};

/// Processes stored changes.
#[derive(Debug, Clone)]
pub struct ProcessChange {
    processing: ChangeProcessing,
}

impl ProcessChange {
    /// Through the conversations' service, whose store should use the jobs' own connections.
    pub const fn new(processing: ChangeProcessing) -> Self {
        Self { processing }
    }
}

#[async_trait]
impl JobHandler for ProcessChange {
    fn kind(&self) -> &'static str {
        PROCESS_JOB
    }

    async fn run(&self, cx: &TenantContext, job: &LeasedJob) -> Result<(), JobError> {
        let processed = self.processing.process(cx, job.lease).await?;
        if processed.applied.lease_lost {
            return Err(JobError::LeaseLost);
        }
        if !processed.skipped.is_empty() {
            tracing::info!(
                count = i64::try_from(processed.skipped.len()).unwrap_or(i64::MAX),
                "parts of a change were not understood and stay in the ingress"
            );
        }
        Ok(())
    }
}

impl From<ProcessError> for JobError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::ChangeMissing => Self::Permanent(FailureCode("change_missing")),
            ProcessError::Store(error) => error.into(),
        }
    }
}
