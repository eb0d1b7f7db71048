//! What callers send about contacts, and how it becomes the domain's.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use contacts::contact::InvalidText;
use contacts::search::Search;
use contacts::{
    Change, ContactEmail, ContactFilter, ContactOrder, ContactPatch, ContactPhone, ContactStatus,
    CreateContact, Label, ListContacts, Notes, Source, Tag, Tags,
};
use kernel::document::Document;
use kernel::email::Email;
use kernel::phone::Phone;
use kernel::text::PersonName;
use kernel::{NumberedPage, PageLimit, UserId};
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::answer::Fields;
use crate::catalogue::ProblemCode;
use crate::page::numbered_page;
use crate::patch::{PatchField, given};
use crate::problem::Problem;
use crate::rules::Rules;

/// Where a contact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum LivingStatus {
    Lead,
    Active,
    Inactive,
}

impl From<LivingStatus> for ContactStatus {
    fn from(status: LivingStatus) -> Self {
        match status {
            LivingStatus::Lead => Self::Lead,
            LivingStatus::Active => Self::Active,
            LivingStatus::Inactive => Self::Inactive,
        }
    }
}

/// A phone or e-mail.
#[derive(Debug, Clone, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Entry {
    /// The number, in E.164 or as it is dialled in Brazil; or the address.
    #[schema(example = "+5511987654321")]
    value: String,
    /// What it is for.
    #[schema(example = "celular")]
    label: Option<String>,
}

/// A contact to create.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CreateContact)]
pub(super) struct CreateContactRequest {
    /// Full name, 1 to 200 characters.
    #[schema(example = "Helena Nakamura Dias")]
    name: String,
    /// The name the person wants to be called by.
    social_name: Option<String>,
    /// Date of birth, from 1900 to today.
    #[schema(example = "1987-03-14")]
    birth_date: Option<NaiveDate>,
    /// CPF or CNPJ, with or without punctuation; check digits are verified.
    #[schema(example = "111.444.777-35")]
    document: Option<String>,
    /// `lead` when not given. Archiving is an act of its own.
    status: Option<LivingStatus>,
    /// Where the contact came from; `manual` when not given.
    #[schema(example = "instagram")]
    source: Option<String>,
    /// The user who looks after the contact: a member of the clinic.
    #[schema(value_type = Option<uuid::Uuid>)]
    owner_id: Option<UserId>,
    /// Up to 10,000 characters.
    notes: Option<String>,
    /// At most 50, each of 1 to 60 characters.
    #[serde(default)]
    tags: Vec<String>,
    /// The primary one first; at most 20. Each may be one contact's only.
    #[serde(default)]
    phones: Vec<Entry>,
    /// The primary one first; at most 20. Each may be one contact's only.
    #[serde(default)]
    emails: Vec<Entry>,
    /// Values of the clinic's own fields (`/contact-fields`), by key, each of its field's type. Those
    /// that the clinic requires must be there.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    custom_fields: BTreeMap<String, Value>,
}

/// A change of a contact: what is not named stays, lists are replaced whole. Null empties
/// `socialName`, `birthDate`, `document`, `ownerId` and `notes`, and is refused elsewhere. What is
/// the same already changes nothing.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UpdateContact)]
pub(super) struct UpdateContactRequest {
    /// Full name, 1 to 200 characters.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false)]
    name: Option<String>,
    /// The name the person wants to be called by.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    social_name: PatchField<String>,
    /// Date of birth, from 1900 to today.
    #[serde(default)]
    #[schema(value_type = Option<NaiveDate>)]
    birth_date: PatchField<NaiveDate>,
    /// CPF or CNPJ, with or without punctuation.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    document: PatchField<String>,
    /// Where the contact stands. Archiving is an act of its own.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = LivingStatus, required = false)]
    status: Option<LivingStatus>,
    /// Where the contact came from.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false)]
    source: Option<String>,
    /// The user who looks after the contact: a member of the clinic.
    #[serde(default)]
    #[schema(value_type = Option<uuid::Uuid>)]
    owner_id: PatchField<UserId>,
    /// Up to 10,000 characters.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    notes: PatchField<String>,
    /// All tags anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<String>, required = false)]
    tags: Option<Vec<String>>,
    /// All phones anew, the primary one first.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<Entry>, required = false)]
    phones: Option<Vec<Entry>>,
    /// All e-mails anew, the primary one first.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<Entry>, required = false)]
    emails: Option<Vec<Entry>>,
    /// Some of the values of the clinic's own fields, by key: null empties one, those that are not
    /// named stay.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    custom_fields: BTreeMap<String, Value>,
}

