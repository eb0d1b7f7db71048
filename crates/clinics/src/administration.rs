//! [`Administration`]: what the installation's operators do with clinics, from the command line
//! alone. No route leads here.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use kernel::email::Email;
use kernel::text::PersonName;
use kernel::{
    AuditEntry, ChangedValue, ClinicId, Event, Origin, Resource, StoreError, SystemContext,
    SystemPurpose, TenantContext, Toolkit, UserId,
};
use serde_json::json;

use crate::clinic::{Clinic, ClinicStatus, Settings};
use crate::error::AdministrationError;
use crate::events;
use crate::password::NewPassword;
use crate::ports::{
    ClinicAdministration, MemberRow, MemberWritten, PasswordHasher, WriteMemberError,
};
use crate::role::Role;
use crate::values::{Locale, Name, TimeZone};

/// A clinic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewClinic {
    /// Its name.
    pub name: Name,
    /// Its zone.
    pub time_zone: TimeZone,
    /// Its locale.
    pub locale: Locale,
}

/// A member to create.
#[derive(Debug)]
pub struct NewMember {
    /// Their address. A user of that address is taken as they are.
    pub email: Email,
    /// Their name, should they be new.
    pub name: PersonName,
    /// Their password, should they be new.
    pub password: NewPassword,
    /// What they become.
    pub role: Role,
}

/// A member who was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberCreated {
    /// The user.
    pub user: UserId,
    /// Whether they are new; if not, they kept their name and password.
    pub user_created: bool,
}

/// A clinic as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClinicSummary {
    /// Its id.
    pub id: ClinicId,
    /// Its name.
    pub name: Name,
    /// Whether it may be used.
    pub status: ClinicStatus,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// Creates clinics and first owners. Every act is audited in the clinic it concerns.
#[derive(Clone)]
pub struct Administration {
    store: Arc<dyn ClinicAdministration>,
    hasher: Arc<dyn PasswordHasher>,
    tools: Toolkit,
}

impl Administration {
    /// Wires the service.
    pub fn new(
        store: Arc<dyn ClinicAdministration>,
        hasher: Arc<dyn PasswordHasher>,
        tools: Toolkit,
    ) -> Self {
        Self {
            store,
            hasher,
            tools,
        }
    }

    /// Creates a clinic.
    pub async fn create_clinic(
        &self,
        origin: Origin,
        new: NewClinic,
    ) -> Result<Clinic, AdministrationError> {
        let now = self.tools.now();
        let clinic = Clinic {
            id: self.tools.id(),
            name: new.name,
            time_zone: new.time_zone,
            locale: new.locale,
            settings: Settings::default(),
            status: ClinicStatus::Active,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        let cx = operator(clinic.id, origin);
        let entry = AuditEntry::done(
            &self.tools,
            "clinic.create",
            Resource::one("clinic", clinic.id),
        );
        let event = events::of_clinic(&self.tools, events::CLINIC_CREATED, clinic.id, 1);
        self.store.create_clinic(&cx, &clinic, entry, event).await?;
        Ok(clinic)
    }

    /// Makes a user a member of a clinic, and creates the user where there is none.
    pub async fn create_member(
        &self,
        origin: Origin,
        clinic: ClinicId,
        new: NewMember,
    ) -> Result<MemberCreated, AdministrationError> {
        let hash = self.hasher.hash(new.password.into_inner()).await?;
        let cx = operator(clinic, origin);
        let member = MemberRow {
            user: self.tools.id(),
            email: new.email,
            name: new.name,
            password_hash: Some(hash),
            role: new.role,
            at: self.tools.now(),
        };
        let describe = |user: UserId| {
            let entry = AuditEntry::done(
                &self.tools,
                "membership.create",
                Resource::one("membership", user),
            )
            .changed(
                &cx,
                self.tools.keys(),
                [ChangedValue::set("role", new.role.name())],
            );
            let event = Event::new(
                &self.tools,
                events::MEMBERSHIP_CREATED,
                user,
                json!({ "role": new.role.name() }),
            );
            (entry, event)
        };
        let written = self.store.create_member(&cx, &member, &describe).await;
        match written {
            Ok(MemberWritten { user, user_created }) => Ok(MemberCreated { user, user_created }),
            Err(WriteMemberError::NoSuchClinic) => Err(AdministrationError::NoSuchClinic),
            Err(WriteMemberError::AlreadyMember) => Err(AdministrationError::AlreadyMember),
            Err(WriteMemberError::Store(error)) => Err(error.into()),
        }
    }

    /// Every clinic, by name.
    pub async fn list_clinics(&self, origin: Origin) -> Result<Vec<ClinicSummary>, StoreError> {
        let sys = SystemContext::new(SystemPurpose::Administration, origin);
        self.store.list_clinics(&sys).await
    }
}

pub(crate) fn operator(clinic: ClinicId, origin: Origin) -> TenantContext {
    #[expect(
        clippy::disallowed_methods,
        reason = "operators' acts in a clinic begin here and nowhere else"
    )]
    TenantContext::for_operator(clinic, origin)
}

impl fmt::Debug for Administration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Administration")
    }
}
