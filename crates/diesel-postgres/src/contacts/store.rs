//! [`ContactStore`] on PostgreSQL.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use contacts::field::ContactField;
use contacts::ports::{ContactStore, Trace};
use contacts::search::tokens_of;
use contacts::{
    ArchiveContactError, Contact, ContactEmail, ContactPatch, ContactPhone, ContactQuery,
    ContactRows, ContactStatus, ContactSummary, CreateContactError, CustomChange, CustomFields,
    NewContact, Notes, Tag, UpdateContactError,
};
use kernel::document::Document;
use kernel::once::Claim;
use kernel::text::{PersonName, name_key};
use kernel::{
    ContactId, KeyOwner, KeyPurpose, Keys, Numbered, StoreError, TenantContext, TypedId as _,
};
use uuid::Uuid;

use crate::contacts::fields;
use crate::contacts::list::ListStatement;
use crate::contacts::numbered::{NumberedStatement, RowsById};
use crate::contacts::rows::{ContactRow, SummaryRow, document_binding};
use crate::contacts::statements::{
    ArchiveContact, FindContact, InsertContact, InsertIdentities, InsertTags, InsertTokens,
    RequireFields, RestoreContact,
};
use crate::contacts::taken::{Identities, Wanted};
use crate::{Database, QueryName, StoreErrorExt as _, query_name};

const CREATE: QueryName = query_name!("contact.create", "INSERT", "contacts");
const FIND: QueryName = query_name!("contact.find", "SELECT", "contacts");
const ARCHIVE: QueryName = query_name!("contact.archive", "UPDATE", "contacts");
const RESTORE: QueryName = query_name!("contact.restore", "UPDATE", "contacts");
const LIST: QueryName = query_name!("contact.list", "SELECT", "contacts");
const LIST_NUMBERED: QueryName = query_name!("contact.list_numbered", "SELECT", "contacts");

/// Contacts on PostgreSQL. Documents are sealed at rest and looked up by keyed hash.
#[derive(Clone)]
pub struct PgContactStore {
    pub(super) db: Database,
    pub(super) keys: Arc<dyn Keys>,
}

impl PgContactStore {
    /// Keeps contacts in `db`.
    pub const fn new(db: Database, keys: Arc<dyn Keys>) -> Self {
        Self { db, keys }
    }

    pub(super) fn seal(
        &self,
        cx: &TenantContext,
        id: ContactId,
        document: &Document,
    ) -> (Vec<u8>, Vec<u8>) {
        let owner = KeyOwner::Clinic(cx.clinic());
        let plain = document.as_str().as_bytes();
        let binding = document_binding(id);
        let sealed = self
            .keys
            .seal(owner, KeyPurpose::DocumentAtRest, &binding, plain);
        (sealed, self.document_mac(cx, document))
    }

    pub(super) fn document_mac(&self, cx: &TenantContext, document: &Document) -> Vec<u8> {
        let owner = KeyOwner::Clinic(cx.clinic());
        let data = document.as_str().as_bytes();
        self.keys
            .mac(owner, KeyPurpose::DocumentLookup, data)
            .to_vec()
    }

    /// The keyed hash of the document that is searched, where one is.
    fn searched_document(&self, cx: &TenantContext, query: &ContactQuery) -> Option<Vec<u8>> {
        let search = query.filter.search.as_ref()?;
        let document = search.document.as_ref()?;
        Some(self.document_mac(cx, document))
    }
}

/// Under which words a contact is found.
pub(super) fn tokens(
    name: &PersonName,
    social_name: Option<&PersonName>,
    emails: &[ContactEmail],
    phones: &[ContactPhone],
) -> Vec<String> {
    let names = [Some(name), social_name]
        .into_iter()
        .flatten()
        .map(PersonName::as_str);
    tokens_of(
        names,
        emails.iter().map(|entry| &entry.email),
        phones.iter().map(|entry| &entry.phone),
    )
}

#[async_trait]
impl ContactStore for PgContactStore {
    async fn create(
        &self,
        cx: &TenantContext,
        new: NewContact,
        trace: Trace,
        claim: Option<Claim>,
    ) -> Result<Contact, CreateContactError> {
        let clinic = cx.clinic().as_uuid();
        let id = new.id.as_uuid();
        let (sealed, mac) = new
            .document
            .as_ref()
            .map(|d| self.seal(cx, new.id, d))
            .unzip();
        let tags: Vec<&str> = new.tags.iter().map(Tag::as_str).collect();
        let identities = Identities::of(&new.phones, &new.emails);
        let tokens = tokens(
            &new.name,
            new.social_name.as_ref(),
            &new.emails,
            &new.phones,
        );
        let written = self
            .db
            .write(cx, CREATE, |batch| {
                batch.claim(claim);
                batch.execute(RequireFields {
                    keys: new.custom_fields.set_keys().collect(),
                });
                batch.execute(InsertContact {
                    clinic,
                    id,
                    name: new.name.as_str(),
                    name_key: name_key(new.name.as_str()),
                    social_name: new.social_name.as_ref().map(PersonName::as_str),
                    birth_date: new.birth_date,
                    document_kind: new.document.as_ref().map(Document::kind),
                    document_sealed: sealed,
                    document_mac: mac,
                    status: new.status.name(),
                    source: new.source.as_str(),
                    owner: new.owner.map(Into::into),
                    notes: new.notes.as_ref().map(Notes::expose),
                    tags: tags.clone(),
                    primary_phone: new.phones.first().map(|entry| entry.phone.as_e164()),
                    primary_email: new.emails.first().map(|entry| entry.email.as_str()),
                    custom_fields: CustomFields::default()
                        .changed(&new.custom_fields)
                        .to_json(),
                    created_at: new.at,
                    updated_at: new.at,
                });
                if !identities.kinds.is_empty() {
                    batch.execute(InsertIdentities {
                        clinic,
                        contact: id,
                        at: new.at,
                        kinds: identities.kinds,
                        keys: identities.keys,
                        values: identities.values,
                        labels: identities.labels,
                        ranks: identities.ranks,
                    });
                }
                if !tags.is_empty() {
                    batch.execute(InsertTags {
                        clinic,
                        contact: id,
                        tags,
                    });
                }
                if !tokens.is_empty() {
                    batch.execute(InsertTokens {
                        clinic,
                        contact: id,
                        tokens,
                    });
                }
                batch.audit(&trace.audit);
                batch.emit(&trace.event);
            })
            .await;
        if let Err(error) = written {
            if error.constraint() == Some("contact_fields_given") {
                return Err(CreateContactError::FieldMissing);
            }
            let wanted = Wanted {
                document: new.document.as_ref(),
                phones: &new.phones,
                emails: &new.emails,
            };
            return Err(match self.refusal(cx, &error, new.id, wanted).await? {
                Some(refusal) => refusal.into(),
                None => error.into(),
            });
        }
        Ok(new.into())
    }

