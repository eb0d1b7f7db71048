//! The OpenAPI 3.1 document, generated from the handlers. What all operations share is added
//! here, so that a handler says only what is its own: each operation names its permission in
//! `x-permission` (an action's name, `signed-in` or `public`), and from it follow its security,
//! its clinic parameters and the failures it can answer.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use actix_web::App;
use bytes::Bytes;
use kernel::Action;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::OpenApi as _;
use utoipa_actix_web::AppExt as _;

use crate::catalogue::ProblemCode;
use crate::idempotency::KEY_HEADER;
use crate::problem::{InvalidParam, ProblemDocument};
use crate::routes;

const DESCRIPTION: &str = include_str!("openapi.md");
const KEY_DESCRIPTION: &str = "A random text of at most 255 visible ASCII characters, in quotes or \
    without, that is this request's own. Sent again with the same key and body within 24 hours, by \
    the same caller, the request is answered as it was the first time, and nothing is done twice. \
    Failures are not kept: what failed is tried anew.";
const METHODS: &[&str] = &["get", "put", "post", "delete", "patch", "head", "options"];

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(ProblemDocument, InvalidParam)))]
struct Base;

/// The document with its parts in the usual order.
#[derive(Serialize)]
struct Document {
    openapi: &'static str,
    info: Value,
    servers: Value,
    tags: Vec<Value>,
    paths: BTreeMap<String, Map<String, Value>>,
    components: Value,
}

static DOCUMENT: LazyLock<Document> = LazyLock::new(build);
static SERVED: LazyLock<Bytes> =
    LazyLock::new(|| serde_json::to_vec(&*DOCUMENT).unwrap_or_default().into());

/// The document as committed: pretty, with a newline at its end.
pub fn openapi_document() -> String {
    let mut text = serde_json::to_string_pretty(&*DOCUMENT).unwrap_or_default();
    text.push('\n');
    text
}

/// The document as served, written once.
pub(crate) fn served_document() -> Bytes {
    SERVED.clone()
}

/// The methods of a route, as `Allow` has them.
pub(crate) fn allowed_methods(pattern: &str) -> String {
    let Some(item) = DOCUMENT.paths.get(pattern) else {
        return "GET, HEAD".to_owned();
    };
    let mut methods: Vec<String> = item
        .keys()
        .filter(|key| METHODS.contains(&key.as_str()))
        .map(|method| method.to_uppercase())
        .collect();
    if item.contains_key("get") {
        methods.push("HEAD".to_owned());
    }
    methods.join(", ")
}

fn build() -> Document {
    let (_, collected) = App::new()
        .into_utoipa_app()
        .openapi(Base::openapi())
        .service(utoipa_actix_web::scope::scope("/api/v1").configure(routes::routes))
        .split_for_parts();
    let mut collected = serde_json::to_value(collected).unwrap_or_default();
    let mut paths = BTreeMap::new();
    if let Value::Object(found) = collected["paths"].take() {
        for (path, item) in found {
            if let Value::Object(mut item) = item {
                for (_, operation) in &mut item {
                    if let Value::Object(operation) = operation {
                        complete(&path, operation);
                    }
                }
                paths.insert(path, item);
            }
        }
    }
    let mut components = collected["components"].take();
    components["responses"] = shared_responses();
    components["parameters"] = shared_parameters();
    components["securitySchemes"] = json!({"bearer": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "The `accessToken` of `POST /api/v1/auth/login`.",
    }});
    prune(&mut components, &paths);
    Document {
        openapi: "3.1.0",
        info: json!({
            "title": "Acolhe",
            "version": "1",
            "summary": "The back office of clinic networks.",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "contact": {"name": "The Acolhe project"},
        }),
        servers: json!([{"url": "/", "description": "This server."}]),
        tags: routes::TAGS
            .iter()
            .map(|(name, description)| json!({"name": name, "description": description}))
            .collect(),
        paths,
        components,
    }
}

