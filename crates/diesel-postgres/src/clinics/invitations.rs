//! [`PgInvitations`]: invitations of the present clinic, and how one is used up.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use clinics::invitation::{
    InvitationQuery, InvitationStore, JoinError, Joining, WriteInvitationError,
};
use clinics::mail::{MailKind, NewMail};
use clinics::{Invitation, InvitationStatus};
use diesel::Queryable;
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Integer, Nullable, Text, Timestamptz, Untyped, Uuid as SqlUuid,
};
use kernel::email::Email;
use kernel::once::Claim;
use kernel::text::PersonName;
use kernel::{
    AuditEntry, ClinicId, Event, InvitationId, StoreError, SystemContext, TenantContext,
    TypedId as _, UserId,
};
use uuid::Uuid;

use super::members::{are_branches, branches, uuids};
use super::rows::{corrupt, role};
use crate::{Database, QueryName, StoreErrorExt as _, query_name, statement, tenant_select};

const FIND: QueryName = query_name!("invitation.find", "SELECT", "invitations");
const LIST: QueryName = query_name!("invitation.list", "SELECT", "invitations");
const CREATE: QueryName = query_name!("invitation.create", "INSERT", "invitations");
const UPDATE: QueryName = query_name!("invitation.update", "UPDATE", "invitations");
const FIND_BY_TOKEN: QueryName =
    query_name!("invitation.find_by_token", "SELECT", "one_time_tokens");
const JOIN: QueryName = query_name!("invitation.accept", "UPDATE", "invitations");

type InvitationColumns = (
    SqlUuid,
    Text,
    Text,
    Text,
    Nullable<Array<SqlUuid>>,
    Bool,
    Text,
    Nullable<SqlUuid>,
    Timestamptz,
    Timestamptz,
    BigInt,
    Timestamptz,
    Timestamptz,
);

macro_rules! select_invitation {
    ($rest:literal) => {
        concat!(
            "SELECT i.id, i.email, i.name, i.role, i.branches, i.own_agenda_only, i.status,
                    i.invited_by, i.sent_at, i.expires_at, i.row_version, i.created_at,
                    i.updated_at
             FROM app.invitations i WHERE i.clinic_id = s.t ",
            $rest
        )
    };
}

tenant_select! {
    /// One invitation.
    struct FindInvitation { id: Uuid => SqlUuid } -> InvitationColumns =
        select_invitation!("AND i.id = ?")
}

tenant_select! {
    /// The newest invitations behind a position. A pending one that has ended counts as expired.
    struct ListInvitations<'a> {
        created_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        id: Option<Uuid> => Nullable<SqlUuid>,
        at: DateTime<Utc> => Timestamptz,
        status: Option<&'a str> => Nullable<Text>,
        most: i64 => BigInt,
    } -> InvitationColumns = select_invitation!(
        "AND (i.created_at, i.id) < (coalesce(?, 'infinity'),
              coalesce(?, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
         AND CASE WHEN i.status = 'pending' AND i.expires_at <= ? THEN 'expired'
                  ELSE i.status END = coalesce(?, CASE WHEN i.status = 'pending' AND i.expires_at
                  <= now() THEN 'expired' ELSE i.status END)
         ORDER BY i.created_at DESC, i.id DESC LIMIT ?")
}

statement! {
    /// One of the address that has ended gives way.
    struct ExpireInvitation<'a> {
        at: DateTime<Utc> => Timestamptz,
        clinic: Uuid => SqlUuid,
        email: &'a str => Text,
        ended: DateTime<Utc> => Timestamptz,
    } -> Untyped = "UPDATE app.invitations SET status = 'expired', row_version = row_version + 1,
            updated_at = ?
        WHERE clinic_id = ? AND email = ? AND status = 'pending' AND expires_at <= ?"
}

statement! {
    /// Whether the address is a member's of this clinic; others are not seen here.
    struct FindMemberByEmail<'a> { clinic: Uuid => SqlUuid, email: &'a str => Text } -> Integer =
        "SELECT 1 FROM app.memberships m JOIN app.users u ON u.id = m.user_id
         WHERE m.clinic_id = ? AND u.email = ?"
}

statement! {
    /// A new invitation.
    struct InsertInvitation<'a> {
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        email: &'a str => Text,
        name: &'a str => Text,
        role: &'a str => Text,
        branches: Option<Vec<Uuid>> => Nullable<Array<SqlUuid>>,
        own_agenda_only: bool => Bool,
        status: &'a str => Text,
        invited_by: Option<Uuid> => Nullable<SqlUuid>,
        sent_at: DateTime<Utc> => Timestamptz,
        expires_at: DateTime<Utc> => Timestamptz,
        version: i64 => BigInt,
        created_at: DateTime<Utc> => Timestamptz,
        updated_at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "INSERT INTO app.invitations (clinic_id, id, email, name, role, branches,
            own_agenda_only, status, invited_by, sent_at, expires_at, row_version, created_at,
            updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
}

