//! Whoever fails too often waits: through HTTP, on a real database, by a clock that stands.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::sync::Arc;

use chrono::TimeDelta;
use clinics::Role;
use common::{Answer, LOGIN, PASSWORD, Stage, code};
use futures_util::future::join_all;
use serde_json::json;
use test_support::FixedClock;

const ANA: &str = "ana@example.com";
const HOME: &str = "198.51.100.7";
const STRANGER: &str = "203.0.113.9";

async fn stage() -> (Stage, Arc<FixedClock>) {
    let (stage, clock) = Stage::timed().await;
    stage.member(&stage.clinics.a, ANA, Role::Owner).await;
    (stage, clock)
}

async fn log_in(stage: &Stage, from: &str, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    stage
        .ask("post", LOGIN)
        .from(from)
        .json(&body)
        .answer()
        .await
}

fn wait(answer: &Answer) -> i64 {
    assert_eq!(code(answer), (429, "too-many-attempts"), "{}", answer.body);
    answer.header("Retry-After").parse().unwrap()
}

#[actix_web::test]
async fn an_account_waits_twice_as_long_after_each_failure_up_to_a_quarter_of_an_hour() {
    let (stage, clock) = stage().await;
    for _ in 0..5 {
        let rejected = log_in(&stage, STRANGER, ANA, "errada").await;
        assert_eq!(code(&rejected), (401, "invalid-credentials"));
    }
    let mut expected = 2;
    for _ in 0..12 {
        // Not even the right password is looked at, and asking does not prolong it.
        for _ in 0..3 {
            assert_eq!(
                wait(&log_in(&stage, STRANGER, ANA, PASSWORD).await),
                expected
            );
        }
        clock.advance(TimeDelta::seconds(expected) - TimeDelta::milliseconds(1));
        assert_eq!(wait(&log_in(&stage, STRANGER, ANA, PASSWORD).await), 1);
        clock.advance(TimeDelta::milliseconds(1));
        let rejected = log_in(&stage, STRANGER, ANA, "errada").await;
        assert_eq!(code(&rejected), (401, "invalid-credentials"));
        expected = (expected * 2).min(900);
    }
    clock.advance(TimeDelta::seconds(900));
    assert_eq!(log_in(&stage, STRANGER, ANA, PASSWORD).await.status, 200);
    // Forgotten: five more before one waits.
    for _ in 0..5 {
        let rejected = log_in(&stage, STRANGER, ANA, "errada").await;
        assert_eq!(rejected.status, 401);
    }
    wait(&log_in(&stage, STRANGER, ANA, PASSWORD).await);
    let begun = "SELECT kind FROM app.security_log WHERE kind = 'lockout.begun'";
    assert_eq!(stage.texts(begun).await.len(), 2, "once each time");
}

#[actix_web::test]
async fn a_known_and_an_unknown_account_are_refused_alike() {
    let (stage, _) = stage().await;
    for _ in 0..7 {
        let known = log_in(&stage, STRANGER, ANA, "errada").await;
        let unknown = log_in(&stage, HOME, "nobody@example.com", "errada").await;
        assert_eq!(known.comparable(), unknown.comparable());
        assert_eq!(known.header("Retry-After"), unknown.header("Retry-After"));
    }
}

#[actix_web::test]
async fn strangers_do_not_keep_a_user_out_of_where_they_have_been() {
    let (stage, clock) = stage().await;
    assert_eq!(log_in(&stage, HOME, ANA, PASSWORD).await.status, 200);
    for _ in 0..30 {
        log_in(&stage, STRANGER, ANA, "errada").await;
        clock.advance(TimeDelta::minutes(15));
    }
    log_in(&stage, STRANGER, ANA, "errada").await;
    wait(&log_in(&stage, STRANGER, ANA, PASSWORD).await);
    wait(&log_in(&stage, "192.0.2.1", ANA, PASSWORD).await);
    assert_eq!(log_in(&stage, HOME, ANA, PASSWORD).await.status, 200);
    // Nor has that opened the account to the stranger.
    wait(&log_in(&stage, STRANGER, ANA, PASSWORD).await);
    // Whoever guesses from there waits as well.
    for _ in 0..5 {
        assert_eq!(log_in(&stage, HOME, ANA, "errada").await.status, 401);
    }
    wait(&log_in(&stage, HOME, ANA, PASSWORD).await);
}