/// Who may call an operation.
fn permission(operation: &Map<String, Value>) -> Permission {
    match operation.get("x-permission").and_then(Value::as_str) {
        Some("public") => Permission::Public,
        Some("signed-in") => Permission::SignedIn,
        Some(name) if Action::ALL.iter().any(|action| action.name() == name) => Permission::Action,
        _ => Permission::Unknown,
    }
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Permission {
    Public,
    SignedIn,
    Action,
    Unknown,
}

/// Adds what follows from an operation's own parts.
fn complete(path: &str, operation: &mut Map<String, Value>) {
    let permission = permission(operation);
    let mut failures = vec![
        ProblemCode::MalformedRequest,
        ProblemCode::Internal,
        ProblemCode::Unavailable,
    ];
    // A probe is never refused for how often it asks.
    if !path.starts_with("/api/v1/health") {
        failures.push(ProblemCode::TooManyRequests);
    }
    if matches!(permission, Permission::SignedIn | Permission::Action) {
        failures.push(ProblemCode::Unauthenticated);
        operation.insert("security".to_owned(), json!([{"bearer": []}]));
    } else {
        operation.insert("security".to_owned(), json!([]));
    }
    if permission == Permission::Action {
        failures.push(ProblemCode::Forbidden);
        let parameters = list(operation, "parameters");
        for name in ["ClinicHeader", "ClinicQuery"] {
            parameters.push(json!({"$ref": format!("#/components/parameters/{name}")}));
        }
    }
    if path.contains('{') {
        failures.push(ProblemCode::NotFound);
    }
    if operation.contains_key("requestBody") {
        failures.push(ProblemCode::RequestTimeout);
        failures.push(ProblemCode::PayloadTooLarge);
        // A raw body is taken as whatever it is.
        if operation.remove("x-raw-body").is_none() {
            failures.push(ProblemCode::UnsupportedMediaType);
        }
    }
    let condition = list(operation, "parameters")
        .iter()
        .find(|parameter| parameter["name"] == "If-Match");
    if let Some(condition) = condition {
        failures.push(ProblemCode::PreconditionFailed);
        if condition["required"] == true {
            failures.push(ProblemCode::PreconditionRequired);
        }
    }
    if let Some(key) = list(operation, "parameters")
        .iter_mut()
        .find(|parameter| parameter["name"] == KEY_HEADER)
    {
        key["description"] = KEY_DESCRIPTION.into();
        key["schema"] = json!({"type": "string", "minLength": 1, "maxLength": 257});
        key["example"] = "8e03978e-40d5-43dd-bc93-6894a57f9324".into();
        failures.push(ProblemCode::IdempotencyInFlight);
        failures.push(ProblemCode::IdempotencyKeyReused);
        describe_idempotency(operation);
    }
    if list(operation, "parameters").is_empty() {
        operation.remove("parameters");
    }
    describe_permission(operation, permission);
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    if let Value::Object(responses) = responses {
        for code in failures {
            let status = code.status().as_u16().to_string();
            let reference = json!({"$ref": format!("#/components/responses/Problem{status}")});
            responses.entry(status).or_insert(reference);
        }
    }
}

/// What an operation that takes a key may answer beside its own.
fn describe_idempotency(operation: &mut Map<String, Value>) {
    let Some(responses) = operation
        .get_mut("responses")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for (status, response) in responses {
        let also = match status.as_str() {
            "409" => "Or a request with this `Idempotency-Key` has not ended yet.",
            "422" => "Or this `Idempotency-Key` was sent before, with another body.",
            status if status.starts_with('2') => {
                response["headers"]["Idempotency-Replayed"] = json!({
                    "description": "`true` where this is the answer of an earlier request with \
                        the same `Idempotency-Key`.",
                    "schema": {"type": "string", "enum": ["true"]},
                });
                continue;
            }
            _ => continue,
        };
        if let Some(text) = response.get("description").and_then(Value::as_str) {
            response["description"] = format!("{text} {also}").into();
        }
    }
}

fn list<'a>(operation: &'a mut Map<String, Value>, name: &str) -> &'a mut Vec<Value> {
    let value = operation.entry(name).or_insert_with(|| json!([]));
    if !value.is_array() {
        *value = json!([]);
    }
    match value {
        Value::Array(list) => list,
        _ => unreachable!("made an array above"),
    }
}

