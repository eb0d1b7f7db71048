//! [`Sessions`]: begins them, hands out tokens for them, and ends them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use kernel::{
    Origin, Sensitive, SessionId, StoreError, SystemContext, SystemPurpose, Toolkit, TypedId as _,
    UserId,
};
use uuid::Uuid;

use crate::error::{RefreshError, TokenFault};
use crate::ports::{
    CredentialStore, IssuedToken, Revocations, SecurityEvent, SecurityEventKind, SessionStore,
    TokenIssuer,
};
use crate::session::{
    EndReason, NewSession, RefreshToken, Rotated, Rotation, Session, SessionPolicy,
};
use crate::user::{Identity, PasswordHash};

/// Sessions of every user. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    store: Arc<dyn SessionStore>,
    log: Arc<dyn CredentialStore>,
    issuer: Arc<dyn TokenIssuer>,
    revocations: Arc<dyn Revocations>,
    policy: SessionPolicy,
    tools: Toolkit,
}

/// The tokens of a session.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// What to send with each request.
    pub access_token: Sensitive<String>,
    /// How long it is valid.
    pub expires_in: Duration,
    /// What gets the next ones, once.
    pub refresh_token: Sensitive<String>,
    /// How long it is valid, unless it is used before.
    pub refresh_expires_in: Duration,
}

impl Sessions {
    /// Wires the service.
    pub fn new(
        store: Arc<dyn SessionStore>,
        log: Arc<dyn CredentialStore>,
        issuer: Arc<dyn TokenIssuer>,
        revocations: Arc<dyn Revocations>,
        policy: SessionPolicy,
        tools: Toolkit,
    ) -> Self {
        Self {
            store,
            log,
            issuer,
            revocations,
            policy,
            tools,
        }
    }

    /// Begins a session of a user who was proven by the password of this hash. `None` when the
    /// password was changed or the user disabled meanwhile.
    pub(crate) async fn open(
        &self,
        sys: &SystemContext,
        user: UserId,
        proof: &PasswordHash,
    ) -> Result<Option<Tokens>, OpenError> {
        let now = self.tools.now();
        let token = RefreshToken::new(self.tools.id(), self.tools.random_bytes());
        let expires_at = now + delta(self.policy.life);
        let idle_until = (now + delta(self.policy.idle)).min(expires_at);
        let session = NewSession {
            id: token.session(),
            user,
            token_hash: token.hash(self.tools.keys()),
            at: now,
            idle_until,
            expires_at,
        };
        // Before the session is stored: one that nobody can use is never begun.
        let issued = self.issuer.issue(user, session.id)?;
        if !self.store.open(sys, &session, proof).await? {
            return Ok(None);
        }
        let lasts = idle_until - now;
        Ok(Some(self.tokens(issued, &token, lasts)))
    }

    /// Replaces a refresh token by its successor, with a new access token.
    ///
    /// A token that was replaced before the newest ends the session: it was stolen, or the newest
    /// was. Only the one just before, within the grace, gets the same answer again.
    pub async fn refresh(
        &self,
        origin: Origin,
        presented: &Sensitive<String>,
    ) -> Result<Tokens, RefreshError> {
        let keys = self.tools.keys();
        let presented =
            RefreshToken::parse(keys, presented.expose()).ok_or(RefreshError::Rejected)?;
        let sys = SystemContext::new(SystemPurpose::Login, origin);
        let now = self.tools.now();
        let nonce: [u8; 32] = self.tools.random_bytes();
        let next = presented.successor(keys, &nonce);
        let rotation = Rotation {
            session: presented.session(),
            presented: presented.hash(keys),
            next: next.hash(keys),
            nonce,
            at: now,
            grace: self.policy.grace,
            idle_until: now + delta(self.policy.idle),
        };
        let (user, next, ends_at) = match self.store.rotate(&sys, &rotation).await? {
            Rotated::Rotated { user, ends_at } => (user, next, ends_at),
            Rotated::Repeated {
                user,
                ends_at,
                nonce,
            } => (user, presented.successor(keys, &nonce), ends_at),
            Rotated::Reused { user } => {
                self.revocations.note(&[presented.session().as_uuid()]);
                let kind = SecurityEventKind::RefreshReused;
                // The session is over whether or not its trace can be written.
                let _reported_by_the_store = self.note(&sys, kind, user).await;
                return Err(RefreshError::Rejected);
            }
            Rotated::Ended => return Err(RefreshError::Rejected),
        };
        let issued = self.issuer.issue(user, presented.session())?;
        Ok(self.tokens(issued, &next, ends_at - now))
    }

