//! Rows of contacts, and what they mean.

use chrono::{DateTime, NaiveDate, Utc};
use contacts::{
    Contact, ContactEmail, ContactPhone, ContactStatus, ContactSummary, CustomFields, Label, Notes,
    Source, Tag, Tags,
};
use diesel::prelude::Queryable;
use diesel::sql_types::{
    Array, BigInt, Bool, Bytea, Date, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid,
};
use kernel::document::Document;
use kernel::email::Email;
use kernel::phone::Phone;
use kernel::text::PersonName;
use kernel::{ContactId, KeyOwner, KeyPurpose, Keys, Sensitive, StoreError, TenantContext};
use serde_json::Value;
use uuid::Uuid;

/// SQL types of [`ContactRow`].
pub(super) type ContactColumns = (
    SqlUuid,
    Text,
    Nullable<Text>,
    Nullable<Date>,
    Nullable<Bytea>,
    Text,
    Nullable<Text>,
    Text,
    Nullable<SqlUuid>,
    Nullable<Text>,
    Array<Text>,
    Nullable<SqlUuid>,
    BigInt,
    Timestamptz,
    Timestamptz,
    Nullable<Timestamptz>,
    Array<Text>,
    Array<Text>,
    Array<Nullable<Text>>,
    Bool,
    Jsonb,
);

/// A contact with its identities gathered.
#[derive(Queryable)]
pub(super) struct ContactRow {
    pub(super) id: Uuid,
    name: String,
    social_name: Option<String>,
    birth_date: Option<NaiveDate>,
    document_sealed: Option<Vec<u8>>,
    status: String,
    status_before_archive: Option<String>,
    source: String,
    owner_id: Option<Uuid>,
    notes: Option<String>,
    tags: Vec<String>,
    merged_into: Option<Uuid>,
    pub(super) version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    archived_at: Option<DateTime<Utc>>,
    kinds: Vec<String>,
    identities: Vec<String>,
    labels: Vec<Option<String>>,
    /// Whether a person gave the name, and not a provider's profile.
    pub(super) name_is_given: bool,
    custom_fields: Value,
}

fn status(name: &str) -> Result<ContactStatus, StoreError> {
    ContactStatus::from_name(name).ok_or(StoreError::Corrupt("contacts.status"))
}

/// What a sealed document is bound to: it opens in its own row only.
pub fn document_binding(contact: ContactId) -> Vec<u8> {
    let mut binding = b"app.contacts.document_sealed:".to_vec();
    binding.extend_from_slice(Uuid::from(contact).as_bytes());
    binding
}

impl ContactRow {
    /// The status to return to, while archived.
    pub(super) fn status_when_restored(&self) -> Result<ContactStatus, StoreError> {
        self.status_before_archive.as_deref().map_or(
            Err(StoreError::Corrupt("contacts.status_before_archive")),
            status,
        )
    }

    pub(super) fn into_contact(
        self,
        cx: &TenantContext,
        keys: &dyn Keys,
    ) -> Result<Contact, StoreError> {
        let id = ContactId::from(self.id);
        let corrupt = |column: &'static str| StoreError::Corrupt(column);
        // The rules of names may have been looser when it was written.
        let name = |text: &str, column| PersonName::salvage(text).ok_or_else(|| corrupt(column));
        let document = match self.document_sealed {
            None => None,
            Some(sealed) => {
                let owner = KeyOwner::Clinic(cx.clinic());
                let plain = keys
                    .open(
                        owner,
                        KeyPurpose::DocumentAtRest,
                        &document_binding(id),
                        &sealed,
                    )
                    .map_err(|_| corrupt("contacts.document_sealed"))?;
                let text = std::str::from_utf8(&plain).unwrap_or_default();
                Some(Document::parse(text).map_err(|_| corrupt("contacts.document_sealed"))?)
            }
        };
        let (mut phones, mut emails, mut whatsapp_ids) = (Vec::new(), Vec::new(), Vec::new());
        for ((kind, value), label) in self.kinds.iter().zip(self.identities).zip(self.labels) {
            let label = label.and_then(|label| Label::new(&label).ok());
            match kind.as_str() {
                "phone" => {
                    let phone = Phone::from_e164(&value)
                        .map_err(|_| corrupt("contact_identities.value of a phone"))?;
                    phones.push(ContactPhone { phone, label });
                }
                "email" => {
                    let email = Email::parse(&value)
                        .map_err(|_| corrupt("contact_identities.value of an e-mail"))?;
                    emails.push(ContactEmail { email, label });
                }
                _ => whatsapp_ids.push(Sensitive::new(value)),
            }
        }
        let tags = self
            .tags
            .iter()
            .map(|tag| Tag::new(tag))
            .collect::<Result<Vec<_>, _>>();
        Ok(Contact {
            id,
            name: name(&self.name, "contacts.name")?,
            social_name: match &self.social_name {
                None => None,
                Some(text) => Some(name(text, "contacts.social_name")?),
            },
            birth_date: self.birth_date,
            document,
            status: status(&self.status)?,
            source: Source::new(&self.source).map_err(|_| corrupt("contacts.source"))?,
            owner: self.owner_id.map(Into::into),
            notes: match self.notes {
                None => None,
                Some(text) => Some(Notes::new(text).map_err(|_| corrupt("contacts.notes"))?),
            },
            tags: tags
                .and_then(Tags::new)
                .map_err(|_| corrupt("contacts.tags"))?,
            phones,
            emails,
            custom_fields: CustomFields::kept(self.custom_fields),
            whatsapp_ids,
            merged_into: self.merged_into.map(Into::into),
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
            archived_at: self.archived_at,
        })
    }
}

/// SQL types of [`SummaryRow`].
pub(super) type SummaryColumns = (
    SqlUuid,
    Text,
    Text,
    Nullable<Text>,
    Nullable<Date>,
    Text,
    Text,
    Nullable<SqlUuid>,
    Array<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Jsonb>,
    BigInt,
    Timestamptz,
    Timestamptz,
    Bool,
    Bool,
);

/// A row of the list.
#[derive(Queryable)]
pub(super) struct SummaryRow {
    id: Uuid,
    name: String,
    name_key: String,
    social_name: Option<String>,
    birth_date: Option<NaiveDate>,
    status: String,
    source: String,
    owner_id: Option<Uuid>,
    tags: Vec<String>,
    phone_number: Option<String>,
    email: Option<String>,
    notes: Option<String>,
    custom_fields: Option<Value>,
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// Whether it is one that was asked for.
    pub(super) matches: bool,
    /// Whether it is the last that was looked at, and others come after it. Such a row comes
    /// whether it matches or not.
    pub(super) is_stop: bool,
}

impl TryFrom<SummaryRow> for ContactSummary {
    type Error = StoreError;

    fn try_from(row: SummaryRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.into(),
            name: row.name.into(),
            name_key: row.name_key.into(),
            social_name: row.social_name.map(Into::into),
            birth_date: row.birth_date,
            status: status(&row.status)?,
            source: row.source,
            owner: row.owner_id.map(Into::into),
            tags: row.tags,
            phone_number: row.phone_number.map(Into::into),
            email: row.email.map(Into::into),
            notes: row.notes.map(Into::into),
            custom_fields: row.custom_fields.map(CustomFields::kept),
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}
