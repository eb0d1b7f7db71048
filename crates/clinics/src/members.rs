//! [`Members`]: the users of a clinic, as those see them who manage them. What a clinic manages is
//! the membership; name, address and password are the user's own.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kernel::cursor::{InvalidCursor, ListIdentity, Position, SortValue, open_cursor, seal_cursor};
use kernel::email::Email;
use kernel::text::{PersonName, fold};
use kernel::{
    Action, AuditEntry, BranchId, ChangedValue, Denied, Event, Gate, Page, PageLimit, Resource,
    StoreError, TenantContext, Toolkit, TypedId as _, UserId,
};
use serde_json::json;

use crate::error::ReadError;
use crate::events;
use crate::role::Role;
use crate::user::MembershipStatus;

/// A user of a clinic, and what they are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The user.
    pub user: UserId,
    /// Their name.
    pub name: PersonName,
    /// What they log in with.
    pub email: Email,
    /// What they are.
    pub role: Role,
    /// Only these branches; `None` is all of them. Sorted.
    pub branches: Option<Vec<BranchId>>,
    /// Only their own agenda.
    pub own_agenda_only: bool,
    /// Whether the membership stands.
    pub status: MembershipStatus,
    /// Raised with each change of the membership.
    pub version: i64,
    /// When they became a member.
    pub created_at: DateTime<Utc>,
    /// When the membership was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A change of a membership: `None` stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberPatch {
    /// What they become.
    pub role: Option<Role>,
    /// Which branches; the inner `None` is all of them.
    pub branches: Option<Option<Vec<BranchId>>>,
    /// Only their own agenda.
    pub own_agenda_only: Option<bool>,
    /// Whether it stands.
    pub status: Option<MembershipStatus>,
}

/// Which members, and which page of them: newest first, ties by id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberFilter {
    /// Of this role.
    pub role: Option<Role>,
    /// Of this status.
    pub status: Option<MembershipStatus>,
    /// With this in their name or address, whatever its accents and case.
    pub search: Option<String>,
}

/// A page of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberQuery {
    /// Of these; the search text is folded.
    pub filter: MemberFilter,
    /// Behind this one.
    pub after: Option<(DateTime<Utc>, UserId)>,
    /// At most so many rows.
    pub most: i64,
}

/// Why a change of a membership was not stored.
#[derive(Debug, thiserror::Error)]
pub enum WriteMembershipError {
    /// It has another version now, or is gone.
    #[error("the membership was changed meanwhile")]
    VersionConflict,
    /// Nobody would own the clinic.
    #[error("the clinic would have no owner")]
    LastOwner,
    /// A branch is not the clinic's.
    #[error("a branch does not exist")]
    UnknownBranch,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where memberships are kept.
#[async_trait]
pub trait MemberStore: Send + Sync {
    /// `None` when there is no such user, or they are no member of this clinic.
    async fn find(&self, cx: &TenantContext, user: UserId) -> Result<Option<Member>, StoreError>;

    /// One page, newest first.
    async fn list(&self, cx: &TenantContext, query: MemberQuery)
    -> Result<Vec<Member>, StoreError>;

    /// Stores `member` (whose version is already the new one) where the stored version is one
    /// less, with its audit entry and event. Where `unmakes_owner`, another active owner must
    /// remain, whatever happens at the same time.
    async fn update(
        &self,
        cx: &TenantContext,
        member: &Member,
        unmakes_owner: bool,
        entry: AuditEntry,
        event: Event,
    ) -> Result<(), WriteMembershipError>;
}

/// Why a membership was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateMemberError {
    /// The caller may not: not at all, or not with an owner.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// No member of this clinic.
    #[error("the user is no member of the clinic")]
    NotFound,
    /// Somebody else changed it first.
    #[error("the membership was changed meanwhile")]
    VersionConflict,
    /// Nobody changes their own membership.
    #[error("nobody changes their own membership")]
    OwnMembership,
    /// The caller is bound to branches, and this reaches beyond them.
    #[error("reaches beyond the caller's branches")]
    BeyondScope,
    /// Nobody would own the clinic.
    #[error("the clinic would have no owner")]
    LastOwner,
    /// A branch is not the clinic's.
    #[error("a branch does not exist")]
    UnknownBranch,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<WriteMembershipError> for UpdateMemberError {
    fn from(error: WriteMembershipError) -> Self {
        match error {
            WriteMembershipError::VersionConflict => Self::VersionConflict,
            WriteMembershipError::LastOwner => Self::LastOwner,
            WriteMembershipError::UnknownBranch => Self::UnknownBranch,
            WriteMembershipError::Store(error) => Self::Store(error),
        }
    }
}

/// The members of a clinic.
#[derive(Clone)]
pub struct Members {
    store: Arc<dyn MemberStore>,
    gate: Gate,
    tools: Toolkit,
}

impl Members {
    /// Wires the service.
    pub fn new(store: Arc<dyn MemberStore>, gate: Gate, tools: Toolkit) -> Self {
        Self { store, gate, tools }
    }

