//! [`PgSessions`]: sessions, through narrow definer functions: the server's role sees none of
//! them otherwise.

use std::net::IpAddr;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use clinics::session::{NewSession, Rotated, Rotation};
use clinics::{EndReason, PasswordHash, Session, SessionStore};
use kernel::{SessionId, StoreError, SystemContext, TypedId as _, UserId};
use uuid::Uuid;

use super::statements::{EndSession, ListSessions, OpenSession, RevokeSessions, RotateSession};
use crate::{Database, QueryName, query_name};

const OPEN: QueryName = query_name!("session.open", "INSERT", "sessions");
const ROTATE: QueryName = query_name!("session.rotate", "UPDATE", "sessions");
const LIST: QueryName = query_name!("session.list", "SELECT", "sessions");
const END: QueryName = query_name!("session.end", "UPDATE", "sessions");
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

fn address(sys: &SystemContext) -> Option<String> {
    sys.origin().address.map(|address| address.to_string())
}
