//! What clinics and access need from outside. Every method is one atomic use case.
//!
//! [`CredentialStore`] and [`MembershipStore`] are asked before there is a tenant: they take a
//! [`SystemContext`] of the purpose [`kernel::SystemPurpose::Login`]. All others take the
//! clinic from their [`TenantContext`] and from nowhere else.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kernel::email::Email;
use kernel::once::Claim;
use kernel::text::PersonName;
use kernel::{
    AuditEntry, AuditId, BranchId, ClinicId, Event, Sensitive, SessionId, StoreError,
    SystemContext, TenantContext, Toolkit, UserId,
};
use uuid::Uuid;

use crate::administration::ClinicSummary;
use crate::branch::Branch;
use crate::clinic::Clinic;
use crate::error::{HashError, InvalidToken, RolloutError, TokenFault};
use crate::role::Role;
use crate::rollout::{Flag, Percentage, Rollout, RolloutChange};
use crate::session::{EndReason, NewSession, Rotated, Rotation, Session};
use crate::user::{ClinicOfUser, Credentials, Identity, PasswordHash, Standing, User};

/// Something that happened where no clinic is known, for the platform's security log. Address,
/// user agent and request are the context's and are added by the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityEvent {
    /// Its id.
    pub id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub kind: SecurityEventKind,
    /// Who, where that is known for certain.
    pub user: Option<UserId>,
    /// The clinic that was named, whether or not it exists.
    pub clinic: Option<ClinicId>,
    /// Keyed hash of the e-mail that was tried: attempts on one account can be counted without
    /// knowing whose it is.
    pub subject_hash: Option<[u8; 32]>,
}

impl SecurityEvent {
    /// One of this instant, about nobody yet.
    pub fn now(tools: &Toolkit, kind: SecurityEventKind) -> Self {
        Self {
            id: tools.id::<AuditId>().into(),
            at: tools.now(),
            kind,
            user: None,
            clinic: None,
            subject_hash: None,
        }
    }
}

/// What the security log may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecurityEventKind {
    /// Somebody logged in.
    LoginSucceeded,
    /// Unknown user, wrong password or disabled user.
    LoginRejected,
    /// A user named a clinic that is not theirs to act in, or does not exist.
    ClinicRefused,
    /// A refresh token of a session's past came back, and the session was ended.
    RefreshReused,
    /// Somebody ended all their sessions.
    LoggedOutEverywhere,
    /// A one-time link was used that is used up, has ended or never was.
    LinkRefused,
    /// Somebody changed their password.
    PasswordChanged,
    /// An account or an address failed so often that it has to wait.
    LockoutBegun,
    /// A token that is no operator's came to the operators' listener.
    OperatorRefused,
}

impl SecurityEventKind {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LoginSucceeded => "login.succeeded",
            Self::LoginRejected => "login.rejected",
            Self::ClinicRefused => "clinic.refused",
            Self::RefreshReused => "refresh.reused",
            Self::LoggedOutEverywhere => "logout.everywhere",
            Self::LinkRefused => "link.refused",
            Self::PasswordChanged => "password.changed",
            Self::LockoutBegun => "lockout.begun",
            Self::OperatorRefused => "operator.refused",
        }
    }
}

/// What a login looks up and leaves behind. Tenantless.
#[async_trait]
pub trait CredentialStore: Send + Sync {
    /// The user of that address and their password's hash.
    async fn find_credentials(
        &self,
        sys: &SystemContext,
        email: &Email,
    ) -> Result<Option<Credentials>, StoreError>;

    /// The user, whatever their status.
    async fn find_user(
        &self,
        sys: &SystemContext,
        user: UserId,
    ) -> Result<Option<User>, StoreError>;

    /// Active clinics in which the user has an active membership, by name.
    async fn list_clinics(
        &self,
        sys: &SystemContext,
        user: UserId,
    ) -> Result<Vec<ClinicOfUser>, StoreError>;

    /// Appends to the platform's security log.
    async fn record_security_event(
        &self,
        sys: &SystemContext,
        event: SecurityEvent,
    ) -> Result<(), StoreError>;
}

