//! A clinic's own fields, and contacts' values of them, through HTTP on a real database.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use common::{Answer, Stage, broken, code};
use futures_util::future::join_all;
use serde_json::{Value, json};

const CONTACTS: &str = "/api/v1/contacts";
const FIELDS: &str = "/api/v1/contact-fields";

async fn send(stage: &Stage, method: &str, path: &str, body: &Value) -> Answer {
    let ask = stage.owner(&stage.clinics.a, method, path);
    ask.header("If-Match", "*").json(body).answer().await
}

async fn get(stage: &Stage, path: &str) -> Answer {
    stage.owner(&stage.clinics.a, "get", path).answer().await
}

async fn field(stage: &Stage, body: Value) -> String {
    let made = send(stage, "post", FIELDS, &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    made.header("location").to_owned()
}

fn plan() -> Value {
    json!({"key": "health-plan", "label": "Convênio", "type": "single-choice", "place": 2,
        "options": [{"key": "unimed", "label": "Unimed"}, {"key": "none", "label": "Particular"}]})
}

#[actix_web::test]
async fn values_are_held_against_their_fields_and_each_broken_rule_is_named() {
    let stage = Stage::new().await;
    field(&stage, plan()).await;
    for kind in ["text", "integer", "decimal", "boolean", "date"] {
        field(&stage, json!({"key": kind, "label": kind, "type": kind})).await;
    }
    let good = json!({
        "health-plan": "unimed", "text": "x", "integer": 7, "decimal": "07.50", "boolean": false,
        "date": "2024-02-29",
    });
    let body = json!({"name": "Helena Dias", "customFields": good});
    let made = send(&stage, "post", CONTACTS, &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let path = made.header("location").to_owned();
    let mut kept = good.clone();
    kept["decimal"] = json!("7.50");
    assert_eq!(made.body["customFields"], kept);
    assert_eq!(get(&stage, &path).await.body["customFields"], kept);

    let bad = json!({"health-plan": "bradesco", "integer": "7", "date": "2023-02-29", "nope": 1,
        "Maria Canaria": 1});
    for (method, to) in [("post", CONTACTS), ("patch", path.as_str())] {
        let body = json!({"name": "Helena Dias", "customFields": bad});
        let refused = send(&stage, method, to, &body).await;
        let mut names = broken(&refused);
        names.sort_unstable();
        let expected = [
            "customFields",
            "customFields.date",
            "customFields.health-plan",
            "customFields.integer",
            "customFields.nope",
        ];
        assert_eq!(names, expected, "{method}");
        assert!(!refused.body.to_string().contains("Canaria"));
    }
    let patch = json!({"customFields": {"text": null, "integer": 8}});
    let changed = send(&stage, "patch", &path, &patch).await;
    assert_eq!(changed.body["customFields"]["integer"], 8);
    assert_eq!(changed.body["customFields"].get("text"), None);
    assert_eq!(changed.body["customFields"]["health-plan"], "unimed");
    // The same again changes nothing.
    let again = send(&stage, "patch", &path, &patch).await;
    assert_eq!(again.header("etag"), changed.header("etag"));
    let null = send(&stage, "patch", &path, &json!({"customFields": null})).await;
    assert_eq!(broken(&null), ["customFields"]);
}

#[actix_web::test]
async fn rows_carry_values_only_when_asked() {
    let stage = Stage::new().await;
    field(&stage, json!({"key": "text", "label": "x", "type": "text"})).await;
    let body = json!({"name": "Helena Dias", "customFields": {"text": "alergia"}});
    assert_eq!(send(&stage, "post", CONTACTS, &body).await.status, 201);
    for query in ["", "?page=1", "?search=helena", "?tag=x"] {
        let rows = get(&stage, &format!("{CONTACTS}{query}")).await;
        assert!(!rows.body.to_string().contains("alergia"), "{query}");
    }
    for query in ["", "&page=1", "&search=helena"] {
        let path = format!("{CONTACTS}?fields=name,customFields{query}");
        let rows = get(&stage, &path).await;
        assert_eq!(
            rows.body["data"][0]["customFields"],
            json!({"text": "alergia"}),
            "{query}"
        );
    }
}

#[actix_web::test]
async fn a_required_field_is_asked_of_new_contacts_and_never_lost() {
    let stage = Stage::new().await;
    let before = json!({"name": "Ana Lima"});
    let old = send(&stage, "post", CONTACTS, &before).await;
    let must = field(
        &stage,
        json!({"key": "must", "label": "x", "type": "text", "required": true}),
    )
    .await;
    field(&stage, json!({"key": "may", "label": "x", "type": "text"})).await;
    for given in [json!({}), json!({"may": "x"}), json!({"must": null})] {
        let body = json!({"name": "Bia Lima", "customFields": given});
        let refused = send(&stage, "post", CONTACTS, &body).await;
        assert_eq!(broken(&refused), ["customFields.must"], "{given}");
    }
    assert_eq!(
        broken(&send(&stage, "post", CONTACTS, &before).await),
        ["customFields.must"]
    );
    // Who was there before may be changed without it.
    let path = old.header("location");
    assert_eq!(
        send(&stage, "patch", path, &json!({"notes": "x"}))
            .await
            .status,
        200
    );
    let given = json!({"customFields": {"must": "x"}});
    assert_eq!(send(&stage, "patch", path, &given).await.status, 200);
    let emptied = send(
        &stage,
        "patch",
        path,
        &json!({"customFields": {"must": null}}),
    )
    .await;
    assert_eq!(broken(&emptied), ["customFields.must"]);
    // Archived, it asks nothing any more, and what was written stays.
    let archived = send(&stage, "post", &format!("{must}/archive"), &json!({})).await;
    assert!(archived.body["archivedAt"].is_string());
    assert_eq!(send(&stage, "post", CONTACTS, &before).await.status, 201);
    assert_eq!(
        get(&stage, path).await.body["customFields"],
        json!({"must": "x"})
    );
    let refused = send(&stage, "patch", path, &given).await;
    assert_eq!(broken(&refused), ["customFields.must"]);
}

#[actix_web::test]
async fn what_is_removed_can_be_read_and_not_given() {
    let stage = Stage::new().await;
    let path = field(&stage, plan()).await;
    let body = json!({"name": "Ana Lima", "customFields": {"health-plan": "unimed"}});
    let contact = send(&stage, "post", CONTACTS, &body).await;
    let options = json!({"options": [{"key": "none", "label": "Particular"}]});
    let changed = send(&stage, "patch", &path, &options).await;
    assert_eq!(
        changed.body["options"][1],
        json!({"key": "unimed", "label": "Unimed", "removed": true})
    );
    let kept = get(&stage, contact.header("location")).await;
    assert_eq!(kept.body["customFields"]["health-plan"], "unimed");
    let refused = send(&stage, "post", CONTACTS, &body).await;
    assert_eq!(broken(&refused), ["customFields.health-plan"]);
    // Key and type cannot be named, and a text takes no options.
    for wrong in [
        json!({"key": "x"}),
        json!({"type": "text"}),
        json!({"options": []}),
    ] {
        assert_eq!(
            send(&stage, "patch", &path, &wrong).await.status,
            400,
            "{wrong}"
        );
    }
    let text = json!({"key": "text", "label": "x", "type": "text",
        "options": [{"key": "a", "label": "a"}]});
    assert_eq!(
        broken(&send(&stage, "post", FIELDS, &text).await),
        ["options"]
    );
    let stale = stage
        .owner(&stage.clinics.a, "patch", &path)
        .json(&json!({"label": "y"}));
    let stale = stale.header("If-Match", "\"stale\"").answer().await;
    assert_eq!(code(&stale), (412, "precondition-failed"));
}

#[actix_web::test]
async fn a_clinic_has_no_more_fields_than_it_may_however_many_are_made_at_once() {
    let stage = Stage::new().await;
    stage
        .execute(&format!(
            "INSERT INTO app.contact_fields SELECT '{}', gen_random_uuid(), 'f' || n, 'x', 'text',
                '[]', false, 0, 1, now(), now() FROM generate_series(1, 46) n",
            stage.clinics.a.id
        ))
        .await;
    let all = (0..8).map(|number| {
        let body = json!({"key": format!("new-{number}"), "label": "x", "type": "text"});
        let stage = &stage;
        async move { send(stage, "post", FIELDS, &body).await.status }
    });
    let all = join_all(all).await;
    assert_eq!(
        all.iter().filter(|status| **status == 201).count(),
        4,
        "{all:?}"
    );
    assert!(
        all.iter().all(|status| [201, 422].contains(status)),
        "{all:?}"
    );
    let taken = json!({"key": "f1", "label": "x", "type": "text"});
    assert_eq!(send(&stage, "post", FIELDS, &taken).await.status, 422);
    let archive = get(&stage, FIELDS).await.body["data"][0]["id"].clone();
    let path = format!("{FIELDS}/{}", archive.as_str().unwrap());
    assert_eq!(
        send(&stage, "post", &format!("{path}/archive"), &json!({}))
            .await
            .status,
        200
    );
    let refused = send(&stage, "post", FIELDS, &taken).await;
    assert_eq!(code(&refused), (409, "already-exists"));
    let free = json!({"key": "free", "label": "x", "type": "text"});
    assert_eq!(send(&stage, "post", FIELDS, &free).await.status, 201);
    let restored = send(&stage, "post", &format!("{path}/restore"), &json!({})).await;
    assert_eq!(code(&restored), (422, "rule-violated"));
}

#[actix_web::test]
async fn the_audit_has_a_keyed_hash_of_each_field_and_no_value() {
    let stage = Stage::new().await;
    field(&stage, json!({"key": "hiv", "label": "x", "type": "text"})).await;
    field(&stage, json!({"key": "plan", "label": "x", "type": "text"})).await;
    let body = json!({"name": "Ana Lima", "customFields": {"hiv": "canaria", "plan": "a"}});
    let made = send(&stage, "post", CONTACTS, &body).await;
    let patch = json!({"customFields": {"hiv": null, "plan": "b"}});
    send(&stage, "patch", made.header("location"), &patch).await;
    let told = stage
        .texts(
            "SELECT concat_ws(' ', a.action, string_agg(concat(c ->> 'field', ':',
                    (c ->> 'before') IS NOT NULL, ':', (c ->> 'after') IS NOT NULL), ' ' ORDER BY n))
             FROM app.audit_entries a, jsonb_array_elements(a.changes) WITH ORDINALITY AS x (c, n)
             WHERE c ->> 'field' LIKE 'customFields%' GROUP BY a.id, a.action ORDER BY a.id",
        )
        .await;
    assert_eq!(
        told,
        [
            "contact.create customFields.hiv:f:t customFields.plan:f:t",
            "contact.update customFields.hiv:t:f customFields.plan:t:t",
        ]
    );
    let all = stage.texts("SELECT a::text FROM app.audit_entries a").await;
    assert!(all.iter().all(|row| !row.contains("canaria")));
    let fields = "SELECT action FROM app.audit_entries WHERE resource_kind = 'contact-field'";
    assert_eq!(stage.texts(fields).await.len(), 2);
}

#[actix_web::test]
async fn a_clinic_knows_nothing_of_anothers_fields() {
    let stage = Stage::new().await;
    field(
        &stage,
        json!({"key": "own", "label": "x", "type": "text", "required": true}),
    )
    .await;
    let other = |method, path| stage.owner(&stage.clinics.b, method, path);
    let list = other("get", FIELDS).answer().await;
    assert_eq!(list.body, json!({"data": []}));
    let body = json!({"name": "Ana Lima"});
    assert_eq!(
        other("post", CONTACTS).json(&body).answer().await.status,
        201
    );
    let body = json!({"name": "Ana Lima", "customFields": {"own": "x"}});
    let refused = other("post", CONTACTS).json(&body).answer().await;
    assert_eq!(broken(&refused), ["customFields.own"]);
    // The same key may be both's.
    let same = json!({"key": "own", "label": "y", "type": "date"});
    assert_eq!(other("post", FIELDS).json(&same).answer().await.status, 201);
}
