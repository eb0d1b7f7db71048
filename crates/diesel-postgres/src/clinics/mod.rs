//! The stores of clinics, branches, users, memberships and sessions.

mod administration;
mod attempts;
mod clinic;
mod invitations;
mod login;
mod mail;
mod members;
mod rollout;
pub(crate) mod rows;
mod sessions;
mod statements;

pub use administration::PgAdministration;
pub use attempts::PgAttempts;
pub use clinic::{PgBranches, PgClinics};
pub use invitations::PgInvitations;
pub use login::PgLogin;
pub use mail::PgMails;
pub use members::PgMembers;
pub use rollout::PgRollout;
pub use sessions::PgSessions;
