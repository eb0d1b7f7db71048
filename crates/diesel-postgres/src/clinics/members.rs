//! [`PgMembers`]: memberships of the present clinic, with the name and address of each user, which
//! row security shows of the clinic's own members alone (the policy `tenant` of `app.users`).

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use clinics::members::{MemberQuery, MemberStore, WriteMembershipError};
use clinics::{Member, MembershipStatus, Role};
use diesel::Queryable;
use diesel::sql_types::{
    Array, BigInt, Bool, Nullable, Text, Timestamptz, Untyped, Uuid as SqlUuid,
};
use kernel::email::Email;
use kernel::text::PersonName;
use kernel::{AuditEntry, BranchId, Event, StoreError, TenantContext, TypedId as _, UserId};
use uuid::Uuid;

use super::rows::{corrupt, role};
use crate::{Database, QueryName, Tx, query_name, statement, tenant_select};

const FIND: QueryName = query_name!("user.find_member", "SELECT", "memberships");
const LIST: QueryName = query_name!("user.list", "SELECT", "memberships");
const UPDATE: QueryName = query_name!("user.update", "UPDATE", "memberships");

type MemberColumns = (
    SqlUuid,
    Text,
    Text,
    Text,
    Nullable<Array<SqlUuid>>,
    Bool,
    Text,
    BigInt,
    Timestamptz,
    Timestamptz,
);

macro_rules! select_member {
    ($rest:literal) => {
        concat!(
            "SELECT m.user_id, u.name, u.email, m.role, m.branches, m.own_agenda_only, m.status,
                    m.row_version, m.created_at, m.updated_at
             FROM app.memberships m JOIN app.users u ON u.id = m.user_id
             WHERE m.clinic_id = s.t ",
            $rest
        )
    };
}

tenant_select! {
    /// One member.
    struct FindMember { user: Uuid => SqlUuid } -> MemberColumns =
        select_member!("AND m.user_id = ?")
}

