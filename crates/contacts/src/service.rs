//! What can be done with contacts, and by whom.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use chrono::NaiveDate;
use kernel::cursor::{ListIdentity, open_cursor, seal_cursor};
use kernel::document::Document;
use kernel::text::PersonName;
use kernel::{
    Action, AuditEntry, ContactId, Denied, Event, Gate, Numbered, NumberedPage, Once, Page,
    Resource, StoreError, TenantContext, Toolkit, UserId,
};
use serde_json::{Value, json};

use crate::contact::{
    Contact, ContactEmail, ContactPatch, ContactPhone, ContactStatus, ContactSummary, NewContact,
    Notes, Source, Tags,
};
use crate::custom::{self, CustomChange, Writing};
use crate::error::{
    ArchiveContactError, CreateContactError, ListContactsError, UpdateContactError,
};
use crate::list::{ContactQuery, ListContacts};
use crate::ports::{ContactStore, Trace};

/// A contact to create, as a caller gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateContact {
    /// The name.
    pub name: PersonName,
    /// The social name.
    pub social_name: Option<PersonName>,
    /// The date of birth.
    pub birth_date: Option<NaiveDate>,
    /// CPF or CNPJ.
    pub document: Option<Document>,
    /// `lead` when not given.
    pub status: Option<ContactStatus>,
    /// `manual` when not given.
    pub source: Option<Source>,
    /// The user who looks after it.
    pub owner: Option<UserId>,
    /// Notes.
    pub notes: Option<Notes>,
    /// Tags.
    pub tags: Tags,
    /// Phones, the primary one first.
    pub phones: Vec<ContactPhone>,
    /// E-mails, the primary one first.
    pub emails: Vec<ContactEmail>,
    /// Values of the clinic's own fields, by key.
    pub custom_fields: BTreeMap<String, Value>,
}

/// Contacts of a clinic.
#[derive(Clone)]
pub struct Contacts {
    store: Arc<dyn ContactStore>,
    gate: Gate,
    tools: Toolkit,
}

impl Contacts {
    /// The service over a store.
    pub fn new(store: Arc<dyn ContactStore>, gate: Gate, tools: Toolkit) -> Self {
        Self { store, gate, tools }
    }

    /// Decides as [`Self::create`] does, so that whoever may not create contacts learns that
    /// first, and learns nothing else.
    pub async fn prepare_create(&self, cx: &TenantContext) -> Result<(), Denied> {
        let resource = Resource::any("contact");
        self.gate
            .authorize(cx, Action::ContactWrite, resource)
            .await
    }

    /// Creates a contact, and only once where the caller gave a key.
    pub async fn create(
        &self,
        cx: &TenantContext,
        contact: CreateContact,
        once: Option<Once<Contact>>,
    ) -> Result<Contact, CreateContactError> {
        self.gate
            .authorize(cx, Action::ContactWrite, Resource::any("contact"))
            .await?;
        if contact.status == Some(ContactStatus::Archived) {
            return Err(CreateContactError::ArchivedStatus);
        }
        if let Some((field, index)) = first_repeated(&contact.phones, &contact.emails) {
            return Err(CreateContactError::Repeated { field, index });
        }
        // Without values the store alone looks whether some are required.
        let custom_fields = if contact.custom_fields.is_empty() {
            CustomChange::default()
        } else {
            let fields = self.store.fields(cx).await?;
            custom::read(&fields, contact.custom_fields, Writing::All)
                .map_err(CreateContactError::CustomFields)?
        };
        let id: ContactId = self.tools.id();
        let mut trace = self.trace("contact.create", "contact.created", id, 1);
        let new = NewContact {
            id,
            name: contact.name,
            social_name: contact.social_name,
            birth_date: contact.birth_date,
            document: contact.document,
            status: contact.status.unwrap_or(ContactStatus::Lead),
            source: contact.source.unwrap_or_else(Source::manual),
            owner: contact.owner,
            notes: contact.notes,
            tags: contact.tags,
            phones: contact.phones,
            emails: contact.emails,
            custom_fields,
            at: trace.at,
        };
        let made = Contact::from(new.clone());
        let values = made.created_values();
        trace.audit = trace.audit.changed(cx, self.tools.keys(), values);
        let claim = once.map(|once| once.claim(cx, &self.tools, &made));
        match self.store.create(cx, new, trace, claim).await {
            Err(CreateContactError::FieldMissing) => {
                let fields = self.store.fields(cx).await?;
                let broken = custom::read(&fields, BTreeMap::new(), Writing::All);
                Err(CreateContactError::CustomFields(
                    broken.err().unwrap_or_default(),
                ))
            }
            created => created,
        }
    }

