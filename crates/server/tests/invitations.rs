//! Invitations and forgotten passwords through HTTP, with the mails that they send.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::time::Duration;

use chrono::TimeDelta;
use clinics::Role;
use clinics::mail::Settled;
use common::mailbox::token;
use common::{Answer, PASSWORD, Stage, broken, code};
use job_workers::MailWorker;
use kernel::Clock as _;
use kernel::mail::MailError;
use security::SystemClock;
use serde_json::{Value, json};
use test_support::Clinic;
use tokio::time::sleep;

const INVITATIONS: &str = "/api/v1/users/invitations";
const ACCEPT: &str = "/api/v1/auth/invitations/accept";
const RESET: &str = "/api/v1/auth/password-reset";
const CONFIRM: &str = "/api/v1/auth/password-reset/confirm";
const NEW_PASSWORD: &str = "outra senha bem longa";

async fn invite(stage: &Stage, clinic: &Clinic, email: &str) -> Answer {
    let body = json!({"email": email, "name": "Bia Prado", "role": "receptionist"});
    let ask = stage.owner(clinic, "post", INVITATIONS).json(&body);
    ask.answer().await
}

async fn accept(stage: &Stage, body: &Value) -> Answer {
    stage.ask("post", ACCEPT).json(body).answer().await
}

fn with_password(token: &str) -> Value {
    json!({ "token": token, "password": NEW_PASSWORD })
}

#[actix_web::test]
async fn an_invited_stranger_makes_an_account_once() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    let invited = invite(&stage, clinic, "Bia@Example.com").await;
    assert_eq!(invited.status, 202, "{}", invited.body);
    assert_eq!(invited.body["status"], "pending");
    let at_rest = "SELECT to_jsonb(o)::text FROM app.mail_outbox o";
    let at_rest = stage.texts(at_rest).await.concat();
    assert!(
        !at_rest.contains("bia") && !at_rest.contains("token="),
        "{at_rest}"
    );

    let mails = stage.delivered().await;
    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    assert_eq!(mail.to.as_str(), "bia@example.com");
    assert_eq!(mail.subject, "Convite para Clinic a");
    assert!(
        mail.text.contains("Owner of a convidou você"),
        "{}",
        mail.text
    );
    assert!(
        mail.text
            .contains("https://app.example/accept-invitation#token=")
    );
    let token = token(mail);
    let kept = stage
        .texts("SELECT encode(hash, 'base64') FROM app.one_time_tokens")
        .await;
    assert_eq!(kept.len(), 1, "a hash is kept");
    assert!(
        !stage
            .texts("SELECT t::text FROM app.one_time_tokens t")
            .await[0]
            .contains(&token)
    );

    let weak = accept(&stage, &json!({"token": token, "password": "senha"})).await;
    assert_eq!(broken(&weak), ["password"]);
    let own = accept(
        &stage,
        &json!({"token": token, "password": "bia@example.com"}),
    )
    .await;
    assert_eq!(own.body["invalidParams"][0]["code"], "of-the-account");
    assert_eq!(
        broken(&accept(&stage, &json!({ "token": token })).await),
        ["password"]
    );
    let done = accept(&stage, &with_password(&token)).await;
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(done.header("Cache-Control"), "no-store");
    assert_eq!(done.body["clinicId"], clinic.id.to_string());
    assert_eq!(done.body["userCreated"], true);
    let login = stage.log_in("bia@example.com", NEW_PASSWORD).await;
    assert_eq!(login.body["user"]["name"], "Bia Prado");
    assert_eq!(login.body["clinics"][0]["role"], "receptionist");
    assert_eq!(login.body["user"]["id"], done.body["userId"]);

    let again = accept(&stage, &with_password(&token)).await;
    assert_eq!(code(&again), (410, "invalid-link"));
    let never = accept(&stage, &with_password(&"A".repeat(43))).await;
    assert_eq!(never.comparable(), again.comparable());
    let garbage = accept(&stage, &with_password("x")).await;
    assert_eq!(garbage.comparable(), again.comparable());
    let read = stage
        .owner(clinic, "get", invited.header("Location"))
        .answer()
        .await;
    assert_eq!(read.body["status"], "accepted");
    let refused = "SELECT count(*)::text FROM app.security_log WHERE kind = 'link.refused'";
    assert_eq!(stage.texts(refused).await, ["2"]);

    let audit = "SELECT concat_ws(' ', action, actor_role, actor_id = (SELECT id FROM app.users
                     WHERE email = 'bia@example.com')) FROM app.audit_entries
                 WHERE resource_kind = 'invitation' ORDER BY id";
    assert_eq!(
        stage.texts(audit).await,
        ["invitation.create owner f", "invitation.accept invited t"]
    );
    let events =
        "SELECT name FROM app.outbox WHERE name ~ '^(invitation|membership)[.]' ORDER BY id";
    let events = stage.texts(events).await;
    assert_eq!(
        events[events.len() - 3..],
        [
            "invitation.created",
            "invitation.accepted",
            "membership.created"
        ]
    );
}

