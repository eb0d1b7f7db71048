//! [`PgClinics`] and [`PgBranches`]: the present clinic's own row and its branches.

use async_trait::async_trait;
use clinics::ports::WriteError;
use clinics::{Branch, BranchQuery, BranchStore, Clinic, ClinicStore};
use kernel::once::Claim;
use kernel::{AuditEntry, BranchId, Event, StoreError, TenantContext, TypedId as _};

use super::rows::{BranchRow, ClinicRow, stored};
use super::statements::{
    BranchesBehind, FindBranch, InsertBranch, NewestBranches, ReadClinic, UpdateBranch,
    UpdateClinic,
};
use crate::{Database, QueryName, StoreErrorExt as _, query_name};

const CLINIC_READ: QueryName = query_name!("clinic.read", "SELECT", "clinics");
const CLINIC_UPDATE: QueryName = query_name!("clinic.update", "UPDATE", "clinics");
const BRANCH_FIND: QueryName = query_name!("branch.find", "SELECT", "branches");
const BRANCH_LIST: QueryName = query_name!("branch.list", "SELECT", "branches");
const BRANCH_CREATE: QueryName = query_name!("branch.create", "INSERT", "branches");
const BRANCH_UPDATE: QueryName = query_name!("branch.update", "UPDATE", "branches");

/// Clinics' own rows in PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgClinics {
    db: Database,
}

impl PgClinics {
    /// On that database.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

#[async_trait]
impl ClinicStore for PgClinics {
    async fn read(&self, cx: &TenantContext) -> Result<Option<Clinic>, StoreError> {
        let row: Option<ClinicRow> = self.db.read_one(cx, CLINIC_READ, ReadClinic {}).await?;
        row.map(Clinic::try_from).transpose()
    }

    async fn update(
        &self,
        cx: &TenantContext,
        clinic: &Clinic,
        entry: AuditEntry,
        event: Event,
    ) -> Result<(), WriteError> {
        self.db
            .unit(cx, CLINIC_UPDATE, async |tx| {
                let updated = tx
                    .execute(UpdateClinic {
                        name: clinic.name.as_str(),
                        time_zone: clinic.time_zone.name(),
                        locale: clinic.locale.as_str(),
                        settings: clinic.settings.to_stored(),
                        version: clinic.version,
                        updated_at: clinic.updated_at,
                        id: cx.clinic().as_uuid(),
                        version_before: clinic.version - 1,
                    })
                    .await?;
                if updated == 0 {
                    return Err(WriteError::VersionConflict);
                }
                tx.audit(&entry);
                tx.emit(&event);
                Ok(())
            })
            .await
    }
}

/// Branches in PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgBranches {
    db: Database,
}

impl PgBranches {
    /// On that database.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

/// What a violated constraint means.
fn refused(error: WriteError) -> WriteError {
    match error {
        WriteError::Store(error) if error.constraint() == Some("branches_name_unique") => {
            WriteError::NameTaken
        }
        other => other,
    }
}

#[async_trait]
impl BranchStore for PgBranches {
    async fn find(&self, cx: &TenantContext, id: BranchId) -> Result<Option<Branch>, StoreError> {
        let find = FindBranch { id: id.as_uuid() };
        let row: Option<BranchRow> = self.db.read_one(cx, BRANCH_FIND, find).await?;
        row.map(Branch::try_from).transpose()
    }

    async fn list(
        &self,
        cx: &TenantContext,
        query: BranchQuery,
    ) -> Result<Vec<Branch>, StoreError> {
        let BranchQuery { after, only, most } = query;
        let only = only.map(|ids| ids.iter().map(BranchId::as_uuid).collect());
        let rows: Vec<BranchRow> = match after {
            None => {
                let newest = NewestBranches { only, most };
                self.db.read(cx, BRANCH_LIST, newest).await?
            }
            Some((created_at, id)) => {
                let behind = BranchesBehind {
                    created_at,
                    id: id.as_uuid(),
                    only,
                    most,
                };
                self.db.read(cx, BRANCH_LIST, behind).await?
            }
        };
        rows.into_iter().map(Branch::try_from).collect()
    }

    async fn create(
        &self,
        cx: &TenantContext,
        branch: &Branch,
        entry: AuditEntry,
        event: Event,
        claim: Option<Claim>,
    ) -> Result<(), WriteError> {
        let insert = InsertBranch {
            clinic: cx.clinic().as_uuid(),
            id: branch.id.as_uuid(),
            name: branch.name.as_str(),
            time_zone: branch.time_zone.name(),
            address: stored(branch.address.as_ref())?,
            opening_hours: stored(branch.opening_hours.as_ref())?,
            status: branch.status.name(),
            version: branch.version,
            created_at: branch.created_at,
            updated_at: branch.updated_at,
        };
        self.db
            .write(cx, BRANCH_CREATE, |batch| {
                batch.claim(claim);
                batch.execute(insert);
                batch.audit(&entry);
                batch.emit(&event);
            })
            .await
            .map_err(|error| refused(error.into()))?;
        Ok(())
    }

    async fn update(
        &self,
        cx: &TenantContext,
        branch: &Branch,
        entry: AuditEntry,
        event: Event,
    ) -> Result<(), WriteError> {
        let update = UpdateBranch {
            name: branch.name.as_str(),
            time_zone: branch.time_zone.name(),
            address: stored(branch.address.as_ref())?,
            opening_hours: stored(branch.opening_hours.as_ref())?,
            status: branch.status.name(),
            version: branch.version,
            updated_at: branch.updated_at,
            clinic: cx.clinic().as_uuid(),
            id: branch.id.as_uuid(),
            version_before: branch.version - 1,
        };
        self.db
            .unit(cx, BRANCH_UPDATE, async |tx| {
                if tx.execute(update).await? == 0 {
                    return Err(WriteError::VersionConflict);
                }
                tx.audit(&entry);
                tx.emit(&event);
                Ok(())
            })
            .await
            .map_err(refused)
    }
}
