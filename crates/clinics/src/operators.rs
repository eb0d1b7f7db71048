//! [`Operators`]: who runs the installation. They belong to no clinic, see no clinic's people, and
//! come in by a listener of their own with a token of their own.
//!
//! A token is 32 unpredictable bytes, shown once. What is stored is its keyed hash, so that neither
//! the database nor a backup of it lets anybody in. It ends by itself, and at once when it is
//! revoked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use kernel::{
    AuditId, ClinicId, KeyOwner, KeyPurpose, Keys, OperatorId, Origin, Sensitive, StoreError,
    SystemContext, SystemPurpose, Toolkit,
};
use uuid::Uuid;

use crate::clinic::ClinicStatus;
use crate::ports::{CredentialStore, SecurityEvent, SecurityEventKind};
use crate::values::Name;

/// What an operator's token begins with: whoever finds one in a log knows what it is.
const PREFIX: &str = "aco_";
const TOKEN_BYTES: usize = 32;

/// A token as it is shown to its operator, once.
#[derive(Debug)]
pub struct OperatorToken(Sensitive<String>);

impl OperatorToken {
    /// For showing it, this once.
    pub fn reveal(&self) -> &str {
        self.0.expose()
    }
}

/// The keyed hash of a token; `None` for a text that is none.
fn hash(keys: &dyn Keys, token: &str) -> Option<[u8; 32]> {
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX)?).ok()?;
    (bytes.len() == TOKEN_BYTES)
        .then(|| keys.mac(KeyOwner::Platform, KeyPurpose::OperatorToken, &bytes))
}

/// Who came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Their id.
    pub id: OperatorId,
    /// Their name.
    pub name: Name,
}

/// An operator to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOperator {
    /// Their id.
    pub id: OperatorId,
    /// Their name.
    pub name: Name,
    /// The keyed hash of their token.
    pub token_hash: [u8; 32],
    /// Now.
    pub created_at: DateTime<Utc>,
    /// When the token ends.
    pub expires_at: DateTime<Utc>,
}

/// An operator as others see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorSummary {
    /// Their id.
    pub id: OperatorId,
    /// Their name.
    pub name: Name,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// When the token ends.
    pub expires_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was used last, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A clinic as operators see it: counts, and nothing of its people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClinicTally {
    /// Its id.
    pub id: ClinicId,
    /// Its name.
    pub name: Name,
    /// Whether it may be used.
    pub status: ClinicStatus,
    /// Since when it exists.
    pub created_at: DateTime<Utc>,
    /// Its active members.
    pub members: u64,
    /// Its WhatsApp numbers.
    pub channels: u64,
    /// Its dead letters.
    pub dead_jobs: u64,
}

/// Where operators are kept, and what they may count. Without a tenant.
#[async_trait]
pub trait OperatorStore: Send + Sync {
    /// Stores one, with an entry in the security log.
    async fn create(
        &self,
        sys: &SystemContext,
        new: &NewOperator,
        entry: Uuid,
    ) -> Result<(), StoreError>;

    /// All of them, oldest first.
    async fn list(&self, sys: &SystemContext) -> Result<Vec<OperatorSummary>, StoreError>;

    /// Ends a token, with an entry in the security log; `false` when there is none to end.
    async fn revoke(
        &self,
        sys: &SystemContext,
        id: OperatorId,
        at: DateTime<Utc>,
        entry: Uuid,
    ) -> Result<bool, StoreError>;

    /// Whose token it is, where it may be used at `at`; notes that it was.
    async fn find(
        &self,
        sys: &SystemContext,
        token_hash: &[u8; 32],
        at: DateTime<Utc>,
    ) -> Result<Option<Operator>, StoreError>;

    /// Every clinic, by name.
    async fn count_clinics(&self, sys: &SystemContext) -> Result<Vec<ClinicTally>, StoreError>;
}

/// Creates operators and lets them in.
#[derive(Clone)]
pub struct Operators {
    store: Arc<dyn OperatorStore>,
    log: Arc<dyn CredentialStore>,
    tools: Toolkit,
}

impl Operators {
    /// Wires the service; refused tokens go to `log`'s security log.
    pub fn new(
        store: Arc<dyn OperatorStore>,
        log: Arc<dyn CredentialStore>,
        tools: Toolkit,
    ) -> Self {
        Self { store, log, tools }
    }

    /// Makes an operator whose token holds for `lifetime`. From the command line alone.
    pub async fn create(
        &self,
        origin: Origin,
        name: Name,
        lifetime: Duration,
    ) -> Result<(NewOperator, OperatorToken), StoreError> {
        let secret: [u8; TOKEN_BYTES] = self.tools.random_bytes();
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        let now = self.tools.now();
        let new = NewOperator {
            id: self.tools.id(),
            name,
            token_hash: self.tools.keys().mac(
                KeyOwner::Platform,
                KeyPurpose::OperatorToken,
                &secret,
            ),
            created_at: now,
            expires_at: now + TimeDelta::from_std(lifetime).unwrap_or(TimeDelta::days(1)),
        };
        let sys = SystemContext::new(SystemPurpose::Administration, origin);
        self.store.create(&sys, &new, self.entry()).await?;
        Ok((new, OperatorToken(Sensitive::new(token))))
    }

    /// All operators. From the command line alone.
    pub async fn list(&self, origin: Origin) -> Result<Vec<OperatorSummary>, StoreError> {
        let sys = SystemContext::new(SystemPurpose::Administration, origin);
        self.store.list(&sys).await
    }

    /// Ends an operator's token; `false` when there is none to end. From the command line alone.
    pub async fn revoke(&self, origin: Origin, id: OperatorId) -> Result<bool, StoreError> {
        let sys = SystemContext::new(SystemPurpose::Administration, origin);
        let (now, entry) = (self.tools.now(), self.entry());
        self.store.revoke(&sys, id, now, entry).await
    }

    /// Whose token it is. A wrong one is noted in the security log.
    pub async fn authenticate(
        &self,
        origin: Origin,
        token: &str,
    ) -> Result<Option<Operator>, StoreError> {
        let sys = SystemContext::new(SystemPurpose::OperatorAccess, origin);
        let found = match hash(self.tools.keys(), token) {
            Some(hash) => self.store.find(&sys, &hash, self.tools.now()).await?,
            None => None,
        };
        if found.is_none() {
            let event = SecurityEvent::now(&self.tools, SecurityEventKind::OperatorRefused);
            self.log.record_security_event(&sys, event).await?;
        }
        Ok(found)
    }

    /// Every clinic with its counts.
    pub async fn count_clinics(&self, origin: Origin) -> Result<Vec<ClinicTally>, StoreError> {
        let sys = SystemContext::new(SystemPurpose::OperatorCounts, origin);
        self.store.count_clinics(&sys).await
    }

    fn entry(&self) -> Uuid {
        self.tools.id::<AuditId>().into()
    }
}

impl fmt::Debug for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Operators")
    }
}
