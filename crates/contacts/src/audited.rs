//! What the audit is told of a contact: which fields differ, by their names in the API, and the
//! bytes of their values, of which it keeps keyed hashes alone.

use std::collections::BTreeSet;

use kernel::{ChangedValue, TypedId as _};
use serde_json::Value;

use crate::contact::{Contact, Tag};
use crate::custom::CustomFields;

impl Contact {
    /// What a new contact holds.
    pub fn created_values(&self) -> Vec<ChangedValue> {
        let values = self.values().into_iter();
        let mut changes: Vec<ChangedValue> = values
            .filter(|(_, value)| value.is_some())
            .map(|(field, value)| ChangedValue::new(field, None, value))
            .collect();
        changes.extend(self.custom_changes(&CustomFields::default()));
        changes
    }

    /// What differs from how it was. Empty: nothing that a caller can change does.
    pub fn changes_since(&self, before: &Self) -> Vec<ChangedValue> {
        let pairs = before.values().into_iter().zip(self.values());
        let mut changes: Vec<ChangedValue> = pairs
            .filter(|((_, before), (_, after))| before != after)
            .map(|((field, before), (_, after))| ChangedValue::new(field, before, after))
            .collect();
        changes.extend(self.custom_changes(&before.custom_fields));
        changes
    }

    /// Each of the clinic's own fields that differs, by its key.
    fn custom_changes(&self, before: &CustomFields) -> Vec<ChangedValue> {
        let after = &self.custom_fields;
        let keys: BTreeSet<&str> = before.iter().chain(after.iter()).map(|it| it.0).collect();
        let bytes = |value: Option<&Value>| value.map(|value| value.to_string().into_bytes());
        keys.into_iter()
            .filter(|key| before.get(key) != after.get(key))
            .map(|key| {
                let name = format!("customFields.{key}");
                ChangedValue::named(name, bytes(before.get(key)), bytes(after.get(key)))
            })
            .collect()
    }

    fn values(&self) -> [(&'static str, Option<Vec<u8>>); 11] {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let lines = |lines: Vec<String>| (!lines.is_empty()).then(|| lines.join("\n").into_bytes());
        // A label has no control characters: it cannot be taken for another entry.
        let entry = |value: &str, label: Option<&crate::Label>| match label {
            Some(label) => format!("{value}\t{}", label.as_str()),
            None => value.to_owned(),
        };
        let phones = self.phones.iter();
        let phones = phones.map(|it| entry(it.phone.as_e164(), it.label.as_ref()));
        let emails = self.emails.iter();
        let emails = emails.map(|it| entry(it.email.as_str(), it.label.as_ref()));
        let tags = self.tags.iter().map(Tag::as_str).map(str::to_owned);
        [
            ("name", text(self.name.as_str())),
            (
                "socialName",
                self.social_name.as_ref().and_then(|it| text(it.as_str())),
            ),
            (
                "birthDate",
                self.birth_date.and_then(|it| text(&it.to_string())),
            ),
            (
                "document",
                self.document.as_ref().and_then(|it| text(it.as_str())),
            ),
            ("status", text(self.status.name())),
            ("source", text(self.source.as_str())),
            (
                "ownerId",
                self.owner.map(|it| it.as_uuid().as_bytes().to_vec()),
            ),
            (
                "notes",
                self.notes.as_ref().and_then(|it| text(it.expose())),
            ),
            ("tags", lines(tags.collect())),
            ("phones", lines(phones.collect())),
            ("emails", lines(emails.collect())),
        ]
    }
}
