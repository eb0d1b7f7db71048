//! Contacts through HTTP on a real database: orders, conditions, what each act leaves behind.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use common::{Answer, Stage, broken, code};
use serde_json::{Value, json};

const CONTACTS: &str = "/api/v1/contacts";

async fn create(stage: &Stage, body: &Value) -> Answer {
    let ask = stage.owner(&stage.clinics.a, "post", CONTACTS).json(body);
    let answer = ask.answer().await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer
}

async fn get(stage: &Stage, path: &str) -> Answer {
    stage.owner(&stage.clinics.a, "get", path).answer().await
}

/// The names of a page, in its order.
async fn names(stage: &Stage, query: &str) -> Vec<String> {
    let answer = get(stage, &format!("{CONTACTS}?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    let data = answer.body["data"].as_array().unwrap();
    let name = |row: &Value| row["name"].as_str().unwrap().to_owned();
    data.iter().map(name).collect()
}

#[actix_web::test]
async fn a_list_comes_in_the_order_that_was_asked_for() {
    let stage = Stage::new().await;
    for name in ["Beatriz", "Álvaro", "Célia"] {
        create(&stage, &json!({ "name": name })).await;
    }
    // Changed last.
    let path = format!("{CONTACTS}?search=alvaro");
    let id = get(&stage, &path).await.body["data"][0]["id"].clone();
    let path = format!("{CONTACTS}/{}", id.as_str().unwrap());
    let change = stage.owner(&stage.clinics.a, "patch", &path);
    let change = change.header("If-Match", "*").json(&json!({"notes": "x"}));
    assert_eq!(change.answer().await.status, 200);

    for (query, expected) in [
        ("", ["Célia", "Álvaro", "Beatriz"]),
        ("sort=-createdAt", ["Célia", "Álvaro", "Beatriz"]),
        ("sort=createdAt", ["Beatriz", "Álvaro", "Célia"]),
        ("sort=createdAt&order=desc", ["Célia", "Álvaro", "Beatriz"]),
        ("order=asc", ["Beatriz", "Álvaro", "Célia"]),
        ("order=desc", ["Célia", "Álvaro", "Beatriz"]),
        ("sort=name", ["Álvaro", "Beatriz", "Célia"]),
        ("sort=name&order=asc", ["Álvaro", "Beatriz", "Célia"]),
        ("sort=-name", ["Célia", "Beatriz", "Álvaro"]),
        ("sort=name&order=desc", ["Célia", "Beatriz", "Álvaro"]),
        ("sort=updatedAt", ["Beatriz", "Célia", "Álvaro"]),
        ("sort=-updatedAt", ["Álvaro", "Célia", "Beatriz"]),
    ] {
        assert_eq!(names(&stage, query).await, expected, "{query}");
        // And page by page.
        let mut paged = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = get(&stage, &format!("{CONTACTS}?limit=1&{query}{cursor}")).await;
            paged.push(page.body["data"][0]["name"].as_str().unwrap().to_owned());
            match page.body["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(paged, expected, "{query}, page by page");
    }
    for (query, field) in [
        ("sort=bogus", "sort"),
        ("sort=", "sort"),
        ("sort=bogus&order=asc", "sort"),
        ("sort=-name&order=asc", "order"),
        ("order=up", "order"),
    ] {
        let refused = get(&stage, &format!("{CONTACTS}?{query}")).await;
        assert_eq!(code(&refused), (400, "invalid-query"), "{query}");
        assert_eq!(broken(&refused), [field], "{query}");
    }
}

async fn patch(stage: &Stage, path: &str, tag: &str, body: &Value) -> Answer {
    let ask = stage.owner(&stage.clinics.a, "patch", path).json(body);
    ask.header("If-Match", tag).answer().await
}

/// What writing leaves behind: audit entries and events.
async fn traces(stage: &Stage) -> Vec<String> {
    let sql = "SELECT (SELECT count(*) FROM app.audit_entries)::text || ' '
                      || (SELECT count(*) FROM app.outbox)::text";
    stage.texts(sql).await
}

#[actix_web::test]
async fn a_change_that_changes_nothing_leaves_nothing_behind() {
    let stage = Stage::new().await;
    let whole = json!({
        "name": "Helena Dias", "socialName": "Lena", "birthDate": "1987-03-14",
        "document": "111.444.777-35", "notes": "x", "tags": ["retorno"],
        "phones": [{"value": "+5511987654321", "label": "celular"}],
        "emails": [{"value": "helena@example.com"}],
    });
    let created = create(&stage, &whole).await;
    let (path, tag) = (created.header("Location"), created.header("ETag"));
    let before = traces(&stage).await;
    for same in [json!({}), json!({"name": "Helena  Dias"}), whole] {
        let answer = patch(&stage, path, tag, &same).await;
        assert_eq!(answer.status, 200, "{same}: {}", answer.body);
        assert_eq!((answer.header("ETag"), &answer.body), (tag, &created.body));
    }
    for field in ["name", "status", "source", "tags", "phones", "emails"] {
        let refused = patch(&stage, path, tag, &json!({ field: null })).await;
        assert_eq!(broken(&refused), [field]);
    }
    assert_eq!(traces(&stage).await, before);
    for field in ["socialName", "birthDate", "document", "ownerId", "notes"] {
        let emptied = patch(&stage, path, "*", &json!({ field: null })).await;
        assert_eq!((emptied.status, &emptied.body[field]), (200, &Value::Null));
    }
}

#[actix_web::test]
async fn the_audit_names_the_fields_that_differ_and_holds_keyed_hashes() {
    let stage = Stage::new().await;
    let body = json!({"name": "Helena Dias", "notes": "alergia"});
    let created = create(&stage, &body).await;
    let path = created.header("Location").to_owned();
    let change = json!({"name": "Helena Dias", "notes": null, "tags": ["retorno"]});
    assert_eq!(patch(&stage, &path, "*", &change).await.status, 200);
    for act in ["archive", "restore"] {
        let ask = stage.owner(&stage.clinics.a, "post", &format!("{path}/{act}"));
        assert_eq!(ask.answer().await.status, 200);
    }
    let told = stage
        .texts(
            "SELECT concat_ws(' ', a.action, a.purpose, string_agg(concat(c ->> 'field', ':',
                    (c ->> 'before') IS NOT NULL, ':', (c ->> 'after') IS NOT NULL), ' ' ORDER BY n))
             FROM app.audit_entries a, jsonb_array_elements(a.changes) WITH ORDINALITY AS x (c, n)
             GROUP BY a.id, a.action, a.purpose ORDER BY a.id",
        )
        .await;
    assert_eq!(
        told,
        [
            "contact.create care name:f:t status:f:t source:f:t notes:f:t",
            "contact.update care notes:t:f tags:f:t",
            "contact.archive care status:t:t",
            "contact.restore care status:t:t",
        ]
    );
    let all = stage.texts("SELECT a::text FROM app.audit_entries a").await;
    assert!(
        all.iter()
            .all(|row| !row.contains("Helena") && !row.contains("alergia"))
    );
}

