//! An endpoint's secrets and channels are its own clinic's: what the server's role may write of
//! them reaches no other clinic's endpoint, nor an operator's, and tells nothing of either.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use conversations::ChannelStatus;
use conversations::ports::ChannelStore as _;
use diesel_postgres::conversations::PgChannelStore;
use test_support::{Clinic, TestDatabase, WebhookBench, two_clinics};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

/// Runs statements as the server's role in a clinic, in one transaction; the error's code and
/// constraint where one is refused.
async fn in_clinic(
    app: &Client,
    clinic: &Clinic,
    sql: &str,
) -> Result<(), (SqlState, Option<String>)> {
    let script = format!(
        "BEGIN; SELECT set_config('app.clinic_id', '{}', true); {sql}; COMMIT",
        clinic.id
    );
    let ended = app.batch_execute(&script).await;
    ended.map_err(|error| {
        let refused = error.as_db_error().unwrap();
        let constraint = refused.constraint().map(str::to_owned);
        (refused.code().clone(), constraint)
    })
}

async fn refused(app: &Client, clinic: &Clinic, sql: &str) -> (SqlState, Option<String>) {
    let refused = in_clinic(app, clinic, sql).await.unwrap_err();
    app.batch_execute("ROLLBACK").await.unwrap();
    refused
}

fn endpoint(id: Uuid) -> String {
    format!(
        "INSERT INTO app.webhook_endpoints (id, clinic_id, provider, path_key,
                                            verify_token_sealed, created_at)
         VALUES ('{id}', app.current_clinic(), 'whatsapp-cloud', '{id}', '', now())"
    )
}

fn secret(endpoint: Uuid, sealed: &str) -> String {
    format!(
        "INSERT INTO app.webhook_endpoint_secrets (endpoint_id, id, clinic_id, sealed, created_at)
         VALUES ('{endpoint}', gen_random_uuid(), app.current_clinic(), '{sealed}', now())"
    )
}

fn channel(endpoint: Uuid, number: &str) -> String {
    format!(
        "INSERT INTO app.channels (clinic_id, id, endpoint_id, provider, name, external_id, status,
                                   row_version, created_at, updated_at)
         VALUES (app.current_clinic(), gen_random_uuid(), '{endpoint}', 'whatsapp-cloud', 'n',
                 '{number}', 'active', 1, now(), now())"
    )
}

async fn secrets_of(app: &Client, endpoint: Uuid) -> Vec<Vec<u8>> {
    let found = app
        .query_one(
            "SELECT secrets_sealed FROM sec.find_endpoint($1)",
            &[&endpoint.to_string()],
        )
        .await
        .unwrap();
    found.get(0)
}

#[tokio::test]
async fn nothing_can_be_planted_on_an_endpoint_of_others() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let bench = WebhookBench::new(&base).await;
    bench.bind(&clinics.b, "100200300").await;
    let app = base.app().await;
    let (own, theirs) = (Uuid::from_u128(0xA1), Uuid::from_u128(0xB1));
    for (clinic, id, number) in [(&clinics.a, own, "1"), (&clinics.b, theirs, "2")] {
        let whole = [endpoint(id), secret(id, "own"), channel(id, number)].join(";");
        in_clinic(&app, clinic, &whole).await.unwrap();
    }

    let shared = Uuid::from(bench.endpoint.id);
    let nobody_s = Uuid::from_u128(0xFFFF);
    for target in [theirs, shared, nobody_s] {
        // The same answer whether there is such an endpoint or not, and whether the number on it
        // is bound or not.
        for sql in [
            secret(target, "planted"),
            channel(target, "2"),
            channel(target, "100200300"),
            channel(target, "777"),
        ] {
            assert_eq!(
                refused(&app, &clinics.a, &sql).await,
                (SqlState::INSUFFICIENT_PRIVILEGE, None),
                "{sql}"
            );
        }
    }
    assert_eq!(secrets_of(&app, theirs).await, [b"own"]);
    assert_eq!(secrets_of(&app, own).await, [b"own"]);
    assert_eq!(
        bench.count("app.channels").await,
        3,
        "one each, and the bound one"
    );
}

#[tokio::test]
async fn a_channel_cannot_be_moved_to_another_endpoint_or_number() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let app = base.app().await;
    for (clinic, id) in [(&clinics.a, 0xA1), (&clinics.b, 0xB1)] {
        let id = Uuid::from_u128(id);
        let whole = [endpoint(id), secret(id, "own"), channel(id, "1")].join(";");
        in_clinic(&app, clinic, &whole).await.unwrap();
    }
    let theirs = Uuid::from_u128(0xB1);
    for change in [
        format!("endpoint_id = '{theirs}'"),
        "external_id = '2'".to_owned(),
        "provider = 'evolution'".to_owned(),
        "clinic_id = gen_random_uuid()".to_owned(),
    ] {
        let sql = format!("UPDATE app.channels SET {change}");
        assert_eq!(
            refused(&app, &clinics.a, &sql).await.0,
            SqlState::INSUFFICIENT_PRIVILEGE,
            "{sql}"
        );
    }
}

/// The definer functions and migrations do not heed the server's role's policies: the key does.
#[tokio::test]
async fn a_secret_of_a_clinic_belongs_to_an_endpoint_of_the_same_clinic() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let (app, superuser) = (base.app().await, base.superuser().await);
    let theirs = Uuid::from_u128(0xB1);
    in_clinic(&app, &clinics.b, &endpoint(theirs))
        .await
        .unwrap();
    let planted = superuser
        .batch_execute(&format!(
            "INSERT INTO app.webhook_endpoint_secrets (endpoint_id, id, clinic_id, sealed,
                                                       created_at)
             VALUES ('{theirs}', gen_random_uuid(), '{}', '', now())",
            clinics.a.id
        ))
        .await
        .unwrap_err();
    assert_eq!(
        planted.as_db_error().unwrap().constraint(),
        Some("webhook_endpoint_secrets_own_endpoint_fk")
    );
}

#[tokio::test]
async fn a_channel_on_an_operator_s_endpoint_can_still_be_switched() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let bench = WebhookBench::new(&base).await;
    let bound = bench.bind(&clinics.a, "100200300").await;
    let store = PgChannelStore::new(bench.database.clone(), bench.tools.clone());
    let cx = &clinics.a.cx;
    let disabled = store.disable(cx, bound, None).await.unwrap();
    assert_eq!(disabled.status, ChannelStatus::Disabled);
    let enabled = store.enable(cx, bound, None).await.unwrap();
    assert_eq!(enabled.status, ChannelStatus::Active);
}
