//! The operators' own listener, and the command that lets them in.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use test_support::{TestDatabase, two_clinics};

use crate::program::{Program, free_port, request, send_to};

/// Runs a command of `acolhe-server admin` and reads what it prints.
fn admin(program: &Program, arguments: &[&'static str]) -> Value {
    let mut program = program.clone();
    program.arguments = ["admin", "--json"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    let ended = program.refused();
    assert!(ended.success, "{arguments:?}: {}", ended.said);
    let line = ended.said.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|_| panic!("{arguments:?}: {}", ended.said))
}

fn ask(port: u16, path: &str, token: &str, accept: &str) -> String {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", &*bearer), ("Accept", accept)];
    send_to(port, &request("GET", path, &headers, ""))
}

fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"))
}

#[actix_web::test]
async fn an_operator_comes_in_by_the_own_listener_alone_until_revoked() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let mut program = Program::new(&base.app_url());
    let made = admin(
        &program,
        &["create-operator", "--name", "Ana", "--days", "7"],
    );
    let token = made["token"].as_str().unwrap();
    let operator = made["operatorId"].as_str().unwrap();
    let port = free_port();
    program.set("ACOLHE_OPERATORS_PORT", &port.to_string());
    let running = program.start();

    let bearer = format!("Bearer {}", program.token(clinics.a.owner));
    let clinic = clinics.a.id.to_string();
    let headers = [("Authorization", &*bearer), ("X-Clinic-Id", &*clinic)];
    for _ in 0..3 {
        running.send(&request("GET", "/api/v1/contacts", &headers, ""));
    }

    let paths = [
        "/api/health",
        "/api/observability/health",
        "/api/metrics",
        "/api/clinics",
        "/api/jobs",
    ];
    for path in paths {
        let answer = ask(port, path, token, "application/json");
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        let user = program.token(clinics.a.owner);
        let answer = ask(port, path, &user, "*/*");
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
        let answer = send_to(port, &request("GET", path, &[], ""));
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
    }
    // Nothing of it is on the public listener, whoever asks.
    for path in [
        "/api/observability/health",
        "/api/metrics",
        "/api/jobs",
        "/api/v1/metrics",
    ] {
        let answer = ask(program.port, path, token, "*/*");
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    // And nothing of the public one is here.
    let answer = ask(port, "/api/v1/contacts", token, "*/*");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");

    let health = body(&ask(port, "/api/health", token, "*/*"));
    assert_eq!(health["checks"]["database"], "ok", "{health}");
    let metrics = body(&ask(port, "/api/metrics", token, "*/*"));
    assert_eq!(metrics["tenants"][0]["clinicId"], clinic.as_str());
    assert_eq!(metrics["tenants"][0]["requests"], 3);
    let listed = metrics["operations"].as_array().unwrap();
    let contacts = listed
        .iter()
        .find(|it| it["route"] == "/api/v1/contacts")
        .unwrap();
    assert_eq!(contacts["windows"][0]["count"], 3);
    let pools = metrics["database"]["pools"].as_array().unwrap();
    assert_eq!(pools.len(), 2, "{metrics}");
    let text = ask(port, "/api/metrics", token, "text/plain");
    assert!(
        text.contains("http_server_request_duration_seconds_count{"),
        "{text}"
    );
    assert!(!text.contains(&clinic), "no clinic on metrics");
    let clinics = body(&ask(port, "/api/clinics", token, "*/*"));
    assert_eq!(clinics["total"], 2);
    assert_eq!(clinics["data"][0]["members"], 1, "{clinics}");

    let list = admin(&program, &["list-operators"]);
    assert_eq!(list[0]["state"], "active");
    assert!(list[0]["lastUsedAt"].is_string(), "{list}");
    let revoke: &'static str = Box::leak(operator.to_owned().into_boxed_str());
    admin(&program, &["revoke-operator", "--operator", revoke]);
    let began = Instant::now();
    while ask(port, "/api/health", token, "*/*").starts_with("HTTP/1.1 200") {
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "a revoked token is still good"
        );
        sleep(Duration::from_millis(20));
    }
    let ended = running.stop();
    assert!(ended.success, "{}", ended.said);
    assert!(!ended.said.contains(token), "the token is in the log");

    // At rest there is a hash, and each act left a line.
    let behind = base.superuser().await;
    let rows = behind
        .query(
            "SELECT kind, count(*) FROM app.security_log GROUP BY 1",
            &[],
        )
        .await;
    let kinds: Vec<(String, i64)> = rows
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    for kind in ["operator.created", "operator.revoked"] {
        assert!(kinds.contains(&(kind.to_owned(), 1)), "{kind}: {kinds:?}");
    }
    // The user's token on each path, and the revoked one.
    let refused = kinds.iter().find(|(kind, _)| kind == "operator.refused");
    assert_eq!(refused.map(|(_, count)| *count), Some(6), "{kinds:?}");
    let stored: String = behind
        .query_one("SELECT o::text FROM app.operators o", &[])
        .await
        .unwrap()
        .get(0);
    assert!(!stored.contains(&token[4..]), "{stored}");
}

#[actix_web::test]
async fn without_a_port_nobody_listens_to_operators() {
    let base = TestDatabase::new().await;
    let program = Program::new(&base.app_url());
    let running = program.start();
    let ended = running.stop();
    assert!(
        !ended.said.contains("listening to operators"),
        "{}",
        ended.said
    );
}
