//! Values of a clinic's own fields: read from JSON against their definitions, kept as JSON.

use std::collections::BTreeMap;
use std::fmt;

use chrono::NaiveDate;
use serde_json::Value;

use crate::contact::Notes;
use crate::field::{ContactField, FieldKey, FieldKind};

/// Longest text, in characters.
const MAX_TEXT: usize = 2_000;
/// The largest whole number that every JSON reader keeps exactly (RFC 8259 section 6).
const MAX_INTEGER: i64 = 9_007_199_254_740_991;
/// Most digits of a decimal before its point, and after it.
const DECIMAL_DIGITS: (usize, usize) = (15, 6);

/// A contact's values by the keys of their fields. They may say anything of a person: nothing of
/// them is shown in logs.
#[derive(Clone, PartialEq, Default)]
pub struct CustomFields(BTreeMap<String, Value>);

impl CustomFields {
    /// Values as they were kept; what is no object holds none.
    pub fn kept(value: Value) -> Self {
        match value {
            Value::Object(map) => Self(map.into_iter().collect()),
            _ => Self::default(),
        }
    }

    /// As they are kept.
    pub fn to_json(&self) -> Value {
        let members = self.0.iter();
        Value::Object(members.map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// The values, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of a field.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The values as a change leaves them.
    #[must_use]
    pub fn changed(mut self, change: &CustomChange) -> Self {
        for (key, value) in &change.0 {
            match value {
                Some(value) => self.0.insert(key.as_str().to_owned(), value.clone()),
                None => self.0.remove(key.as_str()),
            };
        }
        self
    }
}

impl fmt::Debug for CustomFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomFields({})", self.0.len())
    }
}

/// Valid values to set, and fields to empty (`None`).
#[derive(Clone, PartialEq, Default)]
pub struct CustomChange(BTreeMap<FieldKey, Option<Value>>);

impl CustomChange {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys of the fields that get a value.
    pub fn set_keys(&self) -> impl Iterator<Item = &str> {
        let set = self.0.iter().filter(|(_, value)| value.is_some());
        set.map(|(key, _)| key.as_str())
    }
}

impl fmt::Debug for CustomChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomChange({})", self.0.len())
    }
}

/// A value breaks its field's rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenField {
    /// The field's key; `None` where what was sent can be none, and is not repeated.
    pub key: Option<FieldKey>,
    /// The rule as a stable code.
    pub code: &'static str,
    /// What would be right.
    pub rule: String,
}

/// What of a contact's values is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// A new contact's: every required field must be there.
    All,
    /// Some of them: none that is required may be emptied.
    Some,
}

/// Reads values against the definitions of a clinic; every broken rule otherwise.
pub fn read(
    definitions: &[ContactField],
    given: BTreeMap<String, Value>,
    writing: Writing,
) -> Result<CustomChange, Vec<BrokenField>> {
    let mut change = BTreeMap::new();
    let mut broken = Vec::new();
    for (key, value) in given {
        let field = definitions
            .iter()
            .find(|field| field.is_active() && field.key.as_str() == key);
        let Some(field) = field else {
            broken.push(BrokenField {
                key: FieldKey::parse(&key).ok(),
                code: "unknown",
                rule: "is no field of this clinic, or is archived".to_owned(),
            });
            continue;
        };
        let read = match value {
            Value::Null if field.is_required => Err(("required", "is required".to_owned())),
            Value::Null => Ok(None),
            value => read_value(field, value).map(Some),
        };
        match read {
            Ok(value) => {
                change.insert(field.key.clone(), value);
            }
            Err((code, rule)) => broken.push(BrokenField {
                key: Some(field.key.clone()),
                code,
                rule,
            }),
        }
    }
    if writing == Writing::All {
        let missing = definitions.iter().filter(|field| {
            let named = broken.iter().any(|it| it.key.as_ref() == Some(&field.key));
            field.is_active() && field.is_required && !change.contains_key(&field.key) && !named
        });
        let missing = missing.map(|field| BrokenField {
            key: Some(field.key.clone()),
            code: "required",
            rule: "is required".to_owned(),
        });
        broken.extend(missing.collect::<Vec<_>>());
    }
    if broken.is_empty() {
        Ok(CustomChange(change))
    } else {
        Err(broken)
    }
}