/// Which contacts, in which order, how many.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct ListContactsQuery {
    /// Rows of a page, 1 to 100; 20 when not given.
    #[param(minimum = 1, maximum = 100, example = 20)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Instead of a cursor the page's number, from 1: the answer then tells `total` and `pages`. No
    /// page ends behind row 10000, and no more rows are looked at for it, or 2000 for a search
    /// of common words: what lies deeper is reached by the cursor.
    #[param(minimum = 1, example = 1)]
    page: Option<u32>,
    /// `createdAt`, `updatedAt` or `name`, with `-` before it when descending; `-createdAt` when
    /// not given.
    #[param(example = "-createdAt")]
    sort: Option<String>,
    /// `asc` or `desc`, instead of the `-` in `sort`.
    #[param(inline)]
    order: Option<Direction>,
    /// One or more of `lead`, `active`, `inactive`, `archived`, separated by commas. Archived
    /// contacts are left out when not given.
    #[param(example = "lead,active")]
    status: Option<String>,
    /// Has this tag.
    tag: Option<String>,
    /// Is looked after by this user.
    #[param(value_type = Option<uuid::Uuid>)]
    owner_id: Option<UserId>,
    /// Came from here.
    source: Option<String>,
    /// Created at this instant or later; of the years 1900 to 9999.
    created_from: Option<DateTime<Utc>>,
    /// Created before this instant; of the years 1900 to 9999.
    created_before: Option<DateTime<Utc>>,
    /// Words of names and e-mails, from their beginning and without regard to case and accents; an
    /// e-mail address, or its beginning as far as the `@` at least; a phone, from its beginning,
    /// with or without country and area code, or its last four or eight digits; or a whole CPF or
    /// CNPJ. All words must match. Needs three characters.
    ///
    /// Of words that are each common, few contacts may have all: a page then holds fewer rows than
    /// `limit`, or none, while `hasMore` is true, and the pages after it hold the rest.
    #[param(example = "helena naka")]
    search: Option<String>,
    /// Only these fields of each row, separated by commas; `id` always comes. All but `notes` and
    /// `customFields` when not given.
    #[param(example = "name,phoneNumber")]
    fields: Option<String>,
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum Direction {
    Asc,
    Desc,
}

/// Which fields of a contact.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadContactQuery {
    /// Only these fields, separated by commas; `id` always comes. All when not given.
    #[param(example = "name,phones")]
    pub(super) fields: Option<String>,
}

fn text<T>(
    rules: &mut Rules,
    name: &'static str,
    text: &str,
    make: impl FnOnce(&str) -> Result<T, InvalidText>,
) -> Option<T> {
    rules.keep(name, "length", make(text))
}

fn birth_date(rules: &mut Rules, date: NaiveDate, today: NaiveDate) -> Option<NaiveDate> {
    let earliest = NaiveDate::from_ymd_opt(1900, 1, 1).unwrap_or(NaiveDate::MIN);
    if (earliest..=today).contains(&date) {
        return Some(date);
    }
    rules.broken(
        "birthDate",
        "range",
        "must be a date from 1900-01-01 to today",
    );
    None
}

fn tags(rules: &mut Rules, tags: &[String]) -> Option<Tags> {
    let mut good = Vec::with_capacity(tags.len());
    for (index, tag) in tags.iter().enumerate() {
        good.push(rules.keep(format!("tags[{index}]"), "length", Tag::new(tag))?);
    }
    rules.keep("tags", "length", Tags::new(good))
}

fn label(rules: &mut Rules, list: &str, index: usize, entry: &Entry) -> Option<Label> {
    let label = Label::new(entry.label.as_deref()?);
    rules.keep(format!("{list}[{index}].label"), "length", label)
}

