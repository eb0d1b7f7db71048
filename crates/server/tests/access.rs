//! Login, the clinic and its branches through HTTP on a real database: who comes in, what they
//! may do there, and what each attempt leaves behind.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use clinics::Role;
use common::{LOGIN, PASSWORD, Stage, code, operations};
use serde_json::{Value, json};
use test_support::Clinic;
use uuid::Uuid;

const CURRENT: &str = "/api/v1/clinics/current";
const BRANCHES: &str = "/api/v1/branches";

#[actix_web::test]
async fn a_login_answers_a_token_the_user_and_their_clinics() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    stage
        .member(clinic, "ana@example.com", Role::Professional)
        .await;
    stage
        .member(&stage.clinics.b, "ana@example.com", Role::Finance)
        .await;

    let answer = stage.log_in("Ana@Example.com", PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("Cache-Control"), "no-store");
    let body = &answer.body;
    assert_eq!(
        (&body["tokenType"], &body["expiresIn"]),
        (&json!("Bearer"), &json!(900))
    );
    assert_eq!(body["user"]["email"], "ana@example.com");
    assert_eq!(body["user"]["name"], "Ana Lima");
    let clinics = json!([
        {"id": clinic.id, "name": "Clinic a", "role": "professional"},
        {"id": stage.clinics.b.id, "name": "Clinic b", "role": "finance"},
    ]);
    assert_eq!(body["clinics"], clinics);

    let token = body["accessToken"].as_str().unwrap();
    let me = stage.ask("get", "/api/v1/me").token(token).answer().await;
    assert_eq!(me.body, json!({"user": body["user"], "clinics": clinics}));
    let read = stage.acting(token, clinic, "get", CURRENT).answer().await;
    assert_eq!((read.status, &read.body["name"]), (200, &json!("Clinic a")));
}

#[actix_web::test]
async fn every_refused_login_answers_alike() {
    let stage = Stage::new().await;
    stage
        .member(&stage.clinics.a, "ana@example.com", Role::Owner)
        .await;
    stage
        .member(&stage.clinics.a, "bia@example.com", Role::Owner)
        .await;
    stage
        .execute("UPDATE app.users SET status = 'disabled' WHERE email = 'bia@example.com'")
        .await;
    let wrong = stage
        .log_in("ana@example.com", "outra senha bem longa")
        .await;
    assert_eq!(code(&wrong), (401, "invalid-credentials"));
    for (email, password) in [
        ("nobody@example.com", PASSWORD),
        ("bia@example.com", PASSWORD),
        // Made without a password.
        ("owner@a.example", PASSWORD),
        ("ana@example.com", "x"),
    ] {
        let answer = stage.log_in(email, password).await;
        assert_eq!(answer.comparable(), wrong.comparable(), "{email}");
        assert_eq!(answer.header("WWW-Authenticate"), "Bearer");
        assert!(!answer.body.to_string().contains(email));
    }
    let log = stage.texts("SELECT l::text FROM app.security_log l").await;
    assert_eq!(log.len(), 5);
    assert!(log.iter().all(|line| line.contains("login.rejected")));
    assert!(log.iter().all(|line| !line.contains("example")), "{log:?}");
}

#[actix_web::test]
async fn a_malformed_login_names_the_field_and_repeats_nothing() {
    let stage = Stage::new().await;
    let secret = "hunter2-hunter2";
    for (body, status, field) in [
        (json!({"email": secret, "password": secret}), 400, "email"),
        (json!({"email": "a@b.com"}), 400, "password"),
        (json!({"email": "a@b.com", "password": ""}), 400, "password"),
        (
            json!({"email": "a@b.com", "password": "x".repeat(257)}),
            400,
            "password",
        ),
        (
            json!({"email": "a@b.com", "password": [secret]}),
            400,
            "password",
        ),
    ] {
        let answer = stage.ask("post", LOGIN).json(&body).answer().await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(
            answer.body["invalidParams"][0]["name"], field,
            "{}",
            answer.body
        );
        assert!(!answer.body.to_string().contains(secret));
    }
}

