//! The answers every request gets, whatever the route.

#![allow(clippy::unwrap_used, reason = "tests may")]

use actix_web::http::{Method, StatusCode, header};
use actix_web::test::{TestRequest, call_service, init_service, try_call_service};
use actix_web::{HttpResponse, get, post, web};
use kernel::{ClinicId, Permissions};
use serde::Deserialize;
use validator::Validate;

use super::*;
use crate::tenant::{CLINIC_HEADER, Signed, Tenant};
use crate::{Body, Query, testing};

const CLINIC: uuid::Uuid = uuid::uuid!("01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e");
const USER: uuid::Uuid = uuid::uuid!("01936f5e-8e2a-7c3b-9d4e-00000000000a");

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Note {
    #[validate(length(min = 1))]
    text: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Filter {
    limit: Option<u8>,
}

#[post("/notes")]
async fn create_note(note: Body<Note>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(note.read()?.text.len()))
}

#[get("/notes")]
async fn list_notes(_tenant: Tenant, filter: Query<Filter>) -> HttpResponse {
    HttpResponse::Ok().json(filter.limit)
}

#[get("/notes/{id}")]
async fn read_note(_tenant: Tenant, _id: crate::Id<kernel::ContactId>) -> Result<String, Problem> {
    Err(Problem::not_found())
}

#[get("/me")]
async fn me(signed: Signed) -> String {
    signed.identity.user.to_string()
}

#[get("/panic")]
async fn panics() -> String {
    panic!("Maria Canaria")
}

#[get("/fails")]
async fn fails() -> Result<String, Problem> {
    Err(kernel::StoreError::Failed("INSERT of Maria Canaria failed".into()).into())
}

#[get("/bare")]
async fn bare() -> HttpResponse {
    HttpResponse::BadGateway().body("Maria Canaria")
}

#[post("/raw")]
async fn raw(body: web::Bytes) -> String {
    body.len().to_string()
}

#[get("/long")]
async fn long() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::ETAG, "\"x\""))
        .json(vec!["a contact of the clinic"; 200])
}

#[get("/slow")]
async fn slow() -> &'static str {
    actix_web::rt::time::sleep(Duration::from_secs(30)).await;
    "late"
}

/// The real app with a scope of probes before it.
macro_rules! service {
    () => {
        service!(ApiSettings::default())
    };
    ($settings:expr) => {{
        let mut api = testing::api_with(ClinicId::from(CLINIC), Permissions::NONE, $settings);
        api.services.push(Box::new(probes));
        init_service(app(&api)).await
    }};
}

fn probes(config: &mut web::ServiceConfig) {
    config.service(
        web::scope("/api/v1/probe")
            .service(create_note)
            .service(list_notes)
            .service(read_note)
            .service(me)
            .service(panics)
            .service(fails)
            .service(bare)
            .service(long)
            .service(slow)
            .service(raw),
    );
}

fn ask(path: &str) -> TestRequest {
    TestRequest::get().uri(path)
}

fn signed(request: TestRequest) -> TestRequest {
    request.insert_header(("Authorization", format!("Bearer {USER}")))
}

fn member(request: TestRequest) -> TestRequest {
    signed(request).insert_header((CLINIC_HEADER, CLINIC.to_string()))
}

#[actix_web::test]
async fn an_unknown_path_is_a_problem() {
    let service = service!();
    for path in [
        "/",
        "/api/v1/nothing",
        "/api/nothing",
        "/api/v2/contacts",
        "/nothing?x=Canaria",
    ] {
        let answer = call_service(&service, ask(path).to_request()).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(
            answer.headers().get("content-type").unwrap(),
            "application/problem+json"
        );
        let id = answer.headers().get("x-request-id").unwrap().clone();
        let problem = testing::json(answer).await;
        assert_eq!(problem["code"], "unknown-route");
        assert_eq!(problem["type"], "/docs/errors#unknown-route");
        assert_eq!(problem["traceId"], id.to_str().unwrap());
        assert!(!problem.to_string().contains("Canaria"));
    }
}

#[actix_web::test]
async fn a_wrong_method_lists_the_right_ones() {
    let service = service!();
    let request = TestRequest::delete().uri("/api/health").to_request();
    let answer = call_service(&service, request).await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers().get(header::ALLOW).unwrap(), "GET, HEAD");
    assert_eq!(testing::json(answer).await["code"], "method-not-allowed");
}

