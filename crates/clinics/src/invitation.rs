//! [`Invitations`]: how people become members. A clinic invites an address; the link in the mail,
//! used once, lets its reader in.
//!
//! The link proves the mailbox. A person without an account makes one with it: name and password.
//! A person who has an account must also be logged in as that account: a mailbox that somebody
//! else reads does not act in their name.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use kernel::cursor::{InvalidCursor, ListIdentity, Position, SortValue, open_cursor, seal_cursor};
use kernel::email::Email;
use kernel::once::Claim;
use kernel::text::PersonName;
use kernel::{
    Action, Actor, AuditEntry, BranchId, ChangedValue, ClinicId, Denied, Event, Gate, Grant,
    InvitationId, Once, Origin, Page, PageLimit, Permissions, Resource, Scope, StoreError,
    SystemContext, SystemPurpose, TenantContext, Toolkit, TypedId as _, UserId,
};
use serde_json::json;
use uuid::Uuid;

use crate::error::{HashError, ReadError};
use crate::events;
use crate::mail::{MailKind, NewMail};
use crate::members::{tidy, within_scope};
use crate::one_time::OneTimeToken;
use crate::password::{InvalidPassword, NewPassword};
use crate::ports::{CredentialStore, PasswordHasher, SecurityEvent, SecurityEventKind};
use crate::role::Role;
use crate::user::{Identity, PasswordHash, UserStatus};

/// How long a link of an invitation is good.
const VALID: TimeDelta = TimeDelta::days(7);
/// Between two mails of one invitation.
const RESEND_AFTER: TimeDelta = TimeDelta::minutes(1);

/// An invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// To whom.
    pub email: Email,
    /// Their name, as the clinic knows it.
    pub name: PersonName,
    /// What they become.
    pub role: Role,
    /// Only these branches; `None` is all of them. Sorted.
    pub branches: Option<Vec<BranchId>>,
    /// Only their own agenda.
    pub own_agenda_only: bool,
    /// How it stands, as stored: see [`Self::status_at`].
    pub status: InvitationStatus,
    /// The member who invited.
    pub invited_by: Option<UserId>,
    /// When its mail was last asked for.
    pub sent_at: DateTime<Utc>,
    /// Until when its links are good.
    pub expires_at: DateTime<Utc>,
    /// Raised with each change.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// How an invitation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvitationStatus {
    /// It waits for its reader.
    Pending,
    /// Its reader came in.
    Accepted,
    /// The clinic took it back.
    Revoked,
    /// Its links have ended.
    Expired,
}

impl InvitationStatus {
    /// Every status.
    pub const ALL: &'static [Self] = &[Self::Pending, Self::Accepted, Self::Revoked, Self::Expired];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.name() == name)
    }
}

impl Invitation {
    /// How it stands at that instant: a pending one ends by itself.
    pub fn status_at(&self, at: DateTime<Utc>) -> InvitationStatus {
        if self.status == InvitationStatus::Pending && self.expires_at <= at {
            InvitationStatus::Expired
        } else {
            self.status
        }
    }
}

/// Whom to invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvitation {
    /// Their address.
    pub email: Email,
    /// Their name.
    pub name: PersonName,
    /// What they become.
    pub role: Role,
    /// Only these branches; `None` is all of them.
    pub branches: Option<Vec<BranchId>>,
    /// Only their own agenda.
    pub own_agenda_only: bool,
}

/// A page of the list: newest first, ties by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationQuery {
    /// Of this status at `at`.
    pub status: Option<InvitationStatus>,
    /// Now.
    pub at: DateTime<Utc>,
    /// Behind this one.
    pub after: Option<(DateTime<Utc>, InvitationId)>,
    /// At most so many rows.
    pub most: i64,
}

/// What an accepted invitation writes.
#[derive(Debug, Clone)]
pub struct Joining {
    /// Who joins.
    pub user: UserId,
    /// What makes them, where they have no account yet.
    pub account: Option<(PersonName, PasswordHash)>,
    /// The invitation as it was read: it must still be so.
    pub invitation: Invitation,
    /// When.
    pub at: DateTime<Utc>,
}

