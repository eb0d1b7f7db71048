//! Operators' endpoints on a real database: one callback, channels of several clinics.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use common::Stage;
use conversations::Provider;
use conversations::channel::{ChannelName, ExternalId, Secret};
use conversations::error::{BindChannelError, RotateEndpointError};
use conversations::service::BindChannel;
use kernel::{ClinicId, EndpointId, Origin, RequestId};
use serde_json::{Value, json};
use uuid::Uuid;

fn origin() -> Origin {
    Origin::internal(RequestId::from(Uuid::from_u128(77)))
}

fn channel(endpoint: EndpointId, number: &str) -> BindChannel {
    BindChannel {
        endpoint,
        name: ChannelName::parse(&format!("Recepção {number}")).unwrap(),
        external_id: ExternalId::parse(number).unwrap(),
        display_phone: None,
    }
}

async fn one(stage: &Stage, sql: &str) -> String {
    let superuser = stage.base.superuser().await;
    superuser.query_one(sql, &[]).await.unwrap().get(0)
}

#[actix_web::test]
async fn channels_of_two_clinics_share_an_operators_endpoint() {
    let stage = Stage::new().await;
    let (a, b) = (&stage.clinics.a, &stage.clinics.b);
    let endpoints = stage.foundation.shared_endpoints();
    let secret = Secret::new("app-secret-0123456").unwrap();
    let made = endpoints
        .create(origin(), Provider::WhatsappCloud, &secret)
        .await
        .unwrap();
    let bind =
        async |clinic: ClinicId, asked| endpoints.bind_channel(origin(), clinic, asked).await;
    let first = bind(a.id, channel(made.id, "1065")).await.unwrap();
    bind(b.id, channel(made.id, "2065")).await.unwrap();

    // The operator's secret proves the handshake of both.
    let path = http_api::webhooks::webhook_path(Provider::WhatsappCloud, &made.path_key);
    let token = made.verify_token.reveal();
    let query = format!("?hub.mode=subscribe&hub.challenge=42&hub.verify_token={token}");
    let shake = stage.ask("get", &format!("{path}{query}")).answer().await;
    assert_eq!((shake.status, shake.body), (200, json!(42)));

    let read = stage
        .owner(a, "get", &format!("/api/v1/channels/{first}"))
        .answer()
        .await;
    assert_eq!(read.status, 200, "{}", read.body);
    assert_eq!(
        read.body["webhookPath"],
        Value::Null,
        "the path is the operator's to know"
    );

    for (clinic, number) in [(a.id, "1065"), (b.id, "1065")] {
        let taken = bind(clinic, channel(made.id, number)).await;
        assert!(
            matches!(taken, Err(BindChannelError::NumberTaken)),
            "{taken:?}"
        );
    }
    let nowhere = bind(
        ClinicId::from(Uuid::from_u128(404)),
        channel(made.id, "3065"),
    )
    .await;
    assert!(
        matches!(nowhere, Err(BindChannelError::NoSuchClinic)),
        "{nowhere:?}"
    );
    let unknown = bind(
        a.id,
        channel(EndpointId::from(Uuid::from_u128(404)), "3065"),
    )
    .await;
    assert!(
        matches!(unknown, Err(BindChannelError::NoSuchEndpoint)),
        "{unknown:?}"
    );

    let audited = "SELECT count(*)::text FROM app.audit_entries
                   WHERE action = 'channel.bind' AND actor_kind = 'operator'";
    assert_eq!(one(&stage, audited).await, "2");
    let noted = "SELECT count(*)::text FROM app.security_log WHERE kind = 'endpoint.created'";
    assert_eq!(one(&stage, noted).await, "1");
}

#[actix_web::test]
async fn a_clinics_own_endpoint_takes_no_other_clinics_channel() {
    let stage = Stage::new().await;
    let operations = common::operations();
    let create = operations
        .iter()
        .find(|it| it.path == "/api/v1/channels" && it.method == "post")
        .unwrap();
    let ask = stage.owner(&stage.clinics.a, "post", "/api/v1/channels");
    let created = create.prepare(ask).answer().await;
    assert_eq!(created.status, 201, "{}", created.body);
    let own: String = one(&stage, "SELECT id::text FROM app.webhook_endpoints").await;
    let endpoints = stage.foundation.shared_endpoints();
    for clinic in [stage.clinics.a.id, stage.clinics.b.id] {
        let bound = endpoints
            .bind_channel(origin(), clinic, channel(own.parse().unwrap(), "9"))
            .await;
        assert!(
            matches!(bound, Err(BindChannelError::NoSuchEndpoint)),
            "{bound:?}"
        );
    }
}

