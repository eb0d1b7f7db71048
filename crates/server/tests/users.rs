//! A clinic's users through HTTP: who manages whom, what nobody may do, and what each change
//! leaves behind.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use clinics::Role;
use common::{Answer, Stage, broken, code};
use serde_json::{Value, json};
use test_support::Clinic;
use uuid::Uuid;

const USERS: &str = "/api/v1/users";

/// The member of that address, as the clinic's owner reads them.
async fn member(stage: &Stage, clinic: &Clinic, email: &str) -> Answer {
    let listed = stage
        .owner(clinic, "get", &format!("{USERS}?search={email}"))
        .answer()
        .await;
    let id = listed.body["data"][0]["id"].as_str().unwrap();
    let read = stage.owner(clinic, "get", &format!("{USERS}/{id}"));
    read.answer().await
}

fn path(member: &Answer) -> String {
    format!("{USERS}/{}", member.body["id"].as_str().unwrap())
}

#[actix_web::test]
async fn users_are_listed_filtered_searched_and_paged() {
    let stage = Stage::new().await;
    let (own, foreign) = (&stage.clinics.a, &stage.clinics.b);
    stage
        .member(own, "ana@example.com", Role::Receptionist)
        .await;
    stage.member(own, "bia@example.com", Role::Finance).await;
    stage
        .member(foreign, "caio@example.com", Role::Finance)
        .await;
    stage
        .execute(
            "UPDATE app.users SET name = 'Inês Conceição' WHERE email = 'bia@example.com';
             UPDATE app.memberships SET status = 'disabled' WHERE user_id =
                 (SELECT id FROM app.users WHERE email = 'bia@example.com')",
        )
        .await;
    let list = async |query: &str| {
        let answer = stage.owner(own, "get", &format!("{USERS}?{query}"));
        let answer = answer.answer().await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let rows = answer.body["data"].as_array().unwrap().clone();
        let emails = rows
            .iter()
            .map(|row| row["email"].as_str().unwrap().to_owned());
        (
            emails.collect::<Vec<_>>(),
            answer.body["nextCursor"].clone(),
        )
    };
    assert_eq!(
        list("").await.0,
        ["bia@example.com", "ana@example.com", "owner@a.example"]
    );
    assert_eq!(list("role=owner").await.0, ["owner@a.example"]);
    assert_eq!(list("status=disabled").await.0, ["bia@example.com"]);
    assert_eq!(list("status=active&role=finance").await.0, [""; 0]);
    assert_eq!(list("search=CONCEICAO").await.0, ["bia@example.com"]);
    assert_eq!(list("search=ana%40ex").await.0, ["ana@example.com"]);
    assert_eq!(
        list("search=caio").await.0,
        [""; 0],
        "nobody else's users are found"
    );
    assert_eq!(list("search=%25").await.0, [""; 0], "no pattern");
    let (first, cursor) = list("limit=2").await;
    assert_eq!(first.len(), 2);
    let cursor = cursor.as_str().unwrap().to_owned();
    let (rest, end) = list(&format!("limit=2&cursor={cursor}")).await;
    assert_eq!(
        (rest, end),
        (vec!["owner@a.example".to_owned()], Value::Null)
    );
    let other_filter = format!("{USERS}?limit=2&role=owner&cursor={cursor}");
    let refused = stage.owner(own, "get", &other_filter).answer().await;
    assert_eq!(code(&refused), (400, "invalid-cursor"));
    let long = format!("{USERS}?search={}", "x".repeat(101));
    assert_eq!(
        broken(&stage.owner(own, "get", &long).answer().await),
        ["search"]
    );
}