/// Why an invitation was not stored.
#[derive(Debug, thiserror::Error)]
pub enum WriteInvitationError {
    /// The address is a member's.
    #[error("the address is a member's already")]
    AlreadyMember,
    /// The address has an invitation that is pending.
    #[error("the address is invited already")]
    AlreadyInvited,
    /// A branch is not the clinic's.
    #[error("a branch does not exist")]
    UnknownBranch,
    /// It has another version now, or is gone.
    #[error("the invitation was changed meanwhile")]
    VersionConflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why nobody joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The invitation was used, withdrawn or changed meanwhile.
    #[error("the invitation does not stand any more")]
    Gone,
    /// An account of that address was made meanwhile, or the user is a member already.
    #[error("the address or the membership is there already")]
    Exists,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where invitations are kept.
#[async_trait]
pub trait InvitationStore: Send + Sync {
    /// `None` when absent *or* another clinic's.
    async fn find(
        &self,
        cx: &TenantContext,
        id: InvitationId,
    ) -> Result<Option<Invitation>, StoreError>;

    /// One page, newest first.
    async fn list(
        &self,
        cx: &TenantContext,
        query: InvitationQuery,
    ) -> Result<Vec<Invitation>, StoreError>;

    /// Row, mail, audit entry and event together, and the claim of the request's key. One of the same address that has ended gives
    /// way.
    async fn create(
        &self,
        cx: &TenantContext,
        invitation: &Invitation,
        mail: NewMail,
        entry: AuditEntry,
        event: Event,
        claim: Option<Claim>,
    ) -> Result<(), WriteInvitationError>;

    /// Stores `invitation` (whose version is already the new one) where the stored version is
    /// one less, with its mail where there is one, its audit entry and event.
    async fn update(
        &self,
        cx: &TenantContext,
        invitation: &Invitation,
        mail: Option<NewMail>,
        entry: AuditEntry,
        event: Event,
    ) -> Result<(), WriteInvitationError>;

    /// Which invitation a link stands for, while it has not ended. Tenantless.
    async fn find_by_token(
        &self,
        sys: &SystemContext,
        hash: [u8; 32],
        at: DateTime<Utc>,
    ) -> Result<Option<(ClinicId, InvitationId)>, StoreError>;

    /// Uses the invitation up, makes the account where there is none, the membership, audit
    /// entry and events: all or nothing, and once.
    async fn join(
        &self,
        cx: &TenantContext,
        joining: &Joining,
        entry: AuditEntry,
        events: [Event; 2],
    ) -> Result<(), JoinError>;
}

/// Why an invitation was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// The caller may not: not at all, or not with an owner.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// This installation sends no mail.
    #[error("no mailer is configured")]
    NoMail,
    /// No invitation of this clinic.
    #[error("the invitation does not exist")]
    NotFound,
    /// It is not pending any more.
    #[error("the invitation is {}", .0.name())]
    NotPending(InvitationStatus),
    /// Its mail was asked for a moment ago.
    #[error("a mail was sent a moment ago")]
    TooSoon,
    /// The address is a member's.
    #[error("the address is a member's already")]
    AlreadyMember,
    /// The address has a pending invitation.
    #[error("the address is invited already")]
    AlreadyInvited,
    /// A branch is not the clinic's.
    #[error("a branch does not exist")]
    UnknownBranch,
    /// The caller is bound to branches, and this reaches beyond them.
    #[error("reaches beyond the caller's branches")]
    BeyondScope,
    /// Somebody else changed it first.
    #[error("the invitation was changed meanwhile")]
    VersionConflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<WriteInvitationError> for InviteError {
    fn from(error: WriteInvitationError) -> Self {
        match error {
            WriteInvitationError::AlreadyMember => Self::AlreadyMember,
            WriteInvitationError::AlreadyInvited => Self::AlreadyInvited,
            WriteInvitationError::UnknownBranch => Self::UnknownBranch,
            WriteInvitationError::VersionConflict => Self::VersionConflict,
            WriteInvitationError::Store(error) => Self::Store(error),
        }
    }
}

/// Who accepts.
#[derive(Debug)]
pub struct Acceptance {
    /// The link's token.
    pub token: OneTimeToken,
    /// The caller, where they are logged in.
    pub identity: Option<Identity>,
    /// For an account that does not exist yet: its name, the invitation's where none is given.
    pub name: Option<PersonName>,
    /// For an account that does not exist yet: its password.
    pub password: Option<String>,
}

/// An accepted invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The clinic.
    pub clinic: ClinicId,
    /// The user.
    pub user: UserId,
    /// What they log in with.
    pub email: Email,
    /// What they are there.
    pub role: Role,
    /// Whether the account is new.
    pub user_created: bool,
}

