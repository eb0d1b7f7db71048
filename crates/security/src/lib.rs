//! Keys, passwords, tokens, time and chance: the adapter behind [`kernel::Keys`],
//! [`kernel::Clock`], [`kernel::Random`] and the ports of `clinics` that need cryptography.
//!
//! Nothing here stores anything. Primitives come from AWS-LC (`aws-lc-rs`) and `argon2`; none is
//! made here.

#![warn(missing_docs)]

pub mod keyring;
pub mod passwords;
pub mod revocations;
pub mod system;
pub mod tokens;

pub use keyring::{InvalidKeyRing, InvalidMasterKey, KeyRing, MasterKey};
pub use passwords::{Argon2Hasher, Bounds, Cost};
pub use revocations::RevocationList;
pub use system::{SystemClock, SystemRandom};
pub use tokens::{InvalidSigningKey, JwtTokens, SigningKey};