/// Most phones, and most e-mails, of one contact.
const MAX_ENTRIES: usize = 20;

fn count(rules: &mut Rules, list: &'static str, entries: &[Entry]) {
    if entries.len() > MAX_ENTRIES {
        rules.broken(
            list,
            "length",
            format!("must have at most {MAX_ENTRIES} entries"),
        );
    }
}

fn phones(rules: &mut Rules, entries: &[Entry]) -> Vec<ContactPhone> {
    count(rules, "phones", entries);
    let read = |(index, entry): (usize, &Entry)| {
        let phone = Phone::parse(&entry.value);
        let phone = rules.keep(format!("phones[{index}].value"), "phone", phone)?;
        Some(ContactPhone {
            phone,
            label: label(rules, "phones", index, entry),
        })
    };
    entries.iter().enumerate().filter_map(read).collect()
}

fn emails(rules: &mut Rules, entries: &[Entry]) -> Vec<ContactEmail> {
    count(rules, "emails", entries);
    let read = |(index, entry): (usize, &Entry)| {
        let email = Email::parse(&entry.value);
        let email = rules.keep(format!("emails[{index}].value"), "email", email)?;
        Some(ContactEmail {
            email,
            label: label(rules, "emails", index, entry),
        })
    };
    entries.iter().enumerate().filter_map(read).collect()
}

impl CreateContactRequest {
    /// The domain's command; every broken rule at once otherwise.
    pub(super) fn into_domain(self, now: DateTime<Utc>) -> Result<CreateContact, Problem> {
        let mut rules = Rules::new(ProblemCode::InvalidBody);
        let name = rules.keep("name", "length", PersonName::parse(&self.name));
        let social_name = self
            .social_name
            .and_then(|name| rules.keep("socialName", "length", PersonName::parse(&name)));
        let birth_date = self
            .birth_date
            .and_then(|date| birth_date(&mut rules, date, now.date_naive()));
        let document = self
            .document
            .and_then(|text| rules.keep("document", "document", Document::parse(&text)));
        let source = self
            .source
            .and_then(|s| text(&mut rules, "source", &s, Source::new));
        let notes = self
            .notes
            .and_then(|notes| rules.keep("notes", "length", Notes::new(notes)));
        let tags = tags(&mut rules, &self.tags);
        let phones = phones(&mut rules, &self.phones);
        let emails = emails(&mut rules, &self.emails);
        let (Some(name), Some(tags)) = (name, tags) else {
            return Err(rules.into_problem());
        };
        rules.done(CreateContact {
            name,
            social_name,
            birth_date,
            document,
            status: self.status.map(Into::into),
            source,
            owner: self.owner_id,
            notes,
            tags,
            phones,
            emails,
            custom_fields: self.custom_fields,
        })
    }
}

fn change<T>(field: PatchField<Option<T>>) -> Change<T> {
    match field {
        // A broken rule was noted where the value is missing.
        PatchField::Absent | PatchField::Value(None) => Change::Keep,
        PatchField::Null => Change::Clear,
        PatchField::Value(Some(value)) => Change::Set(value),
    }
}

fn map<T, U>(field: PatchField<T>, map: impl FnOnce(T) -> U) -> PatchField<U> {
    match field {
        PatchField::Absent => PatchField::Absent,
        PatchField::Null => PatchField::Null,
        PatchField::Value(value) => PatchField::Value(map(value)),
    }
}

impl UpdateContactRequest {
    /// The domain's patch; every broken rule at once otherwise.
    pub(super) fn into_domain(self, now: DateTime<Utc>) -> Result<ContactPatch, Problem> {
        let mut rules = Rules::new(ProblemCode::InvalidBody);
        let patch = ContactPatch {
            name: self
                .name
                .and_then(|n| rules.keep("name", "length", PersonName::parse(&n))),
            social_name: change(map(self.social_name, |name| {
                rules.keep("socialName", "length", PersonName::parse(&name))
            })),
            birth_date: change(map(self.birth_date, |date| {
                birth_date(&mut rules, date, now.date_naive())
            })),
            document: change(map(self.document, |text| {
                rules.keep("document", "document", Document::parse(&text))
            })),
            status: self.status.map(Into::into),
            source: self
                .source
                .and_then(|s| text(&mut rules, "source", &s, Source::new)),
            owner: change(map(self.owner_id, Some)),
            notes: change(map(self.notes, |n| {
                rules.keep("notes", "length", Notes::new(n))
            })),
            tags: self.tags.and_then(|list| tags(&mut rules, &list)),
            phones: self.phones.map(|list| phones(&mut rules, &list)),
            emails: self.emails.map(|list| emails(&mut rules, &list)),
            custom_fields: self.custom_fields,
        };
        rules.done(patch)
    }
}

