//! What callers see of the limits, over the real app.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, init_service, try_call_service};
use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use kernel::counter::{CountersAway, Lease, LeaseRequest, SharedCounters};
use kernel::{ClinicId, Permissions, UserId};
use uuid::Uuid;

use super::*;
use crate::tenant::CLINIC_HEADER;
use crate::{Api, ApiHooks, ApiSettings, app, testing};

const CLINIC: Uuid = Uuid::from_u128(0xC);

fn settings(limits: LimitSettings) -> ApiSettings {
    ApiSettings {
        limits: LimitSettings {
            enabled: true,
            ..limits
        },
        ..ApiSettings::default()
    }
}

fn api(limits: LimitSettings) -> Api {
    testing::api_with(ClinicId::from(CLINIC), Permissions::NONE, settings(limits))
}

type Service = Box<dyn Fn(TestRequest, SocketAddr) -> LocalBoxFuture<'static, ServiceResponse>>;

async fn serve(api: &Api) -> Service {
    let service = Rc::new(init_service(app(api)).await);
    Box::new(move |request, address| {
        let service = Rc::clone(&service);
        Box::pin(async move {
            let request = request.peer_addr(address).to_request();
            match try_call_service(&*service, request).await {
                Ok(answer) => answer,
                Err(error) => {
                    let request = TestRequest::default().to_http_request();
                    ServiceResponse::new(request, error.error_response())
                }
            }
        })
    })
}

/// What a request from an address is answered.
async fn answer(service: &Service, request: TestRequest, address: &str) -> ServiceResponse {
    service(request, address.parse().unwrap()).await
}

const HERE: &str = "192.0.2.1:4711";

/// A path that asks who one is: any valid token will do. There is no such user, which is a 401 or a
/// failure further in, and none of these tests' business.
fn me(user: u128) -> TestRequest {
    let token = UserId::from(Uuid::from_u128(user));
    TestRequest::with_uri("/api/v1/contacts")
        .insert_header(("Authorization", format!("Bearer {token}")))
        .insert_header((CLINIC_HEADER, CLINIC.to_string()))
}

