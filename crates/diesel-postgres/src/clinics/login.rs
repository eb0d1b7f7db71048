//! [`PgLogin`]: what is looked up before there is a tenant, through narrow definer functions; a
//! membership through the row security of the clinic that was named.

use async_trait::async_trait;
use clinics::ports::SecurityEvent;
use clinics::{
    ClinicOfUser, CredentialStore, Credentials, Membership, MembershipStatus, MembershipStore,
    PasswordHash, Standing, User,
};
use kernel::email::Email;
use kernel::text::PersonName;
use kernel::{ClinicId, StoreError, SystemContext, TypedId as _, UserId};
use uuid::Uuid;

use super::rows::{clinic_status, corrupt, name, role, user_status};
use super::statements::{
    FindCredentials, FindMemberships, FindStanding, FindUser, RecordSecurityEvent,
};
use crate::{Database, QueryName, query_name};

const FIND_CREDENTIALS: QueryName = query_name!("user.find_credentials", "SELECT", "users");
const FIND_USER: QueryName = query_name!("user.find", "SELECT", "users");
const LIST_CLINICS: QueryName = query_name!("user.list_clinics", "SELECT", "memberships");
const FIND_STANDING: QueryName = query_name!("membership.find_standing", "SELECT", "memberships");
const RECORD: QueryName = query_name!("security_event.record", "INSERT", "security_log");

/// Logins and memberships in PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgLogin {
    db: Database,
}

impl PgLogin {
    /// On that database.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

fn user(id: Uuid, email: &str, name: &str, status: &str) -> Result<User, StoreError> {
    Ok(User {
        id: id.into(),
        email: Email::parse(email).or(corrupt("users.email"))?,
        name: PersonName::salvage(name).ok_or(StoreError::Corrupt("users.name"))?,
        status: user_status(status)?,
    })
}

#[async_trait]
impl CredentialStore for PgLogin {
    async fn find_credentials(
        &self,
        sys: &SystemContext,
        email: &Email,
    ) -> Result<Option<Credentials>, StoreError> {
        let find = FindCredentials {
            email: email.as_str(),
        };
        let rows: Vec<(Uuid, String, Option<String>, String)> =
            self.db.system(sys, FIND_CREDENTIALS, find).await?;
        let Some((id, name, hash, status)) = rows.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(Credentials {
            user: user(id, email.as_str(), &name, &status)?,
            password_hash: hash.map(PasswordHash::new),
        }))
    }

    async fn find_user(&self, sys: &SystemContext, id: UserId) -> Result<Option<User>, StoreError> {
        let find = FindUser { user: id.as_uuid() };
        let rows: Vec<(String, String, String)> = self.db.system(sys, FIND_USER, find).await?;
        rows.first()
            .map(|(email, name, status)| user(id.as_uuid(), email, name, status))
            .transpose()
    }

    async fn list_clinics(
        &self,
        sys: &SystemContext,
        id: UserId,
    ) -> Result<Vec<ClinicOfUser>, StoreError> {
        let find = FindMemberships { user: id.as_uuid() };
        let rows: Vec<(Uuid, String, String)> = self.db.system(sys, LIST_CLINICS, find).await?;
        rows.into_iter()
            .map(|(clinic, clinic_name, held)| {
                Ok(ClinicOfUser {
                    id: clinic.into(),
                    name: name(&clinic_name, "clinics.name")?,
                    role: role(&held)?,
                })
            })
            .collect()
    }

    async fn record_security_event(
        &self,
        sys: &SystemContext,
        event: SecurityEvent,
    ) -> Result<(), StoreError> {
        let origin = sys.origin();
        let record = RecordSecurityEvent {
            id: event.id,
            at: event.at,
            kind: event.kind.name(),
            user: event.user.map(|id| id.as_uuid()),
            clinic: event.clinic.map(|id| id.as_uuid()),
            subject_hash: event.subject_hash.as_ref().map(<[u8; 32]>::as_slice),
            address: origin.address.map(|address| address.to_string()),
            user_agent: origin.user_agent.as_deref(),
            request: origin.request.as_uuid(),
        };
        self.db.system_execute(sys, RECORD, record).await?;
        Ok(())
    }
}

type StandingRow = (String, Option<Vec<Uuid>>, bool, String, String, String);

#[async_trait]
impl MembershipStore for PgLogin {
    async fn find_standing(
        &self,
        sys: &SystemContext,
        clinic: ClinicId,
        user: UserId,
    ) -> Result<Option<Standing>, StoreError> {
        let find = FindStanding {
            user: user.as_uuid(),
        };
        let rows: Vec<StandingRow> = self
            .db
            .read_before_context(sys, clinic, FIND_STANDING, find)
            .await?;
        let Some((held, branches, own_agenda_only, status, of_user, of_clinic)) =
            rows.into_iter().next()
        else {
            return Ok(None);
        };
        Ok(Some(Standing {
            membership: Membership {
                clinic,
                user,
                role: role(&held)?,
                branches: branches.map(|ids| ids.into_iter().map(Into::into).collect()),
                own_agenda_only,
                status: MembershipStatus::parse(&status)
                    .ok_or(StoreError::Corrupt("memberships.status"))?,
            },
            user: user_status(&of_user)?,
            clinic: clinic_status(&of_clinic)?,
        }))
    }
}
