//! Channels on PostgreSQL: created with an endpoint of their own, read by their clinic alone, their
//! secrets rotated with an overlap, disabled and enabled.

#![allow(clippy::unwrap_used, reason = "a test fails where it is surprised")]

use std::sync::Arc;

use chrono::TimeDelta;
use conversations::channel::{
    ChannelName, CreateChannel, DisplayPhone, ExternalId, Provider, Secret,
};
use conversations::error::{
    AccessError, CreateChannelError, ReceiveError, RotateSecretError, SwitchChannelError,
};
use conversations::ports::{Decoders, Handshake};
use conversations::{ChannelStatus, Channels};
use diesel_postgres::audit::PgAuditTrail;
use diesel_postgres::conversations::PgChannelStore;
use kernel::{Action, Gate, Origin, PageLimit, Permissions, RequestId, TenantContext};
use serde_json::json;
use test_support::webhooks::sign;
use test_support::{Clinic, TestDatabase, TwoClinics, WebhookBench, two_clinics};
use uuid::Uuid;
use whatsapp::CloudDecoder;

struct Scene {
    base: TestDatabase,
    clinics: TwoClinics,
    bench: WebhookBench,
    channels: Channels,
}

async fn scene() -> Scene {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let bench = WebhookBench::new(&base).await;
    let store = PgChannelStore::new(bench.database.clone(), bench.tools.clone());
    let trail = Arc::new(PgAuditTrail::new(bench.database.clone()));
    let channels = Channels::new(
        Arc::new(store),
        Decoders::new(vec![Arc::new(CloudDecoder)]),
        Gate::new(trail, bench.tools.clone()),
        bench.tools.clone(),
    );
    Scene {
        base,
        clinics,
        bench,
        channels,
    }
}

fn asked(number: &str) -> CreateChannel {
    CreateChannel {
        provider: Provider::WhatsappCloud,
        name: ChannelName::parse("Recepção").unwrap(),
        external_id: ExternalId::parse(number).unwrap(),
        display_phone: Some(DisplayPhone::parse("+551140020001").unwrap()),
        secret: Secret::new("first-app-secret").unwrap(),
        verify_token: None,
    }
}

fn origin() -> Origin {
    Origin::internal(RequestId::from(Uuid::nil()))
}

fn delivery(number: &str, id: &str) -> bytes::Bytes {
    let body = json!({"entry": [{"id": "1", "changes": [{"field": "messages", "value": {
        "metadata": {"phone_number_id": number},
        "messages": [{"from": "5511987650001", "id": id, "timestamp": "1760000000",
            "type": "text", "text": {"body": "oi"}}]}}]}]});
    body.to_string().into()
}

impl Scene {
    async fn receive(
        &self,
        path_key: &str,
        secret: &str,
        body: bytes::Bytes,
    ) -> Result<conversations::ports::Stored, ReceiveError> {
        let proof = sign(secret, &body);
        let provider = Provider::WhatsappCloud;
        self.bench
            .ingress
            .receive(&origin(), provider, path_key, Some(proof.as_bytes()), &body)
            .await
    }
}

fn reader(clinic: &Clinic) -> TenantContext {
    let permissions = Permissions::of(&[Action::ChannelRead]);
    TenantContext::for_test(clinic.id, clinic.owner, permissions)
}

