//! Splitting a delivery into its changes without re-writing them.
//!
//! A delivery is `entry[] × changes[]`; one app has one callback address, so its changes may be
//! of several clinics. Each is stored as its entry with that one change: the bytes of every part
//! as they came.

use std::borrow::Cow;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use conversations::ports::RawChange;
use serde_json::value::RawValue;

use crate::lenient::{Fields, mend};

/// Longest routing key that is looked up: a longer one is no channel's.
const LONGEST_ROUTE: usize = 120;

/// At least one change. What cannot be split is one without a route, and so is an entry without
/// changes: it is kept, and nobody's. One odd part never hides another: it may be another clinic's.
pub(super) fn split(body: &Bytes) -> Vec<RawChange> {
    changes(body)
        .or_else(|| match mend(body) {
            Cow::Borrowed(_) => None,
            // Broken UTF-8, or half a surrogate pair in a key. What stands in the ingress is then
            // the mended text: the bytes as they came cannot be taken apart.
            Cow::Owned(mended) => changes(&Bytes::from(mended)),
        })
        .unwrap_or_else(|| vec![unsplit(body)])
}

fn changes(body: &Bytes) -> Option<Vec<RawChange>> {
    let text = std::str::from_utf8(body).ok()?;
    let entries = Fields::of(text)?.array("entry")?;
    let mut changes = Vec::new();
    for entry in entries {
        let fields = Fields::of(entry.get());
        let parts = fields.as_ref().and_then(|it| it.array("changes"));
        let (Some(fields), Some(parts)) = (fields, parts.filter(|it| !it.is_empty())) else {
            changes.push(RawChange {
                digest: digest(&[entry.get()]),
                route: None,
                body: slice(body, entry),
            });
            continue;
        };
        for change in parts {
            changes.push(RawChange {
                digest: digest(&[
                    fields.raw("id").map_or("", RawValue::get),
                    // Reports about templates say the same thing again at another time.
                    fields.raw("time").map_or("", RawValue::get),
                    change.get(),
                ]),
                route: route(change),
                body: entry_with(&fields, change),
            });
        }
    }
    (!changes.is_empty()).then_some(changes)
}

fn unsplit(body: &Bytes) -> RawChange {
    let mut context = Context::new(&SHA256);
    context.update(b"unsplit");
    context.update(body);
    RawChange {
        digest: finish(context),
        route: None,
        body: body.clone(),
    }
}

/// The number whose change this is.
fn route(change: &RawValue) -> Option<String> {
    let value = Fields::of(change.get())?.object("value")?;
    let route = value.object("metadata")?.text("phone_number_id")?;
    (route.len() <= LONGEST_ROUTE && !route.contains('\0')).then_some(route)
}

/// The entry with this change alone; everything else as it came.
fn entry_with(entry: &Fields<'_>, change: &RawValue) -> Bytes {
    let mut text = String::with_capacity(change.get().len() + 128);
    text.push('{');
    for (key, raw) in entry.iter().filter(|(key, _)| *key != "changes") {
        // A text is always writable as JSON.
        text.push_str(&serde_json::Value::from(key).to_string());
        text.push(':');
        text.push_str(raw.get());
        text.push(',');
    }
    text.push_str("\"changes\":[");
    text.push_str(change.get());
    text.push_str("]}");
    Bytes::from(text)
}

/// The part of the delivery where `part` stands; shares its memory.
fn slice(body: &Bytes, part: &RawValue) -> Bytes {
    let bytes = part.get().as_bytes();
    let start = bytes.as_ptr().addr().checked_sub(body.as_ptr().addr());
    match start {
        Some(start) if start + bytes.len() <= body.len() => body.slice(start..start + bytes.len()),
        _ => Bytes::copy_from_slice(bytes),
    }
}

fn digest(parts: &[&str]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    finish(context)
}

