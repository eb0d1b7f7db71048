//! Canaries in every input of every operation, and a look for them in whatever leaves: spans, lines,
//! metrics, the operators' answers, jobs and their failures, PostgreSQL's own log.

use std::time::{Duration, Instant};

use otel_telemetry::sink::Sink;
use serde_json::{Value, json};
use test_support::webhooks::sign;
use test_support::{TestDatabase, two_clinics};

use crate::program::{Program, free_port, request, send_to};

/// A name, a phone, a CPF (a valid one), an e-mail and a message, as somebody might write them.
const PLANTED: &str =
    "Zuleica Canarinho +55 11 98765-0088 529.982.247-25 zuleica@canarinho.example";
/// What of it must be nowhere.
const CANARIES: [&str; 8] = [
    "Zuleica",
    "zuleica",
    "Canarinho",
    "canarinho",
    "98765-0088",
    "987650088",
    "529.982.247-25",
    "52998224725",
];

/// The value with every text in it replaced by the planted one.
fn planted(value: &Value) -> Value {
    match value {
        Value::String(_) => PLANTED.into(),
        Value::Array(items) => items.iter().map(planted).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), planted(value)))
            .collect(),
        other => other.clone(),
    }
}

/// For a URL.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// Each operation of the document: method, path, and the body of its example.
fn operations() -> Vec<(String, String, Option<Value>)> {
    let document: Value = serde_json::from_str(&http_api::openapi_document()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if !operation["operationId"].is_string() {
                continue;
            }
            let content = &operation["requestBody"]["content"]["application/json"];
            let example = content["examples"]
                .as_object()
                .and_then(|all| all.values().next())
                .map_or(&content["example"], |first| &first["value"]);
            let body = operation["requestBody"]
                .is_object()
                .then(|| example.clone());
            let mut query = String::new();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["in"] == "query" && parameter["name"] != "clinic_id" {
                    let sign = if query.is_empty() { '?' } else { '&' };
                    let name = parameter["name"].as_str().unwrap();
                    query.push_str(&format!("{sign}{name}={}", encoded(PLANTED)));
                }
            }
            let mut filled = String::new();
            for segment in path.split('/').skip(1) {
                filled.push('/');
                filled.push_str(&if segment.starts_with('{') {
                    encoded(PLANTED)
                } else {
                    segment.to_owned()
                });
            }
            let method = method.to_uppercase();
            // Who logs out everywhere is heard no more.
            if !path.contains("/auth/logout") {
                found.push((method, filled + &query, body));
            }
        }
    }
    assert!(found.len() > 20, "{}", found.len());
    found
}

/// What the cluster wrote into its log from `offset` on, where a superuser can read it.
async fn log_since(behind: &tokio_postgres::Client, offset: i64) -> Option<String> {
    let sql =
        "SELECT pg_read_file(current_setting('data_directory') || '/../log', $1, 1 << 30, true)";
    behind.query_one(sql, &[&offset]).await.ok()?.get(0)
}

async fn log_size(behind: &tokio_postgres::Client) -> i64 {
    let sql = "SELECT coalesce((pg_stat_file(current_setting('data_directory') || '/../log', true)).size, 0)";
    behind.query_one(sql, &[]).await.map_or(0, |row| row.get(0))
}