    /// The user's sessions in force, the latest used first; at most 200.
    pub async fn list(&self, origin: Origin, user: UserId) -> Result<Vec<Session>, StoreError> {
        let sys = SystemContext::new(SystemPurpose::Login, origin);
        self.store.list(&sys, user, self.tools.now()).await
    }

    /// Ends the session the caller is in.
    pub async fn log_out(&self, origin: Origin, identity: Identity) -> Result<(), StoreError> {
        let reason = EndReason::Logout;
        self.end_one(origin, identity.user, identity.session, reason)
            .await?;
        Ok(())
    }

    /// Ends one of the caller's sessions; `false` when there is none of that id in force.
    pub async fn end(
        &self,
        origin: Origin,
        identity: Identity,
        session: SessionId,
    ) -> Result<bool, StoreError> {
        self.end_one(origin, identity.user, session, EndReason::Ended)
            .await
    }

    /// Ends every session of the caller, and leaves a trace in the security log.
    pub async fn log_out_everywhere(
        &self,
        origin: Origin,
        identity: Identity,
    ) -> Result<(), StoreError> {
        let reason = EndReason::LogoutEverywhere;
        self.end_all(origin.clone(), identity.user, reason).await?;
        let sys = SystemContext::new(SystemPurpose::Login, origin);
        let kind = SecurityEventKind::LoggedOutEverywhere;
        self.note(&sys, kind, identity.user).await
    }

    /// Ends every session of a user: they were deactivated, or got a new password.
    pub async fn end_all(
        &self,
        origin: Origin,
        user: UserId,
        reason: EndReason,
    ) -> Result<(), StoreError> {
        let sys = SystemContext::new(SystemPurpose::Login, origin);
        let now = self.tools.now();
        let ended = self.store.revoke(&sys, user, None, reason, now).await?;
        self.ended(&ended);
        Ok(())
    }

    async fn end_one(
        &self,
        origin: Origin,
        user: UserId,
        session: SessionId,
        reason: EndReason,
    ) -> Result<bool, StoreError> {
        let sys = SystemContext::new(SystemPurpose::Login, origin);
        let now = self.tools.now();
        let ended = self.store.end(&sys, user, session, reason, now).await?;
        if ended {
            self.ended(&[session]);
        }
        Ok(ended)
    }

    /// Refuses the access tokens of sessions that another part has ended, from now on and in this
    /// process; others learn of it within a second. To be called after the commit.
    pub fn ended(&self, sessions: &[SessionId]) {
        let ids: Vec<Uuid> = sessions.iter().copied().map(Uuid::from).collect();
        self.revocations.note(&ids);
    }

    /// Whether an identity that its token proves still stands. Without a word to the store while
    /// this process knows of all revocations.
    pub(crate) async fn stands(
        &self,
        origin: &Origin,
        identity: Identity,
    ) -> Result<bool, StoreError> {
        if self.revocations.are_current() {
            return Ok(true);
        }
        let sys = SystemContext::new(SystemPurpose::Login, origin.clone());
        self.store.is_live(&sys, identity, self.tools.now()).await
    }

    /// Gives the user of `keep` another password in place of `before`, and ends every other
    /// session of theirs. `false` when the password was changed meanwhile.
    pub(crate) async fn change_password(
        &self,
        sys: &SystemContext,
        keep: Identity,
        before: &PasswordHash,
        after: &PasswordHash,
    ) -> Result<bool, StoreError> {
        let now = self.tools.now();
        let changed = self.store.change_password(sys, keep, before, after, now);
        let Some(ended) = changed.await? else {
            return Ok(false);
        };
        self.ended(&ended);
        let kind = SecurityEventKind::PasswordChanged;
        self.note(sys, kind, keep.user).await?;
        Ok(true)
    }

    fn tokens(&self, issued: IssuedToken, refresh: &RefreshToken, lasts: TimeDelta) -> Tokens {
        Tokens {
            access_token: issued.token,
            expires_in: issued.expires_in,
            refresh_token: refresh.text(self.tools.keys()),
            refresh_expires_in: lasts.to_std().unwrap_or_default(),
        }
    }

    async fn note(
        &self,
        sys: &SystemContext,
        kind: SecurityEventKind,
        user: UserId,
    ) -> Result<(), StoreError> {
        let mut event = SecurityEvent::now(&self.tools, kind);
        event.user = Some(user);
        self.log.record_security_event(sys, event).await
    }
}

/// Why a session was not begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token could not be made.
    #[error(transparent)]
    Token(#[from] TokenFault),
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}