fn order(
    rules: &mut Rules,
    sort: Option<&str>,
    direction: Option<Direction>,
) -> Option<ContactOrder> {
    let sort = match (sort, direction) {
        (None, None) => return Some(ContactOrder::default()),
        (None, Some(_)) => "createdAt",
        (Some(sort), _) => sort,
    };
    let name = match direction {
        Some(_) if sort.starts_with('-') => {
            rules.broken(
                "order",
                "conflict",
                "must not be given beside a sort that begins with -",
            );
            return None;
        }
        Some(Direction::Desc) => format!("-{sort}"),
        _ => sort.to_owned(),
    };
    let order = ContactOrder::from_name(&name);
    if order.is_none() {
        let reason = "must be createdAt, updatedAt or name, with - before it when descending";
        rules.broken("sort", "unknown-value", reason);
    }
    order
}

fn statuses(rules: &mut Rules, text: &str) -> Vec<ContactStatus> {
    let mut found = Vec::new();
    for name in text.split(',').map(str::trim) {
        match ContactStatus::from_name(name) {
            Some(status) if !found.contains(&status) => found.push(status),
            Some(_) => {}
            None => {
                let reason = "must be lead, active, inactive or archived, separated by commas";
                rules.broken("status", "unknown-value", reason);
                break;
            }
        }
    }
    found
}

/// The database knows no year before 4713 BC, and a year that is none of a clinic's is a mistake.
fn instant(rules: &mut Rules, name: &'static str, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if (1900..=9999).contains(&at.year()) {
        return Some(at);
    }
    rules.broken(
        name,
        "range",
        "must be an instant of the years 1900 to 9999",
    );
    None
}

impl ListContactsQuery {
    /// The domain's question and the fields to answer; every broken rule at once otherwise.
    pub(super) fn into_domain(
        self,
    ) -> Result<(ListContacts, Fields, Option<NumberedPage>), Problem> {
        let mut rules = Rules::new(ProblemCode::InvalidQuery);
        let limit = match self.limit {
            None => PageLimit::default(),
            Some(rows) => rules
                .keep("limit", "range", PageLimit::new(rows))
                .unwrap_or_default(),
        };
        let fields = match self.fields.as_deref() {
            None => Fields::of_rows(),
            Some(text) => rules
                .keep("fields", "unknown-value", Fields::parse_row(text))
                .unwrap_or_else(Fields::of_rows),
        };
        let order = order(&mut rules, self.sort.as_deref(), self.order).unwrap_or_default();
        let filter = ContactFilter {
            statuses: self
                .status
                .map(|s| statuses(&mut rules, &s))
                .unwrap_or_default(),
            tag: self
                .tag
                .and_then(|tag| text(&mut rules, "tag", &tag, Tag::new)),
            owner: self.owner_id,
            source: self
                .source
                .and_then(|s| text(&mut rules, "source", &s, Source::new)),
            created_from: self
                .created_from
                .and_then(|at| instant(&mut rules, "createdFrom", at)),
            created_before: self
                .created_before
                .and_then(|at| instant(&mut rules, "createdBefore", at)),
            search: self
                .search
                .and_then(|words| rules.keep("search", "length", Search::parse(&words))),
        };
        let with_notes = fields.has("notes");
        let with_custom_fields = fields.has("customFields");
        let ask = ListContacts {
            filter,
            order,
            limit,
            cursor: self.cursor,
            with_notes,
            with_custom_fields,
        };
        let page = numbered_page(self.page, ask.cursor.as_deref(), limit);
        let (ask, fields) = rules.done((ask, fields))?;
        Ok((ask, fields, page?))
    }
}
