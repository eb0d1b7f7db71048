//! Sessions through HTTP on a real database: how they go on, how they end, and what a stolen
//! token is worth.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::collections::BTreeSet;

use chrono::TimeDelta;
use clinics::Role;
use common::{Answer, LOGIN, PASSWORD, Stage, code};
use futures_util::future::join_all;
use serde_json::{Value, json};

const REFRESH: &str = "/api/v1/auth/refresh";
const SESSIONS: &str = "/api/v1/auth/sessions";
const ANA: &str = "ana@example.com";

async fn stage_with_ana() -> (Stage, std::sync::Arc<test_support::FixedClock>) {
    let (stage, clock) = Stage::timed().await;
    stage.member(&stage.clinics.a, ANA, Role::Owner).await;
    (stage, clock)
}

/// A login whose refresh token is in the body: both tokens.
async fn tokens(stage: &Stage) -> (String, String) {
    let body = json!({"email": ANA, "password": PASSWORD, "refreshToken": "body"});
    let answer = stage.ask("post", LOGIN).json(&body).answer().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.header("Set-Cookie").is_empty());
    both(&answer)
}

fn both(answer: &Answer) -> (String, String) {
    let text = |name: &str| answer.body[name].as_str().unwrap().to_owned();
    (text("accessToken"), text("refreshToken"))
}

async fn refresh(stage: &Stage, token: &str) -> Answer {
    let body = json!({ "refreshToken": token });
    stage.ask("post", REFRESH).json(&body).answer().await
}

async fn log(stage: &Stage) -> Vec<String> {
    stage
        .texts("SELECT kind FROM app.security_log ORDER BY kind, id")
        .await
}