statement! {
    /// Stores an invitation that still has the version before.
    struct UpdateInvitation<'a> {
        status: &'a str => Text,
        sent_at: DateTime<Utc> => Timestamptz,
        expires_at: DateTime<Utc> => Timestamptz,
        version: i64 => BigInt,
        updated_at: DateTime<Utc> => Timestamptz,
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        version_before: i64 => BigInt,
    } -> Untyped = "UPDATE app.invitations SET status = ?, sent_at = ?, expires_at = ?,
            row_version = ?, updated_at = ?
        WHERE clinic_id = ? AND id = ? AND row_version = ?"
}

statement! {
    /// Uses a pending invitation up.
    struct UseInvitation {
        at: DateTime<Utc> => Timestamptz,
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        version: i64 => BigInt,
        now: DateTime<Utc> => Timestamptz,
    } -> Untyped = "UPDATE app.invitations SET status = 'accepted', row_version = row_version + 1,
            updated_at = ?
        WHERE clinic_id = ? AND id = ? AND row_version = ? AND status = 'pending'
          AND expires_at > ?"
}

statement! {
    /// Makes the membership, and the account where it is given.
    struct JoinClinic<'a> {
        user: Uuid => SqlUuid,
        email: Option<&'a str> => Nullable<Text>,
        name: Option<&'a str> => Nullable<Text>,
        password_hash: Option<&'a str> => Nullable<Text>,
        role: &'a str => Text,
        branches: Option<Vec<Uuid>> => Nullable<Array<SqlUuid>>,
        own_agenda_only: bool => Bool,
        at: DateTime<Utc> => Timestamptz,
    } -> Bool = "SELECT sec.join_clinic(?, ?, ?, ?, ?, ?, ?, ?)"
}

statement! {
    /// A mail of the present clinic.
    struct EnqueueMail {
        id: Uuid => SqlUuid,
        kind: &'static str => Text,
        cause: Uuid => SqlUuid,
        at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "SELECT sec.enqueue_mail(?, ?, ?, ?)"
}

statement! {
    /// What a link stands for.
    struct FindByToken<'a> {
        hash: &'a [u8] => Binary,
        kind: &'static str => Text,
        at: DateTime<Utc> => Timestamptz,
    } -> (Nullable<SqlUuid>, SqlUuid) =
        "SELECT f.clinic_id, f.cause_id FROM sec.find_one_time_token(?, ?, ?) f"
}