    /// Decides as [`Self::read`] does, for whoever keeps finished answers.
    pub async fn prepare_read(&self, cx: &TenantContext, id: ContactId) -> Result<(), Denied> {
        self.gate
            .authorize(cx, Action::ContactRead, Resource::contact(id))
            .await
    }

    /// Decides as [`Self::list`] does, for whoever keeps finished answers.
    pub async fn prepare_list(&self, cx: &TenantContext) -> Result<(), Denied> {
        self.gate
            .authorize(cx, Action::ContactRead, Resource::any("contact"))
            .await
    }

    /// A contact; `None` when there is none that `cx` may see.
    pub async fn read(
        &self,
        cx: &TenantContext,
        id: ContactId,
    ) -> Result<Option<Contact>, ReadContactError> {
        self.gate
            .authorize(cx, Action::ContactRead, Resource::contact(id))
            .await?;
        Ok(self.store.find(cx, id).await?)
    }

    /// What a change starts from: decides as [`Self::update`] does, so that whoever may not
    /// change contacts learns that first, and learns nothing else.
    pub async fn prepare_update(
        &self,
        cx: &TenantContext,
        id: ContactId,
    ) -> Result<Option<Contact>, ReadContactError> {
        self.gate
            .authorize(cx, Action::ContactWrite, Resource::contact(id))
            .await?;
        Ok(self.store.find(cx, id).await?)
    }

    /// What archiving and restoring start from: decides as they do.
    pub async fn prepare_archive(
        &self,
        cx: &TenantContext,
        id: ContactId,
    ) -> Result<Option<Contact>, ReadContactError> {
        self.gate
            .authorize(cx, Action::ContactArchive, Resource::contact(id))
            .await?;
        Ok(self.store.find(cx, id).await?)
    }

    /// Changes a contact whose version is `expected`. A patch that changes nothing writes nothing.
    pub async fn update(
        &self,
        cx: &TenantContext,
        id: ContactId,
        expected: Option<i64>,
        mut patch: ContactPatch,
    ) -> Result<Contact, UpdateContactError> {
        self.gate
            .authorize(cx, Action::ContactWrite, Resource::contact(id))
            .await?;
        if patch.status == Some(ContactStatus::Archived) {
            return Err(UpdateContactError::ArchivedStatus);
        }
        let phones = patch.phones.as_deref().unwrap_or_default();
        let emails = patch.emails.as_deref().unwrap_or_default();
        if let Some((field, index)) = first_repeated(phones, emails) {
            return Err(UpdateContactError::Repeated { field, index });
        }
        let given = std::mem::take(&mut patch.custom_fields);
        let custom_fields = if given.is_empty() {
            CustomChange::default()
        } else {
            let fields = self.store.fields(cx).await?;
            custom::read(&fields, given, Writing::Some).map_err(UpdateContactError::CustomFields)?
        };
        let trace = self.trace("contact.update", "contact.updated", id, 0);
        self.store
            .update(cx, id, expected, (patch, custom_fields), trace)
            .await
    }

    /// Archives a contact; archiving it again changes nothing.
    pub async fn archive(
        &self,
        cx: &TenantContext,
        id: ContactId,
        expected: Option<i64>,
    ) -> Result<Contact, ArchiveContactError> {
        self.gate
            .authorize(cx, Action::ContactArchive, Resource::contact(id))
            .await?;
        let trace = self.trace("contact.archive", "contact.archived", id, 0);
        self.store.archive(cx, id, expected, trace).await
    }

