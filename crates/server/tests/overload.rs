//! More requests at once than are let in: each is answered rightly or refused as documented, and
//! afterwards everything is as before. `cargo xtask overload` does the same to a whole server.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use common::Stage;
use futures_util::future::join_all;
use http_api::{ApiSettings, LimitSettings};
use serde_json::{Value, json};
use server::wiring::api;

const AT_ONCE: usize = 400;
const LET_IN: usize = 40;

#[actix_web::test]
async fn what_is_let_in_is_answered_rightly_and_the_rest_is_refused_at_once() {
    let stage = Stage::new().await;
    let clinics = [&stage.clinics.a, &stage.clinics.b];
    for (clinic, name) in clinics.iter().zip(["Maria Alfa", "Maria Beta"]) {
        let ask = stage.owner(clinic, "post", "/api/v1/contacts");
        let created = ask.json(&json!({ "name": name })).answer().await;
        assert_eq!(created.status, 201, "{}", created.body);
    }
    let settings = ApiSettings {
        limits: LimitSettings {
            max_in_flight: LET_IN,
            ..LimitSettings::off()
        },
        ..ApiSettings::default()
    };
    let api = api(&stage.foundation, stage.services.clone(), settings);
    let service = init_service(http_api::app(&api)).await;
    let tokens = clinics.map(|clinic| stage.token(clinic.owner));
    let ask = |number: usize| {
        TestRequest::with_uri("/api/v1/contacts")
            .insert_header(("Authorization", format!("Bearer {}", tokens[number % 2])))
            .insert_header(("X-Clinic-Id", clinics[number % 2].id.to_string()))
            .to_request()
    };
    let asked = (0..AT_ONCE).map(|number| call_service(&service, ask(number)));
    let answers = join_all(asked).await;
    let (mut served, mut refused) = (0, 0);
    for (number, answer) in answers.into_iter().enumerate() {
        let status = answer.status();
        let has_retry = answer.headers().contains_key("retry-after");
        let body: Value = serde_json::from_slice(&read_body(answer).await).unwrap();
        if status == StatusCode::OK {
            served += 1;
            let own = ["Maria Alfa", "Maria Beta"][number % 2];
            assert_eq!(body["data"].as_array().unwrap().len(), 1);
            assert_eq!(body["data"][0]["name"], own);
        } else {
            refused += 1;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(has_retry && body["code"] == "overloaded", "{body}");
        }
    }
    assert!(
        served >= LET_IN / 2 && refused > 0,
        "{served} and {refused}"
    );
    let load = api.limits().load();
    assert_eq!(load.in_flight, 0);
    assert_eq!(load.shed, refused);
    let after = call_service(&service, ask(0)).await;
    assert_eq!(after.status(), StatusCode::OK);
}
