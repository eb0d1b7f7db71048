//! The toolkit of a test: a clock that stands still, seeded chance, and real keys.

use std::sync::Arc;

use kernel::{Keys, Toolkit};
use security::keyring::{KeyRing, MasterKey};

use crate::{FixedClock, SeededRandom};

/// Real keys from a fixed secret.
///
/// # Panics
///
/// Never: the secret is a good one.
pub fn keys() -> Arc<dyn Keys> {
    let master = MasterKey::new(1, &[7; 32]).expect("a good key");
    Arc::new(KeyRing::new(vec![master], None).expect("a ring of one key"))
}

/// A toolkit on `clock`. Its nonces come from the system, its ids from a seed.
pub fn toolkit(clock: Arc<FixedClock>) -> Toolkit {
    Toolkit::new(clock, Arc::new(SeededRandom::new(1)), keys())
}
