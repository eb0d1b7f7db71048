//! New master keys over a database whose values older ones sealed.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::sync::Arc;

use common::Stage;
use kernel::ports::Resealed;
use kernel::{Origin, RequestId};
use security::{KeyRing, MasterKey};
use serde_json::{Value, json};
use server::wiring::Foundation;
use uuid::Uuid;

fn origin() -> Origin {
    Origin::internal(RequestId::from(Uuid::from_u128(78)))
}

/// The test's own key, which is version 1, and newer ones.
fn ring(versions: &[u16], lookup: Option<u16>) -> Arc<KeyRing> {
    let key = |version: &u16| MasterKey::new(*version, &[6 + u8::try_from(*version).unwrap(); 32]);
    let keys = versions.iter().map(|it| key(it).unwrap()).collect();
    Arc::new(KeyRing::new(keys, lookup).unwrap())
}

/// What `keys rotate` does with these keys: secrets, and documents of both clinics.
async fn rotate(stage: &Stage, keys: Arc<KeyRing>) -> (Resealed, Resealed) {
    let foundation = Foundation {
        keys,
        ..stage.foundation.clone()
    };
    let secrets = foundation.shared_endpoints().reseal(origin()).await;
    let mut documents = Resealed::default();
    for clinic in [stage.clinics.a.id, stage.clinics.b.id] {
        let some = foundation.documents().reseal(origin(), clinic).await;
        documents += some.unwrap();
    }
    (secrets.unwrap(), documents)
}

fn resealed(anew: u64, current: u64, unreadable: u64) -> Resealed {
    Resealed {
        anew,
        current,
        unreadable,
    }
}

/// Every sealed column's master key versions, and how often each is there.
async fn versions(stage: &Stage) -> Vec<(i32, i64)> {
    let sql = "SELECT get_byte(sealed, 1) * 256 + get_byte(sealed, 2), count(*) FROM (
            SELECT sealed FROM app.webhook_endpoint_secrets
            UNION ALL SELECT verify_token_sealed FROM app.webhook_endpoints
            UNION ALL SELECT document_sealed FROM app.contacts WHERE document_kind IS NOT NULL
        ) x (sealed) GROUP BY 1 ORDER BY 1";
    let rows = stage.base.superuser().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn macs(stage: &Stage) -> Vec<Vec<u8>> {
    let sql = "SELECT document_mac FROM app.contacts WHERE document_kind IS NOT NULL ORDER BY id";
    let rows = stage.base.superuser().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// A channel of its own and two documents for one clinic, one document for the other.
async fn with_values() -> (Stage, Vec<String>) {
    let stage = Stage::new().await;
    let operations = common::operations();
    let create = operations
        .iter()
        .find(|it| it.path == "/api/v1/channels" && it.method == "post")
        .unwrap();
    let ask = stage.owner(&stage.clinics.a, "post", "/api/v1/channels");
    assert_eq!(create.prepare(ask).answer().await.status, 201);
    let mut contacts = Vec::new();
    for (clinic, document) in [
        (&stage.clinics.a, "529.982.247-25"),
        (&stage.clinics.a, "111.444.777-35"),
        (&stage.clinics.b, "529.982.247-25"),
    ] {
        let body = json!({ "name": "Ana", "document": document });
        let ask = stage.owner(clinic, "post", "/api/v1/contacts").json(&body);
        let made = ask.answer().await;
        assert_eq!(made.status, 201, "{}", made.body);
        contacts.push(made.body["id"].as_str().unwrap().to_owned());
    }
    (stage, contacts)
}

#[actix_web::test]
async fn a_new_master_key_seals_all_that_is_stored_and_blinds_no_look_up() {
    let (stage, contacts) = with_values().await;
    let before = macs(&stage).await;
    assert_eq!(versions(&stage).await, [(1, 5)]);
    let path = format!("/api/v1/contacts/{}", contacts[0]);
    let shown = stage.owner(&stage.clinics.a, "get", &path).answer().await;

    let both = || ring(&[1, 2], None);
    let first = rotate(&stage, both()).await;
    assert_eq!(first, (resealed(2, 0, 0), resealed(3, 0, 0)));
    assert_eq!(versions(&stage).await, [(2, 5)]);
    assert_eq!(macs(&stage).await, before);
    let again = rotate(&stage, both()).await;
    assert_eq!(again, (resealed(0, 2, 0), resealed(0, 3, 0)));
    let noted = "SELECT count(*) FROM app.security_log WHERE kind = 'keys.rotated'";
    let superuser = stage.base.superuser().await;
    let noted: i64 = superuser.query_one(noted, &[]).await.unwrap().get(0);
    assert_eq!(noted, 2);

    // A server with the new keys shows the same, with the same version and time.
    let stage = stage.with_keys(both()).await;
    let now = stage.owner(&stage.clinics.a, "get", &path).answer().await;
    assert_eq!((now.status, &now.body), (200, &shown.body));
}

#[actix_web::test]
async fn an_older_key_may_be_dropped_once_the_hashes_are_computed_anew() {
    let (stage, contacts) = with_values().await;
    let before = macs(&stage).await;
    let moved = rotate(&stage, ring(&[1, 2], Some(2))).await;
    assert_eq!(moved, (resealed(2, 0, 0), resealed(3, 0, 0)));
    assert!(macs(&stage).await.iter().all(|mac| !before.contains(mac)));
    let alone = rotate(&stage, ring(&[2], None)).await;
    assert_eq!(alone, (resealed(0, 2, 0), resealed(0, 3, 0)));

    let stage = stage.with_keys(ring(&[2], None)).await;
    let body = json!({ "name": "Outra", "document": "529.982.247-25" });
    let ask = stage.owner(&stage.clinics.a, "post", "/api/v1/contacts");
    let refused = ask.json(&body).answer().await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(
        refused.body.to_string().contains(&contacts[0]),
        "{}",
        refused.body
    );
    let path = format!("/api/v1/contacts/{}", contacts[1]);
    let shown = stage.owner(&stage.clinics.a, "get", &path).answer().await;
    assert_ne!(shown.body["document"], Value::Null, "{}", shown.body);
}

#[actix_web::test]
async fn what_no_key_opens_is_counted_and_left_alone() {
    let (stage, _) = with_values().await;
    let before = macs(&stage).await;
    let lost = rotate(&stage, ring(&[2], None)).await;
    assert_eq!(lost, (resealed(0, 0, 2), resealed(0, 0, 3)));
    assert_eq!(versions(&stage).await, [(1, 5)]);
    assert_eq!(macs(&stage).await, before);
}