#[actix_web::test]
async fn nothing_personal_leaves_by_metrics_operators_jobs_or_the_database_s_log() {
    let base = TestDatabase::new().await;
    let clinic = two_clinics(&base).await.a;
    let behind = base.superuser().await;
    // As a cluster does that is looked into for slow statements, and was never told about
    // parameters: what stands between is the setting of the role, by the bootstrap.
    let name: String = behind
        .query_one("SELECT current_database()", &[])
        .await
        .unwrap()
        .get(0);
    for setting in [
        "log_min_duration_statement = 0",
        "log_parameter_max_length = -1",
        "log_parameter_max_length_on_error = -1",
        "log_error_verbosity = 'verbose'",
    ] {
        let sql = format!("ALTER DATABASE \"{name}\" SET {setting}");
        behind.batch_execute(&sql).await.unwrap();
    }
    let from = log_size(&behind).await;
    let sink = Sink::start().unwrap();
    let mut program = Program::new(&base.app_url());
    let mut command = program.clone();
    command.arguments = vec!["admin", "--json", "create-operator", "--name", "Ana"];
    let made = command.refused();
    assert!(made.success, "{}", made.said);
    let made: Value = serde_json::from_str(made.said.lines().last().unwrap()).unwrap();
    let operator = format!("Bearer {}", made["token"].as_str().unwrap());
    let port = free_port();
    program
        .set("ACOLHE_OPERATORS_PORT", &port.to_string())
        .set("ACOLHE_TELEMETRY_OTLP_ENDPOINT", &sink.endpoint())
        .set("ACOLHE_TELEMETRY_SAMPLING_RATIO", "1")
        .set("ACOLHE_TELEMETRY_METRICS_INTERVAL", "500ms")
        .set("ACOLHE_TELEMETRY_LOG_FILTER", "debug")
        .set("ACOLHE_TELEMETRY_SLOW_REQUEST", "1ms")
        .set("ACOLHE_DATABASE_SLOW_QUERY", "1ms");
    let running = program.start();
    let bearer = format!("Bearer {}", program.token(clinic.owner));
    let clinic_id = clinic.id.to_string();
    let headers = [
        ("Authorization", &*bearer),
        ("X-Clinic-Id", &*clinic_id),
        ("User-Agent", PLANTED),
        ("X-Request-Id", PLANTED),
        ("Idempotency-Key", "Zuleica-Canarinho"),
        ("If-Match", "\"Zuleica\""),
    ];

    // What is stored: a contact, and a message of a channel that a job processes.
    let contact = json!({"name": "Zuleica Canarinho", "document": "529.982.247-25",
        "phones": [{"value": "+55 11 98765-0088"}], "notes": PLANTED,
        "emails": [{"value": "zuleica@canarinho.example"}]});
    let plain = [("Authorization", &*bearer), ("X-Clinic-Id", &*clinic_id)];
    for expected in ["HTTP/1.1 201", "HTTP/1.1 409"] {
        let created = running.send(&request(
            "POST",
            "/api/v1/contacts",
            &plain,
            &contact.to_string(),
        ));
        assert!(created.starts_with(expected), "{created}");
    }
    let secret = "a-secret-of-the-channel";
    let channel = json!({"name": "Recepção", "provider": "whatsapp-cloud",
        "phoneNumberId": "4711", "appSecret": secret});
    let created = running.send(&request(
        "POST",
        "/api/v1/channels",
        &plain,
        &channel.to_string(),
    ));
    assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    let (_, body) = created.split_once("\r\n\r\n").unwrap();
    let channel: Value = serde_json::from_str(body).unwrap();
    let path = channel["webhookPath"].as_str().unwrap();
    let deliver = |message: Value| {
        let body =
            json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{
            "field": "messages", "value": {"messaging_product": "whatsapp",
                "metadata": {"phone_number_id": "4711"},
                "contacts": [{"wa_id": "5511987650088", "profile": {"name": "Zuleica Canarinho"}}],
                "messages": [message]}}]}]})
            .to_string();
        let proof = sign(secret, body.as_bytes());
        let headers = [("X-Hub-Signature-256", &*proof), ("User-Agent", PLANTED)];
        let answer = running.send(&request("POST", path, &headers, &body));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    deliver(
        json!({"from": "5511987650088", "id": "wamid.1", "timestamp": "1760000000",
        "type": "text", "text": {"body": PLANTED}}),
    );
    // Not what a message looks like: kept, and whatever it fails with must not repeat it.
    deliver(
        json!({"from": {"Zuleica": PLANTED}, "id": [PLANTED], "timestamp": PLANTED,
        "type": PLANTED, PLANTED: PLANTED}),
    );
    let began = Instant::now();
    while sink
        .spans()
        .iter()
        .filter(|span| span.kind == "consumer")
        .count()
        < 2
    {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the jobs do not run"
        );
        std::thread::sleep(Duration::from_millis(50));
    }

    // Every operation, with a canary in each parameter, each text of its body and each header.
    for (method, path, body) in operations() {
        let bodies = match body {
            Some(example) => vec![
                planted(&example).to_string(),
                json!({PLANTED: PLANTED}).to_string(),
                json!(PLANTED).to_string(),
                format!("{{{PLANTED}"),
            ],
            None => vec![String::new()],
        };
        for body in bodies {
            let answer = running.send(&request(&method, &path, &headers, &body));
            assert!(
                !answer.starts_with("HTTP/1.1 5"),
                "{method} {path}: {answer}"
            );
            let bare = running.send(&request(&method, &path, &[], &body));
            assert!(!bare.starts_with("HTTP/1.1 5"), "{method} {path}: {bare}");
        }
    }

    let mut shown = String::new();
    for path in [
        "/api/health",
        "/api/observability/health",
        "/api/metrics",
        "/api/jobs",
    ] {
        for accept in ["application/json", "text/plain"] {
            let headers = [("Authorization", &*operator), ("Accept", accept)];
            let answer = send_to(port, &request("GET", path, &headers, ""));
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
            shown.push_str(&answer);
        }
    }
    let ended = running.stop();
    assert!(ended.success, "{}", ended.said);
    assert!(!sink.points().is_empty() && !sink.logs().is_empty());
    let jobs: String = behind
        .query_one(
            "SELECT coalesce(string_agg(j::text, ' '), '') FROM app.jobs j",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert!(jobs.contains("webhook.process"), "{jobs}");
    let log = log_since(&behind, from).await;
    if let Some(log) = &log {
        // It is this server's statements that are there, without their values.
        assert!(
            log.contains("duration: ") && log.contains("app.contacts"),
            "{log}"
        );
    }
    let told = sink.everything();
    for canary in CANARIES {
        for (place, text) in [
            ("the collector", &told),
            ("the lines", &ended.said),
            ("an operator", &shown),
            ("a job", &jobs),
            ("PostgreSQL's log", log.as_ref().unwrap_or(&String::new())),
        ] {
            if let Some(at) = text.find(canary) {
                let from = text[..at]
                    .char_indices()
                    .rev()
                    .nth(200)
                    .map_or(0, |(at, _)| at);
                panic!(
                    "{canary} reached {place}: …{}",
                    &text[from..at + canary.len()]
                );
            }
        }
    }
    // Where the log cannot be read, the setting itself is looked at.
    let settings: Vec<String> = behind
        .query_one(
            "SELECT s.setconfig FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
             WHERE r.rolname = 'acolhe_app' AND s.setdatabase = 0",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    for setting in [
        "log_parameter_max_length=0",
        "log_parameter_max_length_on_error=0",
    ] {
        assert!(settings.iter().any(|it| it == setting), "{settings:?}");
    }
}
