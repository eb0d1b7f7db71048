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