#[actix_web::test]
async fn an_address_waits_whatever_accounts_it_tries_and_others_do_not() {
    let (stage, clock) = stage().await;
    for number in 0..30 {
        // A login of its own in between opens nothing.
        if number % 10 == 9 {
            assert_eq!(log_in(&stage, STRANGER, ANA, PASSWORD).await.status, 200);
        }
        let email = format!("user{number}@example.com");
        assert_eq!(log_in(&stage, STRANGER, &email, "errada").await.status, 401);
    }
    assert_eq!(
        wait(&log_in(&stage, STRANGER, "new@example.com", "x").await),
        2
    );
    assert_eq!(wait(&log_in(&stage, STRANGER, ANA, PASSWORD).await), 2);
    assert_eq!(log_in(&stage, HOME, ANA, PASSWORD).await.status, 200);
    clock.advance(TimeDelta::seconds(2));
    assert_eq!(log_in(&stage, STRANGER, ANA, PASSWORD).await.status, 200);
}

#[actix_web::test]
async fn an_address_of_ipv6_is_its_network() {
    let (stage, _) = stage().await;
    for number in 0..30 {
        let from = format!("2001:db8:1:2::{number:x}");
        let email = format!("user{number}@example.com");
        assert_eq!(log_in(&stage, &from, &email, "errada").await.status, 401);
    }
    wait(&log_in(&stage, "2001:db8:1:2:ffff::1", ANA, PASSWORD).await);
    let neighbour = log_in(&stage, "2001:db8:1:3::1", ANA, PASSWORD).await;
    assert_eq!(neighbour.status, 200);
}

#[actix_web::test]
async fn many_at_once_are_no_more_than_one_after_another() {
    let (stage, _) = stage().await;
    let tries = (0..10).map(|_| log_in(&stage, STRANGER, ANA, "errada"));
    let answers = join_all(tries).await;
    let tried = answers.iter().filter(|answer| answer.status == 401).count();
    assert_eq!(tried, 5, "the others wait");
}

#[actix_web::test]
async fn failures_are_forgotten_after_a_day() {
    let (stage, clock) = stage().await;
    for _ in 0..4 {
        log_in(&stage, STRANGER, ANA, "errada").await;
    }
    clock.advance(TimeDelta::days(1));
    for _ in 0..5 {
        assert_eq!(log_in(&stage, STRANGER, ANA, "errada").await.status, 401);
    }
    wait(&log_in(&stage, STRANGER, ANA, PASSWORD).await);
}

#[actix_web::test]
async fn whoever_guesses_the_password_from_inside_waits_and_locks_nobody_out() {
    let (stage, _) = stage().await;
    let token = stage.token_of(ANA).await;
    let change = || {
        let body = json!({"currentPassword": "errada", "newPassword": "ipê amarelo, rua molhada"});
        let ask = stage.ask("post", "/api/v1/auth/password").token(&token);
        ask.from(STRANGER).json(&body).answer()
    };
    for _ in 0..5 {
        assert_eq!(code(&change().await), (403, "wrong-password"));
    }
    assert_eq!(wait(&change().await), 2);
    assert_eq!(log_in(&stage, HOME, ANA, PASSWORD).await.status, 200);
}

#[actix_web::test]
async fn no_address_and_no_account_is_readable_in_what_is_counted() {
    let (stage, _) = stage().await;
    log_in(&stage, STRANGER, ANA, PASSWORD).await;
    log_in(&stage, STRANGER, ANA, "errada").await;
    let rows = stage
        .texts("SELECT a::text FROM app.login_attempts a")
        .await;
    assert_eq!(rows.len(), 3, "the account, the address, and both together");
    assert!(
        rows.iter()
            .all(|row| !row.contains("ana") && !row.contains("203.0"))
    );
}