fn describe_permission(operation: &mut Map<String, Value>, permission: Permission) {
    let line = match permission {
        Permission::Public => "Permission: none, anyone may ask.".to_owned(),
        Permission::SignedIn => "Permission: any valid access token.".to_owned(),
        Permission::Action => {
            let name = operation.get("x-permission").and_then(Value::as_str);
            format!("Permission: `{}` in the clinic.", name.unwrap_or_default())
        }
        Permission::Unknown => return,
    };
    let text = operation.get("description").and_then(Value::as_str);
    let text = match text {
        Some(text) => format!("{}\n\n{line}", text.trim_end()),
        None => line,
    };
    operation.insert("description".to_owned(), text.into());
}

fn shared_parameters() -> Value {
    json!({
        "ClinicHeader": {
            "name": "X-Clinic-Id", "in": "header", "required": false,
            "description": "The clinic this is about, in the form with hyphens. Required here or in \
                `clinic_id`.",
            "schema": {"type": "string", "format": "uuid"},
            "example": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e",
        },
        "ClinicQuery": {
            "name": "clinic_id", "in": "query", "required": false,
            "description": "The clinic, where a header cannot be sent, in the form with hyphens. Given in \
                both, both must be alike.",
            "schema": {"type": "string", "format": "uuid"},
            "example": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e",
        },
    })
}

/// One response for each status, with every code it may have as an example.
fn shared_responses() -> Value {
    let mut examples: BTreeMap<u16, Map<String, Value>> = BTreeMap::new();
    for code in ProblemCode::ALL {
        let example = crate::Problem::new(*code);
        let mut example = serde_json::to_value(example.document(None, None)).unwrap_or_default();
        example["instance"] = "urn:uuid:01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e".into();
        example["traceId"] = "4bf92f3577b34da6a3ce929d0e0e4736".into();
        if matches!(code, ProblemCode::InvalidBody | ProblemCode::InvalidQuery) {
            example["invalidParams"] =
                json!([{"name": "name", "code": "required", "reason": "is required"}]);
        }
        let example = json!({"summary": code.title(), "value": example});
        let of_status = examples.entry(code.status().as_u16()).or_default();
        of_status.insert(code.code().to_owned(), example);
    }
    let mut responses = Map::new();
    for (status, examples) in examples {
        let codes: Vec<&str> = examples.keys().map(String::as_str).collect();
        let response = json!({
            "description": format!("A problem: {}. See /docs/errors.", codes.join(", ")),
            "content": {"application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": examples,
            }},
        });
        responses.insert(format!("Problem{status}"), response);
    }
    Value::Object(responses)
}

/// Drops components that nothing refers to, and then those that only they referred to.
fn prune(components: &mut Value, paths: &BTreeMap<String, Map<String, Value>>) {
    loop {
        let mut used = HashSet::new();
        for operation in paths.values().flat_map(Map::values) {
            references(operation, &mut used);
        }
        references(components, &mut used);
        let mut dropped = false;
        for kind in ["schemas", "responses", "parameters"] {
            if let Some(named) = components.get_mut(kind).and_then(Value::as_object_mut) {
                let before = named.len();
                named.retain(|name, _| used.contains(&format!("#/components/{kind}/{name}")));
                dropped |= named.len() < before;
            }
        }
        if !dropped {
            return;
        }
    }
}