#[actix_web::test]
async fn an_invitation_that_is_asked_for_again_with_its_key_is_the_same_one() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    let body = json!({"email": "bia@example.com", "name": "Bia Prado", "role": "finance"});
    let ask = || {
        let ask = stage.owner(clinic, "post", INVITATIONS).json(&body);
        ask.header("Idempotency-Key", "one").answer()
    };
    let (first, again) = (ask().await, ask().await);
    assert_eq!((first.status, again.status), (202, 202), "{}", again.body);
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("Location"), again.header("Location"));
    assert_eq!(again.header("Idempotency-Replayed"), "true");
    assert_eq!(stage.delivered().await.len(), 1);
}

#[actix_web::test]
async fn an_invited_user_logs_in_first_and_as_themselves() {
    let stage = Stage::new().await;
    let (a, b) = (&stage.clinics.a, &stage.clinics.b);
    stage.member(b, "ana@example.com", Role::Finance).await;
    stage.member(b, "eve@example.com", Role::Owner).await;
    let known = invite(&stage, a, "ana@example.com").await;
    let unknown = invite(&stage, a, "new@example.com").await;
    let shape = |answer: &Answer| {
        let mut body = answer.body.clone();
        for field in [
            "id",
            "email",
            "createdAt",
            "updatedAt",
            "sentAt",
            "expiresAt",
        ] {
            body[field] = Value::Null;
        }
        (answer.status, body)
    };
    assert_eq!(
        shape(&known),
        shape(&unknown),
        "known and unknown are answered alike"
    );

    let mails = stage.delivered().await;
    let token = token(
        mails
            .iter()
            .find(|mail| mail.to.as_str() == "ana@example.com")
            .unwrap(),
    );
    let stranger = accept(&stage, &with_password(&token)).await;
    assert_eq!(code(&stranger), (401, "login-required"));
    assert_eq!(stranger.header("WWW-Authenticate"), "Bearer");
    assert_eq!(
        stage.log_in("ana@example.com", NEW_PASSWORD).await.status,
        401
    );
    let body = json!({ "token": token });
    let eve = stage.token_of("eve@example.com").await;
    let eve = stage
        .ask("post", ACCEPT)
        .token(&eve)
        .json(&body)
        .answer()
        .await;
    assert_eq!(code(&eve), (403, "other-account"));
    let ana = stage.token_of("ana@example.com").await;
    let done = stage
        .ask("post", ACCEPT)
        .token(&ana)
        .json(&body)
        .answer()
        .await;
    assert_eq!(
        (done.status, &done.body["userCreated"]),
        (200, &json!(false)),
        "{}",
        done.body
    );
    let me = stage.ask("get", "/api/v1/me").token(&ana).answer().await;
    assert_eq!(me.body["clinics"].as_array().unwrap().len(), 2);
    assert_eq!(
        stage.log_in("ana@example.com", PASSWORD).await.status,
        200,
        "as it was"
    );
}

#[actix_web::test]
async fn a_link_lets_in_once_however_many_use_it_at_once() {
    let stage = Stage::new().await;
    invite(&stage, &stage.clinics.a, "bia@example.com").await;
    let token = token(&stage.delivered().await[0]);
    let body = with_password(&token);
    let answers = futures_util::future::join_all((0..4).map(|_| accept(&stage, &body))).await;
    let let_in = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(let_in, 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert!([401, 410].contains(&answer.status), "{}", answer.body);
    }
    let members = "SELECT count(*)::text FROM app.users WHERE email = 'bia@example.com'";
    assert_eq!(stage.texts(members).await, ["1"]);
}