fn said(answer: &ServiceResponse, name: &str) -> String {
    let value = answer.headers().get(name);
    value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

async fn code(answer: ServiceResponse) -> String {
    testing::json(answer).await["code"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[actix_web::test]
async fn a_user_may_ask_so_often_and_is_told_how_often_still() {
    let service = serve(&api(LimitSettings {
        user: 3,
        ..LimitSettings::off()
    }))
    .await;
    for left in [2, 1, 0] {
        let answer = answer(&service, me(1), HERE).await;
        assert_ne!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        // The tightest first.
        let policy = said(&answer, "ratelimit-policy");
        assert_eq!(policy, "\"user\";q=3;w=60, \"clinic\";q=20000;w=60");
        let state = said(&answer, "ratelimit");
        assert!(
            state.starts_with(&format!("\"user\";r={left};t=")),
            "{state}"
        );
    }
    let refused = answer(&service, me(1), HERE).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(said(&refused, "ratelimit-policy"), "\"user\";q=3;w=60");
    let wait: u64 = said(&refused, "retry-after").parse().unwrap();
    assert!((19..=20).contains(&wait), "{wait}");
    assert_eq!(code(refused).await, "too-many-requests");
    // Another user from the same address.
    let other = answer(&service, me(2), HERE).await;
    assert_ne!(other.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[actix_web::test]
async fn a_clinic_has_the_limit_of_its_plan_over_all_its_users() {
    let api = api(LimitSettings {
        clinic: 2,
        ..LimitSettings::off()
    });
    let service = serve(&api).await;
    for user in [1, 2] {
        let answer = answer(&service, me(user), HERE).await;
        assert_ne!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    }
    let refused = answer(&service, me(3), HERE).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(said(&refused, "ratelimit").starts_with("\"clinic\";r=0"));
    api.limits()
        .set_plans([(ClinicId::from(CLINIC), 600)].into());
    let answer = answer(&service, me(3), HERE).await;
    assert!(said(&answer, "ratelimit-policy").contains("\"clinic\";q=600;w=60"));
}

#[actix_web::test]
async fn searches_have_a_limit_of_their_own() {
    let service = serve(&api(LimitSettings {
        search: 1,
        ..LimitSettings::off()
    }))
    .await;
    let search = || me(1).uri("/api/v1/contacts?search=ana");
    assert_ne!(
        answer(&service, search(), HERE).await.status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    let refused = answer(&service, search(), HERE).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let plain = answer(&service, me(1), HERE).await;
    assert_ne!(plain.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[actix_web::test]
async fn who_has_no_good_token_is_counted_by_address_and_hurts_nobody_else_there() {
    let service = serve(&api(LimitSettings {
        address: 3,
        ..LimitSettings::off()
    }))
    .await;
    let bad = || me(1).insert_header(("Authorization", "Bearer none"));
    let without = || TestRequest::with_uri("/api/v1/contacts");
    for request in [bad(), without(), bad()] {
        let answer = answer(&service, request, HERE).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    for request in [bad(), without(), TestRequest::with_uri("/docs/errors")] {
        let refused = answer(&service, request, HERE).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    }
    // A good token from there, anybody from elsewhere, and a probe.
    let good = answer(&service, me(1), HERE).await;
    assert_ne!(good.status(), StatusCode::TOO_MANY_REQUESTS);
    let elsewhere = answer(&service, bad(), "192.0.2.2:4711").await;
    assert_eq!(elsewhere.status(), StatusCode::UNAUTHORIZED);
    let probe = TestRequest::with_uri("/api/health/live");
    let probe = answer(&service, probe, HERE).await;
    assert_eq!(probe.status(), StatusCode::OK);
    assert_eq!(said(&probe, "ratelimit"), "");
}

#[actix_web::test]
async fn an_ipv6_subscriber_is_one_however_many_addresses_are_used() {
    let service = serve(&api(LimitSettings {
        login: 2,
        ..LimitSettings::off()
    }))
    .await;
    let log_in = || TestRequest::post().uri("/api/v1/auth/login");
    for host in 1..=2 {
        let from = format!("[2001:db8:1:2::{host}]:4711");
        let answer = answer(&service, log_in(), &from).await;
        assert_ne!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    }
    let refused = answer(&service, log_in(), "[2001:db8:1:2:ffff::9]:1").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let elsewhere = answer(&service, log_in(), "[2001:db8:1:3::1]:1").await;
    assert_ne!(elsewhere.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[actix_web::test]
async fn the_ceiling_of_active_users_keeps_new_ones_out() {
    let api = api(LimitSettings {
        max_active_users: 1,
        ..LimitSettings::off()
    });
    let service = serve(&api).await;
    let first = answer(&service, me(1), HERE).await;
    assert_ne!(first.status(), StatusCode::SERVICE_UNAVAILABLE);
    let refused = answer(&service, me(2), HERE).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(said(&refused, "retry-after"), "60");
    assert_eq!(code(refused).await, "too-many-users");
    let again = answer(&service, me(1), HERE).await;
    assert_ne!(again.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(api.limits().active_users(), 1);
}

#[actix_web::test]
async fn what_is_turned_away_is_a_problem_with_all_headers_and_health_goes_on() {
    let api = api(LimitSettings {
        max_in_flight: 1,
        ..LimitSettings::off()
    });
    let service = serve(&api).await;
    assert!(api.limits().admit(Class::Usual));
    let refused = answer(&service, me(1), HERE).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    for name in ["x-request-id", "content-security-policy", "retry-after"] {
        assert_ne!(said(&refused, name), "", "{name}");
    }
    assert_eq!(code(refused).await, "overloaded");
    let probe = TestRequest::with_uri("/api/health/live");
    assert_eq!(answer(&service, probe, HERE).await.status(), StatusCode::OK);
    api.limits().leave(Class::Usual, Duration::ZERO);
    let answer = answer(&service, me(1), HERE).await;
    assert_ne!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(api.limits().load().in_flight, 0);
}

/// Counters that grant what they are told to.
struct Counters {
    up: AtomicBool,
    granted: AtomicU32,
    asked: Mutex<Vec<LeaseRequest>>,
}

#[async_trait]
impl SharedCounters for Counters {
    fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Lease, CountersAway> {
        self.asked.lock().unwrap().push(request.clone());
        Ok(Lease {
            granted: self.granted.load(Ordering::Relaxed),
            left: 0,
            retry_after: Duration::from_secs(7),
        })
    }
}

#[actix_web::test]
async fn units_are_leased_beside_the_requests_and_what_all_nodes_took_is_taken() {
    let counters = Arc::new(Counters {
        up: AtomicBool::new(true),
        granted: AtomicU32::new(0),
        asked: Mutex::default(),
    });
    let authenticator = Arc::new(testing::OneClinic {
        clinic: ClinicId::from(CLINIC),
        permissions: Permissions::NONE,
    });
    let settings = settings(LimitSettings {
        nodes: 4,
        ..LimitSettings::off()
    });
    let tools = testing::tools();
    let hooks = ApiHooks::default();
    let api = Api::new(
        tools,
        authenticator,
        hooks,
        settings,
        Some(counters.clone()),
    );
    let service = serve(&api).await;
    let leases = actix_web::rt::spawn(api.limits().keep_leases());
    // On credit, and counted beside.
    let first = answer(&service, me(1), HERE).await;
    assert_ne!(first.status(), StatusCode::TOO_MANY_REQUESTS);
    while counters.asked.lock().unwrap().len() < 2 {
        actix_web::rt::time::sleep(Duration::from_millis(1)).await;
    }
    let asked = counters.asked.lock().unwrap().clone();
    let user = asked.iter().find(|ask| ask.quota.units() == 1000).unwrap();
    assert_eq!((user.owed, user.wanted), (1, 50));
    let key = user.key.to_string();
    assert!(key.starts_with("platform:rate:user:"), "{key}");
    assert!(
        !key.contains(&Uuid::from_u128(1).simple().to_string()),
        "{key}"
    );
    let clinic = asked
        .iter()
        .find(|ask| ask.quota.units() == 20_000)
        .unwrap();
    assert_eq!(
        clinic.key.to_string(),
        format!("clinic_{CLINIC}:rate:requests")
    );
    // The others have taken everything.
    actix_web::rt::time::sleep(Duration::from_millis(20)).await;
    let refused = answer(&service, me(1), HERE).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(said(&refused, "retry-after").parse::<u64>().unwrap() <= 7);
    // Without them the node counts by itself, with its part.
    counters.up.store(false, Ordering::Relaxed);
    let answer = answer(&service, me(1), HERE).await;
    assert!(said(&answer, "ratelimit-policy").contains("\"user\";q=250"));
    leases.abort();
}

#[test]
fn every_route_that_is_classed_by_name_exists() {
    let document: serde_json::Value = serde_json::from_str(&crate::openapi_document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let class = |path: &str| Class::of(path, "");
    assert!(paths.keys().any(|path| class(path) == Class::Login));
    assert!(paths.keys().any(|path| class(path) == Class::Webhook));
    for (path, item) in paths {
        for operation in item.as_object().unwrap().values() {
            // What asks for no token is counted on something else.
            let public = operation["x-permission"] == "public";
            let counted = matches!(
                class(path),
                Class::Login | Class::Public | Class::Webhook | Class::Health
            );
            assert!(
                !public || counted,
                "{path} is public and counted by nothing"
            );
        }
    }
}
