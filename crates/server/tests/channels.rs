//! Channels through HTTP on a real database: their texts, conditions, secrets and what each act
//! leaves behind.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use common::{Answer, Stage, broken, code};
use serde_json::{Value, json};

const CHANNELS: &str = "/api/v1/channels";

fn channel(number: &str) -> Value {
    json!({
        "name": "Recepção", "provider": "whatsapp-cloud", "phoneNumberId": number,
        "displayPhoneNumber": "+55 11 3003-4000", "appSecret": "first-secret-1",
    })
}

async fn create(stage: &Stage, body: &Value) -> Answer {
    let ask = stage.owner(&stage.clinics.a, "post", CHANNELS).json(body);
    ask.answer().await
}

#[actix_web::test]
async fn a_channels_texts_are_checked_before_they_are_stored() {
    let stage = Stage::new().await;
    for (field, wrong) in [
        ("name", "Rece\u{0}pção"),
        ("name", " "),
        ("name", "\u{200B}"),
        ("name", "\u{202E}oãçpeceR"),
        ("name", "Recepção\n2"),
        ("phoneNumberId", "1065\u{0}"),
        ("phoneNumberId", "1065 4035"),
        ("phoneNumberId", "📞"),
        ("phoneNumberId", ""),
        ("displayPhoneNumber", "+55\u{0}"),
        ("displayPhoneNumber", ""),
        ("appSecret", "first-secret-\u{0}"),
        ("verifyToken", "short"),
    ] {
        let mut body = channel("106540352242922");
        body[field] = wrong.into();
        let refused = create(&stage, &body).await;
        assert_eq!(broken(&refused), [field], "{wrong:?}: {}", refused.body);
    }
    let mut all = channel("\u{0}");
    all["name"] = "".into();
    all["appSecret"] = "x".into();
    let refused = create(&stage, &all).await;
    assert_eq!(
        broken(&refused),
        ["name", "phoneNumberId", "appSecret"],
        "all at once"
    );
    let created = create(&stage, &channel("106540352242922")).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let again = create(&stage, &channel("106540352242922")).await;
    assert_eq!(code(&again), (409, "already-exists"));
}

#[actix_web::test]
async fn conditions_are_heeded_and_each_act_is_audited_without_its_secrets() {
    let stage = Stage::new().await;
    let created = create(&stage, &channel("106540352242922")).await;
    let (path, first) = (created.header("Location"), created.header("ETag"));
    let act = |name: &str| {
        let ask = stage.owner(&stage.clinics.a, "post", &format!("{path}/{name}"));
        match name {
            "rotate-secret" => ask.json(&json!({"appSecret": "second-secret-2"})),
            _ => ask,
        }
    };
    let rotated = act("rotate-secret")
        .header("If-Match", first)
        .answer()
        .await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    assert_ne!(rotated.header("ETag"), first);
    for name in ["rotate-secret", "disable", "enable"] {
        let stale = act(name).header("If-Match", first).answer().await;
        assert_eq!(code(&stale), (412, "precondition-failed"), "{name}");
        let garbage = act(name).header("If-Match", "garbage").answer().await;
        assert_eq!(code(&garbage), (400, "malformed-request"), "{name}");
    }
    let disabled = act("disable").header("If-Match", rotated.header("ETag"));
    assert_eq!(disabled.answer().await.body["status"], "disabled");
    let again = act("disable").answer().await;
    assert_eq!(again.status, 200, "disabling it again changes nothing");
    assert_eq!(act("enable").answer().await.body["status"], "active");
    let told = stage
        .texts(
            "SELECT concat_ws(' ', a.action, a.purpose, string_agg(concat(c ->> 'field', ':',
                    (c ->> 'before') IS NOT NULL, ':', (c ->> 'after') IS NOT NULL), ' ' ORDER BY n))
             FROM app.audit_entries a, jsonb_array_elements(a.changes) WITH ORDINALITY AS x (c, n)
             GROUP BY a.id, a.action, a.purpose ORDER BY a.id",
        )
        .await;
    assert_eq!(
        told,
        [
            "channel.create administration name:f:t provider:f:t phoneNumberId:f:t status:f:t \
             appSecret:f:f verifyToken:f:f displayPhoneNumber:f:t",
            "channel.rotate-secret administration appSecret:f:f",
            "channel.disable administration status:t:t",
            "channel.enable administration status:t:t",
        ]
    );
}
