//! Each rule of the comparison, by the smallest change that breaks it and the like that does not.

use serde_json::json;

use super::*;

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "security": [{"bearer": []}],
        "paths": {
            "/contacts": {
                "get": {
                    "operationId": "contactList",
                    "parameters": [
                        {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 100}},
                        {"name": "status", "in": "query", "schema": {"type": "string", "enum": ["lead", "active"]}}
                    ],
                    "responses": {
                        "200": {
                            "headers": {"ETag": {"schema": {"type": "string"}}},
                            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Page"}}}
                        },
                        "404": {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
                    }
                },
                "post": {
                    "operationId": "contactCreate",
                    "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/New"}}}},
                    "responses": {"201": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Contact"}}}}}
                }
            },
            "/health": {"get": {"operationId": "health", "security": [{}], "responses": {"200": {}}}}
        },
        "components": {"schemas": {
            "Page": {"type": "object", "required": ["data"], "properties": {"data": {"type": "array", "items": {"$ref": "#/components/schemas/Contact"}}}},
            "Contact": {
                "type": "object",
                "required": ["id", "status"],
                "properties": {
                    "id": {"type": "string", "format": "uuid"},
                    "status": {"type": "string", "enum": ["lead", "active"]},
                    "note": {"type": ["string", "null"]},
                    "branch": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Branch"}]},
                    "mergedInto": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Contact"}]}
                }
            },
            "Branch": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
            "New": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 200},
                    "phone": {"type": ["string", "null"]},
                    "source": {"type": "string", "enum": ["web", "desk"]}
                }
            }
        }}
    })
}

/// What is told when the value at `pointer` becomes `value` (`null`: is removed).
fn told(pointer: &str, value: &Value) -> String {
    let mut new = document();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = new.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(map), Value::Null) => {
            let key = key.replace("~1", "/");
            assert!(map.remove(&key).is_some(), "{pointer}");
        }
        (Value::Object(map), _) => {
            map.insert(key.replace("~1", "/"), value.clone());
        }
        (Value::Array(list), Value::Null) => {
            list.remove(key.parse().unwrap());
        }
        (Value::Array(list), _) => list.push(value.clone()),
        _ => panic!("{pointer}"),
    }
    compare(&document(), &new).join("; ")
}

const SCHEMAS: &str = "/components/schemas";
const LIST: &str = "/paths/~1contacts/get";

#[test]
fn the_same_document_breaks_nothing_though_a_schema_holds_itself() {
    assert_eq!(compare(&document(), &document()), Vec::<String>::new());
}

#[test]
fn what_breaks_a_caller_is_told_with_its_place() {
    let at = |path: &str| format!("{SCHEMAS}{path}");
    for (pointer, value, fault) in [
        (
            "/paths/~1health".to_owned(),
            Value::Null,
            "GET /health is gone",
        ),
        (
            "/paths/~1health/get/security".to_owned(),
            json!([{"bearer": []}]),
            "GET /health asks for a login",
        ),
        (
            format!("{LIST}/operationId"),
            json!("listContacts"),
            "has another operationId",
        ),
        (
            format!("{LIST}/parameters/0"),
            Value::Null,
            "query parameter limit is gone",
        ),
        (
            format!("{LIST}/parameters/-"),
            json!({"name": "x", "in": "query", "required": true, "schema": {}}),
            "requires a new query parameter x",
        ),
        (
            format!("{LIST}/parameters/0/required"),
            json!(true),
            "limit is required",
        ),
        (
            format!("{LIST}/parameters/0/schema/maximum"),
            json!(50),
            "had the maximum 100 and has 50",
        ),
        (
            format!("{LIST}/parameters/0/schema/minimum"),
            json!(1),
            "has a minimum, 1",
        ),
        (
            format!("{LIST}/parameters/1/schema/enum/0"),
            Value::Null,
            "no longer takes \"lead\"",
        ),
        (format!("{LIST}/responses/200"), Value::Null, "200 is gone"),
        (
            format!("{LIST}/responses/200/headers/ETag"),
            Value::Null,
            "lacks the header ETag",
        ),
        (
            "/paths/~1contacts/post/requestBody/content".to_owned(),
            json!({"text/csv": {}}),
            "body application/json is not taken",
        ),
        (at("/New/required/-"), json!("phone"), ".phone is required"),
        (
            at("/New/required/-"),
            json!("age"),
            ".age is new and required",
        ),
        (at("/New/properties/phone"), Value::Null, ".phone is gone"),
        (
            at("/New/properties/phone/type"),
            json!("string"),
            ".phone was null or string and is string",
        ),
        (
            at("/New/properties/name/maxLength"),
            json!(100),
            "had the maxLength 200 and has 100",
        ),
        (
            at("/New/properties/name/pattern"),
            json!("^a"),
            ".name has another pattern",
        ),
        (
            at("/New/properties/source/enum"),
            json!(["web"]),
            ".source no longer takes \"desk\"",
        ),
        (
            at("/New/properties/phone/format"),
            json!("e164"),
            ".phone had the format none and has e164",
        ),
        (at("/Contact/properties/note"), Value::Null, ".note is gone"),
        (at("/Contact/required/0"), Value::Null, ".id may be missing"),
        (
            at("/Contact/properties/id/type"),
            json!(["string", "null"]),
            ".id was string and is null or string",
        ),
        (
            at("/Contact/properties/id/format"),
            Value::Null,
            ".id had the format uuid and has none",
        ),
        (
            at("/Branch/properties/id/type"),
            json!("integer"),
            ".branch has a form that it had not",
        ),
        (
            at("/Page/properties/data/items"),
            json!({"type": "string"}),
            ".data[] was object and is string",
        ),
    ] {
        let told = told(&pointer, &value);
        assert!(told.contains(fault), "{pointer}: {fault}: {told:?}");
    }
}

