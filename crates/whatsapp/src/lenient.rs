//! Reading JSON that may be anything: nothing here fails because one part is odd.
//!
//! PostgreSQL keeps no NUL in a text, and serde_json refuses half a surrogate pair, though both
//! can be written in JSON. They are replaced by U+FFFD before anything is read; the bytes in the
//! ingress stay as they came.

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use chrono::{DateTime, TimeDelta, Utc};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Longest id of a provider that is kept as it is; a longer one is kept by its digest, because
/// ids stand in indexes whose rows are bounded.
const LONGEST_ID: usize = 255;
/// How far ahead of its arrival a message may claim to be: clocks differ, but a message of the
/// next year would stay on top for a year.
const FURTHEST_AHEAD: TimeDelta = TimeDelta::days(1);

/// The bytes as text that serde_json reads and PostgreSQL keeps.
pub(crate) fn mend(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    match mend_escapes(&text) {
        Some(mended) => Cow::Owned(mended),
        None => text,
    }
}

/// `None` when nothing needs mending.
fn mend_escapes(text: &str) -> Option<String> {
    const REPLACEMENT: &str = "\\ufffd";
    let bytes = text.as_bytes();
    let mut mended: Option<String> = None;
    let mut kept_to = 0;
    let mut at = 0;
    while let Some(offset) = bytes.get(at..)?.iter().position(|byte| *byte == b'\\') {
        let start = at + offset;
        at = start + 2;
        let Some(unit) = escaped_unit(bytes, start) else {
            continue;
        };
        at = start + 6;
        let is_fine = match unit {
            0 | 0xDC00..=0xDFFF => false,
            0xD800..=0xDBFF => {
                let low = escaped_unit(bytes, at).filter(|low| (0xDC00..=0xDFFF).contains(low));
                if low.is_some() {
                    at += 6;
                }
                low.is_some()
            }
            _ => true,
        };
        if !is_fine {
            let mended = mended.get_or_insert_with(|| String::with_capacity(text.len()));
            mended.push_str(text.get(kept_to..start)?);
            mended.push_str(REPLACEMENT);
            kept_to = at;
        }
        if at >= bytes.len() {
            break;
        }
    }
    let mut mended = mended?;
    mended.push_str(text.get(kept_to..)?);
    Some(mended)
}

