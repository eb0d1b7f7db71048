//! What is answered about contacts.

use chrono::{DateTime, NaiveDate, Utc};
use contacts::{Contact, ContactSummary, CustomFields, Label};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// Fields of a row of the list.
const ROW_FIELDS: &[&str] = &[
    "id",
    "name",
    "socialName",
    "birthDate",
    "status",
    "source",
    "ownerId",
    "tags",
    "phoneNumber",
    "email",
    "notes",
    "customFields",
    "createdAt",
    "updatedAt",
];

/// Fields of a contact.
const CONTACT_FIELDS: &[&str] = &[
    "id",
    "name",
    "socialName",
    "birthDate",
    "document",
    "documentKind",
    "status",
    "source",
    "ownerId",
    "notes",
    "tags",
    "phones",
    "emails",
    "customFields",
    "whatsappIds",
    "mergedInto",
    "createdAt",
    "updatedAt",
    "archivedAt",
];

/// A choice of fields, from an allow-list. `id` is always in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    all: &'static [&'static str],
    chosen: u32,
}

/// A name that is not in the list. The list is told, the name is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnknownField(&'static [&'static str]);

impl std::fmt::Display for UnknownField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "must name some of {}, separated by commas",
            self.0.join(", ")
        )
    }
}

impl Fields {
    /// What a row has when nothing is asked: all but notes and the clinic's own fields.
    pub(super) fn of_rows() -> Self {
        let mut fields = Self::every(ROW_FIELDS);
        fields.chosen &= !(bit(ROW_FIELDS, "notes") | bit(ROW_FIELDS, "customFields"));
        fields
    }

    /// What a contact has when nothing is asked.
    pub(super) fn of_contact() -> Self {
        Self::every(CONTACT_FIELDS)
    }

    fn every(all: &'static [&'static str]) -> Self {
        Self {
            all,
            chosen: u32::MAX,
        }
    }

    pub(super) fn parse_row(text: &str) -> Result<Self, UnknownField> {
        Self::parse(ROW_FIELDS, text)
    }

    pub(super) fn parse_contact(text: &str) -> Result<Self, UnknownField> {
        Self::parse(CONTACT_FIELDS, text)
    }

    fn parse(all: &'static [&'static str], text: &str) -> Result<Self, UnknownField> {
        let mut chosen = bit(all, "id");
        for name in text.split(',').map(str::trim) {
            match bit(all, name) {
                0 => return Err(UnknownField(all)),
                field => chosen |= field,
            }
        }
        Ok(Self { all, chosen })
    }

    pub(super) fn has(self, name: &str) -> bool {
        self.chosen & bit(self.all, name) != 0
    }

    /// The choice in one canonical form, empty for every field: part of an entity tag.
    pub(super) fn canonical(self) -> String {
        if self.chosen == u32::MAX {
            return String::new();
        }
        let chosen: Vec<_> = self
            .all
            .iter()
            .copied()
            .filter(|name| self.has(name))
            .collect();
        chosen.join(",")
    }
}

fn bit(all: &[&str], name: &str) -> u32 {
    all.iter()
        .position(|field| *field == name)
        .map_or(0, |at| 1 << at)
}

/// Writes the chosen fields of one record.
struct Sparse<M> {
    fields: Fields,
    map: M,
}

impl<M: serde::ser::SerializeMap> Sparse<M> {
    fn put(
        &mut self,
        name: &'static str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), M::Error> {
        if self.fields.has(name) {
            self.map.serialize_entry(name, value)
        } else {
            Ok(())
        }
    }
}

/// A row of the list. Fields that were not asked for are left out.
#[derive(ToSchema)]
#[schema(as = ContactRow, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "the shape of what `RowAnswer` writes, for the OpenAPI document"
)]
pub(super) struct RowSchema {
    id: uuid::Uuid,
    #[schema(example = "Helena Nakamura Dias")]
    name: Option<String>,
    social_name: Option<String>,
    birth_date: Option<NaiveDate>,
    /// `lead`, `active`, `inactive` or `archived`; more may be added.
    #[schema(example = "active")]
    status: Option<String>,
    source: Option<String>,
    owner_id: Option<uuid::Uuid>,
    tags: Option<Vec<String>>,
    /// The primary phone, in E.164.
    #[schema(example = "+5511987654321")]
    phone_number: Option<String>,
    /// The primary e-mail.
    email: Option<String>,
    /// Only when `fields` asks for it.
    notes: Option<String>,
    /// Values of the clinic's own fields, by key; only when `fields` asks for them.
    #[schema(value_type = Option<Object>)]
    custom_fields: Option<serde_json::Value>,
    created_at: Option<DateTime<Utc>>,
    updated_at: Option<DateTime<Utc>>,
}