type Rule = (&'static str, String);

fn read_value(field: &ContactField, value: Value) -> Result<Value, Rule> {
    let is = |code, rule: &str| Err((code, rule.to_owned()));
    match (field.kind, value) {
        (FieldKind::Text, Value::String(text)) => {
            let length = text.chars().count();
            if !(1..=MAX_TEXT).contains(&length) || Notes::new(text.clone()).is_err() {
                return is(
                    "length",
                    "must have 1 to 2000 characters and no control characters but line breaks and \
                     tabs; null empties it",
                );
            }
            Ok(text.into())
        }
        (FieldKind::Text, _) => is("type", "must be a text"),
        (FieldKind::Integer, value) => match value.as_i64() {
            Some(number) if (-MAX_INTEGER..=MAX_INTEGER).contains(&number) => Ok(number.into()),
            _ => is(
                "type",
                "must be a whole number from -9007199254740991 to 9007199254740991",
            ),
        },
        (FieldKind::Decimal, Value::String(text)) => match decimal(&text) {
            Some(decimal) => Ok(decimal.into()),
            None => is("format", DECIMAL_RULE),
        },
        (FieldKind::Decimal, _) => is("type", DECIMAL_RULE),
        (FieldKind::Boolean, value @ Value::Bool(_)) => Ok(value),
        (FieldKind::Boolean, _) => is("type", "must be true or false"),
        (FieldKind::Date, Value::String(text)) => match date(&text) {
            Some(date) => Ok(date.to_string().into()),
            None => is(
                "format",
                "must be a date of the years 1 to 9999, such as 2026-03-14",
            ),
        },
        (FieldKind::Date, _) => is("type", "must be a date as text, such as \"2026-03-14\""),
        (FieldKind::SingleChoice, Value::String(key)) if field.options.offers(&key) => {
            Ok(key.into())
        }
        (FieldKind::SingleChoice, _) => Err(("unknown-value", one_of(field))),
        (FieldKind::MultiChoice, Value::Array(keys)) => choices(field, &keys),
        (FieldKind::MultiChoice, _) => is("type", "must be a list of options"),
    }
}

const DECIMAL_RULE: &str = "must be a decimal number as text, of at most 15 digits before its point \
    and 6 after it, such as \"12.50\"";

/// A decimal in one form: no needless zeros before its digits, no `+`, no minus zero.
fn decimal(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let good = |digits: &str, most| {
        (1..=most).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    };
    if !good(whole, DECIMAL_DIGITS.0) || !good(part, DECIMAL_DIGITS.1) {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let zero = whole == "0" && part.bytes().all(|b| b == b'0');
    let sign = if zero { "" } else { sign };
    Some(match digits.split_once('.') {
        Some(_) => format!("{sign}{whole}.{part}"),
        None => format!("{sign}{whole}"),
    })
}

fn date(text: &str) -> Option<NaiveDate> {
    let ten = text.len() == 10 && text.is_ascii();
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    // A year of four digits, written as such.
    (ten && date.to_string() == text && !text.starts_with("0000")).then_some(date)
}

fn one_of(field: &ContactField) -> String {
    let offered = field.options.iter().filter(|option| !option.is_removed);
    let keys: Vec<&str> = offered.map(|option| option.key.as_str()).collect();
    format!("must be one of {}", keys.join(", "))
}

fn choices(field: &ContactField, keys: &[Value]) -> Result<Value, Rule> {
    let mut chosen: Vec<&str> = Vec::new();
    for key in keys {
        match key.as_str() {
            Some(key) if field.options.offers(key) && !chosen.contains(&key) => chosen.push(key),
            Some(key) if chosen.contains(&key) => {
                return Err(("repeated", "must not have an option twice".to_owned()));
            }
            _ => return Err(("unknown-value", format!("each {}", one_of(field)))),
        }
    }
    if chosen.is_empty() {
        return Err(("length", "must have an option; null empties it".to_owned()));
    }
    Ok(chosen.into())
}

#[cfg(test)]
#[path = "custom_tests.rs"]
mod tests;
