//! `Idempotency-Key` on every operation that takes one, through the whole server.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use common::{Answer, Operation, Stage, code, operations};
use futures_util::future::join_all;
use serde_json::{Value, json};

const KEY: &str = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"";
const CONTACTS: &str = "/api/v1/contacts";

/// The operations that say they take a key, and whose path names no record.
fn keyed() -> Vec<Operation> {
    let takes = |operation: &Operation| {
        let parameters = operation.parts.get("parameters").and_then(Value::as_array);
        let mut parameters = parameters.into_iter().flatten();
        parameters.any(|parameter| parameter["name"] == "Idempotency-Key")
    };
    operations()
        .into_iter()
        .filter(|operation| takes(operation) && !operation.has_path_parameter())
        .collect()
}

async fn post(stage: &Stage, operation: &Operation, key: &str) -> Answer {
    let ask = stage.owner(&stage.clinics.a, "post", &operation.path);
    let ask = operation.prepare(ask).header("Idempotency-Key", key);
    ask.answer().await
}

#[actix_web::test]
async fn every_operation_that_takes_a_key_answers_its_repetition_byte_for_byte() {
    let stage = Stage::new().await;
    let keyed = keyed();
    assert!(keyed.len() >= 3);
    for operation in keyed {
        let name = &operation.path;
        let first = post(&stage, &operation, KEY).await;
        // 202 where what is made is not told, as with an invitation.
        let made = [201, 202].contains(&first.status);
        assert!(made, "{name}: {} {}", first.status, first.body);
        assert_eq!(first.header("idempotency-replayed"), "", "{name}");
        let again = post(&stage, &operation, KEY).await;
        assert_eq!(again.status, first.status, "{name}");
        assert_eq!(again.header("idempotency-replayed"), "true", "{name}");
        assert_eq!(again.bytes, first.bytes, "{name}");
        for header in ["location", "etag", "content-type"] {
            assert_eq!(again.header(header), first.header(header), "{name}");
        }
        // As a bare word it is the same key.
        let bare = post(&stage, &operation, KEY.trim_matches('"')).await;
        assert_eq!(bare.bytes, first.bytes, "{name}");
        // And it stands under its address, where it has one.
        if first.status == 201 {
            let own = stage.owner(&stage.clinics.a, "get", first.header("location"));
            assert_eq!(own.answer().await.status, 200, "{name}");
        }

        // With another text in it.
        let media = &operation.parts["requestBody"]["content"]["application/json"];
        let mut other = media["example"].clone();
        let texts = ["name", "label", "text"];
        let text = texts.into_iter().find(|it| other.get(it).is_some());
        other[text.unwrap_or_else(|| panic!("{name}: say what to change"))] = json!("Outro Nome");
        let ask = stage.owner(&stage.clinics.a, "post", name).json(&other);
        let refused = ask.header("Idempotency-Key", KEY).answer().await;
        assert_eq!(code(&refused), (422, "idempotency-key-reused"), "{name}");
    }
}

#[actix_web::test]
async fn a_request_is_the_same_whatever_the_order_of_its_keys() {
    let stage = Stage::new().await;
    let mut answers = Vec::new();
    for body in [
        r#"{"name": "Ana Lima", "tags": ["a"], "source": "site"}"#,
        r#"{"source":"site","tags":["a"],"name":"Ana Lima"}"#,
    ] {
        let ask = stage.owner(&stage.clinics.a, "post", CONTACTS).raw(body);
        answers.push(ask.header("Idempotency-Key", "k").answer().await);
    }
    assert_eq!(answers[0].status, 201);
    assert_eq!(answers[0].bytes, answers[1].bytes);
}

#[actix_web::test]
async fn of_requests_at_once_with_one_key_one_takes_effect() {
    let stage = Stage::new().await;
    let body = json!({"name": "Ana Lima"});
    let all = (0..12).map(|_| async {
        loop {
            let ask = stage.owner(&stage.clinics.a, "post", CONTACTS).json(&body);
            let answer = ask.header("Idempotency-Key", "k").answer().await;
            if answer.status == 201 {
                return answer;
            }
            assert_eq!(code(&answer), (409, "idempotency-in-flight"));
            assert_eq!(answer.header("retry-after"), "1");
        }
    });
    let all = join_all(all).await;
    assert!(all.iter().all(|answer| answer.bytes == all[0].bytes));
    let first = |answer: &&Answer| answer.header("idempotency-replayed").is_empty();
    assert_eq!(all.iter().filter(first).count(), 1);
    let made = stage.texts("SELECT count(*)::text FROM app.contacts").await;
    assert_eq!(made, ["1"]);
}

#[actix_web::test]
async fn who_may_not_create_learns_nothing_of_a_key() {
    let stage = Stage::new().await;
    let body = json!({"name": "Ana Lima"});
    let ask = stage.owner(&stage.clinics.a, "post", CONTACTS).json(&body);
    let made = ask.header("Idempotency-Key", "k").answer().await;
    assert_eq!(made.status, 201);
    stage
        .member(
            &stage.clinics.a,
            "leitora@example.com",
            clinics::Role::Readonly,
        )
        .await;
    let token = stage.token_of("leitora@example.com").await;
    for key in ["k", "not a key"] {
        let ask = stage.acting(&token, &stage.clinics.a, "post", CONTACTS);
        let refused = ask
            .json(&body)
            .header("Idempotency-Key", key)
            .answer()
            .await;
        assert_eq!(code(&refused), (403, "forbidden"), "{key}");
    }
    let ask = stage.owner(&stage.clinics.a, "post", CONTACTS).json(&body);
    let refused = ask.header("Idempotency-Key", "not a key").answer().await;
    assert_eq!(code(&refused), (400, "malformed-request"));
}

#[actix_web::test]
async fn two_clinics_may_send_one_key() {
    let stage = Stage::new().await;
    let body = json!({"name": "Ana Lima"});
    let mut ids = Vec::new();
    for clinic in [&stage.clinics.a, &stage.clinics.b] {
        let ask = stage.owner(clinic, "post", CONTACTS).json(&body);
        let made = ask.header("Idempotency-Key", "k").answer().await;
        assert_eq!(made.header("idempotency-replayed"), "");
        ids.push(made.body["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

#[actix_web::test]
async fn the_verify_token_of_a_channel_is_shown_again_and_lies_nowhere_in_the_open() {
    let stage = Stage::new().await;
    let operations = keyed();
    let channels = operations
        .iter()
        .find(|operation| operation.path.ends_with("/channels"))
        .unwrap();
    let first = post(&stage, channels, KEY).await;
    let token = first.body["verifyToken"].as_str().unwrap().to_owned();
    let again = post(&stage, channels, KEY).await;
    assert_eq!(again.body["verifyToken"], token.as_str());
    let kept = stage
        .texts("SELECT encode(answer, 'escape') FROM app.idempotency_keys")
        .await;
    assert!(kept.len() == 1 && !kept[0].contains(&token));
}
