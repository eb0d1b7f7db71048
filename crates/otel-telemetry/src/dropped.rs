//! The count of fields that were dropped on their way out. Anything in it is a mistake in the
//! source code: the canary test asserts that it stays empty.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::fields;
use crate::lines::Output;

/// So many different names are remembered; the rest count as `…`.
const MAX_NAMES: usize = 64;

/// What was dropped since the start, by field.
pub(crate) struct Dropped {
    counts: Mutex<BTreeMap<String, u64>>,
    output: Arc<Output>,
}

impl fmt::Debug for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dropped").field(&self.counts()).finish()
    }
}

impl Dropped {
    pub(crate) fn new(output: Arc<Output>) -> Self {
        Self {
            counts: Mutex::default(),
            output,
        }
    }

    /// Counts a field, and says its name on stderr the first time, so that it is found before the
    /// field is missed. The value is said nowhere.
    pub(crate) fn count(&self, field: &str) {
        // A name that is not even a name could be somebody's.
        let field = if fields::is_word(field) { field } else { "…" };
        let first = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let field = if counts.len() < MAX_NAMES || counts.contains_key(field) {
                field
            } else {
                "…"
            };
            let count = counts.entry(field.to_owned()).or_default();
            *count += 1;
            *count == 1
        };
        if first {
            self.output.notice(&format!(
                "telemetry drops the field {field}: it is not listed, or its value has another shape"
            ));
        }
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
