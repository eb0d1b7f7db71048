//! Fields of a clinic's own: what it wants to know of its contacts beside what every clinic does.
//!
//! A field's key and type never change, so that values that were written stay what they were.
//! Nothing of a field is deleted either: it is archived, its options are removed, and values that
//! were written before can still be read.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use kernel::text::line;
use kernel::{ChangedValue, ContactFieldId};

use crate::contact::InvalidText;

/// Most fields of a clinic that are not archived.
pub const MAX_ACTIVE: usize = 50;
/// Most fields of a clinic, archived ones too.
pub const MAX_FIELDS: usize = 200;
/// Most options of a field, removed ones too.
pub const MAX_OPTIONS: usize = 100;
/// The last place of a field among the others.
pub const LAST_PLACE: i16 = 1_000;

/// The name of a field, or of an option, in the API: 1 to 40 lower-case letters and digits in words
/// joined by `-`, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldKey(String);

impl FieldKey {
    /// Longest key.
    pub const MAX: usize = 40;

    /// Checks the form.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        let word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let good = text.len() <= Self::MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.split('-').all(word);
        if !good {
            return Err(InvalidText(
                "must be 1 to 40 lower-case letters and digits in words joined by -, beginning \
                 with a letter",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a field or an option is called on the screen: 1 to 80 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldLabel(String);

impl FieldLabel {
    /// Trims and checks.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        let rule = InvalidText("must have 1 to 80 characters and no control characters");
        line(text, 80).map(Self).ok_or(rule)
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What values a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// A text of up to 2,000 characters.
    Text,
    /// A whole number that a JSON reader keeps exactly.
    Integer,
    /// A decimal number, as text.
    Decimal,
    /// Yes or no.
    Boolean,
    /// A date.
    Date,
    /// One of the options.
    SingleChoice,
    /// Some of the options.
    MultiChoice,
}

impl FieldKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Text,
        Self::Integer,
        Self::Decimal,
        Self::Boolean,
        Self::Date,
        Self::SingleChoice,
        Self::MultiChoice,
    ];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::SingleChoice => "single-choice",
            Self::MultiChoice => "multi-choice",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Whether it has options.
    pub const fn is_choice(self) -> bool {
        matches!(self, Self::SingleChoice | Self::MultiChoice)
    }
}

/// An option of a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldOption {
    /// What a value holds.
    pub key: FieldKey,
    /// What it is called.
    pub label: FieldLabel,
    /// Removed: values that hold it stay, none may be given it.
    pub is_removed: bool,
}

/// The options of a choice, in the clinic's order; no two of one key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldOptions(Vec<FieldOption>);

impl FieldOptions {
    /// Options that are all there.
    pub fn new(given: Vec<(FieldKey, FieldLabel)>) -> Result<Self, InvalidText> {
        let mut keys = BTreeSet::new();
        if given.len() > MAX_OPTIONS {
            return Err(InvalidText("must have at most 100 options"));
        }
        if !given.iter().all(|(key, _)| keys.insert(key.clone())) {
            return Err(InvalidText("must not have an option twice"));
        }
        let option = |(key, label)| FieldOption {
            key,
            label,
            is_removed: false,
        };
        Ok(Self(given.into_iter().map(option).collect()))
    }

    /// Options as they were kept.
    pub const fn kept(options: Vec<FieldOption>) -> Self {
        Self(options)
    }

    /// All of them, removed ones too.
    pub fn iter(&self) -> impl Iterator<Item = &FieldOption> {
        self.0.iter()
    }

    /// Whether a value may be given the option.
    pub fn offers(&self, key: &str) -> bool {
        let mut options = self.0.iter();
        options.any(|option| !option.is_removed && option.key.as_str() == key)
    }

    fn has_some(&self) -> bool {
        self.0.iter().any(|option| !option.is_removed)
    }

    /// These, and behind them those of `before` that are no longer among them, removed.
    fn after(self, before: &Self) -> Result<Self, InvalidText> {
        let mut options = self.0;
        for old in &before.0 {
            if options.iter().all(|option| option.key != old.key) {
                options.push(FieldOption {
                    is_removed: true,
                    ..old.clone()
                });
            }
        }
        if options.len() > MAX_OPTIONS {
            return Err(InvalidText(
                "must have at most 100 options, with those that were removed",
            ));
        }
        Ok(Self(options))
    }
}

/// A field of a clinic's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactField {
    /// Its id.
    pub id: ContactFieldId,
    /// Its name in the API; never changed, and no other field's of the clinic.
    pub key: FieldKey,
    /// What it is called.
    pub label: FieldLabel,
    /// What values it takes; never changed.
    pub kind: FieldKind,
    /// Of a choice.
    pub options: FieldOptions,
    /// Whether a contact that a person creates must have it.
    pub is_required: bool,
    /// Its place among the others, from 0; ties are broken by key.
    pub place: i16,
    /// Raised by every change.
    pub version: i64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
    /// When it was archived, if it is: values stay, none may be given.
    pub archived_at: Option<DateTime<Utc>>,
}

/// A field to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewContactField {
    /// Its name in the API.
    pub key: FieldKey,
    /// What it is called.
    pub label: FieldLabel,
    /// What values it takes.
    pub kind: FieldKind,
    /// Of a choice.
    pub options: FieldOptions,
    /// Whether it must be given.
    pub is_required: bool,
    /// Its place among the others.
    pub place: i16,
}

