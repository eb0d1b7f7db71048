//! The stores of clinics, branches, users, memberships and sessions.

mod administration;
mod clinic;
mod login;
mod rows;
mod sessions;
mod statements;

pub use administration::PgAdministration;
pub use clinic::{PgBranches, PgClinics};
pub use login::PgLogin;
pub use sessions::PgSessions;
