//! Ports that every domain shares: time, chance and keys. Nothing else in the domains may read
//! a clock, draw randomness or hold key material.

use chrono::{DateTime, Utc};

use crate::{ClinicId, TypedId};

/// The present instant.
pub trait Clock: Send + Sync {
    /// Now, cut to whole microseconds (the precision PostgreSQL keeps), so that a value that
    /// was stored equals the value that was answered.
    fn now(&self) -> DateTime<Utc>;
}

/// Unpredictable bytes, fit for keys and tokens.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The trace that the calling thread works in, as 32 lower hex digits, where there is one: what an
/// act leaves in the audit, so that one finds the other.
pub type CurrentTrace = fn() -> Option<String>;

/// Draws a new typed id: what services hold instead of a clock and a die each.
pub fn new_id<T: TypedId>(clock: &dyn Clock, random: &dyn Random) -> T {
    T::generate(clock, random)
}

/// Whose key is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyOwner {
    /// A subkey of this clinic: data sealed for one clinic cannot be opened for another.
    Clinic(ClinicId),
    /// A subkey of the installation, for what is not a tenant's (webhook endpoints).
    Platform,
}

/// What a key is for. Each purpose has a subkey of its own, so that a value made for one can
/// never be passed off as another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// Page cursors.
    Cursor,
    /// Look-up of a CPF or CNPJ.
    DocumentLookup,
    /// A CPF or CNPJ at rest.
    DocumentAtRest,
    /// Secrets of a webhook endpoint or channel at rest.
    ChannelSecret,
    /// Hashes of changed values in the audit.
    Audit,
    /// Entity tags.
    EntityTag,
    /// Idempotency keys, and the answers that are kept under them.
    Idempotency,
    /// Keys of the cache that nodes share.
    CacheKey,
    /// Values of that cache.
    CacheValue,
    /// Hashes of tried e-mails in the platform's security log.
    SecurityLog,
    /// Refresh tokens: their seals, their hashes at rest, and what follows from one.
    RefreshToken,
    /// Operators' tokens.
    OperatorToken,
    /// Names of shared counters.
    RateLimit,
    /// Hashes of the tokens of one-time links.
    OneTimeToken,
    /// Hashes of the accounts and addresses whose failed logins are counted.
    Lockout,
    /// Which clinics a flag's percentage means.
    FeatureFlag,
}

impl KeyPurpose {
    /// The stable label that enters key derivation. Never change one: old data would not open.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cursor => "cursor",
            Self::DocumentLookup => "document-lookup",
            Self::DocumentAtRest => "document-at-rest",
            Self::ChannelSecret => "channel-secret",
            Self::Audit => "audit",
            Self::EntityTag => "entity-tag",
            Self::Idempotency => "idempotency",
            Self::CacheKey => "cache-key",
            Self::CacheValue => "cache-value",
            Self::SecurityLog => "security-log",
            Self::RefreshToken => "refresh-token",
            Self::OperatorToken => "operator-token",
            Self::RateLimit => "rate-limit",
            Self::OneTimeToken => "one-time-token",
            Self::Lockout => "lockout",
            Self::FeatureFlag => "feature-flag",
        }
    }
}

/// Sealed bytes cannot be opened: forged, cut, of another owner, purpose or row, or of a master
/// key that is gone. Which of these is not told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed bytes cannot be opened")]
pub struct CannotOpen;

/// What became of stored values that were looked at, to be sealed with the present master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resealed {
    /// Sealed or hashed anew.
    pub anew: u64,
    /// Left alone: they were as they should be.
    pub current: u64,
    /// Left alone: no key that is kept opens them.
    pub unreadable: u64,
}

impl std::ops::AddAssign for Resealed {
    fn add_assign(&mut self, other: Self) {
        self.anew += other.anew;
        self.current += other.current;
        self.unreadable += other.unreadable;
    }
}

/// Key material: versioned master keys with a subkey for each owner and purpose.
pub trait Keys: Send + Sync {
    /// Encrypts `plain`. `bound_to` is authenticated with it and must be given again to open
    /// it: table, column and row id, so that a sealed value cannot be moved elsewhere.
    fn seal(&self, owner: KeyOwner, purpose: KeyPurpose, bound_to: &[u8], plain: &[u8]) -> Vec<u8>;

    /// Opens what [`Keys::seal`] made under the same owner, purpose and `bound_to`, with the
    /// present master key or one of the kept older ones.
    fn open(
        &self,
        owner: KeyOwner,
        purpose: KeyPurpose,
        bound_to: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, CannotOpen>;

    /// Whether sealed bytes are of the master key that seals at present. Others still open while
    /// theirs is kept, and must be sealed anew before it may be dropped.
    fn is_current(&self, sealed: &[u8]) -> bool;

    /// Keyed HMAC-SHA256 of `data`, for look-ups that must not reveal what is looked up.
    fn mac(&self, owner: KeyOwner, purpose: KeyPurpose, data: &[u8]) -> [u8; 32];
}
