//! [`PasswordResets`]: a forgotten password, set anew by whoever reads the account's mail.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use kernel::email::Email;
use kernel::{
    KeyOwner, KeyPurpose, MailId, Origin, StoreError, SystemContext, SystemPurpose, Toolkit, UserId,
};
use uuid::Uuid;

use crate::error::HashError;
use crate::one_time::OneTimeToken;
use crate::password::{InvalidPassword, NewPassword};
use crate::ports::{CredentialStore, PasswordHasher, SecurityEvent, SecurityEventKind};
use crate::user::PasswordHash;

/// How long a link is good.
const VALID: TimeDelta = TimeDelta::hours(1);
/// Requests are counted over this time.
const WINDOW: TimeDelta = TimeDelta::hours(1);
/// For one account in that time.
const PER_ACCOUNT: i64 = 3;
/// From one address in that time: a clinic's desk shares one.
const PER_ADDRESS: i64 = 20;

/// A request for a new password, with all that it leaves behind.
#[derive(Debug, Clone)]
pub struct ResetRequest {
    /// Its id.
    pub id: Uuid,
    /// Of the mail it sends, should the address be an account's.
    pub mail: MailId,
    /// The address that was given.
    pub email: Email,
    /// Its keyed hash, by which requests for one account are counted.
    pub subject_hash: [u8; 32],
    /// Keyed hash of where it came from.
    pub origin_hash: Option<[u8; 32]>,
    /// When.
    pub at: DateTime<Utc>,
    /// Until when its link is good.
    pub expires_at: DateTime<Utc>,
    /// Requests since then are counted.
    pub since: DateTime<Utc>,
    /// So many for one account.
    pub per_account: i64,
    /// So many from one address.
    pub per_address: i64,
    /// Of its line in the security log.
    pub log: Uuid,
}

/// Requests for new passwords. Tenantless, with the purpose [`SystemPurpose::OneTimeLink`].
#[async_trait]
pub trait ResetStore: Send + Sync {
    /// Keeps the request, its mail and its line in the security log together, whether or not
    /// there is such an account. `false` when there were too many: only the line is kept then.
    async fn request(
        &self,
        sys: &SystemContext,
        request: &ResetRequest,
    ) -> Result<bool, StoreError>;

    /// Whose password a link sets anew; `None` when it is used, has ended or never was.
    async fn find(
        &self,
        sys: &SystemContext,
        token_hash: [u8; 32],
        at: DateTime<Utc>,
    ) -> Result<Option<Email>, StoreError>;

    /// Uses the link up and sets the password, with a line in the security log of that id; ends
    /// the user's other links. `None` when the link is not good any more.
    async fn confirm(
        &self,
        sys: &SystemContext,
        token_hash: [u8; 32],
        password: &PasswordHash,
        at: DateTime<Utc>,
        log: Uuid,
    ) -> Result<Option<UserId>, StoreError>;
}

/// Why a request for a new password was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RequestResetError {
    /// This installation sends no mail.
    #[error("no mailer is configured")]
    NoMail,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a new password was not set.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmResetError {
    /// The link was never ours, has ended or is used.
    #[error("the link is not good")]
    InvalidLink,
    /// The password may not be set. The link stays good.
    #[error("the password {0}")]
    Password(#[from] InvalidPassword),
    /// Too many passwords are hashed at once.
    #[error("too many passwords are hashed")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A password could not be hashed: a defect of ours.
    #[error("a password could not be hashed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<HashError> for ConfirmResetError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Busy,
            HashError::Failed(source) => Self::Failed(source),
        }
    }
}

/// Sets forgotten passwords anew.
#[derive(Clone)]
pub struct PasswordResets {
    store: Arc<dyn ResetStore>,
    credentials: Arc<dyn CredentialStore>,
    hasher: Arc<dyn PasswordHasher>,
    sends_mail: bool,
    tools: Toolkit,
}

impl PasswordResets {
    /// Wires the service. Without a mailer (`sends_mail`) every request is refused.
    pub fn new(
        store: Arc<dyn ResetStore>,
        credentials: Arc<dyn CredentialStore>,
        hasher: Arc<dyn PasswordHasher>,
        sends_mail: bool,
        tools: Toolkit,
    ) -> Self {
        Self {
            store,
            credentials,
            hasher,
            sends_mail,
            tools,
        }
    }

    /// Asks for a mail with a link. Known and unknown addresses, and those that asked too often,
    /// are answered alike and cost the same.
    pub async fn request(&self, origin: Origin, email: Email) -> Result<(), RequestResetError> {
        if !self.sends_mail {
            return Err(RequestResetError::NoMail);
        }
        let now = self.tools.now();
        let mac = |data: &[u8]| {
            let keys = self.tools.keys();
            keys.mac(KeyOwner::Platform, KeyPurpose::SecurityLog, data)
        };
        let address = origin.address.map(|address| address.to_string());
        let request = ResetRequest {
            id: self.tools.id::<MailId>().into(),
            mail: self.tools.id(),
            subject_hash: mac(email.as_str().as_bytes()),
            origin_hash: address.map(|address| mac(format!("address:{address}").as_bytes())),
            email,
            at: now,
            expires_at: now + VALID,
            since: now - WINDOW,
            per_account: PER_ACCOUNT,
            per_address: PER_ADDRESS,
            log: self.tools.id::<kernel::AuditId>().into(),
        };
        let sys = SystemContext::new(SystemPurpose::OneTimeLink, origin);
        // Whether it was one too many is for the security log alone.
        let _taken = self.store.request(&sys, &request).await?;
        Ok(())
    }

    /// Sets the password that a link allows to be set, once.
    pub async fn confirm(
        &self,
        origin: Origin,
        token: &OneTimeToken,
        password: String,
    ) -> Result<(), ConfirmResetError> {
        let sys = SystemContext::new(SystemPurpose::OneTimeLink, origin);
        let hash = token.hash(&self.tools);
        // Asked before hashing, which is slow on purpose: a stranger's guess costs nothing.
        let found = self.store.find(&sys, hash, self.tools.now()).await?;
        let Some(email) = found else {
            return self.refused(&sys).await;
        };
        let password = NewPassword::parse_for(password, &email)?;
        let password = self.hasher.hash(password.into_inner()).await?;
        let log = self.tools.id::<kernel::AuditId>().into();
        let now = self.tools.now();
        match self.store.confirm(&sys, hash, &password, now, log).await? {
            Some(_user) => Ok(()),
            None => self.refused(&sys).await,
        }
    }

    /// A refused link leaves a line in the security log; the refusal stands without it.
    async fn refused(&self, sys: &SystemContext) -> Result<(), ConfirmResetError> {
        let event = SecurityEvent {
            id: self.tools.id::<kernel::AuditId>().into(),
            at: self.tools.now(),
            kind: SecurityEventKind::LinkRefused,
            user: None,
            clinic: None,
            subject_hash: None,
        };
        let _reported_by_the_store = self.credentials.record_security_event(sys, event).await;
        Err(ConfirmResetError::InvalidLink)
    }
}

impl fmt::Debug for PasswordResets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordResets")
    }
}
