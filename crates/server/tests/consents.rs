//! Consents and their texts, through HTTP on a real database.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use common::{Answer, Stage, broken, code};
use futures_util::future::join_all;
use serde_json::{Value, json};

const TEXTS: &str = "/api/v1/consent-texts";

async fn post(stage: &Stage, path: &str, body: &Value) -> Answer {
    let ask = stage.owner(&stage.clinics.a, "post", path).json(body);
    ask.answer().await
}

async fn get(stage: &Stage, path: &str) -> Answer {
    stage.owner(&stage.clinics.a, "get", path).answer().await
}

/// A contact's path to its consents.
async fn consents(stage: &Stage) -> String {
    let made = post(stage, "/api/v1/contacts", &json!({"name": "Helena Dias"})).await;
    format!("{}/consents", made.header("location"))
}

fn revoke(path: &str, consent: &Answer) -> String {
    format!("{path}/{}/revoke", consent.body["id"].as_str().unwrap())
}

#[actix_web::test]
async fn what_is_in_force_follows_from_what_was_given_and_revoked() {
    let stage = Stage::new().await;
    let path = consents(&stage).await;
    let empty = get(&stage, &path).await;
    assert_eq!(empty.body, json!({"inForce": [], "data": []}));

    let whatsapp = json!({"purpose": "marketing", "channel": "whatsapp", "proof": "folha 12",
        "givenAt": "2026-01-02T03:04:05.123456789Z"});
    let given = post(&stage, &path, &whatsapp).await;
    assert_eq!(given.status, 201, "{}", given.body);
    assert_eq!(given.body["given"]["at"], "2026-01-02T03:04:05.123456Z");
    assert_eq!(
        given.body["given"]["recordedBy"],
        stage.clinics.a.owner.to_string()
    );
    let email = json!({"purpose": "marketing", "channel": "email"});
    post(&stage, &path, &email).await;
    // Asked again, with a newer text: both fall with one revocation.
    post(&stage, &path, &whatsapp).await;
    let all = get(&stage, &path).await;
    assert_eq!(all.body["data"].as_array().unwrap().len(), 3);
    assert_eq!(all.body["data"][2], given.body);
    assert_eq!(
        all.body["inForce"],
        json!([{"purpose": "marketing", "channel": "whatsapp"},
               {"purpose": "marketing", "channel": "email"}])
    );

    let revoked = post(&stage, &revoke(&path, &given), &json!({})).await;
    assert_eq!(
        (revoked.status, &revoked.body["state"]),
        (200, &json!("revoked"))
    );
    let after = get(&stage, &path).await;
    assert_eq!(
        after.body["inForce"],
        json!([{"purpose": "marketing", "channel": "email"}])
    );
    assert_eq!(
        after.body["data"].as_array().unwrap().len(),
        3,
        "nothing is lost"
    );
    assert_eq!(after.body["data"][2], revoked.body);
    // Again it changes nothing; and what was revoked may be given anew.
    let again = post(&stage, &revoke(&path, &given), &json!({"proof": "x"})).await;
    assert_eq!(again.body, revoked.body);
    post(&stage, &path, &whatsapp).await;
    let anew = get(&stage, &path).await;
    assert_eq!(anew.body["inForce"].as_array().unwrap().len(), 2);
}

#[actix_web::test]
async fn nothing_of_a_consent_can_be_changed_or_deleted_by_the_server() {
    let stage = Stage::new().await;
    let path = consents(&stage).await;
    let body = json!({"purpose": "research", "channel": "any"});
    assert_eq!(post(&stage, &path, &body).await.status, 201);
    let app = stage.base.app().await;
    let clinic = stage.clinics.a.id;
    for table in ["contact_consents", "consent_texts"] {
        for statement in [
            format!("UPDATE app.{table} SET clinic_id = clinic_id"),
            format!("DELETE FROM app.{table}"),
        ] {
            let whole = format!("BEGIN; SET LOCAL app.clinic_id = '{clinic}'; {statement}");
            let refused = app.batch_execute(&whole).await.unwrap_err();
            let state = refused.code().unwrap().code().to_owned();
            assert_eq!(state, "42501", "{statement}");
            app.batch_execute("ROLLBACK").await.unwrap();
        }
    }
}

