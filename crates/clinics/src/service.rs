//! [`Clinics`] and [`Branches`]: what a clinic does with its own settings and branches. Each
//! method decides first and leaves an audit entry of what it changed.

use std::fmt;
use std::sync::Arc;

use kernel::cursor::{ListIdentity, Position, SortValue, open_cursor, seal_cursor};
use kernel::{
    Action, AuditEntry, BranchId, ChangedValue, Denied, Gate, Once, Page, PageLimit, Resource,
    TenantContext, Toolkit, TypedId,
};

use crate::branch::{Branch, BranchPatch, BranchStatus, NewBranch};
use crate::clinic::{Clinic, ClinicPatch};
use crate::error::{CreateBranchError, ReadError, UpdateBranchError, UpdateClinicError};
use crate::events;
use crate::ports::{BranchQuery, BranchStore, ClinicStore, WriteError};

/// A clinic's own settings.
#[derive(Clone)]
pub struct Clinics {
    store: Arc<dyn ClinicStore>,
    gate: Gate,
    tools: Toolkit,
}

impl Clinics {
    /// Wires the service.
    pub fn new(store: Arc<dyn ClinicStore>, gate: Gate, tools: Toolkit) -> Self {
        Self { store, gate, tools }
    }

    /// The context's clinic.
    pub async fn read(&self, cx: &TenantContext) -> Result<Option<Clinic>, ReadError> {
        let resource = Resource::one("clinic", cx.clinic());
        self.gate
            .authorize(cx, Action::ClinicRead, resource)
            .await?;
        Ok(self.store.read(cx).await?)
    }

    /// Decides as [`Self::read`] does, for whoever keeps finished answers.
    pub async fn prepare_read(&self, cx: &TenantContext) -> Result<(), Denied> {
        let resource = Resource::one("clinic", cx.clinic());
        self.gate.authorize(cx, Action::ClinicRead, resource).await
    }

    /// What a change starts from: decides as [`Self::update`] does, so that whoever may not
    /// change the clinic learns that first, and learns nothing else.
    pub async fn prepare_update(
        &self,
        cx: &TenantContext,
    ) -> Result<Option<Clinic>, UpdateClinicError> {
        let resource = Resource::one("clinic", cx.clinic());
        self.gate
            .authorize(cx, Action::ClinicUpdate, resource)
            .await?;
        Ok(self.store.read(cx).await?)
    }

    /// Changes the context's clinic where its version is still `expected`. A patch that changes
    /// nothing writes nothing.
    pub async fn update(
        &self,
        cx: &TenantContext,
        expected: i64,
        patch: ClinicPatch,
    ) -> Result<Clinic, UpdateClinicError> {
        let resource = Resource::one("clinic", cx.clinic());
        self.gate
            .authorize(cx, Action::ClinicUpdate, resource)
            .await?;
        let found = self.store.read(cx).await?;
        let mut clinic = found.ok_or(UpdateClinicError::NotFound)?;
        if clinic.version != expected {
            return Err(UpdateClinicError::VersionConflict);
        }
        let changes = clinic.apply(patch);
        if changes.is_empty() {
            return Ok(clinic);
        }
        clinic.version += 1;
        clinic.updated_at = self.tools.now();
        let entry = entry_of(cx, &self.tools, "clinic.update", resource, changes);
        let event = events::of_clinic(
            &self.tools,
            events::CLINIC_UPDATED,
            clinic.id,
            clinic.version,
        );
        match self.store.update(cx, &clinic, entry, event).await {
            Ok(()) => Ok(clinic),
            // No constraint of the clinic's row can be broken by a name.
            Err(WriteError::VersionConflict | WriteError::NameTaken) => {
                Err(UpdateClinicError::VersionConflict)
            }
            Err(WriteError::Store(error)) => Err(error.into()),
        }
    }
}

impl fmt::Debug for Clinics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clinics")
    }
}

/// A clinic's branches.
#[derive(Clone)]
pub struct Branches {
    store: Arc<dyn BranchStore>,
    clinics: Arc<dyn ClinicStore>,
    gate: Gate,
    tools: Toolkit,
}

/// The one order of the list of branches.
const NEWEST_FIRST: ListIdentity<'static> = ListIdentity {
    list: "branches",
    sort: "-createdAt",
    filter: &[],
};

impl Branches {
    /// Wires the service.
    pub fn new(
        store: Arc<dyn BranchStore>,
        clinics: Arc<dyn ClinicStore>,
        gate: Gate,
        tools: Toolkit,
    ) -> Self {
        Self {
            store,
            clinics,
            gate,
            tools,
        }
    }

    /// One branch; `None` when absent, another clinic's, or out of the caller's scope.
    pub async fn read(
        &self,
        cx: &TenantContext,
        id: BranchId,
    ) -> Result<Option<Branch>, ReadError> {
        let resource = Resource::one("branch", id);
        self.gate
            .authorize(cx, Action::BranchRead, resource)
            .await?;
        Ok(self.find(cx, id).await?)
    }

    /// Decides as [`Self::read`] does, for whoever keeps finished answers.
    pub async fn prepare_read(&self, cx: &TenantContext, id: BranchId) -> Result<(), Denied> {
        let resource = Resource::one("branch", id);
        self.gate.authorize(cx, Action::BranchRead, resource).await
    }

    /// Decides as [`Self::list`] does, for whoever keeps finished answers.
    pub async fn prepare_list(&self, cx: &TenantContext) -> Result<(), Denied> {
        let resource = Resource::any("branch");
        self.gate.authorize(cx, Action::BranchRead, resource).await
    }

