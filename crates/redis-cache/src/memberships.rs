//! Memberships, cached: asked once a request, before there is a tenant context.
//!
//! A change of role, a deactivation and a clinic's suspension are events of the clinic's stream: seen
//! at once where they were made, and within a second elsewhere. That somebody has *no* membership is
//! never kept.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use clinics::Role;
use clinics::clinic::ClinicStatus;
use clinics::ports::MembershipStore;
use clinics::user::{Membership, MembershipStatus, Standing, UserStatus};
use kernel::cache::{CacheKey, Cached, Found, Look};
use kernel::metrics::CacheDomain;
use kernel::{ClinicId, StoreError, SystemContext, TypedId, UserId};
use uuid::Uuid;

use crate::answers::ResponseCache;
use crate::tiers::Codec;

/// A user's standing in a clinic.
#[derive(Debug)]
pub(crate) struct Standings;

impl Cached for Standings {
    type Value = Standing;
    const DOMAIN: CacheDomain = CacheDomain::Memberships;
    const KIND: &'static str = "standing";
}

/// A store of memberships that remembers.
pub struct CachedMemberships {
    store: Arc<dyn MembershipStore>,
    cache: ResponseCache,
}

impl CachedMemberships {
    /// `store`, through `cache`.
    pub fn new(store: Arc<dyn MembershipStore>, cache: ResponseCache) -> Self {
        Self { store, cache }
    }
}

#[async_trait]
impl MembershipStore for CachedMemberships {
    async fn find_standing(
        &self,
        sys: &SystemContext,
        clinic: ClinicId,
        user: UserId,
    ) -> Result<Option<Standing>, StoreError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one legal site: a membership is what a context is made from"
        )]
        let key = CacheKey::<Standings>::before_context(clinic, user);
        let tiers = self.cache.standings();
        let generation = match tiers.look(key.raw()) {
            Look::Hit(standing) => return Ok(Some(Standing::clone(&standing))),
            Look::Bypass => return self.store.find_standing(sys, clinic, user).await,
            Look::Absent(generation) => generation,
        };
        let lead = match tiers.find(key.raw(), generation).await {
            Found::Hit(standing, _) => return Ok(Some(Standing::clone(&standing))),
            Found::Lead(lead) => Some(lead),
            Found::Miss => None,
        };
        let found = self.store.find_standing(sys, clinic, user).await?;
        if let (Some(lead), Some(standing)) = (lead, &found) {
            lead.fill(Arc::new(standing.clone()));
        }
        Ok(found)
    }
}

impl fmt::Debug for CachedMemberships {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CachedMemberships")
    }
}

type Parts = (
    Uuid,
    String,
    Option<Vec<Uuid>>,
    bool,
    String,
    String,
    String,
);

impl Codec for Standings {
    type Value = Standing;

    fn encode(standing: &Standing) -> Vec<u8> {
        let membership = &standing.membership;
        let branches = membership.branches.as_ref();
        let parts: Parts = (
            membership.user.as_uuid(),
            membership.role.name().to_owned(),
            branches.map(|ids| ids.iter().map(TypedId::as_uuid).collect()),
            membership.own_agenda_only,
            membership.status.name().to_owned(),
            standing.user.name().to_owned(),
            standing.clinic.name().to_owned(),
        );
        serde_json::to_vec(&parts).unwrap_or_default()
    }

    fn decode(clinic: ClinicId, bytes: &[u8]) -> Option<Standing> {
        let parts: Parts = serde_json::from_slice(bytes).ok()?;
        let (user, role, branches, own_agenda_only, status, of_user, of_clinic) = parts;
        Some(Standing {
            membership: Membership {
                clinic,
                user: user.into(),
                role: Role::parse(&role).ok()?,
                branches: branches.map(|ids| ids.into_iter().map(Into::into).collect()),
                own_agenda_only,
                status: MembershipStatus::parse(&status)?,
            },
            user: UserStatus::parse(&of_user)?,
            clinic: ClinicStatus::parse(&of_clinic)?,
        })
    }

    fn weight(standing: &Standing) -> usize {
        let branches = standing.membership.branches.as_ref();
        size_of::<Standing>() + branches.map_or(0, |ids| ids.len() * size_of::<Uuid>())
    }
}