    async fn find(&self, cx: &TenantContext, id: ContactId) -> Result<Option<Contact>, StoreError> {
        let row: Option<ContactRow> = self
            .db
            .read_one(cx, FIND, FindContact { id: id.into() })
            .await?;
        row.map(|row| row.into_contact(cx, self.keys.as_ref()))
            .transpose()
    }

    async fn update(
        &self,
        cx: &TenantContext,
        id: ContactId,
        expected: Option<i64>,
        patch: (ContactPatch, CustomChange),
        trace: Trace,
    ) -> Result<Contact, UpdateContactError> {
        self.change(cx, id, expected, patch, trace).await
    }

    async fn archive(
        &self,
        cx: &TenantContext,
        id: ContactId,
        expected: Option<i64>,
        trace: Trace,
    ) -> Result<Contact, ArchiveContactError> {
        self.db
            .unit(cx, ARCHIVE, async |tx| {
                let before = self.lock(tx, id, expected).await?.0;
                let mut contact = before.clone();
                if contact.status != ContactStatus::Archived {
                    tx.at_commit(|batch| {
                        batch.execute(ArchiveContact {
                            at: trace.at,
                            updated_at: trace.at,
                            id: id.into(),
                        });
                    });
                    contact.status = ContactStatus::Archived;
                    contact.archived_at = Some(trace.at);
                    contact.updated_at = trace.at;
                    contact.version += 1;
                    tx.audit(&self.entry(cx, &trace, contact.changes_since(&before)));
                    tx.emit(&trace.event);
                }
                Ok(contact)
            })
            .await
    }

    async fn restore(
        &self,
        cx: &TenantContext,
        id: ContactId,
        expected: Option<i64>,
        trace: Trace,
    ) -> Result<Contact, ArchiveContactError> {
        self.db
            .unit(cx, RESTORE, async |tx| {
                let (before, when_restored) = self.lock(tx, id, expected).await?;
                let mut contact = before.clone();
                if let Some(status) = when_restored {
                    tx.at_commit(|batch| {
                        batch.execute(RestoreContact {
                            updated_at: trace.at,
                            id: id.into(),
                        });
                    });
                    contact.status = status;
                    contact.archived_at = None;
                    contact.updated_at = trace.at;
                    contact.version += 1;
                    tx.audit(&self.entry(cx, &trace, contact.changes_since(&before)));
                    tx.emit(&trace.event);
                }
                Ok(contact)
            })
            .await
    }

    async fn fields(&self, cx: &TenantContext) -> Result<Vec<ContactField>, StoreError> {
        fields::list(&self.db, cx).await
    }

    async fn list(
        &self,
        cx: &TenantContext,
        query: &ContactQuery,
    ) -> Result<ContactRows, StoreError> {
        let document_mac = self.searched_document(cx, query);
        let rows: Vec<SummaryRow> = self
            .db
            .read(cx, LIST, ListStatement::new(query, document_mac))
            .await?;
        let mut found = ContactRows::default();
        for row in rows {
            let (matches, is_stop) = (row.matches, row.is_stop);
            let row = ContactSummary::try_from(row)?;
            if is_stop {
                found.stopped_at = Some(query.order.position(&row));
            }
            if matches {
                found.rows.push(row);
            }
        }
        Ok(found)
    }

    async fn list_numbered(
        &self,
        cx: &TenantContext,
        query: &ContactQuery,
        skipped: u16,
    ) -> Result<Numbered<ContactSummary>, StoreError> {
        let mac = self.searched_document(cx, query);
        let page = NumberedStatement::new(query, mac, skipped);
        let (total, is_exact, ids): (i64, bool, Option<Vec<Uuid>>) = self
            .db
            .read_one(cx, LIST_NUMBERED, page)
            .await?
            .ok_or(StoreError::Corrupt("a count without a row"))?;
        let ids = ids.unwrap_or_default();
        let mut items = Vec::with_capacity(ids.len());
        if !ids.is_empty() {
            let by_id = RowsById {
                ids: ids.clone(),
                with_notes: query.with_notes,
                with_custom_fields: query.with_custom_fields,
            };
            let rows: Vec<SummaryRow> = self.db.read(cx, LIST_NUMBERED, by_id).await?;
            for row in rows {
                items.push(ContactSummary::try_from(row)?);
            }
            let place = |row: &ContactSummary| ids.iter().position(|id| *id == row.id.as_uuid());
            items.sort_by_key(place);
        }
        Ok(Numbered {
            items,
            total: u64::try_from(total).unwrap_or_default(),
            is_exact,
        })
    }
}

impl fmt::Debug for PgContactStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgContactStore")
    }
}
