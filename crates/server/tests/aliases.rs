//! The documents' own paths of user management, through the running server.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use common::{Stage, code};
use serde_json::json;
use uuid::Uuid;

fn management(clinic: impl std::fmt::Display) -> String {
    format!("/api/clinic/{clinic}/users/management")
}

#[actix_web::test]
async fn user_management_of_a_clinic_named_in_the_path_is_its_users() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    let token = stage.token(clinic.owner);
    let alias = management(clinic.id);
    let ask = |method: &str, path: &str| stage.ask(method, path).token(&token);

    let documented = stage
        .owner(clinic, "get", "/api/v1/users?limit=1")
        .answer()
        .await;
    assert_eq!(documented.status, 200, "{}", documented.body);
    for path in [
        format!("{alias}?limit=1"),
        format!("/api/v1{}?limit=1", alias.strip_prefix("/api").unwrap()),
        format!("/api/users?limit=1&clinic_id={}", clinic.id),
    ] {
        let answer = ask("get", &path).answer().await;
        assert_eq!(answer.comparable(), documented.comparable(), "{path}");
        assert_eq!(answer.header("ETag"), documented.header("ETag"), "{path}");
    }
    let same = ask("get", &alias).header("X-Clinic-Id", &clinic.id.to_string());
    assert_eq!(same.answer().await.status, 200, "named twice alike");

    let body = json!({"email": "bia@example.com", "name": "Bia Prado", "role": "finance"});
    let invited = ask("post", &format!("{alias}/invitations"))
        .json(&body)
        .answer()
        .await;
    assert_eq!(invited.status, 202, "{}", invited.body);
    let id = invited.body["id"].as_str().unwrap();
    let revoked = ask("post", &format!("{alias}/invitations/{id}/revoke"))
        .answer()
        .await;
    assert_eq!(revoked.body["status"], "revoked", "{}", revoked.body);
    let own = format!("{alias}/{}", clinic.owner);
    let read = ask("get", &own).answer().await;
    assert_eq!(read.body["email"], "owner@a.example");
    let change = ask("patch", &own).json(&json!({"role": "admin"}));
    let change = change
        .header("If-Match", read.header("ETag"))
        .answer()
        .await;
    assert_eq!(
        code(&change),
        (422, "rule-violated"),
        "nobody changes themselves"
    );
    let deactivate = ask("post", &format!("{own}/deactivate")).answer().await;
    assert_eq!(code(&deactivate), (422, "rule-violated"));
}

#[actix_web::test]
async fn a_clinic_in_the_path_is_asked_for_as_one_in_the_header_is() {
    let stage = Stage::new().await;
    let (own, foreign) = (&stage.clinics.a, &stage.clinics.b);
    let token = stage.token(own.owner);
    let ask = |path: &str| stage.ask("get", path).token(&token);
    let two = ask(&management(own.id)).header("X-Clinic-Id", &foreign.id.to_string());
    assert_eq!(code(&two.answer().await), (400, "clinic-required"));
    let two = ask(&format!("{}?clinic_id={}", management(own.id), foreign.id));
    assert_eq!(code(&two.answer().await), (400, "clinic-required"));
    let refused = ask(&management(foreign.id)).answer().await;
    assert_eq!(code(&refused), (403, "no-clinic-access"));
    let nowhere = ask(&management(Uuid::max())).answer().await;
    assert_eq!(nowhere.comparable(), refused.comparable());
    for malformed in ["x", "%20", "a&clinic_id=b", "..", ""] {
        let answer = ask(&management(malformed)).answer().await;
        assert!(
            [400, 404].contains(&answer.status),
            "{malformed}: {}",
            answer.body
        );
    }
    let nobody = stage.ask("get", &management(own.id)).answer().await;
    assert_eq!(nobody.status, 401);
    // A user of the other clinic is none of this one's, by whatever path.
    let theirs = format!("{}/{}", management(own.id), foreign.owner);
    assert_eq!(code(&ask(&theirs).answer().await), (404, "not-found"));
}
