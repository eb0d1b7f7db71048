//! What the contacts domain needs from outside.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kernel::once::Claim;
use kernel::ports::Resealed;
use kernel::{AuditEntry, ConsentId, ContactId, Event, Numbered, StoreError, TenantContext};

use crate::consent::{Consent, ConsentAct, ConsentText};
use crate::consents::WriteConsentError;
use crate::contact::{Contact, ContactPatch, ContactSummary, NewContact};
use crate::custom::CustomChange;
use crate::error::{ArchiveContactError, CreateContactError, UpdateContactError};
use crate::field::ContactField;
use crate::fields::WriteContactFieldError;
use crate::list::{ContactQuery, ContactRows};

/// What an act leaves behind beside its effect, committed with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// When.
    pub at: DateTime<Utc>,
    /// The audit entry. A store adds the fields that differ ([`Contact::changes_since`]) where it
    /// alone knows both states.
    pub audit: AuditEntry,
    /// The event.
    pub event: Event,
}

/// Where contacts are kept. Every method is one atomic use case, scoped to `cx`'s clinic.
#[async_trait]
pub trait ContactStore: Send + Sync {
    /// Keeps a new contact with its identities, tags and search tokens, unless its claim was made
    /// before.
    async fn create(
        &self,
        cx: &TenantContext,
        new: NewContact,
        trace: Trace,
        claim: Option<Claim>,
    ) -> Result<Contact, CreateContactError>;

    /// `None` when absent *or* another clinic's. A merged contact is found, and says into whom.
    async fn find(&self, cx: &TenantContext, id: ContactId) -> Result<Option<Contact>, StoreError>;

    /// Changes a contact whose version is `expected` (any, when `None`); of the clinic's own fields
    /// what the second part of the patch says. Where nothing differs
    /// afterwards it stays as it is, without a trace.
    async fn update(
        &self,
        cx: &TenantContext,
        id: ContactId,
        expected: Option<i64>,
        patch: (ContactPatch, CustomChange),
        trace: Trace,
    ) -> Result<Contact, UpdateContactError>;

    /// Archives a contact. One that is archived already stays as it is, without a trace.
    async fn archive(
        &self,
        cx: &TenantContext,
        id: ContactId,
        expected: Option<i64>,
        trace: Trace,
    ) -> Result<Contact, ArchiveContactError>;

    /// Restores an archived contact to the status it had. One that is not archived stays as it
    /// is, without a trace.
    async fn restore(
        &self,
        cx: &TenantContext,
        id: ContactId,
        expected: Option<i64>,
        trace: Trace,
    ) -> Result<Contact, ArchiveContactError>;

    /// The clinic's own fields, archived ones too.
    async fn fields(&self, cx: &TenantContext) -> Result<Vec<ContactField>, StoreError>;

    /// Rows in the asked order, at most `query.rows`. Merged contacts are left out. However many
    /// contacts a clinic has, a bounded number of them is looked at.
    async fn list(
        &self,
        cx: &TenantContext,
        query: &ContactQuery,
    ) -> Result<ContactRows, StoreError>;

    /// The `query.rows` rows behind the first `skipped`, and how many there are in all. `query.after`
    /// is not heeded. However many contacts a clinic has, a bounded number of them is looked at:
    /// where that is not all, the total is what was found.
    async fn list_numbered(
        &self,
        cx: &TenantContext,
        query: &ContactQuery,
        skipped: u16,
    ) -> Result<Numbered<ContactSummary>, StoreError>;
}

/// Some documents that were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResealedDocuments {
    /// What became of them.
    pub resealed: Resealed,
    /// The last contact; `None` when there was none left.
    pub last: Option<ContactId>,
}

/// Contacts' documents as they are kept: sealed, beside the hash they are looked up by.
#[async_trait]
pub trait DocumentStore: Send + Sync {
    /// Seals the documents of the next `most` contacts after `after`, by id, with the present
    /// master key, and hashes them with the present look-up key. Those that are so already stay.
    async fn reseal(
        &self,
        cx: &TenantContext,
        after: Option<ContactId>,
        most: u16,
    ) -> Result<ResealedDocuments, StoreError>;
}

/// Where a clinic's own fields are kept.
#[async_trait]
pub trait ContactFieldStore: Send + Sync {
    /// All fields, archived ones too, in their order.
    async fn list(&self, cx: &TenantContext) -> Result<Vec<ContactField>, StoreError>;

    /// Keeps a new field, unless its claim was made before or the clinic has as many as `most` says:
    /// of those that are not archived, and in all.
    async fn create(
        &self,
        cx: &TenantContext,
        field: &ContactField,
        most: (usize, usize),
        trace: Trace,
        claim: Option<Claim>,
    ) -> Result<(), WriteContactFieldError>;

    /// Keeps `field`, whose version is the new one already, where the stored version is one less
    /// and no more than `most_active` are then not archived.
    async fn update(
        &self,
        cx: &TenantContext,
        field: &ContactField,
        most_active: usize,
        trace: Trace,
    ) -> Result<(), WriteContactFieldError>;
}

/// A consent that is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Its own id.
    pub id: ConsentId,
    /// What it revokes.
    pub consent: Consent,
    /// How it was done.
    pub act: ConsentAct,
}

/// Where consents and their texts are kept. What is kept is never changed.
#[async_trait]
pub trait ConsentStore: Send + Sync {
    /// Every text, by purpose, the newest version first.
    async fn texts(&self, cx: &TenantContext) -> Result<Vec<ConsentText>, StoreError>;

    /// Keeps a new text, unless its claim was made before.
    async fn create_text(
        &self,
        cx: &TenantContext,
        text: &ConsentText,
        trace: Trace,
        claim: Option<Claim>,
    ) -> Result<(), WriteConsentError>;

    /// A contact's consents, the last recorded first. `None` when the contact is absent *or* another
    /// clinic's.
    async fn list(
        &self,
        cx: &TenantContext,
        contact: ContactId,
    ) -> Result<Option<Vec<Consent>>, StoreError>;

    /// Keeps a new consent, unless its claim was made before.
    async fn give(
        &self,
        cx: &TenantContext,
        consent: &Consent,
        trace: Trace,
        claim: Option<Claim>,
    ) -> Result<(), WriteConsentError>;

    /// Keeps what revokes these consents; all of them, or none.
    async fn revoke(
        &self,
        cx: &TenantContext,
        revocations: &[Revocation],
        trace: Trace,
    ) -> Result<(), WriteConsentError>;
}