fn references(value: &Value, found: &mut HashSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.insert(reference.clone());
            }
            for value in map.values() {
                references(value, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations() -> impl Iterator<Item = (String, &'static Map<String, Value>)> {
        DOCUMENT.paths.iter().flat_map(|(path, item)| {
            item.iter()
                .filter(|(method, _)| METHODS.contains(&method.as_str()))
                .filter_map(move |(method, operation)| {
                    Some((format!("{method} {path}"), operation.as_object()?))
                })
        })
    }

    /// What an operation lacks, as words.
    fn lacks(operation: &Map<String, Value>) -> Vec<&'static str> {
        let text = |name: &str| {
            let text = operation.get(name).and_then(Value::as_str);
            text.unwrap_or_default()
        };
        let mut lacking = Vec::new();
        let summary = text("summary");
        if summary.is_empty() || summary.len() > 80 || summary.ends_with('.') {
            lacking.push("a summary of at most 80 characters without a full stop");
        }
        if !text("description").contains("Permission: ") {
            lacking.push("a description with its permission");
        }
        if text("description").starts_with("Permission: ") {
            lacking.push("a description beside its permission");
        }
        if !text("operationId").contains('_') {
            lacking.push("an operationId of the form entity_verb");
        }
        if permission(operation) == Permission::Unknown {
            lacking.push("an x-permission that is an action, `signed-in` or `public`");
        }
        let tags = operation.get("tags").and_then(Value::as_array);
        let known = |tag: &Value| routes::TAGS.iter().any(|(name, _)| tag == name);
        if !tags.is_some_and(|tags| tags.len() == 1 && tags.iter().all(known)) {
            lacking.push("one tag that is listed in TAGS");
        }
        if !has_example(operation) {
            lacking.push("an example of its answer, and of its body where it has one");
        }
        let responses = operation.get("responses").and_then(Value::as_object);
        for status in ["400", "500", "503"] {
            if !responses.is_some_and(|responses| responses.contains_key(status)) {
                lacking.push("the common failures");
            }
        }
        let described = |response: &Value| {
            let named = response["description"].as_str().unwrap_or_default();
            response.get("$ref").is_some() || !named.is_empty()
        };
        if !responses.is_some_and(|responses| responses.values().all(described)) {
            lacking.push("a description of every response");
        }
        lacking
    }

    fn has_example(operation: &Map<String, Value>) -> bool {
        let shown = |media: &Value| media.get("example").or(media.get("examples")).is_some();
        let contents = |part: &Value| -> Vec<Value> {
            let content = part.get("content").and_then(Value::as_object);
            content.map_or_else(Vec::new, |content| content.values().cloned().collect())
        };
        let body = operation.get("requestBody").map_or_else(Vec::new, contents);
        let good: Vec<Value> = operation["responses"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(status, _)| status.starts_with('2'))
            .flat_map(|(_, response)| contents(response))
            .collect();
        body.iter().chain(&good).all(shown)
    }

    #[test]
    fn every_operation_is_complete() {
        let incomplete: Vec<String> = operations()
            .map(|(name, operation)| (name, lacks(operation)))
            .filter(|(_, lacking)| !lacking.is_empty())
            .map(|(name, lacking)| format!("{name} lacks {}", lacking.join(", ")))
            .collect();
        assert!(incomplete.is_empty(), "\n{}", incomplete.join("\n"));
    }

    /// Operations that create and take no key. None may be added; who gives one its key takes it
    /// off the list.
    const WITHOUT_A_KEY: &[&str] = &[];

    #[test]
    fn every_operation_that_creates_takes_an_idempotency_key() {
        let without: Vec<String> = operations()
            .filter(|(name, operation)| {
                let responses = operation.get("responses").and_then(Value::as_object);
                let creates = responses.is_some_and(|all| all.contains_key("201"));
                let parameters = operation.get("parameters").and_then(Value::as_array);
                let mut parameters = parameters.into_iter().flatten();
                let keyed = parameters.any(|parameter| parameter["name"] == KEY_HEADER);
                name.starts_with("post ") && creates && !keyed
            })
            .map(|(name, _)| name)
            .collect();
        assert_eq!(without, WITHOUT_A_KEY);
    }

    #[test]
    fn every_parameter_is_described() {
        for (name, operation) in operations() {
            for parameter in operation
                .get("parameters")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let described = parameter["description"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty());
                assert!(
                    described || parameter.get("$ref").is_some(),
                    "{name}: the parameter {} has no description",
                    parameter["name"]
                );
            }
        }
    }

    #[test]
    fn operation_ids_are_unique() {
        let mut seen = HashSet::new();
        for (name, operation) in operations() {
            let id = operation.get("operationId").and_then(Value::as_str);
            assert!(seen.insert(id), "{name} has an operationId of another");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = serde_json::to_value(&*DOCUMENT).unwrap_or_default();
        let mut found = HashSet::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(
                document.pointer(pointer).is_some(),
                "{reference} leads nowhere"
            );
        }
    }

    #[test]
    fn paths_below_a_version_are_plural_kebab_case() {
        for path in DOCUMENT.paths.keys() {
            let below = path.strip_prefix("/api/v1/");
            assert!(below.is_some(), "{path} is not below /api/v1");
            for segment in below.unwrap_or_default().split('/') {
                let name = segment.starts_with('{') && segment.ends_with('}');
                let kebab = segment.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
                assert!(name || kebab, "{path}: {segment}");
            }
        }
    }
}