#[actix_web::test]
async fn the_unversioned_prefix_and_head_answer_like_the_documented_path() {
    let service = service!();
    for path in [
        "/api/v1/health",
        "/api/health",
        "/api/health/ready",
        "/api/health/live",
    ] {
        for method in [Method::GET, Method::HEAD] {
            let request = TestRequest::with_uri(path).method(method).to_request();
            let answer = call_service(&service, request).await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
        }
    }
}

#[actix_web::test]
async fn bad_bodies_are_problems_that_repeat_nothing() {
    let service = service!();
    let cases: &[(&str, &[u8], u16, &str)] = &[
        (
            "application/json",
            b"{\"text\": Canaria}",
            400,
            "malformed-json",
        ),
        ("application/json", b"\xff\xfe", 400, "malformed-json"),
        ("application/json", b"", 400, "malformed-json"),
        ("application/json", b"{\"text\":\"\"}", 400, "invalid-body"),
        (
            "application/json",
            b"{\"text\":[\"Canaria\"]}",
            400,
            "invalid-body",
        ),
        (
            "application/json; charset=latin1",
            b"{}",
            415,
            "unsupported-media-type",
        ),
        ("text/plain", b"Canaria", 415, "unsupported-media-type"),
    ];
    for (kind, body, status, code) in cases {
        let request = TestRequest::post()
            .uri("/api/v1/probe/notes")
            .insert_header(("content-type", *kind))
            .set_payload(body.to_vec())
            .to_request();
        let answer = call_service(&service, request).await;
        assert_eq!(answer.status().as_u16(), *status, "{code}");
        let problem = testing::json(answer).await;
        assert_eq!(problem["code"], *code);
        assert!(!problem.to_string().contains("Canaria"), "{problem}");
    }
}

#[actix_web::test]
async fn a_body_over_the_limit_is_too_large() {
    let service = service!();
    for (path, limit) in [("notes", JSON_LIMIT), ("raw", RAW_LIMIT)] {
        let request = TestRequest::post()
            .uri(&format!("/api/v1/probe/{path}"))
            .insert_header(("content-type", "application/json"))
            .set_payload(vec![b' '; limit + 1])
            .to_request();
        let answer = call_service(&service, request).await;
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        assert_eq!(testing::json(answer).await["code"], "payload-too-large");
    }
}

#[actix_web::test]
async fn a_very_long_uri_is_refused() {
    let service = service!();
    let path = format!("/api/health?x={}", "a".repeat(9000));
    let answer = call_service(&service, ask(&path).to_request()).await;
    assert_eq!(answer.status(), StatusCode::URI_TOO_LONG);
}

#[actix_web::test]
async fn failures_of_ours_say_only_that_there_was_one() {
    let service = service!();
    for (path, status) in [("fails", 500), ("bare", 502)] {
        let request = ask(&format!("/api/v1/probe/{path}")).to_request();
        let answer = call_service(&service, request).await;
        let problem = testing::json(answer).await;
        let code = if status == 500 {
            "internal"
        } else {
            "unavailable"
        };
        assert_eq!(problem["code"], code);
        assert!(!problem.to_string().contains("Canaria"), "{problem}");
    }
}

#[actix_web::test]
async fn a_panic_is_a_problem_and_not_a_dropped_connection() {
    let service = service!();
    let request = ask("/api/v1/probe/panic").to_request();
    let error = try_call_service(&service, request).await.unwrap_err();
    let answer = error.error_response();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.headers().contains_key("x-request-id"));
    assert_eq!(
        answer.headers().get("x-content-type-options").unwrap(),
        "nosniff"
    );
    let body = actix_web::body::to_bytes(answer.into_body()).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        text.contains("\"internal\"") && !text.contains("Canaria"),
        "{text}"
    );
}

#[actix_web::test]
async fn a_request_is_refused_for_its_token_before_its_clinic_before_its_membership() {
    let service = service!();
    let other = uuid::Uuid::nil().to_string();
    let cases = [
        (ask("/api/v1/probe/notes"), 401, "unauthenticated"),
        (
            member(ask("/api/v1/probe/notes")).insert_header(("Authorization", "Bearer x")),
            401,
            "unauthenticated",
        ),
        (
            ask("/api/v1/probe/notes").insert_header(("Authorization", "Basic x")),
            401,
            "unauthenticated",
        ),
        (signed(ask("/api/v1/probe/notes")), 400, "clinic-required"),
        (
            signed(ask("/api/v1/probe/notes?clinic_id=x")),
            400,
            "clinic-required",
        ),
        (
            member(ask(&format!("/api/v1/probe/notes?clinic_id={other}"))),
            400,
            "clinic-required",
        ),
        (
            signed(ask(&format!("/api/v1/probe/notes?clinic_id={other}"))),
            403,
            "no-clinic-access",
        ),
        (
            member(ask("/api/v1/probe/notes?nothing=1")),
            400,
            "invalid-query",
        ),
    ];
    for (request, status, code) in cases {
        let answer = call_service(&service, request.to_request()).await;
        assert_eq!(answer.status().as_u16(), status, "{code}");
        assert_eq!(
            answer.headers().contains_key("www-authenticate"),
            status == 401
        );
        assert_eq!(testing::json(answer).await["code"], code);
    }
}

