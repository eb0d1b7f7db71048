//! [`ContactStore`] on PostgreSQL.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use contacts::error::Taken;
use contacts::ports::{ContactStore, Trace};
use contacts::search::tokens_of;
use contacts::{
    ArchiveContactError, Change, Contact, ContactEmail, ContactPatch, ContactPhone, ContactQuery,
    ContactRows, ContactStatus, ContactSummary, CreateContactError, Label, NewContact, Notes,
    Source, Tag, UpdateContactError,
};
use kernel::document::Document;
use kernel::once::Claim;
use kernel::text::{PersonName, name_key};
use kernel::{
    AuditEntry, ChangedValue, ContactId, KeyOwner, KeyPurpose, Keys, Numbered, StoreError,
    TenantContext, TypedId as _,
};
use uuid::Uuid;

use crate::contacts::list::ListStatement;
use crate::contacts::numbered::{NumberedStatement, RowsById};
use crate::contacts::rows::{ContactRow, SummaryRow, document_binding};
use crate::contacts::statements::{
    ArchiveContact, DropOtherIdentities, DropOtherTags, DropOtherTokens, FindByDocument,
    FindContact, FindIdentities, InsertContact, InsertIdentities, InsertTags, InsertTokens,
    LockContact, PutIdentities, RestoreContact, UpdateContact,
};
use crate::{Database, QueryName, StoreErrorExt as _, Tx, query_name};

const CREATE: QueryName = query_name!("contact.create", "INSERT", "contacts");
const FIND: QueryName = query_name!("contact.find", "SELECT", "contacts");
const UPDATE: QueryName = query_name!("contact.update", "UPDATE", "contacts");
const ARCHIVE: QueryName = query_name!("contact.archive", "UPDATE", "contacts");
const RESTORE: QueryName = query_name!("contact.restore", "UPDATE", "contacts");
const LIST: QueryName = query_name!("contact.list", "SELECT", "contacts");
const LIST_NUMBERED: QueryName = query_name!("contact.list_numbered", "SELECT", "contacts");
const FIND_TAKEN: QueryName = query_name!("contact.find_taken", "SELECT", "contact_identities");

/// Contacts on PostgreSQL. Documents are sealed at rest and looked up by keyed hash.
#[derive(Clone)]
pub struct PgContactStore {
    db: Database,
    keys: Arc<dyn Keys>,
}

impl PgContactStore {
    /// Keeps contacts in `db`.
    pub const fn new(db: Database, keys: Arc<dyn Keys>) -> Self {
        Self { db, keys }
    }

    fn seal(&self, cx: &TenantContext, id: ContactId, document: &Document) -> (Vec<u8>, Vec<u8>) {
        let owner = KeyOwner::Clinic(cx.clinic());
        let plain = document.as_str().as_bytes();
        let binding = document_binding(id);
        let sealed = self
            .keys
            .seal(owner, KeyPurpose::DocumentAtRest, &binding, plain);
        (sealed, self.document_mac(cx, document))
    }

