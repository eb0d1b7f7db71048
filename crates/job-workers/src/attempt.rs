//! One attempt of one leased job, from its context to its recorded end.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use kernel::job::{AfterFailure, FailureCode, JobOutcomes, LeasedJob, Queue};
use kernel::metrics::JobOutcome;
use kernel::{Measurement, Origin, TenantContext, Toolkit};
use tokio::time::{Instant, sleep, timeout};
use tracing::{Instrument as _, Span, field};

use crate::{BackOff, Handlers, JobError, JobHandler};

/// No handler of this process knows the kind. While a new version is rolled out, another's may:
/// so it is tried again before it is a dead letter.
pub const UNKNOWN_KIND: FailureCode = FailureCode("unknown_kind");
/// The handler of the kind does not know this version of the payload. As with the kind.
pub const UNKNOWN_VERSION: FailureCode = FailureCode("unknown_version");
/// The handler panicked.
pub const PANICKED: FailureCode = FailureCode("panicked");
/// The attempt took longer than it may.
pub const TIMED_OUT: FailureCode = FailureCode("timed_out");
/// Every attempt ended without a word: the job may be what kills its workers.
pub const ATTEMPTS_EXHAUSTED: FailureCode = FailureCode("attempts_exhausted");

/// Tries in a row of an attempt that other transactions stood in the way of.
const CONTENDED_TRIES: u32 = 4;
const CONTENDED_BACK_OFF: BackOff = BackOff {
    first: Duration::from_millis(10),
    longest: Duration::from_millis(100),
};
/// Tries of recording a failure; after that, the lease runs out.
const RECORD_TRIES: u32 = 5;
const RECORD_BACK_OFF: BackOff = BackOff {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(2),
};

/// What an attempt works with.
pub(crate) struct Attempts<'a> {
    pub(crate) queue: Queue,
    pub(crate) handlers: &'a Handlers,
    pub(crate) outcomes: &'a dyn JobOutcomes,
    pub(crate) tools: &'a Toolkit,
    pub(crate) timeout: Duration,
    pub(crate) back_off: BackOff,
}

impl Attempts<'_> {
    /// Runs an attempt and records its failure, should it fail.
    pub(crate) async fn run(&self, job: &LeasedJob) {
        let handler = self.handlers.of(&job.kind);
        let span = tracing::info_span!(
            parent: None,
            "job",
            otel.name = %format_args!("process {}", self.queue.name()),
            otel.kind = "consumer",
            otel.status_code = field::Empty,
            messaging.operation.name = "process",
            messaging.destination.name = self.queue.name(),
            acolhe.job_id = %job.lease.job,
            acolhe.job_kind = handler.map_or("unknown", JobHandler::kind),
            acolhe.clinic_id = %job.lease.clinic,
            attempt = job.attempt,
            error.type = field::Empty,
        );
        let began = Instant::now();
        let outcome = self
            .run_inside(job, handler, &span)
            .instrument(span.clone())
            .await;
        self.tools
            .measure(Measurement::JobEnded(self.queue, outcome, began.elapsed()));
    }

    async fn run_inside(
        &self,
        job: &LeasedJob,
        handler: Option<&dyn JobHandler>,
        span: &Span,
    ) -> JobOutcome {
        let origin = Origin::internal(self.tools.id());
        #[expect(
            clippy::disallowed_methods,
            reason = "the job runner: the clinic is the leased row's own"
        )]
        let cx = TenantContext::for_job(job.lease.clinic, job.lease.job, origin);
        let ended = match handler {
            _ if job.attempt > job.max_attempts => Err(JobError::Permanent(ATTEMPTS_EXHAUSTED)),
            None => Err(JobError::Transient(UNKNOWN_KIND)),
            Some(handler) if !handler.versions().contains(&job.version) => {
                Err(JobError::Transient(UNKNOWN_VERSION))
            }
            Some(handler) => self.run_handler(&cx, job, handler).await,
        };
        match ended {
            Ok(()) => JobOutcome::Done,
            Err(error) => {
                span.record("otel.status_code", "error");
                span.record("error.type", error.code().0);
                self.failed(&cx, job, error).await
            }
        }
    }

    /// Runs the handler within its time, again at once where other transactions stood in its
    /// way.
    async fn run_handler(
        &self,
        cx: &TenantContext,
        job: &LeasedJob,
        handler: &dyn JobHandler,
    ) -> Result<(), JobError> {
        let tries = async {
            for tried in 1..CONTENDED_TRIES {
                match catch_panic(handler.run(cx, job)).await {
                    Some(Err(JobError::Contended(_))) => {
                        sleep(CONTENDED_BACK_OFF.wait(tried, self.tools)).await;
                    }
                    ended => return ended,
                }
            }
            catch_panic(handler.run(cx, job)).await
        };
        match timeout(self.timeout, tries).await {
            Ok(Some(ended)) => ended,
            Ok(None) => Err(JobError::Transient(PANICKED)),
            Err(_) => Err(JobError::Transient(TIMED_OUT)),
        }
    }

    /// Records a failed attempt and logs it, once.
    async fn failed(&self, cx: &TenantContext, job: &LeasedJob, error: JobError) -> JobOutcome {
        let code = error.code().0;
        let queue = self.queue.name();
        let after = match error {
            JobError::LeaseLost => {
                tracing::warn!(
                    queue,
                    code,
                    "a job's lease was lost: its effect does not stand"
                );
                return JobOutcome::Lost;
            }
            JobError::Permanent(_) => None,
            JobError::Transient(_) | JobError::Contended(_) => (job.attempt < job.max_attempts)
                .then(|| {
                    let failures = u32::from(job.attempt.max(1).unsigned_abs());
                    self.back_off.wait(failures, self.tools)
                }),
        };
        let recorded = self.record(cx, job, error.code(), after).await;
        match recorded {
            None => tracing::error!(
                queue,
                code,
                attempt = job.attempt,
                "a job failed and that could not be recorded: its lease runs out"
            ),
            // It may as well have succeeded: a commit whose answer was lost.
            Some(false) => tracing::warn!(
                queue,
                code,
                attempt = job.attempt,
                "an attempt failed, but the job has ended or is somebody else's"
            ),
            Some(true) if after.is_none() => tracing::error!(
                queue,
                code,
                attempt = job.attempt,
                "a job failed for good and stays as a dead letter"
            ),
            Some(true) => tracing::warn!(
                queue,
                code,
                attempt = job.attempt,
                retry_in_ms = after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
                "a job failed and is tried again"
            ),
        }
        match recorded {
            None | Some(false) => JobOutcome::Lost,
            Some(true) if after.is_none() => JobOutcome::Dead,
            Some(true) => JobOutcome::Retried,
        }
    }

    /// Records the failure, some times over if the store does not answer. `None` when it never
    /// did.
    async fn record(
        &self,
        cx: &TenantContext,
        job: &LeasedJob,
        code: FailureCode,
        retry_in: Option<Duration>,
    ) -> Option<bool> {
        let failed_at = self.tools.now();
        let after = match retry_in {
            Some(wait) => AfterFailure::RetryAt(failed_at + wait),
            None => AfterFailure::Dead,
        };
        for tried in 1..=RECORD_TRIES {
            match self.outcomes.fail(cx, job.lease, code, after).await {
                Ok(recorded) => return Some(recorded),
                Err(_) if tried < RECORD_TRIES => {
                    sleep(RECORD_BACK_OFF.wait(tried, self.tools)).await;
                }
                Err(_) => {}
            }
        }
        None
    }
}

/// The future's output, `None` if it panicked. A future that panicked is not polled again.
async fn catch_panic<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        },
    )
    .await
}