#[actix_web::test]
async fn the_clinic_is_named_in_the_header_or_the_query_or_both_alike() {
    let service = service!();
    let query = format!("/api/v1/probe/notes?clinic_id={CLINIC}&limit=3");
    for request in [
        member(ask("/api/v1/probe/notes?limit=3")),
        signed(ask(&query)),
        member(ask(&query)),
    ] {
        let answer = call_service(&service, request.to_request()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(testing::json(answer).await, 3);
    }
}

#[actix_web::test]
async fn a_clinic_is_named_in_the_hyphenated_form_alone() {
    let service = service!();
    let hyphenated = CLINIC.to_string();
    for right in [hyphenated.clone(), hyphenated.to_uppercase()] {
        let query = format!("/api/v1/probe/notes?clinic_id={right}");
        let header = signed(ask("/api/v1/probe/notes")).insert_header((CLINIC_HEADER, right));
        for request in [header, signed(ask(&query))] {
            let answer = call_service(&service, request.to_request()).await;
            assert_eq!(answer.status(), StatusCode::OK);
        }
    }
    for wrong in [
        String::new(),
        CLINIC.simple().to_string(),
        CLINIC.braced().to_string(),
        CLINIC.urn().to_string(),
        format!("{hyphenated}0"),
        hyphenated[1..].to_owned(),
        hyphenated.replace('-', "_"),
        "x".repeat(36),
        "é".repeat(18),
    ] {
        let query = format!("/api/v1/probe/notes?clinic_id={wrong}");
        let query = query.replace('{', "%7B").replace('}', "%7D");
        let query = query.replace('é', "%C3%A9");
        let header = signed(ask("/api/v1/probe/notes"));
        let header = header.insert_header((CLINIC_HEADER, wrong.as_bytes()));
        for request in [header, signed(ask(&query))] {
            let answer = call_service(&service, request.to_request()).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{wrong:?}");
            let problem = testing::json(answer).await;
            assert_eq!(problem["code"], "clinic-required");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("36 characters with hyphens"), "{detail}");
        }
    }
}

#[actix_web::test]
async fn a_second_authorization_header_is_malformed_even_when_both_are_alike() {
    let service = service!();
    for second in [format!("Bearer {USER}"), "Bearer x".into(), String::new()] {
        for path in ["/api/v1/probe/notes", "/api/v1/probe/me"] {
            let request = member(ask(path)).append_header(("Authorization", second.clone()));
            let answer = call_service(&service, request.to_request()).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{second:?}");
            let problem = testing::json(answer).await;
            assert_eq!(problem["code"], "malformed-request");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("Authorization"), "{detail}");
        }
    }
}