    fn document_mac(&self, cx: &TenantContext, document: &Document) -> Vec<u8> {
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

    /// Which entry another contact than `id` has, after the database refused one.
    async fn find_taken(
        &self,
        cx: &TenantContext,
        id: ContactId,
        phones: &[ContactPhone],
        emails: &[ContactEmail],
    ) -> Result<Option<Taken>, StoreError> {
        let wanted = Identities::of(phones, emails);
        let select = FindIdentities {
            kinds: wanted.kinds,
            keys: wanted.keys,
        };
        let found: Vec<(String, String, Uuid)> = self.db.read(cx, FIND_TAKEN, select).await?;
        let holder = |kind: &str, key: &str| {
            found
                .iter()
                .find(|(k, v, by)| k == kind && v == key && *by != id.as_uuid())
                .map(|(_, _, by)| ContactId::from(*by))
        };
        let phones = phones.iter().enumerate().map(|(index, entry)| {
            (
                "phones",
                index,
                holder("phone", entry.phone.canonical_key().as_str()),
            )
        });
        let emails = emails
            .iter()
            .enumerate()
            .map(|(index, entry)| ("emails", index, holder("email", entry.email.as_str())));
        Ok(phones
            .chain(emails)
            .find_map(|(field, index, by)| by.map(|by| Taken { field, index, by })))
    }

    async fn find_document_holder(
        &self,
        cx: &TenantContext,
        document: Option<&Document>,
    ) -> Result<Option<Taken>, StoreError> {
        let Some(document) = document else {
            return Ok(None);
        };
        let select = FindByDocument {
            mac: self.document_mac(cx, document),
        };
        let by: Option<Uuid> = self.db.read_one(cx, FIND_TAKEN, select).await?;
        Ok(by.map(|by| Taken {
            field: "document",
            index: 0,
            by: by.into(),
        }))
    }

    /// What the violated constraint means. `None`: nothing that a caller can mend.
    async fn refusal(
        &self,
        cx: &TenantContext,
        error: &StoreError,
        id: ContactId,
        wanted: Wanted<'_>,
    ) -> Result<Option<Refusal>, StoreError> {
        let taken = match error.constraint() {
            Some("contacts_owner_fk") => return Ok(Some(Refusal::UnknownOwner)),
            Some("contacts_document_unique") => {
                self.find_document_holder(cx, wanted.document).await?
            }
            Some("contact_identities_pk") => {
                self.find_taken(cx, id, wanted.phones, wanted.emails)
                    .await?
            }
            _ => None,
        };
        Ok(taken.map(Refusal::Taken))
    }
}

/// The unique values of an act, for telling which was taken.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    document: Option<&'a Document>,
    phones: &'a [ContactPhone],
    emails: &'a [ContactEmail],
}

enum Refusal {
    Taken(Taken),
    UnknownOwner,
}

impl From<Refusal> for CreateContactError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Taken(taken) => Self::Taken(taken),
            Refusal::UnknownOwner => Self::UnknownOwner,
        }
    }
}

impl From<Refusal> for UpdateContactError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Taken(taken) => Self::Taken(taken),
            Refusal::UnknownOwner => Self::UnknownOwner,
        }
    }
}

/// Phones and e-mails as columns.
#[derive(Default)]
struct Identities<'a> {
    kinds: Vec<&'static str>,
    keys: Vec<String>,
    values: Vec<&'a str>,
    labels: Vec<Option<&'a str>>,
    ranks: Vec<i16>,
}

impl<'a> Identities<'a> {
    fn of(phones: &'a [ContactPhone], emails: &'a [ContactEmail]) -> Self {
        let mut all = Self::default();
        for (rank, entry) in (0_i16..).zip(phones) {
            let key = entry.phone.canonical_key().as_str().to_owned();
            all.push(
                "phone",
                key,
                entry.phone.as_e164(),
                entry.label.as_ref(),
                rank,
            );
        }
        for (rank, entry) in (0_i16..).zip(emails) {
            let key = entry.email.as_str().to_owned();
            all.push(
                "email",
                key,
                entry.email.as_str(),
                entry.label.as_ref(),
                rank,
            );
        }
        all
    }

    fn push(
        &mut self,
        kind: &'static str,
        key: String,
        value: &'a str,
        label: Option<&'a Label>,
        rank: i16,
    ) {
        self.kinds.push(kind);
        self.keys.push(key);
        self.values.push(value);
        self.labels.push(label.map(Label::as_str));
        self.ranks.push(rank);
    }
}

