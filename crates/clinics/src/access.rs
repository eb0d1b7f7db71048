//! [`Access`]: from an e-mail and a password to a token, from a token to an identity, from an
//! identity and a clinic to a grant.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kernel::email::Email;
use kernel::{
    ClinicId, Grant, KeyOwner, KeyPurpose, Origin, Scope, Sensitive, SessionId, StoreError,
    SystemContext, SystemPurpose, Toolkit, UserId,
};

use crate::error::{InvalidToken, LogInError, MeError};
use crate::ports::{
    CredentialStore, MembershipStore, PasswordHasher, SecurityEvent, SecurityEventKind,
    TokenIssuer, TokenVerifier,
};
use crate::user::{ClinicOfUser, Identity, User, UserStatus};

/// Decides who comes in.
#[derive(Clone)]
pub struct Access {
    credentials: Arc<dyn CredentialStore>,
    memberships: Arc<dyn MembershipStore>,
    hasher: Arc<dyn PasswordHasher>,
    issuer: Arc<dyn TokenIssuer>,
    verifier: Arc<dyn TokenVerifier>,
    tools: Toolkit,
}

/// A login that succeeded.
#[derive(Debug, Clone)]
pub struct LoggedIn {
    /// What to send with each request.
    pub access_token: Sensitive<String>,
    /// How long it is valid.
    pub expires_in: Duration,
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
        issuer: Arc<dyn TokenIssuer>,
        verifier: Arc<dyn TokenVerifier>,
        tools: Toolkit,
    ) -> Self {
        Self {
            credentials,
            memberships,
            hasher,
            issuer,
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
        let proven = self.hasher.verify(password, hash).await?;
        let subject = self.tools.keys().mac(
            KeyOwner::Platform,
            KeyPurpose::SecurityLog,
            email.as_str().as_bytes(),
        );
        let Some(user) = user
            .clone()
            .filter(|user| proven && user.status == UserStatus::Active)
        else {
            let mut event = self.security_event(SecurityEventKind::LoginRejected);
            event.user = user.map(|user| user.id);
            event.subject_hash = Some(subject);
            // The refusal stands even where its trace cannot be written; the store reports that.
            let _reported_by_the_store = self.credentials.record_security_event(&sys, event).await;
            return Err(LogInError::Rejected);
        };
        let clinics = self.credentials.list_clinics(&sys, user.id).await?;
        let issued = self.issuer.issue(user.id, self.tools.id::<SessionId>())?;
        let mut event = self.security_event(SecurityEventKind::LoginSucceeded);
        event.user = Some(user.id);
        event.subject_hash = Some(subject);
        // Nobody comes in without a trace.
        self.credentials.record_security_event(&sys, event).await?;
        Ok(LoggedIn {
            access_token: issued.token,
            expires_in: issued.expires_in,
            user,
            clinics,
        })
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
            let mut event = self.security_event(SecurityEventKind::ClinicRefused);
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

    fn security_event(&self, kind: SecurityEventKind) -> SecurityEvent {
        SecurityEvent {
            id: self.tools.id::<kernel::AuditId>().into(),
            at: self.tools.now(),
            kind,
            user: None,
            clinic: None,
            subject_hash: None,
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}