#[actix_web::test]
async fn links_of_two_mails_are_both_good_until_one_is_used() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    let invited = invite(&stage, clinic, "bia@example.com").await;
    let first = token(&stage.delivered().await[0]);
    // A crash after sending: the mail was never noted as sent, and its lease ran out.
    stage
        .execute(
            "UPDATE app.mail_outbox SET state = 'leased', lease_token = gen_random_uuid(),
                 run_at = now() - interval '1 second', finished_at = NULL",
        )
        .await;
    let second = token(&stage.delivered().await[0]);
    assert_ne!(first, second);
    let mails = stage.mailbox.mails();
    assert_eq!(
        mails[0].id, mails[1].id,
        "a mailbox may know it for the same mail"
    );
    let weak = json!({"token": second, "password": "x"});
    assert_eq!(
        broken(&accept(&stage, &weak).await),
        ["password"],
        "the second is good"
    );
    assert_eq!(
        accept(&stage, &with_password(&first)).await.status,
        200,
        "the first still is"
    );
    assert_eq!(
        code(&accept(&stage, &with_password(&second)).await),
        (410, "invalid-link")
    );

    let path = invited.header("Location");
    let resend = stage
        .owner(clinic, "post", &format!("{path}/resend"))
        .answer()
        .await;
    assert_eq!(code(&resend), (409, "conflict"), "it was accepted");
    let revoke = stage
        .owner(clinic, "post", &format!("{path}/revoke"))
        .answer()
        .await;
    assert_eq!(code(&revoke), (409, "conflict"));
}

#[actix_web::test]
async fn an_invitation_is_sent_again_taken_back_and_ends_by_itself() {
    let (stage, clock) = Stage::timed().await;
    let clinic = &stage.clinics.a;
    let invited = invite(&stage, clinic, "bia@example.com").await;
    let path = invited.header("Location").to_owned();
    let act = async |verb: &str| {
        let ask = stage.owner(clinic, "post", &format!("{path}/{verb}"));
        ask.answer().await
    };
    let first = token(&stage.delivered().await[0]);
    assert_eq!(code(&act("resend").await), (429, "too-many-requests"));
    clock.advance(TimeDelta::days(6));
    let resent = act("resend").await;
    assert_eq!(resent.status, 202, "{}", resent.body);
    let second = token(&stage.delivered().await[0]);
    clock.advance(TimeDelta::days(2));
    assert_eq!(
        code(&accept(&stage, &with_password(&first)).await),
        (410, "invalid-link")
    );
    let weak = json!({"token": second, "password": "x"});
    assert_eq!(
        broken(&accept(&stage, &weak).await),
        ["password"],
        "the second is good"
    );

    let twice = invite(&stage, clinic, "bia@example.com").await;
    assert_eq!(code(&twice), (409, "already-exists"));
    assert_eq!(act("revoke").await.body["status"], "revoked");
    assert_eq!(act("revoke").await.status, 200, "once more changes nothing");
    assert_eq!(
        code(&accept(&stage, &with_password(&second)).await),
        (410, "invalid-link")
    );
    assert_eq!(code(&act("resend").await), (409, "conflict"));

    let third = invite(&stage, clinic, "bia@example.com").await;
    assert_eq!(
        third.status, 202,
        "one that was taken back is in nobody's way"
    );
    clock.advance(TimeDelta::days(8));
    let listed = stage.owner(clinic, "get", &format!("{INVITATIONS}?status=expired"));
    let listed = listed.answer().await;
    assert_eq!(
        listed.body["data"][0]["id"], third.body["id"],
        "{}",
        listed.body
    );
    assert_eq!(
        stage.deliver().await,
        [Settled::Done(Some("moot"))],
        "nobody gets a dead link"
    );
    assert_eq!(invite(&stage, clinic, "bia@example.com").await.status, 202);
}

#[actix_web::test]
async fn nobody_is_invited_twice_beyond_the_clinic_or_without_a_mailer() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    let own = invite(&stage, clinic, "owner@a.example").await;
    assert_eq!(code(&own), (409, "already-exists"));
    // The other clinic's owner is nobody here.
    assert_eq!(invite(&stage, clinic, "owner@b.example").await.status, 202);
    let wrong = json!({"email": "x", "name": "", "role": "readonly"});
    let wrong = stage.owner(clinic, "post", INVITATIONS).json(&wrong);
    assert_eq!(broken(&wrong.answer().await), ["email", "name"]);
    stage.member(clinic, "adm@example.com", Role::Admin).await;
    let admin = stage.token_of("adm@example.com").await;
    let owner = json!({"email": "y@example.com", "name": "Y", "role": "owner"});
    let owner = stage
        .acting(&admin, clinic, "post", INVITATIONS)
        .json(&owner);
    assert_eq!(code(&owner.answer().await), (403, "forbidden"));

    let stage = stage.without_mail().await;
    let refused = invite(&stage, &stage.clinics.a, "z@example.com").await;
    assert_eq!(code(&refused), (503, "mail-not-configured"));
    let reset = json!({"email": "owner@a.example"});
    let reset = stage.ask("post", RESET).json(&reset).answer().await;
    assert_eq!(code(&reset), (503, "mail-not-configured"));
    let queued = "SELECT count(*)::text FROM app.mail_outbox";
    assert_eq!(
        stage.texts(queued).await,
        ["1"],
        "nothing more was enqueued"
    );
}