#[actix_web::test]
async fn a_condition_is_heeded_by_archiving_and_restoring() {
    let stage = Stage::new().await;
    let created = create(&stage, &json!({"name": "Helena Dias"})).await;
    let (path, fresh) = (created.header("Location"), created.header("ETag"));
    let changed = patch(&stage, path, fresh, &json!({"notes": "x"})).await;
    for act in ["archive", "restore"] {
        let path = format!("{path}/{act}");
        let ask = || stage.owner(&stage.clinics.a, "post", &path);
        let stale = ask().header("If-Match", fresh).answer().await;
        assert_eq!(code(&stale), (412, "precondition-failed"), "{act}");
        let garbage = ask().header("If-Match", "garbage").answer().await;
        assert_eq!(code(&garbage), (400, "malformed-request"), "{act}");
    }
    let archive = stage.owner(&stage.clinics.a, "post", &format!("{path}/archive"));
    let archived = archive
        .header("If-Match", changed.header("ETag"))
        .answer()
        .await;
    assert_eq!(archived.body["status"], "archived");
    let restore = stage.owner(&stage.clinics.a, "post", &format!("{path}/restore"));
    assert_eq!(restore.answer().await.status, 200, "without a condition");
}

#[actix_web::test]
async fn instants_that_no_clinic_knows_are_refused() {
    let stage = Stage::new().await;
    for at in [
        "-4714-01-01T00:00:00Z",
        "1899-12-31T23:59:59Z",
        "%2B10000-01-01T00:00:00Z",
    ] {
        for field in ["createdFrom", "createdBefore"] {
            let refused = get(&stage, &format!("{CONTACTS}?{field}={at}")).await;
            assert_eq!(broken(&refused), [field], "{at}");
        }
    }
    for wrong in ["-4714-01-01", "1899-12-31", "+10000-01-01"] {
        let body = json!({"name": "Ana", "birthDate": wrong});
        let ask = stage.owner(&stage.clinics.a, "post", CONTACTS).json(&body);
        assert_eq!(broken(&ask.answer().await), ["birthDate"], "{wrong}");
    }
}