tenant_select! {
    /// The newest members behind a position. A clinic has some dozens of them, a large one some
    /// hundreds: a search reads each, and folds as `kernel::text::fold` does.
    struct ListMembers<'a> {
        role: Option<&'a str> => Nullable<Text>,
        status: Option<&'a str> => Nullable<Text>,
        created_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        user: Option<Uuid> => Nullable<SqlUuid>,
        search: Option<&'a str> => Nullable<Text>,
        most: i64 => BigInt,
    } -> MemberColumns = select_member!(
        "AND m.role = coalesce(?, m.role) AND m.status = coalesce(?, m.status)
         AND (m.created_at, m.user_id) < (coalesce(?, 'infinity'),
              coalesce(?, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
         AND position(coalesce(?, '') IN lower(regexp_replace(
                 normalize(u.name || ' ' || u.email, NFKD), '[\\u0300-\\u036f]', '', 'g'))) > 0
         ORDER BY m.created_at DESC, m.user_id DESC LIMIT ?")
}

statement! {
    /// Stores a membership that still has the version before.
    struct UpdateMembership<'a> {
        role: &'a str => Text,
        branches: Option<Vec<Uuid>> => Nullable<Array<SqlUuid>>,
        own_agenda_only: bool => Bool,
        status: &'a str => Text,
        version: i64 => BigInt,
        updated_at: DateTime<Utc> => Timestamptz,
        clinic: Uuid => SqlUuid,
        user: Uuid => SqlUuid,
        version_before: i64 => BigInt,
    } -> Untyped = "UPDATE app.memberships SET role = ?, branches = ?, own_agenda_only = ?,
            status = ?, row_version = ?, updated_at = ?
        WHERE clinic_id = ? AND user_id = ? AND row_version = ?"
}

statement! {
    /// Locks those who own the clinic and can act in it. Two who unmake each other take turns: the
    /// second one sees what the first has left.
    struct LockOwners { clinic: Uuid => SqlUuid } -> SqlUuid =
        "SELECT m.user_id FROM app.memberships m JOIN app.users u ON u.id = m.user_id
         WHERE m.clinic_id = ? AND m.role = 'owner' AND m.status = 'active' AND u.status = 'active'
         ORDER BY m.user_id FOR UPDATE OF m"
}

statement! {
    /// How many of these are the clinic's branches.
    struct CountBranches { clinic: Uuid => SqlUuid, ids: Vec<Uuid> => Array<SqlUuid> } -> BigInt =
        "SELECT count(*) FROM app.branches b WHERE b.clinic_id = ? AND b.id = ANY (?)"
}

#[derive(Queryable)]
struct MemberRow {
    user: Uuid,
    name: String,
    email: String,
    role: String,
    branches: Option<Vec<Uuid>>,
    own_agenda_only: bool,
    status: String,
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<MemberRow> for Member {
    type Error = StoreError;

    fn try_from(row: MemberRow) -> Result<Self, StoreError> {
        Ok(Self {
            user: row.user.into(),
            name: PersonName::salvage(&row.name).ok_or(StoreError::Corrupt("users.name"))?,
            email: Email::parse(&row.email).or(corrupt("users.email"))?,
            role: role(&row.role)?,
            branches: branches(row.branches),
            own_agenda_only: row.own_agenda_only,
            status: MembershipStatus::parse(&row.status)
                .ok_or(StoreError::Corrupt("memberships.status"))?,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Branches as stored, each once and in their order.
pub(super) fn branches(stored: Option<Vec<Uuid>>) -> Option<Vec<BranchId>> {
    stored.map(|ids| {
        let mut ids: Vec<BranchId> = ids.into_iter().map(Into::into).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    })
}

pub(super) fn uuids(branches: Option<&[BranchId]>) -> Option<Vec<Uuid>> {
    branches.map(|ids| ids.iter().map(BranchId::as_uuid).collect())
}

/// Whether all of them are branches of the transaction's clinic. `ids` holds each once.
pub(super) async fn are_branches(
    tx: &Tx<'_>,
    ids: Option<&[BranchId]>,
) -> Result<bool, StoreError> {
    let Some(ids) = uuids(ids).filter(|ids| !ids.is_empty()) else {
        return Ok(true);
    };
    let wanted = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    let clinic = tx.context().clinic().as_uuid();
    let found: i64 = tx.first(CountBranches { clinic, ids }).await?;
    Ok(found == wanted)
}

/// Members in PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgMembers {
    db: Database,
}

impl PgMembers {
    /// On that database.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

#[async_trait]
impl MemberStore for PgMembers {
    async fn find(&self, cx: &TenantContext, user: UserId) -> Result<Option<Member>, StoreError> {
        let find = FindMember {
            user: user.as_uuid(),
        };
        let row: Option<MemberRow> = self.db.read_one(cx, FIND, find).await?;
        row.map(Member::try_from).transpose()
    }

    async fn list(
        &self,
        cx: &TenantContext,
        query: MemberQuery,
    ) -> Result<Vec<Member>, StoreError> {
        let filter = &query.filter;
        let list = ListMembers {
            role: filter.role.map(Role::name),
            status: filter.status.map(MembershipStatus::name),
            created_at: query.after.map(|(at, _)| at),
            user: query.after.map(|(_, user)| user.as_uuid()),
            search: filter.search.as_deref(),
            most: query.most,
        };
        let rows: Vec<MemberRow> = self.db.read(cx, LIST, list).await?;
        rows.into_iter().map(Member::try_from).collect()
    }

    async fn update(
        &self,
        cx: &TenantContext,
        member: &Member,
        unmakes_owner: bool,
        entry: AuditEntry,
        event: Event,
    ) -> Result<(), WriteMembershipError> {
        let clinic = cx.clinic().as_uuid();
        let update = UpdateMembership {
            role: member.role.name(),
            branches: uuids(member.branches.as_deref()),
            own_agenda_only: member.own_agenda_only,
            status: member.status.name(),
            version: member.version,
            updated_at: member.updated_at,
            clinic,
            user: member.user.as_uuid(),
            version_before: member.version - 1,
        };
        self.db
            .unit(cx, UPDATE, async |tx| {
                if unmakes_owner {
                    let owners: Vec<Uuid> = tx.load(LockOwners { clinic }).await?;
                    if owners.iter().all(|owner| *owner == member.user.as_uuid()) {
                        return Err(WriteMembershipError::LastOwner);
                    }
                }
                if !are_branches(tx, member.branches.as_deref()).await? {
                    return Err(WriteMembershipError::UnknownBranch);
                }
                if tx.execute(update).await? == 0 {
                    return Err(WriteMembershipError::VersionConflict);
                }
                tx.audit(&entry);
                tx.emit(&event);
                Ok(())
            })
            .await
    }
}