fn cookies(answer: &Answer) -> Vec<String> {
    let values = answer.headers.get_all("Set-Cookie");
    values.map(|it| it.to_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn a_browsers_refresh_token_travels_in_a_cookie_of_the_auth_paths_alone() {
    let (stage, _) = stage_with_ana().await;
    let login = stage.log_in(ANA, PASSWORD).await;
    assert_eq!(login.body["refreshToken"], Value::Null);
    assert_eq!(login.body["refreshExpiresIn"], 14 * 24 * 3600);
    let set = cookies(&login);
    assert_eq!(set.len(), 2, "{set:?}");
    let token = set[0].split(['=', ';']).nth(1).unwrap().to_owned();
    for (set, path) in set.iter().zip(["/api/v1/auth", "/api/auth"]) {
        assert_eq!(
            *set,
            format!(
                "__Secure-acolhe_refresh={token}; Path={path}; Max-Age=1209600; HttpOnly; \
                 SameSite=Strict; Secure"
            )
        );
    }

    let cookie = |token: &str| format!("other=1; __Secure-acolhe_refresh={token}");
    let refreshed = stage
        .ask("post", REFRESH)
        .header("Cookie", &cookie(&token))
        .json(&json!({}))
        .answer()
        .await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.body);
    assert_eq!(refreshed.header("Cache-Control"), "no-store");
    assert_eq!(refreshed.body["refreshToken"], Value::Null);
    let access = refreshed.body["accessToken"].as_str().unwrap();
    let me = stage.ask("get", "/api/v1/me").token(access).answer().await;
    assert_eq!(me.body["user"]["email"], ANA);
    let next = cookies(&refreshed)[0]
        .split(['=', ';'])
        .nth(1)
        .unwrap()
        .to_owned();
    assert_ne!(next, token);

    // The alias, with the cookie of its own path.
    let alias = stage
        .ask("post", "/api/auth/refresh")
        .header("Cookie", &cookie(&next))
        .json(&json!({}))
        .answer()
        .await;
    assert_eq!(alias.status, 200, "{}", alias.body);

    // A form of another site has no such media type, and learns nothing.
    let form = stage
        .ask("post", REFRESH)
        .header("Cookie", &cookie(&next))
        .header("Content-Type", "text/plain")
        .answer()
        .await;
    assert_eq!(code(&form), (415, "unsupported-media-type"));

    let stale = stage
        .ask("post", REFRESH)
        .header("Cookie", &cookie("acr_nonsense"))
        .json(&json!({}))
        .answer()
        .await;
    assert_eq!(code(&stale), (401, "refresh-rejected"));
    let removed = cookies(&stale);
    assert!(removed.len() == 2 && removed.iter().all(|it| it.contains("Max-Age=0")));
    let none = stage.ask("post", REFRESH).json(&json!({})).answer().await;
    assert_eq!(code(&none), (401, "refresh-rejected"));
}

#[actix_web::test]
async fn a_token_that_comes_back_ends_its_session_and_is_noted() {
    let (stage, clock) = stage_with_ana().await;
    let (_, first) = tokens(&stage).await;
    let (_, bystander) = tokens(&stage).await;
    let (_, second) = both(&refresh(&stage, &first).await);
    clock.advance(TimeDelta::seconds(10));
    let stolen = refresh(&stage, &first).await;
    assert_eq!(code(&stolen), (401, "refresh-rejected"));
    let newest = refresh(&stage, &second).await;
    assert_eq!(newest.comparable(), stolen.comparable(), "the whole family");
    assert_eq!(refresh(&stage, &bystander).await.status, 200);
    assert_eq!(
        log(&stage).await,
        ["login.succeeded", "login.succeeded", "refresh.reused"]
    );
    let reasons = stage
        .texts("SELECT end_reason FROM app.sessions WHERE ended_at IS NOT NULL")
        .await;
    assert_eq!(reasons, ["reuse"]);
}

#[actix_web::test]
async fn within_the_grace_the_token_before_gets_the_same_successor_and_an_older_one_does_not() {
    let (stage, clock) = stage_with_ana().await;
    let (_, first) = tokens(&stage).await;
    let (_, second) = both(&refresh(&stage, &first).await);
    clock.advance(TimeDelta::milliseconds(9_999));
    let (access, again) = both(&refresh(&stage, &first).await);
    assert_eq!(again, second, "both tabs hold the same token");
    let me = stage.ask("get", "/api/v1/me").token(&access).answer().await;
    assert_eq!(me.status, 200);
    // The repeat has not renewed the grace.
    clock.advance(TimeDelta::milliseconds(1));
    let (_, third) = both(&refresh(&stage, &second).await);
    // Once the successor was used, its predecessor is the past, grace or not.
    let past = refresh(&stage, &first).await;
    assert_eq!(code(&past), (401, "refresh-rejected"));
    assert_eq!(refresh(&stage, &third).await.status, 401);
}

#[actix_web::test]
async fn of_many_that_refresh_at_once_all_get_the_same_successor() {
    let (stage, _) = stage_with_ana().await;
    let (_, mut token) = tokens(&stage).await;
    for _ in 0..5 {
        let answers = join_all((0..8).map(|_| refresh(&stage, &token))).await;
        let next: BTreeSet<String> = answers.iter().map(|it| both(it).1).collect();
        assert_eq!(next.len(), 1, "{next:?}");
        token = next.into_iter().next().unwrap();
    }
    assert_eq!(log(&stage).await, ["login.succeeded"]);
}

#[actix_web::test]
async fn a_session_ends_when_it_idles_and_at_the_latest_after_its_life() {
    let (stage, clock) = stage_with_ana().await;
    let (_, idle) = tokens(&stage).await;
    let (_, mut busy) = tokens(&stage).await;
    clock.advance(TimeDelta::days(14) - TimeDelta::seconds(1));
    let answer = refresh(&stage, &busy).await;
    busy = both(&answer).1;
    clock.advance(TimeDelta::seconds(1));
    let late = refresh(&stage, &idle).await;
    assert_eq!(code(&late), (401, "refresh-rejected"));
    for _ in 0..6 {
        clock.advance(TimeDelta::days(12));
        let answer = refresh(&stage, &busy).await;
        assert_eq!(answer.status, 200);
        busy = both(&answer).1;
    }
    // 86 days: what is left of the life is less than the idle time.
    let answer = refresh(&stage, &busy).await;
    assert_eq!(answer.body["refreshExpiresIn"], 4 * 24 * 3600);
    busy = both(&answer).1;
    clock.advance(TimeDelta::days(4));
    assert_eq!(refresh(&stage, &busy).await.status, 401);
}

#[actix_web::test]
async fn nobody_ends_a_session_by_making_up_a_token_of_it() {
    let (stage, _) = stage_with_ana().await;
    let (_, good) = tokens(&stage).await;
    let (_, other) = tokens(&stage).await;
    // The one's id with the other's secret and seal, and a flipped bit of each part.
    let mut forged = vec![format!("{}{}", &good[..26], &other[26..])];
    for at in [4, 20, 40, 80] {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(bytes).unwrap());
    }
    for token in forged {
        assert_eq!(refresh(&stage, &token).await.status, 401);
    }
    assert_eq!(refresh(&stage, &good).await.status, 200);
    assert_eq!(log(&stage).await, ["login.succeeded", "login.succeeded"]);
}

#[actix_web::test]
async fn nothing_that_is_stored_or_logged_refreshes() {
    let (stage, _) = stage_with_ana().await;
    let (access, first) = tokens(&stage).await;
    let (_, second) = both(&refresh(&stage, &first).await);
    let stored = stage
        .texts(
            "SELECT s::text FROM app.sessions s UNION ALL SELECT l::text FROM app.security_log l",
        )
        .await
        .join("\n");
    // Sixteen bytes of its secret, as PostgreSQL would show them.
    for token in [&access, &first, &second] {
        assert!(!stored.contains(&token[30..52]));
        assert!(!stored.contains(&hex_of_base64(&token[28..52])));
    }
}