/// Where sessions are kept. Tenantless: a user is no clinic's.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Begins a session of an active user whose password's hash is still `proof`; `false`, and
    /// nothing, otherwise. Address and user agent are the context's.
    async fn open(
        &self,
        sys: &SystemContext,
        session: &NewSession,
        proof: &PasswordHash,
    ) -> Result<bool, StoreError>;

    /// Replaces a token by its successor, or says why not: one statement, so that of two that
    /// present the same token one replaces it and the other repeats.
    async fn rotate(&self, sys: &SystemContext, rotation: &Rotation)
    -> Result<Rotated, StoreError>;

    /// The user's sessions in force, the latest used first.
    async fn list(
        &self,
        sys: &SystemContext,
        user: UserId,
        at: DateTime<Utc>,
    ) -> Result<Vec<Session>, StoreError>;

    /// Ends one session of the user; `false` when there is none in force.
    async fn end(
        &self,
        sys: &SystemContext,
        user: UserId,
        session: SessionId,
        reason: EndReason,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError>;

    /// Whether the session is in force.
    async fn is_live(
        &self,
        sys: &SystemContext,
        identity: Identity,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError>;

    /// Replaces the password's hash where it still is `before`, ends every session of the user but
    /// `keep`, and says which. `None`, and nothing, where the hash was changed meanwhile.
    async fn change_password(
        &self,
        sys: &SystemContext,
        keep: Identity,
        before: &PasswordHash,
        after: &PasswordHash,
        at: DateTime<Utc>,
    ) -> Result<Option<Vec<SessionId>>, StoreError>;

    /// Ends every session of the user but `except`, and says which.
    async fn revoke(
        &self,
        sys: &SystemContext,
        user: UserId,
        except: Option<SessionId>,
        reason: EndReason,
        at: DateTime<Utc>,
    ) -> Result<Vec<SessionId>, StoreError>;
}

/// What was revoked of late: sessions, by their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Which.
    pub ids: Vec<Uuid>,
    /// Where to go on the next time.
    pub next: i64,
}

/// What each process asks the store again and again for the sake of all. Tenantless.
#[async_trait]
pub trait SessionUpkeep: Send + Sync {
    /// What was revoked behind `since`, the former answer's `next` (0 at first), and after `after`.
    /// Never skips a revocation, however late it commits; may repeat one.
    async fn list_revocations(
        &self,
        sys: &SystemContext,
        since: i64,
        after: DateTime<Utc>,
    ) -> Result<Revoked, StoreError>;

    /// Drops sessions and counted attempts that were over before `before`, at most so many of
    /// each; answers how many.
    async fn prune(
        &self,
        sys: &SystemContext,
        before: DateTime<Utc>,
        most: i32,
    ) -> Result<u64, StoreError>;
}

/// What was revoked, as this process knows it: tokens are checked against it without asking the
/// store.
pub trait Revocations: Send + Sync {
    /// These are refused by this process from now on. Told after each commit that revokes.
    fn note(&self, revoked: &[Uuid]);

    /// Whether the process knows of every revocation that is a second old. Where it does not, the
    /// store is asked for each request.
    fn are_current(&self) -> bool;
}

/// Memberships, asked once a request before its tenant context exists. Tenantless, but read
/// under the named clinic's row security.
#[async_trait]
pub trait MembershipStore: Send + Sync {
    /// `None` where the clinic or the membership does not exist.
    async fn find_standing(
        &self,
        sys: &SystemContext,
        clinic: ClinicId,
        user: UserId,
    ) -> Result<Option<Standing>, StoreError>;
}

/// A change that a version or a constraint may refuse.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The row has another version now, or is gone: which of these, the caller finds out by
    /// reading it.
    #[error("the row was changed meanwhile")]
    VersionConflict,
    /// Another branch of the clinic has that name.
    #[error("another branch has that name")]
    NameTaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where the clinic's own row is kept.
#[async_trait]
pub trait ClinicStore: Send + Sync {
    /// The context's clinic; `None` when it is gone.
    async fn read(&self, cx: &TenantContext) -> Result<Option<Clinic>, StoreError>;

    /// Stores `clinic` (whose version is already the new one) where the stored version is one
    /// less, with its audit entry and event.
    async fn update(
        &self,
        cx: &TenantContext,
        clinic: &Clinic,
        entry: AuditEntry,
        event: Event,
    ) -> Result<(), WriteError>;
}

/// Which page of a clinic's branches: newest first, ties by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchQuery {
    /// Behind this one.
    pub after: Option<(DateTime<Utc>, BranchId)>,
    /// Only these; `None` is all of them.
    pub only: Option<Vec<BranchId>>,
    /// At most so many rows.
    pub most: i64,
}

/// Where branches are kept.
#[async_trait]
pub trait BranchStore: Send + Sync {
    /// `None` when absent *or* another clinic's.
    async fn find(&self, cx: &TenantContext, id: BranchId) -> Result<Option<Branch>, StoreError>;

    /// One page, newest first.
    async fn list(&self, cx: &TenantContext, query: BranchQuery)
    -> Result<Vec<Branch>, StoreError>;

