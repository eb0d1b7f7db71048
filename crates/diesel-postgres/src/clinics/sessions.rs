//! [`PgSessions`]: sessions, through narrow definer functions: the server's role sees none of
//! them otherwise.

use std::net::IpAddr;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use clinics::ports::Revoked;
use clinics::session::{NewSession, Rotated, Rotation};
use clinics::{EndReason, Identity, PasswordHash, Session, SessionStore, SessionUpkeep};
use kernel::{SessionId, StoreError, SystemContext, TypedId as _, UserId};
use uuid::Uuid;

use super::statements::{
    ChangePassword, EndSession, IsSessionLive, ListRevocations, ListSessions, OpenSession,
    PruneAttempts, PruneSessions, RevokeSessions, RotateSession,
};
use crate::{Database, QueryName, query_name};

const OPEN: QueryName = query_name!("session.open", "INSERT", "sessions");
const ROTATE: QueryName = query_name!("session.rotate", "UPDATE", "sessions");
const LIST: QueryName = query_name!("session.list", "SELECT", "sessions");
const END: QueryName = query_name!("session.end", "UPDATE", "sessions");
const IS_LIVE: QueryName = query_name!("session.is_live", "SELECT", "sessions");
const CHANGE_PASSWORD: QueryName = query_name!("user.change_password", "UPDATE", "users");
const LIST_REVOCATIONS: QueryName = query_name!("session.list_revocations", "SELECT", "sessions");
const PRUNE: QueryName = query_name!("session.prune", "DELETE", "sessions");
const PRUNE_ATTEMPTS: QueryName = query_name!("login_attempt.prune", "DELETE", "login_attempts");
const REVOKE: QueryName = query_name!("session.revoke", "UPDATE", "sessions");

/// Sessions in PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgSessions {
    db: Database,
}

impl PgSessions {
    /// On that database.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

fn only<T>(rows: Vec<T>, column: &'static str) -> Result<T, StoreError> {
    rows.into_iter().next().ok_or(StoreError::Corrupt(column))
}

type SessionRow = (
    Uuid,
    Option<String>,
    Option<String>,
    DateTime<Utc>,
    DateTime<Utc>,
    DateTime<Utc>,
);

#[async_trait]
impl SessionStore for PgSessions {
    async fn open(
        &self,
        sys: &SystemContext,
        session: &NewSession,
        proof: &PasswordHash,
    ) -> Result<bool, StoreError> {
        let open = OpenSession {
            id: session.id.as_uuid(),
            user: session.user.as_uuid(),
            password_hash: proof.as_str(),
            token_hash: &session.token_hash,
            user_agent: sys.origin().user_agent.as_deref(),
            address: address(sys),
            at: session.at,
            idle_until: session.idle_until,
            expires_at: session.expires_at,
        };
        only(self.db.system(sys, OPEN, open).await?, "sessions.id")
    }

    async fn rotate(
        &self,
        sys: &SystemContext,
        rotation: &Rotation,
    ) -> Result<Rotated, StoreError> {
        let rotate = RotateSession {
            id: rotation.session.as_uuid(),
            presented: &rotation.presented,
            next: &rotation.next,
            nonce: &rotation.nonce,
            user_agent: sys.origin().user_agent.as_deref(),
            address: address(sys),
            at: rotation.at,
            grace: TimeDelta::from_std(rotation.grace).unwrap_or_default(),
            idle_until: rotation.idle_until,
        };
        let rows: Vec<(String, Uuid, Option<Vec<u8>>, DateTime<Utc>)> =
            self.db.system(sys, ROTATE, rotate).await?;
        let Some((outcome, user, nonce, ends_at)) = rows.into_iter().next() else {
            return Ok(Rotated::Ended);
        };
        let user = UserId::from(user);
        match (outcome.as_str(), nonce) {
            ("rotated", _) => Ok(Rotated::Rotated { user, ends_at }),
            ("repeated", Some(nonce)) => Ok(Rotated::Repeated {
                user,
                ends_at,
                nonce,
            }),
            ("reused", _) => Ok(Rotated::Reused { user }),
            ("ended", _) => Ok(Rotated::Ended),
            _ => Err(StoreError::Corrupt("sessions.successor_nonce")),
        }
    }

