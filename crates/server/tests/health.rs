//! Health without a database: people see what fails, a load balancer gets a 503.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use common::Stage;
use diesel_postgres::{Database, PoolSettings};
use serde_json::json;

#[actix_web::test]
async fn without_its_database_the_server_lives_and_is_not_ready() {
    let nowhere = Database::new(PoolSettings::new("postgres://canaria@127.0.0.1:1/x")).unwrap();
    let stage = Stage::over(Some(nowhere)).await;
    let live = stage.ask("get", "/api/health/live").answer().await;
    assert_eq!((live.status, live.body), (200, json!({"status": "ok"})));
    let health = stage.ask("get", "/api/health").answer().await;
    let failing = json!({"status": "degraded"});
    assert_eq!((health.status, health.body), (200, failing));
    let ready = stage.ask("get", "/api/health/ready").answer().await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body["code"], "unavailable");
    assert!(!ready.body.to_string().contains("canaria"));
}

#[actix_web::test]
async fn an_outage_is_a_503_that_says_when_to_come_back() {
    let mut settings = PoolSettings::new("postgres://canaria@127.0.0.1:1/x");
    settings.acquire_timeout = std::time::Duration::from_millis(100);
    let stage = Stage::over(Some(Database::new(settings).unwrap())).await;
    let answer = stage
        .owner(&stage.clinics.a, "get", "/api/v1/contacts")
        .answer()
        .await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.header("retry-after"), "1");
    assert!(!answer.body.to_string().contains("canaria"));
}