#[tokio::test]
async fn a_channel_has_an_endpoint_of_its_own_that_answers_its_handshake() {
    let scene = scene().await;
    let cx = &scene.clinics.a.cx;
    let created = scene.channels.create(cx, asked("111"), None).await.unwrap();
    let found = scene.channels.read(cx, created.channel.id).await.unwrap();
    assert_eq!(found, created.channel);
    let path_key = found.path_key.unwrap();
    let token = created.verify_token.reveal();
    let handshake = |token| Handshake {
        mode: Some("subscribe"),
        token: Some(token),
        challenge: Some("42"),
    };
    let provider = Provider::WhatsappCloud;
    let ingress = &scene.bench.ingress;
    let answer = ingress
        .answer_handshake(&origin(), provider, &path_key, handshake(&token))
        .await;
    assert_eq!(answer.unwrap(), "42");
    let wrong = ingress
        .answer_handshake(&origin(), provider, &path_key, handshake("guessed"))
        .await;
    assert!(wrong.is_err());
    let elsewhere = ingress
        .answer_handshake(&origin(), provider, "nowhere", handshake(&token))
        .await;
    assert!(elsewhere.is_err());
    // The path is for those who manage channels.
    let read = scene
        .channels
        .read(&reader(&scene.clinics.a), created.channel.id)
        .await;
    assert_eq!(read.unwrap().path_key, None);
}

#[tokio::test]
async fn a_number_is_one_channel_of_a_clinic_and_may_be_another_clinics_too() {
    let scene = scene().await;
    let (a, b) = (&scene.clinics.a.cx, &scene.clinics.b.cx);
    scene.channels.create(a, asked("111"), None).await.unwrap();
    let again = scene.channels.create(a, asked("111"), None).await;
    assert!(matches!(again, Err(CreateChannelError::NumberTaken)));
    scene.channels.create(b, asked("111"), None).await.unwrap();
    let other = CreateChannel {
        provider: Provider::Evolution,
        ..asked("112")
    };
    let unsupported = scene.channels.create(a, other, None).await;
    assert!(matches!(
        unsupported,
        Err(CreateChannelError::ProviderUnsupported)
    ));
}

#[tokio::test]
async fn a_foreign_channel_is_as_absent_as_a_random_one() {
    let scene = scene().await;
    let (a, b) = (&scene.clinics.a.cx, &scene.clinics.b.cx);
    let id = scene
        .channels
        .create(a, asked("111"), None)
        .await
        .unwrap()
        .channel
        .id;
    let random = Uuid::from_u128(99).into();
    for id in [id, random] {
        let secret = Secret::new("another-secret").unwrap();
        let read = scene.channels.read(b, id).await;
        assert!(matches!(read, Err(AccessError::NotFound)));
        let disabled = scene.channels.disable(b, id, None).await;
        assert!(matches!(disabled, Err(SwitchChannelError::NotFound)));
        let enabled = scene.channels.enable(b, id, None).await;
        assert!(matches!(enabled, Err(SwitchChannelError::NotFound)));
        let rotated = scene
            .channels
            .rotate_secret(b, id, None, &secret, None, TimeDelta::zero())
            .await;
        assert!(matches!(rotated, Err(RotateSecretError::NotFound)));
    }
    let page = scene.channels.list(b, None, PageLimit::default()).await;
    assert!(page.unwrap().items.is_empty());
}