#[actix_web::test]
async fn a_membership_is_changed_by_who_has_read_it_last_and_leaves_its_traces() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    stage
        .member(clinic, "ana@example.com", Role::Receptionist)
        .await;
    let branch = stage
        .owner(clinic, "post", "/api/v1/branches")
        .json(&json!({"name": "Centro"}));
    let branch = branch.answer().await.body["id"].clone();
    let read = member(&stage, clinic, "ana@example.com").await;
    let change = json!({"role": "professional", "branches": [branch], "ownAgendaOnly": true});
    let patch = || stage.owner(clinic, "patch", &path(&read)).json(&change);
    assert_eq!(
        code(&patch().answer().await),
        (428, "precondition-required")
    );
    let done = patch()
        .header("If-Match", read.header("ETag"))
        .answer()
        .await;
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(
        (
            &done.body["role"],
            &done.body["branches"],
            &done.body["ownAgendaOnly"]
        ),
        (&json!("professional"), &json!([branch]), &json!(true))
    );
    let stale = patch()
        .header("If-Match", read.header("ETag"))
        .answer()
        .await;
    assert_eq!(code(&stale), (412, "precondition-failed"));
    let again = patch()
        .header("If-Match", done.header("ETag"))
        .answer()
        .await;
    assert_eq!(
        again.header("ETag"),
        done.header("ETag"),
        "nothing changed, nothing written"
    );

    let gone = stage.owner(clinic, "post", &format!("{}/deactivate", path(&read)));
    let gone = gone.answer().await;
    assert_eq!(
        (gone.status, &gone.body["status"]),
        (200, &json!("disabled"))
    );
    assert_eq!(
        stage.log_in("ana@example.com", common::PASSWORD).await.body["clinics"],
        json!([])
    );
    let back = stage.owner(clinic, "post", &format!("{}/reactivate", path(&read)));
    assert_eq!(back.answer().await.body["status"], "active");
    let token = stage.token_of("ana@example.com").await;
    let me = stage.ask("get", "/api/v1/me").token(&token).answer().await;
    assert_eq!(me.body["clinics"][0]["role"], "professional");

    let audit = "SELECT action || ' ' || (SELECT string_agg(c ->> 'field', ',') FROM
                     jsonb_array_elements(changes) c)
                 FROM app.audit_entries WHERE resource_kind = 'user' ORDER BY id";
    assert_eq!(
        stage.texts(audit).await,
        [
            "user.update role,branches,ownAgendaOnly",
            "user.deactivate status",
            "user.reactivate status"
        ]
    );
    let events = "SELECT name || ' ' || (payload ->> 'rowVersion') FROM app.outbox
                  WHERE name LIKE 'membership.%' AND name <> 'membership.created' ORDER BY id";
    assert_eq!(
        stage.texts(events).await,
        [
            "membership.updated 2",
            "membership.deactivated 3",
            "membership.reactivated 4"
        ]
    );
}

#[actix_web::test]
async fn a_membership_has_branches_of_its_own_clinic_alone() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    stage
        .member(clinic, "ana@example.com", Role::Receptionist)
        .await;
    let foreign = stage
        .owner(&stage.clinics.b, "post", "/api/v1/branches")
        .json(&json!({"name": "Centro"}));
    let foreign = foreign.answer().await.body["id"].clone();
    let read = member(&stage, clinic, "ana@example.com").await;
    let with = async |branches: Value| {
        let ask = stage.owner(clinic, "patch", &path(&read));
        let ask = ask.json(&json!({ "branches": branches }));
        ask.header("If-Match", "*").answer().await
    };
    let theirs = with(json!([foreign])).await;
    assert_eq!(code(&theirs), (422, "rule-violated"), "{}", theirs.body);
    let nobodys = with(json!([Uuid::max()])).await;
    assert_eq!(nobodys.comparable(), theirs.comparable());
    assert_eq!(broken(&with(json!([])).await), ["branches"]);
    assert_eq!(with(json!(null)).await.status, 200);
}

#[actix_web::test]
async fn nobody_changes_themselves_and_owners_alone_make_and_unmake_owners() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    stage.member(clinic, "adm@example.com", Role::Admin).await;
    stage
        .member(clinic, "ana@example.com", Role::Receptionist)
        .await;
    let admin = stage.token_of("adm@example.com").await;
    let (adm, ana, owner) = (
        member(&stage, clinic, "adm@example.com").await,
        member(&stage, clinic, "ana@example.com").await,
        member(&stage, clinic, "owner@a.example").await,
    );
    let patch = async |token: &str, who: &Answer, change: Value| {
        let ask = stage.acting(token, clinic, "patch", &path(who));
        ask.json(&change).header("If-Match", "*").answer().await
    };
    let own = patch(&admin, &adm, json!({"role": "owner"})).await;
    assert_eq!(code(&own), (422, "rule-violated"));
    let own = patch(&admin, &adm, json!({"ownAgendaOnly": true})).await;
    assert_eq!(code(&own), (422, "rule-violated"));
    let leave = stage.acting(
        &admin,
        clinic,
        "post",
        &format!("{}/deactivate", path(&adm)),
    );
    assert_eq!(code(&leave.answer().await), (422, "rule-violated"));

    for (who, change) in [
        (&ana, json!({"role": "owner"})),
        (&owner, json!({"role": "readonly"})),
        (&owner, json!({"ownAgendaOnly": true})),
    ] {
        assert_eq!(code(&patch(&admin, who, change).await), (403, "forbidden"));
    }
    let unmake = stage.acting(
        &admin,
        clinic,
        "post",
        &format!("{}/deactivate", path(&owner)),
    );
    assert_eq!(code(&unmake.answer().await), (403, "forbidden"));
    let denied = "SELECT action || ' ' || actor_role FROM app.audit_entries
                  WHERE outcome = 'denied' ORDER BY id";
    assert_eq!(stage.texts(denied).await, ["user.manage_owners admin"; 4]);
    assert_eq!(
        patch(&admin, &ana, json!({"role": "admin"})).await.status,
        200
    );

    let owner_token = stage.token(clinic.owner);
    assert_eq!(
        patch(&owner_token, &ana, json!({"role": "owner"}))
            .await
            .status,
        200
    );
    let ana_token = stage.token_of("ana@example.com").await;
    assert_eq!(
        patch(&ana_token, &owner, json!({"role": "admin"}))
            .await
            .status,
        200
    );
}

