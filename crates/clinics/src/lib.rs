//! Clinics (the tenants), their branches, the users who log in, their memberships, and what each
//! role may do.
//!
//! - [`Access`] turns an e-mail and a password into a token, a token into an [`Identity`], and an
//!   identity and a clinic into a [`kernel::Grant`]. Whatever fails there is answered alike and
//!   noted in the platform's security log.
//! - [`Sessions`] are what a login begins: rotating refresh tokens, and the ends of sessions.
//! - [`Members`] and [`Invitations`] are how a clinic manages who works there, [`PasswordResets`]
//!   sets forgotten passwords anew, and [`Post`] sends the mails of both.
//! - [`Clinics`] and [`Branches`] are what a clinic does with its own settings and branches.
//! - [`Administration`] is the operator's: a clinic and its first owner are never created by a
//!   clinic's user.
//!
//! A user is nobody's: one person may belong to several clinics, so clinics manage memberships
//! and never credentials.

#![warn(missing_docs)]

pub mod access;
pub mod administration;
pub mod branch;
pub mod clinic;
pub mod error;
pub mod events;
pub mod invitation;
pub mod lockout;
pub mod mail;
mod mail_text;
pub mod members;
pub mod one_time;
pub mod operators;
pub mod password;
pub mod password_reset;
pub mod ports;
pub mod role;
pub mod rollout;
pub mod service;
pub mod session;
pub mod sessions;
pub mod user;
pub mod values;

pub use access::{Access, LoggedIn, Me};
pub use administration::{Administration, ClinicSummary, MemberCreated, NewClinic, NewMember};
pub use branch::{
    Address, Branch, BranchPatch, BranchStatus, NewBranch, OpeningHours, OpeningPeriod,
};
pub use clinic::{Clinic, ClinicPatch, ClinicStatus, QuietHours, Settings};
pub use error::{
    AdministrationError, ChangePasswordError, CreateBranchError, HashError, InvalidToken,
    LogInError, MeError, ReadError, RefreshError, RolloutError, TokenFault, UpdateBranchError,
    UpdateClinicError, VerifyError,
};
pub use invitation::{
    Acceptance, Accepted, Invitation, InvitationStatus, Invitations, NewInvitation,
};
pub use lockout::{AttemptStore, Lockout, LockoutPolicy};
pub use mail::{LinkBase, Post, PostSettings};
pub use members::{Member, MemberFilter, MemberPatch, Members};
pub use one_time::OneTimeToken;
pub use operators::{ClinicTally, Operator, OperatorStore, OperatorToken, Operators};
pub use password::{InvalidPassword, NewPassword};
pub use password_reset::PasswordResets;
pub use ports::{
    BranchQuery, BranchStore, ClinicAdministration, ClinicStore, CredentialStore, MembershipStore,
    PasswordHasher, Revocations, RolloutStore, SessionStore, SessionUpkeep, TokenIssuer,
    TokenVerifier,
};
pub use role::Role;
pub use rollout::{Flag, Flags, Percentage, Reason, Rollout, RolloutAdministration, RolloutChange};
pub use service::{Branches, Clinics};
pub use session::{EndReason, RefreshToken, Session, SessionPolicy};
pub use sessions::{Sessions, Tokens};
pub use user::{
    ClinicOfUser, Credentials, Identity, Membership, MembershipStatus, PasswordHash, Standing,
    User, UserStatus,
};
pub use values::{Locale, Name, TimeZone, WallTime};