/// A row of the list, on its way out.
pub(super) struct RowAnswer {
    pub(super) row: ContactSummary,
    pub(super) fields: Fields,
}

impl utoipa::PartialSchema for RowAnswer {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        RowSchema::schema()
    }
}

impl ToSchema for RowAnswer {
    fn name() -> std::borrow::Cow<'static, str> {
        "ContactRow".into()
    }
}

impl Serialize for RowAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = &self.row;
        let mut out = Sparse {
            fields: self.fields,
            map: serializer.serialize_map(None)?,
        };
        out.put("id", &row.id)?;
        out.put("name", row.name.expose())?;
        out.put(
            "socialName",
            &row.social_name.as_ref().map(kernel::Sensitive::expose),
        )?;
        out.put("birthDate", &row.birth_date)?;
        out.put("status", row.status.name())?;
        out.put("source", &row.source)?;
        out.put("ownerId", &row.owner)?;
        out.put("tags", &row.tags)?;
        out.put(
            "phoneNumber",
            &row.phone_number.as_ref().map(kernel::Sensitive::expose),
        )?;
        out.put("email", &row.email.as_ref().map(kernel::Sensitive::expose))?;
        out.put("notes", &row.notes.as_ref().map(kernel::Sensitive::expose))?;
        out.put("customFields", &row.custom_fields.as_ref().map(Custom))?;
        out.put("createdAt", &row.created_at)?;
        out.put("updatedAt", &row.updated_at)?;
        out.map.end()
    }
}

/// A phone or e-mail of a contact.
#[derive(ToSchema)]
#[schema(as = ContactEntry, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "the shape of what `EntryAnswer` writes, for the OpenAPI document"
)]
pub(super) struct EntrySchema {
    /// The number in E.164, or the address.
    #[schema(example = "+5511987654321")]
    value: String,
    /// What it is for.
    label: Option<String>,
}

/// A phone or e-mail, on its way out.
#[derive(Serialize)]
struct EntryAnswer<'a> {
    value: &'a str,
    label: Option<&'a str>,
}

/// A contact. Fields that were not asked for are left out.
#[derive(ToSchema)]
#[schema(as = Contact, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "the shape of what `ContactAnswer` writes, for the OpenAPI document"
)]
pub(super) struct ContactSchema {
    id: uuid::Uuid,
    #[schema(example = "Helena Nakamura Dias")]
    name: Option<String>,
    /// The name the person wants to be called by.
    social_name: Option<String>,
    birth_date: Option<NaiveDate>,
    /// CPF or CNPJ without punctuation.
    document: Option<String>,
    /// `cpf` or `cnpj`.
    document_kind: Option<String>,
    /// `lead`, `active`, `inactive` or `archived`; more may be added.
    #[schema(example = "active")]
    status: Option<String>,
    source: Option<String>,
    owner_id: Option<uuid::Uuid>,
    notes: Option<String>,
    tags: Option<Vec<String>>,
    /// The primary one first.
    phones: Option<Vec<EntrySchema>>,
    /// The primary one first.
    emails: Option<Vec<EntrySchema>>,
    /// Values of the clinic's own fields, by key: each of its field's type. Those of archived fields
    /// and of removed options are there too.
    #[schema(value_type = Option<Object>)]
    custom_fields: Option<serde_json::Value>,
    /// WhatsApp ids that carry no phone.
    whatsapp_ids: Option<Vec<String>>,
    /// The contact this one was merged into.
    merged_into: Option<uuid::Uuid>,
    created_at: Option<DateTime<Utc>>,
    updated_at: Option<DateTime<Utc>>,
    archived_at: Option<DateTime<Utc>>,
}

