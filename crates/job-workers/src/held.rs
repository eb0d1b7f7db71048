//! The leases of the jobs that are running: [`HeldLeases`], and their renewal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::job::{JobLeases, Lease, Queue};
use kernel::{JobId, Origin, SystemContext, SystemPurpose, Toolkit};
use tokio::time::sleep;

use crate::outage::{Changed, Outage};

/// The leases of one queue's running jobs.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeldLeases(Arc<Mutex<HashMap<JobId, Held>>>);

#[derive(Debug)]
struct Held {
    lease: Lease,
    /// Renewals in a row that did not find it. One may be a job that has just ended.
    missed: u32,
}

/// Held for as long as this lives.
#[derive(Debug)]
pub(crate) struct Holding {
    held: HeldLeases,
    lease: Lease,
}

impl Drop for Holding {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        // A job that was lost and leased again here is held under its new token.
        if held
            .get(&self.lease.job)
            .is_some_and(|entry| entry.lease == self.lease)
        {
            held.remove(&self.lease.job);
        }
    }
}

impl HeldLeases {
    /// Begins to hold one.
    pub(crate) fn hold(&self, lease: Lease) -> Holding {
        self.lock().insert(lease.job, Held { lease, missed: 0 });
        Holding {
            held: self.clone(),
            lease,
        }
    }

    /// How many are held.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn all(&self) -> Vec<Lease> {
        self.lock().values().map(|held| held.lease).collect()
    }

    /// Notes which of the `asked` were renewed; answers those that are lost since.
    fn note(&self, asked: &[Lease], renewed: &[Lease]) -> Vec<Lease> {
        let mut held = self.lock();
        let mut lost = Vec::new();
        for lease in asked {
            let Some(entry) = held.get_mut(&lease.job) else {
                continue;
            };
            if entry.lease != *lease {
                continue;
            }
            if renewed.contains(lease) {
                entry.missed = 0;
            } else {
                entry.missed = entry.missed.saturating_add(1);
                if entry.missed == 2 {
                    lost.push(*lease);
                }
            }
        }
        lost
    }

    /// Renews them at a third of `ttl`, for ever. A lease that was lost cancels nothing: the
    /// job goes on, but its effect cannot commit.
    pub(crate) async fn renew(
        &self,
        queue: Queue,
        leases: &dyn JobLeases,
        ttl: Duration,
        tools: &Toolkit,
    ) {
        let mut outage = Outage::default();
        let mut wait = ttl / 3;
        loop {
            sleep(wait).await;
            wait = ttl / 3;
            let asked = self.all();
            if asked.is_empty() {
                continue;
            }
            let origin = Origin::internal(tools.id());
            let sys = SystemContext::new(SystemPurpose::JobLeasing, origin);
            match leases.renew(&sys, &asked, ttl).await {
                Ok(renewed) => {
                    if let Some(Changed::Ended(_)) = outage.answered() {
                        tracing::info!(queue = queue.name(), "leases are renewed again");
                    }
                    for lease in self.note(&asked, &renewed) {
                        tracing::warn!(
                            queue = queue.name(),
                            acolhe.job_id = %lease.job,
                            acolhe.clinic_id = %lease.clinic,
                            code = "lease_lost",
                            "a running job lost its lease"
                        );
                    }
                }
                Err(error) => {
                    let (retry_in, changed) = outage.failed(error, tools);
                    wait = retry_in.min(wait);
                    if let Some(Changed::Began(code)) = changed {
                        tracing::warn!(
                            queue = queue.name(),
                            code,
                            "leases cannot be renewed: trying again"
                        );
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
