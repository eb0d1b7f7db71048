//! Flags and plans from the operator's command to what a clinic sees of them.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use clinics::{Flag, Percentage, Reason, RolloutError};
use common::{Answer, Stage};
use kernel::{ClinicId, Origin, RequestId};
use serde_json::json;
use test_support::Clinic;

const FLAG: Flag = Flag::CompressedAnswers;

fn origin() -> Origin {
    Origin::internal(RequestId::from(uuid::Uuid::nil()))
}

fn reason() -> Reason {
    "a phone that cannot decompress".parse().unwrap()
}

async fn seen(stage: &Stage, clinic: &Clinic) -> bool {
    stage.services.flags.refresh().await.unwrap();
    let answer = stage
        .owner(clinic, "get", "/api/v1/feature-flags")
        .answer()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let data = answer.body["data"].as_array().unwrap().clone();
    assert_eq!(data.len(), Flag::ALL.len());
    assert_eq!(data[0]["name"], "compressed-answers");
    data[0]["isOn"].as_bool().unwrap()
}

async fn long_list(stage: &Stage, clinic: &Clinic) -> Answer {
    let ask = stage.owner(clinic, "get", "/api/v1/contacts");
    ask.header("Accept-Encoding", "gzip").answer().await
}

#[actix_web::test]
async fn a_flag_that_is_off_for_one_clinic_is_off_there_alone_and_that_is_kept() {
    let stage = Stage::new().await;
    let (a, b) = (&stage.clinics.a, &stage.clinics.b);
    for clinic in [a, b] {
        for letter in 'a'..='j' {
            let name = format!("Maria {}", letter.to_string().repeat(60));
            let ask = stage.owner(clinic, "post", "/api/v1/contacts");
            let created = ask.json(&json!({ "name": name })).answer().await;
            assert_eq!(created.status, 201, "{}", created.body);
        }
    }
    assert!(seen(&stage, a).await && seen(&stage, b).await);
    assert_eq!(
        long_list(&stage, a).await.header("content-encoding"),
        "gzip"
    );

    let rollout = stage.foundation.rollout();
    let set = rollout.set_clinic_flag(origin(), a.id, FLAG, Some(false), reason());
    set.await.unwrap();
    assert!(!seen(&stage, a).await && seen(&stage, b).await);
    let plain = long_list(&stage, a).await;
    assert_eq!((plain.status, plain.header("content-encoding")), (200, ""));
    assert_eq!(
        long_list(&stage, b).await.header("content-encoding"),
        "gzip"
    );

    let log =
        "SELECT kind || ' | ' || coalesce(reason, '') || ' | ' || coalesce(clinic_id::text, '')
               FROM app.security_log WHERE kind LIKE 'flag.%' ORDER BY at";
    let line = format!(
        "flag.compressed-answers.off | {} | {}",
        reason().as_str(),
        a.id
    );
    assert_eq!(stage.texts(log).await, [line]);
    let audit = "SELECT clinic_id || ' ' || actor_kind || ' ' || action FROM app.audit_entries
                 WHERE action LIKE 'feature-flag.%'";
    assert_eq!(
        stage.texts(audit).await,
        [format!("{} operator feature-flag.set", a.id)]
    );

    let cleared = rollout.set_clinic_flag(origin(), a.id, FLAG, None, reason());
    cleared.await.unwrap();
    assert!(seen(&stage, a).await);
}

#[actix_web::test]
async fn a_share_of_nothing_switches_all_off_but_those_with_a_word_of_their_own() {
    let stage = Stage::new().await;
    let (a, b) = (&stage.clinics.a, &stage.clinics.b);
    let rollout = stage.foundation.rollout();
    let own = rollout.set_clinic_flag(origin(), b.id, FLAG, Some(true), reason());
    own.await.unwrap();
    let none = Percentage::new(0);
    rollout
        .set_flag(origin(), FLAG, none, reason())
        .await
        .unwrap();
    assert!(!seen(&stage, a).await && seen(&stage, b).await);
    // Nothing has changed since: nothing is read.
    assert!(!stage.services.flags.refresh().await.unwrap());
    rollout
        .set_flag(origin(), FLAG, None, reason())
        .await
        .unwrap();
    assert!(seen(&stage, a).await && seen(&stage, b).await);
}

#[actix_web::test]
async fn a_plan_is_known_to_every_process_and_a_clinic_that_is_none_is_said_to_be_none() {
    let stage = Stage::new().await;
    let rollout = stage.foundation.rollout();
    let a = stage.clinics.a.id;
    let set = rollout.set_plan(origin(), a, Some(60_000), reason());
    set.await.unwrap();
    assert!(stage.services.flags.refresh().await.unwrap());
    let present = stage.services.flags.present();
    assert_eq!(present.plans.get(&a), Some(&60_000));
    let nobody = ClinicId::from(uuid::Uuid::from_u128(1));
    for refused in [
        rollout.set_plan(origin(), nobody, Some(1), reason()).await,
        rollout
            .set_clinic_flag(origin(), nobody, FLAG, Some(true), reason())
            .await,
    ] {
        assert!(
            matches!(refused, Err(RolloutError::NoSuchClinic)),
            "{refused:?}"
        );
    }
    let set = rollout.set_plan(origin(), a, None, reason());
    set.await.unwrap();
    stage.services.flags.refresh().await.unwrap();
    assert!(stage.services.flags.present().plans.is_empty());
}