    /// One page of those the caller may see, newest first.
    pub async fn list(
        &self,
        cx: &TenantContext,
        limit: PageLimit,
        cursor: Option<&str>,
    ) -> Result<Page<Branch>, ReadError> {
        let resource = Resource::any("branch");
        self.gate
            .authorize(cx, Action::BranchRead, resource)
            .await?;
        let keys = self.tools.keys();
        let after = match cursor {
            None => None,
            Some(cursor) => {
                let position = open_cursor(cx, keys, &NEWEST_FIRST, cursor)?;
                match position.sort {
                    SortValue::Instant(at) => Some((at, BranchId::from(position.id))),
                    SortValue::Text(_) => return Err(kernel::cursor::InvalidCursor.into()),
                }
            }
        };
        let query = BranchQuery {
            after,
            only: cx.scope().branches.clone(),
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
            seal_cursor(cx, keys, &NEWEST_FIRST, &position)
        });
        Ok(Page { items, next_cursor })
    }

    /// Decides as [`Self::create`] does, so that whoever may not create branches learns that
    /// first, and learns nothing else.
    pub async fn prepare_create(&self, cx: &TenantContext) -> Result<(), Denied> {
        let resource = Resource::any("branch");
        self.gate
            .authorize(cx, Action::BranchManage, resource)
            .await
    }

    /// Creates a branch, in the clinic's zone unless it names its own, and only once where the
    /// caller gave a key.
    pub async fn create(
        &self,
        cx: &TenantContext,
        new: NewBranch,
        once: Option<Once<Branch>>,
    ) -> Result<Branch, CreateBranchError> {
        let resource = Resource::any("branch");
        self.gate
            .authorize(cx, Action::BranchManage, resource)
            .await?;
        let time_zone = if let Some(zone) = new.time_zone {
            zone
        } else {
            let clinic = self.clinics.read(cx).await?;
            let gone = kernel::StoreError::Corrupt("clinics.id");
            clinic.ok_or(gone)?.time_zone
        };
        let now = self.tools.now();
        let branch = Branch {
            id: self.tools.id(),
            name: new.name,
            time_zone,
            address: new.address,
            opening_hours: new.opening_hours,
            status: BranchStatus::Active,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let resource = Resource::one("branch", branch.id);
        let changes = branch.created_values();
        let entry = entry_of(cx, &self.tools, "branch.create", resource, changes);
        let event = events::of_branch(&self.tools, events::BRANCH_CREATED, branch.id, 1);
        let claim = once.map(|once| once.claim(cx, &self.tools, &branch));
        match self.store.create(cx, &branch, entry, event, claim).await {
            Ok(()) => Ok(branch),
            Err(WriteError::NameTaken) => Err(CreateBranchError::NameTaken),
            Err(WriteError::VersionConflict) => {
                Err(kernel::StoreError::Corrupt("branches.row_version").into())
            }
            Err(WriteError::Store(error)) => Err(error.into()),
        }
    }

    /// What a change starts from: decides as [`Self::update`] does, so that whoever may not
    /// change branches learns that first, and learns nothing else.
    pub async fn prepare_update(
        &self,
        cx: &TenantContext,
        id: BranchId,
    ) -> Result<Option<Branch>, UpdateBranchError> {
        let resource = Resource::one("branch", id);
        self.gate
            .authorize(cx, Action::BranchManage, resource)
            .await?;
        Ok(self.find(cx, id).await?)
    }

    /// Changes a branch where its version is still `expected`. A patch that changes nothing
    /// writes nothing.
    pub async fn update(
        &self,
        cx: &TenantContext,
        id: BranchId,
        expected: i64,
        patch: BranchPatch,
    ) -> Result<Branch, UpdateBranchError> {
        let resource = Resource::one("branch", id);
        self.gate
            .authorize(cx, Action::BranchManage, resource)
            .await?;
        let found = self.find(cx, id).await?;
        let mut branch = found.ok_or(UpdateBranchError::NotFound)?;
        if branch.version != expected {
            return Err(UpdateBranchError::VersionConflict);
        }
        let changes = branch.apply(patch);
        if changes.is_empty() {
            return Ok(branch);
        }
        branch.version += 1;
        branch.updated_at = self.tools.now();
        let entry = entry_of(cx, &self.tools, "branch.update", resource, changes);
        let event = events::of_branch(&self.tools, events::BRANCH_UPDATED, id, branch.version);
        match self.store.update(cx, &branch, entry, event).await {
            Ok(()) => Ok(branch),
            Err(WriteError::NameTaken) => Err(UpdateBranchError::NameTaken),
            Err(WriteError::VersionConflict) => Err(UpdateBranchError::VersionConflict),
            Err(WriteError::Store(error)) => Err(error.into()),
        }
    }

    async fn find(
        &self,
        cx: &TenantContext,
        id: BranchId,
    ) -> Result<Option<Branch>, kernel::StoreError> {
        let visible = match &cx.scope().branches {
            None => true,
            Some(branches) => branches.contains(&id),
        };
        if visible {
            self.store.find(cx, id).await
        } else {
            Ok(None)
        }
    }
}

impl fmt::Debug for Branches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Branches")
    }
}

fn entry_of(
    cx: &TenantContext,
    tools: &Toolkit,
    action: &'static str,
    resource: Resource,
    changes: Vec<ChangedValue>,
) -> AuditEntry {
    AuditEntry::done(tools, action, resource).changed(cx, tools.keys(), changes)
}
