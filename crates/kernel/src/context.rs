//! Who acts, for which clinic, and how much they may see.
//!
//! A [`TenantContext`] is the first argument of every port call. It has private fields and no
//! public constructor but the named few below. Each of them is banned by clippy
//! (`.clippy.toml`, `disallowed-methods`) and expected at its one legal site, so that a new
//! call site is always a reviewed line.

use std::net::IpAddr;
use std::sync::Arc;

use crate::access::{Action, Denied, Permissions};
use crate::{BranchId, ChannelId, ClinicId, JobId, RequestId, UserId};

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A user with a membership.
    User(UserId),
    /// A job of this installation.
    Job(JobId),
    /// The provider of a channel, through its authenticated webhook.
    Channel(ChannelId),
    /// An operator of the installation.
    Operator,
}

impl Actor {
    /// The kind of actor, as kept in the audit.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Job(_) => "job",
            Self::Channel(_) => "channel",
            Self::Operator => "operator",
        }
    }

    /// The actor's id, where it has one.
    pub fn id(&self) -> Option<uuid::Uuid> {
        match *self {
            Self::User(id) => Some(id.into()),
            Self::Job(id) => Some(id.into()),
            Self::Channel(id) => Some(id.into()),
            Self::Operator => None,
        }
    }
}

/// Where an act came from, for the audit. Not a decision's input.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The request that caused it.
    pub request: RequestId,
    /// The caller's address, where there is one.
    pub address: Option<IpAddr>,
    /// The caller's user agent, cut to 200 characters.
    pub user_agent: Option<Arc<str>>,
}

impl Origin {
    /// An act that no outside caller asked for.
    pub const fn internal(request: RequestId) -> Self {
        Self {
            request,
            address: None,
            user_agent: None,
        }
    }
}

/// How much of a clinic the caller may see.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Scope {
    /// Only these branches; `None` is all of them. Sorted.
    pub branches: Option<Vec<BranchId>>,
    /// Only the caller's own agenda.
    pub own_agenda_only: bool,
}

impl Scope {
    /// The whole clinic.
    pub const fn whole_clinic() -> Self {
        Self {
            branches: None,
            own_agenda_only: false,
        }
    }
}

/// A verified user's membership in a clinic, resolved: what a context is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The clinic.
    pub clinic: ClinicId,
    /// The verified user.
    pub user: UserId,
    /// The role's stable name, for the audit.
    pub role: &'static str,
    /// What the role may do.
    pub permissions: Permissions,
    /// How much it may see.
    pub scope: Scope,
}

/// One clinic, one actor, what they may do and see. See the module's text.
#[derive(Debug, Clone)]
pub struct TenantContext {
    clinic: ClinicId,
    actor: Actor,
    role: &'static str,
    permissions: Permissions,
    scope: Scope,
    origin: Origin,
}

impl TenantContext {
    /// From a verified identity and its membership. Legal in the HTTP extractor alone.
    pub fn for_member(grant: Grant, origin: Origin) -> Self {
        Self {
            clinic: grant.clinic,
            actor: Actor::User(grant.user),
            role: grant.role,
            permissions: grant.permissions,
            scope: grant.scope,
            origin,
        }
    }

    /// For a leased job of `clinic`. Legal in the job runner alone.
    pub fn for_job(clinic: ClinicId, job: JobId, origin: Origin) -> Self {
        Self {
            clinic,
            actor: Actor::Job(job),
            role: "job",
            permissions: Permissions::of(Action::ALL),
            scope: Scope::whole_clinic(),
            origin,
        }
    }

    /// For an operator's act in one clinic (`acolhe-server admin`). Legal in
    /// the services of operators alone.
    pub fn for_operator(clinic: ClinicId, origin: Origin) -> Self {
        Self {
            clinic,
            actor: Actor::Operator,
            role: "operator",
            permissions: Permissions::of(Action::ALL),
            scope: Scope::whole_clinic(),
            origin,
        }
    }

    /// For tests: any clinic, any permissions.
    #[cfg(any(test, feature = "test-context"))]
    pub fn for_test(clinic: ClinicId, user: UserId, permissions: Permissions) -> Self {
        Self {
            clinic,
            actor: Actor::User(user),
            role: "test",
            permissions,
            scope: Scope::whole_clinic(),
            origin: Origin::internal(RequestId::from(uuid::Uuid::nil())),
        }
    }

    /// The clinic.
    pub const fn clinic(&self) -> ClinicId {
        self.clinic
    }

    /// Who acts.
    pub const fn actor(&self) -> Actor {
        self.actor
    }

    /// The role's stable name, for the audit.
    pub const fn role(&self) -> &'static str {
        self.role
    }

    /// What may be done.
    pub const fn permissions(&self) -> Permissions {
        self.permissions
    }

    /// How much may be seen.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Where the act came from.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// `Ok` when the actor may do `action`. Services use [`crate::audit::Gate::authorize`], which also
    /// leaves the audit entry of a denied attempt.
    pub const fn require(&self, action: Action) -> Result<(), Denied> {
        if self.permissions.allows(action) {
            Ok(())
        } else {
            Err(Denied { action })
        }
    }

    /// As [`Self::scope_bytes`], for a look-up within this process.
    pub fn hash_scope<H: std::hash::Hasher>(&self, state: &mut H) {
        use std::hash::Hash as _;
        state.write_u64(self.permissions.bits());
        self.scope.own_agenda_only.hash(state);
        if self.scope.own_agenda_only {
            self.actor.id().hash(state);
        }
        self.scope.branches.hash(state);
    }

    /// Stable bytes of everything that decides what the caller sees, beside the clinic: part
    /// of every cursor binding, entity tag and cache key.
    pub fn scope_bytes(&self) -> Vec<u8> {
        let mut bytes = self.permissions.bits().to_be_bytes().to_vec();
        bytes.push(u8::from(self.scope.own_agenda_only));
        if self.scope.own_agenda_only
            && let Some(actor) = self.actor.id()
        {
            bytes.extend_from_slice(actor.as_bytes());
        }
        if let Some(branches) = &self.scope.branches {
            for branch in branches {
                bytes.extend_from_slice(uuid::Uuid::from(*branch).as_bytes());
            }
        }
        bytes
    }
}

/// Why the installation acts without a tenant. The list is closed: each variant is one of the
/// named ports, and the test of the tenantless ports lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SystemPurpose {
    /// Find a user's credentials and clinics, note failed attempts.
    Login,
    /// Find a webhook endpoint and its secrets.
    EndpointLookup,
    /// Store a webhook delivery.
    IngressInsert,
    /// Lease, renew and finish jobs.
    JobLeasing,
    /// Give committed events their positions.
    Sequencer,
    /// Operators' administration: create clinics, first owners, shared endpoints.
    Administration,
    /// Lease mails, make their links, note what became of them.
    Mail,
    /// Take a request for a new password, find what a one-time link stands for, use it up.
    OneTimeLink,
    /// Counts for operators and health.
    OperatorCounts,
    /// Read which flags and plans are set.
    Rollout,
    /// Find an operator by their token, note refused ones.
    OperatorAccess,
}

/// The installation itself acts, before or across tenants. Reaches the database through the
/// narrow definer functions of its purpose only.
#[derive(Debug, Clone)]
pub struct SystemContext {
    purpose: SystemPurpose,
    origin: Origin,
}

impl SystemContext {
    /// A context for one purpose.
    pub const fn new(purpose: SystemPurpose, origin: Origin) -> Self {
        Self { purpose, origin }
    }

    /// Why.
    pub const fn purpose(&self) -> SystemPurpose {
        self.purpose
    }

    /// Where it came from.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }
}
