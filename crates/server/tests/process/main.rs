//! The program as operators meet it: what it refuses, how it ends, what it tells its collector.

#![allow(clippy::unwrap_used, reason = "tests may")]
#![allow(clippy::format_push_string, reason = "short texts")]

mod canary;
mod observed;
mod operators;
mod program;

use std::io::Write as _;
use std::thread::sleep;
use std::time::Duration;

use otel_telemetry::sink::Sink;
use program::{Program, read_to_end, request};
use rustix::process::Signal;
use test_support::{TestDatabase, two_clinics};

#[actix_web::test]
async fn a_request_in_progress_is_answered_before_the_end() {
    let base = TestDatabase::new().await;
    let program = Program::new(&base.app_url());
    for signal in [Signal::TERM, Signal::INT] {
        let running = program.start();
        let mut slow = running.connect().unwrap();
        let body = r#"{"email":"nobody@example.com","password":"a wrong password"}"#;
        let whole = request("POST", "/api/v1/auth/login", &[], body);
        let (first, rest) = whole.split_at(whole.len() - 10);
        slow.write_all(first.as_bytes()).unwrap();
        sleep(Duration::from_millis(200));
        running.signal(signal);
        sleep(Duration::from_millis(300));
        slow.write_all(rest.as_bytes()).unwrap();
        let answer = read_to_end(slow);
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        let ended = running.wait();
        assert!(ended.success, "{}", ended.said);
    }
}

#[actix_web::test]
async fn a_login_that_row_security_does_not_bind_is_refused() {
    let base = TestDatabase::new().await;
    for (url, advice) in [
        (base.superuser_url(), "is a superuser"),
        (base.owner_url(), "owns tables"),
    ] {
        let ended = Program::new(&url).refused();
        assert!(
            !ended.success && ended.said.contains(advice),
            "{}",
            ended.said
        );
    }
}

#[actix_web::test]
async fn a_database_that_is_behind_is_refused_with_what_to_do() {
    let base = TestDatabase::new().await;
    let forget = "DELETE FROM public.__diesel_schema_migrations";
    base.superuser().await.batch_execute(forget).await.unwrap();
    let ended = Program::new(&base.app_url()).refused();
    assert!(
        !ended.success && ended.said.contains("acolhe-server migrate"),
        "{}",
        ended.said
    );
}

#[actix_web::test]
async fn a_database_that_is_away_is_told_without_its_password() {
    let mut program = Program::new("postgres://acolhe_app:canaria@127.0.0.1:1/acolhe");
    program.set("ACOLHE_DATABASE_ACQUIRE_TIMEOUT", "300ms");
    let ended = program.refused();
    assert!(
        !ended.success && ended.said.contains("database.url"),
        "{}",
        ended.said
    );
    assert!(!ended.said.contains("canaria"), "{}", ended.said);
}

#[actix_web::test]
async fn a_taken_port_is_told_with_what_to_do() {
    let base = TestDatabase::new().await;
    let program = Program::new(&base.app_url());
    let _taken = std::net::TcpListener::bind(("127.0.0.1", program.port)).unwrap();
    let ended = program.refused();
    assert!(
        !ended.success && ended.said.contains("ACOLHE_HTTP_PORT"),
        "{}",
        ended.said
    );
}

#[actix_web::test]
async fn who_starts_it_is_told_its_address_on_request() {
    let base = TestDatabase::new().await;
    let mut program = Program::new(&base.app_url());
    program.arguments = vec!["serve", "--print-address"];
    let ended = program.start().stop();
    let address = format!("http://127.0.0.1:{}", program.port);
    assert!(
        ended.said.lines().any(|line| line == address),
        "{}",
        ended.said
    );
}

#[actix_web::test]
async fn a_head_that_never_ends_does_not_hold_a_connection() {
    let base = TestDatabase::new().await;
    let mut program = Program::new(&base.app_url());
    program.set("ACOLHE_HTTP_HEAD_TIMEOUT", "300ms");
    let running = program.start();
    let mut slow = running.connect().unwrap();
    slow.write_all(b"GET /api/health HTTP/1.1\r\nHost:")
        .unwrap();
    let answer = read_to_end(slow);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
        "{answer}"
    );
    assert!(running.stop().success);
}