#[actix_web::test]
async fn a_mail_that_fails_is_tried_again_later_and_stays_when_it_is_refused() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    invite(&stage, clinic, "bia@example.com").await;
    stage.mailbox.answers(Some(MailError::Later("timeout")));
    let began = SystemClock.now();
    for attempt in 1..=3_i32 {
        let settled = stage.deliver().await;
        let [Settled::RetryAt(at, "timeout")] = settled.as_slice() else {
            panic!("{settled:?}")
        };
        let least = TimeDelta::seconds(30 * 2_i64.pow(attempt.unsigned_abs() - 1));
        assert!(*at >= began + least, "attempt {attempt}");
        assert!(
            *at <= SystemClock.now() + least * 5 / 4,
            "attempt {attempt}"
        );
        assert!(stage.deliver().await.is_empty(), "not before its time");
        stage
            .execute("UPDATE app.mail_outbox SET run_at = now()")
            .await;
    }
    stage.mailbox.answers(None);
    assert_eq!(stage.deliver().await, [Settled::Done(None)]);

    invite(&stage, clinic, "caio@example.com").await;
    stage.mailbox.answers(Some(MailError::Refused("refused")));
    assert_eq!(stage.deliver().await, [Settled::Dead("refused")]);
    invite(&stage, clinic, "davi@example.com").await;
    stage.mailbox.answers(Some(MailError::Later("unreachable")));
    stage
        .execute("UPDATE app.mail_outbox SET attempts = 9 WHERE state = 'waiting'")
        .await;
    assert_eq!(
        stage.deliver().await,
        [Settled::Dead("unreachable")],
        "the tenth time"
    );
    let states = "SELECT concat_ws(' ', state, last_failure) FROM app.mail_outbox ORDER BY id";
    assert_eq!(
        stage.texts(states).await,
        ["done", "dead refused", "dead unreachable"]
    );
}

async fn ask_for_reset(stage: &Stage, email: &str) -> Answer {
    let ask = stage.ask("post", RESET).json(&json!({ "email": email }));
    ask.answer().await
}

async fn confirm(stage: &Stage, token: &str, password: &str) -> Answer {
    let body = json!({ "token": token, "password": password });
    stage.ask("post", CONFIRM).json(&body).answer().await
}

#[actix_web::test]
async fn a_forgotten_password_is_set_anew_once_and_ends_every_session() {
    let stage = Stage::new().await;
    stage
        .member(&stage.clinics.a, "ana@example.com", Role::Finance)
        .await;
    stage.token_of("ana@example.com").await;
    let known = ask_for_reset(&stage, "Ana@example.com").await;
    let unknown = ask_for_reset(&stage, "nobody@example.com").await;
    assert_eq!(
        (known.status, &known.body),
        (202, &json!({"accepted": true}))
    );
    assert_eq!(known.comparable(), unknown.comparable());
    let rows = "SELECT count(*)::text FROM app.mail_outbox";
    assert_eq!(stage.texts(rows).await, ["2"], "both leave the same");

    let mails = stage.delivered().await;
    assert_eq!(mails.len(), 1, "nobody gets no mail");
    assert_eq!(mails[0].to.as_str(), "ana@example.com");
    assert!(
        mails[0]
            .text
            .contains("https://app.example/reset-password#token=")
    );
    let link = token(&mails[0]);
    ask_for_reset(&stage, "ana@example.com").await;
    let other = token(&stage.delivered().await[0]);

    let weak = confirm(&stage, &link, "123456789012").await;
    assert_eq!(
        weak.body["invalidParams"][0]["code"], "common",
        "{}",
        weak.body
    );
    let done = confirm(&stage, &link, NEW_PASSWORD).await;
    assert_eq!(done.status, 204, "{}", done.body);
    assert_eq!(stage.log_in("ana@example.com", PASSWORD).await.status, 401);
    assert_eq!(
        stage.log_in("ana@example.com", NEW_PASSWORD).await.status,
        200
    );
    let again = confirm(&stage, &link, NEW_PASSWORD).await;
    assert_eq!(code(&again), (410, "invalid-link"));
    let superseded = confirm(&stage, &other, NEW_PASSWORD).await;
    assert_eq!(
        superseded.comparable(),
        again.comparable(),
        "no older link outlives it"
    );
    let never = confirm(&stage, &"A".repeat(43), NEW_PASSWORD).await;
    assert_eq!(never.comparable(), again.comparable());
    let ended = "SELECT end_reason FROM app.sessions WHERE ended_at IS NOT NULL";
    assert_eq!(stage.texts(ended).await, ["password_reset"]);
    let log = "SELECT kind FROM app.security_log WHERE kind ~ '^(password_reset|link)' ORDER BY id";
    assert_eq!(
        stage.texts(log).await,
        [
            "password_reset.requested",
            "password_reset.requested",
            "password_reset.requested",
            "password_reset.done",
            "link.refused",
            "link.refused",
            "link.refused"
        ]
    );
    let named = "SELECT count(*)::text FROM app.security_log l WHERE l::text LIKE '%example%'";
    assert_eq!(stage.texts(named).await, ["0"]);
}

