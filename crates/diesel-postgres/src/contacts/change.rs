//! The change of a contact: what a patch makes of it, and the statements that write that.

use contacts::error::Taken;
use contacts::ports::Trace;
use contacts::{
    ArchiveContactError, Change, Contact, ContactPatch, ContactStatus, CustomChange, Notes, Source,
    Tag, UpdateContactError,
};
use kernel::document::Document;
use kernel::text::{PersonName, name_key};
use kernel::{AuditEntry, ChangedValue, ContactId, StoreError, TenantContext, TypedId as _};
use uuid::Uuid;

use crate::contacts::rows::ContactRow;
use crate::contacts::statements::{
    DropOtherIdentities, DropOtherTags, DropOtherTokens, InsertTags, InsertTokens, LockContact,
    PutIdentities, UpdateContact,
};
use crate::contacts::store::{PgContactStore, tokens};
use crate::contacts::taken::{Identities, Wanted};
use crate::{QueryName, Tx, query_name};

const UPDATE: QueryName = query_name!("contact.update", "UPDATE", "contacts");

/// An identity was another's a moment ago and is nobody's now: trying again succeeds.
fn gone_meanwhile() -> StoreError {
    StoreError::Contention("an identity changed hands meanwhile".into())
}

impl PgContactStore {
    /// Applies a patch to the contact, in one transaction.
    pub(super) async fn change(
        &self,
        cx: &TenantContext,
        id: ContactId,
        expected: Option<i64>,
        patch: (ContactPatch, CustomChange),
        trace: Trace,
    ) -> Result<Contact, UpdateContactError> {
        let wanted_document = patch.0.document.as_update().flatten().cloned();
        let wanted_phones = patch.0.phones.clone().unwrap_or_default();
        let wanted_emails = patch.0.emails.clone().unwrap_or_default();
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

    /// The contact, locked, and the status to restore it to while it is archived.
    pub(super) async fn lock(
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
    pub(super) fn entry(
        &self,
        cx: &TenantContext,
        trace: &Trace,
        changes: Vec<ChangedValue>,
    ) -> AuditEntry {
        let entry = trace.audit.clone();
        entry.changed(cx, self.keys.as_ref(), changes)
    }

    /// Applies a patch to a locked contact.
    async fn apply(
        &self,
        tx: &Tx<'_>,
        before: Contact,
        name_is_given: bool,
        (patch, custom_fields): (ContactPatch, CustomChange),
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
        let mut after = patched(before.clone(), patch, trace);
        after.custom_fields = after.custom_fields.changed(&custom_fields);
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
                custom_fields: after.custom_fields.to_json(),
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
