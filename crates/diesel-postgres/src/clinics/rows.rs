//! Rows of clinics and branches, and how they become entities. A value that breaks a rule of its
//! type is told by its column, never shown.

use chrono::{DateTime, Utc};
use clinics::{
    Branch, BranchStatus, Clinic, ClinicStatus, Locale, Name, Role, Settings, TimeZone, UserStatus,
};
use diesel::Queryable;
use kernel::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

#[derive(Queryable)]
pub(super) struct ClinicRow {
    id: Uuid,
    name: String,
    time_zone: String,
    locale: String,
    settings: Value,
    status: String,
    row_version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<ClinicRow> for Clinic {
    type Error = StoreError;

    fn try_from(row: ClinicRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.into(),
            name: name(&row.name, "clinics.name")?,
            time_zone: TimeZone::parse(&row.time_zone).or(corrupt("clinics.time_zone"))?,
            locale: Locale::from_stored(&row.locale).or(corrupt("clinics.locale"))?,
            settings: Settings::from_stored(row.settings).or(corrupt("clinics.settings"))?,
            status: clinic_status(&row.status)?,
            version: row.row_version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

#[derive(Queryable)]
pub(super) struct BranchRow {
    id: Uuid,
    name: String,
    time_zone: String,
    address: Option<Value>,
    opening_hours: Option<Value>,
    status: String,
    row_version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<BranchRow> for Branch {
    type Error = StoreError;

    fn try_from(row: BranchRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.into(),
            name: name(&row.name, "branches.name")?,
            time_zone: TimeZone::parse(&row.time_zone).or(corrupt("branches.time_zone"))?,
            address: json(row.address, "branches.address")?,
            opening_hours: json(row.opening_hours, "branches.opening_hours")?,
            status: BranchStatus::parse(&row.status)
                .ok_or(StoreError::Corrupt("branches.status"))?,
            version: row.row_version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

pub(super) fn corrupt<T>(column: &'static str) -> Result<T, StoreError> {
    Err(StoreError::Corrupt(column))
}

pub(crate) fn name(text: &str, column: &'static str) -> Result<Name, StoreError> {
    Name::parse(text).or(corrupt(column))
}

pub(super) fn role(text: &str) -> Result<Role, StoreError> {
    Role::parse(text).or(corrupt("memberships.role"))
}

pub(super) fn user_status(text: &str) -> Result<UserStatus, StoreError> {
    UserStatus::parse(text).ok_or(StoreError::Corrupt("users.status"))
}

pub(crate) fn clinic_status(text: &str) -> Result<ClinicStatus, StoreError> {
    ClinicStatus::parse(text).ok_or(StoreError::Corrupt("clinics.status"))
}

fn json<T: DeserializeOwned>(
    stored: Option<Value>,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    stored
        .map(serde_json::from_value)
        .transpose()
        .or(corrupt(column))
}

/// As JSON to be stored.
pub(super) fn stored<T: Serialize>(value: Option<&T>) -> Result<Option<Value>, StoreError> {
    value
        .map(serde_json::to_value)
        .transpose()
        .map_err(|error| StoreError::Failed(Box::new(error)))
}