#[actix_web::test]
async fn a_link_of_one_kind_is_none_of_the_other() {
    let stage = Stage::new().await;
    invite(&stage, &stage.clinics.a, "bia@example.com").await;
    let invitation = token(&stage.delivered().await[0]);
    assert_eq!(
        code(&confirm(&stage, &invitation, NEW_PASSWORD).await),
        (410, "invalid-link")
    );
    ask_for_reset(&stage, "owner@a.example").await;
    let reset = token(&stage.delivered().await[0]);
    assert_eq!(
        code(&accept(&stage, &with_password(&reset)).await),
        (410, "invalid-link")
    );
}

#[actix_web::test]
async fn requests_for_one_account_are_few_and_links_and_disabled_users_end() {
    let (stage, clock) = Stage::timed().await;
    for _ in 0..5 {
        let answer = ask_for_reset(&stage, "owner@a.example").await;
        assert_eq!(answer.status, 202, "it looks the same");
    }
    let mails = stage.delivered().await;
    assert_eq!(mails.len(), 3);
    let throttled = "SELECT count(*)::text FROM app.security_log
                     WHERE kind = 'password_reset.throttled'";
    assert_eq!(stage.texts(throttled).await, ["2"]);
    clock.advance(TimeDelta::minutes(61));
    let late = confirm(&stage, &token(&mails[0]), NEW_PASSWORD).await;
    assert_eq!(code(&late), (410, "invalid-link"));
    ask_for_reset(&stage, "owner@a.example").await;
    let fresh = token(&stage.delivered().await[0]);
    stage
        .execute("UPDATE app.users SET status = 'disabled' WHERE email = 'owner@a.example'")
        .await;
    assert_eq!(
        code(&confirm(&stage, &fresh, NEW_PASSWORD).await),
        (410, "invalid-link")
    );
    ask_for_reset(&stage, "owner@a.example").await;
    assert_eq!(stage.deliver().await, [Settled::Done(Some("moot"))]);
}

#[actix_web::test]
async fn a_password_is_set_once_however_many_use_the_link_at_once() {
    let stage = Stage::new().await;
    ask_for_reset(&stage, "owner@a.example").await;
    let link = token(&stage.delivered().await[0]);
    let passwords: Vec<String> = (0..4)
        .map(|number| format!("senha longa numero {number}"))
        .collect();
    let tries = passwords
        .iter()
        .map(|password| confirm(&stage, &link, password));
    let answers = futures_util::future::join_all(tries).await;
    let set: Vec<usize> = (0..4).filter(|at| answers[*at].status == 204).collect();
    assert_eq!(set.len(), 1, "{answers:?}");
    for (at, password) in passwords.iter().enumerate() {
        let login = stage.log_in("owner@a.example", password).await;
        assert_eq!(
            login.status == 200,
            at == set[0],
            "the one that was acknowledged"
        );
    }
}

#[actix_web::test]
async fn the_worker_sends_what_waits_until_it_is_told_to_end() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    invite(&stage, clinic, "bia@example.com").await;
    let post = server::mail::post(&stage.foundation).unwrap();
    let worker = MailWorker::start(post);
    for _ in 0..100 {
        if !stage.mailbox.mails().is_empty() {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(stage.mailbox.mails().len(), 1);
    worker.stop().await;
    let states = "SELECT state FROM app.mail_outbox";
    assert_eq!(stage.texts(states).await, ["done"], "it notes what it sent");
    invite(&stage, clinic, "caio@example.com").await;
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(stage.mailbox.mails().len(), 1, "nobody sends any more");
}