#[actix_web::test]
async fn whoever_is_bound_to_branches_gives_nobody_more_than_they_have() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    let branch = async |name: &str| {
        let ask = stage.owner(clinic, "post", "/api/v1/branches");
        let made = ask.json(&json!({ "name": name })).answer().await;
        made.body["id"].clone()
    };
    let (east, west) = (branch("Leste").await, branch("Oeste").await);
    stage.member(clinic, "adm@example.com", Role::Admin).await;
    stage
        .member(clinic, "ana@example.com", Role::Receptionist)
        .await;
    let set = async |email: &str, branches: Value| {
        let who = member(&stage, clinic, email).await;
        let ask = stage.owner(clinic, "patch", &path(&who));
        let ask = ask.json(&json!({ "branches": branches }));
        assert_eq!(ask.header("If-Match", "*").answer().await.status, 200);
        who
    };
    set("adm@example.com", json!([east])).await;
    let ana = set("ana@example.com", json!([east])).await;
    let admin = stage.token_of("adm@example.com").await;
    let give = async |branches: Value| {
        let ask = stage.acting(&admin, clinic, "patch", &path(&ana));
        let ask = ask.json(&json!({ "branches": branches }));
        ask.header("If-Match", "*").answer().await
    };
    assert_eq!(
        code(&give(json!([east, west])).await),
        (422, "rule-violated")
    );
    assert_eq!(code(&give(json!(null)).await), (422, "rule-violated"));
    set("ana@example.com", json!([west])).await;
    assert_eq!(code(&give(json!([east])).await), (422, "rule-violated"));
    let invite = json!({"email": "x@example.com", "name": "X", "role": "readonly"});
    let invite = stage
        .acting(&admin, clinic, "post", "/api/v1/users/invitations")
        .json(&invite);
    assert_eq!(code(&invite.answer().await), (422, "rule-violated"));
}

#[actix_web::test]
async fn the_last_active_owner_stays_one_however_many_try_at_once() {
    let stage = Stage::new().await;
    let clinic = &stage.clinics.a;
    stage.member(clinic, "ana@example.com", Role::Owner).await;
    let (ana, owner) = (
        member(&stage, clinic, "ana@example.com").await,
        member(&stage, clinic, "owner@a.example").await,
    );
    let tokens = [
        stage.token_of("ana@example.com").await,
        stage.token(clinic.owner),
    ];
    for round in 0..5 {
        let change = json!({"role": "admin"});
        let unmake = |token: &str, who: &Answer| {
            let ask = stage.acting(token, clinic, "patch", &path(who));
            ask.json(&change).header("If-Match", "*").answer()
        };
        let (one, other) =
            futures_util::join!(unmake(&tokens[0], &owner), unmake(&tokens[1], &ana));
        // Whoever comes second finds themselves the last, or no owner any more.
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses[0], 200, "{round}: {} {}", one.body, other.body);
        assert!([403, 422].contains(&statuses[1]), "{round}: {statuses:?}");
        let owners = "SELECT count(*)::text FROM app.memberships m WHERE role = 'owner' AND
                      status = 'active' AND clinic_id = '01a23456-7000-7000-8000-000000000a00'";
        assert_eq!(stage.texts(owners).await, ["1"], "{round}");
        stage
            .execute("UPDATE app.memberships SET role = 'owner', status = 'active'")
            .await;
    }
    stage
        .execute("UPDATE app.users SET status = 'disabled' WHERE email = 'ana@example.com'")
        .await;
    // An owner who may not log in owns nothing any more.
    stage.member(clinic, "bia@example.com", Role::Owner).await;
    let bia = member(&stage, clinic, "bia@example.com").await;
    let token = stage.token(clinic.owner);
    let ask = stage.acting(
        &token,
        clinic,
        "post",
        &format!("{}/deactivate", path(&bia)),
    );
    assert_eq!(ask.answer().await.status, 200);
}