#[actix_web::test]
async fn a_page_that_the_caller_has_is_not_sent_again() {
    let stage = Stage::new().await;
    let created = create(&stage, &json!({"name": "Helena Dias", "tags": ["retorno"]})).await;
    for path in [
        created.header("Location"),
        CONTACTS,
        "/api/v1/contacts?tag=retorno",
    ] {
        let first = get(&stage, path).await;
        let ask = stage.owner(&stage.clinics.a, "get", path);
        let again = ask
            .header("If-None-Match", first.header("ETag"))
            .answer()
            .await;
        assert_eq!((again.status, &again.body), (304, &Value::Null), "{path}");
        assert_eq!(again.header("ETag"), first.header("ETag"));
    }
    for (query, found) in [
        ("status=lead", 1),
        ("status=active,archived", 0),
        ("tag=outra", 0),
        ("source=manual", 1),
        ("createdBefore=2000-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(names(&stage, query).await.len(), found, "{query}");
    }
}

#[actix_web::test]
async fn a_page_by_its_number_tells_the_total() {
    let stage = Stage::new().await;
    for name in ["Ana", "Bia", "Célia", "Davi", "Elis"] {
        create(&stage, &json!({ "name": name })).await;
    }
    let page = |query: &'static str| {
        let stage = &stage;
        async move { get(stage, &format!("{CONTACTS}?sort=name&limit=2&{query}")).await }
    };
    for (query, names) in [
        ("page=1", vec!["Ana", "Bia"]),
        ("page=2", vec!["Célia", "Davi"]),
        ("page=3", vec!["Elis"]),
        ("page=4", vec![]),
    ] {
        let answer = page(query).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let data = answer.body["data"].as_array().unwrap();
        let found: Vec<&str> = data
            .iter()
            .map(|row| row["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, names, "{query}");
        let told = |name: &str| answer.body[name].clone();
        assert_eq!(
            (told("total"), told("pages"), told("totalIsExact")),
            (json!(5), json!(3), json!(true))
        );
        assert_eq!(query, format!("page={}", told("page")));
        assert_eq!(told("nextCursor"), Value::Null);
    }
    let searched = page("page=1&search=ana").await;
    assert_eq!(searched.body["total"], 1);
    for wrong in [
        "page=0",
        "page=5001",
        "page=4294967295",
        "page=1&cursor=x",
        "page=-1",
    ] {
        assert_eq!(broken(&page(wrong).await), ["page"], "{wrong}");
    }
    assert_eq!(page("page=5000").await.status, 200, "the last that may be");
    // Without a number the answer is as it was.
    let keyset = page("").await;
    assert!(keyset.body["nextCursor"].is_string() && keyset.body.get("total").is_none());
}
