//! [`PgAdministration`]: what operators alone do. Clinics, users and memberships are made by
//! narrow definer functions; the audit entry and the event of the same transaction by the
//! server's own role, under the clinic's row security.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use clinics::ports::{MemberRow, MemberWritten, WriteMemberError};
use clinics::{Clinic, ClinicAdministration, ClinicSummary};
use kernel::{AuditEntry, Event, StoreError, SystemContext, TenantContext, TypedId as _, UserId};
use uuid::Uuid;

use super::rows::{clinic_status, name};
use super::statements::{CreateClinic, CreateMember, ListClinics};
use crate::{Database, QueryName, StoreErrorExt as _, query_name};

const CREATE_CLINIC: QueryName = query_name!("clinic.create", "INSERT", "clinics");
const CREATE_MEMBER: QueryName = query_name!("membership.create", "INSERT", "memberships");
const LIST_CLINICS: QueryName = query_name!("clinic.list", "SELECT", "clinics");

/// Operators' acts in PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgAdministration {
    db: Database,
}

impl PgAdministration {
    /// On that database.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

#[async_trait]
impl ClinicAdministration for PgAdministration {
    async fn create_clinic(
        &self,
        cx: &TenantContext,
        clinic: &Clinic,
        entry: AuditEntry,
        event: Event,
    ) -> Result<(), StoreError> {
        self.db
            .write(cx, CREATE_CLINIC, |batch| {
                batch.execute(CreateClinic {
                    id: cx.clinic().as_uuid(),
                    name: clinic.name.as_str(),
                    time_zone: clinic.time_zone.name(),
                    locale: clinic.locale.as_str(),
                    settings: clinic.settings.to_stored(),
                    at: clinic.created_at,
                });
                batch.audit(&entry);
                batch.emit(&event);
            })
            .await?;
        Ok(())
    }

    async fn create_member(
        &self,
        cx: &TenantContext,
        member: &MemberRow,
        describe: &(dyn Fn(UserId) -> (AuditEntry, Event) + Send + Sync),
    ) -> Result<MemberWritten, WriteMemberError> {
        let create = CreateMember {
            user: member.user.as_uuid(),
            email: member.email.as_str(),
            name: member.name.as_str(),
            password_hash: member
                .password_hash
                .as_ref()
                .map(clinics::PasswordHash::as_str),
            clinic: cx.clinic().as_uuid(),
            role: member.role.name(),
            at: member.at,
        };
        let written = self
            .db
            .unit(cx, CREATE_MEMBER, async |tx| {
                let row: Option<(Uuid, bool)> = tx.optional(create).await?;
                let (user, user_created) = row.ok_or(WriteMemberError::AlreadyMember)?;
                let user = UserId::from(user);
                let (entry, event) = describe(user);
                tx.audit(&entry);
                tx.emit(&event);
                Ok(MemberWritten { user, user_created })
            })
            .await;
        written.map_err(|error| match error {
            WriteMemberError::Store(error)
                if error.constraint() == Some("memberships_clinic_fk") =>
            {
                WriteMemberError::NoSuchClinic
            }
            other => other,
        })
    }

    async fn list_clinics(&self, sys: &SystemContext) -> Result<Vec<ClinicSummary>, StoreError> {
        let rows: Vec<(Uuid, String, String, DateTime<Utc>)> =
            self.db.system(sys, LIST_CLINICS, ListClinics {}).await?;
        rows.into_iter()
            .map(|(id, clinic_name, status, created_at)| {
                Ok(ClinicSummary {
                    id: id.into(),
                    name: name(&clinic_name, "clinics.name")?,
                    status: clinic_status(&status)?,
                    created_at,
                })
            })
            .collect()
    }
}
