//! How soon an end is the end: two processes over one database, each with a memory of its own.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::thread::sleep;
use std::time::Duration;

use clinics::Role;
use common::{PASSWORD, Stage, code};
use serde_json::json;

const ME: &str = "/api/v1/me";
const LOGOUT: &str = "/api/v1/auth/logout";
const SECRET: &str = "ipê amarelo, rua molhada";

async fn stage() -> (Stage, String) {
    let stage = Stage::new().await;
    stage
        .member(&stage.clinics.a, "ana@example.com", Role::Owner)
        .await;
    let token = stage.token_of("ana@example.com").await;
    (stage, token)
}

/// Makes the server's role unable to look sessions up, as a database that fails would.
async fn break_look_ups(stage: &Stage) {
    stage
        .execute("REVOKE EXECUTE ON FUNCTION sec.is_session_live(uuid, uuid, timestamptz) FROM acolhe_app")
        .await;
}

#[actix_web::test]
async fn the_process_that_ends_a_session_refuses_its_tokens_at_once_and_the_other_once_it_asks() {
    let (stage, token) = stage().await;
    let other = stage.second_process().await;
    stage.follow_revocations().await;
    other.follow_revocations().await;
    // Both vouch for what they know: neither looks a session up for the second that follows.
    break_look_ups(&stage).await;
    let here = || stage.ask("get", ME).token(&token).answer();
    let there = || stage.ask("get", ME).token(&token).answer_of(&other);
    assert_eq!((here().await.status, there().await.status), (200, 200));
    let out = stage.ask("post", LOGOUT).token(&token).answer().await;
    assert_eq!(out.status, 204);
    assert_eq!(code(&here().await), (401, "unauthenticated"), "at once");
    other.follow_revocations().await;
    assert_eq!(code(&there().await), (401, "unauthenticated"));
}

#[actix_web::test]
async fn a_process_that_does_not_follow_looks_each_session_up_and_fails_closed() {
    let (stage, token) = stage().await;
    let other = stage.second_process().await;
    let there = || stage.ask("get", ME).token(&token).answer_of(&other);
    other.follow_revocations().await;
    assert_eq!(there().await.status, 200);
    let out = stage.ask("post", LOGOUT).token(&token).answer().await;
    assert_eq!(out.status, 204);
    // It stops asking. What it knew is good for a second, and not for longer.
    sleep(Duration::from_millis(1_050));
    assert_eq!(code(&there().await), (401, "unauthenticated"), "looked up");
    let fresh = stage.token_of("ana@example.com").await;
    let alive = || stage.ask("get", ME).token(&fresh).answer_of(&other);
    assert_eq!(alive().await.status, 200, "looked up");
    break_look_ups(&stage).await;
    let blind = alive().await;
    assert!(blind.status >= 500, "never open: {}", blind.body);
}

#[actix_web::test]
async fn a_revocation_is_not_skipped_however_late_it_commits() {
    let (stage, token) = stage().await;
    let other = stage.second_process().await;
    let there = || stage.ask("get", ME).token(&token).answer_of(&other);
    // Somebody ends it in a transaction that takes its time.
    let mut slow = stage.base.superuser().await;
    let open = slow.transaction().await.unwrap();
    open.execute(
        "SELECT sec.revoke_sessions(u.id, NULL, 'deactivated', now()) FROM app.users u
         WHERE u.email = 'ana@example.com'",
        &[],
    )
    .await
    .unwrap();
    // Meanwhile others come and go, and the process asks.
    for _ in 0..3 {
        stage.token_of("ana@example.com").await;
        other.follow_revocations().await;
    }
    assert_eq!(there().await.status, 200, "it has not ended yet");
    open.commit().await.unwrap();
    other.follow_revocations().await;
    assert_eq!(code(&there().await), (401, "unauthenticated"));
}

#[actix_web::test]
async fn a_changed_password_ends_every_other_session_and_keeps_this_one() {
    let (stage, here) = stage().await;
    let there = stage.token_of("ana@example.com").await;
    let change = |current: &str, new: &str| {
        let body = json!({"currentPassword": current, "newPassword": new});
        let path = "/api/v1/auth/password";
        stage.ask("post", path).token(&here).json(&body).answer()
    };
    let wrong = change("outra senha bem longa", SECRET).await;
    assert_eq!(code(&wrong), (403, "wrong-password"));
    let short = change(PASSWORD, "curta").await;
    assert_eq!(short.body["invalidParams"][0]["name"], "newPassword");
    let own = change(PASSWORD, "ana@example.com").await;
    assert_eq!(
        own.body["invalidParams"][0]["code"], "of-the-account",
        "{}",
        own.body
    );
    let me = |token: &str| stage.ask("get", ME).token(token).answer();
    assert_eq!(me(&there).await.status, 200, "nothing has changed yet");

    assert_eq!(change(PASSWORD, SECRET).await.status, 204);
    assert_eq!(me(&here).await.status, 200);
    assert_eq!(code(&me(&there).await), (401, "unauthenticated"));
    let old = stage.log_in("ana@example.com", PASSWORD).await;
    assert_eq!(code(&old), (401, "invalid-credentials"));
    assert_eq!(stage.log_in("ana@example.com", SECRET).await.status, 200);
    let noted = "SELECT kind FROM app.security_log WHERE kind = 'password.changed'";
    assert_eq!(stage.texts(noted).await.len(), 1);
}
