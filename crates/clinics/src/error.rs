//! An error type per operation. Nothing here repeats what a caller sent.

use std::error::Error;
use std::time::Duration;

use kernel::cursor::InvalidCursor;
use kernel::{Denied, StoreError};

use crate::lockout::NotAdmitted;
use crate::password::InvalidPassword;
use crate::sessions::OpenError;

/// A password could not be hashed or compared.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many at once: trying again in a few seconds helps.
    #[error("too many passwords are being checked")]
    Busy,
    /// A stored hash is not one, or the machine failed.
    #[error("a password could not be hashed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

/// A token could not be made: a defect of ours.
#[derive(Debug, thiserror::Error)]
#[error("a token could not be made")]
pub struct TokenFault(#[source] pub Box<dyn Error + Send + Sync>);

/// The token is not one of ours, or no longer valid. Which of these is not told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid")]
pub struct InvalidToken;

/// Why a token lets nobody in.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not valid, or its session is over.
    #[error(transparent)]
    Invalid(#[from] InvalidToken),
    /// The store had to be asked, and failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a login did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum LogInError {
    /// Unknown user, wrong password, or a disabled user: one answer for all.
    #[error("the e-mail or the password is wrong")]
    Rejected,
    /// Too many logins at once.
    #[error("too many logins at once")]
    Busy,
    /// The account or the address failed too often: after so long it may be tried again.
    #[error("too many attempts")]
    Delayed(Duration),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A password or token could not be worked on: a defect of ours.
    #[error("a login failed by a defect")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl From<HashError> for LogInError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Busy,
            HashError::Failed(source) => Self::Failed(source),
        }
    }
}

impl From<NotAdmitted> for LogInError {
    fn from(error: NotAdmitted) -> Self {
        match error {
            NotAdmitted::Wait(wait) => Self::Delayed(wait),
            NotAdmitted::Store(error) => Self::Store(error),
        }
    }
}

/// Why a password was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangePasswordError {
    /// The user is gone or disabled since the token was made.
    #[error("the user may no longer log in")]
    Gone,
    /// The present password is another.
    #[error("the present password is another")]
    Wrong,
    /// The new one may not be set.
    #[error(transparent)]
    Unfit(#[from] InvalidPassword),
    /// Too many passwords at once.
    #[error("too many passwords are being checked")]
    Busy,
    /// The user or the address failed too often: after so long it may be tried again.
    #[error("too many attempts")]
    Delayed(Duration),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A password could not be worked on: a defect of ours.
    #[error("a password was not changed by a defect")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl From<NotAdmitted> for ChangePasswordError {
    fn from(error: NotAdmitted) -> Self {
        LogInError::from(error).into()
    }
}

impl From<LogInError> for ChangePasswordError {
    fn from(error: LogInError) -> Self {
        match error {
            LogInError::Rejected => Self::Wrong,
            LogInError::Busy => Self::Busy,
            LogInError::Delayed(wait) => Self::Delayed(wait),
            LogInError::Store(error) => Self::Store(error),
            LogInError::Failed(source) => Self::Failed(source),
        }
    }
}

impl From<OpenError> for LogInError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(error) => Self::Store(error),
            OpenError::Token(error) => Self::Failed(Box::new(error)),
        }
    }
}

/// Why a session was not refreshed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The token is not one of ours, was replaced, or its session is over: one answer for all.
    #[error("the refresh token is not valid")]
    Rejected,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token could not be made: a defect of ours.
    #[error(transparent)]
    Token(#[from] TokenFault),
}

/// Why a user could not be shown themselves.
#[derive(Debug, thiserror::Error)]
pub enum MeError {
    /// The user is gone or disabled since the token was made.
    #[error("the user may no longer log in")]
    Gone,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why something was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The cursor was not made for this list.
    #[error("the cursor {0}")]
    Cursor(#[from] InvalidCursor),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a clinic was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateClinicError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It is gone.
    #[error("the clinic does not exist")]
    NotFound,
    /// Somebody else changed it first.
    #[error("the clinic was changed meanwhile")]
    VersionConflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a branch was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateBranchError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Another branch of the clinic has that name.
    #[error("another branch has that name")]
    NameTaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a branch was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateBranchError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Absent, another clinic's, or out of the caller's scope.
    #[error("the branch does not exist")]
    NotFound,
    /// Somebody else changed it first.
    #[error("the branch was changed meanwhile")]
    VersionConflict,
    /// Another branch of the clinic has that name.
    #[error("another branch has that name")]
    NameTaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an operator's act failed.
#[derive(Debug, thiserror::Error)]
pub enum AdministrationError {
    /// There is no such clinic.
    #[error("there is no clinic with that id")]
    NoSuchClinic,
    /// The user is a member of that clinic already.
    #[error("the user is a member of that clinic already")]
    AlreadyMember,
    /// The password could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a clinic's flag or plan was not set.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// There is no such clinic.
    #[error("there is no clinic with that id")]
    NoSuchClinic,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