/// The code unit of an escape at `start`: `\u` and four hexadecimal digits.
fn escaped_unit(bytes: &[u8], start: usize) -> Option<u16> {
    let escape = bytes.get(start..start + 6)?;
    let digits = escape.strip_prefix(b"\\u")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The fields of an object, each as it stands in the text. Of a repeated field the last counts.
pub(crate) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Of a text that is an object.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// One field as it stands.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, raw)| *raw)
    }

    /// The fields of a field that is an object.
    pub(crate) fn object(&self, name: &str) -> Option<Fields<'a>> {
        Self::of(self.raw(name)?.get())
    }

    /// The elements of a field that is an array.
    pub(crate) fn array(&self, name: &str) -> Option<Vec<&'a RawValue>> {
        serde_json::from_str(self.raw(name)?.get()).ok()
    }

    /// A field that is a text or a number, as text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let value: Value = serde_json::from_str(self.raw(name)?.get()).ok()?;
        text(Some(&value))
    }

    /// All fields in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, raw)| (key.as_ref(), *raw))
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    fields.push((key, map.next_value::<&'de RawValue>()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The value of a text. Where a part cannot be read (a number too large, nesting too deep), that
/// part is its text.
pub(crate) fn value_of(raw: &RawValue) -> Value {
    if let Ok(value) = serde_json::from_str(raw.get()) {
        return value;
    }
    match Fields::of(raw.get()) {
        Some(fields) => Value::Object(
            fields
                .iter()
                .map(|(key, raw)| {
                    let value = serde_json::from_str(raw.get());
                    (
                        key.to_owned(),
                        value.unwrap_or_else(|_| Value::String(raw.get().to_owned())),
                    )
                })
                .collect(),
        ),
        None => Value::String(raw.get().to_owned()),
    }
}

/// A text that is not empty, or a number as text.
pub(crate) fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A text that is not empty, or a number as text, fit to stand in an index.
pub(crate) fn id(value: Option<&Value>) -> Option<String> {
    text(value).map(bounded_id)
}

/// The id, or its digest where it is too long.
fn bounded_id(id: String) -> String {
    if id.len() <= LONGEST_ID {
        id
    } else {
        digest_id(&id)
    }
}

/// What stands for an id of an unwieldy shape.
pub(crate) fn digest_id(id: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&SHA256, id.as_bytes());
    format!("sha256:{}", hex::encode(digest))
}

/// A whole number, or a text that is one.
pub(crate) fn integer(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// An instant in seconds since 1970, as number or text. What is no instant, or lies far ahead of
/// its arrival, is the arrival.
pub(crate) fn instant(value: Option<&Value>, received_at: DateTime<Utc>) -> DateTime<Utc> {
    integer(value)
        .filter(|seconds| *seconds > 0)
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .filter(|at| {
            received_at
                .checked_add_signed(FURTHEST_AHEAD)
                .is_some_and(|latest| *at <= latest)
        })
        .unwrap_or(received_at)
}

/// Hex of a SHA-256 over the value, the same for every way of writing it: spaces and the order
/// of fields do not count.
pub(crate) fn content_digest(value: &Value) -> String {
    let mut context = Context::new(&SHA256);
    feed(&mut context, value);
    hex::encode(context.finish())
}

fn feed(context: &mut Context, value: &Value) {
    match value {
        Value::Null => context.update(b"n"),
        Value::Bool(bit) => context.update(if *bit { b"t" } else { b"f" }),
        Value::Number(number) => feed_text(context, b"d", &number.to_string()),
        Value::String(text) => feed_text(context, b"s", text),
        Value::Array(items) => {
            context.update(b"[");
            for item in items {
                feed(context, item);
            }
            context.update(b"]");
        }
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            context.update(b"{");
            for (key, item) in sorted {
                feed_text(context, b"k", key);
                feed(context, item);
            }
            context.update(b"}");
        }
    }
}

fn feed_text(context: &mut Context, tag: &[u8], text: &str) {
    context.update(tag);
    context.update(&(text.len() as u64).to_be_bytes());
    context.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_and_half_surrogates_become_replacement_characters_and_pairs_stay() {
        assert_eq!(mend(br#""a\u0000b""#), r#""a\ufffdb""#);
        assert_eq!(mend(br#""\ud83d""#), r#""\ufffd""#);
        assert_eq!(mend(br#""\ude00\ud83d""#), r#""\ufffd\ufffd""#);
        assert_eq!(mend(br#""\ud83d\ude00\u00e1""#), r#""\ud83d\ude00\u00e1""#);
        // An escaped backslash before a u is no escape of a character.
        assert_eq!(mend(br#""\\u0000""#), r#""\\u0000""#);
        assert_eq!(mend(br#""\\\u0000""#), r#""\\\ufffd""#);
        assert_eq!(mend(br#""\u00"#), r#""\u00"#);
        assert_eq!(mend(b"\""), "\"");
        assert_eq!(mend(b"\\"), "\\");
    }

    #[test]
    fn a_part_that_cannot_be_read_is_its_text() {
        let raw = RawValue::from_string(r#"{"a": 1e999, "b": "x"}"#.to_owned()).unwrap();
        assert_eq!(value_of(&raw), json!({"a": "1e999", "b": "x"}));
        let deep = format!(
            "{{\"a\": {}1{}, \"b\": 2}}",
            "[".repeat(300),
            "]".repeat(300)
        );
        let raw = RawValue::from_string(deep).unwrap();
        assert_eq!(value_of(&raw)["b"], json!(2));
    }

    #[test]
    fn an_instant_is_read_from_text_and_number_and_never_lies_far_ahead() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let before = DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        assert_eq!(instant(Some(&json!("1780000000")), now), before);
        assert_eq!(instant(Some(&json!(1_780_000_000)), now), before);
        for odd in [
            json!("soon"),
            json!(-5),
            json!(0),
            json!(4_000_000_000_i64),
            json!("9999999999999999999"),
            json!(null),
        ] {
            assert_eq!(instant(Some(&odd), now), now);
        }
        assert_eq!(instant(None, now), now);
    }

    #[test]
    fn a_digest_ignores_spaces_and_the_order_of_fields_only() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":["x"]}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{ "b": ["x"], "a": 1 }"#).unwrap();
        assert_eq!(content_digest(&one), content_digest(&two));
        assert_ne!(
            content_digest(&one),
            content_digest(&json!({"a":"1","b":["x"]}))
        );
    }

    proptest! {
        #[test]
        fn mended_text_holds_no_nul_once_it_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mended = mend(&bytes);
            if let Ok(Value::String(text)) = serde_json::from_str::<Value>(&mended) {
                prop_assert!(!text.contains('\0'));
            }
        }

        #[test]
        fn any_sequence_of_escapes_can_be_read_once_mended(
            units in proptest::collection::vec(any::<u16>(), 0..20)
        ) {
            let mut written = String::from("\"");
            for unit in units {
                write!(written, "\\u{unit:04x}").unwrap();
            }
            written.push('"');
            let read = serde_json::from_str::<String>(&mend(written.as_bytes()));
            prop_assert!(read.is_ok_and(|text| !text.contains('\0')));
        }
    }
}