/// A contact for the OpenAPI document's examples.
pub(super) fn example() -> serde_json::Value {
    serde_json::json!({
        "id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "name": "Helena Nakamura Dias",
        "socialName": null, "birthDate": "1987-03-14", "document": "11144477735",
        "documentKind": "cpf", "status": "active", "source": "instagram", "ownerId": null,
        "notes": null, "tags": ["retorno"],
        "phones": [{"value": "+5511987654321", "label": "celular"}],
        "emails": [{"value": "helena@example.com", "label": null}],
        "customFields": {}, "whatsappIds": [], "mergedInto": null, "createdAt": "2026-11-03T12:30:00Z",
        "updatedAt": "2026-11-03T12:30:00Z", "archivedAt": null,
    })
}

/// Values of the clinic's own fields, on their way out.
struct Custom<'a>(&'a CustomFields);

impl Serialize for Custom<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

/// A contact, on its way out.
pub(super) struct ContactAnswer<'a> {
    pub(super) contact: &'a Contact,
    pub(super) fields: Fields,
}

impl Serialize for ContactAnswer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let contact = self.contact;
        let phones: Vec<EntryAnswer<'_>> = contact
            .phones
            .iter()
            .map(|entry| EntryAnswer {
                value: entry.phone.as_e164(),
                label: entry.label.as_ref().map(Label::as_str),
            })
            .collect();
        let emails: Vec<EntryAnswer<'_>> = contact
            .emails
            .iter()
            .map(|entry| EntryAnswer {
                value: entry.email.as_str(),
                label: entry.label.as_ref().map(Label::as_str),
            })
            .collect();
        let tags: Vec<&str> = contact.tags.iter().map(contacts::Tag::as_str).collect();
        let whatsapp_ids: Vec<&String> = contact
            .whatsapp_ids
            .iter()
            .map(kernel::Sensitive::expose)
            .collect();
        let mut out = Sparse {
            fields: self.fields,
            map: serializer.serialize_map(None)?,
        };
        out.put("id", &contact.id)?;
        out.put("name", contact.name.as_str())?;
        out.put(
            "socialName",
            &contact
                .social_name
                .as_ref()
                .map(kernel::text::PersonName::as_str),
        )?;
        out.put("birthDate", &contact.birth_date)?;
        out.put(
            "document",
            &contact
                .document
                .as_ref()
                .map(kernel::document::Document::as_str),
        )?;
        out.put(
            "documentKind",
            &contact
                .document
                .as_ref()
                .map(kernel::document::Document::kind),
        )?;
        out.put("status", contact.status.name())?;
        out.put("source", contact.source.as_str())?;
        out.put("ownerId", &contact.owner)?;
        out.put(
            "notes",
            &contact.notes.as_ref().map(contacts::Notes::expose),
        )?;
        out.put("tags", &tags)?;
        out.put("phones", &phones)?;
        out.put("emails", &emails)?;
        out.put("customFields", &Custom(&contact.custom_fields))?;
        out.put("whatsappIds", &whatsapp_ids)?;
        out.put("mergedInto", &contact.merged_into)?;
        out.put("createdAt", &contact.created_at)?;
        out.put("updatedAt", &contact.updated_at)?;
        out.put("archivedAt", &contact.archived_at)?;
        out.map.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use super::*;

    #[test]
    fn an_unknown_field_is_refused_with_the_known_ones() {
        let refused = Fields::parse_row("name,password").unwrap_err().to_string();
        assert!(
            refused.contains("phoneNumber") && !refused.contains("password"),
            "{refused}"
        );
    }

    #[test]
    fn rows_carry_notes_only_when_asked() {
        assert!(!Fields::of_rows().has("notes"));
        assert!(Fields::parse_row("notes").unwrap().has("notes"));
        assert!(Fields::parse_row("notes").unwrap().has("id"));
        assert!(!Fields::parse_row("notes").unwrap().has("name"));
    }

    #[test]
    fn the_same_choice_has_the_same_canonical_form() {
        let one = Fields::parse_contact("name, phones").unwrap().canonical();
        assert_eq!(
            one,
            Fields::parse_contact("phones,name,id").unwrap().canonical()
        );
        assert_eq!(Fields::of_contact().canonical(), "");
    }
}
