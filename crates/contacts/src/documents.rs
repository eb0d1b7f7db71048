//! [`Documents`]: what the installation's operators do with contacts' documents when the keys
//! change. Nobody sees one here.

use std::fmt;
use std::sync::Arc;

use kernel::ports::Resealed;
use kernel::{ClinicId, Origin, StoreError, TenantContext};

use crate::ports::DocumentStore;

/// How many contacts are locked at once.
const BATCH: u16 = 500;

/// Documents at rest.
#[derive(Clone)]
pub struct Documents {
    store: Arc<dyn DocumentStore>,
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Documents")
    }
}

impl Documents {
    /// The service over its store.
    pub fn new(store: Arc<dyn DocumentStore>) -> Self {
        Self { store }
    }

    /// Seals and hashes a clinic's documents with the present keys. What is so already stays. May
    /// be done again; and while servers run, unless it is the look-up key that changed.
    pub async fn reseal(&self, origin: Origin, clinic: ClinicId) -> Result<Resealed, StoreError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "an operator's act in the clinic whose documents are sealed anew"
        )]
        let cx = TenantContext::for_operator(clinic, origin);
        let mut done = Resealed::default();
        let mut after = None;
        loop {
            let some = self.store.reseal(&cx, after, BATCH).await?;
            done += some.resealed;
            if some.last.is_none() {
                return Ok(done);
            }
            after = some.last;
        }
    }
}