#[tokio::test]
async fn channels_are_listed_page_by_page_the_newest_first() {
    let scene = scene().await;
    let cx = &scene.clinics.a.cx;
    let mut made = Vec::new();
    for number in 0..5 {
        let channel = asked(&format!("11{number}"));
        made.push(
            scene
                .channels
                .create(cx, channel, None)
                .await
                .unwrap()
                .channel
                .id,
        );
        scene.bench.clock.advance(TimeDelta::seconds(1));
    }
    made.reverse();
    let (mut cursor, mut listed) = (None, Vec::new());
    loop {
        let page = scene
            .channels
            .list(cx, cursor.as_deref(), PageLimit::new(2).unwrap())
            .await
            .unwrap();
        listed.extend(page.items.iter().map(|channel| channel.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(listed, made);
}

#[tokio::test]
async fn a_rotated_secret_overlaps_with_the_older_one_for_as_long_as_asked() {
    let scene = scene().await;
    let cx = &scene.clinics.a.cx;
    let channel = scene
        .channels
        .create(cx, asked("111"), None)
        .await
        .unwrap()
        .channel;
    let path = channel.path_key.unwrap();
    let (old, new) = ("first-app-secret", "second-app-secret");
    let rotate = |overlap| {
        let secret = Secret::new(new).unwrap();
        let (channels, id) = (scene.channels.clone(), channel.id);
        async move {
            channels
                .rotate_secret(cx, id, None, &secret, None, overlap)
                .await
        }
    };
    assert!(
        scene
            .receive(&path, new, delivery("111", "w.0"))
            .await
            .is_err()
    );
    assert!(matches!(
        rotate(TimeDelta::days(8)).await,
        Err(RotateSecretError::OverlapOutOfRange)
    ));
    // The database judges by its own clock, so the overlap lies in its future or its past.
    let ahead = chrono::TimeDelta::days(7);
    let rotated = rotate(ahead).await.unwrap();
    assert_eq!(rotated.row_version, 2);
    for (secret, id) in [(old, "w.1"), (new, "w.2")] {
        let stored = scene.receive(&path, secret, delivery("111", id)).await;
        assert_eq!(stored.unwrap().routed, 1);
    }
    let superuser = scene.base.superuser().await;
    superuser
        .batch_execute(
            "UPDATE app.webhook_endpoint_secrets SET not_after = now() - interval '1 second'
             WHERE not_after IS NOT NULL",
        )
        .await
        .unwrap();
    assert!(matches!(
        scene.receive(&path, old, delivery("111", "w.3")).await,
        Err(ReceiveError::NotAuthentic)
    ));
    assert!(
        scene
            .receive(&path, new, delivery("111", "w.4"))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn one_endpoints_secret_never_signs_for_anothers_number() {
    let scene = scene().await;
    let (a, b) = (&scene.clinics.a.cx, &scene.clinics.b.cx);
    let of_a = scene.channels.create(a, asked("111"), None).await.unwrap();
    scene.channels.create(b, asked("222"), None).await.unwrap();
    let path = of_a.channel.path_key.unwrap();
    let stored = scene
        .receive(&path, "first-app-secret", delivery("222", "w.1"))
        .await
        .unwrap();
    assert_eq!((stored.stored, stored.routed), (1, 0));
    assert_eq!(scene.bench.run_jobs(1).await, 0);
    assert!(scene.bench.state(&scene.clinics.b).await["contacts"].is_null());
}

#[tokio::test]
async fn what_comes_for_a_disabled_channel_waits_until_it_is_enabled() {
    let scene = scene().await;
    let cx = &scene.clinics.a.cx;
    let channel = scene
        .channels
        .create(cx, asked("111"), None)
        .await
        .unwrap()
        .channel;
    let path = channel.path_key.unwrap();
    let disabled = scene.channels.disable(cx, channel.id, None).await.unwrap();
    assert_eq!(disabled.status, ChannelStatus::Disabled);
    let entries = scene.bench.count("app.audit_entries").await;
    let again = scene.channels.disable(cx, channel.id, None).await.unwrap();
    assert_eq!(again, disabled);
    assert_eq!(scene.bench.count("app.audit_entries").await, entries);
    let stored = scene
        .receive(&path, "first-app-secret", delivery("111", "w.1"))
        .await
        .unwrap();
    assert_eq!((stored.stored, stored.routed), (1, 0));
    assert_eq!(scene.bench.run_jobs(1).await, 0);
    scene.channels.enable(cx, channel.id, None).await.unwrap();
    assert_eq!(scene.bench.run_jobs(1).await, 1);
    assert!(!scene.bench.state(&scene.clinics.a).await["contacts"].is_null());
}

#[tokio::test]
async fn who_may_not_manage_channels_is_refused_and_leaves_a_trace() {
    let scene = scene().await;
    let cx = reader(&scene.clinics.a);
    let refused = scene.channels.create(&cx, asked("111"), None).await;
    assert!(matches!(refused, Err(CreateChannelError::Denied(_))));
    assert_eq!(
        scene
            .bench
            .count("app.audit_entries WHERE outcome = 'denied' AND action = 'channel.manage'")
            .await,
        1
    );
    assert_eq!(scene.bench.count("app.channels").await, 0);
}
