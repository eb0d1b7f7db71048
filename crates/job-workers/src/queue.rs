//! One queue of this process: leases as many jobs as may still run at once, runs them, and looks
//! again when it is woken, when a job ends, or when time has passed.

use std::sync::Arc;
use std::time::Duration;

use kernel::job::{LeasedJob, Queue};
use kernel::{Origin, StoreError, SystemContext, SystemPurpose};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::attempt::Attempts;
use crate::held::HeldLeases;
use crate::outage::{Changed, Outage};
use crate::{Handlers, JobPorts, WakeSignal, WorkerSettings};

/// Wake-ups that come faster than this share one look at the queue.
const LOOKS_APART: Duration = Duration::from_millis(3);

/// What all queues of a process share.
pub(crate) struct Means {
    pub(crate) ports: JobPorts,
    pub(crate) handlers: Handlers,
    pub(crate) settings: WorkerSettings,
    pub(crate) signal: WakeSignal,
}

/// One queue being worked.
pub(crate) struct QueueWorker {
    pub(crate) queue: Queue,
    pub(crate) concurrency: u16,
    pub(crate) means: Arc<Means>,
    pub(crate) held: HeldLeases,
    pub(crate) stopped: watch::Receiver<bool>,
}

/// What a look at the queue tells about the next.
enum Look {
    /// There may be more that is due.
    More,
    /// Nothing more is due now.
    Empty { found: bool },
    /// The store does not answer.
    Failed(Duration),
}

impl QueueWorker {
    /// Works until told to stop, then until the last running job has ended. Dropped, it cuts
    /// them.
    pub(crate) async fn run(self) {
        let worker = Arc::new(self);
        let ttl = worker.means.settings.lease_ttl;
        let (leases, tools) = (
            worker.means.ports.leases.as_ref(),
            &worker.means.ports.tools,
        );
        tokio::select! {
            () = worker.held.renew(worker.queue, leases, ttl, tools) => {}
            () = Arc::clone(&worker).work() => {}
        }
    }

    async fn work(self: Arc<Self>) {
        let slots = Arc::new(Semaphore::new(usize::from(self.concurrency)));
        let mut running = JoinSet::new();
        let mut stopped = self.stopped.clone();
        let mut outage = Outage::default();
        let (shortest, longest) = self.means.settings.poll;
        let mut idle = shortest;
        loop {
            let slot = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                slot = Arc::clone(&slots).acquire_owned() => slot,
            };
            let Ok(slot) = slot else { break };
            while running.try_join_next().is_some() {}
            let looked_at = Instant::now();
            // Not to be cut: what was leased unseen would wait until its lease runs out.
            let look = match self.lease(&slots, slot).await {
                Ok((jobs, all)) => {
                    self.answered(&mut outage);
                    let found = !jobs.is_empty();
                    for (job, slot) in jobs {
                        running.spawn(Arc::clone(&self).run_job(job, slot));
                    }
                    if all {
                        Look::More
                    } else {
                        Look::Empty { found }
                    }
                }
                Err(error) => Look::Failed(self.failed(&mut outage, error)),
            };
            let pause = async {
                match look {
                    Look::More => {}
                    Look::Empty { .. } => {
                        tokio::select! {
                            () = sleep(self.jittered(idle)) => {}
                            () = self.means.signal.woken(self.queue) => {}
                        }
                        sleep_until(looked_at + LOOKS_APART).await;
                    }
                    // No wake-up shortens this wait.
                    Look::Failed(wait) => sleep(wait).await,
                }
            };
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                () = pause => {}
            }
            idle = match look {
                Look::Empty { found: false } => (idle * 2).min(longest),
                _ => shortest,
            };
        }
        while running.join_next().await.is_some() {}
    }

    /// Leases a job for each free slot; `slot` is one of them. Answers whether all were filled.
    async fn lease(
        &self,
        slots: &Arc<Semaphore>,
        slot: OwnedSemaphorePermit,
    ) -> Result<(Vec<(LeasedJob, OwnedSemaphorePermit)>, bool), StoreError> {
        let mut free = vec![slot];
        while let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
            free.push(slot);
        }
        let most = u16::try_from(free.len()).unwrap_or(u16::MAX);
        let origin = Origin::internal(self.means.ports.tools.id());
        let sys = SystemContext::new(SystemPurpose::JobLeasing, origin);
        let ttl = self.means.settings.lease_ttl;
        let leases = &self.means.ports.leases;
        let jobs = leases.lease(&sys, self.queue, most, ttl).await?;
        let all = jobs.len() >= free.len();
        Ok((jobs.into_iter().zip(free).collect(), all))
    }

    async fn run_job(self: Arc<Self>, job: LeasedJob, slot: OwnedSemaphorePermit) {
        let holding = self.held.hold(job.lease);
        let attempts = Attempts {
            queue: self.queue,
            handlers: &self.means.handlers,
            outcomes: self.means.ports.outcomes.as_ref(),
            tools: &self.means.ports.tools,
            timeout: self.means.settings.attempt_timeout,
            back_off: self.means.settings.back_off,
        };
        attempts.run(&job).await;
        drop(holding);
        drop(slot);
    }

    fn answered(&self, outage: &mut Outage) {
        if let Some(Changed::Ended(failures)) = outage.answered() {
            tracing::info!(
                queue = self.queue.name(),
                retries = failures,
                "jobs are leased again"
            );
        }
    }

    fn failed(&self, outage: &mut Outage, error: StoreError) -> Duration {
        let (wait, changed) = outage.failed(error, &self.means.ports.tools);
        if let Some(Changed::Began(code)) = changed {
            tracing::warn!(
                queue = self.queue.name(),
                code,
                "jobs cannot be leased: trying again"
            );
        }
        wait
    }

    /// Up to a tenth less, so that processes do not look in step.
    fn jittered(&self, wait: Duration) -> Duration {
        let [die] = self.means.ports.tools.random_bytes();
        wait.saturating_sub(wait / 10 * u32::from(die) / 255)
    }
}
