//! The ports every service needs, in one cloneable bundle.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::ports::CurrentTrace;
use crate::{Clock, Keys, Measurement, Metrics, NoMetrics, Random, TypedId};

/// Clock, randomness and keys, which trace one is in, and where measurements go. Cheap to clone.
#[derive(Clone)]
pub struct Toolkit {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    keys: Arc<dyn Keys>,
    trace: CurrentTrace,
    metrics: Arc<dyn Metrics>,
}

impl Toolkit {
    /// Bundles the three ports. There is never a trace, and nothing is measured.
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>, keys: Arc<dyn Keys>) -> Self {
        Self {
            clock,
            random,
            keys,
            trace: || None,
            metrics: Arc::new(NoMetrics),
        }
    }

    /// The same, in the traces that `current` tells of.
    #[must_use]
    pub fn with_traces(mut self, current: CurrentTrace) -> Self {
        self.trace = current;
        self
    }

    /// The same, with measurements going to `metrics`.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Where measurements go.
    pub fn metrics(&self) -> &Arc<dyn Metrics> {
        &self.metrics
    }

    /// Tells a measurement.
    pub fn measure(&self, measurement: Measurement<'_>) {
        self.metrics.record(measurement);
    }

    /// The present trace, where there is one.
    pub fn trace(&self) -> Option<String> {
        (self.trace)()
    }

    /// The present instant, in whole microseconds.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// A new id of the present instant.
    pub fn id<T: TypedId>(&self) -> T {
        T::generate(self.clock.as_ref(), self.random.as_ref())
    }

    /// `N` unpredictable bytes.
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }

    /// The keys.
    pub fn keys(&self) -> &dyn Keys {
        self.keys.as_ref()
    }
}

impl fmt::Debug for Toolkit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Toolkit")
    }
}