#[derive(Queryable)]
struct InvitationRow {
    id: Uuid,
    email: String,
    name: String,
    role: String,
    branches: Option<Vec<Uuid>>,
    own_agenda_only: bool,
    status: String,
    invited_by: Option<Uuid>,
    sent_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<InvitationRow> for Invitation {
    type Error = StoreError;

    fn try_from(row: InvitationRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.into(),
            email: Email::parse(&row.email).or(corrupt("invitations.email"))?,
            name: PersonName::salvage(&row.name).ok_or(StoreError::Corrupt("invitations.name"))?,
            role: role(&row.role)?,
            branches: branches(row.branches),
            own_agenda_only: row.own_agenda_only,
            status: InvitationStatus::parse(&row.status)
                .ok_or(StoreError::Corrupt("invitations.status"))?,
            invited_by: row.invited_by.map(UserId::from),
            sent_at: row.sent_at,
            expires_at: row.expires_at,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

fn enqueue(mail: NewMail) -> EnqueueMail {
    EnqueueMail {
        id: mail.id.as_uuid(),
        kind: mail.kind.name(),
        cause: mail.cause,
        at: mail.at,
    }
}

/// Invitations in PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgInvitations {
    db: Database,
}

impl PgInvitations {
    /// On that database.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

#[async_trait]
impl InvitationStore for PgInvitations {
    async fn find(
        &self,
        cx: &TenantContext,
        id: InvitationId,
    ) -> Result<Option<Invitation>, StoreError> {
        let find = FindInvitation { id: id.as_uuid() };
        let row: Option<InvitationRow> = self.db.read_one(cx, FIND, find).await?;
        row.map(Invitation::try_from).transpose()
    }

    async fn list(
        &self,
        cx: &TenantContext,
        query: InvitationQuery,
    ) -> Result<Vec<Invitation>, StoreError> {
        let list = ListInvitations {
            created_at: query.after.map(|(at, _)| at),
            id: query.after.map(|(_, id)| id.as_uuid()),
            at: query.at,
            status: query.status.map(InvitationStatus::name),
            most: query.most,
        };
        let rows: Vec<InvitationRow> = self.db.read(cx, LIST, list).await?;
        rows.into_iter().map(Invitation::try_from).collect()
    }

    async fn create(
        &self,
        cx: &TenantContext,
        invitation: &Invitation,
        mail: NewMail,
        entry: AuditEntry,
        event: Event,
        claim: Option<Claim>,
    ) -> Result<(), WriteInvitationError> {
        let clinic = cx.clinic().as_uuid();
        let email = invitation.email.as_str();
        let insert = InsertInvitation {
            clinic,
            id: invitation.id.as_uuid(),
            email,
            name: invitation.name.as_str(),
            role: invitation.role.name(),
            branches: uuids(invitation.branches.as_deref()),
            own_agenda_only: invitation.own_agenda_only,
            status: invitation.status.name(),
            invited_by: invitation.invited_by.map(|user| user.as_uuid()),
            sent_at: invitation.sent_at,
            expires_at: invitation.expires_at,
            version: invitation.version,
            created_at: invitation.created_at,
            updated_at: invitation.updated_at,
        };
        let expire = ExpireInvitation {
            at: invitation.created_at,
            clinic,
            email,
            ended: invitation.created_at,
        };
        let created = self
            .db
            .unit(cx, CREATE, async |tx| {
                tx.claim(claim.as_ref()).await?;
                let member: Option<i32> = tx.optional(FindMemberByEmail { clinic, email }).await?;
                if member.is_some() {
                    return Err(WriteInvitationError::AlreadyMember);
                }
                if !are_branches(tx, invitation.branches.as_deref()).await? {
                    return Err(WriteInvitationError::UnknownBranch);
                }
                tx.pipeline(|batch| {
                    batch.execute(expire);
                    batch.execute(insert);
                    batch.execute(enqueue(mail));
                })
                .await?;
                tx.audit(&entry);
                tx.emit(&event);
                Ok(())
            })
            .await;
        created.map_err(|error| match error {
            WriteInvitationError::Store(error)
                if error.constraint() == Some("invitations_pending_unique") =>
            {
                WriteInvitationError::AlreadyInvited
            }
            other => other,
        })
    }

    async fn update(
        &self,
        cx: &TenantContext,
        invitation: &Invitation,
        mail: Option<NewMail>,
        entry: AuditEntry,
        event: Event,
    ) -> Result<(), WriteInvitationError> {
        let update = UpdateInvitation {
            status: invitation.status.name(),
            sent_at: invitation.sent_at,
            expires_at: invitation.expires_at,
            version: invitation.version,
            updated_at: invitation.updated_at,
            clinic: cx.clinic().as_uuid(),
            id: invitation.id.as_uuid(),
            version_before: invitation.version - 1,
        };
        self.db
            .unit(cx, UPDATE, async |tx| {
                if tx.execute(update).await? == 0 {
                    return Err(WriteInvitationError::VersionConflict);
                }
                if let Some(mail) = mail {
                    tx.at_commit(|batch| batch.execute(enqueue(mail)));
                }
                tx.audit(&entry);
                tx.emit(&event);
                Ok(())
            })
            .await
    }

    async fn find_by_token(
        &self,
        sys: &SystemContext,
        hash: [u8; 32],
        at: DateTime<Utc>,
    ) -> Result<Option<(ClinicId, InvitationId)>, StoreError> {
        let find = FindByToken {
            hash: &hash,
            kind: MailKind::Invitation.name(),
            at,
        };
        let rows: Vec<(Option<Uuid>, Uuid)> = self.db.system(sys, FIND_BY_TOKEN, find).await?;
        let found = rows.into_iter().next();
        Ok(found.and_then(|(clinic, cause)| Some((clinic?.into(), cause.into()))))
    }

    async fn join(
        &self,
        cx: &TenantContext,
        joining: &Joining,
        entry: AuditEntry,
        events: [Event; 2],
    ) -> Result<(), JoinError> {
        let invitation = &joining.invitation;
        let used = UseInvitation {
            at: joining.at,
            clinic: cx.clinic().as_uuid(),
            id: invitation.id.as_uuid(),
            version: invitation.version,
            now: joining.at,
        };
        let account = joining.account.as_ref();
        let join = JoinClinic {
            user: joining.user.as_uuid(),
            email: account.map(|_| invitation.email.as_str()),
            name: account.map(|(name, _)| name.as_str()),
            password_hash: account.map(|(_, hash)| hash.as_str()),
            role: invitation.role.name(),
            branches: uuids(invitation.branches.as_deref()),
            own_agenda_only: invitation.own_agenda_only,
            at: joining.at,
        };
        self.db
            .unit(cx, JOIN, async |tx| {
                if tx.execute(used).await? == 0 {
                    return Err(JoinError::Gone);
                }
                let joined: bool = tx.first(join).await?;
                if !joined {
                    return Err(JoinError::Exists);
                }
                tx.audit(&entry);
                for event in &events {
                    tx.emit(event);
                }
                Ok(())
            })
            .await
    }
}
