//! Contacts: the people a clinic deals with, whether they are patients yet or not.
//!
//! A contact is known by its *identities* (phones, e-mails, WhatsApp ids), each of which belongs to
//! one contact of the clinic at a time. A contact without a phone is legal. What a person of the
//! clinic wrote is never overwritten by what a provider says.
//!
//! [`Contacts`] is the service the calling sides use; [`ports::ContactStore`] is what it needs.

#![warn(missing_docs)]

mod audited;
pub mod consent;
mod consents;
pub mod contact;
pub mod custom;
mod documents;
pub mod error;
pub mod field;
mod fields;
pub mod list;
pub mod ports;
pub mod search;
mod service;

pub use consents::{Consents, GiveConsent, ReadConsentError, WriteConsentError};
pub use contact::{
    Change, Contact, ContactEmail, ContactPatch, ContactPhone, ContactStatus, ContactSummary,
    Label, NewContact, Notes, Source, Tag, Tags,
};
pub use custom::{BrokenField, CustomChange, CustomFields};
pub use documents::Documents;
pub use error::{ArchiveContactError, CreateContactError, ListContactsError, UpdateContactError};
pub use fields::{ContactFields, ReadContactFieldError, WriteContactFieldError};
pub use list::{ContactFilter, ContactOrder, ContactQuery, ContactRows, ListContacts};
pub use service::{Contacts, CreateContact, ReadContactError};
