//! [`Access`]: from an e-mail and a password to a token, from a token to an identity, from an
//! identity and a clinic to a grant.

use std::fmt;
use std::sync::Arc;

use kernel::email::Email;
use kernel::{
    ClinicId, Grant, KeyOwner, KeyPurpose, Origin, Scope, Sensitive, StoreError, SystemContext,
    SystemPurpose, Toolkit, UserId,
};

use crate::error::{ChangePasswordError, InvalidToken, LogInError, MeError, VerifyError};
use crate::lockout::{Account, Lockout};
use crate::password::NewPassword;
use crate::ports::{
    CredentialStore, MembershipStore, PasswordHasher, SecurityEvent, SecurityEventKind,
    TokenVerifier,
};
use crate::sessions::{Sessions, Tokens};
use crate::user::{ClinicOfUser, Identity, PasswordHash, User, UserStatus};

/// Decides who comes in.
#[derive(Clone)]
pub struct Access {
    credentials: Arc<dyn CredentialStore>,
    memberships: Arc<dyn MembershipStore>,
    hasher: Arc<dyn PasswordHasher>,
    sessions: Sessions,
    verifier: Arc<dyn TokenVerifier>,
    lockout: Lockout,
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

/// What became of a password.
struct Proof {
    user: Option<User>,
    /// The hash that it was proven by.
    proven: Option<PasswordHash>,
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
        lockout: Lockout,
        tools: Toolkit,
    ) -> Self {
        Self {
            credentials,
            memberships,
            hasher,
            sessions,
            verifier,
            lockout,
            tools,
        }
    }

    /// Exchanges an e-mail and a password for the tokens of a new session.
    ///
    /// Unknown users, wrong passwords and disabled users get one answer, after the same work,
    /// and leave a keyed hash of the e-mail in the security log. After some failures the account
    /// and the address have to wait ([`Lockout`]).
    pub async fn log_in(
        &self,
        origin: Origin,
        email: &Email,
        password: Sensitive<String>,
    ) -> Result<LoggedIn, LogInError> {
        let sys = SystemContext::new(SystemPurpose::Login, origin);
        let admission = self.lockout.admit(&sys, Account::Login(email)).await?;
        let proof = match self.prove(&sys, email, password).await {
            Ok(proof) => proof,
            Err(undecided) => {
                self.lockout.undecided(&sys, admission).await;
                return Err(undecided);
            }
        };
        let subject = self.tools.keys().mac(
            KeyOwner::Platform,
            KeyPurpose::SecurityLog,
            email.as_str().as_bytes(),
        );
        let mut event = SecurityEvent::now(&self.tools, SecurityEventKind::LoginRejected);
        event.user = proof.user.as_ref().map(|user| user.id);
        event.subject_hash = Some(subject);
        let opened = match (proof.user, proof.proven) {
            (Some(user), Some(hash)) if user.status == UserStatus::Active => {
                let tokens = self.sessions.open(&sys, user.id, &hash).await?;
                tokens.map(|tokens| (user, tokens))
            }
            _ => None,
        };
        let Some((user, tokens)) = opened else {
            self.rejected(&sys, event, admission.begins_waiting).await;
            return Err(LogInError::Rejected);
        };
        let clinics = self.credentials.list_clinics(&sys, user.id).await?;
        event.kind = SecurityEventKind::LoginSucceeded;
        // Nobody comes in without a trace.
        self.credentials.record_security_event(&sys, event).await?;
        self.lockout.succeeded(&sys, admission).await?;
        Ok(LoggedIn {
            tokens,
            user,
            clinics,
        })
    }

    /// Replaces the caller's password, who gives the present one, and ends their other sessions.
    ///
    /// Attempts are counted as logins are, for the user and the address.
    pub async fn change_password(
        &self,
        origin: Origin,
        identity: Identity,
        present: Sensitive<String>,
        new: NewPassword,
    ) -> Result<(), ChangePasswordError> {
        let sys = SystemContext::new(SystemPurpose::Login, origin);
        let user = self.find_active(&sys, identity.user).await?;
        let user = user.ok_or(ChangePasswordError::Gone)?;
        new.fits(&user.email)?;
        let account = Account::User(identity.user);
        let admission = self.lockout.admit(&sys, account).await?;
        let decided = async {
            let proof = self.prove(&sys, &user.email, present).await?;
            let Some(before) = proof.proven else {
                return Ok(false);
            };
            let after = self.hasher.hash(new.into_inner()).await?;
            let sessions = &self.sessions;
            let changed = sessions
                .change_password(&sys, identity, &before, &after)
                .await?;
            Ok(changed)
        };
        match decided.await {
            Ok(true) => Ok(self.lockout.succeeded(&sys, admission).await?),
            Ok(false) => {
                if admission.begins_waiting {
                    let mut event =
                        SecurityEvent::now(&self.tools, SecurityEventKind::LockoutBegun);
                    event.user = Some(identity.user);
                    let _reported_by_the_store =
                        self.credentials.record_security_event(&sys, event).await;
                }
                Err(ChangePasswordError::Wrong)
            }
            Err(undecided) => {
                self.lockout.undecided(&sys, admission).await;
                Err(LogInError::into(undecided))
            }
        }
    }

    /// Who has this address, and whether the password is theirs.
    async fn prove(
        &self,
        sys: &SystemContext,
        email: &Email,
        password: Sensitive<String>,
    ) -> Result<Proof, LogInError> {
        let found = self.credentials.find_credentials(sys, email).await?;
        let (user, hash) = match found {
            Some(found) => (Some(found.user), found.password_hash),
            None => (None, None),
        };
        let proven = self.hasher.verify(password, hash.clone()).await?;
        Ok(Proof {
            user,
            proven: hash.filter(|_| proven),
        })
    }

    /// The refusal stands even where its trace cannot be written; the store reports that.
    async fn rejected(&self, sys: &SystemContext, event: SecurityEvent, begins_waiting: bool) {
        let begun = begins_waiting.then(|| SecurityEvent {
            user: event.user,
            subject_hash: event.subject_hash,
            ..SecurityEvent::now(&self.tools, SecurityEventKind::LockoutBegun)
        });
        for event in [Some(event), begun].into_iter().flatten() {
            let _reported_by_the_store = self.credentials.record_security_event(sys, event).await;
        }
    }

    /// Who a token speaks for, where their session is still in force.
    ///
    /// A session that was ended is refused at once by the process that ended it, and by every other
    /// within a second: one that does not know what was revoked asks the store.
    pub async fn verify(&self, origin: &Origin, token: &str) -> Result<Identity, VerifyError> {
        let identity = self.verifier.verify(token)?;
        if self.sessions.stands(origin, identity).await? {
            Ok(identity)
        } else {
            Err(InvalidToken.into())
        }
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