#[actix_web::test]
async fn a_disabled_user_is_out_at_once() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    stage.member(clinic, "ana@example.com", Role::Owner).await;
    let token = stage.token_of("ana@example.com").await;
    let me = || stage.ask("get", "/api/v1/me").token(&token).answer();
    let read = || stage.acting(&token, clinic, "get", CURRENT).answer();
    assert_eq!((me().await.status, read().await.status), (200, 200));
    stage
        .execute("UPDATE app.users SET status = 'disabled' WHERE email = 'ana@example.com'")
        .await;
    assert_eq!(code(&me().await), (401, "unauthenticated"));
    assert_eq!(code(&read().await), (401, "unauthenticated"));
    // Nor by a process that vouches for the session itself, because it knows of all revocations.
    stage.follow_revocations().await;
    assert_eq!(code(&read().await), (403, "no-clinic-access"));
    assert_eq!(code(&me().await), (401, "unauthenticated"));
}

#[actix_web::test]
async fn the_token_is_asked_for_first_then_the_clinic_then_the_membership() {
    let stage = Stage::new().await;
    let (own, foreign) = (&stage.clinics.a, &stage.clinics.b);
    stage.member(own, "ana@example.com", Role::Owner).await;
    let token = stage.token_of("ana@example.com").await;
    let ask = || stage.ask("get", CURRENT);
    assert_eq!(code(&ask().answer().await), (401, "unauthenticated"));
    let forged = format!("{token}x");
    let named = own.id.to_string();
    let answer = ask()
        .token(&forged)
        .header("X-Clinic-Id", &named)
        .answer()
        .await;
    assert_eq!(code(&answer), (401, "unauthenticated"));
    let unnamed = ask().token(&token).answer().await;
    assert_eq!(code(&unnamed), (400, "clinic-required"));
    let malformed = ask()
        .token(&token)
        .header("X-Clinic-Id", "clinic")
        .answer()
        .await;
    assert_eq!(code(&malformed), (400, "clinic-required"));

    let refused = ask()
        .token(&token)
        .header("X-Clinic-Id", &foreign.id.to_string());
    let refused = refused.answer().await;
    assert_eq!(code(&refused), (403, "no-clinic-access"));
    let unknown = ask()
        .token(&token)
        .header("X-Clinic-Id", &Uuid::nil().to_string());
    assert_eq!(unknown.answer().await.comparable(), refused.comparable());
    stage
        .execute("UPDATE app.clinics SET status = 'suspended'")
        .await;
    let suspended = ask()
        .token(&token)
        .header("X-Clinic-Id", &named)
        .answer()
        .await;
    assert_eq!(suspended.comparable(), refused.comparable());
    let noted = "SELECT user_id::text FROM app.security_log WHERE kind = 'clinic.refused'";
    assert_eq!(stage.texts(noted).await.len(), 3);
}

#[actix_web::test]
async fn a_clinic_is_changed_by_who_has_read_it_last() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    let read = stage.owner(clinic, "get", CURRENT).answer().await;
    let tag = read.header("ETag").to_owned();
    assert_eq!(read.body["settings"], json!({"quietHours": null}));
    let same = stage
        .owner(clinic, "get", CURRENT)
        .header("If-None-Match", &tag);
    assert_eq!(same.answer().await.status, 304);

    let change = json!({
        "name": "Clínica Ipê", "timeZone": "America/Manaus",
        "settings": {"quietHours": {"from": "21:00", "until": "08:00"}},
    });
    let patch = || stage.owner(clinic, "patch", CURRENT).json(&change);
    assert_eq!(
        code(&patch().answer().await),
        (428, "precondition-required")
    );
    let done = patch().header("If-Match", &tag).answer().await;
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(done.body["name"], "Clínica Ipê");
    assert_eq!(done.body["settings"], change["settings"]);
    assert_ne!(done.header("ETag"), tag);
    let stale = patch().header("If-Match", &tag).answer().await;
    assert_eq!(code(&stale), (412, "precondition-failed"));
    let emptied = json!({"settings": {"quietHours": null}});
    let emptied = stage.owner(clinic, "patch", CURRENT).json(&emptied);
    let emptied = emptied
        .header("If-Match", done.header("ETag"))
        .answer()
        .await;
    assert_eq!(emptied.body["settings"], json!({"quietHours": null}));
    assert_eq!(
        emptied.body["name"], "Clínica Ipê",
        "what is not named stays"
    );

    let wrong = json!({
        "name": "", "timeZone": "Mars/Base", "locale": "xx_YY",
        "settings": {"quietHours": {"from": "25:00", "until": "08:00"}},
    });
    let wrong = stage.owner(clinic, "patch", CURRENT).json(&wrong);
    let wrong = wrong.header("If-Match", "*").answer().await;
    assert_eq!(wrong.status, 400);
    let names: Vec<&Value> = wrong.body["invalidParams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|param| &param["name"])
        .collect();
    assert_eq!(
        names,
        ["name", "timeZone", "locale", "settings.quietHours.from"]
    );
    let unknown = json!({"locale": "xx"});
    let unknown = stage.owner(clinic, "patch", CURRENT).json(&unknown);
    let unknown = unknown.header("If-Match", "*").answer().await;
    let param = &unknown.body["invalidParams"][0];
    assert_eq!((unknown.status, &param["name"]), (400, &"locale".into()));
    let reason = param["reason"].as_str().unwrap();
    assert!(reason.starts_with("must be one of pt-BR, "), "{reason}");
}