/// Bytes in hex, from their form in URL-safe base64: four characters are three bytes.
fn hex_of_base64(text: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let quads = text.as_bytes().chunks_exact(4).map(|quad| {
        quad.iter().fold(0_u32, |bits, letter| {
            let at = ALPHABET.bytes().position(|it| it == *letter);
            bits << 6 | u32::try_from(at.unwrap_or(0)).unwrap()
        })
    });
    let parts: Vec<String> = quads.map(|bits| format!("{bits:06x}")).collect();
    parts.concat()
}

#[actix_web::test]
async fn a_disabled_user_refreshes_nothing() {
    let (stage, _) = stage_with_ana().await;
    let (_, token) = tokens(&stage).await;
    stage
        .execute("UPDATE app.users SET status = 'disabled' WHERE email = 'ana@example.com'")
        .await;
    let refused = refresh(&stage, &token).await;
    assert_eq!(code(&refused), (401, "refresh-rejected"));
}

#[actix_web::test]
async fn a_session_never_begins_by_a_password_that_was_changed_meanwhile() {
    let (stage, _) = stage_with_ana().await;
    // What a login that was slower than the change would ask for.
    let opened = stage
        .texts(
            "SELECT sec.open_session(gen_random_uuid(), u.id, 'another hash', '\\x00', NULL, NULL,
                 now(), now() + interval '1 h', now() + interval '1 h')::text
             FROM app.users u WHERE u.email = 'ana@example.com'",
        )
        .await;
    assert_eq!(opened, ["false"]);
    let sessions = "SELECT s.id::text FROM app.sessions s JOIN app.users u ON u.id = s.user_id
                    WHERE u.email = 'ana@example.com'";
    assert!(stage.texts(sessions).await.is_empty());
}

#[actix_web::test]
async fn a_user_sees_and_ends_their_own_sessions_alone() {
    let (stage, clock) = stage_with_ana().await;
    stage
        .member(&stage.clinics.a, "bia@example.com", Role::Owner)
        .await;
    let bia = stage.token_of("bia@example.com").await;
    let (first, first_refresh) = tokens(&stage).await;
    clock.advance(TimeDelta::minutes(1));
    let (second, _) = tokens(&stage).await;
    let list = async |token: &str| {
        let answer = stage.ask("get", SESSIONS).token(token).answer().await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["data"].as_array().unwrap().clone()
    };
    let seen = list(&second).await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(
        (&seen[0]["current"], &seen[1]["current"]),
        (&json!(true), &json!(false)),
        "the latest used first"
    );
    assert_eq!(seen[1]["createdAt"], "2026-03-03T12:00:00Z");
    assert_eq!(seen[1]["endsAt"], "2026-03-17T12:00:00Z");

    let path = format!("{SESSIONS}/{}", seen[1]["id"].as_str().unwrap());
    let foreign = stage.ask("delete", &path).token(&bia).answer().await;
    assert_eq!(code(&foreign), (404, "not-found"));
    let ended = stage.ask("delete", &path).token(&second).answer().await;
    assert_eq!(ended.status, 204);
    let again = stage.ask("delete", &path).token(&second).answer().await;
    assert_eq!(again.comparable(), foreign.comparable());
    assert_eq!(refresh(&stage, &first_refresh).await.status, 401);
    assert_eq!(list(&second).await.len(), 1);
    let out = stage.ask("get", SESSIONS).token(&first).answer().await;
    assert_eq!(code(&out), (401, "unauthenticated"));
}

#[actix_web::test]
async fn logging_out_ends_this_session_and_everywhere_ends_all() {
    let (stage, _) = stage_with_ana().await;
    let (here, here_refresh) = tokens(&stage).await;
    let (there, there_refresh) = tokens(&stage).await;
    let (_, third_refresh) = tokens(&stage).await;
    let out = stage
        .ask("post", "/api/v1/auth/logout")
        .token(&here)
        .answer()
        .await;
    assert_eq!(out.status, 204);
    assert!(cookies(&out).iter().all(|it| it.contains("Max-Age=0")));
    assert_eq!(refresh(&stage, &here_refresh).await.status, 401);
    let again = stage.ask("post", "/api/v1/auth/logout").token(&here);
    assert_eq!(code(&again.answer().await), (401, "unauthenticated"));
    let everywhere = stage
        .ask("post", "/api/v1/auth/logout-everywhere")
        .token(&there)
        .answer()
        .await;
    assert_eq!(everywhere.status, 204);
    for token in [&there_refresh, &third_refresh] {
        assert_eq!(refresh(&stage, token).await.status, 401);
    }
    assert!(log(&stage).await.contains(&"logout.everywhere".to_owned()));
    let reasons = stage
        .texts("SELECT end_reason FROM app.sessions WHERE ended_at IS NOT NULL")
        .await;
    assert_eq!(
        reasons.iter().collect::<BTreeSet<_>>().len(),
        2,
        "{reasons:?}"
    );
}
