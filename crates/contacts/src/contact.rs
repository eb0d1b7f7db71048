//! A contact and the values it is made of.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use kernel::document::Document;
use kernel::email::Email;
use kernel::phone::Phone;
use kernel::text::{PersonName, line};
use kernel::{ContactId, Sensitive, UserId};
use serde_json::Value;

use crate::custom::{CustomChange, CustomFields};

/// Where a contact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContactStatus {
    /// Known, not yet a patient.
    Lead,
    /// A patient.
    Active,
    /// No longer a patient.
    Inactive,
    /// Put away: not listed unless asked for. Set by archiving only.
    Archived,
}

impl ContactStatus {
    /// Every status.
    pub const ALL: &'static [Self] = &[Self::Lead, Self::Active, Self::Inactive, Self::Archived];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lead => "lead",
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Archived => "archived",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|status| status.name() == name)
    }
}

/// A text does not keep the rule of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidText(pub &'static str);

fn bounded(text: &str, most: usize, rule: &'static str) -> Result<String, InvalidText> {
    line(text, most).ok_or(InvalidText(rule))
}

macro_rules! short_texts {
    ($($(#[$doc:meta])* $name:ident: $most:literal, $rule:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Trims and checks.
            pub fn new(text: &str) -> Result<Self, InvalidText> {
                bounded(text, $most, $rule).map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    )+};
}

short_texts! {
    /// What a phone or e-mail is for: 1 to 40 characters.
    Label: 40, "must have 1 to 40 characters and no control characters";
    /// Where a contact came from, such as `whatsapp`, `manual`, `instagram`: 1 to 60 characters.
    Source: 60, "must have 1 to 60 characters and no control characters";
    /// A tag: 1 to 60 characters.
    Tag: 60, "must have 1 to 60 characters and no control characters";
}

impl Source {
    /// Entered by a person of the clinic.
    pub fn manual() -> Self {
        Self("manual".to_owned())
    }
}

/// Tags of a contact: at most 50, each once, in alphabetical order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags(BTreeSet<Tag>);

impl Tags {
    /// Most tags a contact may have.
    pub const MAX: usize = 50;

    /// Checks their number; doubles fall together.
    pub fn new(tags: impl IntoIterator<Item = Tag>) -> Result<Self, InvalidText> {
        let tags: BTreeSet<Tag> = tags.into_iter().collect();
        if tags.len() > Self::MAX {
            return Err(InvalidText("must have at most 50 tags"));
        }
        Ok(Self(tags))
    }

    /// The tags, in alphabetical order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Tag> {
        self.0.iter()
    }
}

/// Free notes about a contact: up to 10,000 characters, line breaks and tabs allowed. May hold anything,
/// so they show nothing in logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notes(Sensitive<String>);

impl Notes {
    /// Checks the length.
    pub fn new(text: String) -> Result<Self, InvalidText> {
        if text.chars().count() > 10_000 {
            return Err(InvalidText("must have at most 10000 characters"));
        }
        if text
            .chars()
            .any(|c| c.is_control() && !"\n\r\t".contains(c))
        {
            return Err(InvalidText(
                "must have no control characters but line breaks and tabs",
            ));
        }
        Ok(Self(Sensitive::new(text)))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// A phone of a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactPhone {
    /// The number.
    pub phone: Phone,
    /// What it is for.
    pub label: Option<Label>,
}

/// An e-mail of a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactEmail {
    /// The address.
    pub email: Email,
    /// What it is for.
    pub label: Option<Label>,
}

/// A contact. Phones and e-mails come in the clinic's order; the first is the primary one.
#[derive(Debug, Clone, PartialEq)]
pub struct Contact {
    /// Its id.
    pub id: ContactId,
    /// The name.
    pub name: PersonName,
    /// The name the person wants to be called by (Decreto 8.727/2016).
    pub social_name: Option<PersonName>,
    /// The date of birth.
    pub birth_date: Option<NaiveDate>,
    /// CPF or CNPJ.
    pub document: Option<Document>,
    /// Where it stands.
    pub status: ContactStatus,
    /// Where it came from.
    pub source: Source,
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
    /// Values of the clinic's own fields.
    pub custom_fields: CustomFields,
    /// WhatsApp ids that carry no phone (user ids and `@lid`s).
    pub whatsapp_ids: Vec<Sensitive<String>>,
    /// Where it was merged into, if it was.
    pub merged_into: Option<ContactId>,
    /// Raised by every change; what `If-Match` speaks of.
    pub version: i64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
    /// When it was archived, if it is.
    pub archived_at: Option<DateTime<Utc>>,
}

/// A row of the contact list.
#[derive(Debug, Clone, PartialEq)]
pub struct ContactSummary {
    /// Its id.
    pub id: ContactId,
    /// The name.
    pub name: Sensitive<String>,
    /// The name folded: what the list is ordered by.
    pub name_key: Sensitive<String>,
    /// The social name.
    pub social_name: Option<Sensitive<String>>,
    /// The date of birth.
    pub birth_date: Option<NaiveDate>,
    /// Where it stands.
    pub status: ContactStatus,
    /// Where it came from.
    pub source: String,
    /// The user who looks after it.
    pub owner: Option<UserId>,
    /// Tags, in alphabetical order.
    pub tags: Vec<String>,
    /// The primary phone, in E.164.
    pub phone_number: Option<Sensitive<String>>,
    /// The primary e-mail.
    pub email: Option<Sensitive<String>>,
    /// Notes; `None` also when they were not asked for.
    pub notes: Option<Sensitive<String>>,
    /// Values of the clinic's own fields; `None` when they were not asked for.
    pub custom_fields: Option<CustomFields>,
    /// The version.
    pub version: i64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// A contact about to be created.
#[derive(Debug, Clone, PartialEq)]
pub struct NewContact {
    /// Its id.
    pub id: ContactId,
    /// The name.
    pub name: PersonName,
    /// The social name.
    pub social_name: Option<PersonName>,
    /// The date of birth.
    pub birth_date: Option<NaiveDate>,
    /// CPF or CNPJ.
    pub document: Option<Document>,
    /// Never `Archived`: the service refuses it.
    pub status: ContactStatus,
    /// Where it came from.
    pub source: Source,
    /// The user who looks after it.
    pub owner: Option<UserId>,
    /// Notes.
    pub notes: Option<Notes>,
    /// Tags.
    pub tags: Tags,
    /// Phones, the primary one first. No two of the same canonical key.
    pub phones: Vec<ContactPhone>,
    /// E-mails, the primary one first. No two alike.
    pub emails: Vec<ContactEmail>,
    /// Values of the clinic's own fields.
    pub custom_fields: CustomChange,
    /// When.
    pub at: DateTime<Utc>,
}

impl From<NewContact> for Contact {
    fn from(new: NewContact) -> Self {
        Self {
            id: new.id,
            name: new.name,
            social_name: new.social_name,
            birth_date: new.birth_date,
            document: new.document,
            status: new.status,
            source: new.source,
            owner: new.owner,
            notes: new.notes,
            tags: new.tags,
            phones: new.phones,
            emails: new.emails,
            custom_fields: CustomFields::default().changed(&new.custom_fields),
            whatsapp_ids: Vec::new(),
            merged_into: None,
            version: 1,
            created_at: new.at,
            updated_at: new.at,
            archived_at: None,
        }
    }
}

/// What a patch does to one field.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Change<T> {
    /// Leaves it.
    #[default]
    Keep,
    /// Gives it this value.
    Set(T),
    /// Empties it.
    Clear,
}

impl<T> Change<T> {
    /// The new value where the field is touched: `Some(None)` empties it.
    pub fn as_update(&self) -> Option<Option<&T>> {
        match self {
            Self::Keep => None,
            Self::Set(value) => Some(Some(value)),
            Self::Clear => Some(None),
        }
    }
}

/// A partial change (RFC 7396 in spirit): what is not named stays; lists are replaced whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContactPatch {
    /// The name.
    pub name: Option<PersonName>,
    /// The social name.
    pub social_name: Change<PersonName>,
    /// The date of birth.
    pub birth_date: Change<NaiveDate>,
    /// CPF or CNPJ.
    pub document: Change<Document>,
    /// Never `Archived`: archiving is an act of its own.
    pub status: Option<ContactStatus>,
    /// Where it came from.
    pub source: Option<Source>,
    /// The user who looks after it.
    pub owner: Change<UserId>,
    /// Notes.
    pub notes: Change<Notes>,
    /// All tags anew.
    pub tags: Option<Tags>,
    /// All phones anew.
    pub phones: Option<Vec<ContactPhone>>,
    /// All e-mails anew.
    pub emails: Option<Vec<ContactEmail>>,
    /// Some of the values of the clinic's own fields, by key, as they are given: null empties one.
    pub custom_fields: BTreeMap<String, Value>,
}