    /// Row, audit entry and event together, unless its claim was made before.
    async fn create(
        &self,
        cx: &TenantContext,
        branch: &Branch,
        entry: AuditEntry,
        event: Event,
        claim: Option<Claim>,
    ) -> Result<(), WriteError>;

    /// Stores `branch` (whose version is already the new one) where the stored version is one
    /// less, with its audit entry and event.
    async fn update(
        &self,
        cx: &TenantContext,
        branch: &Branch,
        entry: AuditEntry,
        event: Event,
    ) -> Result<(), WriteError>;
}

/// A membership to write, and the user where there is none of that address yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// The id of the user, should they be new.
    pub user: UserId,
    /// Their address.
    pub email: Email,
    /// Their name, should they be new.
    pub name: PersonName,
    /// Their password's hash, should they be new.
    pub password_hash: Option<PasswordHash>,
    /// What they become.
    pub role: Role,
    /// When.
    pub at: DateTime<Utc>,
}

/// A membership that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberWritten {
    /// The user.
    pub user: UserId,
    /// Whether they were new.
    pub user_created: bool,
}

/// Why a membership was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteMemberError {
    /// There is no such clinic.
    #[error("there is no clinic with that id")]
    NoSuchClinic,
    /// The user is a member already.
    #[error("the user is a member of that clinic already")]
    AlreadyMember,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What operators alone may do. The contexts are an operator's, made by
/// [`crate::Administration`].
#[async_trait]
pub trait ClinicAdministration: Send + Sync {
    /// Creates the context's clinic, with its audit entry and event.
    async fn create_clinic(
        &self,
        cx: &TenantContext,
        clinic: &Clinic,
        entry: AuditEntry,
        event: Event,
    ) -> Result<(), StoreError>;

    /// Makes the user of that address a member of the context's clinic; a user who is there
    /// already keeps their name and password. `describe` makes the audit entry and the event
    /// once the user's id is known.
    async fn create_member(
        &self,
        cx: &TenantContext,
        member: &MemberRow,
        describe: &(dyn Fn(UserId) -> (AuditEntry, Event) + Send + Sync),
    ) -> Result<MemberWritten, WriteMemberError>;

    /// Every clinic, by name. Tenantless.
    async fn list_clinics(&self, sys: &SystemContext) -> Result<Vec<ClinicSummary>, StoreError>;
}

/// Where flags and plans are kept.
#[async_trait]
pub trait RolloutStore: Send + Sync {
    /// Everything that is set; `None` where that is `known` still. Tenantless.
    async fn read(&self, sys: &SystemContext, known: i64) -> Result<Option<Rollout>, StoreError>;

    /// Sets a flag's share, or takes it away. Tenantless.
    async fn set_flag(
        &self,
        sys: &SystemContext,
        flag: Flag,
        share: Option<Percentage>,
        change: &RolloutChange,
    ) -> Result<(), StoreError>;

    /// Sets the word of the context's clinic on a flag, or takes it back, with its audit entry.
    async fn set_clinic_flag(
        &self,
        cx: &TenantContext,
        flag: Flag,
        is_on: Option<bool>,
        change: &RolloutChange,
        entry: AuditEntry,
    ) -> Result<(), RolloutError>;

    /// Sets the requests a minute of the context's clinic, or takes them back, with its audit entry.
    async fn set_plan(
        &self,
        cx: &TenantContext,
        requests_per_minute: Option<u32>,
        change: &RolloutChange,
        entry: AuditEntry,
    ) -> Result<(), RolloutError>;
}

/// Hashes passwords slowly, and a bounded number at once.
#[async_trait]
pub trait PasswordHasher: Send + Sync {
    /// The hash to store.
    async fn hash(&self, password: Sensitive<String>) -> Result<PasswordHash, HashError>;

    /// Whether the password is the one that was hashed. Without a hash it does the same work
    /// and answers no, so that an unknown user costs what a wrong password does.
    async fn verify(
        &self,
        password: Sensitive<String>,
        hash: Option<PasswordHash>,
    ) -> Result<bool, HashError>;
}

/// A fresh access token.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    /// The token itself.
    pub token: Sensitive<String>,
    /// How long it is valid.
    pub expires_in: Duration,
}

/// Makes access tokens.
pub trait TokenIssuer: Send + Sync {
    /// A token that speaks for `user` in `session`.
    fn issue(&self, user: UserId, session: SessionId) -> Result<IssuedToken, TokenFault>;
}

/// Checks access tokens.
pub trait TokenVerifier: Send + Sync {
    /// Who the token speaks for.
    fn verify(&self, token: &str) -> Result<Identity, InvalidToken>;
}
