//! What holds for any bytes at all: the decoder answers, loses nothing it was given, and gives
//! the database nothing that it refuses.

#![allow(clippy::unwrap_used, reason = "a test fails where it is surprised")]

use bytes::Bytes;
use chrono::DateTime;
use conversations::InboundChange;
use conversations::channel::Provider;
use conversations::ports::{StoredChange, WebhookDecoder as _};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use whatsapp::CloudDecoder;

fn decode(body: &[u8]) -> InboundChange {
    CloudDecoder.decode(&StoredChange {
        id: uuid::Uuid::nil().into(),
        channel: uuid::Uuid::nil().into(),
        provider: Provider::WhatsappCloud,
        received_at: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
        body: Bytes::copy_from_slice(body),
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("5511987650001")),
        Just(json!("wamid.1")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((any_key(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 34] = [
        "id",
        "from",
        "to",
        "from_user_id",
        "timestamp",
        "type",
        "text",
        "body",
        "image",
        "audio",
        "document",
        "sticker",
        "location",
        "contacts",
        "interactive",
        "nfm_reply",
        "response_json",
        "button",
        "reaction",
        "message_id",
        "emoji",
        "edit",
        "revoke",
        "original_message_id",
        "message",
        "system",
        "wa_id",
        "user_id",
        "context",
        "errors",
        "referral",
        "group_id",
        "order",
        "status",
    ];
    prop_oneof![
        9 => proptest::sample::select(&KNOWN[..]).prop_map(str::to_owned),
        1 => ".{0,6}",
    ]
}

fn facts(change: &InboundChange) -> usize {
    let alone = change
        .amendments
        .iter()
        .filter(|one| !matches!(one.amend, conversations::inbound::Amend::React { .. }))
        .count();
    change.messages.len() + change.receipts.len() + alone + change.skipped.len()
}

proptest! {
    #[test]
    fn any_bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let facts = decode(&body);
        prop_assert!(facts.is_empty());
        prop_assert!(!facts.skipped.is_empty());
    }

    #[test]
    fn each_element_becomes_a_fact_or_is_counted(
        messages in proptest::collection::vec(any_json(), 0..4),
        echoes in proptest::collection::vec(any_json(), 0..3),
        statuses in proptest::collection::vec(any_json(), 0..3),
        contacts in any_json(),
        errors in any_json(),
    ) {
        let elements = messages.len() + echoes.len() + statuses.len();
        let change = json!({"changes": [{"field": "messages", "value": {
            "messages": messages, "message_echoes": echoes, "statuses": statuses,
            "contacts": contacts, "errors": errors,
        }}]});
        let decoded = decode(change.to_string().as_bytes());
        prop_assert_eq!(facts(&decoded), elements);
        for message in &decoded.messages {
            prop_assert!(!message.order.provider_id.is_empty());
            prop_assert!(message.order.provider_id.len() <= 255);
            prop_assert!(!message.remote.jid.is_empty());
            prop_assert!(message.remote.jid.len() <= 255);
            let content = serde_json::to_string(&message.content).unwrap();
            prop_assert!(!content.contains("\\u0000"));
            prop_assert!(!message.body.as_deref().unwrap_or_default().contains('\0'));
            prop_assert!(!message.order.provider_id.contains('\0'));
        }
    }

    #[test]
    fn the_same_bytes_are_the_same_facts(change in any_json()) {
        let body = json!({"changes": [{"value": {"messages": [change]}}]}).to_string();
        prop_assert_eq!(decode(body.as_bytes()), decode(body.as_bytes()));
    }

    #[test]
    fn a_good_message_beside_any_other_is_kept(odd in any_json()) {
        let good = json!({"from": "5511987650001", "id": "wamid.good", "timestamp": "1789000000",
                          "type": "text", "text": {"body": "oi"}});
        let body = json!({"changes": [{"value": {"messages": [odd, good]}}]}).to_string();
        let decoded = decode(body.as_bytes());
        let kept = decoded.messages.iter().any(|message| {
            message.order.provider_id == "wamid.good" && message.body.as_deref() == Some("oi")
        });
        prop_assert!(kept);
    }

    #[test]
    fn whatever_is_split_off_can_be_decoded(value in any_json()) {
        let delivery = json!({"entry": [{"id": "1", "changes": [{"value": value}]}]}).to_string();
        for raw in CloudDecoder.split(&Bytes::from(delivery)) {
            decode(&raw.body);
        }
    }
}

#[test]
fn deep_nesting_is_no_stack_overflow() {
    let deep = format!(
        r#"{{"changes":[{{"value":{{"messages":[{{"from":"5511987650001","id":"wamid.deep","type":"x","x":{}1{}}}]}}}}]}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let decoded = decode(deep.as_bytes());
    assert_eq!(decoded.messages.len(), 1);
    let whole = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(CloudDecoder.split(&Bytes::from(whole)).len(), 1);
}