#[actix_web::test]
async fn of_revocations_at_once_one_is_written() {
    let stage = Stage::new().await;
    let path = consents(&stage).await;
    let body = json!({"purpose": "surveys", "channel": "sms"});
    let given = post(&stage, &path, &body).await;
    let revoke = revoke(&path, &given);
    let none = json!({});
    let all = join_all((0..8).map(|_| post(&stage, &revoke, &none))).await;
    assert!(
        all.iter()
            .all(|answer| answer.status == 200 && answer.body == all[0].body)
    );
    let rows = stage
        .texts("SELECT count(*)::text FROM app.contact_consents WHERE revokes IS NOT NULL")
        .await;
    assert_eq!(rows, ["1"]);
    let entries = stage
        .texts("SELECT action FROM app.audit_entries WHERE resource_kind = 'consent' ORDER BY id")
        .await;
    assert_eq!(entries, ["consent.give", "consent.revoke"]);
}

#[actix_web::test]
async fn texts_have_versions_and_a_consent_names_one_of_its_purpose() {
    let stage = Stage::new().await;
    let path = consents(&stage).await;
    let text = |text: &str| json!({"purpose": "marketing", "text": text});
    let first = post(&stage, TEXTS, &text("Autorizo.")).await;
    assert_eq!((first.status, &first.body["version"]), (201, &json!(1)));
    let texts: Vec<Value> = (0..4)
        .map(|number| text(&format!("Autorizo {number}.")))
        .collect();
    let more = join_all(texts.iter().map(|text| post(&stage, TEXTS, text))).await;
    let mut versions: Vec<i64> = more
        .iter()
        .map(|answer| answer.body["version"].as_i64().unwrap())
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4, 5]);
    let listed = get(&stage, TEXTS).await;
    assert_eq!(listed.body["data"][0]["version"], 5);

    let mut body = json!({"purpose": "marketing", "channel": "any", "textId": first.body["id"]});
    let given = post(&stage, &path, &body).await;
    assert_eq!(given.body["textVersion"], 1);
    assert_eq!(get(&stage, &path).await.body["data"][0], given.body);
    body["purpose"] = json!("research");
    let refused = post(&stage, &path, &body).await;
    assert_eq!(code(&refused), (422, "rule-violated"));
    assert_eq!(refused.body["invalidParams"][0]["name"], "textId");
    // Nor is another clinic's text one.
    let other = stage
        .owner(&stage.clinics.b, "post", TEXTS)
        .json(&text("x"));
    let other = other.answer().await;
    let body = json!({"purpose": "marketing", "channel": "any", "textId": other.body["id"]});
    assert_eq!(
        code(&post(&stage, &path, &body).await),
        (422, "rule-violated")
    );
}

#[actix_web::test]
async fn instants_that_cannot_be_are_refused() {
    let stage = Stage::new().await;
    let path = consents(&stage).await;
    for at in ["2999-01-01T00:00:00Z", "1899-12-31T00:00:00Z"] {
        let body = json!({"purpose": "marketing", "channel": "any", "givenAt": at});
        let refused = post(&stage, &path, &body).await;
        assert_eq!(code(&refused), (422, "rule-violated"), "{at}");
        assert_eq!(refused.body["invalidParams"][0]["name"], "givenAt");
    }
    let body = json!({"purpose": "marketing", "channel": "any", "givenAt": "2026-02-01T00:00:00Z"});
    let given = post(&stage, &path, &body).await;
    let before = json!({"revokedAt": "2026-01-01T00:00:00Z"});
    let refused = post(&stage, &revoke(&path, &given), &before).await;
    assert_eq!(refused.body["invalidParams"][0]["name"], "revokedAt");
    let wrong = json!({"purpose": "marketing", "channel": "any", "proof": " "});
    assert_eq!(broken(&post(&stage, &path, &wrong).await), ["proof"]);
}

#[actix_web::test]
async fn a_consent_is_recorded_once_for_its_key_and_found_under_its_contact_alone() {
    let stage = Stage::new().await;
    let (path, another) = (consents(&stage).await, consents(&stage).await);
    let body = json!({"purpose": "marketing", "channel": "any"});
    let keyed = async |path: &str| {
        let ask = stage.owner(&stage.clinics.a, "post", path).json(&body);
        ask.header("Idempotency-Key", "k").answer().await
    };
    let first = keyed(&path).await;
    assert_eq!(keyed(&path).await.bytes, first.bytes);
    let other = keyed(&another).await;
    assert_eq!(code(&other), (422, "idempotency-key-reused"));
    let of_another = post(&stage, &revoke(&another, &first), &json!({})).await;
    assert_eq!(code(&of_another), (404, "not-found"));
    let told = stage.texts("SELECT a::text FROM app.audit_entries a").await;
    assert!(told.iter().all(|row| !row.contains("marketing")));
    let events = stage.texts("SELECT payload::text FROM app.outbox").await;
    assert!(events.iter().all(|row| !row.contains("marketing")));
}
