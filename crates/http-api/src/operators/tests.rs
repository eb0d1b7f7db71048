#![allow(clippy::unwrap_used, reason = "tests may")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::test::{TestRequest, call_service, init_service};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use clinics::operators::{ClinicTally, NewOperator, Operator, OperatorStore, OperatorSummary};
use clinics::ports::SecurityEvent;
use clinics::{ClinicOfUser, CredentialStore, Credentials, Name, User};
use kernel::email::Email;
use kernel::job::{DeadJob, JobTally, Queue};
use kernel::metrics::{
    CacheDomain, CacheView, ClinicView, JobOutcome, JobState, Lane, Method, OperationView,
    PoolView, ProcessView, QueryView, QueueView, Snapshot, WindowView,
};
use kernel::{OperatorId, Origin, StoreError, SystemContext, UserId};
use serde_json::json;
use std::sync::Mutex;
use uuid::Uuid;

use super::*;
use crate::testing;

/// One operator, and what was noted.
#[derive(Default)]
struct Store {
    known: Mutex<Option<NewOperator>>,
    noted: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl OperatorStore for Store {
    async fn create(
        &self,
        _: &SystemContext,
        new: &NewOperator,
        _: Uuid,
    ) -> Result<(), StoreError> {
        *self.known.lock().unwrap() = Some(new.clone());
        Ok(())
    }
    async fn list(&self, _: &SystemContext) -> Result<Vec<OperatorSummary>, StoreError> {
        Ok(Vec::new())
    }
    async fn revoke(
        &self,
        _: &SystemContext,
        _: OperatorId,
        _: DateTime<Utc>,
        _: Uuid,
    ) -> Result<bool, StoreError> {
        Ok(self.known.lock().unwrap().take().is_some())
    }
    async fn find(
        &self,
        _: &SystemContext,
        hash: &[u8; 32],
        at: DateTime<Utc>,
    ) -> Result<Option<Operator>, StoreError> {
        let known = self.known.lock().unwrap();
        let found = known
            .as_ref()
            .filter(|it| it.token_hash == *hash && it.expires_at > at);
        Ok(found.map(|it| Operator {
            id: it.id,
            name: it.name.clone(),
        }))
    }
    async fn count_clinics(&self, _: &SystemContext) -> Result<Vec<ClinicTally>, StoreError> {
        Ok(vec![ClinicTally {
            id: Uuid::from_u128(1).into(),
            name: Name::parse("Clínica Ipê").unwrap(),
            status: clinics::ClinicStatus::Suspended,
            created_at: at(),
            members: 3,
            channels: 1,
            dead_jobs: 2,
        }])
    }
}

#[async_trait]
impl CredentialStore for Store {
    async fn find_credentials(
        &self,
        _: &SystemContext,
        _: &Email,
    ) -> Result<Option<Credentials>, StoreError> {
        Ok(None)
    }
    async fn find_user(&self, _: &SystemContext, _: UserId) -> Result<Option<User>, StoreError> {
        Ok(None)
    }
    async fn list_clinics(
        &self,
        _: &SystemContext,
        _: UserId,
    ) -> Result<Vec<ClinicOfUser>, StoreError> {
        Ok(Vec::new())
    }
    async fn record_security_event(
        &self,
        _: &SystemContext,
        event: SecurityEvent,
    ) -> Result<(), StoreError> {
        self.noted.lock().unwrap().push(event.kind.name());
        Ok(())
    }
}

#[derive(Default)]
struct Switch(std::sync::atomic::AtomicBool);

impl CacheSwitch for Switch {
    fn is_on(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
    fn switch(&self, on: bool) {
        self.0.store(on, std::sync::atomic::Ordering::SeqCst);
    }
}

struct Jobs;

#[async_trait]
impl JobCensus for Jobs {
    async fn count(&self, _: &SystemContext) -> Result<Vec<JobTally>, StoreError> {
        Ok(vec![JobTally {
            queue: Queue::Message,
            state: JobState::Dead,
            jobs: 1,
            oldest: None,
        }])
    }
    async fn dead(&self, _: &SystemContext, _: u16) -> Result<Vec<DeadJob>, StoreError> {
        Ok(vec![DeadJob {
            clinic: Uuid::from_u128(1).into(),
            id: Uuid::from_u128(2).into(),
            queue: "message-worker".to_owned(),
            kind: "webhook.process".to_owned(),
            failure: Some("timed_out".to_owned()),
            attempts: 8,
            dead_since: Some(at()),
        }])
    }
}

fn at() -> DateTime<Utc> {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn window(count: u64, failed: u64, p95_ms: u64) -> [WindowView; 3] {
    [WindowView {
        count,
        failed,
        mean: Duration::from_millis(4),
        p50: Duration::from_millis(3),
        p95: Duration::from_millis(p95_ms),
        p99: Duration::from_millis(p95_ms),
    }; 3]
}

/// Nothing is beyond its limit.
fn calm() -> Snapshot {
    Snapshot {
        at: at(),
        requests: window(1250, 0, 20),
        requests_total: 9000,
        active_requests: 1,
        active_users: 7,
        rate_limited: 0,
        shed: 0,
        operations: vec![OperationView {
            method: Method::Post,
            route: "/api/v1/webhooks/{provider}/{pathKey}".to_owned(),
            total: 1250,
            windows: window(1250, 0, 20),
        }],
        database: window(2000, 0, 5),
        queries: vec![QueryView {
            name: "db.contact.list".to_owned(),
            total: 2000,
            windows: window(2000, 0, 5),
        }],
        cache: vec![CacheView {
            domain: CacheDomain::Contacts,
            hits_l1: 700,
            hits_l2: 80,
            misses: 220,
            bypasses: 5,
        }],
        cache_faults: [0; 2],
        pools: vec![PoolView {
            lane: Lane::Requests,
            idle: 5,
            used: 5,
            max: 10,
            pending: 0,
            timeouts: 0,
        }],
        queues: vec![QueueView {
            queue: Queue::Message,
            counts: [
                (JobState::Waiting, 2),
                (JobState::Delayed, 0),
                (JobState::Active, 1),
                (JobState::Dead, 0),
            ],
            oldest: Duration::from_secs(1),
            outcomes: [
                JobOutcome::Done,
                JobOutcome::Retried,
                JobOutcome::Dead,
                JobOutcome::Lost,
            ]
            .map(|it| (it, 0)),
        }],
        webhooks: vec![("stored", 1250)],
        clinics: vec![ClinicView {
            clinic: Uuid::from_u128(1).into(),
            windows: window(650, 0, 20),
        }],
        process: ProcessView {
            uptime: Duration::from_hours(1),
            cpu_user: Duration::from_secs(10),
            cpu_system: Duration::from_secs(2),
            memory: 50_000_000,
            memory_limit: Some(100_000_000),
            threads: 9,
            file_descriptors: 40,
            event_loop_lag: Duration::from_millis(2),
        },
    }
}

struct View(Snapshot);

impl MetricsView for View {
    fn snapshot(&self, at: DateTime<Utc>) -> Snapshot {
        Snapshot {
            at,
            ..self.0.clone()
        }
    }
    fn prometheus(&self) -> String {
        "# TYPE process_uptime_seconds gauge\n".to_owned()
    }
}

async fn api(store: &Arc<Store>, snapshot: Snapshot) -> (OperatorsApi, String) {
    let tools = testing::tools();
    let operators = Operators::new(store.clone(), store.clone(), tools.clone());
    let origin = Origin::internal(tools.id());
    let name = Name::parse("Ana").unwrap();
    let lifetime = Duration::from_hours(1);
    let (_, token) = operators.create(origin, name, lifetime).await.unwrap();
    let parts = OperatorsParts {
        tools,
        metrics: Arc::new(View(snapshot)),
        jobs: Arc::new(Jobs),
        checks: Vec::new(),
        cache: Arc::new(Switch::default()),
        version: "1.2.3",
    };
    let (hooks, settings) = (ApiHooks::default(), ApiSettings::default());
    let api = OperatorsApi::new(parts, operators, hooks, settings);
    (api, token.reveal().to_owned())
}

macro_rules! ask {
    ($api:expr, $token:expr, $path:expr, $accept:expr) => {{
        let service = init_service(operators_app(&$api)).await;
        let request = TestRequest::with_uri($path)
            .insert_header((header::AUTHORIZATION, format!("Bearer {}", $token)))
            .insert_header((header::ACCEPT, $accept));
        call_service(&service, request.to_request()).await
    }};
}

const PATHS: [&str; 6] = [
    "/api/cache",
    "/api/health",
    "/api/observability/health",
    "/api/metrics",
    "/api/clinics",
    "/api/jobs",
];

#[actix_web::test]
async fn without_an_operator_s_token_nothing_is_shown() {
    let store = Arc::new(Store::default());
    let (api, token) = api(&store, calm()).await;
    let service = init_service(operators_app(&api)).await;
    for path in PATHS {
        let bare = call_service(&service, TestRequest::with_uri(path).to_request()).await;
        assert_eq!(bare.status(), StatusCode::UNAUTHORIZED, "{path}");
        let user = "01936f5e-8e2a-7c3b-9d4e-00000000000a";
        for wrong in [user, "aco_", &token[..token.len() - 2], &token[4..]] {
            let answer = ask!(api, wrong, path, "*/*");
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path} {wrong}");
        }
        assert_eq!(
            ask!(api, token, path, "*/*").status(),
            StatusCode::OK,
            "{path}"
        );
    }
    let noted = store.noted.lock().unwrap().clone();
    assert_eq!(noted.len(), 4 * PATHS.len());
    assert!(noted.iter().all(|kind| *kind == "operator.refused"));
    let revoke = Operators::new(store.clone(), store.clone(), testing::tools());
    let origin = Origin::internal(testing::tools().id());
    let id = store.known.lock().unwrap().as_ref().unwrap().id;
    assert!(revoke.revoke(origin, id).await.unwrap());
    let answer = ask!(api, token, "/api/health", "*/*");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[actix_web::test]
async fn the_public_listener_knows_none_of_these_paths() {
    let api = testing::api(Uuid::from_u128(1).into(), kernel::Permissions::NONE);
    let service = init_service(crate::app(&api)).await;
    for path in [
        "/api/metrics",
        "/api/observability/health",
        "/api/jobs",
        "/api/v1/metrics",
    ] {
        let answer = call_service(&service, TestRequest::with_uri(path).to_request()).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let health = TestRequest::with_uri("/api/health").to_request();
    let health = testing::json(call_service(&service, health).await).await;
    assert_eq!(health, json!({ "status": "ok" }));
}

#[actix_web::test]
async fn health_and_metrics_have_the_shape_that_was_promised() {
    let store = Arc::new(Store::default());
    let (api, token) = api(&store, calm()).await;
    let health = testing::json(ask!(api, token, "/api/health", "*/*")).await;
    assert_eq!(health["status"], "ok");
    assert_eq!(
        health["cache"],
        json!({ "healthy": true, "message": "Cache operational" })
    );
    assert_eq!(
        health["performance"],
        json!({ "healthy": true, "issues": [] })
    );
    let metrics = testing::json(ask!(api, token, "/api/metrics", "application/json")).await;
    assert_eq!(metrics["api"]["totalCalls"], 1250);
    assert_eq!(metrics["api"]["avgResponseTime"], 4.0);
    assert_eq!(metrics["api"]["window"], "1h");
    assert_eq!(metrics["cache"]["hitRate"], "78%");
    assert_eq!(metrics["cache"]["total"], 1005);
    assert_eq!(metrics["cache"]["window"], "since start");
    let tenant = &metrics["tenants"][0];
    assert_eq!(tenant["clinicId"], Uuid::from_u128(1).to_string());
    assert_eq!(tenant["requests"], 650);
    assert_eq!(tenant["window"], "1h");
    assert_eq!(metrics["operations"][0]["windows"][1]["window"], "5m");
    let glance = testing::json(ask!(api, token, "/api/observability/health", "*/*")).await;
    assert_eq!(glance["status"], "healthy");
    assert_eq!(glance["window"], "5m");
    assert_eq!(glance["p95ResponseTime"], 20.0);
}

#[actix_web::test]
async fn prometheus_gets_text_and_everybody_else_json() {
    let store = Arc::new(Store::default());
    let (api, token) = api(&store, calm()).await;
    let kind = |accept: &'static str| {
        let (api, token) = (&api, &token);
        async move {
            let answer = ask!(*api, token, "/api/metrics", accept);
            let kind = answer.headers().get(header::CONTENT_TYPE).unwrap();
            kind.to_str().unwrap().to_owned()
        }
    };
    for scraper in [
        "text/plain",
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
    ] {
        assert!(kind(scraper).await.starts_with("text/plain; version=0.0.4"));
    }
    for other in ["*/*", "application/json"] {
        assert_eq!(kind(other).await, "application/json");
    }
}

#[actix_web::test]
async fn clinics_and_jobs_are_counted_and_no_payload_is_shown() {
    let store = Arc::new(Store::default());
    let (api, token) = api(&store, calm()).await;
    let clinics = testing::json(ask!(api, token, "/api/clinics", "*/*")).await;
    assert_eq!(clinics["total"], 1);
    assert_eq!(clinics["data"][0]["status"], "suspended");
    assert_eq!(clinics["data"][0]["deadJobs"], 2);
    let jobs = testing::json(ask!(api, token, "/api/jobs", "*/*")).await;
    assert_eq!(jobs["queues"][0]["dead"], 1);
    assert_eq!(jobs["dead"][0]["code"], "timed_out");
    assert!(!jobs.to_string().contains("payload"));
}

#[actix_web::test]
async fn the_cache_is_switched_by_an_operator_alone() {
    let store = Arc::new(Store::default());
    let (api, token) = api(&store, calm()).await;
    let service = init_service(operators_app(&api)).await;
    let put = |token: &str, body: &'static str| {
        TestRequest::put()
            .uri("/api/cache")
            .insert_header((header::AUTHORIZATION, format!("Bearer {token}")))
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .set_payload(body)
            .to_request()
    };
    let refused = call_service(&service, put("aco_x", r#"{"on":true}"#)).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let wrong = call_service(&service, put(&token, r#"{"on":"Canaria"}"#)).await;
    assert!(wrong.status().is_client_error());
    let on = ask!(api, token, "/api/cache", "*/*");
    assert_eq!(testing::json(on).await, json!({ "on": false }));
    let switched = call_service(&service, put(&token, r#"{"on":true}"#)).await;
    assert_eq!(testing::json(switched).await, json!({ "on": true }));
}

#[test]
fn each_limit_has_its_issue_and_a_calm_process_none() {
    assert_eq!(thresholds::issues(&calm()), []);
    let second = Duration::from_secs(1);
    let mut rough = calm();
    rough.requests = window(1000, 100, 900);
    rough.clinics[0].windows = window(100, 50, 900);
    rough.database = [WindowView {
        mean: second,
        ..rough.database[0]
    }; 3];
    rough.pools[0].used = 10;
    rough.cache[0].misses = 5000;
    rough.queues[0].counts[0].1 = 101;
    rough.queues[0].counts[3].1 = 1;
    rough.queues[0].oldest = 61 * second;
    rough.operations[0].windows = window(100, 0, 201);
    rough.process.event_loop_lag = second;
    rough.process.memory = 100_000_001;
    let issues = thresholds::issues(&rough);
    let found: Vec<&str> = issues.iter().map(|issue| issue.code).collect();
    let listed: Vec<&str> = THRESHOLDS.iter().map(|it| it.code).collect();
    assert_eq!(found, listed);
    // A handful of requests is no sample.
    let mut few = calm();
    few.requests = window(19, 0, 900);
    assert_eq!(thresholds::issues(&few), []);
}

/// The alerts of the rules: name and expression.
fn alerts() -> BTreeMap<String, String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/prometheus/rules");
    let mut alerts = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for rule in text.split("- alert: ").skip(1) {
            let (name, rest) = rule.split_once('\n').unwrap();
            let expression = rest.split("labels:").next().unwrap();
            let expression = expression.split_whitespace().collect::<Vec<_>>().join(" ");
            alerts.insert(name.trim().to_owned(), expression);
        }
    }
    alerts
}

/// `> (14.4 * 0.001)` is 0.0144.
fn number(comparison: &str) -> Option<f64> {
    let text = comparison.trim_start_matches(['>', '<', ' ']);
    let text = text.trim_matches(['(', ')']);
    text.split('*')
        .map(|it| it.trim().parse::<f64>().ok())
        .product()
}

#[test]
fn issues_and_alerts_have_the_same_limits() {
    let alerts = alerts();
    for threshold in THRESHOLDS {
        let Some((alert, comparison)) = threshold.alert else {
            continue;
        };
        let rule = alerts.get(alert);
        let rule = rule.unwrap_or_else(|| panic!("{}: no alert {alert}", threshold.code));
        assert!(
            rule.contains(comparison),
            "{alert}: {comparison} is not in {rule}"
        );
        if let Some(limit) = number(comparison) {
            assert!((limit - threshold.limit).abs() < 1e-9, "{}", threshold.code);
        }
    }
}
