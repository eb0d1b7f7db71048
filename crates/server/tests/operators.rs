//! Operators' endpoints on a real database: one callback, channels of several clinics.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use common::Stage;
use conversations::Provider;
use conversations::channel::Secret;
use conversations::error::BindChannelError;
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
        name: format!("Recepção {number}"),
        external_id: number.to_owned(),
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