#[actix_web::test]
async fn an_id_that_is_none_answers_as_an_absent_record_does() {
    let service = service!();
    let mut seen = Vec::new();
    for id in ["x", "%FF", "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"] {
        let request = member(ask(&format!("/api/v1/probe/notes/{id}"))).to_request();
        let answer = call_service(&service, request).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{id}");
        let mut problem = testing::json(answer).await;
        problem["traceId"] = "".into();
        problem["instance"] = "".into();
        seen.push(problem);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
}

#[actix_web::test]
async fn a_signed_caller_needs_no_clinic() {
    let service = service!();
    let answer = call_service(&service, signed(ask("/api/v1/probe/me")).to_request()).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[actix_web::test]
async fn every_answer_has_the_common_headers() {
    let service = service!();
    for path in ["/api/health", "/nothing", "/docs/errors"] {
        let answer = call_service(&service, ask(path).to_request()).await;
        for name in [
            "x-request-id",
            "x-response-time",
            "x-content-type-options",
            "referrer-policy",
            "content-security-policy",
            "permissions-policy",
            "x-frame-options",
            "cross-origin-resource-policy",
            "cache-control",
        ] {
            assert!(answer.headers().contains_key(name), "{path} has no {name}");
        }
        assert!(!answer.headers().contains_key("server"), "{path}");
    }
}

#[actix_web::test]
async fn tls_is_demanded_for_the_future_over_tls_alone() {
    let proxied = ApiSettings {
        proxies: crate::TrustedProxies {
            hops: 1,
            ..crate::TrustedProxies::default()
        },
        ..ApiSettings::default()
    };
    for (settings, expected) in [(ApiSettings::default(), false), (proxied, true)] {
        let service = service!(settings);
        let request = ask("/api/health").insert_header(("X-Forwarded-Proto", "https"));
        let request = request.insert_header(("X-Forwarded-For", "203.0.113.9"));
        let answer = call_service(&service, request.to_request()).await;
        let demanded = answer.headers().contains_key("strict-transport-security");
        assert_eq!(demanded, expected);
    }
}

#[actix_web::test]
async fn a_long_answer_is_compressed_as_the_caller_prefers() {
    let service = service!();
    let ask = || ask("/api/v1/probe/long");
    let plain = call_service(&service, ask().to_request()).await;
    assert!(!plain.headers().contains_key("content-encoding"));
    let plain = actix_web::test::read_body(plain).await;
    let request = ask().insert_header(("Accept-Encoding", "gzip;q=0.5, br"));
    let answer = call_service(&service, request.to_request()).await;
    assert_eq!(answer.headers().get("content-encoding").unwrap(), "br");
    assert_eq!(answer.headers().get("etag").unwrap(), "\"x.br\"");
    let vary = answer.headers().get("vary").unwrap().to_str().unwrap();
    assert!(vary.contains("Accept-Encoding"), "{vary}");
    let body = actix_web::test::read_body(answer).await;
    assert!(body.len() < plain.len() / 10);
    let expected = crate::compress::compress(crate::compress::Encoding::Brotli, &plain).unwrap();
    assert_eq!(body, expected);
}

#[actix_web::test]
async fn a_handler_that_takes_too_long_is_given_up() {
    let service = service!(ApiSettings {
        request_timeout: Duration::from_millis(20),
        ..ApiSettings::default()
    });
    let request = ask("/api/v1/probe/slow").to_request();
    let error = try_call_service(&service, request).await.unwrap_err();
    let answer = error.error_response();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let body = actix_web::body::to_bytes(answer.into_body()).await.unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "timed-out");
}

fn cors() -> ApiSettings {
    ApiSettings {
        cors: crate::Cors {
            origins: vec!["https://painel.example".parse().unwrap()],
            max_age: Duration::from_mins(10),
        },
        ..ApiSettings::default()
    }
}

#[actix_web::test]
async fn a_page_of_an_allowed_origin_may_ask_and_read() {
    let service = service!(cors());
    let from_page =
        |request: TestRequest| request.insert_header((header::ORIGIN, "https://painel.example"));
    let preflight = TestRequest::with_uri("/api/v1/contacts")
        .method(Method::OPTIONS)
        .insert_header(("Access-Control-Request-Method", "PATCH"));
    let answer = call_service(&service, from_page(preflight).to_request()).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let said = |name: &str| answer.headers().get(name).unwrap().to_str().unwrap();
    assert_eq!(
        said("access-control-allow-origin"),
        "https://painel.example"
    );
    assert_eq!(said("access-control-max-age"), "600");
    assert!(said("access-control-allow-methods").contains("PATCH"));
    assert!(said("access-control-allow-headers").contains("X-Clinic-Id"));
    // Failures can be read too.
    for path in ["/api/health", "/api/v1/probe/me"] {
        let answer = call_service(&service, from_page(ask(path)).to_request()).await;
        let said = |name: &str| answer.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(said("access-control-allow-credentials"), "true");
        assert!(said("access-control-expose-headers").contains("ETag"));
        let mut vary = answer.headers().get_all("vary");
        assert!(vary.any(|value| value == "Origin"));
    }
}

#[actix_web::test]
async fn a_page_of_any_other_origin_learns_nothing_of_origins() {
    for (settings, origins) in [
        (ApiSettings::default(), &["https://painel.example"][..]),
        (
            cors(),
            &[
                "https://evil.example",
                "null",
                "https://painel.example.evil.example",
                "*",
            ][..],
        ),
    ] {
        let service = service!(settings);
        for origin in origins {
            for method in [Method::OPTIONS, Method::GET] {
                let request = TestRequest::with_uri("/api/health")
                    .method(method)
                    .insert_header((header::ORIGIN, *origin))
                    .insert_header(("Access-Control-Request-Method", "GET"));
                let answer = call_service(&service, request.to_request()).await;
                let mut names = answer.headers().keys();
                assert!(
                    names.all(|name| !name.as_str().starts_with("access-control")),
                    "{origin}"
                );
            }
        }
    }
}

#[actix_web::test]
async fn the_pages_load_nothing_from_elsewhere() {
    let service = service!();
    for path in [
        "/docs/",
        "/docs/index.css",
        "/docs/swagger-ui.css",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-initializer.js",
    ] {
        let answer = call_service(&service, ask(path).to_request()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let body = actix_web::test::read_body(answer).await;
        let text = String::from_utf8_lossy(&body).into_owned();
        if path == "/docs/" {
            assert!(
                !text.contains("src=\"http") && !text.contains("href=\"http"),
                "{text}"
            );
            assert!(!text.contains("<script>"), "an inline script: {text}");
        }
        if path.ends_with("initializer.js") {
            assert!(text.contains("/api/openapi.json"), "{text}");
        }
    }
    let redirect = call_service(&service, ask("/docs").to_request()).await;
    assert!(redirect.status().is_redirection());
}

#[actix_web::test]
async fn the_served_document_is_the_committed_one() {
    let service = service!();
    let answer = call_service(&service, ask("/api/openapi.json").to_request()).await;
    let served = testing::json(answer).await;
    let committed: serde_json::Value = serde_json::from_str(&crate::openapi_document()).unwrap();
    assert_eq!(served, committed);
}

#[actix_web::test]
async fn after_a_panic_the_connection_goes_on() {
    let mut api = testing::api(ClinicId::from(CLINIC), Permissions::NONE);
    api.services.push(Box::new(probes));
    let api = Arc::new(api);
    let server = actix_web::HttpServer::new(move || app(&api))
        .workers(1)
        .bind("127.0.0.1:0")
        .unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    let answers = web::block(move || {
        use std::io::{BufRead as _, BufReader, Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut answers = Vec::new();
        for path in ["/api/v1/probe/panic", "/api/health/live"] {
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&line);
                if line == "\r\n" || line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            answers.push((head, String::from_utf8(body).unwrap()));
        }
        answers
    })
    .await
    .unwrap();
    handle.stop(false).await;
    let (head, body) = &answers[0];
    assert!(head.starts_with("HTTP/1.1 500"), "{head}");
    assert!(
        head.contains("x-request-id") && body.contains("\"internal\""),
        "{head}{body}"
    );
    assert!(!body.contains("Canaria"), "{body}");
    assert!(answers[1].0.starts_with("HTTP/1.1 200"), "{}", answers[1].0);
}

/// Remembers what was measured.
#[derive(Debug, Default)]
struct Measured(std::sync::Mutex<Vec<String>>);

impl kernel::Metrics for Measured {
    fn record(&self, measurement: kernel::Measurement<'_>) {
        let told = match measurement {
            kernel::Measurement::RequestBegan { method, .. } => format!("{} began", method.name()),
            kernel::Measurement::RequestEnded(ended) => format!(
                "{} {} {} {}",
                ended.method.name(),
                ended.route,
                ended.status,
                ended.clinic.is_some()
            ),
            _ => return,
        };
        self.0.lock().unwrap().push(told);
    }
}

#[actix_web::test]
async fn each_request_is_measured_once_by_its_route_and_clinic() {
    let measured = Arc::new(Measured::default());
    let authenticator = Arc::new(testing::OneClinic {
        clinic: ClinicId::from(CLINIC),
        permissions: Permissions::NONE,
    });
    let api = Api::new(
        testing::tools().with_metrics(measured.clone()),
        authenticator,
        ApiHooks::default(),
        ApiSettings::default(),
        None,
    );
    let service = init_service(app(&api)).await;
    let ask = |method: Method, path: &str| {
        let request = TestRequest::with_uri(path)
            .method(method)
            .insert_header((header::AUTHORIZATION, format!("Bearer {USER}")))
            .insert_header((CLINIC_HEADER, CLINIC.to_string()));
        call_service(&service, request.to_request())
    };
    ask(Method::HEAD, "/api/health/live").await;
    ask(Method::GET, "/api/v1/52998224725").await;
    ask(Method::from_bytes(b"MARIA").unwrap(), "/api/v1/health").await;
    // The caller is known, and no service is there.
    ask(Method::GET, "/api/v1/contacts").await;
    let told = measured.0.lock().unwrap().clone();
    assert_eq!(
        told,
        [
            "HEAD began",
            "HEAD /api/v1/health/live 200 false",
            "GET began",
            "GET unmatched 404 false",
            "_OTHER began",
            "_OTHER /api/v1/health 405 false",
            "GET began",
            "GET /api/v1/contacts 500 true",
        ]
    );
}
