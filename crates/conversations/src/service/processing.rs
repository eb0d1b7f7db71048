//! Processing a stored change: decode it, then let its facts take effect in one transaction.

use std::fmt;
use std::sync::Arc;

use kernel::job::Lease;
use kernel::{StoreError, TenantContext};

use crate::error::ProcessError;
use crate::inbound::Skipped;
use crate::ports::{Applied, ChangeStore, Decoders};

/// The kind of job that processes a stored change.
pub const PROCESS_JOB: &str = "webhook.process";

/// What the job of a stored change does.
#[derive(Clone)]
pub struct ChangeProcessing {
    store: Arc<dyn ChangeStore>,
    decoders: Decoders,
}

impl fmt::Debug for ChangeProcessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChangeProcessing")
    }
}

/// What processing a change did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Processed {
    /// What was written.
    pub applied: Applied,
    /// What was left in the ingress, for counters.
    pub skipped: Vec<Skipped>,
}

impl ChangeProcessing {
    /// The service over its store.
    pub fn new(store: Arc<dyn ChangeStore>, decoders: Decoders) -> Self {
        Self { store, decoders }
    }

    /// Processes the change of a leased job and ends the job. `cx` is the job's own: nobody's
    /// permission is asked, the provider's signature gave it.
    pub async fn process(
        &self,
        cx: &TenantContext,
        lease: Lease,
    ) -> Result<Processed, ProcessError> {
        let stored = self.store.find_change(cx, lease).await?;
        let stored = stored.ok_or(ProcessError::ChangeMissing)?;
        let decoder = self
            .decoders
            .of(stored.provider)
            .ok_or(StoreError::Corrupt("channels.provider"))?;
        let change = decoder.decode(&stored);
        let applied = self.store.apply(cx, lease, stored.channel, &change).await?;
        Ok(Processed {
            applied,
            skipped: change.skipped,
        })
    }
}
