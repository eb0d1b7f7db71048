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

/// What a member is, or where they work, changed.
pub const MEMBERSHIP_UPDATED: &str = "membership.updated";
/// A membership was withdrawn.
pub const MEMBERSHIP_DEACTIVATED: &str = "membership.deactivated";
/// A withdrawn membership stands again.
pub const MEMBERSHIP_REACTIVATED: &str = "membership.reactivated";
/// Somebody was invited.
pub const INVITATION_CREATED: &str = "invitation.created";
/// An invitation's mail was asked for again.
pub const INVITATION_UPDATED: &str = "invitation.updated";
/// An invitation was taken back.
pub const INVITATION_REVOKED: &str = "invitation.revoked";
/// An invited person came in.
pub const INVITATION_ACCEPTED: &str = "invitation.accepted";

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
