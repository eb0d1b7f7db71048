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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use conversations::channel::{Provider, Secret};
    use conversations::inbound::InboundChange;
    use conversations::ports::{
        Applied, ChangeStore, Decoders, Handshake, RawChange, StoredChange, WebhookDecoder,
    };
    use kernel::job::Lease;
    use kernel::{ChannelId, Permissions, StoreError};
    use uuid::Uuid;

    use super::*;

    /// Answers once each.
    #[derive(Default)]
    struct Store {
        finds: Mutex<Option<Result<Option<StoredChange>, StoreError>>>,
        applies: Mutex<Option<Result<Applied, StoreError>>>,
    }

    #[async_trait]
    impl ChangeStore for Store {
        async fn find_change(
            &self,
            _: &TenantContext,
            _: Lease,
        ) -> Result<Option<StoredChange>, StoreError> {
            self.finds.lock().unwrap().take().unwrap()
        }

        async fn apply(
            &self,
            _: &TenantContext,
            _: Lease,
            _: ChannelId,
            _: &InboundChange,
        ) -> Result<Applied, StoreError> {
            self.applies.lock().unwrap().take().unwrap()
        }
    }

    /// Understands nothing, and says so.
    struct Decoder;

    impl WebhookDecoder for Decoder {
        fn provider(&self) -> Provider {
            Provider::WhatsappCloud
        }
        fn proof_header(&self) -> &'static str {
            "x-proof"
        }
        fn answer_handshake(&self, _: Handshake<'_>, _: &Secret) -> Option<String> {
            None
        }
        fn is_authentic(&self, _: Option<&[u8]>, _: &[u8], _: &[Secret]) -> bool {
            false
        }
        fn split(&self, _: &bytes::Bytes) -> Vec<RawChange> {
            Vec::new()
        }
        fn decode(&self, _: &StoredChange) -> InboundChange {
            InboundChange::default()
        }
    }

    fn change() -> StoredChange {
        StoredChange {
            id: Uuid::nil().into(),
            channel: Uuid::nil().into(),
            provider: Provider::WhatsappCloud,
            received_at: chrono::DateTime::UNIX_EPOCH,
            body: bytes::Bytes::new(),
        }
    }

    async fn run(
        finds: Result<Option<StoredChange>, StoreError>,
        applies: Result<Applied, StoreError>,
    ) -> Result<(), JobError> {
        let store = Store {
            finds: Mutex::new(Some(finds)),
            applies: Mutex::new(Some(applies)),
        };
        let decoders = Decoders::new(vec![Arc::new(Decoder)]);
        let handler = ProcessChange::new(ChangeProcessing::new(Arc::new(store), decoders));
        let clinic = Uuid::from_u128(0xA).into();
        let cx = TenantContext::for_test(clinic, Uuid::nil().into(), Permissions::NONE);
        let job = LeasedJob {
            lease: Lease {
                clinic,
                job: Uuid::nil().into(),
                token: Uuid::nil(),
            },
            kind: PROCESS_JOB.to_owned(),
            version: 1,
            attempt: 1,
            max_attempts: 8,
        };
        handler.run(&cx, &job).await
    }

    #[tokio::test]
    async fn a_change_that_was_applied_is_a_success() {
        assert_eq!(
            run(Ok(Some(change())), Ok(Applied::default())).await,
            Ok(())
        );
    }

    #[tokio::test]
    async fn a_lease_that_was_lost_meanwhile_is_no_success() {
        let applied = Applied {
            lease_lost: true,
            ..Applied::default()
        };
        let ran = run(Ok(Some(change())), Ok(applied)).await;
        assert_eq!(ran, Err(JobError::LeaseLost));
    }

    #[tokio::test]
    async fn a_change_that_is_not_there_is_never_tried_again() {
        let ran = run(Ok(None), Ok(Applied::default())).await;
        let missing = JobError::Permanent(FailureCode("change_missing"));
        assert_eq!(ran, Err(missing));
    }

    #[tokio::test]
    async fn a_store_that_failed_is_asked_again_unless_what_it_holds_is_unreadable() {
        let text = || "Maria da Silva".into();
        let failures = [
            (StoreError::Unavailable(text()), "store_unavailable"),
            (StoreError::Contention(text()), "store_contention"),
            (StoreError::Corrupt("messages.kind"), "store_corrupt"),
            (StoreError::Failed(text()), "store_failed"),
        ];
        for (failure, code) in failures {
            let permanent = matches!(failure, StoreError::Corrupt(_));
            let error = run(Ok(Some(change())), Err(failure)).await.unwrap_err();
            assert_eq!(error.code().0, code);
            assert_eq!(error.to_string(), code);
            assert_eq!(matches!(error, JobError::Permanent(_)), permanent);
        }
    }
}