#[actix_web::test]
async fn an_endpoints_older_secret_stays_good_until_its_overlap_ends() {
    let stage = Stage::new().await;
    let endpoints = stage.foundation.shared_endpoints();
    let secret = |text: &str| Secret::new(text).unwrap();
    let made = endpoints
        .create(
            origin(),
            Provider::WhatsappCloud,
            &secret("first-secret-01"),
        )
        .await
        .unwrap();
    let path = http_api::webhooks::webhook_path(Provider::WhatsappCloud, &made.path_key);
    let status = async |signed_with: &str| {
        let body = json!({"object": "whatsapp_business_account", "entry": []});
        let proof = test_support::webhooks::sign(signed_with, body.to_string().as_bytes());
        let ask = stage
            .ask("post", &path)
            .header("x-hub-signature-256", &proof);
        ask.json(&body).answer().await.status
    };
    let rotate = async |new: &str, hours: u64, token: bool| {
        let overlap = std::time::Duration::from_secs(hours * 3600);
        endpoints
            .rotate_secret(origin(), made.id, &secret(new), overlap, token)
            .await
    };
    assert_eq!(status("first-secret-01").await, 200);

    let kept = rotate("second-secret-02", 24, false).await.unwrap();
    assert!(kept.is_none(), "the verify token stays");
    assert_eq!(status("first-secret-01").await, 200);
    assert_eq!(status("second-secret-02").await, 200);
    assert_eq!(endpoints.list(origin()).await.unwrap()[0].secrets, 2);

    let token = rotate("third-secret-003", 0, true).await.unwrap().unwrap();
    for gone in ["first-secret-01", "second-secret-02"] {
        assert_eq!(status(gone).await, 401, "{gone}");
    }
    assert_eq!(status("third-secret-003").await, 200);
    for (token, expected) in [(token.reveal(), 200), (made.verify_token.reveal(), 403)] {
        let query = format!("?hub.mode=subscribe&hub.challenge=42&hub.verify_token={token}");
        let shake = stage.ask("get", &format!("{path}{query}")).answer().await;
        assert_eq!(shake.status, expected);
    }

    let listed = endpoints.list(origin()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].channels, listed[0].secrets), (0, 1));
    let noted =
        "SELECT count(*)::text FROM app.security_log WHERE kind = 'endpoint.secret-rotated'";
    assert_eq!(one(&stage, noted).await, "2");
}

#[actix_web::test]
async fn an_operator_rotates_no_clinics_own_endpoint_and_no_longer_than_a_week() {
    let stage = Stage::new().await;
    let operations = common::operations();
    let create = operations
        .iter()
        .find(|it| it.path == "/api/v1/channels" && it.method == "post")
        .unwrap();
    let ask = stage.owner(&stage.clinics.a, "post", "/api/v1/channels");
    assert_eq!(create.prepare(ask).answer().await.status, 201);
    let own: String = one(&stage, "SELECT id::text FROM app.webhook_endpoints").await;
    let endpoints = stage.foundation.shared_endpoints();
    assert!(endpoints.list(origin()).await.unwrap().is_empty());
    let secret = Secret::new("another-secret-1").unwrap();
    let rotate = async |days: u64| {
        let overlap = std::time::Duration::from_secs(days * 86_400);
        endpoints
            .rotate_secret(origin(), own.parse().unwrap(), &secret, overlap, false)
            .await
    };
    let refused = rotate(1).await;
    assert!(
        matches!(refused, Err(RotateEndpointError::NoSuchEndpoint)),
        "{refused:?}"
    );
    let refused = rotate(8).await;
    assert!(
        matches!(refused, Err(RotateEndpointError::OverlapOutOfRange)),
        "{refused:?}"
    );
}