/// Why an invitation was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The link was never ours, has ended, is used, or its invitation was withdrawn.
    #[error("the link is not good")]
    InvalidLink,
    /// The address has an account: its owner logs in first.
    #[error("the account must be logged in")]
    LoginRequired,
    /// The caller is logged in as somebody else.
    #[error("the invitation is another account's")]
    OtherAccount,
    /// The user is a member already.
    #[error("the user is a member already")]
    AlreadyMember,
    /// A new account needs a password.
    #[error("a new account needs a password")]
    PasswordRequired,
    /// The password may not be set.
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

impl From<HashError> for AcceptError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Busy,
            HashError::Failed(source) => Self::Failed(source),
        }
    }
}

/// Invitations of a clinic.
#[derive(Clone)]
pub struct Invitations {
    store: Arc<dyn InvitationStore>,
    credentials: Arc<dyn CredentialStore>,
    hasher: Arc<dyn PasswordHasher>,
    sends_mail: bool,
    gate: Gate,
    tools: Toolkit,
}

impl Invitations {
    /// Wires the service. Without a mailer (`sends_mail`) nobody is invited.
    pub fn new(
        store: Arc<dyn InvitationStore>,
        credentials: Arc<dyn CredentialStore>,
        hasher: Arc<dyn PasswordHasher>,
        sends_mail: bool,
        gate: Gate,
        tools: Toolkit,
    ) -> Self {
        Self {
            store,
            credentials,
            hasher,
            sends_mail,
            gate,
            tools,
        }
    }

    /// One invitation; `None` when absent or another clinic's.
    pub async fn read(
        &self,
        cx: &TenantContext,
        id: InvitationId,
    ) -> Result<Option<Invitation>, ReadError> {
        let resource = Resource::one("user", id);
        self.gate
            .authorize(cx, Action::UserManage, resource)
            .await?;
        Ok(self.store.find(cx, id).await?)
    }

    /// One page, newest first.
    pub async fn list(
        &self,
        cx: &TenantContext,
        status: Option<InvitationStatus>,
        limit: PageLimit,
        cursor: Option<&str>,
    ) -> Result<Page<Invitation>, ReadError> {
        let resource = Resource::any("user");
        self.gate
            .authorize(cx, Action::UserManage, resource)
            .await?;
        let list = ListIdentity {
            list: "invitations",
            sort: "-createdAt",
            filter: status.map_or("", InvitationStatus::name).as_bytes(),
        };
        let keys = self.tools.keys();
        let after = match cursor {
            None => None,
            Some(cursor) => {
                let position = open_cursor(cx, keys, &list, cursor)?;
                match position.sort {
                    SortValue::Instant(at) => Some((at, InvitationId::from(position.id))),
                    SortValue::Text(_) => return Err(InvalidCursor.into()),
                }
            }
        };
        let query = InvitationQuery {
            status,
            at: self.tools.now(),
            after,
            most: limit.rows_to_fetch(),
        };
        let mut items = self.store.list(cx, query).await?;
        let more = items.len() > limit.rows();
        items.truncate(limit.rows());
        let next_cursor = items.last().filter(|_| more).map(|last| {
            let position = Position {
                sort: SortValue::Instant(last.created_at),
                id: last.id.as_uuid(),
                tie: None,
            };
            seal_cursor(cx, keys, &list, &position)
        });
        Ok(Page { items, next_cursor })
    }

    /// Decides as [`Self::create`] does, so that whoever may not invite learns that first.
    pub async fn prepare_create(&self, cx: &TenantContext) -> Result<(), InviteError> {
        let resource = Resource::any("user");
        self.gate
            .authorize(cx, Action::UserManage, resource)
            .await?;
        Ok(())
    }