fn tokens(
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
        patch: ContactPatch,
        trace: Trace,
    ) -> Result<Contact, UpdateContactError> {
        let wanted_document = patch.document.as_update().flatten().cloned();
        let wanted_phones = patch.phones.clone().unwrap_or_default();
        let wanted_emails = patch.emails.clone().unwrap_or_default();
        let updated = self
            .db
            .unit(cx, UPDATE, async |tx| {
                let row: ContactRow = tx
                    .optional(LockContact { id: id.into() })
                    .await?
                    .ok_or(UpdateContactError::NotFound)?;
                let name_is_given = row.name_is_given;
                let before = row.into_contact(cx, self.keys.as_ref())?;
                if expected.is_some_and(|expected| expected != before.version) {
                    return Err(UpdateContactError::VersionMismatch);
                }
                if before.status == ContactStatus::Archived {
                    return Err(UpdateContactError::Archived);
                }
                self.apply(tx, before, name_is_given, patch, &trace).await
            })
            .await;
        let wanted = Wanted {
            document: wanted_document.as_ref(),
            phones: &wanted_phones,
            emails: &wanted_emails,
        };
        match updated {
            Err(UpdateContactError::Store(error)) => {
                Err(match self.refusal(cx, &error, id, wanted).await? {
                    Some(refusal) => refusal.into(),
                    None => error.into(),
                })
            }
            // Told by the row count, not by a violation: which one is looked up now.
            Err(UpdateContactError::Taken(_)) => {
                let taken = self
                    .find_taken(cx, id, &wanted_phones, &wanted_emails)
                    .await?;
                Err(taken.map_or_else(
                    || UpdateContactError::Store(gone_meanwhile()),
                    UpdateContactError::Taken,
                ))
            }
            other => other,
        }
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

/// An identity was another's a moment ago and is nobody's now: trying again succeeds.
fn gone_meanwhile() -> StoreError {
    StoreError::Contention("an identity changed hands meanwhile".into())
}

impl PgContactStore {
    /// The contact, locked, and the status to restore it to while it is archived.
    async fn lock(
        &self,
        tx: &Tx<'_>,
        id: ContactId,
        expected: Option<i64>,
    ) -> Result<(Contact, Option<ContactStatus>), ArchiveContactError> {
        let row: ContactRow = tx
            .optional(LockContact { id: id.into() })
            .await?
            .ok_or(ArchiveContactError::NotFound)?;
        if expected.is_some_and(|expected| expected != row.version) {
            return Err(ArchiveContactError::VersionMismatch);
        }
        let when_restored = row.status_when_restored().ok();
        let contact = row.into_contact(tx.context(), self.keys.as_ref())?;
        Ok((contact, when_restored))
    }

    /// The trace's entry with the fields that differ.
    fn entry(&self, cx: &TenantContext, trace: &Trace, changes: Vec<ChangedValue>) -> AuditEntry {
        let entry = trace.audit.clone();
        entry.changed(cx, self.keys.as_ref(), changes)
    }

    /// Applies a patch to a locked contact.
    async fn apply(
        &self,
        tx: &Tx<'_>,
        before: Contact,
        name_is_given: bool,
        patch: ContactPatch,
        trace: &Trace,
    ) -> Result<Contact, UpdateContactError> {
        let cx = tx.context();
        let (clinic, id) = (cx.clinic().as_uuid(), before.id.as_uuid());
        // A person who confirms the name that a profile gave has given it.
        let name_is_confirmed = patch.name.is_some() && !name_is_given;
        let name_is_given = patch.name.is_some();
        let new_phones = patch.phones.is_some();
        let new_emails = patch.emails.is_some();
        let new_tags = patch.tags.is_some();
        let after = patched(before.clone(), patch, trace);
        let mut changes = after.changes_since(&before);
        if name_is_confirmed && changes.iter().all(|change| change.field() != "name") {
            let name = || Some(before.name.as_str().as_bytes().to_vec());
            changes.push(ChangedValue::new("name", name(), name()));
        }
        if changes.is_empty() {
            return Ok(before);
        }

        let mut kept = 0;
        if new_phones || new_emails {
            let phones = if new_phones {
                after.phones.as_slice()
            } else {
                &[]
            };
            let emails = if new_emails {
                after.emails.as_slice()
            } else {
                &[]
            };
            let put = Identities::of(phones, emails);
            let wanted = put.kinds.len();
            let keys_of = |kind: &str| {
                put.kinds
                    .iter()
                    .zip(&put.keys)
                    .filter(|(k, _)| **k == kind)
                    .map(|(_, key)| key.clone())
                    .collect::<Vec<_>>()
            };
            let (phone_keys, email_keys) = (keys_of("phone"), keys_of("email"));
            let counts = tx
                .pipeline(|batch| {
                    if new_phones {
                        batch.execute(DropOtherIdentities {
                            contact: id,
                            kind: "phone",
                            keys: phone_keys,
                        });
                    }
                    if new_emails {
                        batch.execute(DropOtherIdentities {
                            contact: id,
                            kind: "email",
                            keys: email_keys,
                        });
                    }
                    batch.execute(PutIdentities {
                        clinic,
                        contact: id,
                        at: trace.at,
                        kinds: put.kinds,
                        keys: put.keys,
                        values: put.values,
                        labels: put.labels,
                        ranks: put.ranks,
                    });
                })
                .await?;
            kept = wanted - counts.last().copied().unwrap_or_default();
        }
        if kept > 0 {
            // The caller looks up which: this transaction is rolled back first.
            let nobody = ContactId::from(Uuid::nil());
            return Err(UpdateContactError::Taken(Taken {
                field: "phones",
                index: 0,
                by: nobody,
            }));
        }

        let (sealed, mac) = after
            .document
            .as_ref()
            .map(|d| self.seal(cx, after.id, d))
            .unzip();
        let tags: Vec<&str> = after.tags.iter().map(Tag::as_str).collect();
        let tokens = tokens(
            &after.name,
            after.social_name.as_ref(),
            &after.emails,
            &after.phones,
        );
        tx.pipeline(|batch| {
            batch.execute(UpdateContact {
                name: after.name.as_str(),
                name_key: name_key(after.name.as_str()),
                name_is_given,
                social_name: after.social_name.as_ref().map(PersonName::as_str),
                birth_date: after.birth_date,
                document_kind: after.document.as_ref().map(Document::kind),
                document_sealed: sealed,
                document_mac: mac,
                status: after.status.name(),
                source: Source::as_str(&after.source),
                owner: after.owner.map(Into::into),
                notes: after.notes.as_ref().map(Notes::expose),
                tags: tags.clone(),
                primary_phone: after.phones.first().map(|entry| entry.phone.as_e164()),
                primary_email: after.emails.first().map(|entry| entry.email.as_str()),
                updated_at: trace.at,
                id,
            });
            if new_tags {
                batch.execute(DropOtherTags {
                    contact: id,
                    tags: tags.clone(),
                });
                batch.execute(InsertTags {
                    clinic,
                    contact: id,
                    tags,
                });
            }
            batch.execute(DropOtherTokens {
                contact: id,
                tokens: tokens.clone(),
            });
            batch.execute(InsertTokens {
                clinic,
                contact: id,
                tokens,
            });
        })
        .await?;
        let mut event = trace.event.clone();
        event.payload = serde_json::json!({ "version": after.version });
        tx.audit(&self.entry(cx, trace, changes));
        tx.emit(&event);
        Ok(after)
    }
}

/// The contact as the patch leaves it.
fn patched(before: Contact, patch: ContactPatch, trace: &Trace) -> Contact {
    fn changed<T>(change: Change<T>, before: Option<T>) -> Option<T> {
        match change {
            Change::Keep => before,
            Change::Set(value) => Some(value),
            Change::Clear => None,
        }
    }
    Contact {
        name: patch.name.unwrap_or(before.name),
        social_name: changed(patch.social_name, before.social_name),
        birth_date: changed(patch.birth_date, before.birth_date),
        document: changed(patch.document, before.document),
        status: patch.status.unwrap_or(before.status),
        source: patch.source.unwrap_or(before.source),
        owner: changed(patch.owner, before.owner),
        notes: changed(patch.notes, before.notes),
        tags: patch.tags.unwrap_or(before.tags),
        phones: patch.phones.unwrap_or(before.phones),
        emails: patch.emails.unwrap_or(before.emails),
        version: before.version + 1,
        updated_at: trace.at,
        ..before
    }
}

impl fmt::Debug for PgContactStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgContactStore")
    }
}