fn finish(context: Context) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn each_change_is_its_entry_with_that_change_byte_by_byte() {
        let delivery = bytes(
            r#"{"object":"whatsapp_business_account","entry":[
                {"id":"77","time": 1790000000,"changes":[
                    {"field":"messages","value":{"metadata":{"phone_number_id":"111"},"x":"Ol\u00e1"}},
                    {"field":"messages","value":{"metadata":{"phone_number_id":222}}}]},
                {"id":"78","changes":[{"field":"account_update","value":{}}]}]}"#,
        );
        let changes = split(&delivery);
        let routes: Vec<_> = changes
            .iter()
            .map(|change| change.route.as_deref())
            .collect();
        assert_eq!(routes, [Some("111"), Some("222"), None]);
        assert_eq!(
            changes[0].body,
            bytes(
                r#"{"id":"77","time":1790000000,"changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"111"},"x":"Ol\u00e1"}}]}"#
            )
        );
    }

    #[test]
    fn the_same_change_has_the_same_digest_in_any_delivery() {
        let change = r#"{"field":"messages","value":{"a":1}}"#;
        let other = r#"{"field":"messages","value":{"a":2}}"#;
        let alone = format!(r#"{{"entry":[{{"id":"7","changes":[{change}]}}]}}"#);
        let among =
            format!(r#"{{"entry":[{{"id":"7","changes":[{other},{change}]}}],"object":"x"}}"#);
        let elsewhere = format!(r#"{{"entry":[{{"id":"8","changes":[{change}]}}]}}"#);
        let digest = split(&bytes(&alone))[0].digest;
        assert_eq!(split(&bytes(&among))[1].digest, digest);
        assert_ne!(split(&bytes(&among))[0].digest, digest);
        assert_ne!(split(&bytes(&elsewhere))[0].digest, digest);
    }

    #[test]
    fn what_cannot_be_split_is_one_change_without_a_route() {
        for odd in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"entry":{}}"#,
            r#"{"entry":[]}"#,
            r#"{"entry":[{"changes":[{"#,
            "\u{feff}{}",
        ] {
            let changes = split(&bytes(odd));
            assert_eq!(changes.len(), 1, "{odd}");
            assert_eq!(changes[0].route, None);
            assert_eq!(changes[0].body, bytes(odd));
        }
        assert_eq!(split(&Bytes::from_static(&[0xFF, 0xFE])).len(), 1);
    }

    const GOOD: &str = r#"{"id":"7","changes":[{"value":{"metadata":{"phone_number_id":"111"}}}]}"#;

    #[test]
    fn an_odd_entry_hides_no_other() {
        for odd in [
            "null",
            "1",
            r#""x""#,
            "[]",
            "{}",
            r#"{"changes":7}"#,
            r#"{"changes":{}}"#,
        ] {
            for entries in [format!("{odd},{GOOD}"), format!("{GOOD},{odd}")] {
                let changes = split(&bytes(&format!(r#"{{"entry":[{entries}]}}"#)));
                let mut routes: Vec<_> = changes.iter().map(|it| it.route.as_deref()).collect();
                routes.sort_unstable();
                assert_eq!(routes, [None, Some("111")], "{entries}");
                let kept = changes.iter().find(|it| it.route.is_none()).unwrap();
                assert_eq!(kept.body, bytes(odd));
            }
        }
    }

    #[test]
    fn broken_text_hides_no_change() {
        let whole = format!(r#"{{"entry":[{GOOD},{{"id":"8","x":"?"}}],"y":"?"}}"#);
        for (place, _) in whole.match_indices('?') {
            let mut broken = whole.clone().into_bytes();
            broken[place] = 0xFF;
            let changes = split(&Bytes::from(broken));
            assert_eq!(changes[0].route.as_deref(), Some("111"));
        }
        for key in [r"\ud800", r"\udc00", r"\u0000"] {
            let delivery = format!(r#"{{"entry":[{GOOD}],"{key}":1}}"#);
            let changes = split(&bytes(&delivery));
            assert_eq!(changes[0].route.as_deref(), Some("111"), "{key}");
            let delivery = format!(r#"{{"entry":[{{"{key}":1}},{GOOD}]}}"#);
            let changes = split(&bytes(&delivery));
            assert_eq!(changes[1].route.as_deref(), Some("111"), "{key}");
        }
    }

    #[test]
    fn an_entry_without_changes_is_kept() {
        let delivery = bytes(r#"{"entry":[{"id":"7","changes":[]},{"id":"8"}]}"#);
        let changes = split(&delivery);
        assert_eq!(changes[0].body, bytes(r#"{"id":"7","changes":[]}"#));
        assert_eq!(changes[1].body, bytes(r#"{"id":"8"}"#));
        assert_ne!(changes[0].digest, changes[1].digest);
    }

    #[test]
    fn an_overlong_route_is_none() {
        let long = "9".repeat(121);
        let delivery = format!(
            r#"{{"entry":[{{"changes":[{{"value":{{"metadata":{{"phone_number_id":"{long}"}}}}}}]}}]}}"#
        );
        assert_eq!(split(&bytes(&delivery))[0].route, None);
    }

    proptest! {
        #[test]
        fn splitting_never_panics_and_never_loses_all(
            body in proptest::collection::vec(any::<u8>(), 0..300)
        ) {
            prop_assert!(!split(&Bytes::from(body)).is_empty());
        }
    }
}
