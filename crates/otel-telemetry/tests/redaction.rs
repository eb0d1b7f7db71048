//! A planted secret reaches neither the collector nor stderr, by whichever way it was planted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "the common module is shared by several test binaries"
)]

mod common;

use std::collections::BTreeMap;

use common::{Watched, named};
use serde_json::json;

const NAME: &str = "Maria das Dores Canary";
const CPF: &str = "529.982.247-25";
const PHONE: &str = "+5511987654321";
const MAIL: &str = "maria.canary@example.com";

fn assert_clean(text: &str) {
    for secret in [
        NAME,
        CPF,
        PHONE,
        "5511987654321",
        "52998224725",
        MAIL,
        "Canary",
    ] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[derive(Debug)]
struct Patient {
    #[expect(dead_code, reason = "only its Debug is of interest")]
    name: &'static str,
}

// What `skip_all` is for.
#[tracing::instrument]
fn find_patient(patient: &Patient, document: &str) {
    tracing::info!(patient = ?patient, document, "found");
}

#[test]
fn an_argument_of_an_instrumented_function_does_not_leave() {
    let watched = Watched::new(|_| {});
    watched.during(|| find_patient(&Patient { name: NAME }, CPF));
    let twice = BTreeMap::from([("document".to_owned(), 2), ("patient".to_owned(), 2)]);
    assert_eq!(watched.telemetry.dropped_fields(), twice);
    let (sink, lines) = watched.finish();
    let span = named(&sink, "find_patient");
    assert!(span.attributes.is_empty(), "{span:?}");
    assert_eq!(sink.logs()[0].body, "found");
    assert_clean(&sink.everything());
    assert_clean(&lines);
    // The developer is told once which field it was.
    assert_eq!(
        lines.matches("drops the field patient").count(),
        1,
        "{lines}"
    );
}

#[test]
fn a_line_inherits_no_context_of_another_shape() {
    for sampling_ratio in [0.0, 1.0] {
        let watched = Watched::new(|settings| settings.sampling_ratio = sampling_ratio);
        watched.during(|| {
            let span = tracing::info_span!("request", acolhe.clinic_id = NAME, http.route = PHONE);
            span.record("acolhe.clinic_id", MAIL);
            span.in_scope(|| tracing::info!("said"));
        });
        let (sink, lines) = watched.finish();
        assert_clean(&sink.everything());
        assert_clean(&lines);
    }
}

#[test]
fn a_listed_field_of_another_shape_does_not_leave() {
    let watched = Watched::new(|_| {});
    watched.during(|| {
        let span = tracing::info_span!(
            "db.contacts.find",
            otel.kind = "client",
            db.query.summary = %format!("SELECT contacts WHERE phone = '{PHONE}'"),
            db.collection.name = PHONE,
            acolhe.clinic_id = NAME,
            http.response.status_code = NAME,
            count = ?Some(NAME),
        );
        span.in_scope(|| tracing::info!(code = MAIL, attempt = NAME, "tried"));
    });
    let (sink, lines) = watched.finish();
    assert!(named(&sink, "db.contacts.find").attributes.is_empty());
    assert_clean(&sink.everything());
    assert_clean(&lines);
}

#[test]
fn free_text_is_scrubbed() {
    let watched = Watched::new(|_| {});
    watched.during(|| {
        tracing::error!(error = %format!("no answer for {MAIL}"), "could not reach {PHONE}, cpf {CPF}");
        let error = std::io::Error::other(format!("key (cpf)=({CPF}) exists"));
        tracing::warn!(error = &error as &dyn std::error::Error, "not stored");
    });
    let (sink, lines) = watched.finish();
    assert_clean(&sink.everything());
    assert_clean(&lines);
    let logs = sink.logs();
    assert_eq!(logs[0].body, "could not reach +***, cpf ***");
    assert_eq!(logs[1].attributes["error"], json!("key (cpf)=(***) exists"));
}

#[test]
fn a_name_and_a_status_carry_nothing() {
    let watched = Watched::new(|_| {});
    watched.during(|| {
        let span = tracing::info_span!(
            "http.request",
            otel.name = format!("GET /contacts/{PHONE}"),
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
        );
        span.record("otel.status_code", "error");
        span.record("otel.status_description", NAME);
    });
    let (sink, lines) = watched.finish();
    let span = named(&sink, "unnamed");
    assert!(span.failed);
    assert_clean(&sink.everything());
    assert_clean(&lines);
}

#[test]
fn what_libraries_say_through_events_is_held_to_the_same() {
    let watched = Watched::new(|settings| settings.log_filter = "trace".to_owned());
    watched.during(|| {
        tracing::warn!(target: "opentelemetry_sdk", name = "Export.Failed", error = MAIL);
        tracing::debug!(target: "tokio_postgres::query", "parameters: [{NAME:?}]");
        tracing::trace!(target: "reqwest::connect", "https://example.com/?q={NAME}");
    });
    // A field of somebody else's event is dropped without being called our mistake.
    assert!(watched.telemetry.dropped_fields().is_empty());
    let (sink, lines) = watched.finish();
    assert_clean(&sink.everything());
    assert_clean(&lines);
}