    /// Invites an address, and only once where the request has a key. Whether it has an account
    /// elsewhere makes no difference, here or in the answer.
    pub async fn create(
        &self,
        cx: &TenantContext,
        new: NewInvitation,
        once: Option<Once<Invitation>>,
    ) -> Result<Invitation, InviteError> {
        let resource = Resource::any("user");
        self.gate
            .authorize(cx, Action::UserManage, resource)
            .await?;
        self.may_send()?;
        if new.role == Role::Owner {
            self.gate
                .authorize(cx, Action::UserManageOwners, resource)
                .await?;
        }
        let branches = tidy(new.branches);
        if !within_scope(cx, branches.as_deref()) {
            return Err(InviteError::BeyondScope);
        }
        let now = self.tools.now();
        let invitation = Invitation {
            id: self.tools.id(),
            email: new.email,
            name: new.name,
            role: new.role,
            branches,
            own_agenda_only: new.own_agenda_only,
            status: InvitationStatus::Pending,
            invited_by: match cx.actor() {
                Actor::User(user) => Some(user),
                _ => None,
            },
            sent_at: now,
            expires_at: now + VALID,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let changes = [
            ChangedValue::set("email", invitation.email.as_str()),
            ChangedValue::set("name", invitation.name.as_str()),
            ChangedValue::set("role", invitation.role.name()),
        ];
        let entry =
            self.entry("invitation.create", invitation.id)
                .changed(cx, self.tools.keys(), changes);
        let event = self.event(events::INVITATION_CREATED, &invitation);
        let mail = self.mail(invitation.id);
        let claim = once.map(|once| once.claim(cx, &self.tools, &invitation));
        self.store
            .create(cx, &invitation, mail, entry, event, claim)
            .await?;
        Ok(invitation)
    }

    /// Decides as [`Self::resend`] and [`Self::revoke`] do.
    pub async fn prepare_update(
        &self,
        cx: &TenantContext,
        id: InvitationId,
    ) -> Result<Invitation, InviteError> {
        let resource = Resource::one("user", id);
        self.gate
            .authorize(cx, Action::UserManage, resource)
            .await?;
        let found = self.store.find(cx, id).await?;
        let invitation = found.ok_or(InviteError::NotFound)?;
        if invitation.role == Role::Owner {
            self.gate
                .authorize(cx, Action::UserManageOwners, resource)
                .await?;
        }
        if !within_scope(cx, invitation.branches.as_deref()) {
            return Err(InviteError::BeyondScope);
        }
        Ok(invitation)
    }

    /// Sends the mail again, with a link that is good anew. Links of earlier mails stay good as
    /// long as they said.
    pub async fn resend(
        &self,
        cx: &TenantContext,
        id: InvitationId,
    ) -> Result<Invitation, InviteError> {
        let mut invitation = self.prepare_update(cx, id).await?;
        self.may_send()?;
        if invitation.status != InvitationStatus::Pending {
            return Err(InviteError::NotPending(invitation.status));
        }
        let now = self.tools.now();
        if now - invitation.sent_at < RESEND_AFTER {
            return Err(InviteError::TooSoon);
        }
        invitation.sent_at = now;
        invitation.expires_at = now + VALID;
        invitation.version += 1;
        invitation.updated_at = now;
        let entry = self.entry("invitation.resend", id);
        let event = self.event(events::INVITATION_UPDATED, &invitation);
        let mail = Some(self.mail(id));
        self.store
            .update(cx, &invitation, mail, entry, event)
            .await?;
        Ok(invitation)
    }

    /// Takes an invitation back: none of its links is good any more. Once more changes nothing.
    pub async fn revoke(
        &self,
        cx: &TenantContext,
        id: InvitationId,
    ) -> Result<Invitation, InviteError> {
        let mut invitation = self.prepare_update(cx, id).await?;
        match invitation.status {
            InvitationStatus::Pending => {}
            InvitationStatus::Revoked => return Ok(invitation),
            status => return Err(InviteError::NotPending(status)),
        }
        invitation.status = InvitationStatus::Revoked;
        invitation.version += 1;
        invitation.updated_at = self.tools.now();
        let entry = self.entry("invitation.revoke", id);
        let event = self.event(events::INVITATION_REVOKED, &invitation);
        self.store
            .update(cx, &invitation, None, entry, event)
            .await?;
        Ok(invitation)
    }

    /// Lets the reader of an invitation's mail in. See the module's text for who must log in.
    pub async fn accept(
        &self,
        origin: Origin,
        acceptance: Acceptance,
    ) -> Result<Accepted, AcceptError> {
        let sys = SystemContext::new(SystemPurpose::OneTimeLink, origin.clone());
        let now = self.tools.now();
        let hash = acceptance.token.hash(&self.tools);
        let Some((clinic, id)) = self.store.find_by_token(&sys, hash, now).await? else {
            self.note_refused(&sys, None).await;
            return Err(AcceptError::InvalidLink);
        };
        // Nobody yet: enough to read the invitation that the link stands for.
        let reader = guest(clinic, acceptance.identity, &origin);
        let found = self.store.find(&reader, id).await?;
        let standing = |it: &Invitation| it.status_at(now) == InvitationStatus::Pending;
        let Some(invitation) = found.filter(standing) else {
            self.note_refused(&sys, Some(clinic)).await;
            return Err(AcceptError::InvalidLink);
        };
        let known = self
            .credentials
            .find_credentials(&sys, &invitation.email)
            .await?
            .map(|found| found.user);
        let (user, account) = match (known, acceptance.identity) {
            (Some(known), Some(identity)) if known.id == identity.user => {
                if known.status != UserStatus::Active {
                    return Err(AcceptError::LoginRequired);
                }
                (known.id, None)
            }
            (_, Some(_)) => return Err(AcceptError::OtherAccount),
            (Some(_), None) => return Err(AcceptError::LoginRequired),
            (None, None) => {
                let password = acceptance.password.ok_or(AcceptError::PasswordRequired)?;
                let password = NewPassword::parse_for(password, &invitation.email)?;
                let hash = self.hasher.hash(password.into_inner()).await?;
                let name = acceptance.name.unwrap_or_else(|| invitation.name.clone());
                (self.tools.id::<UserId>(), Some((name, hash)))
            }
        };
        let user_created = account.is_some();
        let accepted = Accepted {
            clinic,
            user,
            email: invitation.email.clone(),
            role: invitation.role,
            user_created,
        };
        self.join(clinic, &origin, user, account, invitation)
            .await
            .map_err(|error| match error {
                JoinError::Gone => AcceptError::InvalidLink,
                JoinError::Exists if user_created => AcceptError::LoginRequired,
                JoinError::Exists => AcceptError::AlreadyMember,
                JoinError::Store(error) => error.into(),
            })?;
        Ok(accepted)
    }

    async fn join(
        &self,
        clinic: ClinicId,
        origin: &Origin,
        user: UserId,
        account: Option<(PersonName, PasswordHash)>,
        invitation: Invitation,
    ) -> Result<(), JoinError> {
        let cx = joiner(clinic, user, origin);
        let changes = [
            ChangedValue::set("role", invitation.role.name()),
            ChangedValue::set("status", InvitationStatus::Accepted.name()),
        ];
        let entry =
            self.entry("invitation.accept", invitation.id)
                .changed(&cx, self.tools.keys(), changes);
        let events = [
            self.event(events::INVITATION_ACCEPTED, &invitation),
            Event::new(
                &self.tools,
                events::MEMBERSHIP_CREATED,
                user,
                json!({ "role": invitation.role.name() }),
            ),
        ];
        let joining = Joining {
            user,
            account,
            invitation,
            at: self.tools.now(),
        };
        self.store.join(&cx, &joining, entry, events).await
    }

    /// A refused link leaves a line in the security log; the refusal stands without it.
    async fn note_refused(&self, sys: &SystemContext, clinic: Option<ClinicId>) {
        let event = SecurityEvent {
            id: self.tools.id::<kernel::AuditId>().into(),
            at: self.tools.now(),
            kind: SecurityEventKind::LinkRefused,
            user: None,
            clinic,
            subject_hash: None,
        };
        let _reported_by_the_store = self.credentials.record_security_event(sys, event).await;
    }

    const fn may_send(&self) -> Result<(), InviteError> {
        if self.sends_mail {
            Ok(())
        } else {
            Err(InviteError::NoMail)
        }
    }

    fn mail(&self, invitation: InvitationId) -> NewMail {
        NewMail {
            id: self.tools.id(),
            kind: MailKind::Invitation,
            cause: invitation.into(),
            at: self.tools.now(),
        }
    }

    fn entry(&self, action: &'static str, id: InvitationId) -> AuditEntry {
        AuditEntry::done(&self.tools, action, Resource::one("invitation", id))
    }

    fn event(&self, name: &'static str, invitation: &Invitation) -> Event {
        Event::new(
            &self.tools,
            name,
            invitation.id,
            json!({ "rowVersion": invitation.version }),
        )
    }
}

impl fmt::Debug for Invitations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invitations")
    }
}

/// Whoever holds a link of the clinic, before it is known who they are. May do nothing.
fn guest(clinic: ClinicId, identity: Option<Identity>, origin: &Origin) -> TenantContext {
    let nobody = UserId::from(Uuid::nil());
    joiner(clinic, identity.map_or(nobody, |it| it.user), origin)
}

/// Who joins, acting in the clinic that invited them: with no permission, so that no service
/// does anything for them but this one.
fn joiner(clinic: ClinicId, user: UserId, origin: &Origin) -> TenantContext {
    let grant = Grant {
        clinic,
        user,
        role: "invited",
        permissions: Permissions::NONE,
        scope: Scope::whole_clinic(),
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a one-time link proved that this clinic invited them; it may nothing else"
    )]
    TenantContext::for_member(grant, origin.clone())
}