#[actix_web::test]
async fn a_branch_is_created_read_changed_and_listed() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    let new = json!({
        "name": "Centro",
        "address": {"city": "Recife", "state": "pe", "postalCode": "50050-000"},
        "openingHours": [
            {"weekday": "tuesday", "opens": "08:00", "closes": "24:00"},
            {"weekday": "monday", "opens": "08:00", "closes": "18:00"},
        ],
    });
    let created = stage
        .owner(clinic, "post", BRANCHES)
        .json(&new)
        .answer()
        .await;
    assert_eq!(created.status, 201, "{}", created.body);
    let path = created.header("Location").to_owned();
    assert_eq!(
        created.body["timeZone"], "America/Sao_Paulo",
        "the clinic's"
    );
    assert_eq!(created.body["address"]["state"], "PE");
    assert_eq!(created.body["address"]["postalCode"], "50050000");
    assert_eq!(created.body["openingHours"][0]["weekday"], "monday");
    assert_eq!(created.body["openingHours"][1]["closes"], "24:00");
    let read = stage.owner(clinic, "get", &path).answer().await;
    assert_eq!(read.body, created.body);
    assert_eq!(read.header("ETag"), created.header("ETag"));

    let taken = json!({"name": "centro"});
    let taken = stage
        .owner(clinic, "post", BRANCHES)
        .json(&taken)
        .answer()
        .await;
    assert_eq!(code(&taken), (409, "already-exists"));
    let overlapping = json!({"name": "Praia", "openingHours": [
        {"weekday": "monday", "opens": "08:00", "closes": "12:00"},
        {"weekday": "monday", "opens": "11:00", "closes": "18:00"},
    ]});
    let refused = stage.owner(clinic, "post", BRANCHES).json(&overlapping);
    let refused = refused.answer().await;
    assert_eq!(
        refused.body["invalidParams"][0]["name"], "openingHours",
        "{}",
        refused.body
    );

    let change = json!({"address": null, "status": "closed"});
    let patch = || stage.owner(clinic, "patch", &path).json(&change);
    assert_eq!(
        code(&patch().answer().await),
        (428, "precondition-required")
    );
    let changed = patch()
        .header("If-Match", read.header("ETag"))
        .answer()
        .await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(
        (&changed.body["address"], &changed.body["status"]),
        (&Value::Null, &json!("closed"))
    );
    let stale = patch()
        .header("If-Match", read.header("ETag"))
        .answer()
        .await;
    assert_eq!(code(&stale), (412, "precondition-failed"));

    for name in ["Leste", "Oeste"] {
        let more = stage
            .owner(clinic, "post", BRANCHES)
            .json(&json!({ "name": name }));
        assert_eq!(more.answer().await.status, 201);
    }
    let (names, cursor) = page(&stage, clinic, &format!("{BRANCHES}?limit=2")).await;
    assert_eq!(names, ["Oeste", "Leste"]);
    let (names, end) = page(
        &stage,
        clinic,
        &format!("{BRANCHES}?limit=2&cursor={}", cursor.unwrap()),
    )
    .await;
    assert_eq!((names, end), (vec!["Centro".to_owned()], None));
}

async fn page(stage: &Stage, clinic: &Clinic, path: &str) -> (Vec<String>, Option<String>) {
    let answer = stage.owner(clinic, "get", path).answer().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let data = answer.body["data"].as_array().unwrap();
    let names = data
        .iter()
        .map(|row| row["name"].as_str().unwrap().to_owned());
    let cursor = answer.body["nextCursor"].as_str().map(str::to_owned);
    assert_eq!(answer.body["hasMore"], cursor.is_some());
    (names.collect(), cursor)
}

