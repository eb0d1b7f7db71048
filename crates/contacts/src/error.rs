//! Why an act on contacts was refused or failed.

use kernel::cursor::InvalidCursor;
use kernel::{ContactId, Denied, StoreError};

use crate::custom::BrokenField;

/// What another contact of the clinic already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// `phones`, `emails` or `document`.
    pub field: &'static str,
    /// Which entry of the field, from 0; 0 for a document.
    pub index: usize,
    /// Who has it.
    pub by: ContactId,
}

/// A contact could not be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateContactError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Another contact has this phone, e-mail or document.
    #[error("{} is another contact's", .0.field)]
    Taken(Taken),
    /// The same phone or e-mail is given twice.
    #[error("{field} holds the same entry twice")]
    Repeated {
        /// `phones` or `emails`.
        field: &'static str,
        /// The later of the two.
        index: usize,
    },
    /// The owner has no membership in the clinic.
    #[error("the owner is not a member of the clinic")]
    UnknownOwner,
    /// `archived` is no status to begin with.
    #[error("a contact is archived by an act of its own")]
    ArchivedStatus,
    /// The clinic demands a field of its own that is not there: which, the service finds out.
    #[error("a required field is missing")]
    FieldMissing,
    /// Values of the clinic's own fields break a rule, or required ones are missing.
    #[error("a value of a clinic's own field breaks a rule")]
    CustomFields(Vec<BrokenField>),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A contact could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateContactError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// There is no such contact (or it is another clinic's).
    #[error("there is no such contact")]
    NotFound,
    /// It was changed meanwhile: its version is not the expected one.
    #[error("the contact was changed meanwhile")]
    VersionMismatch,
    /// An archived contact is restored before it is changed.
    #[error("the contact is archived")]
    Archived,
    /// Another contact has this phone, e-mail or document.
    #[error("{} is another contact's", .0.field)]
    Taken(Taken),
    /// The same phone or e-mail is given twice.
    #[error("{field} holds the same entry twice")]
    Repeated {
        /// `phones` or `emails`.
        field: &'static str,
        /// The later of the two.
        index: usize,
    },
    /// The owner has no membership in the clinic.
    #[error("the owner is not a member of the clinic")]
    UnknownOwner,
    /// Archiving is an act of its own.
    #[error("a contact is archived by an act of its own")]
    ArchivedStatus,
    /// Values of the clinic's own fields break a rule, or required ones are missing.
    #[error("a value of a clinic's own field breaks a rule")]
    CustomFields(Vec<BrokenField>),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A contact could not be archived or restored.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveContactError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// There is no such contact (or it is another clinic's).
    #[error("there is no such contact")]
    NotFound,
    /// It was changed meanwhile: its version is not the expected one.
    #[error("the contact was changed meanwhile")]
    VersionMismatch,
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Contacts could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListContactsError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The cursor is not of this list.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The page lies beyond what is looked at for a numbered page.
    #[error("the page lies too deep to be reached by its number")]
    PageTooDeep,
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}
