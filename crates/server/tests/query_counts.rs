//! No list asks the database more often for many rows than for one.
//!
//! Every list of the OpenAPI document is found in the document: a GET without an id whose answer has
//! an array `data`. Each has a row in [`fill`], which makes what it lists; one without a row fails.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clinics::Role;
use common::{Operation, Stage, operations};
use serde_json::{Value, json};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// So many rows at first, and so many then.
const FEW: usize = 1;
const MANY: usize = 30;

const MEMBER: &str = "ana@example.com";

/// Counts the statements that this thread sends.
#[derive(Clone, Default)]
struct Statements(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "diesel_postgres::statement" {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a list lists.
enum Rows {
    /// As many as were asked for.
    Made,
    /// As many as there are, whatever is asked for: a catalogue of the source.
    Fixed,
}

/// Makes the rows from `from` to `until` of what `path` lists, in clinic A.
async fn fill(stage: &Stage, path: &str, from: usize, until: usize) -> Option<Rows> {
    for number in from..until {
        match path {
            "/api/v1/contacts" => {
                let name = format!("Maria {}", letters(number));
                create(stage, path, &json!({ "name": name })).await;
            }
            "/api/v1/branches" => {
                let body =
                    json!({ "name": format!("Unidade {number}"), "timeZone": "America/Sao_Paulo" });
                create(stage, path, &body).await;
            }
            "/api/v1/channels" => {
                let operation = find(path, "post");
                let mut body = example(&operation);
                body["name"] = format!("Recepção {number}").into();
                body["phoneNumberId"] = format!("10000000000{number:04}").into();
                create(stage, path, &body).await;
            }
            "/api/v1/conversations" => {
                if stage
                    .texts("SELECT id::text FROM app.channels")
                    .await
                    .is_empty()
                {
                    Box::pin(fill(stage, "/api/v1/channels", 0, 1)).await;
                }
                let name = format!("Joana {}", letters(number));
                create(stage, "/api/v1/contacts", &json!({ "name": name })).await;
                stage.execute(&talk(stage, number)).await;
            }
            "/api/v1/auth/sessions" => {
                let answer = stage.log_in(MEMBER, common::PASSWORD).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
            "/api/v1/users" => {
                let email = format!("membro{number}@example.com");
                stage
                    .member(&stage.clinics.a, &email, Role::Receptionist)
                    .await;
            }
            "/api/v1/users/invitations" => {
                let mut body = example(&find(path, "post"));
                body["email"] = format!("convite{number}@example.com").into();
                create(stage, path, &body).await;
            }
            "/api/v1/contact-fields" => {
                let mut body = example(&find(path, "post"));
                body["key"] = format!("campo-{number}").into();
                create(stage, path, &body).await;
            }
            "/api/v1/consent-texts" => {
                let mut body = example(&find(path, "post"));
                body["text"] = format!("Autorizo o envio número {number}.").into();
                create(stage, path, &body).await;
            }
            "/api/v1/feature-flags" => return Some(Rows::Fixed),
            _ => return None,
        }
    }
    Some(Rows::Made)
}

/// A conversation with the contact of that number.
fn talk(stage: &Stage, number: usize) -> String {
    let clinic = stage.clinics.a.id;
    let name = format!("Joana {}", letters(number));
    format!(
        "INSERT INTO app.conversations (clinic_id, id, channel_id, contact_id, remote_jid, status,
            is_paused, unread_count, last_message_at, last_message_order, row_version, created_at,
            updated_at)
         SELECT '{clinic}', gen_random_uuid(), (SELECT id FROM app.channels LIMIT 1), c.id,
            '5511987{number:06}', 'open', false, 1, now(), 'a', 1, now(), now()
         FROM app.contacts c WHERE c.clinic_id = '{clinic}' AND c.name = '{name}'"
    )
}

/// A number as a name: names have no digits.
fn letters(number: usize) -> String {
    let digit = |value: usize| char::from(b'a' + u8::try_from(value % 26).unwrap());
    format!("X{}{}", digit(number / 26), digit(number))
}

fn find(path: &str, method: &str) -> Operation {
    let mut all = operations().into_iter();
    all.find(|it| it.path == path && it.method == method)
        .unwrap()
}

fn example(operation: &Operation) -> Value {
    let json = &operation.parts["requestBody"]["content"]["application/json"];
    json.get("example").cloned().unwrap_or_else(|| {
        let examples = json["examples"].as_object().unwrap();
        examples.values().next().unwrap()["value"].clone()
    })
}

async fn create(stage: &Stage, path: &str, body: &Value) {
    let ask = stage.owner(&stage.clinics.a, "post", path).json(body);
    let created = ask.answer().await;
    let done = matches!(created.status, 201 | 202);
    assert!(done, "{path}: {} {}", created.status, created.body);
}

/// Whether an answer has an array `data`, in one of its forms at least.
fn holds_rows(document: &Value, schema: &Value) -> bool {
    let reference = schema["$ref"].as_str().unwrap_or_default();
    let schema = match reference.strip_prefix("#/components/schemas/") {
        Some(name) => &document["components"]["schemas"][name],
        None => schema,
    };
    let forms = schema["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
    schema["properties"]["data"]["type"] == "array"
        || forms.iter().any(|form| holds_rows(document, form))
}

/// Every list, by its answer in the document.
fn lists() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&http_api::openapi_document()).unwrap();
    let is_list = |operation: &Operation| {
        let schema = &operation.parts["responses"]["200"]["content"]["application/json"]["schema"];
        holds_rows(&document, schema)
    };
    operations()
        .into_iter()
        .filter(|it| it.method == "get" && !it.has_path_parameter() && is_list(it))
        .collect()
}

#[actix_web::test]
async fn a_list_of_many_rows_takes_as_many_statements_as_a_list_of_one() {
    let stage = Stage::new().await;
    stage.member(&stage.clinics.a, MEMBER, Role::Owner).await;
    let token = stage.token_of(MEMBER).await;
    let lists = lists();
    assert!(lists.len() >= 5, "the document's lists are not found");
    let mut without = Vec::new();
    for list in lists {
        let takes_limit = list.parts.get("parameters").is_some_and(|parameters| {
            let mut parameters = parameters.as_array().unwrap().iter();
            parameters.any(|it| it["name"] == "limit")
        });
        let path = format!(
            "{}{}",
            list.path,
            if takes_limit { "?limit=100" } else { "" }
        );
        let ask = async || {
            let ask = stage.acting(&token, &stage.clinics.a, "get", &path);
            let answer = ask.answer().await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            answer.body["data"].as_array().unwrap().len()
        };
        let Some(rows) = fill(&stage, &list.path, 0, FEW).await else {
            without.push(list.path);
            continue;
        };
        // What is prepared once is not counted.
        ask().await;
        let (few, for_few) = counted(&ask).await;
        fill(&stage, &list.path, FEW, MANY).await;
        let (many, for_many) = counted(&ask).await;
        match rows {
            Rows::Made => assert!(few < many && many >= MANY, "{path}: {few} and {many} rows"),
            Rows::Fixed => assert_eq!(few, many, "{path}"),
        }
        assert!(for_few > 0, "{path}: no statement was seen");
        assert_eq!(
            for_few, for_many,
            "{path} asks the database more often for {many} rows than for {few}"
        );
    }
    assert!(
        without.is_empty(),
        "lists without a row in this test's `fill`: {without:?}"
    );
}

async fn counted(ask: &impl AsyncFn() -> usize) -> (usize, usize) {
    let statements = Statements::default();
    let subscriber = tracing_subscriber::registry().with(statements.clone());
    let _counting = tracing::subscriber::set_default(subscriber);
    let rows = ask().await;
    (rows, statements.0.load(Ordering::Relaxed))
}