#[actix_web::test]
async fn a_cursor_of_another_clinic_or_role_is_refused() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    for name in ["Leste", "Oeste"] {
        let new = stage
            .owner(clinic, "post", BRANCHES)
            .json(&json!({ "name": name }));
        assert_eq!(new.answer().await.status, 201);
    }
    let (_, cursor) = page(&stage, clinic, &format!("{BRANCHES}?limit=1")).await;
    let path = format!("{BRANCHES}?limit=1&cursor={}", cursor.unwrap());
    stage
        .member(clinic, "ana@example.com", Role::Readonly)
        .await;
    let token = stage.token_of("ana@example.com").await;
    let other_role = stage.acting(&token, clinic, "get", &path).answer().await;
    assert_eq!(code(&other_role), (400, "invalid-cursor"));
    let other_clinic = stage.owner(&stage.clinics.b, "get", &path).answer().await;
    assert_eq!(other_clinic.comparable(), other_role.comparable());
}

/// Whatever stands in the way otherwise: a body that breaks its rules or is none, a condition
/// that is missing, stale or garbage, a record that does not exist.
#[actix_web::test]
async fn no_role_learns_anything_but_that_it_may_not_and_each_attempt_is_audited() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    stage
        .member(clinic, "ana@example.com", Role::Readonly)
        .await;
    let token = stage.token_of("ana@example.com").await;
    let mut expected = Vec::new();
    for operation in operations() {
        let name = format!("{} {}", operation.method, operation.path);
        let permission = operation.parts["x-permission"].as_str().unwrap();
        if !operation.is_tenant() || permission.split('.').nth(1) == Some("read") {
            continue;
        }
        let path = common::records::filled(&operation, &Uuid::max().to_string());
        let ask = || stage.acting(&token, clinic, &operation.method, &path);
        for ask in [
            ask(),
            operation.prepare(ask()),
            ask().raw("{"),
            ask().raw(r#"{"bogus":"\u0000"}"#).header("If-Match", "*"),
            ask().raw("{}").header("If-Match", "\"stale\""),
            ask().raw("{}").header("If-Match", "garbage"),
        ] {
            let answer = ask.answer().await;
            assert_eq!(code(&answer), (403, "forbidden"), "{name}: {}", answer.body);
            let kind = permission.split('.').next().unwrap();
            expected.push(format!("{permission} readonly {kind}"));
        }
    }
    for kind in ["clinic", "branch", "contact", "channel", "conversation"] {
        assert!(expected.iter().any(|it| it.ends_with(kind)), "{kind}");
    }
    let denied = "SELECT concat_ws(' ', action, actor_role, resource_kind)
                  FROM app.audit_entries WHERE outcome = 'denied' ORDER BY id";
    assert_eq!(stage.texts(denied).await, expected);
}

#[actix_web::test]
async fn who_may_not_learns_that_first_and_the_attempt_is_audited() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    let branch = stage
        .owner(clinic, "post", BRANCHES)
        .json(&json!({"name": "Centro"}));
    let path = branch.answer().await.header("Location").to_owned();
    stage
        .member(clinic, "ana@example.com", Role::Receptionist)
        .await;
    let token = stage.token_of("ana@example.com").await;
    let change = json!({"name": "Minha"});
    for (method, path) in [
        ("patch", CURRENT),
        ("patch", path.as_str()),
        ("post", BRANCHES),
    ] {
        // Without If-Match: what stands in the way first is the permission.
        let ask = stage.acting(&token, clinic, method, path).json(&change);
        assert_eq!(
            code(&ask.answer().await),
            (403, "forbidden"),
            "{method} {path}"
        );
    }
    assert_eq!(
        stage
            .acting(&token, clinic, "get", &path)
            .answer()
            .await
            .status,
        200
    );
    let denied = "SELECT concat_ws(' ', action, actor_role, resource_kind, actor_id =
                      (SELECT id FROM app.users WHERE email = 'ana@example.com'))
                  FROM app.audit_entries WHERE outcome = 'denied' ORDER BY id";
    assert_eq!(
        stage.texts(denied).await,
        [
            "clinic.update receptionist clinic t",
            "branch.manage receptionist branch t",
            "branch.manage receptionist branch t"
        ]
    );
}
