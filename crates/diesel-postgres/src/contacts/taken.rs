//! Phones, e-mails and documents that are each one contact's alone: which of them another contact
//! has, once the database has refused one.

use contacts::error::Taken;
use contacts::{ContactEmail, ContactPhone, CreateContactError, Label, UpdateContactError};
use kernel::document::Document;
use kernel::{ContactId, StoreError, TenantContext, TypedId as _};
use uuid::Uuid;

use crate::contacts::statements::{FindByDocument, FindIdentities};
use crate::contacts::store::PgContactStore;
use crate::{QueryName, StoreErrorExt as _, query_name};

const FIND_TAKEN: QueryName = query_name!("contact.find_taken", "SELECT", "contact_identities");

impl PgContactStore {
    /// Which entry another contact than `id` has, after the database refused one.
    pub(super) async fn find_taken(
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
    pub(super) async fn refusal(
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
pub(super) struct Wanted<'a> {
    pub(super) document: Option<&'a Document>,
    pub(super) phones: &'a [ContactPhone],
    pub(super) emails: &'a [ContactEmail],
}

pub(super) enum Refusal {
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
pub(super) struct Identities<'a> {
    pub(super) kinds: Vec<&'static str>,
    pub(super) keys: Vec<String>,
    pub(super) values: Vec<&'a str>,
    pub(super) labels: Vec<Option<&'a str>>,
    pub(super) ranks: Vec<i16>,
}

impl<'a> Identities<'a> {
    pub(super) fn of(phones: &'a [ContactPhone], emails: &'a [ContactEmail]) -> Self {
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
