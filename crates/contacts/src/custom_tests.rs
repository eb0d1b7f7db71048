//! Values against definitions.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use chrono::DateTime;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::field::{FieldLabel, FieldOptions};

fn field(key: &str, kind: FieldKind, is_required: bool) -> ContactField {
    let option = |key: &str| {
        let label = FieldLabel::parse(key).unwrap();
        (FieldKey::parse(key).unwrap(), label)
    };
    let options = if kind.is_choice() {
        FieldOptions::new(vec![option("a"), option("b"), option("c")]).unwrap()
    } else {
        FieldOptions::default()
    };
    ContactField {
        id: "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e".parse().unwrap(),
        key: FieldKey::parse(key).unwrap(),
        label: FieldLabel::parse(key).unwrap(),
        kind,
        options,
        is_required,
        place: 0,
        version: 1,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        archived_at: None,
    }
}

fn of(kind: FieldKind, value: Value) -> Result<Value, &'static str> {
    let given = BTreeMap::from([("f".to_owned(), value)]);
    let change = read(&[field("f", kind, false)], given, Writing::Some);
    match change {
        Ok(change) => Ok(CustomFields::default().changed(&change).to_json()["f"].clone()),
        Err(broken) => {
            assert_eq!(broken[0].key.as_ref().map(FieldKey::as_str), Some("f"));
            Err(broken[0].code)
        }
    }
}

#[test]
fn each_kind_takes_its_own_values_alone() {
    use FieldKind as K;
    for (kind, value, kept) in [
        (K::Text, json!("x\ny"), json!("x\ny")),
        (K::Integer, json!(-7), json!(-7)),
        (K::Decimal, json!("007.50"), json!("7.50")),
        (K::Decimal, json!("-0.00"), json!("0.00")),
        (K::Boolean, json!(false), json!(false)),
        (K::Date, json!("2024-02-29"), json!("2024-02-29")),
        (K::SingleChoice, json!("b"), json!("b")),
        (K::MultiChoice, json!(["c", "a"]), json!(["c", "a"])),
    ] {
        assert_eq!(of(kind, value), Ok(kept), "{kind:?}");
    }
    for (kind, value, code) in [
        (K::Text, json!(1), "type"),
        (K::Text, json!(""), "length"),
        (K::Text, json!("x".repeat(2_001)), "length"),
        (K::Text, json!("a\u{0}"), "length"),
        (K::Integer, json!(1.5), "type"),
        (K::Integer, json!("1"), "type"),
        (K::Integer, json!(9_007_199_254_740_992_i64), "type"),
        (K::Decimal, json!(1.5), "type"),
        (K::Decimal, json!("1,5"), "format"),
        (K::Decimal, json!("1."), "format"),
        (K::Decimal, json!(".5"), "format"),
        (K::Decimal, json!("1e3"), "format"),
        (K::Decimal, json!("1234567890123456"), "format"),
        (K::Boolean, json!("true"), "type"),
        (K::Date, json!("2023-02-29"), "format"),
        (K::Date, json!("+2024-02-29"), "format"),
        (K::Date, json!("2024-2-29"), "format"),
        (K::Date, json!("0000-01-01"), "format"),
        (K::Date, json!(20_240_229), "type"),
        (K::SingleChoice, json!("d"), "unknown-value"),
        (K::SingleChoice, json!(["a"]), "unknown-value"),
        (K::MultiChoice, json!(["a", "d"]), "unknown-value"),
        (K::MultiChoice, json!(["a", "a"]), "repeated"),
        (K::MultiChoice, json!([]), "length"),
        (K::MultiChoice, json!("a"), "type"),
    ] {
        assert_eq!(of(kind, value.clone()), Err(code), "{kind:?} {value}");
    }
}

#[test]
fn a_required_field_must_be_there_at_first_and_is_never_emptied() {
    let fields = [
        field("must", FieldKind::Text, true),
        field("may", FieldKind::Text, false),
    ];
    let broken = |given: Value, writing| {
        let given = CustomFields::kept(given).0;
        let broken = read(&fields, given, writing).err().unwrap_or_default();
        let key = |it: BrokenField| it.key.map(|key| key.as_str().to_owned());
        broken.into_iter().filter_map(key).collect::<Vec<_>>()
    };
    assert_eq!(broken(json!({}), Writing::All), ["must"]);
    assert_eq!(broken(json!({"must": null}), Writing::All), ["must"]);
    assert_eq!(broken(json!({"must": 1}), Writing::All), ["must"]);
    assert_eq!(broken(json!({"must": null}), Writing::Some), ["must"]);
    assert!(broken(json!({"must": "x"}), Writing::All).is_empty());
    assert!(broken(json!({"may": null}), Writing::Some).is_empty());
}

#[test]
fn what_is_archived_or_unknown_takes_no_value_and_is_not_repeated() {
    let mut archived = field("old", FieldKind::Text, true);
    archived.archived_at = Some(DateTime::UNIX_EPOCH);
    let given = BTreeMap::from([
        ("old".to_owned(), json!("x")),
        ("Maria Canaria".to_owned(), json!("x")),
    ]);
    let broken = read(&[archived], given, Writing::All).unwrap_err();
    let keys: Vec<_> = broken
        .iter()
        .map(|it| it.key.as_ref().map(FieldKey::as_str))
        .collect();
    assert_eq!(keys, [None, Some("old")]);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,30}".prop_map(Value::from),
        "-?[0-9]{1,16}(\\.[0-9]{1,7})?".prop_map(Value::from),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}".prop_map(Value::from),
        "[abcd]".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        proptest::collection::vec(inner, 0..4).prop_map(Value::from)
    })
}

proptest! {
    #[test]
    fn what_is_kept_is_read_again_and_stays_the_same(at in 0_usize..7, value in any_json()) {
        let kind = FieldKind::ALL[at];
        if let Ok(kept) = of(kind, value) {
            prop_assert_eq!(of(kind, kept.clone()), Ok(kept));
        }
    }

    #[test]
    fn no_value_makes_it_panic_or_is_repeated_in_a_rule(
        at in 0_usize..7,
        key in "\\PC{0,20}",
        value in any_json(),
    ) {
        let fields = [field("f", FieldKind::ALL[at], true)];
        let given = BTreeMap::from([(key.clone(), value)]);
        if let Err(broken) = read(&fields, given, Writing::All) {
            for it in broken {
                prop_assert!(key.chars().count() < 5 || !it.rule.contains(&key));
            }
        }
    }

    #[test]
    fn a_decimal_keeps_its_value(whole in 0_u64..1_000_000_000, part in "[0-9]{1,6}", minus: bool) {
        let text = format!("{}00{whole}.{part}", if minus { "-" } else { "" });
        let kept = decimal(&text).unwrap();
        let as_number = |text: &str| text.parse::<f64>().unwrap();
        prop_assert!((as_number(&kept) - as_number(&text)).abs() < 1e-9);
    }
}