/// A change of a field; `None` leaves what is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContactFieldPatch {
    /// What it is called.
    pub label: Option<FieldLabel>,
    /// All options anew: those left out are removed.
    pub options: Option<FieldOptions>,
    /// Whether it must be given.
    pub is_required: Option<bool>,
    /// Its place among the others.
    pub place: Option<i16>,
}

/// The options do not suit the field's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitOptions {
    /// A choice needs one.
    #[error("a choice must have at least one option")]
    Missing,
    /// Only choices have them.
    #[error("must be given for single-choice and multi-choice alone")]
    Unexpected,
    /// Too many.
    #[error(transparent)]
    Invalid(#[from] InvalidText),
}

impl NewContactField {
    /// Whether the options suit the kind.
    pub fn check(&self) -> Result<(), UnfitOptions> {
        suits(self.kind, &self.options)
    }
}

fn suits(kind: FieldKind, options: &FieldOptions) -> Result<(), UnfitOptions> {
    match (kind.is_choice(), options.has_some()) {
        (true, false) => Err(UnfitOptions::Missing),
        (false, true) => Err(UnfitOptions::Unexpected),
        _ => Ok(()),
    }
}

impl ContactField {
    /// Whether a value may be given.
    pub const fn is_active(&self) -> bool {
        self.archived_at.is_none()
    }

    /// The field as the patch leaves it.
    pub fn patched(&self, patch: ContactFieldPatch) -> Result<Self, UnfitOptions> {
        let options = match patch.options {
            None => self.options.clone(),
            Some(options) => {
                suits(self.kind, &options)?;
                options.after(&self.options)?
            }
        };
        Ok(Self {
            label: patch.label.unwrap_or_else(|| self.label.clone()),
            options,
            is_required: patch.is_required.unwrap_or(self.is_required),
            place: patch.place.unwrap_or(self.place),
            ..self.clone()
        })
    }

    /// What differs from how it was; from nothing, all there is.
    pub fn changes_since(&self, before: Option<&Self>) -> Vec<ChangedValue> {
        let after = self.values().into_iter();
        match before {
            None => after
                .filter(|(_, value)| !value.is_empty())
                .map(|(field, value)| ChangedValue::set(field, value))
                .collect(),
            Some(before) => before
                .values()
                .into_iter()
                .zip(after)
                .filter(|((_, before), (_, after))| before != after)
                .map(|((field, before), (_, after))| {
                    let some = |value: String| (!value.is_empty()).then(|| value.into_bytes());
                    ChangedValue::new(field, some(before), some(after))
                })
                .collect(),
        }
    }

    fn values(&self) -> [(&'static str, String); 7] {
        let option = |option: &FieldOption| {
            let removed = if option.is_removed { "\tremoved" } else { "" };
            format!(
                "{}\t{}{removed}",
                option.key.as_str(),
                option.label.as_str()
            )
        };
        let options: Vec<String> = self.options.iter().map(option).collect();
        [
            ("key", self.key.as_str().to_owned()),
            ("label", self.label.as_str().to_owned()),
            ("type", self.kind.name().to_owned()),
            ("options", options.join("\n")),
            ("required", self.is_required.to_string()),
            ("place", self.place.to_string()),
            (
                "archivedAt",
                self.archived_at
                    .map(|at| at.to_rfc3339())
                    .unwrap_or_default(),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn options(keys: &[&str]) -> FieldOptions {
        let option = |key: &&str| {
            let label = FieldLabel::parse(key).unwrap();
            (FieldKey::parse(key).unwrap(), label)
        };
        FieldOptions::new(keys.iter().map(option).collect()).unwrap()
    }

    fn choice() -> ContactField {
        ContactField {
            id: "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e".parse().unwrap(),
            key: FieldKey::parse("plan").unwrap(),
            label: FieldLabel::parse("Plano").unwrap(),
            kind: FieldKind::SingleChoice,
            options: options(&["a", "b"]),
            is_required: false,
            place: 0,
            version: 1,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            archived_at: None,
        }
    }

    #[test]
    fn a_key_is_words_of_small_letters_and_digits() {
        for good in ["a", "plan", "blood-type", "a1-2b"] {
            assert!(FieldKey::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(41);
        for bad in ["", "A", "1a", "a_b", "-a", "a-", "a--b", "é", "a b", &long] {
            assert!(FieldKey::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_option_that_is_left_out_is_removed_and_comes_back_when_named_again() {
        let patch = |keys: &[&str]| ContactFieldPatch {
            options: Some(options(keys)),
            ..ContactFieldPatch::default()
        };
        let fewer = choice().patched(patch(&["b"])).unwrap();
        assert!(!fewer.options.offers("a") && fewer.options.offers("b"));
        assert_eq!(fewer.options.iter().count(), 2, "it can still be read");
        let again = fewer.patched(patch(&["a", "b"])).unwrap();
        assert!(again.options.offers("a"));
        let none = choice().patched(patch(&[]));
        assert_eq!(none, Err(UnfitOptions::Missing));
    }

    #[test]
    fn what_differs_is_told_by_its_name() {
        let before = choice();
        let patch = ContactFieldPatch {
            is_required: Some(true),
            ..ContactFieldPatch::default()
        };
        let after = before.patched(patch).unwrap();
        let changes = after.changes_since(Some(&before));
        let fields: Vec<_> = changes.iter().map(ChangedValue::field).collect();
        assert_eq!(fields, ["required"]);
    }
}
