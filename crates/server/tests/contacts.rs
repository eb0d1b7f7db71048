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