    async fn list(
        &self,
        sys: &SystemContext,
        user: UserId,
        at: DateTime<Utc>,
    ) -> Result<Vec<Session>, StoreError> {
        let list = ListSessions {
            user: user.as_uuid(),
            at,
        };
        let rows: Vec<SessionRow> = self.db.system(sys, LIST, list).await?;
        let session = |row: SessionRow| -> Result<Session, StoreError> {
            let (id, user_agent, address, created_at, last_used_at, ends_at) = row;
            let address: Option<IpAddr> = address
                .map(|text| text.parse())
                .transpose()
                .map_err(|_| StoreError::Corrupt("sessions.address"))?;
            Ok(Session {
                id: id.into(),
                user_agent,
                address,
                created_at,
                last_used_at,
                ends_at,
            })
        };
        rows.into_iter().map(session).collect()
    }

    async fn end(
        &self,
        sys: &SystemContext,
        user: UserId,
        session: SessionId,
        reason: EndReason,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let end = EndSession {
            id: session.as_uuid(),
            user: user.as_uuid(),
            reason: reason.name(),
            at,
        };
        only(self.db.system(sys, END, end).await?, "sessions.id")
    }

    async fn is_live(
        &self,
        sys: &SystemContext,
        identity: Identity,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let is_live = IsSessionLive {
            id: identity.session.as_uuid(),
            user: identity.user.as_uuid(),
            at,
        };
        only(self.db.system(sys, IS_LIVE, is_live).await?, "sessions.id")
    }

    async fn change_password(
        &self,
        sys: &SystemContext,
        keep: Identity,
        before: &PasswordHash,
        after: &PasswordHash,
        at: DateTime<Utc>,
    ) -> Result<Option<Vec<SessionId>>, StoreError> {
        let change = ChangePassword {
            user: keep.user.as_uuid(),
            before: before.as_str(),
            after: after.as_str(),
            keep: keep.session.as_uuid(),
            at,
        };
        let rows: Vec<Vec<Uuid>> = self.db.system(sys, CHANGE_PASSWORD, change).await?;
        let ended = rows.into_iter().next();
        Ok(ended.map(|ids| ids.into_iter().map(Into::into).collect()))
    }

    async fn revoke(
        &self,
        sys: &SystemContext,
        user: UserId,
        except: Option<SessionId>,
        reason: EndReason,
        at: DateTime<Utc>,
    ) -> Result<Vec<SessionId>, StoreError> {
        let revoke = RevokeSessions {
            user: user.as_uuid(),
            except: except.map(|id| id.as_uuid()),
            reason: reason.name(),
            at,
        };
        let ended: Vec<Uuid> = self.db.system(sys, REVOKE, revoke).await?;
        Ok(ended.into_iter().map(Into::into).collect())
    }
}

#[async_trait]
impl SessionUpkeep for PgSessions {
    async fn list_revocations(
        &self,
        sys: &SystemContext,
        since: i64,
        after: DateTime<Utc>,
    ) -> Result<Revoked, StoreError> {
        let list = ListRevocations { since, after };
        let rows: Vec<(Vec<Uuid>, i64)> = self.db.system(sys, LIST_REVOCATIONS, list).await?;
        let (ids, next) = only(rows, "sessions.ended_xid")?;
        Ok(Revoked { ids, next })
    }

    async fn prune(
        &self,
        sys: &SystemContext,
        before: DateTime<Utc>,
        most: i32,
    ) -> Result<u64, StoreError> {
        let sessions = PruneSessions { before, most };
        let sessions: Vec<i64> = self.db.system(sys, PRUNE, sessions).await?;
        let attempts = PruneAttempts { before, most };
        let attempts: Vec<i64> = self.db.system(sys, PRUNE_ATTEMPTS, attempts).await?;
        let dropped: i64 = sessions.into_iter().chain(attempts).sum();
        Ok(u64::try_from(dropped).unwrap_or(0))
    }
}

fn address(sys: &SystemContext) -> Option<String> {
    sys.origin().address.map(|address| address.to_string())
}
