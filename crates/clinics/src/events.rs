//! What this domain announces. Payloads hold ids and versions, never names.

use kernel::{BranchId, ClinicId, Event, Toolkit};
use serde_json::json;

/// A clinic was created by an operator.
pub const CLINIC_CREATED: &str = "clinic.created";
/// A clinic's settings changed.
pub const CLINIC_UPDATED: &str = "clinic.updated";
/// A branch was created.
pub const BRANCH_CREATED: &str = "branch.created";
/// A branch changed.
pub const BRANCH_UPDATED: &str = "branch.updated";
/// A user became a member of a clinic.
pub const MEMBERSHIP_CREATED: &str = "membership.created";

pub(crate) fn of_clinic(
    tools: &Toolkit,
    name: &'static str,
    clinic: ClinicId,
    version: i64,
) -> Event {
    Event::new(tools, name, clinic, json!({ "rowVersion": version }))
}

pub(crate) fn of_branch(
    tools: &Toolkit,
    name: &'static str,
    branch: BranchId,
    version: i64,
) -> Event {
    Event::new(tools, name, branch, json!({ "rowVersion": version }))
}
