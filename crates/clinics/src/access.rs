//! [`Access`]: from an e-mail and a password to a token, from a token to an identity, from an
//! identity and a clinic to a grant.

use std::fmt;
use std::sync::Arc;

use kernel::email::Email;
use kernel::{
    ClinicId, Grant, KeyOwner, KeyPurpose, Origin, Scope, Sensitive, StoreError, SystemContext,
    SystemPurpose, Toolkit, UserId,
};

use crate::error::{InvalidToken, LogInError, MeError};
use crate::ports::{
    CredentialStore, MembershipStore, PasswordHasher, SecurityEvent, SecurityEventKind,
    TokenVerifier,
};
use crate::sessions::{Sessions, Tokens};
use crate::user::{ClinicOfUser, Identity, User, UserStatus};

/// Decides who comes in.
#[derive(Clone)]
pub struct Access {
    credentials: Arc<dyn CredentialStore>,
    memberships: Arc<dyn MembershipStore>,
    hasher: Arc<dyn PasswordHasher>,
    sessions: Sessions,
    verifier: Arc<dyn TokenVerifier>,
    tools: Toolkit,
}

/// A login that succeeded.
#[derive(Debug, Clone)]
pub struct LoggedIn {
    /// The tokens of the session that begins.
    pub tokens: Tokens,
    /// Who logged in.
    pub user: User,
    /// Where they may act.
    pub clinics: Vec<ClinicOfUser>,
}

/// A user as they see themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// Who they are.
    pub user: User,
    /// Where they may act.
    pub clinics: Vec<ClinicOfUser>,
}

impl Access {
    /// Wires the service.
    pub fn new(
        credentials: Arc<dyn CredentialStore>,
        memberships: Arc<dyn MembershipStore>,
        hasher: Arc<dyn PasswordHasher>,
        sessions: Sessions,
        verifier: Arc<dyn TokenVerifier>,
        tools: Toolkit,
    ) -> Self {
        Self {
            credentials,
            memberships,
            hasher,
            sessions,
            verifier,
            tools,
        }
    }

    /// Exchanges an e-mail and a password for a token.
    ///
    /// Unknown users, wrong passwords and disabled users get one answer, after the same work,
    /// and leave a keyed hash of the e-mail in the security log.
    pub async fn log_in(
        &self,
        origin: Origin,
        email: &Email,
        password: Sensitive<String>,
    ) -> Result<LoggedIn, LogInError> {
        let sys = SystemContext::new(SystemPurpose::Login, origin);
        let found = self.credentials.find_credentials(&sys, email).await?;
        let (user, hash) = match found {
            Some(found) => (Some(found.user), found.password_hash),
            None => (None, None),
        };
        let proven = self.hasher.verify(password, hash.clone()).await?;
        let subject = self.tools.keys().mac(
            KeyOwner::Platform,
            KeyPurpose::SecurityLog,
            email.as_str().as_bytes(),
        );
        let mut event = SecurityEvent::now(&self.tools, SecurityEventKind::LoginRejected);
        event.user = user.as_ref().map(|user| user.id);
        event.subject_hash = Some(subject);
        let active = user.filter(|user| proven && user.status == UserStatus::Active);
        let (Some(user), Some(proof)) = (active, hash) else {
            return Err(self.rejected(&sys, event).await);
        };
        let clinics = self.credentials.list_clinics(&sys, user.id).await?;
        let Some(tokens) = self.sessions.open(&sys, user.id, &proof).await? else {
            return Err(self.rejected(&sys, event).await);
        };
        event.kind = SecurityEventKind::LoginSucceeded;
        // Nobody comes in without a trace.
        self.credentials.record_security_event(&sys, event).await?;
        Ok(LoggedIn {
            tokens,
            user,
            clinics,
        })
    }

    /// The refusal stands even where its trace cannot be written; the store reports that.
    async fn rejected(&self, sys: &SystemContext, event: SecurityEvent) -> LogInError {
        let _reported_by_the_store = self.credentials.record_security_event(sys, event).await;
        LogInError::Rejected
    }

    /// Who a token speaks for.
    pub fn verify(&self, token: &str) -> Result<Identity, InvalidToken> {
        self.verifier.verify(token)
    }

    /// What the identity may do in `clinic`. `None` alike for a clinic that does not exist, one
    /// that is suspended, and one where the user has no membership in force; noted in the
    /// security log.
    pub async fn grant(
        &self,
        origin: Origin,
        identity: Identity,
        clinic: ClinicId,
    ) -> Result<Option<Grant>, StoreError> {
        let sys = SystemContext::new(SystemPurpose::Login, origin);
        let standing = self
            .memberships
            .find_standing(&sys, clinic, identity.user)
            .await?;
        let Some(membership) = standing.and_then(crate::user::Standing::in_force) else {
            let mut event = SecurityEvent::now(&self.tools, SecurityEventKind::ClinicRefused);
            event.user = Some(identity.user);
            event.clinic = Some(clinic);
            let _reported_by_the_store = self.credentials.record_security_event(&sys, event).await;
            return Ok(None);
        };
        let branches = membership.branches.map(|mut branches| {
            branches.sort_unstable();
            branches.dedup();
            branches
        });
        Ok(Some(Grant {
            clinic,
            user: identity.user,
            role: membership.role.name(),
            permissions: membership.role.permissions(),
            scope: Scope {
                branches,
                own_agenda_only: membership.own_agenda_only,
            },
        }))
    }

    /// The caller and their clinics.
    pub async fn me(&self, origin: Origin, identity: Identity) -> Result<Me, MeError> {
        let sys = SystemContext::new(SystemPurpose::Login, origin);
        let user = self.find_active(&sys, identity.user).await?;
        let user = user.ok_or(MeError::Gone)?;
        let clinics = self.credentials.list_clinics(&sys, user.id).await?;
        Ok(Me { user, clinics })
    }

    async fn find_active(
        &self,
        sys: &SystemContext,
        user: UserId,
    ) -> Result<Option<User>, StoreError> {
        let user = self.credentials.find_user(sys, user).await?;
        Ok(user.filter(|user| user.status == UserStatus::Active))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}
