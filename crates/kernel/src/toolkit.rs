//! The ports every service needs, in one cloneable bundle.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::{Clock, Keys, Random, TypedId};

/// Clock, randomness and keys. Cheap to clone.
#[derive(Clone)]
pub struct Toolkit {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    keys: Arc<dyn Keys>,
}

impl Toolkit {
    /// Bundles the three ports.
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>, keys: Arc<dyn Keys>) -> Self {
        Self {
            clock,
            random,
            keys,
        }
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