    /// One member; `None` for a user who is none.
    pub async fn read(
        &self,
        cx: &TenantContext,
        user: UserId,
    ) -> Result<Option<Member>, ReadError> {
        let resource = Resource::one("user", user);
        self.gate.authorize(cx, Action::UserRead, resource).await?;
        Ok(self.store.find(cx, user).await?)
    }

    /// One page, newest first.
    pub async fn list(
        &self,
        cx: &TenantContext,
        filter: MemberFilter,
        limit: PageLimit,
        cursor: Option<&str>,
    ) -> Result<Page<Member>, ReadError> {
        let resource = Resource::any("user");
        self.gate.authorize(cx, Action::UserRead, resource).await?;
        let filter = MemberFilter {
            search: filter.search.map(|text| fold(text.trim())),
            ..filter
        };
        let identity = canonical(&filter);
        let list = ListIdentity {
            list: "users",
            sort: "-createdAt",
            filter: &identity,
        };
        let keys = self.tools.keys();
        let after = match cursor {
            None => None,
            Some(cursor) => {
                let position = open_cursor(cx, keys, &list, cursor)?;
                match position.sort {
                    SortValue::Instant(at) => Some((at, UserId::from(position.id))),
                    SortValue::Text(_) => return Err(InvalidCursor.into()),
                }
            }
        };
        let query = MemberQuery {
            filter: filter.clone(),
            after,
            most: limit.rows_to_fetch(),
        };
        let mut items = self.store.list(cx, query).await?;
        let more = items.len() > limit.rows();
        items.truncate(limit.rows());
        let next_cursor = items.last().filter(|_| more).map(|last| {
            let position = Position {
                sort: SortValue::Instant(last.created_at),
                id: last.user.as_uuid(),
                tie: None,
            };
            seal_cursor(cx, keys, &list, &position)
        });
        Ok(Page { items, next_cursor })
    }

    /// What a change starts from: decides as [`Self::update`] does, so that whoever may not
    /// manage members learns that first, and learns nothing else.
    pub async fn prepare_update(
        &self,
        cx: &TenantContext,
        user: UserId,
    ) -> Result<Option<Member>, UpdateMemberError> {
        let resource = Resource::one("user", user);
        self.gate
            .authorize(cx, Action::UserManage, resource)
            .await?;
        Ok(self.store.find(cx, user).await?)
    }

    /// Changes a membership where its version is still `expected`. A patch that changes nothing
    /// writes nothing.
    ///
    /// Nobody changes their own; owners alone make and unmake owners; the last active owner
    /// stays; who is bound to branches manages within them.
    pub async fn update(
        &self,
        cx: &TenantContext,
        user: UserId,
        expected: i64,
        patch: MemberPatch,
    ) -> Result<Member, UpdateMemberError> {
        let resource = Resource::one("user", user);
        self.gate
            .authorize(cx, Action::UserManage, resource)
            .await?;
        let found = self.store.find(cx, user).await?;
        let before = found.ok_or(UpdateMemberError::NotFound)?;
        if before.version != expected {
            return Err(UpdateMemberError::VersionConflict);
        }
        if cx.actor().id() == Some(user.as_uuid()) {
            return Err(UpdateMemberError::OwnMembership);
        }
        let mut member = before.clone();
        let changes = member.apply(patch);
        if changes.is_empty() {
            return Ok(before);
        }
        let concerns_owner = before.role == Role::Owner || member.role == Role::Owner;
        if concerns_owner {
            self.gate
                .authorize(cx, Action::UserManageOwners, resource)
                .await?;
        }
        if !within_scope(cx, before.branches.as_deref())
            || !within_scope(cx, member.branches.as_deref())
        {
            return Err(UpdateMemberError::BeyondScope);
        }
        member.version += 1;
        member.updated_at = self.tools.now();
        let (action, name) = match (before.status, member.status) {
            (MembershipStatus::Active, MembershipStatus::Disabled) => {
                ("user.deactivate", events::MEMBERSHIP_DEACTIVATED)
            }
            (MembershipStatus::Disabled, MembershipStatus::Active) => {
                ("user.reactivate", events::MEMBERSHIP_REACTIVATED)
            }
            _ => ("user.update", events::MEMBERSHIP_UPDATED),
        };
        let entry =
            AuditEntry::done(&self.tools, action, resource).changed(cx, self.tools.keys(), changes);
        let event = Event::new(
            &self.tools,
            name,
            user,
            json!({ "rowVersion": member.version }),
        );
        let unmakes_owner = is_active_owner(&before) && !is_active_owner(&member);
        self.store
            .update(cx, &member, unmakes_owner, entry, event)
            .await?;
        Ok(member)
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Members")
    }
}

fn is_active_owner(member: &Member) -> bool {
    member.role == Role::Owner && member.status == MembershipStatus::Active
}

/// Whether the caller may manage a membership of these branches: one who is bound to branches
/// gives nobody more than they have.
pub(crate) fn within_scope(cx: &TenantContext, branches: Option<&[BranchId]>) -> bool {
    match (&cx.scope().branches, branches) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(own), Some(theirs)) => theirs.iter().all(|branch| own.contains(branch)),
    }
}