    /// Restores an archived contact; restoring it again changes nothing.
    pub async fn restore(
        &self,
        cx: &TenantContext,
        id: ContactId,
        expected: Option<i64>,
    ) -> Result<Contact, ArchiveContactError> {
        self.gate
            .authorize(cx, Action::ContactArchive, Resource::contact(id))
            .await?;
        let trace = self.trace("contact.restore", "contact.restored", id, 0);
        self.store.restore(cx, id, expected, trace).await
    }

    /// A page of contacts. One that is not full, or empty, may have pages after it: those of a
    /// search for common words that few contacts have together.
    pub async fn list(
        &self,
        cx: &TenantContext,
        ask: ListContacts,
    ) -> Result<Page<ContactSummary>, ListContactsError> {
        self.gate
            .authorize(cx, Action::ContactRead, Resource::any("contact"))
            .await?;
        let filter = ask.filter.canonical();
        let list = ListIdentity {
            list: "contacts",
            sort: ask.order.name(),
            filter: &filter,
        };
        let after = match &ask.cursor {
            Some(cursor) => Some(open_cursor(cx, self.tools.keys(), &list, cursor)?),
            None => None,
        };
        let query = ContactQuery {
            filter: ask.filter,
            order: ask.order,
            rows: ask.limit.rows_to_fetch(),
            after,
            with_notes: ask.with_notes,
            with_custom_fields: ask.with_custom_fields,
        };
        let found = self.store.list(cx, &query).await?;
        let mut items = found.rows;
        let is_full = items.len() > ask.limit.rows();
        items.truncate(ask.limit.rows());
        let ended_at = match items.last() {
            Some(last) if is_full => Some(ask.order.position(last)),
            _ => found.stopped_at,
        };
        let next_cursor =
            ended_at.map(|position| seal_cursor(cx, self.tools.keys(), &list, &position));
        Ok(Page { items, next_cursor })
    }

    /// A page of contacts by its number, with their total.
    pub async fn list_numbered(
        &self,
        cx: &TenantContext,
        ask: ListContacts,
        page: NumberedPage,
    ) -> Result<Numbered<ContactSummary>, ListContactsError> {
        self.gate
            .authorize(cx, Action::ContactRead, Resource::any("contact"))
            .await?;
        let query = ContactQuery {
            filter: ask.filter,
            order: ask.order,
            rows: page.limit().rows_to_fetch() - 1,
            after: None,
            with_notes: ask.with_notes,
            with_custom_fields: ask.with_custom_fields,
        };
        let found = self.store.list_numbered(cx, &query, page.skipped()).await?;
        // Whether such a page exists is not known.
        if !found.is_exact && u64::from(page.skipped()) >= found.total {
            return Err(ListContactsError::PageTooDeep);
        }
        Ok(found)
    }

    fn trace(
        &self,
        action: &'static str,
        event: &'static str,
        id: ContactId,
        version: i64,
    ) -> Trace {
        let payload = if version > 0 {
            json!({ "version": version })
        } else {
            json!({})
        };
        Trace {
            at: self.tools.now(),
            audit: AuditEntry::done(&self.tools, action, Resource::contact(id)),
            event: Event::new(&self.tools, event, id, payload),
        }
    }
}

impl fmt::Debug for Contacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contacts")
    }
}

/// A contact could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadContactError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The first entry that repeats an earlier one, by what is matched and not by how it is written.
fn first_repeated(
    phones: &[ContactPhone],
    emails: &[ContactEmail],
) -> Option<(&'static str, usize)> {
    let mut keys = HashSet::new();
    let phone = phones
        .iter()
        .position(|entry| !keys.insert(entry.phone.canonical_key()));
    if let Some(index) = phone {
        return Some(("phones", index));
    }
    let mut addresses = HashSet::new();
    let email = emails
        .iter()
        .position(|entry| !addresses.insert(entry.email.as_str()));
    email.map(|index| ("emails", index))
}
