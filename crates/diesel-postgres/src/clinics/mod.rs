//! The stores of clinics, branches, users and memberships.

mod administration;
mod clinic;
mod login;
mod rows;
mod statements;

pub use administration::PgAdministration;
pub use clinic::{PgBranches, PgClinics};
pub use login::PgLogin;