/// The same filter gives the same bytes.
fn canonical(filter: &MemberFilter) -> Vec<u8> {
    let parts = (
        filter.role.map(Role::name),
        filter.status.map(MembershipStatus::name),
        filter.search.as_deref(),
    );
    crate::branch::bytes_of(&parts)
}

/// Each once, in their order.
pub(crate) fn tidy(branches: Option<Vec<BranchId>>) -> Option<Vec<BranchId>> {
    branches.map(|mut branches| {
        branches.sort_unstable();
        branches.dedup();
        branches
    })
}

impl Member {
    /// Applies `patch`; answers the fields that differ now, by their names in the API.
    fn apply(&mut self, patch: MemberPatch) -> Vec<ChangedValue> {
        let mut changed = Vec::new();
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let mut note = |field, before, after| changed.push(ChangedValue::new(field, before, after));
        if let Some(role) = patch.role
            && role != self.role
        {
            note("role", text(self.role.name()), text(role.name()));
            self.role = role;
        }
        if let Some(branches) = patch.branches.map(tidy)
            && branches != self.branches
        {
            let bytes =
                |branches: &Option<Vec<BranchId>>| branches.as_ref().map(crate::branch::bytes_of);
            note("branches", bytes(&self.branches), bytes(&branches));
            self.branches = branches;
        }
        if let Some(own) = patch.own_agenda_only
            && own != self.own_agenda_only
        {
            let word = |own: bool| text(if own { "true" } else { "false" });
            note("ownAgendaOnly", word(self.own_agenda_only), word(own));
            self.own_agenda_only = own;
        }
        if let Some(status) = patch.status
            && status != self.status
        {
            note("status", text(self.status.name()), text(status.name()));
            self.status = status;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use uuid::Uuid;

    use super::*;

    fn member() -> Member {
        Member {
            user: Uuid::from_u128(1).into(),
            name: PersonName::parse("Ana Lima").unwrap(),
            email: Email::parse("ana@example.com").unwrap(),
            role: Role::Receptionist,
            branches: None,
            own_agenda_only: false,
            status: MembershipStatus::Active,
            version: 1,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_patch_tells_what_it_changed() {
        let (one, other) = (
            BranchId::from(Uuid::from_u128(1)),
            Uuid::from_u128(2).into(),
        );
        let mut member = member();
        let patch = MemberPatch {
            role: Some(Role::Finance),
            branches: Some(Some(vec![other, one, other])),
            own_agenda_only: Some(false),
            status: None,
        };
        let changes = member.apply(patch.clone());
        let fields: Vec<_> = changes.iter().map(ChangedValue::field).collect();
        assert_eq!(fields, ["role", "branches"]);
        assert_eq!(member.branches, Some(vec![one, other]));
        assert!(
            member.apply(patch).is_empty(),
            "the second time it changes nothing"
        );
        let all = MemberPatch {
            branches: Some(None),
            ..MemberPatch::default()
        };
        assert_eq!(member.apply(all).len(), 1);
        assert_eq!(member.branches, None);
    }
}
