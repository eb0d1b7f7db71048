//! Every operation of the document against two clinics: nobody enters without a token and a
//! membership, and a record of another clinic answers as one that does not exist.
//!
//! A new operation is covered by being documented. A new kind of record must be made in
//! `common/records.rs`.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use common::records::{RANDOM, filled, foreign_records, kind};
use common::{Stage, operations};
use serde_json::json;

#[actix_web::test]
async fn every_tenant_operation_asks_for_a_token_then_a_clinic_then_a_membership() {
    let stage = Stage::new().await;
    let token = stage.token(stage.clinics.a.owner);
    for operation in operations().iter().filter(|it| it.is_tenant()) {
        let path = filled(operation, RANDOM);
        let name = format!("{} {}", operation.method, operation.path);
        let ask = || operation.prepare(stage.ask(&operation.method, &path));
        let clinic_b = stage.clinics.b.id.to_string();

        let nobody = ask().header("X-Clinic-Id", &clinic_b).answer().await;
        assert_eq!(nobody.status, 401, "{name}");
        assert!(
            nobody.header("www-authenticate").starts_with("Bearer"),
            "{name}"
        );

        let nowhere = ask().token(&token).answer().await;
        assert_eq!(
            (nowhere.status, &nowhere.body["code"]),
            (400, &json!("clinic-required")),
            "{name}"
        );

        let foreign = ask()
            .token(&token)
            .header("X-Clinic-Id", &clinic_b)
            .answer()
            .await;
        let absent = ask()
            .token(&token)
            .header("X-Clinic-Id", RANDOM)
            .answer()
            .await;
        assert_eq!(foreign.status, 403, "{name}");
        assert_eq!(foreign.comparable(), absent.comparable(), "{name}");
    }
}

#[actix_web::test]
async fn a_record_of_another_clinic_answers_as_a_random_id_does() {
    let stage = Stage::new().await;
    let records = foreign_records(&stage).await;
    let of_records = operations();
    let of_records = of_records
        .iter()
        .filter(|it| it.is_tenant() && it.has_path_parameter());
    for operation in of_records {
        let name = format!("{} {}", operation.method, operation.path);
        let foreign_id = records
            .get(kind(operation))
            .unwrap_or_else(|| panic!("{name}: make a record of clinic B in foreign_records"));
        let mut answers = Vec::new();
        for id in [foreign_id.as_str(), RANDOM, "no-id"] {
            let path = filled(operation, id);
            let ask = stage.owner(&stage.clinics.a, &operation.method, &path);
            answers.push(operation.prepare(ask).answer().await);
        }
        assert_eq!(answers[0].status, 404, "{name}: {}", answers[0].body);
        assert_eq!(answers[0].comparable(), answers[1].comparable(), "{name}");
        assert_eq!(answers[0].comparable(), answers[2].comparable(), "{name}");
        if operation.method == "get" {
            let path = filled(operation, foreign_id);
            let own = stage.owner(&stage.clinics.b, "get", &path).answer().await;
            assert_eq!(own.status, 200, "{name}: its own clinic sees it");
        }
        // Nor do the headers tell them apart.
        let names = |at: usize| {
            let mut names: Vec<_> = answers[at]
                .headers
                .keys()
                .map(ToString::to_string)
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(0), names(1), "{name}");
    }
}

#[actix_web::test]
async fn lists_hold_nothing_of_another_clinic() {
    let stage = Stage::new().await;
    let records = foreign_records(&stage).await;
    for operation in operations() {
        if !operation.is_tenant() || operation.has_path_parameter() || operation.method != "get" {
            continue;
        }
        let ask = stage.owner(&stage.clinics.a, "get", &operation.path);
        let answer = operation.prepare(ask).answer().await;
        assert_eq!(answer.status, 200, "{}: {}", operation.path, answer.body);
        let text = answer.body.to_string();
        for id in records.values().chain([&stage.clinics.b.id.to_string()]) {
            assert!(!text.contains(id.as_str()), "{} shows {id}", operation.path);
        }
    }
}

#[actix_web::test]
async fn an_alias_answers_as_the_documented_path_does() {
    let stage = Stage::new().await;
    let records = foreign_records(&stage).await;
    let contact = &records["contacts"];
    for (alias, documented) in [
        ("/api/contacts".to_owned(), "/api/v1/contacts".to_owned()),
        ("/api/v1/clients".to_owned(), "/api/v1/contacts".to_owned()),
        (
            "/api/clients?limit=1".to_owned(),
            "/api/v1/contacts?limit=1".to_owned(),
        ),
        (
            format!("/api/clients/{contact}"),
            format!("/api/v1/contacts/{contact}"),
        ),
    ] {
        let alias = stage.owner(&stage.clinics.b, "get", &alias).answer().await;
        let documented = stage
            .owner(&stage.clinics.b, "get", &documented)
            .answer()
            .await;
        assert_eq!(alias.status, 200, "{}", alias.body);
        assert_eq!(alias.comparable(), documented.comparable());
        assert_eq!(alias.header("etag"), documented.header("etag"));
    }
}