#[test]
fn what_adds_or_loosens_breaks_nobody() {
    let at = |path: &str| format!("{SCHEMAS}{path}");
    for (pointer, value) in [
        (
            "/paths/~1new".to_owned(),
            json!({"get": {"operationId": "x"}}),
        ),
        (
            format!("{LIST}/parameters/-"),
            json!({"name": "x", "in": "query", "schema": {}}),
        ),
        (format!("{LIST}/parameters/0/schema/maximum"), json!(500)),
        (format!("{LIST}/parameters/0/schema/type"), json!("number")),
        (
            format!("{LIST}/parameters/1/schema/enum/-"),
            json!("archived"),
        ),
        (format!("{LIST}/responses/404"), Value::Null),
        (format!("{LIST}/responses/429"), json!({})),
        (format!("{LIST}/security"), json!([{}])),
        (at("/New/properties/age"), json!({"type": "integer"})),
        (at("/New/required/0"), Value::Null),
        (at("/New/properties/name/maxLength"), json!(500)),
        (at("/New/properties/name/minLength"), json!(0)),
        (at("/New/properties/phone/minLength"), json!(0)),
        (
            at("/Contact/properties/tags"),
            json!({"type": "array", "items": {"type": "string"}}),
        ),
        (at("/Contact/required/-"), json!("note")),
        (at("/Contact/properties/note/type"), json!("string")),
        // Values of enumerations in answers are open.
        (at("/Contact/properties/status/enum/-"), json!("archived")),
        (at("/Contact/properties/status/enum/0"), Value::Null),
        (
            at("/Contact/properties/branch"),
            json!({"$ref": "#/components/schemas/Branch"}),
        ),
        (at("/Branch/properties/name"), json!({"type": "string"})),
    ] {
        assert_eq!(told(&pointer, &value), "", "{pointer}");
    }
}

#[test]
fn parts_that_are_joined_are_compared_as_a_whole() {
    let mut old = document();
    let mut new = document();
    old["components"]["schemas"]["Contact"] = json!({"allOf": [
        {"$ref": "#/components/schemas/Branch"},
        {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    ]});
    new["components"]["schemas"]["Contact"] = json!({"type": "object", "required": ["id", "name"],
        "properties": {"id": {"type": "string"}, "name": {"type": "string"}}});
    assert_eq!(compare(&old, &new), Vec::<String>::new());
    assert_eq!(compare(&new, &old), Vec::<String>::new());
    new["components"]["schemas"]["Contact"]["required"] = json!(["name"]);
    let told = compare(&old, &new).join("; ");
    assert!(told.contains(".id may be missing"), "{told}");
}