#[actix_web::test]
async fn a_body_that_never_comes_does_not_hold_a_connection() {
    let base = TestDatabase::new().await;
    let clinic = two_clinics(&base).await.a;
    let mut program = Program::new(&base.app_url());
    program.set("ACOLHE_HTTP_BODY_TIMEOUT", "300ms");
    let running = program.start();
    let head = format!(
        "Host: x\r\nAuthorization: Bearer {}\r\nX-Clinic-Id: {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        program.token(clinic.owner),
        clinic.id
    );
    for path in ["contacts", "webhooks/whatsapp-cloud/kFq1f0c2r9mB3v7Xn5Yw8A"] {
        let mut slow = running.connect().unwrap();
        let request = format!("POST /api/v1/{path} HTTP/1.1\r\n{head}");
        slow.write_all(request.as_bytes()).unwrap();
        // To its end: the server hangs up.
        let answer = read_to_end(slow);
        assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
        assert!(answer.contains("\"request-timeout\""), "{path}: {answer}");
    }
    assert!(running.stop().success);
}

/// What no span, line or error may hold. The document is a valid CPF.
const CANARIES: &[&str] = &[
    "Canaria",
    "canaria",
    "11987650099",
    "987650099",
    "52998224725",
    "529.982.247-25",
];

#[actix_web::test]
async fn nothing_personal_reaches_a_span_a_line_or_an_error() {
    let base = TestDatabase::new().await;
    let clinic = two_clinics(&base).await.a;
    let sink = Sink::start().unwrap();
    let mut program = Program::new(&base.app_url());
    program
        .set("ACOLHE_TELEMETRY_OTLP_ENDPOINT", &sink.endpoint())
        .set("ACOLHE_TELEMETRY_SAMPLING_RATIO", "1")
        .set("ACOLHE_TELEMETRY_LOG_FILTER", "debug");
    let running = program.start();
    let bearer = format!("Bearer {}", program.token(clinic.owner));
    let clinic_id = clinic.id.to_string();
    let headers = [
        ("Authorization", bearer.as_str()),
        ("X-Clinic-Id", clinic_id.as_str()),
        ("User-Agent", "Canaria/1"),
        ("X-Request-Id", "Canaria"),
        (
            "Traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
    ];
    let contact = r#"{"name":"Maria Canaria","document":"529.982.247-25",
        "phones":[{"value":"+55 11 98765-0099"}],"emails":[{"value":"canaria@example.com"}],
        "notes":"Canaria"}"#;
    let created = running.send(&request("POST", "/api/v1/contacts", &headers, contact));
    assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    let mut traces = Vec::new();
    // Each is refused, for a reason of its own, and must not repeat what it was sent.
    let refused = [
        ("POST", "/api/v1/contacts", contact),
        ("POST", "/api/v1/contacts", r#"{"name": Canaria"#),
        ("POST", "/api/v1/contacts", r#"{"name":["Canaria"]}"#),
        (
            "POST",
            "/api/v1/contacts",
            r#"{"name":"A","birthDate":"Canaria"}"#,
        ),
        (
            "POST",
            "/api/v1/contacts",
            r#"{"name":"A","document":"52998224725Canaria"}"#,
        ),
        (
            "POST",
            "/api/v1/contacts",
            r#"{"name":"A","phones":[{"value":"Canaria"}]}"#,
        ),
        ("POST", "/api/v1/contacts", r#"{"name":"A","Canaria!":1}"#),
        ("GET", "/api/v1/contacts/Canaria", ""),
        ("GET", "/api/v1/contacts?cursor=Canaria", ""),
        ("GET", "/api/v1/contacts?limit=Canaria", ""),
        ("GET", "/api/v1/contacts?status=Canaria", ""),
        ("GET", "/api/v1/Canaria/529.982.247-25?q=Canaria", ""),
        ("CANARIA", "/api/v1/contacts", ""),
        (
            "POST",
            "/api/v1/auth/login",
            r#"{"email":"canaria@example.com","password":"Canaria 11987650099"}"#,
        ),
        (
            "POST",
            "/api/v1/webhooks/whatsapp-cloud/Canaria",
            r#"{"entry":"Canaria"}"#,
        ),
        (
            "GET",
            "/api/v1/webhooks/whatsapp-cloud/x?hub.mode=subscribe&hub.verify_token=Canaria&hub.challenge=1",
            "",
        ),
    ];
    for (method, path, body) in refused {
        let answer = running.send(&request(method, path, &headers, body));
        assert!(
            answer.starts_with("HTTP/1.1 4"),
            "{method} {path}: {answer}"
        );
        assert!(
            answer.contains("application/problem+json"),
            "{method} {path}: {answer}"
        );
        for canary in CANARIES {
            assert!(!answer.contains(canary), "{method} {path}: {answer}");
        }
        let (_, trace) = answer.split_once("\"traceId\":\"").unwrap();
        traces.push(trace[..32].to_owned());
    }
    for path in [
        "/api/v1/contacts?search=canaria",
        "/api/v1/contacts?search=11987650099",
    ] {
        let answer = running.send(&request("GET", path, &headers, ""));
        assert!(answer.contains("Maria Canaria"), "{path}: {answer}");
    }
    let ended = running.stop();
    assert!(ended.success);

    let (told, spans) = (sink.everything(), sink.spans());
    let routes: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    for route in [
        "POST /api/v1/contacts",
        "GET /api/v1/contacts/{id}",
        "GET unmatched",
        "_OTHER /api/v1/contacts",
    ] {
        assert!(routes.contains(&route), "no span {route}: {routes:?}");
    }
    // The document that was there already: the database said so, and its span is an error.
    let refused = spans
        .iter()
        .find(|span| span.attributes.get("db.response.status_code") == Some(&"23505".into()));
    assert!(refused.is_some_and(|span| span.failed), "{refused:?}");
    for trace in traces {
        let span = spans
            .iter()
            .find(|span| span.trace_id == trace && span.kind == "server");
        let span = span.unwrap_or_else(|| panic!("no request has the trace {trace}"));
        // The caller's trace is linked to, and is never ours.
        let linked: Vec<&str> = span.links.iter().map(|(trace, _)| trace.as_str()).collect();
        assert_eq!(linked, ["4bf92f3577b34da6a3ce929d0e0e4736"]);
    }
    let broken: Vec<String> = spans
        .iter()
        .flat_map(otel_telemetry::sink::ReceivedSpan::violations)
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
    for canary in CANARIES {
        assert!(!told.contains(canary), "{canary} reached the collector");
        assert!(!ended.said.contains(canary), "{canary} reached the log");
    }
}

#[actix_web::test]
async fn a_request_whose_answer_was_lost_is_answered_by_the_next_server() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let program = Program::new(&base.app_url());
    let token = format!("Bearer {}", program.token(clinics.a.owner));
    let clinic = clinics.a.id.to_string();
    let headers = [
        ("Authorization", token.as_str()),
        ("X-Clinic-Id", &clinic),
        (
            "Idempotency-Key",
            "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"",
        ),
    ];
    let whole = request(
        "POST",
        "/api/v1/contacts",
        &headers,
        r#"{"name":"Helena Dias"}"#,
    );
    let superuser = base.superuser().await;
    let made = async || -> Vec<String> {
        let sql = "SELECT id::text FROM app.contacts";
        let rows = superuser.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };

    let running = program.start();
    let mut lost = running.connect().unwrap();
    lost.write_all(whole.as_bytes()).unwrap();
    while made().await.is_empty() {
        sleep(Duration::from_millis(1));
    }
    // It is committed, and nobody has read the answer.
    running.signal(Signal::KILL);
    drop(lost);
    drop(running.wait());

    let running = program.start();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let answer = running.send(&whole);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 201"), "{answer}");
        assert!(head.contains("idempotency-replayed: true"), "{answer}");
        answers.push(body.to_owned());
    }
    let made = made().await;
    assert_eq!(made.len(), 1);
    assert!(answers[0].contains(&made[0]), "{}", answers[0]);
    assert_eq!(answers[0], answers[1]);
    let ended = running.stop();
    assert!(ended.success, "{}", ended.said);
}
